"""Generic subtypes and message bases."""

import copy
import pickle
import sys
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import pytest

from oddwire import Message, SchemaError, field, message, rest, subtype, u8, u16, u32, validates
from oddwire.codecs.registry import Registry
from oddwire.errors import ValueOutOfRange
from oddwire.schema import from_dict, schema_of, to_dict
from oddwire.schema.annotations import kind_of
from oddwire.schema.generics import Template
from oddwire.schema.kinds import Maybe, Nested

T = TypeVar("T")
U = TypeVar("U")


@subtype
class Order:
    price: u16


@subtype
class Page(Generic[T]):
    """A page of anything."""

    LIMIT: ClassVar[int] = 7
    number: u8 = field(ge=1)
    items: tuple[T, ...] = ()

    @validates
    def check(self):
        if len(self.items) > self.LIMIT:
            raise ValueError("should be few")

    def first(self):
        return self.items[0]


@subtype
class Pair(Generic[T, U]):
    one: T
    two: U | None = None
    pages: dict[str, Page[T]] = field(default_factory=dict)


@subtype
class Numbered(Page[T], Generic[T, U]):
    extra: U


class Listing(Message, Generic[T]):
    page: Page[T]
    many: list[Annotated[T, field()]] = field(default_factory=list)


@message(0x8C01)
class Orders(Listing[Order]):
    more: u8 = 0


@message(0x8C03, codec="bolt")
class Small(Message):
    page: Page[Order]
    tail: Annotated[tuple[Page[u16], ...], rest]


def registry_of(*classes):
    registry = Registry()
    for cls in classes:
        registry.register(cls)
    return registry


def test_a_class_for_each_type():
    assert Page[Order] is Page[Order]
    assert Page[Order] is not Page[u16]
    assert issubclass(Page[Order], Page)
    page = Page[Order](number=1, items=(Order(price=5),))
    assert repr(page) == "Page[Order](number=1, items=[Order(price=5)])"
    assert page.first() == Order(price=5)
    assert page == Page[Order](number=1, items=(Order(price=5),))
    assert Page[u8](number=1) != Page[u16](number=1)
    assert Page[Order].__doc__ == "A page of anything."
    assert Page[Order].__module__ == __name__
    assert isinstance(page, Page)
    assert Page.LIMIT == Page[u8].LIMIT == 7


def test_every_codec_carries_them():
    sent = Orders(page=Page[Order](number=1, items=(Order(price=5),)), many=[Order(price=6)])
    registry = registry_of(Orders, Small)
    assert registry.decode(registry.encode(sent)) == sent
    assert from_dict(Orders, to_dict(sent)) == sent
    small = Small(page=Page[Order](number=1), tail=(Page[u16](number=2, items=(3,)),))
    assert registry.encode(small).hex() == "8c030100000200010003"
    assert registry.decode(registry.encode(small)) == small
    with pytest.raises(ValueOutOfRange, match="should be few"):
        registry.encode(Small(page=Page[Order](number=1, items=(Order(price=5),) * 8), tail=()))
    with pytest.raises(ValueOutOfRange, match="u8 should be at least 1, not 0"):
        registry.encode(Small(page=Page[Order](number=0), tail=()))


def test_generic_in_generic():
    pair = Pair[Order, str](one=Order(price=1), two="x", pages={"a": Page[Order](number=1)})
    kinds = {field.name: field.kind for field in Pair[Order, str].__oddwire__.fields}
    assert kinds["pages"].value == Nested(Page[Order].__oddwire__)
    assert kinds["two"] == Maybe(kind_of(str))
    assert type(pair.pages["a"]) is Page[Order]
    both = Numbered[u8, str](number=1, items=(1,), extra="x")
    assert [field.name for field in Numbered[u8, str].__oddwire__.fields] == ["number", "items", "extra"]
    assert both.first() == 1
    nested = Page[Page[u8]](number=1, items=(Page[u8](number=2),))
    assert repr(nested) == "Page[Page[u8]](number=1, items=[Page[u8](number=2, items=[])])"


def test_copies_and_pickles():
    orders = Page[Order](number=1, items=(Order(price=5),))
    for value in (orders, Page[u16](number=1), Page[Page[u8]](number=1), Order(price=1)):
        for again in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
            assert again == value
            assert type(again) is type(value)


