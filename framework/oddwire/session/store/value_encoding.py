"""The encoding of extensions' values in the database: a value is read back with the same types, or it is refused.

A value for which SQLite has a type that returns it unchanged is stored as it is (`PLAIN`); in databases of version 1
all values were. Any other is msgpack (`PACKED`), with extension types for what msgpack would return as another type:
tuples, objects of ``@message`` and ``@subtype`` classes and members of enums, both by the name of their class, keys of
nodes, short channel ids.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Final, Literal, NamedTuple, NoReturn

import msgpack

from oddwire.errors import CodecError, EncodeError, MalformedMessage, SchemaError, ValueOutOfRange
from oddwire.printable import represented
from oddwire.proto.keys import NodeId, PublicKey, ShortChannelId
from oddwire.schema.annotations import kind_of
from oddwire.schema.class_records import Record
from oddwire.schema.forms import KEPT
from oddwire.schema.tree import dump, dump_record, load, load_record
from oddwire.schema.union_kinds import UnknownVariant

__all__ = ["PACKED", "PLAIN", "EncodedValue", "keep", "read", "read_like"]

PLAIN: Final = 0
PACKED: Final = 1

_MOST: Final = 1 << 28  # bytes of a value: SQLite takes up to 10**9 in a row
_DEPTH: Final = 32
_TUPLE: Final = 1
_OBJECT: Final = 2  # [name of its class, its fields as msgpack messages have them]
_MEMBER: Final = 3  # [name of its class, its value]
_NODE_ID: Final = 4
_PUBLIC_KEY: Final = 5
_CHANNEL: Final = 6
_KNOWN: Final = (
    "bytes, str, bool, int, float, list, tuple, dict, NodeId, PublicKey, ShortChannelId, an Enum, or an object of a "
    "@message or @subtype class"
)


class EncodedValue(NamedTuple):
    """A value as in its row: the form, `PLAIN` or `PACKED`, and the value for SQLite."""

    form: int
    value: bytes | str | int | float


class _Object(NamedTuple):
    name: str
    fields: Any


class _Member(NamedTuple):
    name: str
    value: Any


# To the database ---------------------------------------------------------------------------------------------------


def keep(key: str, value: Any) -> EncodedValue:
    """Return a value encoded for the database. Raises `TypeError` or `ValueOutOfRange`, naming key and path.

    It finds every error that would fail the commit of the value later, and all changes with it.
    """
    where = f"value of {key!r}"
    if type(value) in (bytearray, memoryview):
        value = bytes(value)
    if value is None:
        raise TypeError(f"{where} should not be None, which stands for no value: delete the key, or keep another")
    packed = _packable(value, where, _DEPTH)
    if type(value) in (bytes, str, float) or (type(value) is int and -(1 << 63) <= value < 1 << 63):
        kept = EncodedValue(PLAIN, value)
    else:
        kept = EncodedValue(PACKED, typing.cast("bytes", msgpack.packb(packed, use_bin_type=True)))
    whole = kept.value.encode() if isinstance(kept.value, str) else kept.value
    if isinstance(whole, bytes) and len(whole) > _MOST:
        raise ValueOutOfRange(f"{where} is {len(whole)} bytes; at most {_MOST} are kept")
    return kept


def _packable(value: Any, where: str, depth: int) -> Any:
    """Return a value in types that msgpack encodes. Subclasses are refused: they would be read back as their bases."""
    cls = type(value)
    if cls in (bool, bytes, types.NoneType):
        return value
    if cls is int:
        if not -(1 << 63) <= value < 1 << 64:
            raise ValueOutOfRange(f"{where} should be an int of 64 bits, not {represented(value)}")
        return value
    if cls is float:
        if value != value:
            raise ValueOutOfRange(f"{where} should be a number, not {value}")
        return value
    if cls is str:
        return _text(value, where)
    if not depth:
        raise ValueOutOfRange(f"{where} nests more than {_DEPTH} levels deep")
    if cls is list:
        return [_packable(inner, f"{where}[{place}]", depth - 1) for place, inner in enumerate(value)]
    if cls is tuple:
        inner = [_packable(inner, f"{where}[{place}]", depth - 1) for place, inner in enumerate(value)]
        return _extension(_TUPLE, inner)
    if cls is dict:
        return {_key(inner, where): _packable(value[inner], f"{where}[{inner!r}]", depth - 1) for inner in value}
    if cls is NodeId:
        return msgpack.ExtType(_NODE_ID, bytes(value))
    if cls is PublicKey:
        return msgpack.ExtType(_PUBLIC_KEY, value.serializeCompressed())
    if cls is ShortChannelId:
        return msgpack.ExtType(_CHANNEL, value.to_bytes())
    if isinstance(value, Enum):
        return _extension(_MEMBER, [cls.__name__, _packable(value.value, where, depth - 1)])
    if cls is UnknownVariant:
        return _extension(_OBJECT, [cls.__name__, _packable({"tag": value.tag, "body": value.body}, where, depth - 1)])
    record = getattr(cls, "__oddwire__", None)
    if isinstance(record, Record):
        try:
            return _extension(_OBJECT, [record.name, dump_record(record, value, KEPT, where)])
        except CodecError as error:
            if isinstance(error, ValueOutOfRange):
                raise
            raise TypeError(str(error)) from error
    found = f"{value.__name__}: a class, not an object" if isinstance(value, type) else cls.__name__
    raise TypeError(f"{where} should be {_KNOWN}, not {found}{_HINTS.get(cls, '')}")


_HINTS: Final[Mapping[type, str]] = {
    set: ": write a list",
    frozenset: ": write a tuple",
    bytearray: ": write bytes",
    memoryview: ": write bytes",
}


def _extension(code: int, content: Any) -> msgpack.ExtType:
    return msgpack.ExtType(code, msgpack.packb(content, use_bin_type=True))


def _text(value: str, where: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueOutOfRange(f"{where} should be a str that UTF-8 can hold") from None
    return value


def _key(key: Any, where: str) -> Any:
    if type(key) is str:
        return _text(key, f"{where}: key {key!r}")
    if type(key) is bytes or (type(key) is int and -(1 << 63) <= key < 1 << 64):
        return key
    raise TypeError(
        f"{where}: keys should be str, bytes or int of 64 bits, not {represented(key)}, a {type(key).__name__}"
    )


# From the database -------------------------------------------------------------------------------------------------


def _unpack(kept: EncodedValue) -> Any:
    if kept.form == PLAIN:
        return kept.value
    return msgpack.unpackb(kept.value, ext_hook=_inner, strict_map_key=False)


def _inner(code: int, data: bytes) -> Any:
    if code in _READ:
        return _READ[code](data)
    content = msgpack.unpackb(data, ext_hook=_inner, strict_map_key=False)
    if code == _TUPLE:
        return tuple(content)
    return _Object(*content) if code == _OBJECT else _Member(*content)


_PLAIN: Final = (bool, int, float, str, bytes)
_READ: Final[Mapping[int, Callable[[bytes], Any]]] = {
    _NODE_ID: NodeId,
    _PUBLIC_KEY: PublicKey,
    _CHANNEL: ShortChannelId.from_bytes,
}


def read(key: str, kept: EncodedValue, annotation: Any = None) -> Any:
    """Return the decoded value, of the type of ``annotation`` if there is one. Raises `TypeError` if it is not.

    Without an annotation, objects and members of enums cannot be read: only the author may name classes.
    """
    where = f"value of {key!r}"
    value = _unpack(kept)
    if annotation is None:
        return _plain(value, where)
    return _fit(annotation, value, where)


def read_like(key: str, kept: EncodedValue, default: Any) -> Any:
    """Return the decoded value, of the default's class. Raises `TypeError` if it is not."""
    cls = type(default)
    value = _unpack(kept)
    if isinstance(value, (_Object, _Member)):
        return _fit(cls, value, f"value of {key!r}")
    value = _plain(value, f"value of {key!r}")
    if isinstance(value, cls) or (cls is float and type(value) is int):
        return value
    raise TypeError(
        f"value of {key!r} is {_shown(value)}, while the default is of class {cls.__name__}: give it in as_=, or a "
        "default of its class"
    )


