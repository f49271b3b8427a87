"""How the classes are made: slots, frozenness, inheritance, annotations as strings, and authors' mistakes."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
import subprocess
import sys
import textwrap
import types
from abc import ABC, abstractmethod
from dataclasses import FrozenInstanceError
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from oddwire import schema as ow
from oddwire.codecs import Registry
from oddwire.errors import SchemaError
from oddwire.schema import Message, field, message, replace, schema_of, subtype, u8, u64
from oddwire.schema.classes import record_of

if TYPE_CHECKING:
    from decimal import Decimal

MODULE = __name__


@subtype
class Order:
    price: u64
    note: str = ""

    def double(self) -> int:
        return 2 * self.price

    def __str__(self) -> str:
        return f"order for {super().__repr__()}"


class Shared(Message):
    """Fields for others to inherit."""

    request_id: u64


@message(0x8C01)
class Request(Shared):
    asset: str
    orders: tuple[Order, ...] = ()


@message(0x8C03)
class Longer(Request):
    more: str = "more"


REQUEST = Request(request_id=1, asset="eur", orders=(Order(price=3),))


# Instances


def test_instances_are_frozen():
    with pytest.raises(FrozenInstanceError, match="cannot assign to 'asset'"):
        REQUEST.asset = "usd"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError, match="cannot delete 'asset'"):
        del REQUEST.asset
    with pytest.raises(FrozenInstanceError):
        REQUEST.unknown = 1
    assert not hasattr(REQUEST, "__dict__")
    assert not hasattr(REQUEST.orders[0], "__dict__")


def test_instances_compare_by_value_and_class():
    assert Request(request_id=1, asset="eur", orders=(Order(price=3),)) == REQUEST
    assert hash(Request(request_id=1, asset="eur", orders=(Order(price=3),))) == hash(REQUEST)
    assert Request(request_id=2, asset="eur") != REQUEST
    assert Longer(request_id=1, asset="eur", orders=(Order(price=3),)) != REQUEST
    assert REQUEST != (1, "eur")
    assert len({REQUEST, replace(REQUEST), replace(REQUEST, asset="usd")}) == 2


def test_an_instance_is_as_hashable_as_its_values():
    @message(0x8C05)
    class Lists(Message):
        values: list[u8]

    with pytest.raises(TypeError, match="unhashable"):
        hash(Lists(values=[1]))


def test_the_constructor_takes_keywords_only():
    assert str(inspect.signature(Longer)) == "(*, request_id, asset, orders=(), more='more')"
    with pytest.raises(TypeError, match="positional"):
        Request(1, "eur")
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        Request(request_id=1, asset="eur", colour="red")
    with pytest.raises(TypeError, match="asset"):
        Request(request_id=1)


def test_default_factories_make_a_new_value_each_time():
    @message(0x8C05)
    class Lists(Message):
        values: list[u8] = field(default_factory=list)

    assert Lists().values == []
    assert Lists().values is not Lists().values
    assert Lists(values=[1]).values == [1]


def test_copying_and_pickling():
    assert copy.copy(REQUEST) == copy.deepcopy(REQUEST) == REQUEST
    assert copy.deepcopy(REQUEST).orders[0] is not REQUEST.orders[0]
    assert pickle.loads(pickle.dumps(REQUEST)) == REQUEST
    with pytest.raises(FrozenInstanceError):
        copy.copy(REQUEST).asset = "usd"  # type: ignore[misc]


def test_replacing_fields():
    assert replace(REQUEST, asset="usd") == Request(request_id=1, asset="usd", orders=(Order(price=3),))
    assert REQUEST.__replace__(asset="usd") == replace(REQUEST, asset="usd")
    assert replace(Order(price=1), price=2) == Order(price=2)
    with pytest.raises(TypeError, match="colour"):
        replace(REQUEST, colour="red")
    with pytest.raises(TypeError, match="neither a message nor a subtype"):
        replace(object())


def test_methods_and_super_work():
    assert Order(price=3).double() == 6
    assert str(Order(price=3)) == "order for Order(price=3, note='')"


def test_subclassing_keeps_fields_in_order():
    assert [field.name for field in schema_of(Longer).fields] == ["request_id", "asset", "orders", "more"]
    longer = Longer(request_id=1, asset="eur")
    assert isinstance(longer, Request)
    assert (longer.request_id, longer.more) == (1, "more")
    assert schema_of(Request).type_id == 0x8C01

    @subtype
    class Special(Order):
        extra: u8

    assert [f.name for f in record_of(Special(price=1, extra=2)).fields] == ["price", "note", "extra"]
    assert Special(price=1, extra=2).double() == 2


def test_a_subclass_without_a_decorator_has_no_instances():
    class Undecorated(Request):
        pass

    with pytest.raises(TypeError, match=r"Undecorated has no instances: decorate it with @message\(type_id\)"):
        Undecorated(request_id=1, asset="eur")
    with pytest.raises(TypeError, match="has no instances"):
        Shared(request_id=1)
    with pytest.raises(SchemaError, match="is not a message"):
        schema_of(Undecorated)


def test_class_variables_are_no_fields():
    @message(0x8C05)
    class Constants(Message):
        LIMIT: ClassVar[int] = 7
        value: u8

        @property
        def over(self) -> bool:
            return self.value > self.LIMIT

    assert [field.name for field in schema_of(Constants).fields] == ["value"]
    assert Constants(value=8).over


def test_a_mixin_without_fields_may_be_a_base():
    class Doubling:
        __slots__ = ()
        value: ClassVar[int]

    class Plain:
        __slots__ = ()

        def twice(self) -> int:
            return 2 * self.value

    @message(0x8C05)
    class Value(Plain, Message):
        value: u8

    assert Value(value=4).twice() == 8
    with pytest.raises(SchemaError, match=r"its base .*Doubling should be a message or subtype"):
        type("Broken", (Doubling, Message), {"__module__": MODULE})


# Annotations


def test_names_of_the_function_around_the_class_are_found():
    class Local(Enum):
        ONE = 1

    @subtype
    class Part:
        local: Local

    @message(0x8C05)
    class Whole(Message):
        local: Local
        parts: tuple[Part, ...]

    assert Whole(local=Local.ONE, parts=(Part(local=Local.ONE),)).parts[0].local is Local.ONE


def test_names_of_the_class_itself_are_found():
    @message(0x8C05)
    class Whole(Message):
        class Inner(Enum):
            ONE = 1

        inner: Inner = Inner.ONE

    assert Whole().inner is Whole.Inner.ONE


def test_a_field_may_be_called_like_its_type():
    @message(0x8C05, codec="bolt")
    class Whole(Message):
        channel_id: ow.channel_id
        sha256: ow.sha256 = bytes(32)

    assert schema_of(Whole).fields[1].kind.label == "sha256"


def test_where_annotations_are_not_strings_the_name_hides_the_type():
    code = """
    from oddwire.schema import Message, field, message, sha256
    @message(0x8C05)
    class Whole(Message):
        sha256: sha256 = field(default=bytes(32))
    """
    with pytest.raises(SchemaError, match=r"Whole.sha256: the field hides the type of its name: write .* 'sha256'"):
        exec(compile(textwrap.dedent(code), "x", "exec", dont_inherit=True), {"__name__": MODULE})


def test_classes_can_be_made_without_a_class_statement():
    made = types.new_class("Made", (Message,), exec_body=lambda ns: ns.update(__annotations__={"value": u8}))
    assert message(0x8C05)(made)(value=3).value == 3
    assert made.__module__


def test_a_module_that_is_run_can_declare_messages(tmp_path):
    path = tmp_path / "extension.py"
    path.write_text(
        "from __future__ import annotations\n"
        "from oddwire.schema import Message, message, u8\n"
        "@message(0x8C05)\nclass Run(Message):\n    value: u8\n"
        "print(Run(value=3))\n"
    )
    run = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=True)
    assert run.stdout == "Run 0x8c05 value=3\n"


# Authors' mistakes: each names module, class, field, and what would be right


any_field: Any = field
exact: Decimal | None = None  # what only the checkers know


def made(contents: dict[str, Any], *bases: type) -> Any:
    """A class of the fields in ``contents``: a type, or a type (None: no annotation) and a default."""
    pairs = {name: value if isinstance(value, tuple) else (value,) for name, value in contents.items()}
    body: dict[str, Any] = {name: pair[1] for name, pair in pairs.items() if len(pair) == 2}
    body["__annotations__"] = {name: pair[0] for name, pair in pairs.items() if pair[0] is not None}
    body |= {"__module__": MODULE, "__qualname__": "Wrong"}
    return types.new_class("Wrong", bases or (Message,), exec_body=lambda ns: ns.update(body))


MISTAKES: dict[str, tuple[Any, str]] = {
    "unknown type": ({"x": complex}, "x: complex is not a field type"),
    "unknown name": ({"x": "Missing"}, "x: 'Missing' names 'Missing', which is not known here when the class is made"),
    "what to do": ({"x": "Missing"}, "define or import it before, at module level, not under TYPE_CHECKING"),
    "known to checkers only": ({"x": "Decimal"}, "x: 'Decimal' names 'Decimal', which is not known here"),
    "broken annotation": ({"x": "u8["}, "x: the annotation 'u8[' cannot be evaluated"),
    "mutable default": ({"x": (list[u8], [])}, "x: the default [] can change"),
    "mutable default in field": ({"x": (dict[str, u8], field(default={}))}, "write field(default_factory=..."),
    "default too large": ({"x": (u8, 256)}, "x: the default does not fit: u8 should be 0 to 255"),
    "default of a wrong type": ({"x": (str, 7)}, "x: the default does not fit: should be str, not int"),
    "factory of a wrong type": ({"x": (str, field(default_factory=list))}, "x: the default does not fit"),
    "default and factory": ({"x": (u8, any_field(default=1, default_factory=int))}, "x: should have a default, or"),
    "no factory": ({"x": (u8, any_field(default_factory=3))}, "x: should have a default, or a default_factory"),
    "underscore": ({"_x": u8}, "_x: a field's name should not start with an underscore"),
    "keyword": ({"class": u8}, "class: a field's name should not"),
    "no type": ({"x": (None, field())}, "x: a field needs a type: x: u64 = field(...)"),
    "tlv not a number": ({"x": (u8, any_field(tlv="1"))}, "x: tlv='1' should be a number from 0"),
    "tlv too large": ({"x": (u8, field(tlv=1 << 64))}, "x: tlv=18446744073709551616 should be"),
    "empty key": ({"x": (u8, field(key=""))}, "x: key='' should be a string"),
    "surrogate key": ({"x": (u8, field(key="\ud800"))}, "should be a string that UTF-8 can hold"),
    "same key": ({"x": u8, "y": (u8, field(key="x"))}, "y: the key 'x' is that of 'x' already"),
    "own constructor": ({"__init__": (None, print)}, "__init__ is oddwire's"),
    "own slots": ({"__slots__": (None, ())}, "__slots__ is oddwire's"),
}


def declared_other():
    @message(0x8C07)
    class Other(Message):
        other: u8

    return Other


@pytest.mark.parametrize(("contents", "text"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(contents, text):
    with pytest.raises(SchemaError) as caught:
        made(contents)
    assert text in str(caught.value)
    assert str(caught.value).startswith(f"{MODULE}.Wrong")


def test_declaring_what_the_base_has():
    with pytest.raises(SchemaError, match=r"\.Wrong\.asset: is a field of the base class already"):
        made({"asset": str}, Request)


def test_two_bases_that_both_have_fields():
    with pytest.raises(SchemaError, match=r"\.Wrong: multiple bases have instance lay-out conflict"):
        made({}, Request, declared_other())


def test_decorating_twice():
    with pytest.raises(SchemaError, match=r"Request is decorated already"):
        message(0x8C09)(Request)


def test_a_metaclass_of_someone_else():
    with pytest.raises(TypeError, match="metaclass conflict"):
        type("Other", (type,), {})("Strange", (Message,), {"__module__": MODULE, "__qualname__": "Strange"})


# What a class has besides fields -------------------------------------------------------------------------------------

BODIES = [
    (
        "x: u64\n@functools.cached_property\ndef y(self): ...",
        "A.y: a cached_property cannot be: there is no place to keep it, as instances have fields and nothing else:",
    ),
    ("x: u64\na = 5", "A.a: has no type, so it is no field: write 'a: int = 5' for a field, 'a: ClassVar = ...' for"),
    ("a = []", "A.a: has no type, so it is no field: write 'a: list = []' for a field"),
    ("a = None", "A.a: has no type, so it is no field: write 'a: str | None = None' for a field"),
    ("MOST = 5", "A.MOST: has no type, so it is no field: write 'MOST: int = 5' for a field, 'MOST: ClassVar = ...'"),
    ("a = Colour.RED", "A.a: has no type, so it is no field"),
    ("a: Final = 5", "A.a: Final is not a field type; fields never change: write u64; ClassVar[u64] is what all"),
    ("a: Final[int] = 5", "A.a: Final[int] is not a field type; fields never change: write int"),
    ("_: dataclasses.KW_ONLY\na: u64", "A._: all fields are keyword-only already: leave KW_ONLY away"),
    ("a: u64 = dataclasses.field(default=1)", "A.a: dataclasses.field is for dataclasses: write oddwire.field(...)"),
    ("__slots__ = ('a',)", "A: __slots__ is oddwire's"),
    ("a: u64\n@abc.abstractmethod\ndef y(self): ...", "A: should have what is abstract in its bases: y"),
]
NAMES = """
import abc, dataclasses, enum, functools
from typing import *
from oddwire import *
Colour = enum.Enum('Colour', 'RED')
"""
HEADS = {"message": "@message(0x8c01)\nclass A(Message):", "subtype": "@subtype\nclass A:"}


def written(head: str, body: str) -> type:
    namespace = {"__name__": "authors"}
    source = f"{NAMES}{head}\n{textwrap.indent(body, '    ')}"
    exec(source, namespace)
    return namespace["A"]


@pytest.mark.parametrize(
    "head", ["@message(0x8c01)\nclass A(Message):", "@subtype\nclass A:"], ids=["message", "subtype"]
)
@pytest.mark.parametrize(("body", "told"), BODIES)
def test_what_looks_like_something_it_cannot_be_is_refused_with_the_remedy(head, body, told):
    with pytest.raises(SchemaError) as caught:
        written(head, body)
    assert str(caught.value).startswith(f"authors.{told}")
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "head", ["@message(0x8c01)\nclass A(Message):", "@subtype\nclass A:"], ids=["message", "subtype"]
)
@pytest.mark.parametrize(
    "body",
    [
        "@property\ndef y(self): return 7",
        "@staticmethod\ndef f(): return 7\ny = property(lambda self: self.f())",
        "@classmethod\ndef f(cls): return 7\ny = property(lambda self: self.f())",
        "y: ClassVar[int] = 7",
        "y: ClassVar = 7",
        "class Inner:\n    z = 7\n@property\ndef y(self): return self.Inner.z",
        "Alias = Annotated[bytes, fixed(32)]\nz: Alias = bytes(32)\ny: ClassVar = 7",
        "Alias = int | None\nz: Alias = None\ny: ClassVar = 7",
        "Alias = list[int]\nz: Alias = field(default_factory=list)\ny: ClassVar = 7",
        "_y = 7\n@property\ndef y(self): return self._y",
        "__version__ = 7\n@property\ndef y(self): return self.__version__",
        "async def f(self): ...\ng = f\ny: ClassVar = 7",
        "def f(self, n): return n\nh = functools.partialmethod(f, 7)\ny = property(lambda self: self.h())",
        "import os\ny: ClassVar = 7",
    ],
)
def test_methods_properties_classes_and_names_of_types_are_no_fields(head, body):
    cls = written(head, f"x: u64\n{body}")
    assert cls(x=1).y == 7
    assert cls.__oddwire__.fields[0].name == "x"


class Shouts(ABC):
    __slots__ = ()

    @abstractmethod
    def text(self) -> str: ...

    def shout(self) -> str:
        return self.text().upper()


def test_abstract_classes_may_be_mixed_in():
    @message(0x8C01)
    class Spoken(Shouts, Message):
        what: str

        def text(self) -> str:
            return self.what

    @subtype
    class Part(Shouts):
        what: str

        def text(self) -> str:
            return self.what

    for made in (Spoken(what="no"), Part(what="no")):
        assert made.shout() == "NO"
        assert isinstance(made, Shouts)
        assert not isinstance(made, Order)
        assert copy.copy(made) == made
    assert isinstance(Spoken(what="no"), Message)
    assert not isinstance(Part(what="no"), Message)
    registry = Registry()
    registry.register(Spoken)
    assert registry.decode(registry.encode(Spoken(what="x"))) == Spoken(what="x")


def test_what_is_abstract_has_to_be_there():
    with pytest.raises(SchemaError, match="Mute: should have what is abstract in its bases: text"):

        @message(0x8C01)
        class Mute(Shouts, Message):
            what: str


def test_mixins_without_slots_are_refused_with_the_remedy():
    class Careless:
        pass

    class Cached:
        __slots__ = ()

        @functools.cached_property
        def y(self) -> int: ...

    for bases in ((Careless, Message), (Message, Careless)):
        with pytest.raises(SchemaError, match=r"its base .*Careless should be a message or subtype, or have __slots__"):
            type(Message)("A", bases, {"__module__": MODULE, "__qualname__": "A"})
    with pytest.raises(SchemaError, match=r"its base .*Cached\.y: a cached_property cannot be"):
        type(Message)("A", (Cached, Message), {"__module__": MODULE, "__qualname__": "A"})
    with pytest.raises(SchemaError, match=r"only; a mixin has __slots__ = \(\)"):
        subtype(type("A", (Careless,), {}))


def test_enums_and_dataclasses_are_refused():
    with pytest.raises(SchemaError, match="an Enum is a field's type as it is"):
        subtype(Enum("Colour", "RED"))
    for head in ("@message(0x8c01)\n@dataclasses.dataclass", "@dataclasses.dataclass\n@message(0x8c01)"):
        with pytest.raises(SchemaError, match="A: should have no @dataclass: it is frozen, slotted and keyword-only"):
            written(f"{head}\nclass A(Message):", "x: u64")
    with pytest.raises(SchemaError, match=r"A: .* takes no keyword arguments"):
        written("@message(0x8c01)\nclass A(Message, frozen=True):", "x: u64")
    for wrong in (5, lambda: 1):
        with pytest.raises(SchemaError, match="@subtype is for classes, not"):
            subtype(wrong)
        with pytest.raises(SchemaError, match="@message is for subclasses of Message, not"):
            message(0x8C01)(wrong)


@pytest.mark.parametrize("body", ["asset = 'usd'", "def asset(self): ...", "asset = property(len)", "class asset: ..."])
def test_a_field_of_the_base_cannot_be_made_something_else(body):
    with pytest.raises(SchemaError, match=r"B\.asset: is a field of the base class already, and cannot be"):
        exec(f"class B(Request):\n    {body}", {"Request": Request, "__name__": MODULE})
