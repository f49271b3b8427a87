"""`Watched`: one event of a program, as ``oddwire-watch`` answers it and as a recording has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from oddwire.printable import printable
from oddwire.records import FrozenRecord

__all__ = ["DIRECTIONS", "Watched"]

DIRECTIONS: Final = {"received": "in", "sent": "out"}
"""The events that are messages, and the words of filters for them."""
_LINE: Final = 400  # characters of the fields on one line
_MOST: Final = 0xFFFF  # type numbers have two bytes
_LARGEST: Final = 1 << 63  # JSON has numbers with which nothing can be computed
_NUMBER: Final = "n"  # the key of an event's number, which is the watch's own


class Watched(FrozenRecord, kw_only=True):
    """One event: a message, a connection, an error. ``data`` is the object it was made of, as of ``run --json``.

    ``time`` is seconds since 1970. ``type_id``, ``payload`` and ``size`` (bytes, of the whole payload) are those of
    messages; ``payload`` may be shorter than ``size``: a watch cuts large ones. ``number`` is 0 in recordings.
    """

    event: str
    time: float
    data: Mapping[str, Any]
    number: int = 0
    peer: str = ""
    name: str = ""
    type_id: int | None = None
    payload: bytes = b""
    size: int = 0
    latency: float | None = None
    fields: Any = None
    text: str = ""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Watched:
        """Return the event of an object. Raises `ValueError` naming the key that is missing or wrong."""
        event = _read(data, "event", str, required=True)
        payload = _payload(data)
        is_message = event in DIRECTIONS
        type_id = _read(data, "type", int)
        if type_id is None and is_message and len(payload) > 1:
            type_id = int.from_bytes(payload[:2], "big")
        if type_id is not None and not 0 <= type_id <= _MOST:
            raise ValueError(f"type should be from 0 to {_MOST}, not {type_id}")
        if is_message and type_id is None:
            raise ValueError(f"type should be there in an event {event!r}")
        own = data.get("message")
        text = own if isinstance(own, str) and not is_message else data.get("reason") or ""
        return cls(
            event=event,
            time=float(_read(data, "time", (int, float), required=True)),
            data={key: value for key, value in data.items() if key != _NUMBER},
            number=_read(data, _NUMBER, int) or 0,
            peer=_read(data, "peer", str) or "",
            name=_read(data, "schema", str) or "",
            type_id=type_id,
            payload=payload,
            size=_read(data, "size", int) or len(payload),
            latency=_read(data, "latency", (int, float)),
            fields=own if is_message else None,
            text=str(text),
        )

    @property
    def is_message(self) -> bool:
        """Whether it is a message, received or sent."""
        return self.event in DIRECTIONS

    @property
    def is_cut(self) -> bool:
        """Whether the payload is not all there."""
        return self.size > len(self.payload)

    @property
    def title(self) -> str:
        """The message's dotted name, or its number: ``chat.Say``, ``0x8c11``; of other events their kind."""
        if self.type_id is None:
            return printable(self.event)
        return printable(self.name) if self.name else f"{self.type_id:#06x}"

    @property
    def line(self) -> str:
        """The fields, or what else there is to say, on one line of at most some 400 characters, `printable`."""
        if isinstance(self.fields, Mapping):
            text = " ".join(f"{name}={_short(value)}" for name, value in self.fields.items())
        elif self.fields is not None:
            text = _short(self.fields)
        elif self.is_message:
            text = self.payload[2:34].hex() + ("..." if self.size > 34 else "")
        else:
            text = self.text or str(self.data.get("address") or self.data.get("uri") or "")
        if self.is_message and self.text:
            text = f"{text}  ({self.text})"
        return printable(text if len(text) <= _LINE else f"{text[:_LINE]}...")


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value if value and value.isalnum() else repr(value)
    return json.dumps(value, ensure_ascii=False)


def _payload(data: Mapping[str, Any]) -> bytes:
    digits = _read(data, "payload", str) or ""
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise ValueError(f"payload should be hex, not {printable(digits[:40])!r}") from None


def _read(data: Mapping[str, Any], key: str, kind: Any, *, required: bool = False) -> Any:
    value = data.get(key)
    if value is None and not required:
        return None
    if isinstance(value, bool) or not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = "a text" if str in kinds else "a whole number" if float not in kinds else "a number"
        found = "missing" if value is None else f"{value!r:.60}"
        raise ValueError(f"{key} should be {wanted}, but is {printable(found)}")
    if isinstance(value, int | float) and not abs(value) <= _LARGEST:
        raise ValueError(f"{key} should be a number up to {_LARGEST}")
    return value
