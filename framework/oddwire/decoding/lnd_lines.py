"""`LndReader`: the messages in LND's log: a line at level debug names one, a dump at level trace has its bytes."""

from __future__ import annotations

import re
from typing import Final, Literal

__all__ = ["LndReader"]

_Direction = Literal["in", "out", ""]
_Told = tuple[str, _Direction, str, bytes | None, int | None, str]

_START = r"(?:(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) )?\[[A-Z]{3}\] "
_HEAD: Final = re.compile(_START + r"PEER(?: \S+:\d+)?: Peer\((?P<peer>0[23][0-9a-f]{64})\)[: ]*(?P<text>.*)$")
_RECORD: Final = re.compile(_START + r"\w{4}\b")
_SUMMARY: Final = re.compile(r"(?P<way>Received|Sending) (?P<name>\w+|<unknown>)(?:\((?P<said>.*)\))? (?:from|to) ")
_DUMP: Final = re.compile(r"(?P<way>readMessage from|writeMessage to) peer: \(\*lnwire\.(?P<name>\w+)\)")
_DATA: Final = re.compile(r" Data: \(\[\]uint8\) (?:\(len=(?P<size>[0-9]{1,8})(?![0-9])|(?:\(\) )?\{|<nil>)")
_BYTES: Final = re.compile(r"\s+[0-9a-f]{8}  (?P<hex>(?:[0-9a-f]{2} {1,2}){1,16})\s*\|")
_TYPE: Final = re.compile(r"type=([0-9]{1,5})(?![0-9])")
_CUSTOM: Final = "Custom"
_NAMES: Final = {
    "announce_signatures": "announcement_signatures",
    "commit_sig": "commitment_signed",
    "gossip_timestamp_range": "gossip_timestamp_filter",
    "node_announcement1": "node_announcement",
    "query_short_chan_ids": "query_short_channel_ids",
    "reply_short_chan_ids_end": "reply_short_channel_ids_end",
}
"""What LND calls otherwise than the BOLTs do (lnwire/message.go, MessageType.String)."""


class _Dump:
    """A custom message whose bytes come in the next lines."""

    __slots__ = ("data", "peer", "size", "time", "type_id", "way")

    def __init__(self, time: str, way: _Direction, peer: str, type_id: int | None) -> None:
        self.time = time
        self.way: _Direction = way
        self.peer = peer
        self.type_id = type_id
        self.data = bytearray()
        self.size: int | None = None

    def read(self, line: str) -> None:
        found = _BYTES.match(line)
        if found is not None:
            self.data += bytes.fromhex(found["hex"])
            return
        found = _DATA.match(line)
        if found is not None:
            self.size = int(found["size"] or 0)

    def told(self) -> list[_Told]:
        if self.type_id is None:
            return [(self.time, self.way, self.peer, None, None, "custom")]
        if len(self.data) != self.size:  # lines of it are missing
            return [(self.time, self.way, self.peer, None, self.type_id, "")]
        return [(self.time, self.way, self.peer, self.type_id.to_bytes(2, "big") + self.data, self.type_id, "")]


class LndReader:
    """Reads one log."""

    def __init__(self) -> None:
        self._dump: _Dump | None = None
        self._types: dict[tuple[str, _Direction], int] = {}
        self._waiting: _Told | None = None
        self._traced = False

    def read(self, line: str) -> list[_Told] | None:
        """Return the messages that a line completes; None for a line that is none of LND's about messages."""
        if self._dump is not None and not _RECORD.match(line):
            self._dump.read(line)
            return []
        told = self._dump.told() if self._dump is not None else []
        self._dump = None
        head = _HEAD.match(line) if "] PEER" in line else None
        if head is None:
            told += self._without_bytes()
            return told or None
        dump = _DUMP.match(head["text"])
        if dump is not None:
            self._traced = True
            self._begin(head, dump)
            return told
        told += self._without_bytes()
        summary = _SUMMARY.match(head["text"])
        if summary is not None:
            way: _Direction = "in" if summary["way"] == "Received" else "out"
            number = _TYPE.match(summary["said"] or "")
            type_id = int(number[1]) if number is not None and int(number[1]) < 1 << 16 else None
            name = "" if summary["name"] in ("custom", "<unknown>") else _snake(summary["name"])
            if type_id is not None and not name:
                self._types[head["peer"], way] = type_id
            self._waiting = (head["time"] or "", way, head["peer"], None, type_id, name)
        return told

    def end(self) -> list[_Told]:
        """Return what the last lines had begun."""
        told = self._dump.told() if self._dump is not None else []
        self._dump = None
        return told + self._without_bytes()

    def _begin(self, head: re.Match[str], dump: re.Match[str]) -> None:
        way: _Direction = "in" if dump["way"].startswith("read") else "out"
        if dump["name"] == _CUSTOM:
            self._waiting = None
            self._dump = _Dump(head["time"] or "", way, head["peer"], self._types.pop((head["peer"], way), None))

    def _without_bytes(self) -> list[_Told]:
        """Return a message that a line named, and no dump came after."""
        told, self._waiting = self._waiting, None
        if told is None or (self._traced and not told[5]):
            return []
        return [told]


def _snake(name: str) -> str:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().removeprefix("msg_")
    return _NAMES.get(snake, snake)
