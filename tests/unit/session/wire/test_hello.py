"""Hello: its bytes, and what two of them have in common."""

import pytest

from oddwire.errors import MalformedMessage, PayloadTooLarge, Truncated, ValueOutOfRange
from oddwire.session.constants import MAX_EXTENSIONS, MAX_HELLO, SESSION_TYPE
from oddwire.session.wire.frame_types import Hello, Spoken
from oddwire.session.wire.frames import addresses, decode, encode
from oddwire.session.wire.hello import (
    MAX_KEPT_VERSIONS,
    MAX_STRANGE,
    Agreement,
    decode_hello,
    digest,
    highest_common,
    negotiate,
    version_key,
)

ROUTE = 0x1A1A1A1A  # from this instance to all
BARE = Hello(1, 1, 1, 0x0102030405060708)


def hello(*extensions, lowest=1, highest=1):
    return Hello(1, lowest, highest, 7, tuple(Spoken(name, tuple(versions), ()) for name, *versions in extensions))


def with_content(content):
    return encode(BARE, ROUTE)[:-4] + len(content).to_bytes(4, "big") + content


# Bytes ------------------------------------------------------------------------------------------------


def test_a_hello_byte_by_byte():
    spoken = (Spoken("a", ("1.0", "2"), (0x8001, 0xFFFF)), Spoken("b", ("0",), ()))
    payload = encode(Hello(1, 1, 2, 0x0102030405060708, spoken, 65536, 0, (0, 2**64 - 1)), ROUTE)
    content = "01610203312e30013200028001ffff01620101300000"
    length = f"{len(content) // 2:08x}"
    head, records = "c0dd09000000001a1a1a1a0101020102030405060708", "01030100000300" + "0510" + "00" * 8 + "ff" * 8
    assert payload.hex() == head + length + content + records
    assert decode_hello(payload) == Hello(1, 1, 2, 0x0102030405060708, spoken, 65536, 0, (0, 2**64 - 1))


def test_what_is_not_said_is_none():
    assert decode(encode(BARE, ROUTE)) == BARE
    assert (BARE.extensions, BARE.assembles, BARE.requests, BARE.stores) == ((), None, None, ())


def test_the_largest_hello_comes_back():
    types = tuple(range(15))
    most = hello(*((f"{n:03}{'x' * 85}", "1.0") for n in range(MAX_EXTENSIONS)))
    most = most._replace(extensions=tuple(spoken._replace(types=types) for spoken in most.extensions))
    payload = encode(most, ROUTE)
    assert MAX_HELLO - 1000 < len(payload) < MAX_HELLO
    assert decode(payload) == most


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (hello(("b", "1"), ("a", "1")), "ascend"),
        (hello(("a", "1"), ("a", "1")), "ascend"),
        (hello(("", "1")), "name"),
        (hello(("two words", "1")), "name"),
        (hello(("é", "1")), "name"),
        (hello(("\ud800", "1")), "name"),
        (hello(("x" * 256, "1")), "name"),
        (hello(("a",)), "versions"),
        (hello(("a", *map(str, range(256)))), "versions"),
        (hello(("a", "1.0rc1")), "version"),
        (hello(("a", "01")), "version"),
        (hello(("a", "1.")), "version"),
        (hello(("a", "")), "version"),
        (hello(("a", "1" * 10)), "version"),
        (hello(("a", "1." * 128 + "1")), "version"),
        (hello(("a", "1\n")), "version"),
        (hello(("a", "\u0663")), "version"),
        (Hello(1, 1, 1, 7, (Spoken("a", ("1",), (5, 5)),)), "ascend"),
        (Hello(1, 1, 1, 7, (Spoken("a", ("1",), (65536,)),)), "65535"),
        (hello(*((f"{n:03}", "1") for n in range(256))), "255"),
        (hello(lowest=0), "1 on"),
        (hello(lowest=2), "1 on"),
        (BARE._replace(highest=256), "header"),
        (BARE._replace(program=2**64), "header"),
        (BARE._replace(program=-1), "header"),
        (BARE._replace(flags=256), "header"),
        (BARE._replace(flags=3), "leave"),
        (BARE._replace(flags=255), "leave"),
        (BARE._replace(stores=(2**64,)), "64 bits"),
        (BARE._replace(stores=(5, -1)), "64 bits"),
        (BARE._replace(stores=tuple(range(33))), "at most 32 stores, not 33"),
        (BARE._replace(assembles=2**64), "tu64"),
        (BARE._replace(requests=2**32), "tu32"),
    ],
)
def test_what_no_peer_would_take_is_not_written(wrong, says):
    with pytest.raises(ValueOutOfRange, match=says):
        encode(wrong, ROUTE)


