"""Message classes as rows of the BOLTs' CSV, for `oddwire.schema.bolt_csv`, and the types that CSV has names for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from oddwire.errors import SchemaError
from oddwire.records import replace
from oddwire.schema import fields
from oddwire.schema.annotations import kind_of
from oddwire.schema.class_records import Field, Record
from oddwire.schema.csv_rows import NAME_RULE, REST, is_name
from oddwire.schema.kinds import (
    Array,
    Boolean,
    Choice,
    Fixed,
    Integer,
    Kind,
    Maybe,
    Named,
    Nested,
    Octets,
    Opaque,
    Prefixed,
    Rest,
    Sized,
    Text,
)
from oddwire.schema.message import schema_of
from oddwire.schema.sizes import count_of
from oddwire.schema.union_kinds import Tagged
from oddwire.schema.value_kinds import Limited, Scalar

if TYPE_CHECKING:
    from oddwire.schema.bolt_csv import Namespace

__all__ = ["KINDS", "UTF8", "CsvWriter"]

UTF8: Final = "utf8"
KINDS: Final[Mapping[str, Kind]] = {
    name: kind_of(getattr(fields, name))
    for name in (
        *("byte", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "tu16", "tu32", "tu64", "bigsize"),
        *("chain_hash", "channel_id", "sha256", "point", "short_channel_id", "signature", "bip340sig"),
        "sciddir_or_pubkey",
    )
}


class CsvWriter:
    """Writes the rows of message classes, and of the types in them. Raises `SchemaError` for what CSV cannot say."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        given = {**namespace.tlv_streams, **namespace.subtypes}
        self._names: dict[type, str] = {cls: name for name, cls in given.items()}
        self._taken: set[str] = {*KINDS, UTF8, *given}
        self._waiting: list[tuple[str, Record]] = []
        self._written: set[str] = set()

    def dump(self) -> Iterator[str]:
        """Yield all rows."""
        for name, cls in self._namespace.messages.items():
            schema = schema_of(cls)
            if schema.codec != "bolt" or schema.own_codec is not None:
                raise SchemaError(f"{schema.qualified_name} has codec {schema.codec!r}: CSV can only say codec='bolt'")
            yield self._row("msgtype", _checked(name), schema.type_id, path=name)
            yield from self._fields(("msgdata", name), name, schema)
            yield from self._types()
        for cls in list(self._names):
            self._type_name(_record_of(cls))
        yield from self._types()

    def _types(self) -> Iterator[str]:
        """Yield the rows of the types that the rows so far refer to, and of those that these refer to."""
        while self._waiting:
            name, record = self._waiting.pop(0)
            if name in self._written:
                continue
            self._written.add(name)
            if all(field.tlv is not None for field in record.fields):
                yield from self._stream(name, record)
            else:
                yield self._row("subtype", _checked(name))
                yield from self._fields(("subtypedata", name), name, record)

    def _stream(self, name: str, record: Record) -> Iterator[str]:
        for field in record.fields:
            yield self._row("tlvtype", _checked(name), _checked(field.name), field.tlv)
            owner, path = ("tlvdata", name, field.name), f"{name}.{field.name}"
            kind = field.record_kind
            if isinstance(kind, Nested) and all(inner.tlv is None for inner in kind.record.fields):
                yield from self._fields(owner, path, kind.record)
            else:
                yield from self._field(owner, path, field, kind, {field.name})

    def _fields(self, owner: tuple[str, ...], path: str, record: Record) -> Iterator[str]:
        taken = {field.name for field in record.fields}
        for field in record.fields:
            if field.tlv is None:
                yield from self._field(owner, path, field, field.kind, taken)
        records = tuple(field for field in record.fields if field.tlv is not None)
        if records:
            stream = self._new_name(f"{path.replace('.', '_')}_tlvs")
            self._waiting.append((stream, replace(record, fields=records)))
            yield self._row(*owner, _free("tlvs", taken), stream, "")

    def _field(
        self, owner: tuple[str, ...], path: str, field: Field, kind: Kind, taken: Collection[str]
    ) -> Iterator[str]:  # fmt: skip
        where = f"{path}.{_checked(field.name)}"
        kind = _carrier(kind)
        count: object = ""
        if isinstance(kind, Integer) and kind.form == "fixed" and kind.bits not in (8, 16, 32, 64):
            kind = Octets(Fixed(kind.bits // 8))  # CSV has no name for it
        if isinstance(kind, Octets | Text | Array) and not _has_name(kind):
            match count_of(kind, is_record=field.tlv is not None):
                case Fixed(size):
                    count = size
                case Rest():
                    count = REST
                case Named(name):
                    count = name
                case Prefixed(integer):
                    count = self._namespace.lengths.get(where) or _free(f"{field.name}_len", taken)
                    yield self._row(*owner, count, self._type(where, integer), "", path=f"{path}.{count}")
        yield self._row(*owner, field.name, self._type(where, kind), count, path=where)

    def _type(self, where: str, kind: Kind) -> str:
        """Return the type name of a value or, for arrays, of an element."""
        kind = _carrier(kind)
        match kind:
            case Octets() if not _has_name(kind):
                return "byte"
            case Text():
                return UTF8
            case Array(element=element):
                element = _carrier(element)
                if not isinstance(element, Array | Text) and (not isinstance(element, Octets) or _has_name(element)):
                    return self._type(where, element)
            case Boolean():
                return "byte"
            case Integer(form="fixed", bits=8 | 16 | 32 | 64, signed=False) if kind.name not in KINDS:  # a scalar
                return "byte" if kind.bits == 8 else f"u{kind.bits}"
            case Opaque(name="node_id"):
                return "point"
            case Integer() | Opaque() | Octets() if kind.name in KINDS:
                return "byte" if kind.name == "u8" else kind.name
            case Nested():
                if kind.record.recursive:
                    raise SchemaError(f"{where}: CSV cannot say that {kind.label} is in itself")
                return self._type_name(kind.record)
            case Maybe(flag=Integer() | Boolean()):
                raise SchemaError(f"{where}: CSV cannot say that {kind.label} comes behind a flag")
            case Sized():
                raise SchemaError(f"{where}: CSV cannot say that {kind.label} comes behind its size")
            case Tagged() | Array(element=Tagged()):
                raise SchemaError(f"{where}: CSV has no unions, so it cannot say what {kind.label} is")
        raise SchemaError(f"{where}: CSV has no word for {kind.label}: put what it is made of into a @subtype")

    def _type_name(self, record: Record) -> str:
        """Return the name of a subtype or stream, and queue it for writing."""
        if not record.fields:
            raise SchemaError(f"{record.qualified_name} has no fields: CSV needs at least one in a subtype")
        name = self._names.get(record.cls)
        if name is None:
            name = self._names[record.cls] = self._new_name(record.name)
        self._waiting.append((name, record))
        return name

    def _new_name(self, wanted: str) -> str:
        name = _free(wanted, self._taken)
        self._taken.add(name)
        return name

    def _row(self, *cells: object, path: str = "") -> str:
        option = self._namespace.options.get(path)
        return ",".join(map(str, cells if option is None else (*cells, option)))


def _checked(name: str) -> str:
    if not is_name(name):
        raise SchemaError(f"a name in CSV should be {NAME_RULE}, not {name!r}")
    return name


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _carrier(kind: Kind) -> Kind:
    """Return the kind that CSV has words for, without scalars, limits and enums around it."""
    while isinstance(kind, Scalar | Limited | Choice):
        kind = kind.base if isinstance(kind, Choice) else kind.inner
    return kind


def _has_name(kind: Kind) -> bool:
    """Return whether ``kind`` is bytes of a fixed size with a type name of their own, such as ``sha256``."""
    return isinstance(kind, Octets) and kind.name in KINDS


def _record_of(cls: type) -> Record:
    kind = kind_of(cls)
    if not isinstance(kind, Nested):
        raise SchemaError(f"{cls.__module__}.{cls.__qualname__} should be a @subtype")
    return kind.record
