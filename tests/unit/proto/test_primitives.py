"""oddwire.proto.primitives. The BOLT's own vectors are in tests/vectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwire.errors import (
    EncodeError,
    MalformedMessage,
    NotMinimal,
    OutOfOrder,
    TrailingBytes,
    Truncated,
    ValueOutOfRange,
)
from oddwire.proto.primitives import (
    MAX_RECORDS,
    bigsize_decode,
    bigsize_encode,
    build_tlv_stream,
    parse_tlv_stream,
    sint_decode,
    sint_encode,
    tu_decode,
    tu_encode,
    uint_decode,
    uint_encode,
)

SIZES = (1, 2, 4, 8)
sizes = st.sampled_from(SIZES)
padding = st.binary(max_size=4)


# Fixed-size integers


@given(sizes.flatmap(lambda size: st.tuples(st.just(size), st.integers(0, (1 << size * 8) - 1))), padding, padding)
def test_an_unsigned_integer_comes_back(sized, before, after):
    size, value = sized
    encoded = uint_encode(value, size)
    assert len(encoded) == size
    assert uint_decode(before + encoded + after, size, len(before)) == (value, len(before) + size)


@given(sizes.flatmap(lambda size: st.tuples(st.just(size), st.integers(-(1 << size * 8 - 1), (1 << size * 8 - 1) - 1))))
def test_a_signed_integer_comes_back(sized):
    size, value = sized
    encoded = sint_encode(value, size)
    assert len(encoded) == size
    assert sint_decode(b"\xaa" + encoded + b"\xbb", size, 1) == (value, 1 + size)


@pytest.mark.parametrize("size", SIZES)
def test_integers_out_of_range_are_refused(size):
    top = 1 << size * 8
    with pytest.raises(ValueOutOfRange, match=rf"u{size * 8} should be 0 to {top - 1}, not {top}"):
        uint_encode(top, size)
    with pytest.raises(ValueOutOfRange):
        uint_encode(-1, size)
    with pytest.raises(ValueOutOfRange, match=rf"s{size * 8} should be {-top // 2} to {top // 2 - 1}, not {top // 2}"):
        sint_encode(top // 2, size)
    with pytest.raises(ValueOutOfRange):
        sint_encode(-top // 2 - 1, size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("decode", [uint_decode, sint_decode])
def test_a_short_integer_is_truncated(decode, size):
    with pytest.raises(Truncated, match=rf"needs {size} bytes, {size - 1} remain") as caught:
        decode(b"\x01\x02" + bytes(size - 1), size, 2)
    assert caught.value.offset == 2
    with pytest.raises(Truncated):
        decode(bytes(16), size, 2, 1 + size)  # the bytes past end are not its own


# Truncated integers


@given(
    st.sampled_from((2, 4, 8)).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, (1 << size * 8) - 1))),
    padding,
    padding,
)
def test_a_truncated_integer_comes_back_in_as_few_bytes_as_it_can(sized, before, after):
    size, value = sized
    encoded = tu_encode(value, size)
    assert len(encoded) <= size
    assert int.from_bytes(encoded, "big") == value
    assert not encoded.startswith(b"\0")
    end = len(before) + len(encoded)
    assert tu_decode(before + encoded + after, size, len(before), end) == (value, end)


def test_zero_takes_no_bytes():
    assert tu_encode(0, 8) == b""
    assert tu_decode(b"", 8) == (0, 0)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_truncated_integers_out_of_range_are_refused(size):
    with pytest.raises(ValueOutOfRange, match=rf"tu{size * 8} should be 0 to"):
        tu_encode(1 << size * 8, size)
    with pytest.raises(ValueOutOfRange):
        tu_encode(-1, size)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_a_truncated_integer_with_a_leading_zero_or_too_long_is_refused(size):
    with pytest.raises(NotMinimal) as caught:
        tu_decode(b"\xff" + bytes(size), size, 1)
    assert caught.value.offset == 1
    with pytest.raises(TrailingBytes) as too_long:
        tu_decode(b"\x01" * (size + 1), size)
    assert too_long.value.offset == size


# BigSize


@given(st.integers(0, (1 << 64) - 1) | st.integers(0, 0x1_0001), padding, padding)
def test_a_bigsize_comes_back(value, before, after):
    encoded = bigsize_encode(value)
    assert bigsize_decode(before + encoded + after, len(before)) == (value, len(before) + len(encoded))


@given(st.binary(max_size=12))
def test_any_bytes_decode_to_what_encodes_to_them_or_are_malformed(data):
    try:
        value, stop = bigsize_decode(data)
    except (Truncated, NotMinimal) as error:
        broken_at = error.offset
    else:
        assert bigsize_encode(value) == data[:stop]
        return
    assert broken_at == 0


@pytest.mark.parametrize("value", [-1, 1 << 64])
def test_a_bigsize_out_of_range_is_refused(value):
    with pytest.raises(ValueOutOfRange, match=rf"bigsize should be 0 to {(1 << 64) - 1}, not {value}"):
        bigsize_encode(value)


def test_a_bigsize_ends_where_its_stream_ends():
    with pytest.raises(Truncated):
        bigsize_decode(b"\xfd\x01\x02", 0, 2)
    with pytest.raises(Truncated):
        bigsize_decode(b"\x05", 1)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_buffer_is_read(kind):
    assert bigsize_decode(kind(b"\xfe\x00\x01\x00\x00")) == (0x10000, 5)
    assert uint_decode(kind(b"\x01\x02"), 2) == (0x0102, 2)
    assert tu_decode(kind(b"\x01\x02"), 4) == (0x0102, 2)
    assert parse_tlv_stream(kind(b"\x01\x01\xaa")) == [(1, 2, 3)]


# TLV streams

streams = st.dictionaries(st.integers(0, 300) | st.integers(0, (1 << 64) - 1), st.binary(max_size=300), max_size=6).map(
    lambda records: sorted(records.items())
)


@given(streams, padding, padding)
def test_a_stream_comes_back(records, before, after):
    stream = build_tlv_stream(records)
    buffer = before + stream + after
    found = parse_tlv_stream(buffer, len(before), len(before) + len(stream))
    assert [(record_type, buffer[start:stop]) for record_type, start, stop in found] == records


@given(st.binary(max_size=40))
def test_any_bytes_are_a_stream_that_is_rebuilt_exactly_or_malformed(data):
    try:
        found = parse_tlv_stream(data)
    except (Truncated, NotMinimal, OutOfOrder) as error:
        broken_at = error.offset
    else:
        assert build_tlv_stream((record_type, data[start:stop]) for record_type, start, stop in found) == data
        return
    assert broken_at in range(len(data) + 1)


@pytest.mark.parametrize(
    ("stream", "error", "offset", "text"),
    [
        ("0101aa0101bb", OutOfOrder, 3, "record 1 repeats"),
        ("0301aa0101bb", OutOfOrder, 3, "record 1 follows record 3"),
        ("0102aa", Truncated, 1, "record 1 has 2 bytes by its length, 1 remain"),
        ("01", Truncated, 1, "at least 1 byte"),
        ("fd0001", NotMinimal, 0, "should not take 3 bytes"),
        ("01fd0001aa", NotMinimal, 1, "should not take 3 bytes"),
        ("01ffffffffffffffff", Truncated, 1, "needs 9 bytes"),
        ("01ffffffffffffffffff", Truncated, 1, "18446744073709551615 bytes"),
    ],
)
def test_a_broken_stream_is_refused_where_it_breaks(stream, error, offset, text):
    with pytest.raises(error, match=text) as caught:
        parse_tlv_stream(bytes.fromhex(stream))
    assert type(caught.value) is error
    assert caught.value.offset == offset


def test_building_refuses_what_parsing_would():
    with pytest.raises(EncodeError, match="record 1 should not follow record 1"):
        build_tlv_stream([(1, b""), (1, b"")])
    with pytest.raises(EncodeError, match="record 1 should not follow record 3"):
        build_tlv_stream([(3, b""), (1, b"")])
    with pytest.raises(ValueOutOfRange):
        build_tlv_stream([(1 << 64, b"")])


def test_a_stream_has_so_many_records_at_most():
    """A message cannot hold as many, but what comes in fragments could hold millions."""
    records = [(number, b"") for number in range(MAX_RECORDS + 1)]
    assert len(build_tlv_stream(records[: MAX_RECORDS // 2 + 200])) > 65535
    assert len(parse_tlv_stream(build_tlv_stream(records[:-1]))) == MAX_RECORDS
    with pytest.raises(MalformedMessage, match="TLV stream holds more than 32768 records"):
        parse_tlv_stream(build_tlv_stream(records))
