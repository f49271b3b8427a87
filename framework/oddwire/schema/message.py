"""`Message`, `@message` and `@subtype`: frozen, slotted, keyword-only classes, checked when they are made.

Making an instance costs little: what it holds is checked by the type checkers as the author writes it, and by the codec
when it is sent. Nothing invalid ever leaves: `encode` raises. What a peer sent is checked while it is decoded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, FrozenInstanceError
from keyword import iskeyword
from operator import attrgetter
from typing import Any, ClassVar, TypeVar, cast, dataclass_transform, get_origin

from oddwire.errors import CodecError, SchemaError
from oddwire.proto.type_numbers import check_claim
from oddwire.schema import fields, rules, tree
from oddwire.schema.annotations import apply_count, apply_max_length, evaluate, kind_of
from oddwire.schema.kinds import Kind
from oddwire.schema.record import Field, Record, Schema
from oddwire.schema.source import compile_function
from oddwire.schema.text import show_fields

__all__ = ["Message", "declare", "describe", "message", "replace", "schema_of", "subtype"]

T = TypeVar("T")
M = TypeVar("M", bound="Message")

_RESERVED = ("__init__", "__new__", "__post_init__", "__slots__", "__setattr__", "__eq__", "__hash__")


class _RecordType(type):
    """Makes the classes: turns annotations into slots and fields.

    ``__oddwire__`` is the class's own `Record` or `Schema` once it is decorated; ``__oddwire_fields__`` its fields.
    """

    __oddwire__: Record | None
    __oddwire_fields__: tuple[Field, ...]

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, local_names: Mapping[str, Any] = {}
    ) -> _RecordType:  # fmt: skip
        if namespace["__module__"] == __name__:  # _Frozen and Message
            return super().__new__(mcs, name, bases, namespace)
        where = f"{namespace['__module__']}.{namespace['__qualname__']}"
        for reserved in _RESERVED:
            if reserved in namespace:
                raise SchemaError(f"{where}: {reserved} is oddwire's own; a message has fields, methods and properties")
        inherited = _inherited(where, bases)
        own = _own_fields(where, namespace, inherited, local_names or sys._getframe(1).f_locals)
        namespace = {key: value for key, value in namespace.items() if key not in {field.name for field in own}}
        namespace["__slots__"] = tuple(field.name for field in own)
        namespace["__oddwire__"] = None
        namespace["__oddwire_fields__"] = inherited + own
        namespace["__new__"] = _undecorated
        try:
            return super().__new__(mcs, name, bases, namespace)
        except TypeError as error:  # two bases with slots, a field named like a method, ...
            raise SchemaError(f"{where}: {error}") from error

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **_: Any) -> None:
        super().__init__(name, bases, namespace)


class _Frozen(metaclass=_RecordType):
    """What messages and subtypes have in common."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to {name!r}: messages are frozen, use oddwire.replace")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete {name!r}: messages are frozen")

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        values = _record(self).values
        return values(self) == values(other)

    def __hash__(self) -> int:
        return hash((self.__class__, _record(self).values(self)))

    def __repr__(self) -> str:
        record = _record(self)
        return f"{record.name}({show_fields(record, self, ', ')})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.__class__, _record(self).values(self))

    def __replace__(self: T, /, **changes: Any) -> T:
        return replace(self, **changes)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(fields.field,))
