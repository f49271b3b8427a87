"""The bytes of every frame but hello: tests/vectors/session.json has them one by one, these are the rules behind."""

import pytest

from oddwire.errors import (
    EncodeError,
    MalformedMessage,
    NotMinimal,
    OutOfOrder,
    PayloadTooLarge,
    TrailingBytes,
    Truncated,
    UnknownRequiredRecord,
    ValueOutOfRange,
)
from oddwire.session.constants import SESSION_TYPE, SESSION_TYPE_BYTES
from oddwire.session.wire.frame_types import (
    FRAGMENT_OVERHEAD,
    MAX_NUMBER,
    MAX_WINDOW,
    Ack,
    Cancel,
    Data,
    Failure,
    Fragment,
    FrameType,
    Hello,
    Refusal,
    Reply,
    ReplyFlag,
    Request,
    Scope,
    Spoken,
    UnknownFrame,
)
from oddwire.session.wire.frames import (
    addresses,
    data_place,
    decode,
    encode,
    encode_ack,
    encode_cancel,
    encode_data,
    encode_failure,
    encode_fragment,
    encode_reply,
    encode_request,
    subject,
)

INNER = b"\x8c\x01hello"
TOP = 2**64 - 1
TO, FROM = 0x2B2B2B2B, 0x1A1A1A1A
ROUTE = TO << 32 | FROM
WRITTEN = "2b2b2b2b1a1a1a1a"
FRAMES = [
    Hello(1, 1, 1, 7, (Spoken("echo", ("1.0",), (0x8001,)),), 1 << 24, 64, (TOP, 0)),
    Fragment(1, 5000, 1024, 4, b"x" * 904),
    Request(TOP, 0, INNER),
    Request(0, 2**32 - 1, INNER, 5000),
    Request(1, 0, INNER, 0),
    Reply(5, 0, INNER),
    Reply(5, ReplyFlag.PART, INNER),
    Reply(5, ReplyFlag.END, b""),
    Failure(Scope.REQUEST, 5, 4, "no such asset: é"),
    Failure(Scope.TRANSFER, 5, 65535, ""),
    Cancel(Scope.REQUEST, 5),
    Cancel(Scope.TRANSFER, TOP),
    Data(TOP, MAX_NUMBER, MAX_NUMBER - 1, MAX_NUMBER, INNER),
    Data(0, 1, 1, 1, b"\x8c\x01"),
    Ack(Scope.REQUEST, 0, TOP, 0, MAX_NUMBER),
    Ack(Scope.LANE, 1, 8, 3, 9, (Refusal(7, 4, "no"), Refusal(9, 1000, ""))),
    Ack(Scope.LANE, 0, 8, 3, 0),
]


def name(frame):
    return f"{type(frame).__name__.lower()}-{frame[1] if len(frame) > 1 else frame[0]}"


@pytest.mark.parametrize("frame", FRAMES, ids=name)
class TestEveryFrame:
    def test_comes_back(self, frame):
        payload = encode(frame, ROUTE)
        assert payload[:2] == SESSION_TYPE_BYTES
        assert payload[2] == FrameType[type(frame).__name__.upper()]
        assert decode(payload) == frame
        assert type(decode(payload)) is type(frame)

    def test_ends_nowhere_before_its_end(self, frame):
        payload = encode(frame, ROUTE)
        hard_end = len(payload)
        if isinstance(frame, Request) and frame.wait_ms is not None:
            hard_end -= 2 + len(payload) - payload.rindex(INNER) - len(INNER) - 2  # the record may be left out
        for size in range(2, len(payload)):
            if size == hard_end:
                continue
            if isinstance(frame, Hello) and size in record_ends(payload):
                continue
            with pytest.raises(Truncated) as caught:
                decode(payload[:size])
            assert caught.value.type_id == SESSION_TYPE
            assert caught.value.offset <= size

    def test_may_have_odd_records_that_nobody_knows_yet(self, frame):
        assert decode(encode(frame, ROUTE) + bytes.fromhex("fd03e902beef")) == frame

    def test_may_have_no_even_record_that_we_do_not_know(self, frame):
        with pytest.raises(
            UnknownRequiredRecord, match=f"{FrameType[type(frame).__name__.upper()].name.lower()} has"
        ) as caught:
            decode(encode(frame, ROUTE) + b"\x64\x00")
        assert caught.value.type_id == SESSION_TYPE

    @pytest.mark.parametrize(
        ("records", "error"),
        [
            ("650067", Truncated),
            ("6503aabb", Truncated),
            ("fd0065", NotMinimal),
            ("fd006500", NotMinimal),
            ("65006500", OutOfOrder),
            ("67006500", OutOfOrder),
        ],
    )
    def test_has_records_by_the_rules_of_bolt_1(self, frame, records, error):
        with pytest.raises(error) as caught:
            decode(encode(frame, ROUTE) + bytes.fromhex(records))
        assert caught.value.type_id == SESSION_TYPE


