"""What msgpack says where."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import msgpack

from oddwire.codecs.msgpack.scan import Item, ends_of, read_header
from oddwire.decoding.spans import NOTHING, Role, Trail, is_composed, stripped
from oddwire.errors import MalformedMessage, TrailingBytes
from oddwire.schema.class_records import Record
from oddwire.schema.kinds import Anything, Array, Kind, Nested, Table
from oddwire.schema.spelling import show_value
from oddwire.schema.tree import MSGPACK, load
from oddwire.schema.tree_values import path_of_key
from oddwire.schema.union_kinds import Either, Tagged

__all__ = ["note_msgpack"]

_DEEPEST: Final = 100
"""Levels of maps and arrays that are taken apart; what is deeper is noted as one span."""


def note_msgpack(kind: Kind, payload: bytes, trail: Trail, at: int) -> None:
    """Note what the msgpack in a payload from ``at`` on says, which should be a value of ``kind``.

    Raises `DecodeError` where it is no msgpack, with all noted that was read before. Values that are not of their kind
    are noted as they are.
    """
    end = _Walker(payload, trail, at).value(kind, at, "$", 0)
    if end != len(payload):
        raise TrailingBytes(f"{len(payload) - end} bytes follow the value", offset=end)


class _Walker:
    """Goes through one payload."""

    def __init__(self, payload: bytes, trail: Trail, at: int) -> None:
        self._payload = payload
        self._trail = trail
        self._ends, self._fault = ends_of(payload, at)

    def value(self, kind: Kind | None, at: int, path: str, depth: int, role: Role = "value") -> int:
        """Note a value, and return the offset after it."""
        item = read_header(self._payload, at, len(self._payload))
        inner = None if kind is None else self._meant(stripped(kind), item)
        label = item.form if inner is None or isinstance(inner, Anything) else inner.label
        if depth == _DEEPEST and item.form in ("array", "map"):
            stop = self._skip(at)
            self._trail.leaf(role, path, at, stop, label, NOTHING, "…")
            return stop
        if item.form not in ("array", "map") or not _opens(inner):
            stop = self._skip(at)
            plain = _plain(self._payload[at:stop])
            value, shown = _loaded(kind, plain, path)
            self._trail.leaf(role, path, at, stop, label, value, shown)
            return stop
        self._trail.open(path, at, label, "group" if role == "value" else role)
        text = f"{item.form} of {item.size}"
        self._trail.leaf("syntax" if role == "value" else role, path, at, item.start, text)
        walk = self._array if item.form == "array" else self._map
        stop = walk(inner, item, path, depth + 1, role)
        self._trail.close(stop)
        return stop

    def _meant(self, kind: Kind, item: Item) -> Kind:
        """Return the option of a union that a value is of."""
        if isinstance(kind, Either) and item.form in ("array", "map"):
            return stripped(kind.in_msgpack.get(list if item.form == "array" else dict, kind))
        return kind

    def _array(self, kind: Kind | None, item: Item, path: str, depth: int, role: Role) -> int:
        at = item.start
        element = kind.element if isinstance(kind, Array) else None
        for index in range(item.size):
            at = self.value(element, at, f"{path}[{index}]", depth, role)
        return at

    def _map(self, kind: Kind | None, item: Item, path: str, depth: int, role: Role) -> int:
        at = item.start
        record = self._record_of(kind, item)
        tag = kind.key if isinstance(kind, Tagged) else None
        last = self._last_of_each(item)
        for _ in range(item.size):
            key_end = self._skip(at)
            key = _plain(self._payload[at:key_end])
            field = record.field_of_key(key) if record is not None and isinstance(key, str) else None
            where = path_of_key(path, key) if field is None else f"{path}.{field.name}"
            inner = kind.value if isinstance(kind, Table) else None if field is None else field.kind
            mine: Role = role
            if isinstance(key, str) and last.get(key, at) != at:
                mine = "ignored"  # of a key that comes twice, the last one counts
            elif tag is not None and key == tag and field is None:
                where, mine = f"{path}.{tag}", "tag"
            elif record is not None and field is None:
                mine = "ignored"
            self._trail.leaf("syntax", where, at, key_end, f"key {show_value(key)}")
            at = self.value(inner, key_end, where, depth, mine)
        return at

    def _record_of(self, kind: Kind | None, item: Item) -> Record | None:
        """Return the record that a map is of, in a union by its tag; None if it is of none."""
        if isinstance(kind, Nested):
            return kind.record
        if not isinstance(kind, Tagged):
            return None
        place = self._last_of_each(item).get(kind.key)
        if place is None:
            return None
        at = self._skip(place)
        try:
            tag = _plain(self._payload[at : self._skip(at)])
        except MalformedMessage:
            return None
        variant = kind.by_tag.get(tag) if type(tag) in (int, str) else None
        return None if variant is None else variant.record

    def _last_of_each(self, item: Item) -> dict[Any, int]:
        """Return the offset of each key of a map, the last of one that comes twice, up to where it is malformed."""
        found: dict[Any, int] = {}
        at = item.start
        with contextlib.suppress(MalformedMessage):
            for _ in range(item.size):
                stop = self._skip(at)
                key = _plain(self._payload[at:stop])
                if isinstance(key, str):
                    found[key] = at
                at = self._skip(stop)
        return found

    def _skip(self, at: int) -> int:
        """Return the offset after a value. Raises `MalformedMessage` if it is not well-formed."""
        if at in self._ends:
            return self._ends[at]
        item = read_header(self._payload, at, len(self._payload))
        stop = item.start + item.size
        fault = self._fault
        if fault is not None and (item.form in ("array", "map") or at <= (fault.offset or 0) < stop):
            raise fault
        return stop


def _opens(kind: Kind | None) -> bool:
    """Return whether a map or array is taken apart: one of a scalar is one value."""
    return kind is None or isinstance(kind, Anything) or is_composed(kind)


def _plain(data: bytes) -> Any:
    """Return what is unpacked of a value; `NOTHING` if it is not valid."""
    try:
        return msgpack.unpackb(data, strict_map_key=False)
    except (ValueError, TypeError):  # TypeError of keys that are maps or arrays
        return NOTHING


def _loaded(kind: Kind | None, plain: Any, path: str) -> tuple[Any, str]:
    """Return the value that a plain one is to a field, and its text; of one that is not of its kind, itself."""
    if plain is NOTHING:
        return NOTHING, ""
    if kind is None:
        return plain, show_value(plain)
    try:
        value = load(kind, plain, MSGPACK, path)
    except MalformedMessage:
        return NOTHING, show_value(plain)
    return value, show_value(value, kind)
