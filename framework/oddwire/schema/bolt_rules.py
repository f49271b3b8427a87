"""Rules of the bolt codec: what BOLT 1's wire types can hold, and what may stand where. For messages of that codec."""

from __future__ import annotations

from typing import Literal, NamedTuple, NoReturn

from oddwire.errors import SchemaError
from oddwire.schema.class_records import Field, Record
from oddwire.schema.kinds import (
    Anything,
    Array,
    Boolean,
    Choice,
    Float,
    Integer,
    Kind,
    Maybe,
    Nested,
    Octets,
    Rest,
    Sized,
    Table,
    Text,
)
from oddwire.schema.sizes import least_size
from oddwire.schema.union_kinds import Either, Tagged
from oddwire.schema.value_kinds import Limited, Scalar

__all__ = ["BoltRules"]

_Ends = Literal["message", "record", "nothing"]
"""What ends where a value ends; ``nothing`` if more follows in what holds it."""


class _Place(NamedTuple):
    """A field, and what follows it there."""

    record: Record
    field: Field
    following: str


class BoltRules:
    """The check of a message, or of a subtype by itself."""

    def __init__(self, whole: Record) -> None:
        self._whole = whole
        self._path: list[_Place] = []
        self._followed: list[_Place] = []  # of the path, those places behind which nothing ends
        self._seen: set[tuple[type, _Ends]] = set()  # classes checked, each with what ended there: once is enough

    def check(self, record: Record, ends: _Ends) -> None:
        """Check positional fields, then TLV records. Raises `SchemaError` naming the field to change."""
        if (record.cls, ends) in self._seen:
            return
        self._seen.add((record.cls, ends))
        positional = [field for field in record.fields if field.tlv is None]
        records = [field for field in record.fields if field.tlv is not None]
        if records and ends == "nothing":
            self._fail_followed(f"{record.name} ends in a TLV stream, which should come last in what holds it")
        names = [*(field.name for field in positional[1:]), "a TLV stream" if records else ""]
        for field, following in zip(positional, names, strict=True) if positional else ():
            self._check_field(record, field, field.kind, "nothing" if following else ends, following)
        for field in records:
            self._check_field(record, field, field.record_kind, "record", "")

    def _check_field(self, record: Record, field: Field, kind: Kind, ends: _Ends, following: str) -> None:
        place = _Place(record, field, following)
        self._path.append(place)
        if following:
            self._followed.append(place)
        if field.tlv is None and isinstance(kind, Maybe) and kind.flag is None:
            remedy = "make it a TLV record, field(tlv=N), or put a flag in front, Annotated[X | None, flag(u8)]"
            self._fail(f"bolt has no None among positional fields: {remedy}")
        self._check_kind(kind, ends)
        if following:
            self._followed.pop()
        self._path.pop()

    def _check_kind(self, kind: Kind, ends: _Ends) -> None:
        match kind:
            case Integer(form="plain"):
                self._fail("bolt needs to know the size of an int: write u64, s64, tu64, bigsize, ...")
            case Integer(form="truncated") if ends != "record":
                self._fail(f"{kind.name} should be the last value of a TLV record (BOLT 1): write u{kind.bits}")
            case Choice(base=Integer(form="plain")):
                self._fail(f"bolt needs to know how {kind.name} travels: write Annotated[{kind.name}, u8]")
            case Choice(base=Integer(form="truncated")):
                self._fail(f"{kind.name} should travel as u8 to u64, s8 to s64 or bigsize")
            case Maybe(flag=Integer() | Boolean()):
                self._check_kind(kind.inner, ends)
            case Sized():
                if least_size(kind.inner) > kind.integer.high:
                    text = f"{kind.label} takes {least_size(kind.inner)} bytes or more"
                    self._fail(f"{text}, but {kind.integer.name} counts to {kind.integer.high} only")
                self._check_kind(kind.inner, "record")
            case Float() | Table() | Anything() | Maybe():
                whole = "only a whole TLV record can be None, or what has a flag, Annotated[X | None, flag(u8)]"
                why = whole if isinstance(kind, Maybe) else "BOLT 1 has no type for it"
                self._fail(f"bolt cannot carry {kind.label}: {why}")
            case Octets() | Text() | Array():
                self._check_counted(kind, ends)
            case Nested():
                self.check(kind.record, ends)
            case Tagged():
                self._check_union(kind, ends)
            case Either():
                text = f"bolt cannot carry {kind.label}: it writes no types, so put each into a @subtype of its own"
                self._fail(f"{text}, in a union with a tag: Annotated[A | B, tagged(u8)]")
            case Scalar() if kind.not_bolt:
                self._fail(f"bolt cannot carry {kind.label}: {kind.not_bolt}")
            case Scalar() | Limited():
                self._check_kind(kind.inner, ends)

    def _check_counted(self, kind: Octets | Text | Array, ends: _Ends) -> None:
        if isinstance(kind.count, Rest) and ends == "nothing":
            record, field, _ = self._path[-1]
            if self._followed[-1] is not self._path[-1]:
                self._fail_followed(f"{record.name}.{field.name} takes the rest of what holds it")
            self._fail("takes the rest of the message, so it should be the last field")
        if isinstance(kind, Array):
            if least_size(kind.element) == 0:
                label = kind.element.label
                text = f"an element, {label}, may take no bytes at all: nothing would tell them apart"
                self._fail(f"{text}; put its size in front, Annotated[{label}, counted(u16)]")
            self._followed.append(self._path[-1]._replace(following="perhaps another one"))
            self._check_kind(kind.element, "nothing")
            self._followed.pop()

    def _check_union(self, kind: Tagged, ends: _Ends) -> None:
        if kind.integer is None:
            self._fail(f"bolt needs to know how the tag of {kind.label} is written: tagged(bigsize), tagged(u8)")
        if kind.length is not None:
            for variant in kind.variants:
                least = least_size(Nested(variant.record))
                if least > kind.length.high:
                    text = f"{variant.record.name} takes {least} bytes or more"
                    self._fail(f"{text}, but length={kind.length.name} counts to {kind.length.high} only")
            ends = "record"  # a body of a known length ends like the value of a TLV record
        elif kind.unknown and ends == "nothing":
            text = "an UnknownVariant takes the rest of the message, so it should be the last field, or have a length"
            self._fail(f"{text}: tagged({kind.integer.name}, length=bigsize)")
        for variant in kind.variants:
            self.check(variant.record, ends)

    def _fail(self, text: str) -> NoReturn:
        """Raise the error for the field at the end of the path."""
        raise SchemaError(f"{self._where(self._path[-1])}: {text}")

    def _fail_followed(self, text: str) -> NoReturn:
        """Raise the error for the field that has what takes the rest in it, and more behind it."""
        place = self._followed[-1]
        remedy = f"put its size in front, {_with_size(place.field.kind)}"
        raise SchemaError(f"{self._where(place)}: {text}, but {place.following} follows: {remedy}")

    def _where(self, place: _Place) -> str:
        first = self._path[0]
        where = f"{self._whole.qualified_name}.{first.field.name}"
        is_first = place.record is first.record
        return where if is_first else f"{where}: {place.record.name}.{place.field.name}"


def _with_size(kind: Kind) -> str:
    """Return the annotation for a kind that has its size in front."""
    match kind:
        case Maybe(flag=Integer() | Boolean() as flag):
            name = flag.name if isinstance(flag, Integer) else "bool8"
            return f"Annotated[{kind.inner.label} | None, counted(u16), flag({name})]"
        case Array():
            more = "" if kind.python is list else ", ..."
            return f"{kind.python.__name__}[{_with_size(kind.element)}{more}]"
        case Tagged(integer=Integer() as integer):
            members = [variant.record.name for variant in kind.variants]
            union = " | ".join([*members, *(["UnknownVariant"] if kind.unknown else [])])
            return f"Annotated[{union}, tagged({integer.name}, length=bigsize)]"
        case Limited() | Scalar():
            return _with_size(kind.inner)
    return f"Annotated[{kind.label}, counted(u16)]"
