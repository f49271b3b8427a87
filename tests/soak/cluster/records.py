"""What the witnesses of a run have written down, read."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Handling:
    """One call of a handler."""

    peer: str
    kind: str
    """``order`` or ``tick``."""
    conn: int
    """Which of the peer's connections, by the peer's own count; 0 for orders."""
    number: int
    partition: int
    term: int
    pid: int
    token: str
    start: int
    """Nanoseconds of CLOCK_MONOTONIC."""
    end: int | None = None
    """The same; when its process ended, if the handler did not. None if neither has."""


@dataclass(frozen=True)
class Life:
    """One application: a partition owned for a term by a process."""

    pid: int
    partition: int
    term: int
    at: int


@dataclass
class PlainConn:
    """What a plain peer knows of one of its connections."""

    sent: int = 0
    """Its ticks were numbered from 1 to this."""
    lives: bool = True
    """It lasted to the end of the run."""


@dataclass
class ReliablePeer:
    """What a peer that speaks the session protocol knows at the end of a run."""

    answered: bool = True
    """Whether its orders are answered, reliably, too."""
    sent: int = 0
    """Its orders were numbered from 0 up to this, exclusive."""
    settled: list[int] = field(default_factory=list)
    """Orders whose receipts settled, in that order."""
    failed: list[str] = field(default_factory=list)
    """Receipts that settled by a failure, as text."""
    done: list[tuple[int, str]] = field(default_factory=list)
    """Number and token of each answer, in the order in which they took effect here."""
    counter: int = 0
    """What the worker's store says."""
    stored: list[tuple[int, str]] = field(default_factory=list)
    """Number and token of each order in the worker's store, in the order of storing."""


@dataclass
class Run:
    """All that is known of a run when everything has come to rest."""

    handlings: Sequence[Handling] = ()
    """In the order in which they began."""
    lives: Sequence[Life] = ()
    reliable: dict[str, ReliablePeer] = field(default_factory=dict)
    plain: dict[str, dict[int, PlainConn]] = field(default_factory=dict)
    tocks: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Tokens of the answers that plain peers got."""


def parse(lines: Iterable[str], deaths: dict[int, int]) -> tuple[list[Handling], list[Life]]:
    """Return the handlings and lives of a file; ``deaths`` are the times at which processes had ended.

    Raises:
        ValueError: a line is none of a witness.
    """
    started: dict[str, Handling] = {}
    lives = []
    for line in lines:
        record: dict[str, Any] = json.loads(line)
        match record.pop("what"):
            case "start":
                handling = Handling(start=record.pop("at"), **record)
                if handling.token in started:
                    raise ValueError(f"two handlings have the token {handling.token}")
                started[handling.token] = handling
            case "end":
                token = record["token"]
                started[token] = replace(started[token], end=record["at"])
            case "began":
                lives.append(Life(**record))
            case other:
                raise ValueError(f"a witness writes no {other!r}")
    ended = [each if each.end is not None else replace(each, end=deaths.get(each.pid)) for each in started.values()]
    return ended, lives