class Message(_Frozen):
    """Base of every message; decorate each subclass with `message`.

    A subclass without the decorator may hold fields for others to inherit; it has no type number and no instances. A
    decorated class may be subclassed too: the subclass is a message of its own, under its own number.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return describe(self)


def message(
    type_id: int, *, codec: str = "msgpack", spec: bool = False, name: str | None = None
) -> Callable[[type[M]], type[M]]:
    """Declare a message: its two-byte type, and the codec that writes it.

    ``type_id`` is 32768 to 65535; others only with ``spec=True``, which says that a specification gave the message its
    number; never one that lightningd keeps for itself. ``codec`` is ``msgpack``, ``bolt``, ``json``, ``raw``, or one
    that a plugin brings. ``name`` is what traces and the command line call it: by default the class's name.

    Raises `SchemaError` naming module, class and field for anything that cannot work.
    """

    def decorate(cls: type[M]) -> type[M]:
        where = f"{cls.__module__}.{cls.__qualname__}" if isinstance(cls, type) else repr(cls)
        check_claim(type_id, spec, where)
        return declare(cls, type_id, codec=codec, spec=spec, name=name)

    return decorate


def declare(cls: type[M], type_id: int, *, codec: str = "bolt", spec: bool = True, name: str | None = None) -> type[M]:
    """Do what `message` does without asking whose the type number is: for the BOLTs' own messages.

    They can be encoded and decoded, but no `Registry` takes them. Raises `SchemaError`.
    """
    if not (isinstance(cls, _RecordType) and issubclass(cls, Message)):
        where = f"{cls.__module__}.{cls.__qualname__}" if isinstance(cls, type) else repr(cls)
        raise SchemaError(f"{where}: @message is for subclasses of Message; use @subtype for what is part of one")
    record = _complete(cls, name)
    schema = Schema(
        record.cls, record.name, record.module, record.fields, record.blank, record.values, type_id, codec, spec
    )
    rules.check(schema)
    cls.__oddwire__ = schema
    return cls


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(fields.field,))
def subtype(cls: type[T]) -> type[T]:
    """Declare a class that is part of messages: ``orders: tuple[Order, ...]``.

    It is frozen, slotted and keyword-only, as messages are, and may inherit from another subtype. Any codec can carry
    it. Raises `SchemaError` naming module, class and field for anything that cannot work.
    """
    where = f"{cls.__module__}.{cls.__qualname__}" if isinstance(cls, type) else repr(cls)
    if isinstance(cls, _RecordType):
        if issubclass(cls, Message):
            raise SchemaError(f"{where}: a subclass of Message takes @message(type_id), not @subtype")
        made: _RecordType = cls
    else:
        if not isinstance(cls, type) or cls.__bases__ != (object,):
            raise SchemaError(f"{where}: a @subtype is a plain class, or a subclass of other subtypes")
        dropped = ("__dict__", "__weakref__")
        namespace = {key: value for key, value in vars(cls).items() if key not in dropped}
        namespace["__qualname__"] = cls.__qualname__
        made = _RecordType(cls.__name__, (_Frozen,), namespace, local_names=sys._getframe(1).f_locals)
        _point_class_cells(cls, made)
    record = _complete(made, None)
    rules.check(record)
    made.__oddwire__ = record
    return cast("type[T]", made)


def schema_of(message: Message | type[Message]) -> Schema:
    """Give the schema of a message or message class. Raises `SchemaError` for anything else."""
    cls = message if isinstance(message, type) else type(message)
    schema = getattr(cls, "__oddwire__", None)
    if not isinstance(schema, Schema):
        raise SchemaError(f"{cls.__module__}.{cls.__qualname__} is not a message: decorate it with @message(type_id)")
    return schema


def replace(instance: T, /, **changes: Any) -> T:
    """Give a copy of a message or subtype with some fields changed. Raises `TypeError` for a name it does not have."""
    record = _record(instance)
    values = {field.name: getattr(instance, field.name) for field in record.fields}
    return cast("T", record.cls(**{**values, **changes}))


def describe(message: Message, size: int | None = None) -> str:
    """Say in one line what a message holds: ``QuoteRequest 0x8c01 [23 bytes] asset='eur' nonce=7``.

    ``size`` is its payload's, if it is known. Long bytes and strings are shortened.
    """
    schema = schema_of(message)
    parts = [schema.name, f"{schema.type_id:#06x}"]
    if size is not None:
        parts.append(f"[{size} byte{'' if size == 1 else 's'}]")
    return " ".join([*parts, show_fields(schema, message, " ")]).rstrip()


# How the classes are made ----------------------------------------------------------------------------------------


def _record(instance: object) -> Record:
    record = getattr(type(instance), "__oddwire__", None)
    if not isinstance(record, Record):
        raise TypeError(f"{type(instance).__qualname__} is neither a message nor a subtype")
    return record


def _rebuild(cls: type[T], values: tuple[Any, ...]) -> T:
    record: Record = cls.__oddwire__  # type: ignore[attr-defined]
    return cast("T", record.build(dict(zip((field.name for field in record.fields), values, strict=True))))


def _undecorated(cls: type, *_: Any, **__: Any) -> Any:
    how = "@message(type_id)" if issubclass(cls, Message) else "@subtype"
    raise TypeError(f"{cls.__module__}.{cls.__qualname__} has no instances: decorate it with {how}")


def _inherited(where: str, bases: tuple[type, ...]) -> tuple[Field, ...]:
    found: dict[str, Field] = {}
    for base in bases:
        if isinstance(base, _RecordType):
            found |= {field.name: field for field in getattr(base, "__oddwire_fields__", ())}
        else:
            for ancestor in base.__mro__[:-1]:
                if ancestor.__dict__.get("__annotations__") or not hasattr(ancestor, "__slots__"):
                    text = (
                        f"base class {ancestor.__qualname__} should be a message or a subtype, or have __slots__ = ()"
                    )
                    raise SchemaError(f"{where}: {text} and no fields")
    return tuple(found.values())


def _own_fields(
    where: str, namespace: dict[str, Any], inherited: tuple[Field, ...], local_names: Mapping[str, Any]
) -> tuple[Field, ...]:
    taken = {field.name for field in inherited}
    made = []
    for name, annotation in _annotations(namespace).items():
        try:
            if (field := _field(name, annotation, namespace, local_names)) is not None:
                if name in taken:
                    raise SchemaError("is a field of the base class already; a field cannot be declared twice")
                made.append(field)
        except SchemaError as error:
            raise SchemaError(f"{where}.{name}: {error}") from None
    for name, value in namespace.items():
        if isinstance(value, fields.FieldSpec) and name not in {field.name for field in made}:
            raise SchemaError(f"{where}.{name}: a field needs an annotation: {name}: u64 = field(...)")
    keys = [field.key for field in (*inherited, *made)]
    for field in made:
        if keys.count(field.key) > 1:
            raise SchemaError(f"{where}.{field.name}: another field has the key {field.key!r} too")
    return tuple(made)


def _annotations(namespace: dict[str, Any]) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):  # PEP 649: annotations are made on demand
        import annotationlib

        if annotate := annotationlib.get_annotate_from_class_namespace(namespace):
            return annotationlib.call_annotate_function(annotate, annotationlib.Format.FORWARDREF)
    return cast("Mapping[str, Any]", namespace.get("__annotations__", {}))


def _field(name: str, annotation: Any, namespace: dict[str, Any], local_names: Mapping[str, Any]) -> Field | None:
    module_names = vars(sys.modules[namespace["__module__"]]) if namespace["__module__"] in sys.modules else {}
    try:
        evaluated = evaluate(annotation, module_names, _visible(local_names, namespace))
    except NameError as error:
        if error.name == namespace["__qualname__"].rpartition(".")[2]:
            raise SchemaError(f"the class cannot be part of itself: {annotation!r}") from None
        text = f"the annotation {annotation!r} names {error.name!r}, which is not defined here when the class is made"
        raise SchemaError(f"{text}: define or import it before, and not under TYPE_CHECKING") from None
    except Exception as error:  # noqa: BLE001 - an author's annotation can raise anything
        raise SchemaError(f"the annotation {annotation!r} cannot be evaluated: {error}") from error
    if evaluated is ClassVar or get_origin(evaluated) is ClassVar:
        return None
    if isinstance(evaluated, fields.FieldSpec):
        raise SchemaError(f"the field hides the type of the same name: write the annotation as a string, '{name}'")
    kind = kind_of(evaluated)
    if name.startswith("_") or iskeyword(name):
        raise SchemaError("a field's name should not start with an underscore or be a Python keyword")
    return _complete_field(name, kind, namespace.get(name, MISSING))


def _visible(local_names: Mapping[str, Any], namespace: dict[str, Any]) -> dict[str, Any]:
    """What an annotation can name besides the module's names: not the fields, which may be called like their types."""
    annotated = _annotations(namespace)
    return {**local_names, **{name: value for name, value in namespace.items() if name not in annotated}}


