"""The kinds of unions: `Tagged`, of classes told apart by a tag, and `Either`, of values that the wire tells apart."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from oddwire.records import FrozenRecord
from oddwire.schema.class_records import Record
from oddwire.schema.kinds import (
    PLAIN_INT,
    Array,
    Boolean,
    Choice,
    Float,
    Integer,
    Kind,
    Nested,
    Octets,
    Opaque,
    Table,
    Text,
)
from oddwire.schema.spelling import show_value
from oddwire.schema.value_kinds import Limited, Scalar, unlimited

__all__ = ["Either", "Tagged", "UnknownVariant", "Variant", "python_classes", "wire_class"]

_SHOWN = 12  # tags in an error
_WORDS: Final[Mapping[type, str]] = {
    bool: "booleans",
    bytes: "bytes",
    dict: "maps",
    float: "floats",
    int: "integers",
    list: "arrays",
    str: "strings",
}


class UnknownVariant(FrozenRecord):
    """A member of a tagged union whose tag is none of the others': as a member itself, it takes these.

    ``body`` is what follows the tag: bytes with the bolt codec; with msgpack and json a dict, the map without its tag.
    Encoded again, it is the same bytes with bolt; with msgpack and json the same values, in a map with the tag first.
    """

    tag: int | str
    body: bytes | dict[str, Any]

    def __init__(self, tag: int | str, body: bytes | dict[str, Any]) -> None:
        fields = vars(self)  # codecs make many of them: faster than what all records share
        fields["tag"] = tag
        fields["body"] = body

    def __repr__(self) -> str:
        return f"UnknownVariant(tag={self.tag!r}, body={show_value(self.body)})"


class Variant(FrozenRecord):
    """A class in a tagged union, and its tag."""

    tag: int | str
    record: Record


class Tagged(Kind):
    """A union of classes, told apart by a tag.

    With bolt the tag goes first, as ``integer``, then with ``length`` the number of the body's bytes, then the body. In
    trees it is the first value of the map, under ``key``. Without ``integer`` bolt cannot carry it. ``unknown``: other
    tags become an `UnknownVariant`.
    """

    variants: tuple[Variant, ...]
    integer: Integer | None = None
    length: Integer | None = None
    key: str = "type"
    unknown: bool = False

    @property
    def label(self) -> str:
        """The name for errors."""
        names = [variant.record.name for variant in self.variants]
        return " or ".join([*names, *(["UnknownVariant"] if self.unknown else [])])

    @cached_property
    def by_tag(self) -> Mapping[int | str, Variant]:
        """The members by tag."""
        return {variant.tag: variant for variant in self.variants}

    @cached_property
    def by_class(self) -> Mapping[type, Variant]:
        """The members by class."""
        return {variant.record.cls: variant for variant in self.variants}

    @property
    def number(self) -> Integer:
        """The integer that holds the tag, if it is a number."""
        return self.integer or PLAIN_INT

    @cached_property
    def tag_class(self) -> type[int] | type[str] | None:
        """The class of all tags; None if any would do, as no member is known."""
        if self.integer is not None:
            return int
        return type(self.variants[0].tag) if self.variants else None

    @property
    def tags(self) -> str:
        """The tags and their members, for errors: ``0 (Single) or 1 (Disjoint)``."""
        shown = [f"{variant.tag!r} ({variant.record.name})" for variant in self.variants[:_SHOWN]]
        if len(self.variants) > _SHOWN:
            return f"{', '.join(shown)}, or one of {len(self.variants) - _SHOWN} others"
        return " or ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


class Either(Kind):
    """A union of kinds that msgpack, and mostly JSON, write as values of different types: ``str | int``."""

    options: tuple[Kind, ...]

    @property
    def label(self) -> str:
        """The name for errors."""
        labels = [option.label for option in self.options]
        return f"{', '.join(labels[:-1])} or {labels[-1]}"

    @cached_property
    def in_msgpack(self) -> Mapping[type, Kind]:
        """The options by the class of what msgpack's unpacker returns for them."""
        return {wire_class(option, hexed=False): option for option in self.options}

    @cached_property
    def in_json(self) -> Mapping[type, Kind]:
        """The options by the class of what a JSON parser returns for them; without those in `wrapped`."""
        wrapped = self.wrapped.values()
        return {wire_class(option, hexed=True): option for option in self.options if option not in wrapped}

    @cached_property
    def wrapped(self) -> Mapping[str, Kind]:
        """The options that JSON would write as strings beside another one that is a string: ``bytes`` for one.

        Such a union is not for the json codec. `to_dict` writes a map with the option's label: ``{"bytes": "ff"}``.
        """
        texts = [option for option in self.options if wire_class(option, hexed=True) is str]
        if len(texts) < 2:
            return {}
        return {option.label: option for option in texts if wire_class(option, hexed=False) is not str}

    @cached_property
    def labelled(self) -> Mapping[str, Kind]:
        """The options that a map of one key, their label, can have in it: those in `wrapped`, and with them the map's.

        A map whose only key is one of these labels has its own label around it, or it would be read as that option.
        """
        maps = {} if not self.wrapped else {one.label: one for one in [self.in_json.get(dict)] if one is not None}
        return {**maps, **self.wrapped}

    def labelled_in(self, plain: object) -> Kind | None:
        """Return the option whose label is around a JSON value; None if there is none."""
        if type(plain) is not dict or len(plain) != 1:
            return None
        (label, inner), *_ = plain.items()
        option = self.labelled.get(label)
        return option if label in self.wrapped or type(inner) is dict else None

    def ambiguous(self, *, hexed: bool) -> str:
        """Return why trees, with ``hexed`` JSON's, do not tell the options apart; the empty string if they do."""
        seen: dict[type, Kind] = {}
        for option in self.options:
            python = wire_class(option, hexed=hexed)
            other = seen.setdefault(python, option)
            if other is not option:
                where = "JSON" if hexed else "msgpack"
                alike = f"{other.label} and {option.label} are both {_WORDS[python]} in {where}"
                remedy = "make them subtypes in a tagged union" if python is dict else "put one of them into a @subtype"
                return f"{alike}, so nothing tells them apart: {remedy}"
        return ""

    def option_for(self, value: object) -> Kind | None:
        """Return the option for a value in a message, whose own checks follow; None if there is none."""
        for option in self.options:
            if isinstance(value, python_classes(option)) and not (
                isinstance(value, bool) and not isinstance(unlimited(option), Boolean)
            ):
                return option
        floats = (option for option in self.options if isinstance(unlimited(option), Float) and type(value) is int)
        return next(floats, None)

    def option_of(self, plain: object, *, hexed: bool) -> Kind | None:
        """Return the option for a value in a tree, whose own checks follow; None if there is none."""
        known = self.in_json if hexed else self.in_msgpack
        return known.get(type(plain)) or (known.get(float) if type(plain) is int else None)


