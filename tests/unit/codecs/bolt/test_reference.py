"""The exact reader and writer of BOLT 1's types, by itself; `test_bolt` says what both ways have in common."""

import pytest

from oddwire.codecs.bolt.reference import check_extension, read_message, write_message
from oddwire.errors import EncodeError, MalformedMessage, OutOfOrder, Truncated, UnknownRequiredRecord
from oddwire.schema import Message, field, message, schema_of, subtype, tu64, u8, u16


@subtype
class Part:
    number: u16


@message(0x8C01, codec="bolt")
class Whole(Message):
    flag: bool
    parts: tuple[Part, ...]
    amount: tu64 | None = field(tlv=3, default=None)


SCHEMA = schema_of(Whole)


def test_there_and_back():
    whole = Whole(flag=True, parts=(Part(number=1), Part(number=2)), amount=300)
    body = write_message(SCHEMA, whole)
    assert body.hex() == "010002000100020302012c"
    assert read_message(SCHEMA, b"\x8c\x01" + body) == whole


def test_errors_know_place_and_path_but_no_type():
    with pytest.raises(Truncated) as caught:
        read_message(SCHEMA, b"\x8c\x01\x01\x00\x02\x00\x01\x00")
    assert (caught.value.path, caught.value.offset, caught.value.type_id) == ("$.parts", 5, None)
    with pytest.raises(EncodeError) as encode_caught:
        write_message(SCHEMA, Whole(flag=True, parts=(Part(number=-1),)))
    assert (encode_caught.value.path, encode_caught.value.type_id) == ("$.parts[0].number", None)


def test_a_field_without_a_value():
    with pytest.raises(EncodeError, match=r"\$.flag: has no value"):
        write_message(SCHEMA, object.__new__(Whole))


@pytest.mark.parametrize("stream", ["", "0100", "010003020000", "fd01010100"])
def test_extensions_to_ignore(stream):
    data = b"??" + bytes.fromhex(stream)
    check_extension(data, 2, len(data))


@pytest.mark.parametrize(
    ("stream", "error", "offset"),
    [
        ("0200", UnknownRequiredRecord, 2),
        ("01000200", UnknownRequiredRecord, 4),
        ("01000100", OutOfOrder, 4),
        ("01", Truncated, 3),
    ],
)
def test_extensions_to_refuse(stream, error, offset):
    data = b"??" + bytes.fromhex(stream)
    with pytest.raises(MalformedMessage) as caught:
        check_extension(data, 2, len(data))
    assert type(caught.value) is error
    assert caught.value.offset == offset


def test_an_extension_cannot_start_after_the_end():
    with pytest.raises(Truncated, match="needs 3 bytes more"):
        check_extension(b"??", 5, 2)


def test_kinds_the_wire_does_not_know():
    @subtype
    class Foreign:
        rate: float

    record = Foreign.__oddwire__
    with pytest.raises(NotImplementedError):
        write_message(record, Foreign(rate=1.0))
    with pytest.raises(NotImplementedError):
        read_message(record, b"\x8c\x01" + bytes(8))
    assert u8
