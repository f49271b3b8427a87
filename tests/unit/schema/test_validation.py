"""`@validates`: when methods run, what they may be, and what becomes of their errors."""

import pytest

from oddwire import Message, SchemaError, field, message, replace, subtype, tu32, u8, u16, validates
from oddwire.codecs import enveloped
from oddwire.codecs.registry import Registry
from oddwire.errors import EncodeError, MalformedMessage, ValueOutOfRange
from oddwire.schema import from_dict, from_strings, schema_of, to_dict
from oddwire.schema.validation import MARK, validators_of


class Checks:
    """What several classes share, without fields."""

    __slots__ = ()

    @validates("low")
    def check_low(self, value):
        if value == 13:
            raise ValueError("should not be 13")


@subtype
class Range(Checks):
    low: u8
    high: u8

    @validates
    def check_order(self):
        if self.low > self.high:
            raise ValueError("should have low below high")


class Offer(Message):
    first: Range
    more: tuple[Range, ...] = ()
    fee: u16 = 1

    @validates("fee")
    def check_fee(self, fee):
        if fee == 0:
            raise LookupError("no fee")
        if fee == 7:
            raise ValueError


@message(0x8C01)
class Packed(Offer):
    pass


@message(0x8C03, codec="json")
class Json(Offer):
    pass


@message(0x8C05, codec="bolt")
class Bolt(Message):
    first: Range
    more: tuple[Range, ...]
    fee: u16
    tip: tu32 | None = field(tlv=1, default=None)

    @validates("fee")
    def check_fee(self, fee):
        if fee == 0:
            raise LookupError("no fee")
        if fee == 7:
            raise ValueError

    @validates("tip")
    def check_tip(self, tip):
        if tip == 5 or (tip is None and self.fee == 9):
            raise ValueError("should be another tip")


REGISTRY = Registry()
for cls in (Packed, Json, Bolt):
    REGISTRY.register(cls)
BAD = {
    "13": ({"first": Range(low=13, high=20)}, "$.first.low", "should not be 13"),
    "order": ({"first": Range(low=20, high=2)}, "$.first", "should have low below high"),
    "element": ({"more": (Range(low=1, high=2), Range(low=2, high=1))}, "$.more[1]", "should have low below high"),
    "other error": ({"fee": 0}, "$.fee", "check_fee raised LookupError: no fee"),
    "no text": ({"fee": 7}, "$.fee", "check_fee raised ValueError"),
}
PLAIN = {"first": Range(low=1, high=2), "more": (Range(low=3, high=4),), "fee": 5}


def unchecked(cls):
    """A class of the same fields, and without validators, whose payloads are those of ``cls``."""
    schema = schema_of(cls)

    @subtype
    class Free:
        low: u8
        high: u8

    names = {"first": Free, "more": tuple[Free, ...], "fee": u16}
    namespace = {"__module__": __name__, "__qualname__": "Free", "__annotations__": names}
    if cls is Bolt:
        names["tip"] = tu32 | None
        namespace["tip"] = field(tlv=1, default=None)
    made = message(schema.type_id, codec=schema.codec)(type(Message)("Free", (Message,), namespace))
    registry = Registry()
    registry.register(made)

    def free(value):
        return Free(low=value.low, high=value.high)

    def encode(message):
        rest = {"tip": message.tip} if cls is Bolt else {}
        first, more = free(message.first), tuple(map(free, message.more))
        return registry.encode(made(first=first, more=more, fee=message.fee, **rest))

    return encode


@pytest.mark.parametrize("cls", [Packed, Json, Bolt])
@pytest.mark.parametrize(("changes", "path", "text"), BAD.values(), ids=BAD)
def test_what_is_refused(cls, changes, path, text):
    good = cls(**PLAIN)
    encode = unchecked(cls)
    assert REGISTRY.encode(good) == encode(good)
    assert REGISTRY.decode(encode(good)) == good
    bad = replace(good, **changes)
    with pytest.raises(ValueOutOfRange) as caught:
        REGISTRY.encode(bad)
    assert (caught.value.args[0], caught.value.path, caught.value.name) == (text, path, cls.__name__)
    with pytest.raises(MalformedMessage) as caught:
        REGISTRY.decode(encode(bad))
    assert (caught.value.args[0], caught.value.path) == (text, path)
    assert caught.value.offset is not None


def test_offsets_with_bolt():
    encode = unchecked(Bolt)
    for changes, offset in (
        ({"first": Range(low=20, high=2)}, 2),
        ({"first": Range(low=13, high=20)}, 2),
        ({"more": (Range(low=1, high=2), Range(low=2, high=1))}, 8),
        ({"fee": 0}, 8),
        ({"tip": 5}, 12),
        ({"fee": 9}, 2),  # the tip is absent
    ):
        with pytest.raises(MalformedMessage) as caught:
            REGISTRY.decode(encode(Bolt(**PLAIN | changes)))
        assert caught.value.offset == offset, changes


