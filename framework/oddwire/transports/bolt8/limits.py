"""What a `Bolt8Transport` lets peers have, and how long it waits for them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from oddwire.proto.sharing import WorkLimits
from oddwire.proto.wire import MAX_HANDSHAKES, MAX_LINGERING, MAX_WAITING

__all__ = ["Bolt8Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bolt8Limits(WorkLimits):
    """What a `Bolt8Transport` allows and how long it waits; times in seconds. See docs/limits.md.

    A *stranger* is a peer that dialed us and that is not known: no peer of ``connect``, none that we have dialed, none
    that ``known`` says yes to. Raises `ValueError` naming a limit that cannot be.
    """

    max_peers: int = 4096
    """Peers connected at a time, but for those that we dial, which always have a place."""
    max_strangers: int | None = None
    """How many of those peers may be strangers; seven eighths unless it is said, the rest is kept for others."""
    idle_seconds: float = 60.0
    """Seconds without a message of an application's after which a stranger gives its place to one who comes anew.

    Only when there is no other place. Keepalive is no such message.
    """
    max_handshakes: int = MAX_HANDSHAKES
    """Callers in the middle of their handshakes, and connections beyond `max_peers` that have not sent their init."""
    max_waiting: int = MAX_WAITING
    """Callers accepted whose handshakes have not begun."""
    max_lingering: int = MAX_LINGERING
    """Connections that we have closed, and that their peers have not, for up to five seconds."""
    handshake_timeout: float = 10.0
    """For who dials us; and for our own dials, look-up and TCP included, if ``connect_timeout`` says nothing."""
    connect_timeout: float | None = None
    """For our own dials, and then for the peer's init. By default ``handshake_timeout`` and ``init_timeout``; by proxy
    120 s at least, as Tor takes long."""
    init_timeout: float = 30.0
    ping_after: float = 60.0
    ping_patience: float = 30.0
    write_patience: float = 120.0
    """Seconds in which a peer that has something to read must read some of it."""
    twin_patience: float = 1.0
    """How long to see which of two connections, dialed crosswise, the peer closes."""
    redial_first: float = 1.0
    redial_most: float = 60.0

    def __post_init__(self) -> None:
        """Check."""
        WorkLimits.__post_init__(self)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type.startswith("int") and not isinstance(value, int | None):
                raise ValueError(f"{field.name} should be a whole number greater than 0, not {value!r}")

    @property
    def strangers(self) -> int:
        """How many strangers may be connected at a time."""
        most = self.max_peers - self.max_peers // 8 if self.max_strangers is None else self.max_strangers
        return min(most, self.max_peers)

    @property
    def descriptors(self) -> int:
        """How many sockets peers may cause us to have, in sum."""
        return self.max_peers + 2 * self.max_handshakes + self.max_waiting + self.max_lingering

    def fitting(self, descriptors: int) -> Bolt8Limits:
        """Return these limits, or smaller ones by which peers cannot cause us to have more sockets than that."""
        if self.descriptors <= descriptors:
            return self
        part = max(1, descriptors // 16)
        small = {name: min(getattr(self, name), part) for name in ("max_handshakes", "max_waiting", "max_lingering")}
        others = replace(self, max_peers=1, **small).descriptors - 1
        return replace(self, max_peers=max(1, min(self.max_peers, descriptors - others)), **small)
