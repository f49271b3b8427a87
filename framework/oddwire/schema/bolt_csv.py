"""The BOLTs' CSV format: read into message classes, and written back.

The format is what the BOLTs' own tool extracts from their text, and what Core Lightning and pyln-proto generate code
from: rows ``msgtype``, ``msgdata``, ``subtype``, ``subtypedata``, ``tlvtype`` and ``tlvdata``. `load_csv` makes
the same classes of them as `message` and `subtype` do, for the bolt codec:

- a message becomes a `Message` subclass; its number is not claimed, so the BOLTs' own messages load too, to be encoded
  and decoded by tools (no application can register them for sending);
- a subtype becomes a `subtype` class, and so does a TLV stream: each record is a field, None if it is absent, whose
  value is a class with the record's own fields: ``init.tlvs.networks.chains``;
- an array of bytes is ``bytes``, an array of ``utf8`` a ``str``, any other a tuple;
- a length field directly before the one array it counts is written and read, but is not a field of the class. Any
  other length field is, and has to be right when a message is encoded;
- the feature a message or field belongs to is in `Namespace.options`; the field is required all the same.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import types
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final

from oddwire.errors import SchemaError
from oddwire.records import replace
from oddwire.schema import fields
from oddwire.schema.annotations import kind_of
from oddwire.schema.csv_rows import LENGTH_TYPES, NAME_RULE, REST, CsvDefinition, CsvField, CsvFile, is_name, read_csv
from oddwire.schema.kinds import (
    Array,
    Boolean,
    Choice,
    Count,
    Field,
    Fixed,
    Integer,
    Kind,
    Maybe,
    Named,
    Nested,
    Octets,
    Opaque,
    Prefixed,
    Record,
    Rest,
    Text,
)
from oddwire.schema.message import Message, declare, schema_of, subtype
from oddwire.schema.rules import count_of

__all__ = ["Namespace", "dump_csv", "load_csv"]

_UTF8: Final = "utf8"
_KINDS: Final[Mapping[str, Kind]] = {
    name: kind_of(getattr(fields, name))
    for name in (
        *("byte", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "tu16", "tu32", "tu64", "bigsize"),
        *("chain_hash", "channel_id", "sha256", "point", "short_channel_id", "signature", "bip340sig"),
        "sciddir_or_pubkey",
    )
}
_LENGTHS: Final = {name: kind for name, kind in _KINDS.items() if isinstance(kind, Integer) and name in LENGTH_TYPES}
_TAKES_REST: Final = {name: isinstance(kind, Integer) and kind.form == "truncated" for name, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """Message classes, and the classes of their fields, by their names in the CSV.

    ``tlv_records`` has the classes of the values in TLV streams by dotted path: ``init_tlvs.networks``. ``options`` has
    the feature a message or field belongs to, and ``lengths`` the name of an array's length field where the class has
    no field for it, also by path: ``query_channel_range``, ``init.features``, ``init_tlvs.networks.chains``.
    """

    messages: Mapping[str, type[Message]] = dataclasses.field(default_factory=dict)
    subtypes: Mapping[str, type] = dataclasses.field(default_factory=dict)
    tlv_streams: Mapping[str, type] = dataclasses.field(default_factory=dict)
    tlv_records: Mapping[str, type] = dataclasses.field(default_factory=dict)
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    lengths: Mapping[str, str] = dataclasses.field(default_factory=dict)


# CSV to classes ------------------------------------------------------------------------------------------------------


def load_csv(source: str | Iterable[str], *, module: str = __name__) -> Namespace:
    """Return message classes made from CSV text or lines.

    ``module`` is the classes' ``__module__``, which errors and traces name. Blank lines and comments (``#``) are
    ignored. Raises `SchemaError` naming the line, what is wrong there, and what would be right.
    """
    return _CsvLoader(read_csv(source, {**_TAKES_REST, _UTF8: False}), module).load()


class _CsvLoader:
    def __init__(self, csv: CsvFile, module: str) -> None:
        self.csv = csv
        self.module = module
        self.classes: dict[str, type] = {}
        self.records: dict[str, type] = {}
        self.options: dict[str, str] = {}
        self.lengths: dict[str, str] = {}

    def load(self) -> Namespace:
        for name in self.csv.build_order:
            rows = self.csv.subtypes.get(name)
            self.classes[name] = self.stream(name) if rows is None else self.subtype(name, rows)
        messages = {name: self.message(definition) for name, definition in self.csv.messages.items()}
        return Namespace(
            messages=MappingProxyType(messages),
            subtypes=MappingProxyType({name: self.classes[name] for name in self.csv.subtypes}),
            tlv_streams=MappingProxyType({name: self.classes[name] for name in self.csv.streams}),
            tlv_records=MappingProxyType(self.records),
            options=MappingProxyType(self.options),
            lengths=MappingProxyType(self.lengths),
        )

    def message(self, definition: CsvDefinition) -> type[Message]:
        name = definition.name
        if definition.option:
            self.options[name] = definition.option
        with _at(definition.line):
            cls = self.make_class(name, self.fields(name, definition), Message)
            return declare(cls, definition.number, codec="bolt", spec=True, name=name)

    def subtype(self, path: str, definition: CsvDefinition) -> type:
        with _at(definition.line):
            return subtype(self.make_class(path, self.fields(path, definition)))

    def stream(self, name: str) -> type:
        contents: dict[str, tuple[Kind, Any]] = {}
        for record in self.csv.streams[name].values():
            path = f"{name}.{record.name}"
            self.records[path] = self.subtype(path, record)
            contents[record.name] = (Maybe(kind_of(self.records[path])), fields.field(default=None, tlv=record.number))
        return subtype(self.make_class(name, contents))

    def make_class(self, path: str, contents: Mapping[str, tuple[Kind, Any]], *bases: type) -> Any:
        """Return an undecorated class; ``contents`` has each field's kind and default."""
        name = "".join(word[0].upper() + word[1:] for word in re.split("[._]+", path) if word)
        body: dict[str, Any] = {field: default for field, (_, default) in contents.items() if default is not MISSING}
        body["__annotations__"] = {field: Annotated[object, kind] for field, (kind, _) in contents.items()}
        body["__module__"] = self.module
        body["__qualname__"] = name
        return types.new_class(name, bases, exec_body=lambda namespace: namespace.update(body))

    def fields(self, path: str, definition: CsvDefinition) -> dict[str, tuple[Kind, Any]]:
        made: dict[str, tuple[Kind, Any]] = {}
        implied = _implied_lengths(definition)
        for entry in definition.fields.values():
            where = f"{path}.{entry.name}"
            if entry.option:
                self.options[where] = entry.option
            if entry.name in implied:
                continue
            kind: Kind
            if entry.count is None:
                kind = self.kind(entry.type)
            else:
                if entry.count in implied:
                    self.lengths[where] = str(entry.count)
                kind = self.array(entry, _count(definition, entry, implied))
            default = self.classes[entry.type]() if entry.type in self.csv.streams else MISSING
            made[entry.name] = (kind, default)
        return made

    def kind(self, type_name: str) -> Kind:
        if type_name == _UTF8:
            return Text(Fixed(1))
        return _KINDS.get(type_name) or kind_of(self.classes[type_name])

    def array(self, entry: CsvField, count: Count) -> Kind:
        if entry.type in ("byte", "u8"):
            return Octets(count)
        return Text(count) if entry.type == _UTF8 else Array(self.kind(entry.type), tuple, count=count)