def test_fields_of_bases_that_are_not_generic_come_first():
    class Base(Message):
        id: u32

    class Middle(Base, Generic[T]):
        value: T

    @message(0x8C05)
    class Whole(Middle[u8]):
        last: u8

    assert [field.name for field in schema_of(Whole).fields] == ["id", "value", "last"]
    registry = registry_of(Whole)
    assert registry.decode(registry.encode(Whole(id=1, value=2, last=3))) == Whole(id=1, value=2, last=3)


def test_a_subtype_of_one():
    @subtype
    class Prices(Page[Order]):
        currency: str

    assert Prices(number=1, items=(), currency="eur").currency == "eur"
    assert kind_of(Prices).record.fields[0].name == "number"


def declared(head: str, *body: str, **names: Any) -> Any:
    known = {**globals(), **names}
    exec("\n".join([head, *(f"    {line}" for line in body or ("pass",))]), known)
    return known.get("A")


@pytest.mark.parametrize(
    ("head", "body", "text"),
    [
        ("class A(Message):", ["x: Page"], "A.x: Page is generic: write the type, Page[u64] say, for ~T"),
        ("class A(Message):", ["x: tuple[T, ...]"], "A.x: ~T is no type of this class: write Generic[T] among"),
        ("class A(Message):", ["x: Page[set]"], "Page[set].items: set is not a field type; write tuple[X, ...]"),
        ("class A(Message):", ["x: Page[u8, u8]"], "should have 1 types, for ~T, not 2"),
        ("class A(Message):", ["x: Page['u8']"], "should have the classes themselves in brackets, not their names"),
        ("@message(0x8c07)\nclass A(Message, Generic[T]):", ["x: T"], "A: is generic, and a message is not"),
        ("class A(Message, Generic[T]):", ["x: 'tuple[A[T], ...]'", "y: T"], "'tuple[A[T], ...]': a generic class"),
        ("class A(Message, Generic[T]):", ["x: 'tuple[A, ...]'", "y: T"], "cannot be part of itself"),
        ("class A(Message):", ["x: 'tuple[Page[A], ...]'"], "should have classes that are made already, not the one"),
        ("class A(Message):", ["x: 'Page[tuple[A, ...]] | None'"], "should have classes that are made already"),
        ("class A(Listing):", [], "A: its base Listing is generic: write Listing[u64] say"),
        ("class A(Message, Generic[T]):", ["x: set", "y: T"], "A.x: set is not a field type"),
        ("class A(Message, Generic[T]):", ["x: T", "y: u8 = field(ge=300)"], "A.y: ge=300 should be a value of"),
        ("class A(Message, Generic[T]):", ["x: T", "y = field()"], "A.y: a field needs a type"),
        ("class A(Message, Generic[T]):", ["x: T", "y = 5"], "A.y: has no type, so it is no field"),
        ("class A(Listing[T], Generic[T]):", ["page: u8"], "A.page: is a field of the base class already"),
    ],
)  # fmt: skip
def test_mistakes(head, body, text):
    with pytest.raises(SchemaError) as caught:
        declared(head, *body)
    assert text in str(caught.value)


def test_what_has_types_already_takes_no_more():
    for cls in (Page[Order], Orders, Order):
        with pytest.raises(TypeError, match="is not generic: it takes no types in brackets"):
            cls[u8]
    with pytest.raises(TypeError, match="Page has no instances"):
        Page(number=1)
    with pytest.raises(TypeError, match=r"Listing\[u8\] has no instances"):
        Listing[u8]()


def test_a_default_must_fit_the_type():
    @subtype
    class WithDefault(Generic[T]):
        value: T = 5

    assert WithDefault[u8]().value == 5
    with pytest.raises(
        SchemaError, match=r"WithDefault\[str\].value: the default does not fit: should be str, not int"
    ):
        WithDefault[str]


def test_templates_keep_what_they_made():
    template = vars(Page)["__oddwire_generic__"]
    assert isinstance(template, Template)
    assert template.made[(Order,)] is Page[Order]
    assert list(template.contents) == ["number", "items"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is of Python 3.12")
def test_the_syntax_of_new_pythons():
    made = declared("@subtype\nclass A[V]:", "one: V", "many: 'tuple[V, ...]' = ()")
    assert made[u8](one=1, many=(2,)).many == (2,)
