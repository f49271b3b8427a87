"""The making of message and subtype classes: annotations become slots and fields, mistakes `SchemaError`s."""

from __future__ import annotations

import sys
from abc import ABCMeta
from collections.abc import Callable, Mapping
from dataclasses import MISSING, FrozenInstanceError
from enum import Enum
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from oddwire.errors import SchemaError
from oddwire.schema.annotations import is_generic
from oddwire.schema.class_fields import check_attributes, inherited_fields, own_fields
from oddwire.schema.class_records import Field, Record
from oddwire.schema.evaluation import Itself
from oddwire.schema.nesting import has_part
from oddwire.schema.source import compile_function
from oddwire.schema.spelling import show_fields

if TYPE_CHECKING:
    from oddwire.schema.value_kinds import Validator

__all__ = ["Frozen", "RecordType", "complete", "qualified_name", "record_of", "remake", "replace"]

T = TypeVar("T")

_OURS = ("oddwire.schema.classes", "oddwire.schema.message")
_PLAIN_BASES = (*_OURS, "builtins", "typing", "abc")
_MADE = ("__dict__", "__weakref__", "__abstractmethods__", "_abc_impl")  # attributes that Python adds to a class
_RESERVED = ("__init__", "__new__", "__post_init__", "__slots__", "__setattr__", "__delattr__", "__eq__", "__hash__")


class RecordType(ABCMeta):
    """The classes' metaclass; an `ABCMeta`, so that a class may have abstract bases.

    ``__oddwire__`` is the class's own `Record` or `Schema` once it is decorated, ``__oddwire_fields__`` its fields.
    ``__oddwire_itself__`` is the record by which its fields refer to the class itself, None if they do not,
    ``__oddwire_tag__`` the tag of a subtype that has one, in the class itself.
    """

    __oddwire__: Record | None
    __oddwire_fields__: tuple[Field, ...]
    __oddwire_itself__: Record | None
    __oddwire_tag__: int | str | None

    def __new__(  # noqa: D102 - the class says it
        mcs,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        local_names: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> RecordType:
        frame = sys._getframe(1)  # noqa: SLF001 - where the class statement stands
        namespace = {"__module__": frame.f_globals["__name__"], "__qualname__": name, **namespace}
        if namespace["__module__"] in _OURS:  # Frozen and Message
            return super().__new__(mcs, name, bases, namespace)
        where = f"{namespace['__module__']}.{namespace['__qualname__']}"
        for reserved in _RESERVED:
            if reserved in namespace:
                raise SchemaError(f"{where}: {reserved} is oddwire's; a class has fields, methods and properties")
        inherited = inherited_fields(where, bases)
        names_known = frame.f_locals if local_names is None else local_names
        own: tuple[Field, ...] = ()
        itself = Itself(namespace)
        if (Generic in bases or any(map(is_generic, bases))) and "__oddwire_arguments__" not in namespace:
            from oddwire.schema.generics import prepare  # imported late: few need it

            namespace = prepare(where, bases, namespace, inherited, names_known)
        else:
            own = own_fields(where, namespace, inherited, names_known, itself)
        names = {field.name for field in own}
        before = {field.name for field in inherited}
        check_attributes(where, namespace, before)
        namespace = {key: value for key, value in namespace.items() if key not in names}
        namespace["__slots__"] = tuple(field.name for field in own if field.name not in before)
        namespace["__oddwire__"] = None
        namespace["__oddwire_fields__"] = tuple({field.name: field for field in inherited + own}.values())
        record = itself.record
        named = record is not None and any(has_part(field.kind, record) for field in own)
        namespace["__oddwire_itself__"] = record if named else None
        namespace["__new__"] = _undecorated
        try:
            return super().__new__(mcs, name, bases, namespace, **parameters)
        except TypeError as error:  # two bases that both have fields
            raise SchemaError(f"{where}: {error}") from None

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **_: Any) -> None:
        super().__init__(name, bases, namespace)

    if not TYPE_CHECKING:  # to type checkers it is Generic's

        def __getitem__(cls, arguments: Any) -> Any:
            """Return the class of a generic one with its types: ``Page[Order]``."""
            if not is_generic(cls):
                raise TypeError(f"{qualified_name(cls)} is not generic: it takes no types in brackets")
            from oddwire.schema.generics import parametrized  # imported late: few need it

            return parametrized(cls, arguments)

    def __setattr__(cls, name: str, value: object) -> None:
        if name in ("__dataclass_fields__", "__dataclass_params__"):
            text = "it is frozen, slotted and keyword-only without"
            raise SchemaError(f"{qualified_name(cls)}: should have no @dataclass: {text}")
        super().__setattr__(name, value)


