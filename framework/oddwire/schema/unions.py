"""Unions in annotations, converted to kinds. Imported by the first union."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final, NoReturn

from oddwire.errors import SchemaError
from oddwire.schema.class_records import Record
from oddwire.schema.fields import TaggedBy
from oddwire.schema.kinds import PLAIN_INT, Anything, Integer, Kind, Nested
from oddwire.schema.tree_values import has_surrogates
from oddwire.schema.union_kinds import Either, Tagged, UnknownVariant, Variant, python_classes, wire_class
from oddwire.schema.value_kinds import Scalar, unlimited

__all__ = ["either_kind", "settle", "tagged_kind"]

_NO_TAG_YET: Final = "\0 no tag yet"


# Classes told apart by a tag -----------------------------------------------------------------------------------------


def tagged_kind(
    shown: str, members: Sequence[Any], by: TaggedBy, integer: Integer | None, length: Integer | None
) -> Tagged:
    """Return the kind of ``Annotated[members, by]``.

    ``integer`` and ``length`` are what the aliases in ``by`` mean. Raises `SchemaError`; ``shown`` is the union's text.
    """
    if by.integer is not None and (integer is None or integer.form not in ("fixed", "bigsize")):
        _fail(shown, f"tagged({_named(by.integer)}) should be an integer for the tag, u8 to u64, s8 to s64 or bigsize")
    if by.length is not None:
        if length is None or length.signed or length.form not in ("fixed", "bigsize"):
            _fail(shown, f"tagged(length={_named(by.length)}) should be u8 to u64, or bigsize")
        if integer is None:
            _fail(shown, "tagged(length=...) is written behind a tag: give the tag's integer too, tagged(bigsize, ...)")
    if not isinstance(by.key, str) or not by.key or has_surrogates(by.key):
        _fail(shown, f"tagged(key={by.key!r:.100}) should be a text that UTF-8 can hold")
    tags = _given_tags(shown, by.tags)
    variants: list[Variant] = []
    for member in members:
        if member is UnknownVariant:
            continue
        record = getattr(member, "__oddwire__", None)
        if not isinstance(record, Record):
            _fail(shown, f"{_named(member)} should be a class under @subtype, or a message: only these can be tagged")
        has_tag = hasattr(record, "blank") or member in tags  # the class in itself is not made, and has no own tag yet
        variants.append(Variant(_tag_of(shown, record, tags, integer) if has_tag else _NO_TAG_YET, record))
    kind = Tagged((*variants,), integer, length, by.key, UnknownVariant in members)
    _check_tags(shown, kind)
    classes = [variant.record.cls for variant in variants]
    strangers = [cls.__name__ for cls in tags if cls not in classes]
    if strangers:
        _fail(shown, f"tagged(tags=...) names {strangers[0]}, which is no member of the union")
    return kind


def settle(kind: Tagged, record: Record) -> None:
    """Give the member of a union that is the class itself, which is now made, its tag. Raises `SchemaError`."""
    for variant in kind.variants:
        if variant.record.cls is record.cls:
            if variant.tag is _NO_TAG_YET:  # otherwise ``tags`` had one for it
                vars(variant)["tag"] = _tag_of(kind.label, record, {}, kind.integer)
            for name in ("by_class", "by_tag", "tag_class"):  # a default's check has perhaps computed them
                vars(kind).pop(name, None)
            _check_tags(kind.label, kind)


def _given_tags(shown: str, tags: object) -> dict[type, object]:
    if tags is None:
        return {}
    if not isinstance(tags, Mapping) or not all(isinstance(cls, type) for cls in tags):
        _fail(shown, f"tagged(tags=...) should be a dict of classes and tags, {{Single: 0}} say, not {tags!r:.100}")
    return {**tags}


def _tag_of(shown: str, record: Record, given: Mapping[type, object], integer: Integer | None) -> int | str:
    """Return a member's tag, checked."""
    name = record.name
    tag = given.get(record.cls, record.tag)
    if tag is None:
        base = next((base.__name__ for base in record.cls.__mro__[1:] if "__oddwire_tag__" in vars(base)), None)
        more = f" (that of its base {base} is not inherited)" if base else ""
        _fail(shown, f"{name} has no tag{more}: write @subtype(tag=0) above it, or tagged(..., tags={{{name}: 0}})")
    if isinstance(tag, Enum):
        tag = tag.value
    if isinstance(tag, bool) or not isinstance(tag, int | str):
        _fail(shown, f"the tag of {name} should be an integer or a text, not {tag!r:.100}")
    if isinstance(tag, str):
        if integer is not None:
            _fail(shown, f"the tag of {name} is a text, {tag!r:.100}, which {integer.name} cannot hold")
        if has_surrogates(tag):
            _fail(shown, f"the tag of {name} should be a text that UTF-8 can hold, not {tag!r:.100}")
        return str(tag)
    kind = integer or PLAIN_INT
    if not kind.low <= tag <= kind.high:
        _fail(shown, f"the tag of {name} is {tag}, which {kind.name} cannot hold: it has {kind.low} to {kind.high}")
    return int(tag)


