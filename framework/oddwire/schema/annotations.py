"""Field annotations, converted to kinds."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from enum import Enum, Flag
from typing import Annotated, Any, Final, Literal, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from oddwire.errors import SchemaError
from oddwire.proto.keys import NodeId, PublicKey, ShortChannelId
from oddwire.schema import fields
from oddwire.schema.class_records import Record
from oddwire.schema.kinds import (
    PLAIN_INT,
    Anything,
    Array,
    Boolean,
    Choice,
    Fixed,
    Float,
    Kind,
    Maybe,
    Nested,
    Octets,
    Opaque,
    Rest,
    Table,
    Text,
    unboxed,
)
from oddwire.schema.markers import (
    apply_as_text,
    apply_count,
    apply_flag,
    apply_integer,
    apply_limits,
    apply_max_length,
    check_called,
    integer_of,
    misplaced,
    only_limits,
)
from oddwire.schema.union_kinds import UnknownVariant
from oddwire.schema.value_kinds import Scalar

__all__ = ["evaluate", "is_generic", "kind_of", "show_annotation"]

_PLAIN: Mapping[Any, Kind] = {
    int: PLAIN_INT,
    bool: Boolean(),
    float: Float(),
    str: Text(),
    bytes: Octets(),
    Any: Anything(),
    object: Anything(),
    NodeId: Opaque("node_id", 33, NodeId, NodeId, bytes, NodeId, NodeId.hex),
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
    Sequence: "write Sequence[X]",
    Mapping: "write Mapping[str, X]",
    UnknownVariant: "it is a member of a tagged union: Annotated[A | B | UnknownVariant, tagged(bigsize)]",
}
_PARAMETERS: Mapping[Any, int] = {list: 1, Sequence: 1, dict: 2, Mapping: 2}
"""Of generic types: ``typing.Sequence`` alone has an origin, too, but nothing in brackets."""


def evaluate(annotation: Any, module_names: Mapping[str, Any], local_names: Mapping[str, Any]) -> Any:
    """Return the type that an annotation, possibly a string, means. Raises any error of its evaluation."""
    holder = type("_", (), {"__annotations__": {"field": annotation}})
    return get_type_hints(holder, dict(module_names), dict(local_names), include_extras=True)["field"]


def kind_of(annotation: Any) -> Kind:
    """Return the kind that an evaluated annotation means. Raises `SchemaError` that says what would be right."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if len(arguments) < _PARAMETERS.get(origin, 0):
        raise SchemaError(f"{show_annotation(annotation)} is not a field type; {_HINTS[origin]}")
    if origin is Annotated:
        return _annotated(arguments[0], arguments[1:])
    if isinstance(annotation, NewType):
        return kind_of(annotation.__supertype__)
    if origin is Final or annotation is Final:
        inside = show_annotation(arguments[0]) if arguments else "u64"
        text = f"fields never change: write {inside}; ClassVar[{inside}] is what all instances share"
        raise SchemaError(f"{show_annotation(annotation)} is not a field type; {text}")
    if origin in (Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        if len(inner) != 1:
            return _either(annotation, inner)
        kind = kind_of(inner[0])
        return kind if isinstance(kind, Maybe | Anything) else Maybe(kind)
    if origin is Literal:
        return _choice(show_annotation(annotation), {value: value for value in arguments}, type(arguments[0]))
    if origin is tuple:
        if len(arguments) != 2 or arguments[1] is not ...:
            raise SchemaError(
                f"{show_annotation(annotation)} should be tuple[X, ...], or a @subtype with a field for each"
            )
        return Array(kind_of(arguments[0]), tuple)
    if origin in (list, Sequence):
        return Array(kind_of(arguments[0]), list if origin is list else tuple, loose=origin is Sequence)
    if origin in (dict, Mapping):
        if arguments[0] is not str:
            raise SchemaError(f"{show_annotation(annotation)} should have str keys: dict[str, X]")
        return Table(kind_of(arguments[1]))
    if is_generic(origin):
        return kind_of(origin[arguments])  # a generic subtype inside of another: Page[T], once T is known
    try:
        return _PLAIN[annotation]
    except (KeyError, TypeError):  # TypeError: not hashable
        return _class_kind(annotation)


def _class_kind(annotation: Any) -> Kind:
    record = getattr(annotation, "__oddwire__", None) if isinstance(annotation, type) else None
    if isinstance(record, Record):  # a message is its fields, without the type number
        return Nested(record)
    if isinstance(annotation, TypeVar):
        text = "write Generic[T] among the bases, and the type where the class is used: Page[Order]"
        raise SchemaError(f"{annotation} is no type of this class: {text}")
    if is_generic(annotation):
        text = f"{annotation.__qualname__} is generic: write the type, {annotation.__qualname__}[u64] say"
        raise SchemaError(f"{text}, for {', '.join(map(str, annotation.__parameters__))}")
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        if issubclass(annotation, Flag):
            raise SchemaError(f"{annotation.__name__} is a Flag, whose values combine: write u8 to u64")
        members = {member.value: member for member in annotation}
        return _choice(annotation.__name__, members, annotation)
    if getattr(annotation, "__module__", "") in ("datetime", "decimal"):
        from oddwire.schema.standard_scalars import standard_scalar  # imported late: few need it

        if (scalar := standard_scalar(annotation)) is not None:
            return scalar
    hint = _HINTS.get(annotation) if isinstance(annotation, type) else misplaced(annotation)
    if isinstance(annotation, type) and hasattr(annotation, "__oddwire_fields__"):
        hint = "decorate it with @message(type_id)"
    known = "u8 to u64, str, bytes, point, datetime, an Enum, a @subtype class, tuple[X, ...], X | None and the like"
    raise SchemaError(f"{show_annotation(annotation)} is not a field type; {hint or f'oddwire knows {known}'}")


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
    for extra in extras:
        check_called(extra)
    tags = [extra for extra in extras if isinstance(extra, fields.TaggedBy)]
    if len(tags) > 1 or (tags and isinstance(extras[0], Kind)):
        why = "two tags are one too many" if len(tags) > 1 else "only a class under @subtype, or a message, has a tag"
        raise SchemaError(f"{show_annotation(annotation)}: {why}: leave the last tagged(...) away")
    if extras and isinstance(extras[0], Kind):  # our own aliases
        kind, extras = extras[0], extras[1:]
    elif tags:
        kind = _tagged(annotation, tags[0])
    elif extras and (named := _alias_of(annotation, extras[0])) is not None:
        kind, extras = named, extras[1:]
    else:
        kind = kind_of(annotation)
    for extra in extras:
        alias = integer_of(extra)
        if alias is not None:
            kind = apply_integer(kind, alias)
        elif isinstance(extra, fields.MaxLength):
            kind = apply_max_length(kind, extra.size)
        elif extra is ... or isinstance(extra, Fixed | Rest | fields.Counted):
            kind = apply_count(kind, extra)
        elif isinstance(extra, fields.AsText):
            kind = apply_as_text(kind)
        elif isinstance(extra, fields.Flagged):
            kind = apply_flag(kind, extra.kind)
        elif isinstance(extra, fields.FieldSpec):
            kind = apply_limits(kind, only_limits(extra))
        # Anything else is for other tools: PEP 593 says to ignore it.
    return kind


def _tagged(annotation: Any, by: fields.TaggedBy) -> Kind:
    """Return the kind of a union with a tag."""
    from oddwire.schema.unions import tagged_kind  # imported late: few need it

    is_union = get_origin(annotation) in (Union, types.UnionType)
    members = get_args(annotation) if is_union else (annotation,)
    classes = [member for member in members if member is not type(None)]
    integer, length = integer_of(by.integer), integer_of(by.length)
    kind = tagged_kind(show_annotation(annotation), classes, by, integer, length)
    return Maybe(kind) if type(None) in members else kind


def _either(annotation: Any, members: list[Any]) -> Kind:
    """Return the kind of a union without a tag."""
    from oddwire.schema.unions import either_kind  # imported late: few need it

    kinds = [kind_of(member) for member in members]
    kind = either_kind(show_annotation(annotation), list(map(unboxed, kinds)))
    optional = type(None) in get_args(annotation) or any(isinstance(kind, Maybe) for kind in kinds)
    return Maybe(kind) if optional else kind


def is_generic(cls: object) -> bool:
    """Return whether a message base or subtype has fields of types that are given where it is used: ``Page[Order]``."""
    return isinstance(cls, type) and vars(cls).get("__oddwire_generic__") is not None


def _alias_of(annotation: Any, extra: Any) -> Kind | None:
    """Return the kind of ``extra`` if it is an alias for ``annotation``: ``Annotated[int, scalar("sat", ...)]``."""
    kind = next(iter(getattr(extra, "__metadata__", ())), None)
    if not isinstance(kind, Kind) or fields.is_alias(getattr(kind, "name", "")):  # u8 beside an Enum
        return None
    while isinstance(annotation, NewType):
        annotation = annotation.__supertype__
    if extra.__origin__ == annotation:
        return kind
    if isinstance(kind, Scalar):
        should = show_annotation(extra.__origin__)
        raise SchemaError(f"{kind.name} is {should}, not {show_annotation(annotation)}: Annotated[{should}, ...]")
    return None


def show_annotation(annotation: Any) -> str:
    """Return the text of an annotation as its author wrote it: ``tuple[u8, str]``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return next(
            (extra.label for extra in annotation.__metadata__ if isinstance(extra, Kind)), show_annotation(arguments[0])
        )
    if origin in (Union, types.UnionType):
        return " | ".join(map(show_annotation, arguments))
    if isinstance(origin, type):
        return f"{origin.__name__}[{', '.join(map(show_annotation, arguments))}]"
    if isinstance(annotation, type):
        return "None" if annotation is type(None) else annotation.__qualname__
    return "..." if annotation is ... else str(annotation).replace("typing.", "").replace("collections.abc.", "")
