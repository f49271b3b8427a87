"""The making of message and subtype classes: annotations become slots and fields, mistakes `SchemaError`s."""

from __future__ import annotations

import inspect
import sys
from abc import ABCMeta
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, MISSING, FrozenInstanceError
from dataclasses import Field as DataclassField
from enum import Enum
from keyword import iskeyword
from operator import attrgetter
from types import ModuleType
from typing import Any, ClassVar, Generic, TypeVar, cast, get_origin

from oddwire.errors import CodecError, SchemaError
from oddwire.schema import fields, tree
from oddwire.schema.annotations import apply_count, apply_max_length, evaluate, kind_of
from oddwire.schema.kinds import Field, Kind, Record
from oddwire.schema.source import compile_function
from oddwire.schema.spelling import show_fields

__all__ = ["Frozen", "RecordType", "complete", "qualified_name", "record_of", "remake", "replace"]

T = TypeVar("T")

_OURS = ("oddwire.schema.classes", "oddwire.schema.message")
_MADE = ("__dict__", "__weakref__", "__abstractmethods__", "_abc_impl")  # attributes that Python adds to a class
_RESERVED = ("__init__", "__new__", "__post_init__", "__slots__", "__setattr__", "__delattr__", "__eq__", "__hash__")


class RecordType(ABCMeta):
    """The classes' metaclass; an `ABCMeta`, so that a class may have abstract bases.

    ``__oddwire__`` is the class's own `Record` or `Schema` once it is decorated, ``__oddwire_fields__`` its fields.
    """

    __oddwire__: Record | None
    __oddwire_fields__: tuple[Field, ...]

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
        if Generic in bases:
            raise SchemaError(f"{where}: should not be Generic: a field has one type, so declare a class for each")
        inherited = _inherited(where, bases)
        own = _own_fields(where, namespace, inherited, frame.f_locals if local_names is None else local_names)
        names = tuple(field.name for field in own)
        _check_attributes(where, namespace, {field.name for field in inherited})
        namespace = {key: value for key, value in namespace.items() if key not in names}
        namespace["__slots__"] = names
        namespace["__oddwire__"] = None
        namespace["__oddwire_fields__"] = inherited + own
        namespace["__new__"] = _undecorated
        try:
            return super().__new__(mcs, name, bases, namespace, **parameters)
        except TypeError as error:  # two bases that both have fields
            raise SchemaError(f"{where}: {error}") from None

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **_: Any) -> None:
        super().__init__(name, bases, namespace)

    def __setattr__(cls, name: str, value: object) -> None:
        if name in ("__dataclass_fields__", "__dataclass_params__"):
            text = "it is frozen, slotted and keyword-only without"
            raise SchemaError(f"{qualified_name(cls)}: should have no @dataclass: {text}")
        super().__setattr__(name, value)


class Frozen(metaclass=RecordType):
    """Base of messages and subtypes."""

    __slots__ = ()

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


# Class statement to fields -------------------------------------------------------------------------------------------


def _inherited(where: str, bases: tuple[type, ...]) -> tuple[Field, ...]:
    found: dict[str, Field] = {}
    for base in bases:
        found |= {field.name: field for field in getattr(base, "__oddwire_fields__", ())}
        for ancestor in base.__mro__[:-1]:
            if not isinstance(ancestor, RecordType) and (
                "__slots__" not in vars(ancestor) or inspect.get_annotations(ancestor)
            ):
                text = f"its base {ancestor.__qualname__} should be a message or subtype, or have __slots__ = ()"
                raise SchemaError(f"{where}: {text} and no fields")
            if not isinstance(ancestor, RecordType):
                _check_attributes(f"{where}: its base {ancestor.__qualname__}", vars(ancestor), set(), cached_only=True)
    return tuple(found.values())


def _check_attributes(where: str, namespace: Mapping[str, Any], inherited: set[str], cached_only: bool = False) -> None:
    """Raise `SchemaError` for an attribute that is not a field and would not do what it looks like."""
    annotated = _annotations(dict(namespace))
    for name, value in namespace.items():
        if type(value).__name__ == "cached_property":
            text = "there is no place to keep it, as instances have fields and nothing else: write @property"
            raise SchemaError(f"{where}.{name}: a cached_property cannot be: {text}")
        if name in annotated or name.startswith("_") or cached_only:
            continue
        if name in inherited:
            raise SchemaError(f"{where}.{name}: is a field of the base class already, and cannot be another thing")
        if not _is_useful(value):
            example = (
                f"{name}: str | None = None" if value is None else f"{name}: {type(value).__name__} = {value!r:.40}"
            )
            text = f"write '{example}' for a field, '{name}: ClassVar = ...' for what all instances share"
            raise SchemaError(f"{where}.{name}: has no type, so it is no field: {text}")