def _check_tags(shown: str, kind: Tagged) -> None:
    seen: dict[object, str] = {}
    for variant in kind.variants:
        record, tag = variant.record, variant.tag
        if record.field_of_key(kind.key) is not None:
            text = f"{record.name} has a field of the key {kind.key!r}"
            _fail(shown, f"{text}: give the tag another, tagged(..., key='kind')")
        if tag in seen:
            _fail(shown, f"{seen[tag]} and {record.name} have one tag, {tag!r}: choose another")
        seen[tag] = record.name
    classes = {type(tag) for tag in seen if tag is not _NO_TAG_YET}
    if len(classes) > 1:
        _fail(shown, f"tags should be all integers or all texts, not {', '.join(map(repr, seen))}")


# Values that the wire tells apart ------------------------------------------------------------------------------------


def either_kind(shown: str, kinds: Sequence[Kind]) -> Kind:
    """Return the kind of a union of values of different types. Raises `SchemaError`; ``shown`` is its text."""
    if any(isinstance(kind, Anything) for kind in kinds):
        _fail(shown, "Any takes every other value too: write Any alone")
    classes = [kind.label for kind in kinds if isinstance(kind, Nested)]
    if len(classes) > 1:
        text = f"nothing tells {' and '.join(classes)} apart: give them tags"
        _fail(shown, f"{text}, Annotated[{' | '.join(classes)}, tagged(bigsize)], and each its own: @subtype(tag=0)")
    for kind in kinds:
        if wire_class(kind, hexed=False) is type(None):
            _fail(shown, f"{kind.label} cannot be in a union: str, int, float, bool, bytes, lists, dicts, subtypes can")
    for number, kind in enumerate(kinds):
        for other in kinds[:number]:
            _check_objects(shown, other, kind)
    either = Either((*kinds,))
    if why := either.ambiguous(hexed=False):
        _fail(shown, why)
    return either


def _check_objects(shown: str, one: Kind, other: Kind) -> None:
    """Check that the class of a value says which of two options it is, if one of them is a scalar."""
    if not (isinstance(unlimited(one), Scalar) or isinstance(unlimited(other), Scalar)):
        return
    for mine in python_classes(one):
        for theirs in python_classes(other):
            if issubclass(mine, theirs) or issubclass(theirs, mine):
                _fail(
                    shown,
                    f"{one.label} and {other.label} are both {theirs.__name__} in a message: nothing tells them apart",
                )


def _named(given: object) -> str:
    return getattr(given, "__name__", None) or f"{given!r:.100}"


def _fail(shown: str, text: str) -> NoReturn:
    raise SchemaError(f"{shown}: {text}")