def record_ends(payload):
    """Where a hello may end: after its content, and after each of its records."""
    at = 26 + int.from_bytes(payload[22:26], "big")
    ends = {at}
    while at < len(payload):
        at += 2 + payload[at + 1]
        ends.add(at)
    return ends


def test_the_first_bytes_say_what_a_frame_is_whom_it_is_for_and_from():
    head = "c0dd0e" + WRITTEN
    assert encode(Cancel(Scope.REQUEST, 1), ROUTE).hex() == head + "01" + "0000000000000001" + "00000000"
    head = "c0dd0a" + WRITTEN
    assert (
        encode_fragment(ROUTE, 1, 2, 3, 4, b"").hex()
        == head + "00" * 7 + "01" + "00" * 7 + "02" + "0003" + "0000000400000000"
    )
    assert len(encode_fragment(ROUTE, 1, 2, 3, 4, b"")) == FRAGMENT_OVERHEAD


def test_a_fragment_is_made_of_any_buffer():
    assert encode_fragment(ROUTE, 1, 2, 3, 4, memoryview(b"abc")) == encode_fragment(ROUTE, 1, 2, 3, 4, b"abc")


@pytest.mark.parametrize("kind", [*range(9), 17, 18, 255])
def test_other_kinds_are_unknown_whatever_they_hold(kind):
    for rest in (b"", b"\xff" * 50):
        assert decode(SESSION_TYPE_BYTES + bytes([kind]) + bytes(8) + rest) == UnknownFrame(kind)
    with pytest.raises(EncodeError):
        encode(UnknownFrame(kind), ROUTE)


@pytest.mark.parametrize(
    ("frame", "scopes"),
    [
        (Failure(Scope.REQUEST, 5, 4, ""), {1, 2}),
        (Cancel(Scope.REQUEST, 5), {1, 2}),
        (Ack(Scope.REQUEST, 0, 5, 0, 1), {1, 3}),
    ],
    ids=["failure", "cancel", "ack"],
)
def test_frames_of_other_scopes_are_unknown(frame, scopes):
    payload = bytearray(encode(frame, ROUTE))
    for scope in set(range(256)) - scopes:
        payload[11] = scope
        assert decode(bytes(payload)) == UnknownFrame(payload[2])
        with pytest.raises(ValueOutOfRange):
            encode(frame._replace(scope=scope), ROUTE)


@pytest.mark.parametrize("frame", [FRAMES[0], FRAMES[5], FRAMES[15]], ids=name)
def test_flags_that_nobody_knows_yet_are_kept(frame):
    other = frame._replace(flags=frame.flags | 0xF0)
    assert decode(encode(other, ROUTE)) == other


@pytest.mark.parametrize("size", range(2, 11))
def test_nothing_has_a_payload_without_a_kind_and_addresses(size):
    payload = encode_request(ROUTE, 1, 0, INNER)[:size]
    for read in (decode, addresses):
        with pytest.raises(Truncated, match="a kind and two addresses") as caught:
            read(payload)
        assert (caught.value.type_id, caught.value.offset) == (SESSION_TYPE, size)


@pytest.mark.parametrize(("to", "source"), [(TO, FROM), (0, 1), (1, 0xFFFFFFFF), (0xFFFFFFFF, 1), (5, 5)])
def test_every_frame_bears_two_addresses_and_decoding_does_not_look_at_them(to, source):
    for frame in FRAMES:
        payload = encode(frame, to << 32 | source)
        assert addresses(payload) == (to, source)
        assert decode(payload) == frame
        other = encode(frame, ROUTE)
        assert (payload[:3], payload[11:]) == (other[:3], other[11:])


