"""Access control of extensions that declare it: which peers may send to them, and how much."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

from oddwire.errors import ExtensionError, NodeRefused, Refuse, TransportError
from oddwire.proto.keys import NodeId
from oddwire.session.limits import OF_ALL, Allowance, Counters, Limits, TokenBucket
from oddwire.session.wire.frame_types import Code

if TYPE_CHECKING:
    from oddwire.app.context import Peer
    from oddwire.app.declarations.handlers import Rate
    from oddwire.transports.base import Transport

__all__ = ["RATE", "AccessControl", "Allow", "Meter", "check_allow", "check_limits"]

Allow = Literal["channels"] | Collection[NodeId | bytes | str] | Callable[["Peer"], bool | Awaitable[bool]]
"""Which peers may send to an extension: those with a channel, those listed, or those for which a function is true."""

RATE: Final = "rate"
"""The counters' name for a handler's own rate."""
_LASTS: Final = 60.0  # seconds that a peer's permission is cached
# The states in which lightningd accepts new HTLCs: not channels being closed, nor those not open yet, which cost a
# stranger nothing
_CHANNEL_STATES: Final = ("CHANNELD_NORMAL", "CHANNELD_AWAITING_SPLICE")
# To ask the host whether it knows channels at all: secp256k1's generator is no node's id
_NOBODY: Final = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


class Meter:
    """Meters messages and bytes of one peer by token buckets; created only if there is a rate limit."""

    __slots__ = ("_bytes", "_messages")

    def __init__(self, limits: Limits, now: float) -> None:
        self._messages = _bucket(limits.messages_per_second, now)
        self._bytes = _bucket(limits.bytes_per_second, now)

    @staticmethod
    def measures(limits: Limits) -> bool:
        """Return whether the limits have a rate."""
        return not (math.isinf(limits.messages_per_second) and math.isinf(limits.bytes_per_second))

    def take(self, size: int, now: float) -> tuple[float, str]:
        """Count one message. Return the seconds to wait, 0.0 for none, and the name of the limit that requires it."""
        seconds = 0.0 if self._messages is None else self._messages.take(1, now)
        more = 0.0 if self._bytes is None else self._bytes.take(size, now)
        return (more, "bytes_per_second") if more > seconds else (seconds, "messages_per_second")

    def give_back(self, size: int, now: float) -> None:
        """Undo `take` for a message of this size."""
        if self._messages is not None:
            self._messages.take(-1, now)
        if self._bytes is not None:
            self._bytes.take(-size, now)


def _bucket(rate: float, now: float) -> TokenBucket | None:
    return None if math.isinf(rate) else TokenBucket(rate, max(rate, 1.0), now)


class _PeerShare:
    """One peer's state at an extension: its permission, its meter, its requests being handled."""

    __slots__ = ("allowed", "asked_at", "meter", "rates", "requests")

    def __init__(self) -> None:
        self.allowed = False
        self.asked_at = -math.inf
        self.meter: Meter | None = None
        self.rates: dict[Rate, TokenBucket] | None = None  # of handlers with a rate of their own
        self.requests = 0


