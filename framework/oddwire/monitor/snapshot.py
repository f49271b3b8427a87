"""Answers of ``oddwire-stats`` and ``node-stats``, read into tables. Nothing in them is taken on trust."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from oddwire.printable import printable
from oddwire.records import FrozenRecord, replace

__all__ = ["PeerLine", "Program", "Snapshot", "TypeLine", "read_snapshot", "short_peer"]

_WELL: Final = ("", "ok", "awaited", "pending")
"""Outcomes of messages with which nothing is wrong."""
_MOST: Final = 1 << 63  # JSON has numbers with which nothing can be computed


class Program(FrozenRecord, kw_only=True):
    """The program that is watched. ``uptime`` is in seconds."""

    name: str = ""
    kind: str = ""
    pid: int = 0
    version: str = ""
    node_id: str = ""
    uptime: float = 0.0
    extensions: tuple[str, ...] = ()

    def is_another_run_of(self, other: Program) -> bool:
        """Return whether this is another process than ``other``, of which counters do not go on."""
        return (self.pid, self.node_id) != (other.pid, other.node_id) or self.uptime < other.uptime

    @property
    def title(self) -> str:
        """Name, kind and extensions: ``talk (run): chat 1.0, echo 1.0``."""
        extensions = ": " + ", ".join(self.extensions) if self.extensions else ""
        return f"{self.name or 'a program'} ({self.kind or 'unknown kind'}){extensions}"


class PeerLine(FrozenRecord, kw_only=True):
    """A row of the table of peers. ``connected`` is in seconds; ``rate_in`` and ``rate_out`` are messages a second."""

    id: str
    address: str = ""
    direction: str = ""
    connected: float = 0.0
    session: bool = False
    queue: int = 0
    queue_bytes: int = 0
    outbox: int = 0
    received: int = 0
    sent: int = 0
    rate_in: float = 0.0
    rate_out: float = 0.0

    def with_rates(self, rate_in: float, rate_out: float) -> PeerLine:
        """Return the row with rates."""
        return replace(self, rate_in=rate_in, rate_out=rate_out)


class TypeLine(FrozenRecord, kw_only=True):
    """A row of the table of types: counts and bytes since counting began, and how many were not ``ok``."""

    key: str
    type_id: int
    name: str
    extension: str = ""
    received: int = 0
    sent: int = 0
    size: int = 0
    troubled: int = 0
    rate_in: float = 0.0
    rate_out: float = 0.0
    series: tuple[float, ...] = ()

    def with_rates(self, rate_in: float, rate_out: float, series: Sequence[float]) -> TypeLine:
        """Return the row with rates, and the messages of each of the last 60 seconds."""
        return replace(self, rate_in=rate_in, rate_out=rate_out, series=tuple(series))


class Snapshot(FrozenRecord, kw_only=True):
    """One answer. ``counts`` and ``peer_counts`` are messages by type or peer, and direction; ``time`` since 1970."""

    program: Program
    time: float
    peers: tuple[PeerLine, ...]
    peers_total: int
    types: tuple[TypeLine, ...]
    counts: Mapping[tuple[str, str], int]
    peer_counts: Mapping[tuple[str, str], int]
    bottom: Mapping[str, Any]


def read_snapshot(answer: Mapping[str, Any], name_of: Callable[[int], str] = lambda _: "") -> Snapshot:
    """Return what an answer says; what is missing, or of another type than it should be, is as if it were 0.

    ``name_of`` names types for which the program has no name.
    """
    counts: dict[tuple[str, str], int] = {}
    types: dict[str, TypeLine] = {}
    for entry in _objects(answer.get("messages")):
        type_id, direction = _whole(entry, "type"), _text(entry, "direction")
        if isinstance(entry.get("type"), int):
            name = _text(entry, "message") or name_of(type_id) or _known_name(type_id) or f"{type_id:#06x}"
        else:
            name = "all other types"
        key = f"{type_id:05} {name}"
        count, size = _whole(entry, "count"), _whole(entry, "bytes")
        counts[key, direction] = counts.get((key, direction), 0) + count
        line = types.get(key) or TypeLine(key=key, type_id=type_id, name=name, extension=_text(entry, "extension"))
        types[key] = replace(
            line,
            received=line.received + (count if direction == "received" else 0),
            sent=line.sent + (count if direction == "sent" else 0),
            size=line.size + size,
            troubled=line.troubled + (0 if _text(entry, "outcome") in _WELL else count),
        )
    peers = tuple(_peer(entry) for entry in _objects(answer.get("peers")))
    return Snapshot(
        program=_program(answer),
        time=_number(answer, "time"),
        peers=tuple(sorted(peers, key=lambda peer: (peer.connected * -1, peer.id))),
        peers_total=_whole(answer, "peers_total") or len(peers),
        types=tuple(sorted(types.values(), key=lambda line: (line.type_id, line.name))),
        counts=counts,
        peer_counts={
            (peer.id, direction): count
            for peer in peers
            for direction, count in (("received", peer.received), ("sent", peer.sent))
        },
        bottom=_bottom(answer),
    )


def short_peer(node_id: str) -> str:
    """Return a node id shortened for people: ``02a1b2c3...9f3e``; other texts as they are, `printable`."""
    text = printable(node_id)
    return f"{text[:8]}...{text[-4:]}" if len(text) > 15 else text


def _program(answer: Mapping[str, Any]) -> Program:
    return Program(
        name=_text(answer, "program"),
        kind=_text(answer, "kind"),
        pid=_whole(answer, "pid"),
        version=_text(answer, "oddwire"),
        node_id=_text(answer, "node_id"),
        uptime=_number(answer, "uptime"),
        extensions=tuple(
            f"{_text(entry, 'name')} {_text(entry, 'version')}".strip() for entry in _objects(answer.get("extensions"))
        ),
    )


def _peer(entry: Mapping[str, Any]) -> PeerLine:
    return PeerLine(
        id=_text(entry, "id"),
        address=_text(entry, "address"),
        direction=_text(entry, "direction"),
        connected=_number(entry, "connected"),
        session=entry.get("session") is True,
        **{name: _whole(entry, name) for name in ("queue", "queue_bytes", "outbox", "received", "sent")},
    )


def _bottom(answer: Mapping[str, Any]) -> dict[str, Any]:
    queues = answer.get("queues")
    queues = queues if isinstance(queues, Mapping) else {}
    limits = answer.get("limits")
    reached = [
        f"{printable(str(name))} {printable(str(what))} {count}"
        for name, values in (limits.items() if isinstance(limits, Mapping) else ())
        for what, count in (values.items() if isinstance(values, Mapping) else ())
        if isinstance(count, int) and 0 < count <= _MOST
    ]
    return {
        "queue": _whole(queues, "messages"),
        "queue_bytes": _whole(queues, "bytes"),
        "tasks": _whole(queues, "tasks"),
        "outbox": sum(_whole(entry, "waiting") for entry in _objects(answer.get("outbox"))),
        "limits": tuple(reached),
        "errors": sum(_whole(entry, "count") for entry in _objects(answer.get("errors"))),
    }


@lru_cache(maxsize=512)
def _known_name(type_id: int) -> str:
    """Return the message that protocols in the wild have at a number, for programs that know no names."""
    from oddwire.known.listing import owners  # imports all known protocols

    return " or ".join(sorted({f"{claim.protocol} {claim.name}" for claim in owners(type_id)}))


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (entry for entry in value if isinstance(entry, Mapping))


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    return printable(value) if isinstance(value, str) else ""


def _whole(entry: Mapping[str, Any], key: str) -> int:
    value = entry.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST else 0


def _number(entry: Mapping[str, Any], key: str) -> float:
    value = entry.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return 0.0
    return float(value) if abs(value) <= _MOST else 0.0
