"""Fields of class statements: a base's default given anew. Mistakes of other kinds are in test_classes.py."""

from enum import Enum
from typing import Annotated

import pytest

from oddwire import Message, SchemaError, field, max_length, message, subtype, tu32, u8, u16
from oddwire.codecs.registry import Registry
from oddwire.schema import schema_of


class Side(Enum):
    BUY = 1
    SELL = 2


class Base(Message):
    first: u8
    side: Annotated[Side, u8] = Side.BUY
    name: str = field(default="x", max_length=3, key="n")
    items: tuple[u8, ...] = field(default=(), length=(0, 2))
    last: u8 = 0


def made(contents, *bases, codec="msgpack"):
    body = {"__annotations__": {name: annotation for name, (annotation, _) in contents.items()}}
    body |= {name: value for name, (_, value) in contents.items() if value is not ...}
    body |= {"__module__": __name__, "__qualname__": "Derived"}
    return message(0x8C01, codec=codec)(type(Message)("Derived", bases or (Base,), body))


def test_a_base_s_default_is_given_anew():
    derived = made({
        "side": (Annotated[Side, u8], Side.SELL),
        "first": (u8, 7),
        "name": (str, "abc"),
        "items": (tuple[u8, ...], field(default_factory=lambda: (1,))),
        "more": (u8, 9),
    })  # fmt: skip
    fields = schema_of(derived).fields
    assert [field.name for field in fields] == ["first", "side", "name", "items", "last", "more"]
    assert [field.kind for field in fields[:5]] == [field.kind for field in Base.__oddwire_fields__]
    assert fields[2].key == "n"
    value = derived()
    assert (value.first, value.side, value.name, value.items, value.more) == (7, Side.SELL, "abc", (1,), 9)
    registry = Registry()
    registry.register(derived)
    assert registry.decode(registry.encode(derived(first=1))) == derived(first=1)
    assert registry.decode(b"\x8c\x01\x80") == derived()


def test_with_all_that_field_said():
    assert schema_of(made({"name": (str, field(default="abc", max_length=3, key="n"))})).fields[2].default == "abc"
    assert schema_of(made({"name": (Annotated[str, max_length(3)], "abc")})).fields[2].default == "abc"

    class Records(Message):
        fee: tu32 = field(tlv=3, default=0)

    assert schema_of(made({"fee": (tu32, 7)}, Records, codec="bolt")).fields[0].tlv == 3


def test_a_subclass_of_it_has_the_last_default():
    @subtype
    class One:
        x: u8 = 1

    @subtype
    class Two(One):
        x: u8 = 2

    @subtype
    class Three(Two):
        x: u8 = 3
        y: u8 = 4

    assert (One().x, Two().x, Three().x, Three().y) == (1, 2, 3, 4)
    assert One.__slots__ == ("x",)
    assert Two.__slots__ == ()


@pytest.mark.parametrize(
    ("contents", "text"),
    [
        ({"first": (u16, 7)}, "first: is a field of the base class already: a subclass may give it another default"),
        ({"first": (u16, 7)}, ", and nothing else, so its type should be that of the base, u8"),
        ({"side": (Side, Side.SELL)}, "so its type should be that of the base, Side"),
        ({"first": (u8, ...)}, "first: is a field of the base class already: a subclass may give it another default"),
        ({"first": (u8 | None, None)}, "so its type should be that of the base, u8"),
        ({"name": (str, field(default="abc", max_length=9))}, "so its type should be that of the base, str"),
        ({"items": (tuple[u8, ...], field(default=(), length=(0, 5)))}, "its type should be that of the base, tuple"),
        ({"name": (str, "abcd")}, "name: the default does not fit: str should be at most 3 characters, not 4"),
        ({"first": (u8, 256)}, "first: the default does not fit: u8 should be 0 to 255, not 256"),
        ({"name": (str, field(default="abc", key="other"))}, "name: key='other' should be 'n', as in the base class"),
        ({"first": (u8, field(default=1, tlv=5))}, "first: tlv=5 should be None, as in the base class, or left out"),
    ],
)  # fmt: skip
def test_nothing_else_of_it_changes(contents, text):
    with pytest.raises(SchemaError) as caught:
        made(contents)
    assert text in str(caught.value)
    assert str(caught.value).startswith(f"{__name__}.Derived.")
