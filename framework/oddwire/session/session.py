"""The conversation with every peer: who has a session, what is under way, and one timer for all of it."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

from oddwire.errors import MalformedMessage, QuotaExceeded
from oddwire.log_limits import get_logger
from oddwire.session.limits import Allowance, Counters, Limits
from oddwire.session.peer.link import Link
from oddwire.session.peer.peer_session import PeerSession
from oddwire.session.peer.reassembly import ReassemblyBudget
from oddwire.session.peer.request_tables import HandledRequest
from oddwire.session.wire.frame_types import Ack, Code, Data, Hello, HelloFlag, Request, Spoken
from oddwire.session.wire.frames import encode
from oddwire.transports.base import NodeId, Transport

__all__ = ["HELLO_WAIT", "VERSION", "Session", "SessionHost"]

VERSION: Final = 1
"""The one version of the session protocol spoken here."""
HELLO_WAIT: Final = 1.0
"""Seconds from a peer's connecting until it is taken for one without oddwire, if it has said no hello."""
logger = get_logger("oddwire.session")

_SPARE: Final = 64  # entries of the timer's heap beside two for each peer, before it is made anew


class SessionHost(Protocol):
    """What a session needs of the application. Everything is called on the loop, and returns at once."""

    def message_received(self, node_id: NodeId, payload: bytes) -> None:
        """Take a message that came in fragments."""

    def hello_received(self, link: Link, new: bool) -> None:
        """Learn that a program of a peer has said hello; ``new`` if for the first time."""

    def session_ended(self, link: Link) -> None:
        """Learn that the session with one program is over while the connection stays: it has ended, or restarted."""

    def request_received(self, link: Link, handling: HandledRequest[Any], request: Request) -> None:
        """Have a request handled; its place within the limits is taken until ``link.handled`` is told of its end."""

    def data_received(self, link: Link, data: Data) -> bool:
        """Take a reliable message; False if an honest peer would not have sent it."""
        raise NotImplementedError

    def ack_received(self, link: Link, ack: Ack) -> bool:
        """Take what a peer says of our reliable messages; False if an honest peer would not have said it."""
        raise NotImplementedError

    def is_paused(self, node_id: NodeId) -> bool:
        """Say whether what a peer sends is not read just now."""
        raise NotImplementedError

    def is_waiting(self, link: Link) -> bool:
        """Say whether something sent reliably to a program waits for its acknowledgement."""
        raise NotImplementedError

    def is_crowded(self, node_id: NodeId) -> bool:
        """Say whether a peer should begin no transfer now: there is no room for what it would bring."""
        raise NotImplementedError

    def ticked(self, peer: PeerSession, now: float) -> None:
        """Do what is due for a peer, and say with `Session.wake` when there is more."""

    def malformed(self, node_id: NodeId, payload: bytes, error: MalformedMessage) -> None:
        """Deal with a frame that breaks the protocol's rules."""

    def throttle(self, node_id: NodeId, seconds: float) -> None:
        """Read a peer's messages so much later."""

    def max_size_of(self, type_id: int) -> int:
        """Tell how long a payload of a type may be, 0 for one that nobody takes."""
        raise NotImplementedError

    def title_of(self, type_id: int) -> str:
        """Tell what a type is called, for people."""
        raise NotImplementedError

    def allowance_of(self, type_id: int) -> Allowance | None:
        """Return what the extension that a type is of lets a peer have; None without limits of its own."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task that ends with the application at the latest."""
        raise NotImplementedError


