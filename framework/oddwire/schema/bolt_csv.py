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
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final

from oddwire.errors import SchemaError
from oddwire.schema import fields
from oddwire.schema.annotations import kind_of
from oddwire.schema.csv_rows import LENGTH_TYPES, REST, CsvDefinition, CsvField, CsvFile, read_csv
from oddwire.schema.csv_writer import KINDS, UTF8, CsvWriter
from oddwire.schema.kinds import (
    Array,
    Count,
    Fixed,
    Integer,
    Kind,
    Maybe,
    Named,
    Octets,
    Prefixed,
    Rest,
    Text,
)
from oddwire.schema.message import Message, declare, schema_of, subtype

__all__ = ["Namespace", "dump_csv", "load_csv"]

_LENGTHS: Final = {name: kind for name, kind in KINDS.items() if isinstance(kind, Integer) and name in LENGTH_TYPES}
_TAKES_REST: Final = {name: isinstance(kind, Integer) and kind.form == "truncated" for name, kind in KINDS.items()}


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


def load_csv(*sources: str | Iterable[str], module: str = __name__) -> Namespace:
    """Return message classes made from CSV: a text or several, each a string or lines.

    The texts may use each other's subtypes and TLV streams, whichever comes first: BOLT 12 needs BOLT 4's, and BOLT 4
    those of BOLT 12. A list of texts is taken as the texts in it. Messages of different texts may share a number.
    ``module`` is the classes' ``__module__``, which errors and traces name. Blank lines and comments (``#``) are
    ignored. Raises `SchemaError` naming the text, if there are several, the line, what is wrong there, and what would
    be right.
    """
    return _CsvLoader(read_csv(list(_texts(sources)), {**_TAKES_REST, UTF8: False}), module).load()


def _texts(sources: Sequence[Any]) -> Iterator[str | list[str]]:
    """Yield each text; a list whose elements are longer than a line is a list of texts."""
    if not sources:
        raise SchemaError("load_csv should have a text, or several")
    for source in sources:
        is_list = isinstance(source, Iterable) and not isinstance(source, str | bytes | bytearray)
        lines: Any = list(source) if is_list else source
        strange = [line for line in (lines if is_list else [lines]) if not isinstance(line, str)]
        if strange:
            hint = ", .decode() them" if isinstance(strange[0], bytes | bytearray) else ""
            hint = ", read the file: .read_text()" if hasattr(strange[0], "read_text") else hint
            raise SchemaError(f"load_csv takes texts, each a string or lines, not {type(strange[0]).__name__}{hint}")
        if isinstance(lines, str) or not any("\n" in line.rstrip("\r\n") for line in lines):
            yield lines
        else:
            yield from lines


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
        if type_name == UTF8:
            return Text(Fixed(1))
        return KINDS.get(type_name) or kind_of(self.classes[type_name])

    def array(self, entry: CsvField, count: Count) -> Kind:
        if entry.type in ("byte", "u8"):
            return Octets(count)
        return Text(count) if entry.type == UTF8 else Array(self.kind(entry.type), tuple, count=count)


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
def _at(line: str) -> Iterator[None]:
    try:
        yield
    except SchemaError as error:
        raise SchemaError(f"{line}: {error}") from None


# Classes to CSV ------------------------------------------------------------------------------------------------------


def dump_csv(what: Namespace | Iterable[type[Message]]) -> str:
    """Return CSV of message classes of the bolt codec, and of all subtypes and TLV streams in them.

    Classes that `load_csv` makes of the text encode to the same bytes. Loaded classes are written as the rows they
    came from, without the comments, and not always in the same order. CSV has no enums, defaults or length limits, so
    these are left out; ``u8``, bool and enums of u8 are written ``byte``. Raises `SchemaError` naming message and
    field for a field that CSV cannot express.
    """
    if not isinstance(what, Namespace):
        if isinstance(what, type) or not isinstance(what, Iterable):
            raise SchemaError(f"dump_csv takes a Namespace or message classes, [Order, Quote], not {what!r:.200}")
        what = Namespace(messages={schema_of(cls).name: cls for cls in what})
    return "".join(f"{row}\n" for row in CsvWriter(what).dump())
