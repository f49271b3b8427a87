"""Any value comes back as what it was, or is not taken; and is read as its author says."""

from __future__ import annotations

import enum
import re
from collections import OrderedDict, namedtuple
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwire.errors import ValueOutOfRange
from oddwire.proto.keys import NodeId, PrivateKey, PublicKey, ShortChannelId
from oddwire.schema import Message, UnknownVariant, field, max_length, message, point, subtype, tagged, u8, u32
from oddwire.session.store.value_encoding import PACKED, PLAIN, EncodedValue, keep, read, read_like

KEY = PrivateKey(bytes(31) + b"\1").public_key()
Point = namedtuple("Point", "x y")


class Colour(enum.IntEnum):
    RED = 1
    BLUE = 2


class Name(enum.StrEnum):
    ALICE = "alice"


class Text(str): ...


class Number(int): ...


@subtype
class Item:
    name: str
    price: u32
    tags: tuple[str, ...] = ()


@message(0x8C01)
class Order(Message):
    item: Item
    colour: Colour = Colour.RED
    owner: point | None = None
    extra: Any = None


@message(0x8C03, codec="bolt")
class Exact(Message):
    number: u8
    rest: bytes = field(default=b"")


def same(one: object, other: object) -> bool:
    """Say whether two values are equal, and of the same classes all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))  # type: ignore[arg-type]
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))  # type: ignore[attr-defined]
    return one == other


SCALARS = (
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False) | st.text()
) | (st.binary() | st.just(KEY) | st.just(NodeId("02" + "ab" * 32)) | st.just(ShortChannelId(1, 2, 3)))
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.integers(-5, 5) | st.binary(), inner)
    ),
    max_leaves=20,
)


@given(VALUES.filter(lambda value: value is not None))
def test_it_comes_back_as_what_it_was(value: Any) -> None:
    kept = keep("key", value)
    assert type(kept.value) in (bytes, str, int, float)
    assert same(read("key", kept), value)
    assert same(read("key", kept, Any), value)
    assert same(read_like("key", kept, value), value)


def test_what_sqlite_keeps_by_itself_is_kept_so() -> None:
    for value in (b"", "", 0, -(1 << 63), 1.5):
        assert keep("key", value) == EncodedValue(PLAIN, value)
    for value in (True, 1 << 63, [], (), {}, Colour.RED):
        assert keep("key", value).form == PACKED


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (Item(name="a", price=1, tags=("x",)), Item),
        (Order(item=Item(name="a", price=1), colour=Colour.BLUE, owner=KEY, extra={"a": [1]}), Order),
        (Exact(number=1, rest=b"23"), Exact),
        ([Item(name="a", price=1)], list[Item]),
        ((Item(name="a", price=1), 5), tuple[Item, int]),
        ({"a": (Item(name="a", price=1),)}, dict[str, tuple[Item, ...]]),
        ({1: True}, dict[int, bool]),
        ({b"1": None}, dict[bytes, Item | None]),
        ([1, 2], Sequence[int]),
        ((1, 2), Sequence[int]),
        ({"a": 1}, Mapping[str, int]),
        ([1, "a"], list),
        ([1, "a"], list[int | str]),
        ((), tuple[int, ...]),
        (Colour.BLUE, Colour),
        ([Name.ALICE], list[Name]),
        ({"a": [Colour.RED, None]}, dict[str, list[Colour | None]]),
        ("a", Literal["a", "b"]),
        (5, u8),
        (5, object),
        (True, bool),
        (KEY, PublicKey),
        (NodeId("02" + "ab" * 32), NodeId),
        (ShortChannelId(1, 2, 3), ShortChannelId),
    ],
    ids=repr,
)
def test_it_is_read_as_its_author_says(value: Any, annotation: Any) -> None:
    assert same(read("key", keep("key", value), annotation), value)


def test_a_whole_number_will_do_for_a_float() -> None:
    found = read("key", keep("key", 5), float)
    assert (found, type(found)) == (5.0, float)
    assert read_like("key", keep("key", 5), 0.5) == 5


@pytest.mark.parametrize(
    ("value", "annotation", "text"),
    [
        ("1", int, "^value of 'key' should be int, not str$"),
        (1, bool, "bool"),
        (True, int, "int"),
        ([1], tuple[int, ...], r"value of 'key' should be tuple\[int, \.\.\.\], not a list"),
        ((1,), list[int], r"value of 'key' should be list\[int\], not a tuple"),
        ([1, "a"], list[int], r"value of 'key'\[1\]"),
        ({"a": [1, None]}, dict[str, list[int]], r"value of 'key'\['a'\]\[1\]"),
        ({1: 1}, dict[str, int], "value of 'key': key 1"),
        ((1, 2), tuple[int], "^value of 'key' should be a tuple of 1, not one of 2$"),
        (300, u8, "u8 should be 0 to 255, not 300"),
        (Item(name="a", price=1), Order, "value of 'key' should be Order, not an object of class Item"),
        (5, Item, "value of 'key' should be Item, not an int"),
        (Item(name="a", price=1), int, "value of 'key' should be int, not an object of class Item"),
        (
            [Item(name="a", price=1)],
            None,
            r"value of 'key'\[0\] is an object of class Item, which is to be named in as_",
        ),
        ({"a": Colour.RED}, None, r"value of 'key'\['a'\] is a member of Colour, which is to be named in as_"),
        (Colour.RED, Name, "value of 'key' should be Name, not a member of Colour"),
        (Colour.RED, int, "should be int, not a member of Colour"),
        ("c", Literal["a", "b"], "value of 'key' should be one of 'a', 'b', not a str"),
        (b"", NodeId, "value of 'key' should be NodeId, not a bytes"),
        ([None], list[int], r"value of 'key'\[0\]"),
        (1, str | None, "^value of 'key' should be str, not int or value of 'key' should be None, not an int$"),
        ([1], set[int], "says nothing about what is kept"),
    ],
    ids=repr,
)
def test_what_is_something_else_is_told_with_key_and_path(value: Any, annotation: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text) as caught:
        read("key", keep("key", value), annotation)
    assert "'key'" in str(caught.value) or "says nothing" in str(caught.value)


def test_a_class_that_has_changed() -> None:
    kept = keep("key", Item(name="a", price=1))

    @subtype
    class Larger:
        name: str
        price: u32
        stock: u32 = 7

    Larger.__oddwire__.__dict__["name"] = "Item"  # type: ignore[attr-defined]
    found = read("key", kept, Larger)
    assert (found.name, found.stock) == ("a", 7)

    @subtype
    class Stricter:
        name: str
        owner: str

    Stricter.__oddwire__.__dict__["name"] = "Item"  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=r"value of 'key'\.owner: is missing and has no default"):
        read("key", kept, Stricter)


def test_a_default_of_another_class() -> None:
    with pytest.raises(TypeError, match="value of 'key' is a list, while the default is of class tuple"):
        read_like("key", keep("key", [1]), ())
    assert read_like("key", keep("key", Colour.BLUE), Colour.RED) is Colour.BLUE
    assert read_like("key", keep("key", [1]), object()) == [1]


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (None, TypeError, "value of 'key' should not be None, which stands for no value: delete the key"),
        ({1, 2}, TypeError, "value of 'key' should be bytes, str, .* not set: write a list"),
        ([{1}], TypeError, r"value of 'key'\[0\] should be .* not set"),
        ({"a": {"b": object()}}, TypeError, r"value of 'key'\['a'\]\['b'\] should be .* not object"),
        ([bytearray(b"1")], TypeError, r"value of 'key'\[0\] should be .* not bytearray: write bytes"),
        (Text("a"), TypeError, "not Text"),
        (Number(1), TypeError, "not Number"),
        (Point(1, 2), TypeError, "not Point"),
        (OrderedDict(a=1), TypeError, "not OrderedDict"),
        ({1.5: 1}, TypeError, "value of 'key': keys should be str, bytes or int of 64 bits, not 1.5, a float"),
        ({True: 1}, TypeError, "not True, a bool"),
        ({(1,): 1}, TypeError, r"not \(1,\), a tuple"),
        ({None: 1}, TypeError, "not None, a NoneType"),
        ({1 << 64: 1}, TypeError, "keys should be"),
        ([1, 1 << 64], ValueOutOfRange, r"value of 'key'\[1\] should be an int of 64 bits"),
        ({"a": float("nan")}, ValueOutOfRange, r"value of 'key'\['a'\] should be a number"),
        (["\ud800"], ValueOutOfRange, "UTF-8"),
        ({"\ud800": 1}, ValueOutOfRange, "UTF-8"),
        (Item(name="a", price=1 << 32), ValueOutOfRange, r"value of 'key'\.price: u32 should be 0 to 4294967295"),
        ([Item(name=5, price=1)], TypeError, r"value of 'key'\[0\]\.name: "),  # type: ignore[arg-type]
        (Item, TypeError, "a class, not an object"),
    ],
    ids=lambda value: re.sub(r" at 0x[0-9a-f]+", "", repr(value)),
)
def test_what_would_not_come_back_is_refused_with_key_and_path(value: Any, error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        keep("key", value)


def test_what_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueOutOfRange, match="nests more than 32 levels deep"):
        keep("key", value)


@subtype(tag=0)
class Single:
    total: u32


@subtype(tag=1)
class Double:
    single: Annotated[Single | UnknownVariant, tagged(u8)]


Contract = Annotated[Single | Double | UnknownVariant, tagged(u8)]


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (Single(total=3), Contract),
        (Double(single=UnknownVariant(5, b"ab")), Contract),
        (UnknownVariant(5, b"ab"), Contract),
        (UnknownVariant(5, {"a": [1, {"b": None}]}), Contract),
        (UnknownVariant(5, b"ab"), UnknownVariant),
        (Single(total=3), Annotated[Single, "in words"]),
        ([Single(total=3), UnknownVariant(7, b"")], list[Contract]),
        ({1: Single(total=3)}, Annotated[dict[int, Contract], "no field of a message"]),
        ((Single(total=3),), Annotated[tuple[Single, ...], max_length(1)]),
        (Colour.RED, Annotated[Colour, u8]),
        (KEY, point),
        (Single(total=3), Contract | None),
        (7, Annotated[u8 | str, "in words"]),
    ],
)
def test_annotated_classes_and_unions(value: object, annotation: Any) -> None:
    assert read("key", keep("key", value), annotation) == value


@pytest.mark.parametrize(
    ("value", "annotation", "text"),
    [
        (
            Item(name="a", price=1),
            Contract,
            "should be Single, not an object of class Item or value of 'key' should be",
        ),
        (UnknownVariant(5, b""), Annotated[Single | Double, tagged(u8)], "not an object of class UnknownVariant"),
        (UnknownVariant(1, b""), Contract, "UnknownVariant has the tag 1, which is that of Double"),
        (Single(total=1), Annotated[Double, "in words"], "should be Double, not an object of class Single"),
        (("a", "b"), Annotated[tuple[str, ...], max_length(1)], "should be at most 1 elements, not 2"),
        (UnknownVariant(5, b""), None, "is an object of class UnknownVariant, which is to be named in as_"),
    ],
)
def test_annotated_classes_and_unions_that_do_not_fit(value: object, annotation: Any, text: str) -> None:
    with pytest.raises(TypeError) as caught:
        read("key", keep("key", value), annotation)
    assert text in str(caught.value)
