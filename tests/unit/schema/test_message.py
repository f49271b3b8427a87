"""`message`, `declare`, `subtype`, `schema_of` and `describe`."""

import pytest

from oddwire.errors import SchemaError
from oddwire.schema import Message, declare, describe, field, message, schema_of, sha256, subtype, u8, u64


@message(0x8C01)
class QuoteRequest(Message):
    asset: str
    nonce: u64


@message(0x8C03, codec="bolt", name="Digest", spec=True)
class LongName(Message):
    digest: sha256
    more: u8 | None = field(tlv=1, default=None)


@message(0x8C05)
class Empty(Message):
    pass


def test_schema_of_a_class_and_of_an_instance():
    schema = schema_of(QuoteRequest)
    assert schema is schema_of(QuoteRequest(asset="eur", nonce=7))
    assert (schema.type_id, schema.name, schema.codec, schema.spec) == (0x8C01, "QuoteRequest", "msgpack", False)
    schema = schema_of(LongName)
    assert (schema.type_id, schema.name, schema.codec, schema.spec) == (0x8C03, "Digest", "bolt", True)


@pytest.mark.parametrize("thing", [Message, object, int, 7, "text"])
def test_schema_of_what_is_no_message(thing):
    with pytest.raises(SchemaError, match="is not a message"):
        schema_of(thing)


def test_describing():
    request = QuoteRequest(asset="eur", nonce=7)
    assert describe(request) == repr(request) == "QuoteRequest 0x8c01 asset='eur' nonce=7"
    assert describe(request, 23) == "QuoteRequest 0x8c01 [23 bytes] asset='eur' nonce=7"
    assert describe(Empty(), 1) == "Empty 0x8c05 [1 byte]"
    assert repr(LongName(digest=b"\xab" * 32)) == f"Digest 0x8c03 digest={'ab' * 32} more=None"


@pytest.mark.parametrize(
    ("type_id", "spec", "text"),
    [
        (-1, False, "should be 0 to 65535"),
        (65536, True, "should be 0 to 65535"),
        ("0x8c01", False, "should be an integer"),
        (True, True, "should be an integer"),
        (32767, False, "choose one of 32768 to 65535, or say spec=True"),
        (16, True, "16 (WIRE_INIT) can never be sent"),
        (513, True, "513 (WIRE_ONION_MESSAGE) can never be sent"),
    ],
)
def test_type_numbers_nobody_can_have(type_id, spec, text):
    with pytest.raises(SchemaError) as caught:

        @message(type_id, spec=spec)
        class Wrong(Message):
            pass

    assert text in str(caught.value)
    assert str(caught.value).startswith(f"{__name__}.test_type_numbers_nobody_can_have.<locals>.Wrong: ")


@pytest.mark.parametrize("type_id", [7, 9, 32767])
def test_a_specification_may_use_lower_numbers(type_id):
    @message(type_id, spec=True)
    class Stored(Message):
        blob: bytes

    assert schema_of(Stored).type_id == type_id


def test_the_bolts_own_messages_can_be_declared():
    class Ping(Message):
        num_pong_bytes: u8
        ignored: bytes

    assert schema_of(declare(Ping, 18)).codec == "bolt"


@pytest.mark.parametrize(
    ("told", "max_size"),
    [
        ({}, 16 << 20),
        ({"spec": True}, 65535),
        ({"spec": True, "max_size": 1 << 24}, 1 << 24),
        ({"max_size": 2}, 2),
        ({"max_size": (1 << 32) - 1}, (1 << 32) - 1),
    ],
)
def test_how_large_a_message_may_be(told, max_size):
    @message(0x8C01, **told)
    class Blob(Message):
        data: bytes

    assert schema_of(Blob).max_size == max_size


@pytest.mark.parametrize(
    ("spec", "max_size", "text"),
    [
        (False, 1, "max_size should be 2 to 4294967295 bytes, not 1"),
        (False, 1 << 32, "max_size should be 2 to 4294967295 bytes, not 4294967296"),
        (False, 100.0, "not 100.0"),
        (False, True, "not True"),
        (True, 1 << 32, "max_size should be 2 to 4294967295 bytes, not 4294967296"),
    ],
)
def test_sizes_no_message_can_have(spec, max_size, text):
    with pytest.raises(SchemaError) as caught:

        @message(0x8C01, spec=spec, max_size=max_size)
        class Wrong(Message):
            pass

    assert str(caught.value).endswith(text)
    assert str(caught.value).startswith(f"{__name__}.test_sizes_no_message_can_have.<locals>.Wrong: ")


def test_decorators_on_the_wrong_classes():
    class Plain:
        value: u8

    with pytest.raises(SchemaError, match="Plain: @message is for subclasses of Message; use @subtype"):
        message(0x8C01)(Plain)
    with pytest.raises(SchemaError, match=r"Plain: @message should have a type number: @message\(0x8c01\)"):
        message(Plain)  # type: ignore[type-var]
    with pytest.raises(SchemaError, match="QuoteRequest: a subclass of Message takes @message"):
        subtype(QuoteRequest)

    class Derived(Plain):
        pass

    with pytest.raises(SchemaError, match="Derived: a @subtype is a plain class"):
        subtype(Derived)


def test_subtypes_look_like_dataclasses():
    @subtype
    class Order:
        """What somebody wants."""

        price: u64
        note: str = ""

    assert repr(Order(price=3)) == "Order(price=3, note='')"
    assert Order.__doc__ == "What somebody wants."
    assert Order(price=3) == Order(price=3, note="")


def test_wrong_arguments_name_the_class():
    with pytest.raises(TypeError, match=r"^QuoteRequest\(\) missing 1 required keyword-only argument: 'nonce'"):
        QuoteRequest(asset="eur")


def test_what_describe_is_for():
    @subtype
    class Part:
        size: u8

    with pytest.raises(SchemaError, match=r"Part is a subtype, which has no type number .*: print it, or its repr\(\)"):
        describe(Part(size=1))
    assert repr(Part(size=1)) == "Part(size=1)"
    with pytest.raises(SchemaError, match="Part is not a message, but a subtype: a message is a subclass of Message"):
        schema_of(Part)
    with pytest.raises(SchemaError, match=r"describe takes a message, an instance, and .*QuoteRequest is a class"):
        describe(QuoteRequest)
    with pytest.raises(SchemaError, match=r"builtins\.int is not a message: decorate it"):
        describe(5)