def _implied_lengths(definition: CsvDefinition) -> set[str]:
    """Return the names of the length fields that directly precede the one array they count."""
    entries = list(definition.fields.values())
    counted = [entry.count for entry in entries]
    return {
        before.name
        for before, after in itertools.pairwise(entries)
        if after.count == before.name and counted.count(before.name) == 1
    }


def _count(definition: CsvDefinition, entry: CsvField, implied: Collection[str]) -> Count:
    if isinstance(entry.count, int):
        return Fixed(entry.count)
    if entry.count is None or entry.count == REST:
        return Rest()
    if entry.count in implied:
        return Prefixed(_LENGTHS[definition.fields[entry.count].type])
    return Named(entry.count)


@contextmanager
def _at(line: int) -> Iterator[None]:
    try:
        yield
    except SchemaError as error:
        raise SchemaError(f"line {line}: {error}") from None


# Classes to CSV ------------------------------------------------------------------------------------------------------


def dump_csv(what: Namespace | Iterable[type[Message]]) -> str:
    """Return CSV of message classes of the bolt codec, and of all subtypes and TLV streams in them.

    Classes that `load_csv` makes of the text encode to the same bytes. Loaded classes are written as the rows they
    came from, without the comments, and not always in the same order. CSV has no enums, defaults or length limits, so
    these are left out; ``u8``, bool and enums of u8 are written ``byte``. Raises `SchemaError` naming message and
    field for a field that CSV cannot express.
    """
    if not isinstance(what, Namespace):
        what = Namespace(messages={schema_of(cls).name: cls for cls in what})
    return "".join(f"{row}\n" for row in _CsvWriter(what).dump())