class AccessControl:
    """The access control before one extension's handlers: permissions and limits by peer."""

    def __init__(self, extension: str, allow: Allow | None, limits: Limits | None, transport: Transport) -> None:
        self.extension = extension
        self.allowance = Allowance(extension, limits)
        self._allow = allow if allow is None or allow == "channels" or callable(allow) else _node_ids(allow)
        self._requests = self.allowance.most("requests")
        self._metered = Meter.measures(self.allowance.limits)
        self._transport = transport
        self._peers: dict[NodeId, _PeerShare] = {}
        self._asking: Counter[NodeId] = Counter()

    @property
    def counters(self) -> Counters:
        """How often the extension's limits took effect."""
        return self.allowance.counters

    @property
    def is_needed(self) -> bool:
        """Whether messages have to be checked: the extension has ``allow``, a rate, or a limit of requests."""
        return self._allow is not None or self._metered or self.allowance.has("requests")

    async def start(self) -> None:
        """Raise `ExtensionError` for ``allow='channels'`` if the host cannot list channels."""
        if self._allow == "channels":
            try:
                await self._channels(_NOBODY)
            except (TransportError, TypeError) as error:
                raise ExtensionError(
                    f"extension {self.extension!r}: allow='channels' needs a node that knows its channels: {error}"
                ) from error

    def remove_peer(self, node_id: NodeId) -> None:
        """Drop the state of a peer that has disconnected."""
        self._peers.pop(node_id, None)

    async def allows(self, peer: Peer) -> bool:
        """Return whether a peer may send to the extension; a function's or the host's answer is cached for a minute."""
        if self._allow is None:
            return True
        if isinstance(self._allow, frozenset):
            return peer.node_id in self._allow
        share, now = self._share(peer), _now()
        if now >= share.asked_at + _LASTS:
            share.allowed = await self._ask(peer)
            share.asked_at = now
        return share.allowed

    async def admit(self, peer: Peer, size: int, rate: Rate | None = None) -> None:
        """Check and meter a request. Raises `Refuse` if the peer is not allowed, or exceeds a rate.

        ``rate`` is that of the request's handler.
        """
        await self._check(peer)
        seconds, limit = self.take(peer, size, rate)
        if seconds:
            self._give_back(peer, size, rate)
            raise self._too_often(rate) if limit == RATE and rate is not None else self._too_much(limit)

    async def admit_later(self, peer: Peer, size: int, rate: Rate | None = None) -> None:
        """Check and meter a message, and wait as its rate requires. Raises `Refuse` if the peer is not allowed."""
        await self._check(peer)
        seconds, limit = self.take(peer, size, rate)
        if seconds:
            self.counters.throttled[limit] += 1
            await asyncio.sleep(seconds)

    def take(self, peer: Peer, size: int, rate: Rate | None = None) -> tuple[float, str]:
        """Meter a message. Return the seconds to wait, 0.0 for none, and the name of the limit that requires it."""
        found = 0.0, ""
        if self._metered:
            share, now = self._share(peer), _now()
            if share.meter is None:
                share.meter = Meter(self.allowance.limits, now)
            found = share.meter.take(size, now)
        return found if rate is None else max(found, (self.take_rate(peer, rate), RATE))

    def take_rate(self, peer: Peer, rate: Rate) -> float:
        """Meter a message in its handler's rate alone. Return the seconds until it is to be handled, 0.0 for now."""
        share, now = self._share(peer), _now()
        share.rates = share.rates or {}
        bucket = share.rates.get(rate)
        if bucket is None:
            bucket = share.rates[rate] = TokenBucket(rate.per_second, rate.burst, now)
        return bucket.take(1, now)

    def throttled(self, *waits: tuple[float, str]) -> float:
        """Count the longest of some waits, each with the limit that requires it, and return its seconds."""
        seconds, limit = max(waits)
        if seconds:
            self.counters.throttled[limit] += 1
        return seconds

    def _give_back(self, peer: Peer, size: int, rate: Rate | None) -> None:
        """Undo `take`: a refused message does not count."""
        share = self._share(peer)
        if share.meter is not None:
            share.meter.give_back(size, _now())
        if rate is not None and share.rates:
            share.rates[rate].take(-1, _now())

    @contextmanager
    def handling(self, peer: Peer) -> Iterator[Callable[[], None]]:
        """Context manager: count a request while it is being handled, or until the yielded function is called.

        Raises `Refuse` if there are too many.
        """
        share = self._share(peer)
        if share.requests >= self._requests:
            raise self._too_much("requests")
        share.requests += 1
        counted = True

        def count_no_more() -> None:
            nonlocal counted
            share.requests -= counted
            counted = False

        try:
            yield count_no_more
        finally:
            count_no_more()

    @contextmanager
    def count_request(self, node_id: NodeId) -> Iterator[None]:
        """Context manager: count one of our requests while it is open. Raises `QuotaExceeded` (``open_requests``)."""
        most = self.allowance.most("open_requests")
        if self._asking[node_id] >= most:
            text = f"{most} requests to this peer wait for replies already"
            raise self.allowance.exceeded("open_requests", text)
        self._asking[node_id] += 1
        try:
            yield
        finally:
            self._asking[node_id] -= 1
            if not self._asking[node_id]:
                del self._asking[node_id]

    async def _check(self, peer: Peer) -> None:
        if not await self.allows(peer):
            self.counters.refused["allow"] += 1
            raise self.not_allowed()

    def not_allowed(self) -> Refuse:
        """Return the refusal for a peer that may not send to the extension."""
        return Refuse.of_session(f"{self.extension} is not allowed for this node", Code.NOT_ALLOWED)

    def _too_much(self, limit: str) -> Refuse:
        self.counters.refused[limit] += 1
        value = self.allowance.most(limit)
        return Refuse.of_session(f"{self.extension} accepts no more from this node: {limit} is {value:g}", Code.QUOTA)

    def _too_often(self, rate: Rate) -> Refuse:
        self.counters.refused[RATE] += 1
        text = f"{self.extension} accepts no more {rate.name} from this node: {rate.per_second:g} a second"
        return Refuse.of_session(f"{text}, after the first {rate.burst:g}", Code.QUOTA)

    async def _ask(self, peer: Peer) -> bool:
        if self._allow == "channels":
            try:
                return await self._channels(str(peer.node_id))
            except NodeRefused:
                return False
        if not callable(self._allow):
            return True
        answer: Any = self._allow(peer)
        return bool(await answer if inspect.isawaitable(answer) else answer)

    async def _channels(self, node_id: str) -> bool:
        from oddwire.transports.host import call_host  # imported late: not needed to answer getmanifest

        found = await call_host(self._transport, "listpeerchannels", {"id": node_id})
        return any(channel.get("state") in _CHANNEL_STATES for channel in found["channels"])

    def _share(self, peer: Peer) -> _PeerShare:
        share = self._peers.get(peer.node_id)
        if share is None:
            share = _PeerShare()
            if peer.connected:  # a disconnected peer's messages are still handled, without another `remove_peer`
                self._peers[peer.node_id] = share
        return share


def check_allow(where: str, allow: Any) -> None:
    """Raise `ExtensionError` for a value that is no `Allow`."""
    if allow is None or allow == "channels" or callable(allow):
        return
    if isinstance(allow, str | bytes) or not isinstance(allow, Collection):
        raise ExtensionError(f"{where}: allow should be node ids, a function of the peer, or 'channels', not {allow!r}")
    try:
        _node_ids(allow)
    except (TypeError, ValueError) as error:
        raise ExtensionError(f"{where}: allow: {error}") from error


def check_limits(where: str, limits: Any) -> None:
    """Raise `ExtensionError` for limits that an extension cannot have."""
    if not isinstance(limits, Limits):
        raise ExtensionError(f"{where}: limits should be Limits, not {limits!r}")
    for name in limits.given:
        if name in OF_ALL:
            raise ExtensionError(
                f"{where}: limits: {name} holds for all extensions together; set it in Application(limits=Limits(...))"
            )


def _node_ids(allow: Collection[NodeId | bytes | str]) -> frozenset[NodeId]:
    return frozenset(NodeId(node_id) for node_id in allow)


def _now() -> float:
    return asyncio.get_running_loop().time()