class Frozen(metaclass=RecordType):
    """Base of messages and subtypes."""

    __slots__ = ()
    __oddwire_fields__: ClassVar[tuple[Field, ...]] = ()

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to {name!r}: messages are frozen, use oddwire.replace")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete {name!r}: messages are frozen")

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        values = record_of(self).values
        return values(self) == values(other)

    def __hash__(self) -> int:
        return hash((self.__class__, record_of(self).values(self)))

    def __repr__(self) -> str:
        record = record_of(self)
        return f"{record.name}({show_fields(record, self, ', ')})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.__class__, record_of(self).values(self))

    def __replace__(self: T, /, **changes: Any) -> T:
        return replace(self, **changes)


def record_of(instance: object) -> Record:
    """Return the record of a message's or subtype's class. Raises `TypeError` for anything else."""
    record = getattr(type(instance), "__oddwire__", None)
    if not isinstance(record, Record):
        if isinstance(instance, RecordType):
            raise TypeError(f"{qualified_name(instance)} is a class: an instance of it is wanted here")
        raise TypeError(f"{qualified_name(type(instance))} is neither a message nor a subtype")
    return record


def replace(instance: T, /, **changes: Any) -> T:
    """Return a copy of a message or subtype with some fields changed. Raises `TypeError` for an unknown name."""
    record = record_of(instance)
    values = {field.name: getattr(instance, field.name) for field in record.fields}
    return cast("T", record.cls(**{**values, **changes}))


def qualified_name(cls: type) -> str:
    """Return ``module.Class``, for errors."""
    return f"{cls.__module__}.{cls.__qualname__}"


def _rebuild(cls: RecordType, values: tuple[Any, ...]) -> object:
    """Return an instance with ``values``, for unpickling and copying."""
    names = (field.name for field in cls.__oddwire_fields__)
    return cast("Record", cls.__oddwire__).build(dict(zip(names, values, strict=True)))


def _undecorated(cls: type, *_: Any, **__: Any) -> Any:
    raise TypeError(f"{qualified_name(cls)} has no instances: decorate it with @message(type_id) or @subtype")


# The decorators' steps -----------------------------------------------------------------------------------------------


def complete(cls: RecordType, name: str | None) -> Record:
    """Install a class's constructor and twin, and return its `Record`."""
    if vars(cls)["__oddwire__"] is not None:
        raise SchemaError(f"{qualified_name(cls)} is decorated already")
    if cls.__abstractmethods__:
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise SchemaError(f"{qualified_name(cls)}: should have what is abstract in its bases: {missing}")
    own = cls.__oddwire_fields__
    blank, values = _make_twin(cls), _values_of([field.name for field in own])
    record = Record(cls, name or cls.__name__, cls.__module__, own, blank, values, _validators(cls))
    cls.__new__ = staticmethod(_constructor(record))  # type: ignore[method-assign]
    itself: Record | None = vars(cls)["__oddwire_itself__"]
    if itself is None:
        return record
    vars(itself).update(vars(record))  # the fields refer to it
    return itself


