"""What differs between the messages that were sent in a recording, and those sent in its replay."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from oddwire.app.declarations.jsonable import to_plain
from oddwire.codecs import Registry
from oddwire.errors import DecodeError
from oddwire.printable import printable
from oddwire.records import FrozenRecord
from oddwire.schema.spelling import show_value

__all__ = ["Ignored", "Outgoing", "differences"]

_VALUE = 120  # characters of a value


class Outgoing(FrozenRecord, kw_only=True):
    """A message that was sent.

    ``line`` is that of the recording, 0 in a replay; ``fields`` is None for an unknown type.
    """

    line: int
    payload: bytes
    name: str
    fields: Any

    @classmethod
    def of(cls, payload: bytes, registry: Registry, ignored: Ignored, line: int = 0) -> Outgoing | None:
        """Return a payload's message without what is ignored; None if all of it is."""
        type_id = int.from_bytes(payload[:2], "big")
        names = [name for name, schema in registry.by_name.items() if schema.type_id == type_id]
        name = names[0] if names else f"{type_id:#06x}"
        if ignored.whole(name) or ignored.whole(f"{type_id:#06x}"):
            return None
        fields = None
        if names:
            try:
                fields = ignored.without(name, to_plain(registry.decode(payload), show_value))
            except DecodeError as error:
                fields = {"(malformed)": str(error), "(payload)": payload.hex()}
        return cls(line=line, payload=payload, name=name, fields=fields)

    @property
    def key(self) -> str:
        """The same for messages that do not differ."""
        return f"{self.name} {self.payload.hex() if self.fields is None else json.dumps(self.fields, sort_keys=True)}"

    def __str__(self) -> str:
        told = self.payload[2:].hex() if self.fields is None else json.dumps(self.fields, ensure_ascii=False)
        return printable(f"{self.name} {told[: 2 * _VALUE]}{'...' if len(told) > 2 * _VALUE else ''}")


class Ignored:
    """Names of what is not compared: ``chat.Heard``, ``0x8c13``, a field ``number``, or ``chat.Say.number``."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)
        self.used: set[str] = set()

    def whole(self, name: str) -> bool:
        """Return whether messages of this name are ignored."""
        return self._seen(name)

    def without(self, name: str, fields: Any) -> Any:
        """Return a message's fields without the ignored ones, by path: ``order.id`` is in the field ``order``."""
        return self._walk(name, "", fields) if self._names else fields

    @property
    def unused(self) -> list[str]:
        """The names that no message or field has had."""
        return sorted(self._names - self.used)

    def _walk(self, name: str, path: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            kept = {}
            for key, inner in value.items():
                at = f"{path}.{key}" if path else str(key)
                if not (self._seen(at) | self._seen(f"{name}.{at}")):
                    kept[key] = self._walk(name, at, inner)
            return kept
        if isinstance(value, list):
            return [self._walk(name, path, inner) for inner in value]
        return value

    def _seen(self, name: str) -> bool:
        if name in self._names:
            self.used.add(name)
            return True
        return False


def differences(recorded: Sequence[Outgoing], now: Sequence[Outgoing], *, any_order: bool = False) -> Iterator[str]:
    """Yield a text for each difference between what was sent to one peer, and what is sent now."""
    if any_order:
        recorded, now = _unpaired(recorded, now)
    keys = [message.key for message in recorded], [message.key for message in now]
    for tag, left, right, first, last in SequenceMatcher(None, *keys, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        yield from _block(list(recorded[left:right]), list(now[first:last]))


def _unpaired(recorded: Sequence[Outgoing], now: Sequence[Outgoing]) -> tuple[list[Outgoing], list[Outgoing]]:
    """Return those of both that the other side does not have, in any place."""
    left, rest = [], list(now)
    for message in recorded:
        twin = next((each for each in rest if each.key == message.key), None)
        if twin is None:
            left.append(message)
        else:
            rest.remove(twin)
    return left, rest


def _block(recorded: list[Outgoing], now: list[Outgoing]) -> Iterator[str]:
    while recorded and now:
        message = recorded.pop(0)
        other = next((each for each in now if each.name == message.name), None)
        if other is None:
            yield f"line {message.line}: {message} is not sent"
            continue
        for extra in now[: now.index(other)]:
            yield f"before line {message.line}: {extra} is sent, and was not"
        del now[: now.index(other) + 1]
        found = [*_fields("", message.fields, other.fields)]
        if message.fields is None:
            found = [f"{message.payload.hex()[: 2 * _VALUE]}, now {other.payload.hex()[: 2 * _VALUE]}"]
        yield from (f"line {message.line}: {message.name}: {each}" for each in found)
    yield from (f"line {message.line}: {message} is not sent" for message in recorded)
    yield from (f"{extra} is sent, and was not" for extra in now)


def _fields(path: str, left: Any, right: Any) -> Iterator[str]:
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in {**left, **right}:
            yield from _fields(f"{path}.{key}" if path else str(key), left.get(key), right.get(key))
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for number, pair in enumerate(zip(left, right, strict=True)):
            yield from _fields(f"{path}[{number}]", *pair)
    elif left != right:
        yield printable(f"{path or 'value'}: {_shown(left)}, now {_shown(right)}")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE else f"{text[:_VALUE]}..."
