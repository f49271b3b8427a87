"""What JSON says where: positions in a text, as offsets in a payload."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from oddwire.decoding.spans import NOTHING, Role, Trail, is_composed, stripped
from oddwire.errors import MalformedMessage
from oddwire.schema.class_records import Record
from oddwire.schema.kinds import Anything, Array, Kind, Nested, Table
from oddwire.schema.spelling import show_value
from oddwire.schema.tree import JSON, load
from oddwire.schema.tree_values import MAX_DEPTH, path_of_key
from oddwire.schema.union_kinds import Either, Tagged

__all__ = ["note_json"]

_BLANKS: Final = re.compile(r"[ \t\r\n]*")
_PLAIN: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"|[-+.0-9a-zA-Z]+', re.DOTALL)
_LONGEST: Final = 4000
"""Characters of a number that is converted; the codec refuses much shorter ones."""


def note_json(kind: Kind, payload: bytes, trail: Trail, at: int) -> None:
    """Note what the JSON in a payload from ``at`` on says, which should be a value of ``kind``.

    Raises `DecodeError` where it is no JSON, with all noted that was read before. Values that are not of their kind are
    noted as they are.
    """
    fault = None
    try:
        text = payload[at:].decode()
    except UnicodeDecodeError as error:
        fault = MalformedMessage(f"is not UTF-8: {error.reason}", offset=at + error.start)
        text = payload[at : at + error.start].decode()
    walker = _Walker(text, trail, at)
    walker.whole(kind)
    if fault is not None:
        raise fault


class _Places:
    """Offsets of positions in a text; quick for one near the last."""

    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self._last, self._offset = 0, at
        self._ascii = text.isascii()

    def __call__(self, position: int) -> int:
        """Return the offset of a position."""
        if self._ascii:
            between = position - self._last
        elif position >= self._last:
            between = len(self._text[self._last : position].encode())
        else:
            between = -len(self._text[position : self._last].encode())
        self._last, self._offset = position, self._offset + between
        return self._offset


class _Walker:
    """Goes through one text."""

    def __init__(self, text: str, trail: Trail, at: int) -> None:
        self._text = text
        self._trail = trail
        self._offset = _Places(text, at)

    def whole(self, kind: Kind) -> None:
        """Note all of the text. Raises `MalformedMessage`."""
        at = self._syntax(0, "", "$", "value")
        at = self.value(kind, at, "$", 0, "value")
        at = self._syntax(at, "", "$", "value")
        if at != len(self._text):
            raise MalformedMessage("is not JSON: Extra data", offset=self._offset(at))

    def value(self, kind: Kind | None, at: int, path: str, depth: int, role: Role) -> int:
        """Note a value, and return the position after it. Raises `MalformedMessage`."""
        first = self._text[at : at + 1]
        inner = None if kind is None else self._meant(stripped(kind), first)
        label = inner.label if inner is not None and not isinstance(inner, Anything) else _FORMS.get(first, "")
        if first not in ("{", "["):
            stop, plain = self._scalar(at)
            value, shown = _loaded(kind, plain, path)
            start = self._offset(at)
            self._trail.leaf(role, path, start, self._offset(stop), label, value, shown)
            return stop
        if depth == MAX_DEPTH:
            raise MalformedMessage(f"nests more than {MAX_DEPTH} levels deep", path=path, offset=self._offset(at))
        opens = inner is None or isinstance(inner, Anything) or is_composed(inner)
        self._trail.open(path, self._offset(at), label, "group" if role == "value" and opens else role)
        stop = self._items(inner if opens else None, at, path, depth + 1, role)
        value, shown = NOTHING, ""
        if not opens:
            value, shown = _loaded(kind, json.loads(self._text[at:stop]), path)
        self._trail.close(self._offset(stop), value, shown)
        return stop

    def _meant(self, kind: Kind, first: str) -> Kind:
        """Return the option of a union that a value is of."""
        if isinstance(kind, Either) and first in ("{", "["):
            return stripped(kind.in_json.get(list if first == "[" else dict, kind))
        return kind

    def _items(self, kind: Kind | None, at: int, path: str, depth: int, role: Role) -> int:
        """Note what is in an object or array, brackets included; return the position after it."""
        opening = self._text[at]
        closing = "}" if opening == "{" else "]"
        record = self._record_of(kind, at)
        tag = kind.key if isinstance(kind, Tagged) else None
        at = self._syntax(at, opening, path, role)
        index = 0
        while self._text[at : at + 1] != closing:
            if index:
                at = self._syntax(at, ",", path, role)
            where, inner, mine = f"{path}[{index}]", kind.element if isinstance(kind, Array) else None, role
            if opening == "{":
                start = at
                at, key = self._key(at)
                field = record.field_of_key(key) if record is not None else None
                where = path_of_key(path, key) if field is None else f"{path}.{field.name}"
                inner = kind.value if isinstance(kind, Table) else None if field is None else field.kind
                if tag == key and field is None:
                    where, mine = f"{path}.{tag}", "tag"
                elif record is not None and field is None:
                    mine = "ignored"
                self._leaf(start, at, where, "value", f"key {show_value(key)}")
            at = self.value(inner, at, where, depth, mine)
            at = self._syntax(at, "", path, role)
            index += 1
        return self._syntax(at, closing, path, role, blanks=False)

    def _key(self, at: int) -> tuple[int, str]:
        """Return the position after a key and its colon, and the key."""
        if self._text[at : at + 1] != '"':
            raise MalformedMessage("is not JSON: a key in quotes should follow", offset=self._offset(at))
        stop, key = self._scalar(at)
        stop = self._blanks(stop)
        if self._text[stop : stop + 1] != ":":
            raise MalformedMessage("is not JSON: a colon should follow", offset=self._offset(stop))
        return self._blanks(stop + 1), key

    def _record_of(self, kind: Kind | None, at: int) -> Record | None:
        """Return the record that an object is of, in a union by its tag; None if it is of none."""
        if isinstance(kind, Nested):
            return kind.record
        if not isinstance(kind, Tagged):
            return None
        try:
            plain, _ = json.JSONDecoder().raw_decode(self._text, at)
            tag = plain.get(kind.key)
        except (ValueError, RecursionError, AttributeError):
            return None
        variant = kind.by_tag.get(tag) if type(tag) in (int, str) else None
        return None if variant is None else variant.record

    def _scalar(self, at: int) -> tuple[int, Any]:
        """Return the position after a text, number or constant, and what it is."""
        found = _PLAIN.match(self._text, at)
        if found is None or (len(found[0]) > _LONGEST and not found[0].startswith('"')):
            raise MalformedMessage("is not JSON: a value should follow", offset=self._offset(at))
        try:
            return found.end(), json.loads(found[0])
        except ValueError:
            raise MalformedMessage("is not JSON", offset=self._offset(at)) from None

    def _syntax(self, at: int, mark: str, path: str, role: Role, *, blanks: bool = True) -> int:
        """Note a bracket or comma, and the white space behind it; return the position after them."""
        if not self._text.startswith(mark, at):
            raise MalformedMessage(f"is not JSON: {mark} should follow", offset=self._offset(at))
        stop = at + len(mark)
        stop = self._blanks(stop) if blanks else stop
        if stop > at:
            self._leaf(at, stop, path, role, mark)
        return stop

    def _leaf(self, at: int, stop: int, path: str, role: Role, label: str) -> None:
        start = self._offset(at)
        self._trail.leaf("ignored" if role == "ignored" else "syntax", path, start, self._offset(stop), label)

    def _blanks(self, at: int) -> int:
        return _BLANKS.match(self._text, at).end()  # type: ignore[union-attr] # it matches nothing at all too


_FORMS: Final = {'"': "str", "{": "object", "[": "array", "t": "bool", "f": "bool", "n": "null"}


def _loaded(kind: Kind | None, plain: Any, path: str) -> tuple[Any, str]:
    """Return the value that a plain one is to a field, and its text; of one that is not of its kind, itself."""
    if kind is None:
        return plain, show_value(plain)
    try:
        value = load(kind, plain, JSON, path)
    except MalformedMessage:
        return NOTHING, show_value(plain)
    return value, show_value(value, kind)
