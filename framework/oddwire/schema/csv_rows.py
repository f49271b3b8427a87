"""The BOLTs' CSV format as rows and definitions: parsing lines, and checking them against each other.

This is the half of `oddwire.schema.bolt_csv` that knows nothing of message classes. Every error is a `SchemaError`
that starts with the line's number and ends with what would be right.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

from oddwire.errors import SchemaError

__all__ = [
    "LENGTH_TYPES",
    "MAX_COUNT",
    "MAX_FIELDS",
    "MAX_NESTING",
    "NAME_RULE",
    "REST",
    "CsvDefinition",
    "CsvField",
    "CsvFile",
    "is_name",
    "read_csv",
]

REST: Final = "..."
LENGTH_TYPES: Final = ("byte", "u8", "u16", "u32", "u64", "bigsize")
NAME_RULE: Final = "a letter, then letters, digits and underscores, and no Python keyword"
MAX_NESTING: Final = 16
MAX_FIELDS: Final = 4096
MAX_COUNT: Final = 65535

# Per kind: the min and max number of cells after it, and their names.
_KINDS: Final = {
    "msgtype": (2, 3, "name,number[,option]"),
    "msgdata": (3, 5, "message,field,type[,count[,option]]"),
    "subtype": (1, 1, "name"),
    "subtypedata": (3, 4, "subtype,field,type[,count]"),
    "tlvtype": (3, 3, "stream,record,number"),
    "tlvdata": (4, 5, "stream,record,field,type[,count]"),
}
# BOLT 4, Failure Messages: the flags of failure codes, which the CSV writes by name.
_FLAGS: Final = {"BADONION": 0x8000, "PERM": 0x4000, "NODE": 0x2000, "UPDATE": 0x1000}
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_NUMBER: Final = re.compile(r"[0-9]{1,20}|0[xX][0-9a-fA-F]{1,16}")


@dataclass(frozen=True, slots=True)
class CsvField:
    """One data row. ``count`` is None for a single value, a number, the name of a length field, or `REST`.

    ``line`` says where it is, for errors: ``line 7``, or ``text 2, line 7`` of several texts.
    """

    name: str
    type: str
    count: int | str | None
    option: str
    line: str


@dataclass(frozen=True, slots=True)
class CsvDefinition:
    """A message, a subtype (whose ``number`` is -1) or a TLV record, with its data rows by field name."""

    name: str
    number: int
    option: str
    line: str
    fields: dict[str, CsvField] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CsvFile:
    """All definitions by name, in the order written. ``build_order`` lists subtypes and streams before their users."""

    messages: dict[str, CsvDefinition] = field(default_factory=dict)
    subtypes: dict[str, CsvDefinition] = field(default_factory=dict)
    streams: dict[str, dict[str, CsvDefinition]] = field(default_factory=dict)
    build_order: list[str] = field(default_factory=list)


def read_csv(sources: Sequence[str | Iterable[str]], fundamental: Mapping[str, bool]) -> CsvFile:
    """Parse CSV texts, each a string or lines, that may use each other's types.

    ``fundamental`` names the types that need no definition; the value is whether the type takes all that remains,
    as truncated integers do. Raises `SchemaError`.
    """
    rows: list[_CsvRow] = []
    for number, source in enumerate(sources, 1):
        rows += _rows(source.splitlines() if isinstance(source, str) else source, number, len(sources))
    csv = CsvFile()
    # Rows may refer to later definitions, so names are read first, then fields.
    names = _Names(csv)
    for row in rows:
        names.add(row)
    _check_type_names(csv, fundamental)
    for row in rows:
        if row.kind.endswith("data"):
            _add_field(csv, row, fundamental)
    _Order(csv, fundamental).check()
    return csv


def is_name(name: str) -> bool:
    """Return whether a message, type or field may have this name."""
    return bool(_NAME.fullmatch(name)) and not keyword.iskeyword(name)


# Rows ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _CsvRow:
    text: int
    line: str
    kind: str
    cells: list[str]

    def fail(self, text: str) -> NoReturn:
        _fail(self.line, text)

    def name(self, index: int) -> str:
        name = self.cells[index]
        if not is_name(name):
            self.fail(f"name should be {NAME_RULE}, not {name!r}")
        return name

    def number(self, index: int, most: int) -> int:
        text = self.cells[index]
        total = 0
        for token in text.split("|"):
            if token in _FLAGS:
                total |= _FLAGS[token]
            elif _NUMBER.fullmatch(token):
                total |= _parse(token)
            else:
                self.fail(f"number should be 0 to {most}, not {text!r}")
        if total > most:
            self.fail(f"number should be 0 to {most}, not {total}")
        return total


def _fail(line: str, text: str) -> NoReturn:
    raise SchemaError(f"{line}: {text}")


def _parse(number: str) -> int:
    return int(number, 16 if number[:2] in ("0x", "0X") else 10)


def _rows(lines: Iterable[str], text: int, texts: int) -> Iterator[_CsvRow]:
    for number, row in enumerate(lines, 1):
        content = row.partition("#")[0].strip()
        if not content:
            continue
        where = f"line {number}" if texts == 1 else f"text {text}, line {number}"
        kind, *cells = (cell.strip() for cell in content.split(","))
        if kind not in _KINDS:
            _fail(where, f"first cell should be one of {', '.join(_KINDS)}, not {kind!r}")
        fewest, most, names = _KINDS[kind]
        while len(cells) > most and not cells[-1]:  # Core Lightning ends some rows in more commas than they need
            cells.pop()
        if not fewest <= len(cells) <= most:
            _fail(where, f"should be {kind},{names}, not {content!r}")
        yield _CsvRow(text, where, kind, cells + [""] * (most - len(cells)))


# Definitions ---------------------------------------------------------------------------------------------------------


class _Names:
    """Adds definitions to their tables, and rejects a name or number that is there already.

    Messages of different texts may share a number: BOLT 4's failure messages have those of BOLT 1's messages, too.
    """

    def __init__(self, csv: CsvFile) -> None:
        self.csv = csv
        self.numbers: dict[tuple[object, int], CsvDefinition] = {}

    def add(self, row: _CsvRow) -> None:
        match row.kind:
            case "msgtype":
                definition = CsvDefinition(row.name(0), row.number(1, 0xFFFF), row.cells[2], row.line)
                self._add(self.csv.messages, definition, "message", "", row.text)
            case "subtype":
                self._add(self.csv.subtypes, CsvDefinition(row.name(0), -1, "", row.line), "subtype", "")
            case "tlvtype":
                definition = CsvDefinition(row.name(1), row.number(2, (1 << 64) - 1), "", row.line)
                stream = row.name(0)
                self._add(self.csv.streams.setdefault(stream, {}), definition, "record", f"{stream}.")

    def _add(
        self, table: dict[str, CsvDefinition], new: CsvDefinition, kind: str, scope: str, text_number: int = 0
    ) -> None:
        what = f"{kind} {scope}{new.name}"
        if new.name in table:
            _fail(new.line, f"{what} is defined already, in {table[new.name].line}")
        if new.number >= 0:
            other = self.numbers.setdefault((scope or text_number, new.number), new)
            if other is not new:
                text = f"{what} has number {new.number}, which is that of {other.name} in {other.line}"
                _fail(new.line, f"{text}: it should have another")
        table[new.name] = new


def _check_type_names(csv: CsvFile, fundamental: Mapping[str, bool]) -> None:
    """Check that subtypes, streams and fundamental types, which share one namespace, differ in name."""
    for name, definition in csv.subtypes.items():
        if name in fundamental:
            _fail(definition.line, f"subtype {name} should not have the name of a fundamental type")
    for name, records in csv.streams.items():
        first = next(iter(records.values()))
        if name in fundamental:
            _fail(first.line, f"TLV stream {name} should not have the name of a fundamental type")
        if name in csv.subtypes:
            _fail(
                first.line,
                f"TLV stream {name} should not have the name of the subtype in {csv.subtypes[name].line}",
            )


# Fields --------------------------------------------------------------------------------------------------------------


def _add_field(csv: CsvFile, row: _CsvRow, fundamental: Mapping[str, bool]) -> None:
    owner, cells = _owner(csv, row)
    name, type_name, count_text = row.name(cells), row.cells[cells + 1], row.cells[cells + 2]
    option = row.cells[4] if row.kind == "msgdata" else ""
    if name in owner.fields:
        row.fail(f"field {owner.name}.{name} is defined already, in {owner.fields[name].line}")
    if type_name not in fundamental and type_name not in csv.subtypes and type_name not in csv.streams:
        should = f"should be fundamental, a subtype or a TLV stream, not {type_name!r}"
        hint = "another text may define it: load_csv(text, other)" if type_name else "there is no type"
        row.fail(f"type of {owner.name}.{name} {should}; {hint}")
    count = _count(owner, row, name, count_text)
    if isinstance(count, str) and count != REST and bool(owner.fields[count].option) != bool(option):
        row.fail(f"{owner.name}.{name} and its count field {count} should both have an option, or neither")
    before = next(reversed(owner.fields.values()), None)
    if before is not None and before.option and not option and type_name not in csv.streams:
        row.fail(f"{owner.name}.{name} follows an optional field, so it should have an option too")
    owner.fields[name] = CsvField(name, type_name, count, option, row.line)


def _owner(csv: CsvFile, row: _CsvRow) -> tuple[CsvDefinition, int]:
    """Return the definition that a data row belongs to, and the index of the cell with the field's name."""
    if row.kind == "tlvdata":
        stream, record = row.cells[:2]
        owner = csv.streams.get(stream, {}).get(record)
        if owner is None:
            row.fail(f"there should be a tlvtype,{stream},{record},NUMBER")
        return owner, 2
    table, kind = (csv.messages, "msgtype") if row.kind == "msgdata" else (csv.subtypes, "subtype")
    if row.cells[0] not in table:
        row.fail(f"there should be a {kind},{row.cells[0]}{',NUMBER' if kind == 'msgtype' else ''}")
    return table[row.cells[0]], 1


