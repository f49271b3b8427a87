"""Field annotations, converted to kinds."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from enum import Enum, Flag
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from oddwire.errors import SchemaError
from oddwire.proto.keys import PublicKey, ShortChannelId
from oddwire.records import replace
from oddwire.schema import fields
from oddwire.schema.kinds import (
    PLAIN_INT,
    Anything,
    Array,
    Boolean,
    Choice,
    Count,
    Fixed,
    Float,
    Integer,
    Kind,
    Maybe,
    Named,
    Nested,
    Octets,
    Prefixed,
    Record,
    Rest,
    Schema,
    Table,
    Text,
)

__all__ = ["LARGEST", "apply_count", "apply_max_length", "evaluate", "kind_of"]

LARGEST = (1 << 32) - 1
"""Max bytes of any payload, and so max elements of any field."""

_PLAIN: Mapping[Any, Kind] = {
    int: PLAIN_INT,
    bool: Boolean(),
    float: Float(),
    str: Text(),
    bytes: Octets(),
    Any: Anything(),
    object: Anything(),
}
_HINTS: Mapping[Any, str] = {
    PublicKey: "write point",
    ShortChannelId: "write short_channel_id",
    bytearray: "write bytes",
    memoryview: "write bytes",
    tuple: "write tuple[X, ...]",
    list: "write list[X]",
    dict: "write dict[str, X]",
    set: "write tuple[X, ...]",
    frozenset: "write tuple[X, ...]",
    type(None): "write X | None",
}


def evaluate(annotation: Any, module_names: Mapping[str, Any], local_names: Mapping[str, Any]) -> Any:
    """Return the type that an annotation, possibly a string, means. Raises any error of its evaluation."""
    holder = type("_", (), {"__annotations__": {"field": annotation}})
    return get_type_hints(holder, dict(module_names), dict(local_names), include_extras=True)["field"]


def kind_of(annotation: Any) -> Kind:
    """Return the kind that an evaluated annotation means. Raises `SchemaError` that says what would be right."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _annotated(arguments[0], arguments[1:])
    if origin is Final or annotation is Final:
        inside = _show(arguments[0]) if arguments else "u64"
        text = f"fields never change: write {inside}; ClassVar[{inside}] is what all instances share"
        raise SchemaError(f"{_show(annotation)} is not a field type; {text}")
    if origin in (Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        if len(inner) != 1:
            raise SchemaError(f"{_show(annotation)} should be one type, or X | None: a union needs a codec of its own")
        kind = kind_of(inner[0])
        return kind if isinstance(kind, Maybe | Anything) else Maybe(kind)
    if origin is Literal:
        return _choice(_show(annotation), {value: value for value in arguments}, type(arguments[0]))
    if origin is tuple:
        if len(arguments) != 2 or arguments[1] is not ...:
            raise SchemaError(f"{_show(annotation)} should be tuple[X, ...], or a @subtype with a field for each")
        return Array(kind_of(arguments[0]), tuple)
    if origin in (list, Sequence):
        return Array(kind_of(arguments[0]), list if origin is list else tuple, loose=origin is Sequence)
    if origin in (dict, Mapping):
        if arguments[0] is not str:
            raise SchemaError(f"{_show(annotation)} should have str keys: dict[str, X]")
        return Table(kind_of(arguments[1]))
    try:
        return _PLAIN[annotation]
    except (KeyError, TypeError):  # TypeError: not hashable
        return _class_kind(annotation)


def _class_kind(annotation: Any) -> Kind:
    record = getattr(annotation, "__oddwire__", None)
    if isinstance(record, Schema):
        raise SchemaError(f"{record.name} is a message; what is part of another is a @subtype class")
    if isinstance(record, Record):
        return Nested(record)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        if issubclass(annotation, Flag):
            raise SchemaError(f"{annotation.__name__} is a Flag, whose values combine: write u8 to u64")
        members = {member.value: member for member in annotation}
        return _choice(annotation.__name__, members, annotation)
    hint = _HINTS.get(annotation) if isinstance(annotation, type) else None
    known = "u8 to u64, str, bytes, point, an Enum, a @subtype class, tuple[X, ...], X | None and the like"
    raise SchemaError(f"{_show(annotation)} is not a field type; {hint or f'oddwire knows {known}'}")


def _choice(name: str, members: Mapping[Any, Any], python: type) -> Choice:
    classes = {type(value) for value in members}
    if not members:
        raise SchemaError(f"{name} has no members")
    if not all(issubclass(cls, str) for cls in classes):
        if not all(issubclass(cls, int) and cls is not bool for cls in classes):
            raise SchemaError(f"{name} should have values that are all int or all str")
        low, high = PLAIN_INT.low, PLAIN_INT.high
        if not all(low <= value <= high for value in members):
            raise SchemaError(f"{name} should have values of 64 bits at most")
        return Choice(name, PLAIN_INT, members, python)
    return Choice(name, Text(), members, python)


def _annotated(annotation: Any, extras: tuple[Any, ...]) -> Kind:
    if extras and isinstance(extras[0], Kind):  # our own aliases
        kind, extras = extras[0], extras[1:]
    else:
        kind = kind_of(annotation)
    for extra in extras:
        alias = _integer(extra)
        if alias is not None:
            kind = _as_integer(kind, alias)
        elif isinstance(extra, fields.MaxLength):
            kind = apply_max_length(kind, extra.size)
        elif extra is ... or isinstance(extra, Fixed | Rest | fields.Counted):
            kind = apply_count(kind, extra)
        elif isinstance(extra, fields.AsText):
            kind = _apply_as_text(kind)
        # Anything else is for other tools: PEP 593 says to ignore it.
    return kind


def _integer(alias: Any) -> Integer | None:
    """Return the `Integer` of an alias such as ``u16``, or None."""
    for extra in getattr(alias, "__metadata__", ()):
        if isinstance(extra, Integer):
            return extra
    return None


def _as_integer(kind: Kind, integer: Integer) -> Kind:
    """Return an enum's kind with ``integer`` as its wire type: ``Annotated[Colour, u8]``."""
    if isinstance(kind, Maybe):
        return Maybe(_as_integer(kind.inner, integer))
    if not isinstance(kind, Choice) or not isinstance(kind.base, Integer):
        raise SchemaError(f"{integer.name} beside {kind.label} should stand beside an Enum of integers")
    bad = [value for value in kind.members if not integer.low <= int(value) <= integer.high]
    if bad:
        raise SchemaError(f"{kind.name} has the value {bad[0]}, which {integer.name} cannot hold")
    return replace(kind, base=integer)


def _apply_as_text(kind: Kind) -> Kind:
    """Return an integer's kind with ``quoted``."""
    if isinstance(kind, Maybe):
        return Maybe(_apply_as_text(kind.inner))
    if not isinstance(kind, Integer):
        raise SchemaError(f"as_text beside {kind.label} should stand beside an integer: Annotated[u64, as_text]")
    return replace(kind, quoted=True)


def apply_count(kind: Kind, given: Any) -> Kind:
    """Return a kind with its `Count`, from a number, an integer alias, ``...``, `rest`, or a field's name."""
    if isinstance(kind, Maybe):
        return Maybe(apply_count(kind.inner, given))
    if not isinstance(kind, Octets | Text | Array):
        raise SchemaError(f"{kind.label} has no count: only bytes, str, tuple, list and Sequence do")
    if kind.count is not None:
        raise SchemaError(f"{kind.label} is already counted: give one count")
    return replace(kind, count=_count(given))


def _count(given: Any) -> Count:
    if isinstance(given, int) and not isinstance(given, bool):
        given = Fixed(given)
    if isinstance(given, Fixed):
        if not 0 <= given.size <= LARGEST:
            raise SchemaError(f"fixed({given.size}) should be 0 to {LARGEST}: a payload has no more bytes")
        return given
    if given is ... or isinstance(given, Rest):
        return Rest()
    if isinstance(given, str):
        return Named(given)
    integer = _integer(given.integer if isinstance(given, fields.Counted) else given)
    if integer is None or integer.signed or integer.form not in ("fixed", "bigsize"):
        raise SchemaError("a count should be a number, u8 to u64, bigsize, rest, or the name of an earlier field")
    return Prefixed(integer)


def apply_max_length(kind: Kind, size: int) -> Kind:
    """Return ``kind`` with a max length of ``size``."""
    if isinstance(kind, Maybe):
        return Maybe(apply_max_length(kind.inner, size))
    if not isinstance(kind, Octets | Text | Array | Table):
        raise SchemaError(f"{kind.label} has no length to limit: only str, bytes, tuple, list and dict do")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise SchemaError(f"max_length should be a number from 0, not {size!r}")
    return replace(kind, max_length=size)


def _show(annotation: Any) -> str:
    """Return the text of an annotation as its author wrote it: ``tuple[u8, str]``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return next((extra.label for extra in annotation.__metadata__ if isinstance(extra, Kind)), _show(arguments[0]))
    if origin in (Union, types.UnionType):
        return " | ".join(map(_show, arguments))
    if isinstance(origin, type):
        return f"{origin.__name__}[{', '.join(map(_show, arguments))}]"
    if isinstance(annotation, type):
        return "None" if annotation is type(None) else annotation.__qualname__
    return "..." if annotation is ... else str(annotation).replace("typing.", "").replace("collections.abc.", "")
