"""What stands beside a type in Annotated, `counted` and the like, applied to the type's kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING
from types import FunctionType
from typing import Any, Final

from oddwire.errors import SchemaError
from oddwire.records import replace
from oddwire.schema import fields
from oddwire.schema.kinds import (
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
    Octets,
    Prefixed,
    Rest,
    Sized,
    Table,
    Text,
)
from oddwire.schema.union_kinds import Either
from oddwire.schema.value_kinds import Limited, Limits, Scalar, carrier

__all__ = [
    "LARGEST",
    "apply_as_text",
    "apply_count",
    "apply_flag",
    "apply_integer",
    "apply_limits",
    "apply_max_length",
    "check_called",
    "integer_of",
    "misplaced",
    "only_limits",
]

LARGEST = (1 << 32) - 1
"""Max bytes of any payload, and so max elements of any field."""

_PLACES: Final[Mapping[str, str]] = {
    "as_text": "Annotated[u64, as_text]",
    "counted": "Annotated[Order, counted(u16)]",
    "field": "Annotated[u16, field(ge=1)]",
    "fixed": "Annotated[bytes, fixed(32)]",
    "flag": "Annotated[Order | None, flag(u8)]",
    "max_length": "Annotated[str, max_length(80)]",
    "rest": "Annotated[bytes, rest]",
    "scalar": "Annotated[int, scalar('sat', python=int, size=8)]",
    "tagged": "Annotated[Single | Disjoint, tagged(bigsize)]",
}
_NAMES: Final[Mapping[type, str]] = {
    fields.AsText: "as_text",
    fields.Counted: "counted",
    Fixed: "fixed",
    fields.Flagged: "flag",
    fields.MaxLength: "max_length",
    Rest: "rest",
    fields.TaggedBy: "tagged",
}


def check_called(extra: object) -> None:
    """Raise `SchemaError` for a function of oddwire's beside a type, whose parentheses were forgotten."""
    if not isinstance(extra, FunctionType) or not extra.__module__.startswith("oddwire."):
        return
    name = extra.__name__
    if name not in _PLACES:
        raise SchemaError(f"{name} has no place beside a type")
    raise SchemaError(f"{name} needs an argument, in parentheses: {_PLACES[name]}")


def misplaced(given: object) -> str:
    """Return where a marker belongs, which stands in another place; the empty string for anything else."""
    is_ours = isinstance(given, FunctionType) and given.__module__.startswith("oddwire.schema.")
    name = getattr(given, "__name__", "") if is_ours else _NAMES.get(type(given), "")
    return f"{name} stands beside a type: {_PLACES[name]}" if name in _PLACES else ""


def integer_of(alias: Any) -> Integer | None:
    """Return the `Integer` of an alias such as ``u16``, or None."""
    for extra in getattr(alias, "__metadata__", ()):
        if isinstance(extra, Integer):
            return extra
    return None


def apply_integer(kind: Kind, integer: Integer) -> Kind:
    """Return an enum's kind with ``integer`` as its wire type: ``Annotated[Colour, u8]``."""
    if isinstance(kind, Maybe | Sized | Limited):
        return replace(kind, inner=apply_integer(kind.inner, integer))
    if isinstance(kind, Scalar) and kind.python.__module__ == "datetime":
        from oddwire.schema.standard_scalars import DATETIME, seconds  # imported late: few need it

        if kind == DATETIME:
            return seconds(integer)
    if not isinstance(kind, Choice) or not isinstance(kind.base, Integer):
        raise SchemaError(f"{integer.name} beside {kind.label} should stand beside an Enum of integers")
    bad = [value for value in kind.members if not integer.low <= int(value) <= integer.high]
    if bad:
        raise SchemaError(f"{kind.name} has the value {bad[0]}, which {integer.name} cannot hold")
    return replace(kind, base=integer)


def apply_as_text(kind: Kind) -> Kind:
    """Return an integer's kind with ``quoted``."""
    if isinstance(kind, Maybe | Sized | Limited) or (isinstance(kind, Scalar) and kind.show is None):
        return replace(kind, inner=apply_as_text(kind.inner))
    if not isinstance(kind, Integer):
        raise SchemaError(f"as_text beside {kind.label} should stand beside an integer: Annotated[u64, as_text]")
    return replace(kind, quoted=True)


def apply_flag(kind: Kind, given: object) -> Kind:
    """Return the kind of ``X | None`` with a flag in front."""
    if not isinstance(kind, Maybe):
        raise SchemaError(f"flag beside {kind.label} should stand beside X | None, as it says which of the two comes")
    if kind.flag is not None:
        raise SchemaError(f"{kind.label} has a flag already: give one")
    for flag in getattr(given, "__metadata__", ()):
        if isinstance(flag, Boolean) or (isinstance(flag, Integer) and _is_unsigned(flag)):
            return replace(kind, flag=flag)
    raise SchemaError(f"flag({_shown(given)}) should be flag(u8) to flag(u64), flag(bigsize) or flag(bool8)")