def _validators(cls: RecordType) -> tuple[Validator, ...]:
    marked: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        if base.__module__ not in _PLAIN_BASES:
            marked |= {name: None for name, value in vars(base).items() if hasattr(value, "__oddwire_validates__")}
    if not marked:
        return ()
    from oddwire.schema.validation import validators_of  # imported late: few need it

    return validators_of(cls, marked, cls.__oddwire_fields__)


def remake(cls: type[T], local_names: Mapping[str, Any]) -> RecordType:
    """Return a `RecordType` made from a plain class, for `subtype`."""
    if type(cls) not in (type, ABCMeta) or (type(cls) is type and cls.__module__ == "builtins"):
        hint = ": an Enum is a field's type as it is" if issubclass(cls, Enum) else ""
        raise SchemaError(
            f"{qualified_name(cls)}: a @subtype is a plain class, or a subclass of other subtypes only{hint}"
        )
    for base in cls.__mro__[1:-1]:
        if base is not Generic and "__slots__" not in vars(base):
            text = "a @subtype is a plain class, or a subclass of other subtypes only; a mixin has __slots__ = ()"
            raise SchemaError(f"{qualified_name(cls)}: {text}")
    namespace = {key: value for key, value in vars(cls).items() if key not in _MADE}
    namespace["__qualname__"] = cls.__qualname__
    bases = (*(base for base in cls.__bases__ if base is not object), Frozen)
    made = RecordType(cls.__name__, bases, namespace, local_names=local_names)
    _point_cells(cls, made)
    return made


def _point_cells(old: type, new: type) -> None:
    """Make ``super()`` in the methods refer to the class made, not to the plain class it was made from."""
    for value in vars(new).values():
        function = getattr(value, "fget", None) or getattr(value, "__func__", value)
        for cell in getattr(function, "__closure__", None) or ():
            try:
                if cell.cell_contents is old:
                    cell.cell_contents = new
            except ValueError:  # the cell's name is not bound yet
                continue


def _values_of(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if not names:
        return lambda _: ()
    if len(names) == 1:
        only = attrgetter(names[0])
        return lambda instance: (only(instance),)
    return attrgetter(*names)


def _make_twin(cls: RecordType) -> Callable[[], Any]:
    """Return the class that `Record.blank` instantiates: of the same layout, so its instances can become ``cls``'s.

    Assigning ``__class__`` is allowed between classes of the same bases and the same slots.
    """
    namespace = {
        "__slots__": cls.__dict__["__slots__"],
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__new__": object.__new__,
        "__setattr__": object.__setattr__,
        "__delattr__": object.__delattr__,
    }
    twin = ABCMeta.__new__(RecordType, cls.__name__, cls.__bases__, namespace)
    twin.__abstractmethods__ = frozenset()  # it has none of the methods, but must have instances
    return cast("Callable[[], Any]", twin)


def _constructor(record: Record) -> Callable[..., Any]:
    names: dict[str, Any] = {"_blank": record.blank, "_missing": MISSING}
    parameters, lines = ["_cls"], ["    _self = _blank()"]
    if record.fields:
        parameters.append("*")
    for field in record.fields:
        name = value = field.name
        if field.default_factory is not None:
            names[f"_make_{name}"] = field.default_factory
            value = f"_make_{name}() if {name} is _missing else {name}"
            parameters.append(f"{name}=_missing")
        elif field.default is not MISSING:
            names[f"_default_{name}"] = field.default
            parameters.append(f"{name}=_default_{name}")
        else:
            parameters.append(name)
        lines.append(f"    _self.{name} = {value}")
    source = "\n".join(
        [f"def __new__({', '.join(parameters)}):", *lines, "    _self.__class__ = _cls", "    return _self"]
    )
    made = compile_function(source, "__new__", names, f"new {record.qualified_name}")
    made.__qualname__ = record.cls.__qualname__  # Python names it when an argument is wrong or missing
    return made
