"""The quotas of the outbox: how many messages and bytes may wait, per peer and extension and in total, how long."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Protocol

from oddwire.durations import duration
from oddwire.errors import QuotaExceeded
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Allowance, Counters, Limits
from oddwire.session.reliable.outbox_state import Load
from oddwire.session.reliable.receipt import Failure

__all__ = ["Loaded", "OutboxQuotas"]

_OVERHEAD = 256  # bytes counted per message in addition to its payload
_FEW = 1 << 20  # max bytes waiting for a peer that may use the reserved last quarter of the total


class Loaded(Protocol):
    """A peer for whom messages wait: how many, and of all peers together."""

    node_id: NodeId
    load: Load
    total: Load

    def load_of(self, extension: str) -> Load:
        """Return the load of an extension."""
        raise NotImplementedError


class OutboxQuotas:
    """Checks quotas: ``limits`` for each peer and all peers, ``allowances``, by extension, for each peer within them.

    It counts how often each took effect, in ``counters`` and in those of the allowances. ``what`` are the messages that
    are counted for a peer, and ``ended`` what they are not yet, for errors.
    """

    def __init__(
        self,
        limits: Limits,
        allowances: Mapping[str, Allowance],
        what: str = "reliable messages",
        ended: str = "acknowledged",
    ) -> None:
        self.counters = Counters()
        self._what = what
        self._ended = ended
        self._limits = limits
        self._allowances = allowances

    def admit(self, peer: Loaded, extension: str, size: int) -> None:
        """Check whether one more message may wait for a peer, in constant time. Raises `QuotaExceeded`, counted."""
        load, limits = peer.load, self._limits
        if load.messages >= limits.outbox_messages or load.bytes + size > limits.outbox_bytes:
            limit, text = self._excess(peer.node_id, load, size, limits.outbox_messages, limits.outbox_bytes)
            self.counters.exceeded[limit] += 1
            raise QuotaExceeded(text, limit=limit)
        total, room = _weight(peer.total), limits.total_outbox_bytes
        if _weight(load) > _FEW:
            room -= room // 4
        if total + size + _OVERHEAD > room:
            limit = "total_outbox_bytes"
            self.counters.exceeded[limit] += 1
            text = f"messages to all peers, not acknowledged or settled yet, take {total} bytes"
            raise QuotaExceeded(f"{text}; at most {room} are kept", limit=limit)
        allowance = self._allowances.get(extension)
        if allowance is None or not allowance.has("outbox_messages", "outbox_bytes"):
            return
        messages, most = allowance.most("outbox_messages"), allowance.most("outbox_bytes")
        load = peer.load_of(extension)
        if load.messages >= messages or load.bytes + size > most:
            raise allowance.exceeded(*self._excess(peer.node_id, load, size, messages, most))

    def least(self, limit: str, extension: str) -> float:
        """Return the limit for an extension: the lower of the application's and its own."""
        most: float = getattr(self._limits, limit)
        allowance = self._allowances.get(extension)
        return most if allowance is None else min(most, allowance.most(limit))

    def too_old(self, extension: str, seconds: float, count: int) -> Failure:
        """Count messages of an extension that have expired, and return what their receipts raise."""
        limit, allowance = "outbox_seconds", self._allowances.get(extension)
        text = f"the message was not acknowledged within {duration(seconds)} and was dropped"
        if allowance is not None and allowance.is_stricter(limit, self._limits):
            allowance.counters.exceeded[limit] += count
            return partial(allowance.error, limit, text)
        self.counters.exceeded[limit] += count
        return partial(QuotaExceeded, text, limit=limit)

    def _excess(self, node_id: NodeId, load: Load, size: int, messages: float, most: float) -> tuple[str, str]:
        """Return the name of the limit that one more message would exceed, and the text of the error."""
        if load.messages >= messages:
            text = f"{load.messages} {self._what} to {node_id} are not {self._ended} yet; no more are kept"
            return "outbox_messages", text
        text = f"{self._what} to {node_id} not {self._ended} yet would be {load.bytes + size} bytes; "
        return "outbox_bytes", f"{text}at most {most} are kept"


def _weight(load: Load) -> int:
    return load.bytes + load.messages * _OVERHEAD