def _plain(value: Any, where: str) -> Any:
    """Return the value. Raises `TypeError` if it contains an object or a member of an enum."""
    if isinstance(value, (_Object, _Member)):
        text = f"{where} is {_shown(value)}, which is to be named in as_: {value.name}, list[{value.name}] or the like"
        raise TypeError(text)
    if type(value) in (list, tuple):
        for place, inner in enumerate(value):
            _plain(inner, f"{where}[{place}]")
    elif type(value) is dict:
        for name, inner in value.items():
            _plain(inner, f"{where}[{name!r}]")
    return value


def _fit(annotation: Any, value: Any, where: str) -> Any:
    """Return the value converted to its annotation. Raises `TypeError` if it does not fit."""
    annotation = getattr(annotation, "__value__", annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated and not isinstance(value, _PLAIN):
        return _annotated(annotation, value, where)
    if annotation in (Any, object):
        return _plain(value, where)
    if annotation is None or annotation is types.NoneType:
        return value if value is None else _wrong("None", value, where)
    if origin in (typing.Union, types.UnionType):
        return _one_of(arguments, value, where)
    if origin is Literal:
        if any(type(value) is type(choice) and value == choice for choice in arguments):
            return value
        _wrong(f"one of {', '.join(map(repr, arguments))}", value, where)
    container = _CONTAINERS.get(origin or annotation)
    if container is not None:
        if type(value) not in container:
            _wrong(_named(annotation), value, where)
        return _contained(arguments, value, where, origin is tuple)
    if isinstance(annotation, type) and issubclass(annotation, (NodeId, PublicKey, ShortChannelId)):
        return value if type(value) is annotation else _wrong(annotation.__name__, value, where)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _member(annotation, value, where)
    if annotation is UnknownVariant:
        if not isinstance(value, _Object) or value.name != UnknownVariant.__name__:
            _wrong(UnknownVariant.__name__, value, where)
        return UnknownVariant(**_plain(value.fields, where))
    record = getattr(annotation, "__oddwire__", None)
    if isinstance(record, Record):
        if not isinstance(value, _Object) or value.name != record.name:
            _wrong(record.name, value, where)
        return _checked(lambda: load_record(record, value.fields, KEPT, where), where)
    if isinstance(value, (_Object, _Member)):
        _wrong(_named(annotation), value, where)
    try:
        kind = kind_of(annotation)
    except SchemaError as error:
        raise TypeError(f"as_={_named(annotation)} says nothing about what is kept: {error}") from error
    return _checked(lambda: load(kind, value, KEPT, where), where)


_CONTAINERS: Final[Mapping[Any, tuple[type, ...]]] = {
    list: (list,),
    tuple: (tuple,),
    dict: (dict,),
    Sequence: (list, tuple),
    Mapping: (dict,),
}


def _annotated(annotation: Any, value: Any, where: str) -> Any:
    """Return a value that is kept with its class as what is annotated, checked by what the annotation adds.

    A union's tag is not needed, as the class is kept.
    """
    found = _fit(annotation.__origin__, value, where)
    try:
        kind = kind_of(annotation)
    except SchemaError:  # a field of a message cannot be this, but a value may: dict[int, Item]
        return found
    _checked(lambda: dump(kind, found, KEPT, where), where)
    return found


def _contained(arguments: tuple[Any, ...], value: Any, where: str, counted: bool) -> Any:
    if type(value) is dict:
        of_key, of_value = arguments or (Any, Any)
        return {
            _fit(of_key, name, f"{where}: key {name!r}"): _fit(of_value, inner, f"{where}[{name!r}]")
            for name, inner in value.items()
        }
    if counted and arguments[-1:] != (...,):
        if len(arguments) != len(value):
            _wrong(f"a tuple of {len(arguments)}", value, where, f"one of {len(value)}")
    else:
        arguments = (arguments[0] if arguments else Any,) * len(value)
    found = (
        _fit(of_it, inner, f"{where}[{place}]")
        for place, (of_it, inner) in enumerate(zip(arguments, value, strict=True))
    )
    return list(found) if type(value) is list else tuple(found)


def _one_of(options: tuple[Any, ...], value: Any, where: str) -> Any:
    refusals = []
    for option in options:
        try:
            return _fit(option, value, where)
        except TypeError as error:
            refusals.append(error)
    raise refusals[0] if len(refusals) == 1 else TypeError(" or ".join(map(str, refusals)))


def _member(enum: type[Enum], value: Any, where: str) -> Any:
    if not isinstance(value, _Member) or value.name != enum.__name__:
        _wrong(enum.__name__, value, where)
    try:
        return enum(value.value)
    except ValueError:
        _wrong(f"one of {', '.join(str(member) for member in enum)}", value, where)


def _checked(make: Callable[[], Any], where: str) -> Any:
    try:
        return make()
    except (EncodeError, MalformedMessage) as error:
        text = str(error.args[0])
        whole = error.path in (where, "$") and text.startswith("should ")
        raise TypeError(f"{where} {text}" if whole else str(error)) from error


def _wrong(expected: str, value: Any, where: str, found: str = "") -> NoReturn:
    raise TypeError(f"{where} should be {expected}, not {found or _shown(value)}")


def _shown(value: Any) -> str:
    if isinstance(value, _Object):
        return f"an object of class {value.name}"
    if isinstance(value, _Member):
        return f"a member of {value.name}"
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _named(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) and not typing.get_args(annotation) else str(annotation)