def _is_useful(value: object) -> bool:
    """Return whether an attribute without annotation is a legitimate class member: a method, an alias for a type."""
    if callable(value) or hasattr(type(value), "__get__") or isinstance(value, fields.FieldSpec | ModuleType):
        return True
    return get_origin(value) is not None or type(value).__module__ in ("types", "typing", "typing_extensions")


def _own_fields(
    where: str, namespace: dict[str, Any], inherited: tuple[Field, ...], local_names: Mapping[str, Any]
) -> tuple[Field, ...]:
    made: list[Field] = []
    names = {field.name for field in inherited}
    keys = {field.key: field.name for field in inherited}
    for name, annotation in _annotations(namespace).items():
        try:
            field = _field(name, annotation, namespace, local_names)
            if field is None:
                continue
            if name in names:
                raise SchemaError("is a field of the base class already; declare it once")
            if field.key in keys:
                raise SchemaError(f"the key {field.key!r} is that of {keys[field.key]!r} already")
        except SchemaError as error:
            raise SchemaError(f"{where}.{name}: {error}") from None
        made.append(field)
        names.add(name)
        keys[field.key] = name
    for name, value in namespace.items():
        if isinstance(value, fields.FieldSpec) and name not in names:
            raise SchemaError(f"{where}.{name}: a field needs a type: {name}: u64 = field(...)")
    return tuple(made)


def _annotations(namespace: dict[str, Any]) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):  # PEP 649: a class body no longer has its annotations, but a function that does
        import annotationlib

        if annotate := annotationlib.get_annotate_from_class_namespace(namespace):
            return annotationlib.call_annotate_function(annotate, annotationlib.Format.FORWARDREF)
    return cast("Mapping[str, Any]", namespace.get("__annotations__", {}))


def _field(name: str, annotation: Any, namespace: dict[str, Any], local_names: Mapping[str, Any]) -> Field | None:
    evaluated = _evaluate(annotation, namespace, local_names)
    if evaluated is ClassVar or get_origin(evaluated) is ClassVar:
        return None
    if isinstance(evaluated, fields.FieldSpec):
        raise SchemaError(f"the field hides the type of its name: write the annotation as a string, {name!r}")
    if name.startswith("_") or iskeyword(name):
        if evaluated is KW_ONLY:
            raise SchemaError("all fields are keyword-only already: leave KW_ONLY away")
        raise SchemaError("a field's name should not start with an underscore, nor be a Python keyword")
    value_given = namespace.get(name, MISSING)
    if isinstance(value_given, DataclassField):
        raise SchemaError("dataclasses.field is for dataclasses: write oddwire.field(...)")
    spec = value_given if isinstance(value_given, fields.FieldSpec) else fields.FieldSpec(value_given, MISSING)
    return _make_field(name, kind_of(evaluated), spec)


def _evaluate(annotation: Any, namespace: dict[str, Any], local_names: Mapping[str, Any]) -> Any:
    module = sys.modules.get(namespace["__module__"])
    annotated = _annotations(namespace)  # a field's name is not a name in annotations
    visible = {name: value for name, value in namespace.items() if name not in annotated}
    try:
        return evaluate(annotation, vars(module) if module else {}, {**local_names, **visible})
    except NameError as error:
        if error.name == namespace["__qualname__"].rpartition(".")[2]:
            raise SchemaError(f"{annotation!r}: a class cannot be part of itself") from None
        text = f"{annotation!r} names {error.name!r}, which is not known here when the class is made"
        raise SchemaError(f"{text}: define or import it before, at module level, not under TYPE_CHECKING") from None
    except Exception as error:  # an author's annotation may raise any error
        raise SchemaError(f"the annotation {annotation!r} cannot be evaluated: {error}") from error


def _make_field(name: str, kind: Kind, spec: fields.FieldSpec) -> Field:
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
        raise SchemaError(f"the default {spec.default!r} can change under its users: write field(default_factory=...)")
    field = Field(name, kind, spec.key or name, spec.default, factory, spec.tlv)
    if not field.required:
        try:
            tree.dump(kind, field.make_default(), tree.MSGPACK)
        except CodecError as error:
            raise SchemaError(f"the default does not fit: {error}") from None
    return field


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
    record = Record(cls, name or cls.__name__, cls.__module__, own, blank, values)
    cls.__new__ = staticmethod(_constructor(record))  # type: ignore[method-assign]
    return record


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