def _count(owner: CsvDefinition, row: _CsvRow, name: str, text: str) -> int | str | None:
    if text in ("", REST):
        return text or None
    if _NUMBER.fullmatch(text):
        if _parse(text) > MAX_COUNT:
            row.fail(f"count of {owner.name}.{name} should be 0 to {MAX_COUNT}, not {text}")
        return _parse(text)
    length = owner.fields.get(text)
    if length is None:
        row.fail(f"count of {owner.name}.{name} should be a number, {REST} or a field before it, not {text!r}")
    if length.type not in LENGTH_TYPES or length.count is not None:
        row.fail(f"count field {owner.name}.{text} should be one of {', '.join(LENGTH_TYPES)}, not {_shape(length)}")
    return text


def _shape(of: CsvField) -> str:
    return of.type if of.count is None else f"{of.count}*{of.type}"


# Order ---------------------------------------------------------------------------------------------------------------


class _Order:
    """Orders types after those they contain, and checks that a field that takes all that remains comes last.

    ``depth`` is how deep a type nests, ``size`` its number of fields including those of nested types: both are
    limited, so that a few rows cannot make classes of unbounded size.
    """

    def __init__(self, csv: CsvFile, fundamental: Mapping[str, bool]) -> None:
        self.csv = csv
        self.takes_rest = dict(fundamental)
        self.depth = dict.fromkeys(fundamental, 0)
        self.size = dict.fromkeys(fundamental, 1)
        self.path: list[str] = []

    def check(self) -> None:
        for name in (*self.csv.subtypes, *self.csv.streams):
            if name not in self.depth:
                self._visit(name)
        for message in self.csv.messages.values():
            self._visit_types(message)
            if self._check_last(message):
                self._check_no_truncated(message)

    def _visit(self, name: str) -> None:
        self.path.append(name)
        subtype = self.csv.subtypes.get(name)
        if subtype is not None:
            if not subtype.fields:
                _fail(subtype.line, f"subtype {name} should have at least one subtypedata row")
            depth, size = self._visit_types(subtype)
            self.takes_rest[name] = self._check_last(subtype)
        else:
            depth = size = 0
            for record in self.csv.streams[name].values():
                record_depth, record_size = self._visit_types(record)
                depth, size = max(depth, record_depth), size + 1 + record_size
                self._check_last(record)
            self.takes_rest[name] = True
        self.depth[name], self.size[name] = depth + 1, size
        self.path.pop()
        self.csv.build_order.append(name)

    def _visit_types(self, definition: CsvDefinition) -> tuple[int, int]:
        """Visit the types of all fields; return their max depth and total size."""
        depth = size = 0
        for entry in definition.fields.values():
            if entry.type in self.path:
                circle = " -> ".join([*self.path[self.path.index(entry.type) :], entry.type])
                remedy = f"make one of them bytes, {entry.name},byte,..., or write the classes in Python"
                _fail(entry.line, f"{entry.type} should not contain itself: {circle}; {remedy}")
            if entry.type not in self.depth and len(self.path) < MAX_NESTING:
                self._visit(entry.type)
            depth = max(depth, self.depth.get(entry.type, MAX_NESTING))
            if depth == MAX_NESTING and self.path:
                _fail(entry.line, f"types should nest at most {MAX_NESTING} deep, {definition.name} nests deeper")
            size += self.size[entry.type]
            if size > MAX_FIELDS:
                text = f"{definition.name} should have at most {MAX_FIELDS} fields, those of its types written out"
                _fail(entry.line, text)
        return depth, size

    def _check_no_truncated(self, message: CsvDefinition) -> None:
        """Check that a message does not end in a truncated integer: an extension may follow (BOLT 1)."""
        entry = last = next(reversed(message.fields.values()))
        while entry.count is None and entry.type in self.csv.subtypes:
            entry = next(reversed(self.csv.subtypes[entry.type].fields.values()))
        if entry.count is None and entry.type not in self.csv.streams:
            text = f"{message.name}.{last.name} should not be a {entry.type}: that is for the end of a TLV record"
            _fail(last.line, f"{text}, and messages may go on (BOLT 1)")

    def _check_last(self, definition: CsvDefinition) -> bool:
        """Return whether the definition takes all that remains; raise if a field follows one that does."""
        last = None
        for entry in definition.fields.values():
            if last is not None:
                text = (
                    f"{_shape(last)} takes all that remains: {last.name} should be the last field of {definition.name}"
                )
                _fail(entry.line, f"{text}, not followed by {entry.name}")
            if self.takes_rest[entry.type]:
                if entry.count is not None:
                    text = f"{definition.name}.{entry.name} should have no count: {entry.type} takes all that remains"
                    _fail(entry.line, text)
                last = entry
            elif entry.count == REST:
                last = entry
        return last is not None