def apply_count(kind: Kind, given: Any) -> Kind:
    """Return a kind with its `Count`, from a number, an integer alias, ``...``, `rest`, or a field's name.

    An integer alias beside what has no count of its own, or has one that is not written, makes it `Sized`.
    """
    count = _count(given)
    if isinstance(kind, Maybe) and (kind.flag is None or not isinstance(count, Prefixed)):
        return replace(kind, inner=apply_count(kind.inner, given))
    if isinstance(kind, Limited):
        inner = apply_count(kind.inner, given)
        if isinstance(inner, Sized):  # the limits are the value's, and not its size's
            return replace(inner, inner=replace(kind, inner=inner.inner))
        return replace(kind, inner=inner)
    own = kind.count if isinstance(kind, Octets | Text | Array) else None
    if isinstance(kind, Sized) or isinstance(own, Prefixed | Named):
        raise SchemaError(f"{kind.label} is already counted: give one count")
    if isinstance(kind, Octets | Text | Array) and own is None:
        return replace(kind, count=count)
    if not isinstance(count, Prefixed) or isinstance(carrier(kind), Float | Table | Anything | Either):
        if own is not None:
            raise SchemaError(f"{kind.label} is already counted: give one count")
        raise SchemaError(f"{kind.label} has no count: only bytes, str, tuple, list and Sequence do")
    return Sized(kind, count.integer)


def _count(given: Any) -> Count:
    if _is_number(given):
        given = Fixed(given)
    if isinstance(given, Fixed):
        return _checked_fixed(given)
    if given is ... or isinstance(given, Rest):
        return Rest()
    if isinstance(given, str):
        return Named(given)
    wanted = given.integer if isinstance(given, fields.Counted) else given
    integer = integer_of(wanted)
    if integer is not None and _is_unsigned(integer):
        return Prefixed(integer)
    if isinstance(given, fields.Counted):
        text = "should be counted(u8) to counted(u64) or counted(bigsize): the integer that the count is written as"
        remedy = f"; where there are always {wanted}, write fixed({wanted})" if _is_number(wanted) else ""
        raise SchemaError(f"counted({_shown(wanted)}) {text}{remedy}")
    text = "should be a number, u8 to u64, bigsize, rest, or the name of an earlier field"
    raise SchemaError(f"count={_shown(given)} {text}")


def _checked_fixed(given: Fixed) -> Fixed:
    size: object = given.size
    if not _is_number(size):
        remedy = "; a count that is written is counted(u16)" if integer_of(size) else ""
        raise SchemaError(f"fixed({_shown(size)}) should be a number of bytes or elements, fixed(32) say{remedy}")
    if not 0 <= given.size <= LARGEST:
        raise SchemaError(f"fixed({given.size}) should be 0 to {LARGEST}: a payload has no more bytes")
    return given


def _is_number(given: object) -> bool:
    return isinstance(given, int) and not isinstance(given, bool)


def _shown(given: object) -> str:
    """Return what stands between the parentheses of a marker, for errors."""
    integer = integer_of(given)
    if integer is not None:
        return integer.name
    return getattr(given, "__name__", "") if isinstance(given, type | FunctionType) else f"{given!r:.100}"


def _is_unsigned(integer: Integer) -> bool:
    """Return whether counts and flags can be of this kind."""
    return not integer.signed and integer.form in ("fixed", "bigsize")


def apply_max_length(kind: Kind, size: int) -> Kind:
    """Return ``kind`` with a max length of ``size``."""
    if isinstance(kind, Maybe | Sized | Limited):
        return replace(kind, inner=apply_max_length(kind.inner, size))
    if not isinstance(kind, Octets | Text | Array | Table):
        raise SchemaError(f"{kind.label} has no length to limit: only str, bytes, tuple, list and dict do")
    if not _is_number(size) or size < 0:
        raise SchemaError(f"max_length should be a number from 0, not {_shown(size)}")
    return replace(kind, max_length=size)


def apply_limits(kind: Kind, limits: Limits) -> Kind:
    """Return ``kind`` within ``limits``, which are checked by `oddwire.schema.limits`."""
    if not limits:
        return kind
    if isinstance(kind, Maybe | Sized):
        return replace(kind, inner=apply_limits(kind.inner, limits))
    from oddwire.schema.limits import check_limits  # imported late: few need it

    return Limited(kind, check_limits(kind, limits))


def only_limits(spec: fields.FieldSpec) -> Limits:
    """Return the limits of a `field` inside of Annotated, which may say nothing else."""
    if spec != fields.FieldSpec(MISSING, MISSING, limits=spec.limits):
        text = "field(...) in Annotated is for ge, gt, le, lt, length and pattern: the rest is for the field itself"
        raise SchemaError(f"{text}, = field(...)")
    return spec.limits