def test_addresses_are_read_of_any_frame():
    assert addresses(SESSION_TYPE_BYTES + b"\x63" + bytes.fromhex(WRITTEN)) == (TO, FROM)
    assert addresses(SESSION_TYPE_BYTES + b"\x0b" + bytes(8)) == (0, 0)


@pytest.mark.parametrize("route", [-1, 1 << 64])
def test_a_route_is_two_addresses_of_32_bits(route):
    for frame in FRAMES[1:]:
        with pytest.raises(ValueOutOfRange, match=rf"two addresses of 32 bits each, not {route}$"):
            encode(frame, route)


@pytest.mark.parametrize("content", [b"", b"\x8c", SESSION_TYPE_BYTES, SESSION_TYPE_BYTES + b"\3"])
def test_what_is_carried_is_a_message_and_no_frame(content):
    wrong = [
        (lambda: encode_request(ROUTE, 1, 0, content), encode_request(ROUTE, 1, 0, INNER)),
        (lambda: encode_reply(ROUTE, 1, 0, content), encode_reply(ROUTE, 1, 0, INNER)),
        (lambda: encode_reply(ROUTE, 1, ReplyFlag.PART, content), encode_reply(ROUTE, 1, 1, INNER)),
        (lambda: encode_data(ROUTE, 1, 1, 1, 1, content), encode_data(ROUTE, 1, 1, 1, 1, INNER)),
    ]
    for write, right in wrong:
        with pytest.raises(ValueOutOfRange, match="message with its type"):
            write()
        head = right[: -len(INNER) - 4]
        with pytest.raises(MalformedMessage):
            decode(head + len(content).to_bytes(4, "big") + content)


@pytest.mark.parametrize("content", [SESSION_TYPE_BYTES[:1] + b"\xdc", SESSION_TYPE_BYTES[:1] + b"\xde\0"])
def test_a_message_may_begin_nearly_as_a_frame_does(content):
    for frame in (Request(7, 0, content), Reply(7, 0, content), Reply(7, ReplyFlag.PART, content)):
        assert decode(encode(frame, ROUTE)) == frame
        assert type(decode(encode(frame, ROUTE))) is type(frame)


def test_a_streams_end_is_bare():
    for flags, content in ((3, b""), (2, INNER), (3, INNER)):
        with pytest.raises(ValueOutOfRange):
            encode_reply(ROUTE, 1, flags, content)
        wrong = bytearray(encode_reply(ROUTE, 1, 0, INNER)[: 24 - 4] + len(content).to_bytes(4, "big") + content)
        wrong[19] = flags
        with pytest.raises(MalformedMessage, match="end"):
            decode(bytes(wrong))


@pytest.mark.parametrize(
    ("epoch", "base", "sequence"),
    [
        (0, 1, 1),
        (1, 0, 0),
        (1, 0, 1),
        (1, 2, 1),
        (1, 1, 1 + MAX_WINDOW),
        (2**62, 1, 1),
        (1, 2**62 - 1, 2**62),
        (TOP, TOP, TOP),
    ],
)
def test_data_has_numbers_that_can_be(epoch, base, sequence):
    with pytest.raises(ValueOutOfRange):
        encode_data(ROUTE, 1, epoch, base, sequence, INNER)
    numbers = b"".join(number.to_bytes(8, "big") for number in (1, epoch, base, sequence))
    with pytest.raises(MalformedMessage):
        decode(b"\xc0\xdd\x0f" + bytes.fromhex(WRITTEN) + numbers + len(INNER).to_bytes(4, "big") + INNER)


def test_data_may_be_as_far_above_its_base_as_the_window_is_wide():
    frame = Data(1, 1, 1, MAX_WINDOW, INNER)
    assert decode(encode(frame, ROUTE)) == frame


def test_a_data_frame_tells_its_place():
    assert data_place(encode_data(ROUTE, 7, 1, 2, 3, INNER)) == (7, 1, 3)


