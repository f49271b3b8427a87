"""What the frames' layouts share."""

import pytest

from oddwire.errors import MalformedMessage, Truncated, ValueOutOfRange
from oddwire.session.wire.fields import clip, decode_refusals, encode_refusals, encode_text, fit_refusals
from oddwire.session.wire.frame_types import MAX_TEXT, MAX_WINDOW, Ack, Refusal, Scope
from oddwire.session.wire.frames import decode, encode

ROUTE = 0x2B2B2B2B1A1A1A1A


@pytest.mark.parametrize(
    ("text", "size", "cut"),
    [
        ("", 5, ""),
        ("hello", 5, "hello"),
        ("hello", 4, "hell"),
        ("né", 2, "n"),
        ("né", 3, "né"),
        ("😀😀", 7, "😀"),
        ("a\udc80b", 5, "a?b"),
        ("x", 0, ""),
    ],
)
def test_a_text_is_cut_between_characters(text, size, cut):
    assert clip(text, size) == cut
    encode_text(cut)


def test_a_text_is_cut_to_what_may_be_sent():
    assert encode_text(clip("é" * 501)) == ("é" * 500).encode()
    assert len(encode_text("x" * MAX_TEXT)) == MAX_TEXT
    with pytest.raises(ValueOutOfRange, match="1000 bytes"):
        encode_text("é" * 501)


def test_texts_that_are_no_utf8_are_refused():
    payload = encode(Ack(Scope.LANE, 0, 1, 1, 5, (Refusal(5, 4, "abc"),)), ROUTE)
    with pytest.raises(MalformedMessage, match="UTF-8") as caught:
        decode(payload[:-1] + b"\xff")
    assert caught.value.offset == len(payload) - 1


def test_texts_that_are_too_long_are_refused():
    raw = (5).to_bytes(8, "big") + (4).to_bytes(2, "big") + (1001).to_bytes(2, "big") + b"x" * 1001
    with pytest.raises(MalformedMessage, match="1000"):
        decode_refusals(raw, 0, len(raw), 5)


@pytest.mark.parametrize("sequences", [(2, 1), (1, 1), (0,), (6,), (1, 6)])
def test_refusals_ascend_from_1_to_the_value(sequences):
    with pytest.raises(ValueOutOfRange, match="ascend"):
        encode_refusals([Refusal(number, 4, "") for number in sequences], 5)
    raw = b"".join(number.to_bytes(8, "big") + b"\0\4\0\0" for number in sequences)
    with pytest.raises(MalformedMessage, match="ascend"):
        decode_refusals(raw, 0, len(raw), 5)


def test_refusals_end_with_the_content():
    raw = encode_refusals([Refusal(1, 4, "no"), Refusal(3, 5, "")], 5)
    assert decode_refusals(raw, 0, len(raw), 5) == (Refusal(1, 4, "no"), Refusal(3, 5, ""))
    for stop in set(range(1, len(raw))) - {14}:
        with pytest.raises(Truncated):
            decode_refusals(raw, 0, stop, 5)


def test_a_refusal_has_numbers_that_fit():
    with pytest.raises(ValueOutOfRange, match="16"):
        encode_refusals([Refusal(1, 65536, "")], 5)


def test_refusals_are_shortened_until_an_ack_holds_them():
    short = [Refusal(n, 4, "short") for n in range(1, 30)]
    long = [Refusal(n, 4, "é" * 900) for n in range(30, 200)]
    fitted = fit_refusals([*short, *long])
    assert fitted[:29] == tuple(short)
    assert [refusal[:2] for refusal in fitted] == [refusal[:2] for refusal in (*short, *long)]
    assert len({refusal.text for refusal in fitted[29:]}) == 1
    payload = encode(Ack(Scope.LANE, 0, 1, 1, 200, fitted), ROUTE)
    assert 65000 < len(payload) <= 65535


def test_as_many_refusals_as_a_window_holds_fit():
    fitted = fit_refusals([Refusal(n, 4, "x" * 5000) for n in range(1, MAX_WINDOW + 1)])
    assert len(encode(Ack(Scope.LANE, 0, 1, 1, MAX_WINDOW, fitted), ROUTE)) <= 65535
    assert all(refusal.text for refusal in fitted)


def test_refusals_that_fit_are_left_as_they_are():
    told = (Refusal(1, 4, "x" * 1000), Refusal(2, 4, ""))
    assert fit_refusals(told) == told
    assert fit_refusals([Refusal(1, 4, "x" * 1001)]) == told[:1]
    assert fit_refusals([]) == ()