def test_a_hello_too_long_is_not_written():
    with pytest.raises(PayloadTooLarge, match="32768"):
        encode(Hello(1, 1, 1, 7, (Spoken("a", ("1",), tuple(range(16384))),)), ROUTE)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("000101310000", MalformedMessage),  # no name
        ("01200101310000", MalformedMessage),  # a space
        ("0161000000", MalformedMessage),  # no version
        ("016101000000", MalformedMessage),  # an empty one
        ("01610103312e2e0000", MalformedMessage),
        ("01610102ff310000", MalformedMessage),
        ("0161010131000001610101310000", MalformedMessage),  # twice
        ("0162010131000001610101310000", MalformedMessage),  # descending
        ("0161010131000200050005", MalformedMessage),
        ("01", Truncated),
        ("0161", Truncated),
        ("016101", Truncated),
        ("0161020131", Truncated),
        ("016101013100", Truncated),
        ("016101013100020005", Truncated),
    ],
)
def test_content_that_is_wrong_is_refused(content, error):
    with pytest.raises(MalformedMessage) as caught:
        decode(with_content(bytes.fromhex(content)))
    assert type(caught.value) is error
    assert 26 <= caught.value.offset <= 26 + len(content) // 2


def test_a_text_does_not_run_into_the_records():
    with pytest.raises(Truncated):
        decode(with_content(b"\5a") + b"\1\1\1\3\1\1")


def test_too_many_extensions_are_refused():
    one = [b"\3%03d\1\0011\0\0" % n for n in range(256)]
    assert len(decode(with_content(b"".join(one[:255]))).extensions) == 255
    with pytest.raises(MalformedMessage, match="255"):
        decode(with_content(b"".join(one)))


def test_too_much_content_is_refused():
    with pytest.raises(MalformedMessage, match="32768"):
        decode(
            with_content(
                b"\1a\1\0011" + (16384).to_bytes(2, "big") + b"".join(n.to_bytes(2, "big") for n in range(16384))
            )
        )


@pytest.mark.parametrize(("lowest", "highest"), [(0, 1), (2, 1), (0, 0)])
def test_versions_that_are_none_are_refused(lowest, highest):
    payload = bytearray(encode(BARE, ROUTE))
    payload[12:14] = lowest, highest
    with pytest.raises(MalformedMessage, match="versions"):
        decode(bytes(payload))


@pytest.mark.parametrize("flags", [0, 1, 2, 0xFC, 0xFD, 0xFE])
def test_flags_of_later_days_are_kept(flags):
    said = BARE._replace(flags=flags)
    assert decode(encode(said, ROUTE)) == said


@pytest.mark.parametrize("flags", [3, 255])
def test_who_leaves_wants_no_answer(flags):
    payload = bytearray(encode(BARE, ROUTE))
    payload[11] = flags
    with pytest.raises(MalformedMessage, match="should not leave") as caught:
        decode(bytes(payload))
    assert caught.value.offset == 11


@pytest.mark.parametrize("route", [0, 5 << 32])
def test_a_hello_is_from_an_instance(route):
    with pytest.raises(ValueOutOfRange, match="never 0"):
        encode(BARE, route)
    assert addresses(encode(BARE, route | 1)) == (route >> 32, 1)


