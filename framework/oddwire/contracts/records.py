"""Whether a receiver understands the fields of a class or message that a sender may send: the rules of fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from oddwire.contracts.domains import Type
from oddwire.contracts.exchanges import exchanged
from oddwire.contracts.gaps import Gap, shown
from oddwire.contracts.values import End, Types

__all__ = ["Records"]

_SILENT: Final = "no error: read as another value"
_MISSING: Final = "MalformedMessage: is missing"


class Records:
    """The classes of one message, from a sender's contract to a receiver's. Each pair of subtypes is looked at once."""

    def __init__(self, sent: Mapping[str, Any], read: Mapping[str, Any], codec: str, *, forward: bool) -> None:
        self._forward = forward  # to the new contract, whose names the paths have
        self._sent: Mapping[str, Any] = sent["subtypes"]
        self._read: Mapping[str, Any] = read["subtypes"]
        self._bolt = codec == "bolt"
        self._seen: set[tuple[str, str, End]] = set()
        self.types = Types(codec, self._subtypes)

    def record(self, sent: Type, read: Type, path: str, end: End) -> Iterator[Gap]:
        """Yield what the receiver cannot make of instances: of messages, subtypes, or parameters."""
        for name in read.get("validators", ()):
            if name not in sent.get("validators", ()):
                yield Gap("validator", path, "none", name, f"MalformedMessage: what {name} refuses")
        yield from (self._positional if self._bolt else self._by_key)(sent["fields"], read["fields"], path, end)

    def parameters(self, sent: Sequence[Type], read: Sequence[Type], path: str, *, strict: bool) -> Iterator[Gap]:
        """Yield what a server cannot make of a caller's parameters."""
        for gap in self._by_key(sent, read, path, "open"):
            if gap.kind == "extra" and strict:
                gap = gap._replace(kind="parameter", error="Invalid params (-32602): there is no such parameter")
            yield gap

    def _subtypes(self, sent: str, read: str, path: str, end: End) -> Iterator[Gap]:
        if (sent, read, end) not in self._seen:
            self._seen.add((sent, read, end))
            yield from self.record(self._sent[sent], self._read[read], path, end)

    # By name: msgpack, json -------------------------------------------------------------------------

    def _by_key(self, sent: Sequence[Type], read: Sequence[Type], path: str, end: End) -> Iterator[Gap]:
        theirs = {_key(field): field for field in read}
        names = {field["name"]: field for field in read}
        ours = {_key(field) for field in sent}
        swapped = exchanged(*({_key(field): field["name"] for field in each} for each in (sent, read)))
        for field in sent:
            other = theirs.get(_key(field))
            where = f"{path}.{self._name(field, other or field)}"
            if other is not None:
                if field["name"] in swapped:
                    where = f"{path}.{field['name']}"
                    yield Gap("key", where, _key(field), _key(names[field["name"]]), _SILENT)
                elif other["name"] != field["name"]:
                    yield Gap("renamed", where, field["name"], other["name"])
                yield from self._keyed(field, other, where)
                continue
            other = names.get(field["name"])
            if other is not None and _key(other) not in ours:
                yield Gap("key", where, _key(field), _key(other), f"{_MISSING}, or {_SILENT}")
            else:
                yield Gap("extra", where, shown(field), "none")
        kept = {field["name"] for field in sent if _key(field) not in theirs}
        for field in read:
            if _key(field) not in ours and field["name"] not in kept:
                where, error = f"{path}.{field['name']}", "" if "default" in field else _MISSING
                yield Gap("missing" if error else "lacking", where, "none", shown(field), error)

    def _keyed(self, field: Type, other: Type, path: str) -> Iterator[Gap]:
        may_be_none = field["type"] in ("any", "optional")
        left_out = "default" in field and field["default"] is None and may_be_none
        yield from self._defaults(field, other, path, left_out=left_out)
        if left_out and field["type"] == "optional" and other["type"] != "optional":  # None is never sent
            field = field["of"]
        yield from self.types.value(field, other, path)

    def _defaults(self, field: Type, other: Type, path: str, *, left_out: bool) -> Iterator[Gap]:
        """Yield gaps of what the receiver takes a field for that is ``left_out`` where it is None."""
        if left_out and "default" not in other:
            if not (self._bolt and _absent_is_none(other)):
                yield Gap("none", path, shown(field), shown(other), f"{_MISSING} and has no default")
        elif left_out and other["default"] is not None:
            yield Gap("default", path, "null", shown(other["default"]), f"{_SILENT}: None as the default")
        elif field.get("default", _MISSING) != other.get("default", _MISSING):
            yield Gap("default", path, _default(field), _default(other))

    def _name(self, field: Type, other: Type) -> str:
        return str((other if self._forward else field)["name"])

    # By place and number: bolt ----------------------------------------------------------------------

    def _positional(self, sent: Sequence[Type], read: Sequence[Type], path: str, end: End) -> Iterator[Gap]:
        ours, theirs = _places(sent), _places(read)
        moved = {field["name"] for field in ours} & {field["name"] for field in read if "tlv" in field}
        moved |= {field["name"] for field in theirs} & {field["name"] for field in sent if "tlv" in field}
        if moved:
            for name in sorted(moved):
                one, other = (_named(name, fields) for fields in (sent, read))
                yield Gap("moved", f"{path}.{name}", _place(one), _place(other), "MalformedMessage, or another value")
            return
        if len(ours) != len(theirs):
            yield from self._other_places(ours, theirs, path)
            return
        names = [[field["name"] for field in fields] for fields in (ours, theirs)]
        order = names[0] != names[1] and bool(
            set(names[0]) & {new for old, new in zip(*names, strict=True) if old != new}
        )
        if order:
            error = f"MalformedMessage, or {_SILENT}"
            yield Gap("order", path, ", ".join(names[0]), ", ".join(names[1]), error)
            return
        for number, (field, other) in enumerate(zip(ours, theirs, strict=True)):
            where = f"{path}.{self._name(field, other)}"
            if field["name"] != other["name"]:
                yield Gap("renamed", where, field["name"], other["name"])
            if field.get("default", _MISSING) != other.get("default", _MISSING):
                yield Gap("default", where, _default(field), _default(other))  # it is always there
            field, other = _by_place(field, ours), _by_place(other, theirs)
            is_last = number == len(ours) - 1 and end != "closed"
            yield from self.types.value(field, other, where, end="flat" if is_last else "closed")
        if end != "flat":
            yield from self._records(self._stream(sent, self._sent), self._stream(read, self._read), path, end)

    def _other_places(self, ours: Sequence[Type], theirs: Sequence[Type], path: str) -> Iterator[Gap]:
        error = f"Truncated, MalformedMessage, or {_SILENT}"
        more, fewer = (ours, theirs) if len(ours) > len(theirs) else (theirs, ours)
        names = {field["name"] for field in fewer}
        for field in [field for field in more if field["name"] not in names][: len(more) - len(fewer)] or more[-1:]:
            kind, there = (
                ("place", (shown(field), "none")) if more is ours else ("place lacking", ("none", shown(field)))
            )
            yield Gap(kind, f"{path}.{field['name']}", *there, error)

    def _stream(self, fields: Sequence[Type], subtypes: Mapping[str, Any]) -> dict[int, tuple[str, Type]]:
        """Return the TLV records at the end of a class, with their paths: also those of a subtype that stands there."""
        found = {field["tlv"]: (field["name"], field) for field in fields if "tlv" in field}
        places = _places(fields)
        if not found and places and places[-1]["type"] == "subtype":
            last, inner = places[-1]["name"], subtypes[places[-1]["class"]]["fields"]
            if inner is fields:
                return {}  # of a damaged file: a class without an end
            return {tlv: (f"{last}.{name}", field) for tlv, (name, field) in self._stream(inner, subtypes).items()}
        return found

    def _records(
        self, ours: dict[int, tuple[str, Type]], theirs: dict[int, tuple[str, Type]], path: str, end: End
    ) -> Iterator[Gap]:
        names = {name: tlv for tlv, (name, _) in theirs.items()}
        swapped = exchanged(*({tlv: name for tlv, (name, _) in each.items()} for each in (ours, theirs)))
        for tlv, (name, field) in sorted(ours.items()):
            where = f"{path}.{name}"
            if tlv in theirs and name in swapped:
                yield Gap("tlv", where, f"TLV {tlv}", f"TLV {names[name]}", _SILENT)
                yield from self._record_gaps(field, theirs[tlv][1], where)
                continue
            if tlv in theirs:
                if self._forward:
                    where = f"{path}.{theirs[tlv][0]}"
                yield from self._record(name, field, *theirs[tlv], where)
                continue
            if name in names and names[name] not in ours:
                error = f"UnknownRequiredRecord, or {_SILENT}"
                yield Gap("tlv", where, f"TLV {tlv}", f"TLV {names[name]}", error)
            elif tlv % 2 == 0:
                yield Gap("even", where, f"TLV {tlv}", "none", f"UnknownRequiredRecord: TLV record {tlv}")
            else:
                yield Gap("extra", where, f"TLV {tlv}, {shown(_record_kind(field))}", "none")
        if ours and not theirs and end == "closed":
            yield Gap("stream", path, "TLV records", "none", "TrailingBytes")
        kept = {name for tlv, (name, _) in ours.items() if tlv not in theirs}
        for tlv, (name, field) in sorted(theirs.items()):
            if tlv not in ours and name not in kept:
                error = (
                    ""
                    if "default" in field or _absent_is_none(field)
                    else f"MalformedMessage: TLV record {tlv} is missing"
                )
                there = f"TLV {tlv}, {shown(_record_kind(field))}"
                yield Gap("missing" if error else "lacking", f"{path}.{name}", "none", there, error)

    def _record(self, name: str, field: Type, other_name: str, other: Type, path: str) -> Iterator[Gap]:
        gaps = [*self._record_gaps(field, other, path)]
        if name != other_name:
            if broken := [gap for gap in gaps if gap.error]:
                tlv, words = field["tlv"], f"{broken[0].error}"
                yield Gap("reused", path, f"TLV {tlv}: {name}", f"TLV {tlv}: {other_name}", words)
                return
            yield Gap("renamed", path, name, other_name)
        yield from gaps

    def _record_gaps(self, field: Type, other: Type, path: str) -> Iterator[Gap]:
        yield from self._defaults(field, other, path, left_out=_none_is_absent(field))
        yield from self.types.value(_record_kind(field), _record_kind(other), path, alone=True)


def _key(field: Type) -> str:
    return field.get("key", field["name"])  # type: ignore[no-any-return]


def _default(field: Type) -> str:
    return shown(field["default"]) if "default" in field else "none"


def _places(fields: Sequence[Type]) -> list[Type]:
    return [field for field in fields if "tlv" not in field]


def _named(name: str, fields: Sequence[Type]) -> Type:
    return next(field for field in fields if field["name"] == name)


def _place(field: Type) -> str:
    return f"TLV {field['tlv']}" if "tlv" in field else "a field"


def _by_place(field: Type, fields: Sequence[Type]) -> Type:
    """Return a field whose count is another one with the place of that in place of its name."""
    count = field.get("count")
    if not isinstance(count, Mapping) or "field" not in count:
        return field
    return {**field, "count": {"place": [one["name"] for one in fields].index(count["field"])}}


def _absent_is_none(field: Type) -> bool:
    return field["type"] == "optional" and "flag" not in field and "default" not in field


def _none_is_absent(field: Type) -> bool:
    return field["type"] == "optional" and "flag" not in field and field.get("default") is None


def _record_kind(field: Type) -> Type:
    return field["of"] if field["type"] == "optional" and "flag" not in field else field