class Session:
    """What is shared by the sessions with all peers.

    ``instance`` is the address of this process, u32, random and not 0: peers learn from a new one that it is another.
    ``program`` is the number, u64, that stays the same when it is started again, ``stores`` are those of what it keeps
    of reliable messages. ``spoken`` are our extensions. ``limits`` hold for every peer, ``allowances`` within them for
    extensions, by name. ``hello_wait`` is how many seconds after its connecting, or the end of one of its programs, it
    is waited for those that have said no hello.
    """

    def __init__(
        self,
        host: SessionHost,
        transport: Transport,
        *,
        instance: int,
        program: int,
        stores: tuple[int, ...] = (),
        spoken: Sequence[Spoken] = (),
        limits: Limits | None = None,
        allowances: Mapping[str, Allowance] = MappingProxyType({}),
        hello_wait: float = HELLO_WAIT,
    ) -> None:
        self.host = host
        self.transport = transport
        self.limits = limits or Limits()
        self.allowances = allowances
        self.counters = Counters()
        self.budget = ReassemblyBudget(self.limits.total_reassembly_bytes)
        self.loop = asyncio.get_running_loop()
        self.peers: dict[NodeId, PeerSession] = {}
        self.hello_wait = hello_wait
        self.hello = Hello(
            flags=0,
            lowest=VERSION,
            highest=VERSION,
            program=program,
            extensions=(*sorted(spoken),),
            assembles=self.limits.reassembly_bytes,
            requests=self.limits.requests,
            stores=stores,
        )
        self.instance = instance
        self.address = instance.to_bytes(4, "big")
        self._say()
        self.left = False
        """Whether we have said that we end."""
        self._due: list[tuple[float, NodeId]] = []  # a heap, which outlives no peer: it names peers, and holds none
        self._timer: asyncio.TimerHandle | None = None

    # What we say of ourselves -----------------------------------------------------------------------

    def _say(self) -> None:
        hello, route = self.hello, self.instance
        self.greeting = encode(hello._replace(flags=HelloFlag.ANSWER), route)
        """A hello for all programs of a peer, which asks them for theirs."""
        self._answer = encode(hello, route)
        self._farewell = encode(hello._replace(flags=HelloFlag.LEAVING, extensions=()), route)

    def greeting_to(self, instance: int) -> bytes:
        """Return a hello for one program, which asks it for its own."""
        return _readdress(self.greeting, instance)

    def farewell_to(self, instance: int) -> bytes:
        """Return a hello for one program, which says that the session with it is over."""
        return _readdress(self._farewell, instance)

    def answer_to(self, instance: int) -> bytes:
        """Return a hello for one program that has asked for it."""
        return _readdress(self._answer, instance)

    def set_stores(self, stores: tuple[int, ...]) -> None:
        """Say which stores we have, to all who know us, if it is not what was said before."""
        if stores != self.hello.stores:
            self.hello = self.hello._replace(stores=stores)
            self._say()
            for peer in () if self.left else self.peers.values():
                if peer.links or peer.waiting:  # who has just had the other may still be unknown
                    peer.post(self._answer)

    async def leave(self, seconds: float) -> None:
        """Tell all who know us that we end, where the connections stay; wait ``seconds`` at most until that is sent.

        Nothing is said afterwards that has them take us for alive.
        """
        self.left = True
        if not self.transport.shared:
            return
        told = [peer.leave(self._farewell, seconds / 2) for peer in self.peers.values()]
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*told, return_exceptions=True)
        except TimeoutError:
            logger.debug("not every peer was told that we end")

    # Peers come and go ------------------------------------------------------------------------------

    def peer_connected(self, node_id: NodeId) -> PeerSession:
        """Say hello, and return the peer's part of the session."""
        peer = self.peers[node_id] = PeerSession(self, node_id)
        if not self.left:
            peer.greet()
        return peer

    def peer_disconnected(self, node_id: NodeId, reason: str) -> None:
        """Fail all that is under way with a peer, and cancel what it asked for."""
        peer = self.peers.pop(node_id, None)
        if peer is not None:
            peer.close(reason)

    def give_up(self, reason: str) -> None:
        """Fail what we ask of peers; what they ask for goes on."""
        for peer in self.peers.values():
            peer.give_up(reason)

    def close(self) -> None:
        """Stop the timer. Every peer should be gone."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._due.clear()

    def count_limit(self, error: QuotaExceeded, total: int = 0) -> Code:
        """Count a transfer of ``total`` bytes that has reached a limit, the application's or an extension's.

        Gives the code for it: a transfer is too large for ever, or too much for now.
        """
        counters, most = self.counters, float(self.limits.reassembly_bytes)
        if error.extension is not None:
            allowance = self.allowances[error.extension]
            counters, most = allowance.counters, allowance.most("reassembly_bytes")
        counters.refused[error.limit] += 1
        return Code.TOO_LARGE if error.limit == "max_size" or total > most else Code.QUOTA

    # One timer --------------------------------------------------------------------------------------

    def wake(self, peer: PeerSession, when: float) -> None:
        """Have a peer's `PeerSession.tick` called at ``when`` at the latest, on the loop's clock."""
        if when >= peer.due or peer.closed:
            return
        peer.due = when
        due = self._due
        if len(due) > 2 * len(self.peers) + _SPARE:  # most are of earlier days: a peer can have them made
            due[:] = [(other.due, node_id) for node_id, other in self.peers.items() if other.due < math.inf]
            heapq.heapify(due)
        heapq.heappush(due, (when, peer.node_id))
        if due[0][0] == when:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_at(self._due[0][0], self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self.loop.time()
        while self._due and self._due[0][0] <= now:
            when, node_id = heapq.heappop(self._due)
            peer = self.peers.get(node_id)
            if peer is not None and when == peer.due:  # else it was woken earlier, or has closed
                peer.due = math.inf
                peer.tick(now)
        if self._due and self._timer is None:
            self._arm()


def _readdress(frame: bytes, instance: int) -> bytes:
    return frame[:3] + instance.to_bytes(4, "big") + frame[7:]