def wire_class(kind: Kind, *, hexed: bool) -> type:
    """Return the class of the tree's objects for a kind, ``hexed`` for JSON; None's if a union cannot have the kind."""
    match kind:
        case Boolean():
            return bool
        case Integer():
            return str if kind.quoted and hexed else int
        case Float():
            return float
        case Text():
            return str
        case Octets() | Opaque():
            return str if hexed else bytes
        case Choice():
            return wire_class(kind.base, hexed=hexed)
        case Array():
            return list
        case Table() | Nested() | Tagged():
            return dict
        case Scalar():
            return str if hexed and kind.show is not None else wire_class(kind.inner, hexed=hexed)
        case Limited():
            return wire_class(kind.inner, hexed=hexed)
    return type(None)


def python_classes(kind: Kind) -> tuple[type, ...]:
    """Return the classes of values of a kind that a union can have. Those of a message are exactly of one of these."""
    match kind:
        case Boolean():
            return (bool,)
        case Integer():
            return (int,)
        case Float():
            return (float,)
        case Text():
            return (str,)
        case Octets():
            return (bytes, bytearray)
        case Opaque() | Choice() | Scalar():
            return (kind.python,)
        case Limited():
            return python_classes(kind.inner)
        case Array():
            return (tuple, list) if kind.loose else (kind.python,)
        case Table():
            return (dict, Mapping)
        case Nested():
            return (kind.record.cls,)
        case Tagged():
            return (*kind.by_class, *((UnknownVariant,) if kind.unknown else ()))
    return ()