class _CsvWriter:
    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        given = {**namespace.tlv_streams, **namespace.subtypes}
        self.names: dict[type, str] = {cls: name for name, cls in given.items()}
        self.taken: set[str] = {*_KINDS, _UTF8, *given}
        self.waiting: list[tuple[str, Record]] = []
        self.written: set[str] = set()

    def dump(self) -> Iterator[str]:
        for name, cls in self.namespace.messages.items():
            schema = schema_of(cls)
            if schema.codec != "bolt" or schema.own_codec is not None:
                raise SchemaError(f"{schema.qualified_name} has codec {schema.codec!r}: CSV can only say codec='bolt'")
            yield self.row("msgtype", _checked(name), schema.type_id, path=name)
            yield from self.fields(("msgdata", name), name, schema)
            yield from self.types()
        for cls in list(self.names):
            self.type_name(_record_of(cls))
        yield from self.types()

    def types(self) -> Iterator[str]:
        """Yield the rows of the types that the rows so far refer to, and of those that these refer to."""
        while self.waiting:
            name, record = self.waiting.pop(0)
            if name in self.written:
                continue
            self.written.add(name)
            if all(field.tlv is not None for field in record.fields):
                yield from self.stream(name, record)
            else:
                yield self.row("subtype", _checked(name))
                yield from self.fields(("subtypedata", name), name, record)

    def stream(self, name: str, record: Record) -> Iterator[str]:
        for field in record.fields:
            yield self.row("tlvtype", _checked(name), _checked(field.name), field.tlv)
            owner, path = ("tlvdata", name, field.name), f"{name}.{field.name}"
            kind = field.kind.inner if isinstance(field.kind, Maybe) else field.kind
            if isinstance(kind, Nested) and all(inner.tlv is None for inner in kind.record.fields):
                yield from self.fields(owner, path, kind.record)
            else:
                yield from self.field(owner, path, field, kind, {field.name})

    def fields(self, owner: tuple[str, ...], path: str, record: Record) -> Iterator[str]:
        taken = {field.name for field in record.fields}
        for field in record.fields:
            if field.tlv is None:
                yield from self.field(owner, path, field, field.kind, taken)
        records = tuple(field for field in record.fields if field.tlv is not None)
        if records:
            stream = self.new_name(f"{path.replace('.', '_')}_tlvs")
            self.waiting.append((stream, replace(record, fields=records)))
            yield self.row(*owner, _free("tlvs", taken), stream, "")

    def field(
        self, owner: tuple[str, ...], path: str, field: Field, kind: Kind, taken: Collection[str]
    ) -> Iterator[str]:  # fmt: skip
        where = f"{path}.{_checked(field.name)}"
        kind = kind.base if isinstance(kind, Choice) else kind
        count: object = ""
        if isinstance(kind, Octets | Text | Array) and not _has_name(kind):
            match count_of(kind, is_record=field.tlv is not None):
                case Fixed(size):
                    count = size
                case Rest():
                    count = REST
                case Named(name):
                    count = name
                case Prefixed(integer):
                    count = self.namespace.lengths.get(where) or _free(f"{field.name}_len", taken)
                    yield self.row(*owner, count, self.type(where, integer), "", path=f"{path}.{count}")
        yield self.row(*owner, field.name, self.type(where, kind), count, path=where)

    def type(self, where: str, kind: Kind) -> str:
        """Return the type name of a value or, for arrays, of an element."""
        match kind:
            case Octets() if not _has_name(kind):
                return "byte"
            case Text():
                return _UTF8
            case Array(element=Array() | Text()) | Array(element=Choice(base=Text())):
                pass
            case Array(element=element) if not isinstance(element, Octets) or _has_name(element):
                return self.type(where, element)
            case Boolean():
                return "byte"
            case Choice():
                return self.type(where, kind.base)
            case Integer() | Opaque() | Octets() if kind.name in _KINDS:
                return "byte" if kind.name == "u8" else kind.name
            case Nested():
                return self.type_name(kind.record)
        raise SchemaError(f"{where}: CSV has no word for {kind.label}: put what it is made of into a @subtype")

    def type_name(self, record: Record) -> str:
        """Return the name of a subtype or stream, and queue it for writing."""
        if not record.fields:
            raise SchemaError(f"{record.qualified_name} has no fields: CSV needs at least one in a subtype")
        name = self.names.get(record.cls)
        if name is None:
            name = self.names[record.cls] = self.new_name(record.name)
        self.waiting.append((name, record))
        return name

    def new_name(self, wanted: str) -> str:
        name = _free(wanted, self.taken)
        self.taken.add(name)
        return name

    def row(self, *cells: object, path: str = "") -> str:
        option = self.namespace.options.get(path)
        return ",".join(map(str, cells if option is None else (*cells, option)))


def _checked(name: str) -> str:
    if not is_name(name):
        raise SchemaError(f"a name in CSV should be {NAME_RULE}, not {name!r}")
    return name


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _has_name(kind: Kind) -> bool:
    """Return whether ``kind`` is bytes of a fixed size with a type name of their own, such as ``sha256``."""
    return isinstance(kind, Octets) and kind.name in _KINDS


def _record_of(cls: type) -> Record:
    kind = kind_of(cls)
    if not isinstance(kind, Nested):
        raise SchemaError(f"{cls.__module__}.{cls.__qualname__} should be a @subtype")
    return kind.record