def _complete_field(name: str, kind: Kind, told: Any) -> Field:
    spec = told if isinstance(told, fields.FieldSpec) else fields.FieldSpec(told, MISSING)
    if spec.count is not None:
        kind = apply_count(kind, spec.count)
    if spec.max_length is not None:
        kind = apply_max_length(kind, spec.max_length)
    if spec.tlv is not None and not (type(spec.tlv) is int and 0 <= spec.tlv < 1 << 64):
        raise SchemaError(f"tlv={spec.tlv!r} should be a number from 0 to 2**64 - 1")
    if spec.key is not None and not (isinstance(spec.key, str) and spec.key):
        raise SchemaError(f"key={spec.key!r} should be a string")
    factory = None if spec.default_factory is MISSING else spec.default_factory
    if factory is not None and (spec.default is not MISSING or not callable(factory)):
        raise SchemaError("should have a default, or a default_factory that can be called, not both")
    if isinstance(spec.default, list | dict | set | bytearray):
        raise SchemaError(f"the default {spec.default!r} would be shared: write field(default_factory=...)")
    field = Field(name, kind, spec.key or name, spec.default, factory, spec.tlv)
    if not field.required:
        try:
            tree.dump(kind, field.make_default(), tree.MSGPACK)
        except CodecError as error:
            raise SchemaError(f"the default does not fit: {error}") from None
    return field