@pytest.mark.parametrize("stores", [(0,), (7, 3, 7), tuple(range(32))])
def test_stores_come_back_as_they_were_told(stores):
    said = BARE._replace(stores=stores)
    assert decode(encode(said, ROUTE)) == said


@pytest.mark.parametrize("size", [0, 1, 4, 7, 9, 12, 15, 33 * 8, 32 * 8 + 1, 60_000])
def test_stores_that_are_none_too_many_or_cut_off_are_refused(size):
    head = b"\5" + (bytes([size]) if size < 253 else b"\xfd" + size.to_bytes(2, "big"))
    with pytest.raises(MalformedMessage, match=f"1 to 32 numbers of 8 bytes, not {size} bytes") as caught:
        decode(encode(BARE, ROUTE) + head + bytes(size))
    assert caught.value.type_id == SESSION_TYPE


# What is in common ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "version"),
    [((1, 1), (1, 1), 1), ((1, 3), (2, 5), 3), ((1, 5), (2, 4), 4), ((2, 3), (3, 9), 3), ((1, 1), (2, 2), None)],
)
def test_the_protocols_version_is_the_highest_both_speak(ours, theirs, version):
    ends = [hello(lowest=ours[0], highest=ours[1]), hello(lowest=theirs[0], highest=theirs[1])]
    for found in (negotiate(*ends), negotiate(*reversed(ends))):
        assert found == (None if version is None else Agreement(version, {}))


def test_extensions_are_common_if_a_version_is():
    ours = hello(("chat", "1.0", "2.0"), ("echo", "1"), ("mine", "1"), ("quote", "1", "2"))
    theirs = hello(("chat", "2.0", "1.0", "3"), ("echo", "1.0"), ("quote", "10", "9", "2", "1"), ("theirs", "1"))
    expected = Agreement(1, {"chat": "2.0", "quote": "2"})
    assert negotiate(ours, theirs) == negotiate(theirs, ours) == expected


def test_versions_compare_number_by_number():
    ascending = ["0", "0.0", "0.9", "0.10", "1", "1.0", "1.0.0", "1.2", "1.10", "2", "10", "999999999"]
    assert sorted(set(ascending), key=version_key) == ascending
    assert highest_common(ascending, ascending[:-2]) == "2"
    assert highest_common(["1"], ["1.0"]) is None


def test_of_a_hello_is_kept_what_can_be_of_use() -> None:
    many = tuple(f"1.{number}" for number in range(100))
    ours = Hello(0, 1, 1, 1, (Spoken("market", ("1.99",), (3, 5)),))
    others = [Spoken(f"other{number:03}", many, (1, 2, 6)) for number in range(100)]
    others[70] = Spoken("other070", ("9",), (1, 5, 6))
    theirs = Hello(0, 1, 1, 2, tuple(sorted([Spoken("market", many, (1, 3, 4, 5, 7)), *others])))
    kept = digest(ours, theirs)
    assert kept["market"] == Spoken("market", many[:MAX_KEPT_VERSIONS], (3, 5))
    assert len(kept) == 1 + MAX_STRANGE
    assert kept["other000"] == Spoken("other000", many[:MAX_KEPT_VERSIONS], ())
    assert kept["other070"] == Spoken("other070", ("9",), (5,)), "it has a type of ours under another name"
    assert sorted(kept) == list(kept)
    agreement = negotiate(ours, theirs)
    assert agreement is not None
    assert agreement.extensions == {"market": "1.99"}


def test_types_of_ours_are_kept_under_whatever_name_they_are() -> None:
    ours = Hello(0, 1, 1, 1, (Spoken("chat", ("1",), (1, 3)), Spoken("market", ("1",), (5, 7))))
    theirs = Hello(0, 1, 1, 2, (Spoken("bazaar", ("1",), (3, 5, 9)), Spoken("chat", ("1",), (1, 5, 11))))
    assert {name: spoken.types for name, spoken in digest(ours, theirs).items()} == {"bazaar": (3, 5), "chat": (1, 5)}