@pytest.mark.parametrize(
    ("scope", "epoch", "value"), [(1, 1, 5), (3, 0, 5), (3, 2**62, 5), (3, 1, 2**62), (1, 0, 2**62)]
)
def test_an_ack_has_numbers_that_can_be(scope, epoch, value):
    with pytest.raises(ValueOutOfRange):
        encode_ack(ROUTE, scope, 0, 1, epoch, value)
    numbers = b"".join(n.to_bytes(8, "big") for n in (1, epoch, value))
    with pytest.raises(MalformedMessage):
        decode(b"\xc0\xdd\x10" + bytes.fromhex(WRITTEN) + bytes([scope, 0]) + numbers + bytes(4))


def test_a_streams_ack_has_no_refusals():
    with pytest.raises(ValueOutOfRange):
        encode_ack(ROUTE, Scope.REQUEST, 0, 1, 0, 9, [Refusal(1, 4, "")])
    with pytest.raises(MalformedMessage):
        decode(encode_ack(ROUTE, 1, 0, 1, 0, 9)[:-4] + (12).to_bytes(4, "big") + bytes(12))


def test_a_cancel_has_no_content():
    with pytest.raises(MalformedMessage, match="no content"):
        decode(encode_cancel(ROUTE, 1, 5)[:-1] + b"\1x")


@pytest.mark.parametrize(
    "write",
    [
        lambda: encode_request(ROUTE, -1, 0, INNER),
        lambda: encode_request(ROUTE, 1, 2**32, INNER),
        lambda: encode_request(ROUTE, 1, 0, INNER, 2**32),
        lambda: encode_reply(ROUTE, 2**64, 0, INNER),
        lambda: encode_failure(ROUTE, 1, 1, 65536, ""),
        lambda: encode_failure(ROUTE, 1, 1, 1, "x" * 1001),
        lambda: encode_failure(ROUTE, 1, 1, 1, "\ud800"),
        lambda: encode_cancel(ROUTE, 2, 2**64),
        lambda: encode_data(ROUTE, 2**64, 1, 1, 1, INNER),
        lambda: encode_ack(ROUTE, 3, 256, 1, 1, 1),
        lambda: encode_fragment(ROUTE, 1, 2, 65536, 0, b""),
    ],
)
def test_what_does_not_fit_is_not_written(write):
    with pytest.raises(ValueOutOfRange) as caught:
        write()
    assert caught.value.type_id == SESSION_TYPE or "tu32" in str(caught.value)


def test_an_ack_with_too_much_to_tell_is_not_written():
    with pytest.raises(PayloadTooLarge):
        encode_ack(ROUTE, 3, 0, 1, 1, 100, [Refusal(n, 4, "x" * 1000) for n in range(1, 101)])


def test_a_wait_is_written_in_as_few_bytes_as_it_needs():
    payload = encode_request(ROUTE, 1, 0, INNER)
    assert encode_request(ROUTE, 1, 0, INNER, 0) == payload + b"\1\0"
    assert encode_request(ROUTE, 1, 0, INNER, 256) == payload + b"\1\2\1\0"
    with pytest.raises(NotMinimal):
        decode(payload + b"\1\2\0\1")
    with pytest.raises(TrailingBytes):
        decode(payload + b"\1\5\1\0\0\0\0")


@pytest.mark.parametrize(
    "payload",
    [encode_request(ROUTE, 77, 0, INNER), encode_fragment(ROUTE, 77, 9, 9, 9, b"")],
    ids=["request", "fragment"],
)
def test_a_refused_request_or_fragment_tells_what_to_answer(payload):
    scope = Scope.REQUEST if payload[2] == FrameType.REQUEST else Scope.TRANSFER
    assert subject(payload + b"\2\0") == subject(payload[:19]) == (scope, 77)
    assert subject(payload[:18]) is None


def test_nothing_else_is_answered():
    for frame in FRAMES:
        if not isinstance(frame, Request | Fragment):
            assert subject(encode(frame, ROUTE)) is None
    for kind in (3, 2, 0x30):
        assert subject(bytes([0xC0, 0xDD, kind]) + bytes(20)) is None


def test_frames_print_without_what_they_carry():
    assert (
        repr(Request(7, 0, bytes(3000))) == "Request(id=7, credit=0, content=<3000 bytes>, wait_ms=None, urgent=False)"
    )
    for frame in FRAMES:
        assert len(repr(frame)) < 200