def _complete(cls: _RecordType, name: str | None) -> Record:
    """Give the class its constructor and its twin, and make its `Record`."""
    own = cls.__oddwire_fields__
    names = [field.name for field in own]
    twin = _make_twin(cls)
    values = _values_of(names)
    record = Record(cls, name or cls.__name__, cls.__module__, own, twin, values)
    cls.__new__ = staticmethod(_constructor(record))  # type: ignore[method-assign,assignment]
    return record


def _values_of(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if not names:
        return lambda _: ()
    if len(names) == 1:
        only = attrgetter(names[0])
        return lambda instance: (only(instance),)
    return attrgetter(*names)


def _make_twin(cls: _RecordType) -> Callable[[], Any]:
    """Make the class `Record.blank` instantiates: same layout, so its instances can become ``cls``'s."""
    namespace = {
        "__slots__": cls.__dict__["__slots__"],
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__new__": object.__new__,
        "__setattr__": object.__setattr__,
        "__delattr__": object.__delattr__,
    }
    return cast("Callable[[], Any]", type.__new__(_RecordType, cls.__name__, cls.__bases__, namespace))


def _constructor(record: Record) -> Callable[..., Any]:
    names: dict[str, Any] = {"_blank": record.blank, "_missing": MISSING}
    parameters, lines = [], ["    _self = _blank()"]
    for field in record.fields:
        value = field.name
        if field.default_factory is not None:
            names[f"_make_{field.name}"] = field.default_factory
            parameters.append(f"{field.name}=_missing")
            value = f"_make_{field.name}() if {field.name} is _missing else {field.name}"
        elif field.default is not MISSING:
            names[f"_default_{field.name}"] = field.default
            parameters.append(f"{field.name}=_default_{field.name}")
        else:
            parameters.append(field.name)
        lines.append(f"    _self.{field.name} = {value}")
    star = ["*"] if parameters else []
    header = f"def __new__({', '.join(['_cls', *star, *parameters])}):"
    source = "\n".join([header, *lines, "    _self.__class__ = _cls", "    return _self"])
    return compile_function(source, "__new__", names, f"new {record.qualified_name}")


def _point_class_cells(old: type, new: type) -> None:
    """Make ``super()`` in the class's methods mean the class that was made, not the one it was made from."""
    for value in vars(new).values():
        function = getattr(value, "fget", None) or getattr(value, "__func__", value)
        for cell in getattr(function, "__closure__", None) or ():
            try:
                if cell.cell_contents is old:
                    cell.cell_contents = new
            except ValueError:  # an empty cell
                continue
