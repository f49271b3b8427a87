"""The limits and timeouts of a `Bolt8Transport`."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from oddwire.proto.serving import MAX_HANDSHAKES, MAX_LINGERING, MAX_WAITING
from oddwire.proto.sharing import WorkLimits

__all__ = ["Bolt8Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bolt8Limits(WorkLimits):
    """Limits and timeouts of a `Bolt8Transport`; times in seconds. See docs/limits.md.

    A *stranger* is a peer that dialed us and is not known: not in ``connect``, never dialed by us, and not accepted by
    ``known``. Raises `ValueError` naming an invalid limit.
    """

    max_peers: int = 4096
    """Max connected peers, except those that we dial, which always have a place."""
    max_strangers: int | None = None
    """Max strangers among them; by default seven eighths, and the rest is reserved for others."""
    idle_seconds: float = 60.0
    """Seconds without an application's message after which a stranger may lose its place to a new peer.

    It does only when there is no other place. Pings and pongs do not count.
    """
    max_handshakes: int = MAX_HANDSHAKES
    """Max callers in the middle of their handshakes, and connections beyond `max_peers` that have sent no init."""
    max_waiting: int = MAX_WAITING
    """Max callers accepted whose handshakes have not begun."""
    max_lingering: int = MAX_LINGERING
    """Max connections that we have closed and their peers have not, for up to five seconds."""
    handshake_timeout: float = 10.0
    """For callers; and for our own dials, look-up and TCP included, without ``connect_timeout``."""
    connect_timeout: float | None = None
    """For our own dials, and then for the peer's init. By default ``handshake_timeout`` and ``init_timeout``; by proxy
    min 120 s, as Tor takes long."""
    init_timeout: float = 30.0
    ping_after: float = 60.0
    ping_patience: float = 30.0
    write_patience: float = 120.0
    """Seconds in which a peer must read some of the bytes queued for it."""
    twin_patience: float = 1.0
    """How long both connections are kept when two nodes dialed each other, to see which one the peer closes."""
    redial_first: float = 1.0
    redial_most: float = 60.0

    def __post_init__(self) -> None:
        """Check the ranges of the limits."""
        WorkLimits.__post_init__(self)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type.startswith("int") and not isinstance(value, int | None):
                raise ValueError(f"{field.name} should be a whole number greater than 0, not {value!r}")

    @property
    def strangers(self) -> int:
        """The max number of connected strangers."""
        most = self.max_peers - self.max_peers // 8 if self.max_strangers is None else self.max_strangers
        return min(most, self.max_peers)

    @property
    def descriptors(self) -> int:
        """The max number of sockets that peers can make us have, in total."""
        return self.max_peers + 2 * self.max_handshakes + self.max_waiting + self.max_lingering

    def fitting(self, descriptors: int) -> Bolt8Limits:
        """Return these limits, or smaller ones with which peers can make us have max ``descriptors`` sockets."""
        if self.descriptors <= descriptors:
            return self
        part = max(1, descriptors // 16)
        small = {name: min(getattr(self, name), part) for name in ("max_handshakes", "max_waiting", "max_lingering")}
        others = replace(self, max_peers=1, **small).descriptors - 1
        return replace(self, max_peers=max(1, min(self.max_peers, descriptors - others)), **small)
