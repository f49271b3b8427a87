"""What an application tells of itself at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oddwire.records import FrozenRecord

__all__ = ["Metrics"]

_Row = Mapping[str, Any]


class Metrics(FrozenRecord, kw_only=True):
    """A snapshot of a running application, of `Application.metrics`: who it is, what it holds, what it has counted.

    Each row is a mapping of JSON types; docs/insight.md says what each counts. ``since`` is the Unix time from which on
    messages and handlers are counted, None if they are not; ``time`` that of the snapshot; ``uptime`` is in seconds.
    """

    program: str
    kind: str
    pid: int
    oddwire: str
    node_id: str | None
    time: float
    uptime: float
    since: float | None
    extensions: Sequence[_Row]
    messages: Sequence[_Row]
    """By ``extension``, ``type``, ``message``, ``direction`` and ``outcome``: ``count`` and payload ``bytes``."""
    handlers: Sequence[_Row]
    """By ``extension``, ``type``, ``message`` and ``outcome``: ``count``, ``seconds``, and ``buckets``."""
    errors: Sequence[_Row]
    """By ``extension`` and ``where``: ``count``."""
    peers: Sequence[_Row]
    """The connected peers, at most 1000."""
    peers_total: int
    queues: Mapping[str, int]
    """``messages`` and ``bytes`` that wait for handlers, and ``tasks`` that run."""
    outbox: Sequence[_Row]
    """By ``extension``: reliable messages ``waiting``, and their ``bytes``."""
    limits: Mapping[str, Mapping[str, int]]
    """By name of a limit, how often what came of it: ``refused``, ``dropped``, ``throttled``."""

    def to_json(self) -> dict[str, Any]:
        """Return the snapshot in JSON types: what ``oddwire-stats`` answers."""
        return {name: getattr(self, name) for name in self._fields}

    def received(self, outcome: str | None = None, **wanted: Any) -> int:
        """Return the number of received messages, of one ``outcome`` or of all; see `sent`."""
        return self._sum("received", outcome, wanted)

    def sent(self, outcome: str | None = None, **wanted: Any) -> int:
        """Return the number of sent messages, of one ``outcome`` or of all.

        ``wanted`` are values that rows should have: ``sent(extension="chat", type=0x8C11)``.
        """
        return self._sum("sent", outcome, wanted)

    def _sum(self, direction: str, outcome: str | None, wanted: Mapping[str, Any]) -> int:
        wanted = {"direction": direction, **({} if outcome is None else {"outcome": outcome}), **wanted}
        return sum(row["count"] for row in self.messages if all(row[name] == value for name, value in wanted.items()))