def test_types_come_first_and_making_is_free():
    for cls in (Packed, Json, Bolt):
        wrong = cls(**PLAIN | {"fee": "x"})
        with pytest.raises(EncodeError, match="should be u16, not str"):
            REGISTRY.encode(wrong)
        with pytest.raises(ValueOutOfRange, match="u16 should be 0 to 65535, not 65536"):
            REGISTRY.encode(replace(wrong, fee=65536))


def test_dicts_and_text():
    with pytest.raises(ValueOutOfRange, match="no fee"):
        to_dict(Packed(**PLAIN | {"fee": 0}))
    with pytest.raises(EncodeError, match="no fee") as caught:
        from_dict(Packed, {"first": {"low": 1, "high": 2}, "fee": 0})
    assert caught.value.path == "$.fee"
    with pytest.raises(EncodeError, match="should have low below high") as caught:
        from_strings(Packed, {"first": '{"low": 2, "high": 1}'})
    assert caught.value.path == "$.first"


def test_subclasses_inherit_and_override():
    @subtype
    class Narrow(Range):
        def check_order(self):
            if self.high - self.low > 2:
                raise ValueError("should be narrow")

    @message(0x8C07)
    class Holder(Message):
        narrow: Narrow

    names = [(validator.name, validator.field) for validator in Narrow.__oddwire__.validators]
    assert names == [("check_low", "low"), ("check_order", "")]
    registry = Registry()
    registry.register(Holder)
    assert registry.encode(Holder(narrow=Narrow(low=3, high=1)))
    with pytest.raises(ValueOutOfRange, match="should be narrow"):
        registry.encode(Holder(narrow=Narrow(low=1, high=4)))
    with pytest.raises(ValueOutOfRange, match="should not be 13"):
        registry.encode(Holder(narrow=Narrow(low=13, high=14)))


def test_an_envelope_is_not_validated_as_the_message_in_it():
    @message(0x8C09, codec=enveloped("json", envelope={"v": 1}, body="range"))
    class Wrapped(Message):
        low: u8

        @validates("low")
        def check_low(self, value):
            if value == 13:
                raise ValueError("should not be 13")

    registry = Registry()
    registry.register(Wrapped)
    assert registry.decode(registry.encode(Wrapped(low=1))) == Wrapped(low=1)
    with pytest.raises(ValueOutOfRange, match=r"\$.range.low: should not be 13"):
        registry.encode(Wrapped(low=13))
    with pytest.raises(MalformedMessage, match="should not be 13"):
        registry.decode(registry.encode(Wrapped(low=1)).replace(b'"low":1', b'"low":13'))


def test_raw_is_validated():
    @message(0x8C0B, codec="raw")
    class Blob(Message):
        data: bytes

        @validates("data")
        def check_data(self, data):
            if data.startswith(b"\0"):
                raise ValueError("should not start with 00")

    registry = Registry()
    registry.register(Blob)
    assert registry.decode(b"\x8c\x0b\1").data == b"\1"
    with pytest.raises(MalformedMessage, match="should not start with 00"):
        registry.decode(b"\x8c\x0b\0")


@pytest.mark.parametrize("wrong", [5, len, print, staticmethod(len), type])
def test_what_is_no_method(wrong):
    with pytest.raises(SchemaError, match=r"validates takes the name of a field, @validates\('fee'\), or nothing"):
        validates(wrong)
    with pytest.raises(SchemaError, match="stands right above a method"):
        validates("fee")(wrong)


def test_methods_that_cannot_be_called():
    def made(**contents):
        body = {"__module__": __name__, "__qualname__": "A", "__annotations__": {"x": u8}, **contents}
        return message(0x8C0D)(type(Message)("A", (Message,), body))

    async def late(self): ...

    for method, text in (
        (validates("y")(lambda self, value: None), "A.check: there is no field 'y' to validate; there are x"),
        (validates("x")(lambda self: None), r"A.check: should take (self, value), as @validates('x') calls it"),
        (validates(lambda self, value: None), "A.check: should take (self), as @validates calls it"),
        (validates(late), "A.check: what @validates decorates should be a method, neither async nor static"),
    ):
        with pytest.raises(SchemaError) as caught:
            made(check=method)
        assert text in str(caught.value)


def test_classes_without_any_have_none():
    assert schema_of(Packed).validators
    assert validators_of(Range, (), ()) == ()
    assert Range.__oddwire__.validators[0].function is Checks.check_low
    assert getattr(Checks.check_low, MARK) == "low"

    @subtype
    class Plain:
        x: u8

    assert Plain.__oddwire__.validators == ()
