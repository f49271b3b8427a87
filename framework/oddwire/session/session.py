"""The conversation with every peer: who has a session, what is under way, and one timer for all of it."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

from oddwire.errors import ConnectionClosed, MalformedMessage, QuotaExceeded
from oddwire.session.answering import Answering
from oddwire.session.fragments import AssemblyBudget
from oddwire.session.frames import encode
from oddwire.session.kinds import Ack, Code, Data, Hello, HelloFlag, Request, Spoken
from oddwire.session.limits import Allowance, Counters, Limits
from oddwire.session.link import Link
from oddwire.session.requests import Handling
from oddwire.transports.base import NodeId, Transport

__all__ = ["HELLO_WAIT", "VERSION", "Host", "Session"]

VERSION: Final = 1
"""The one version of the session protocol spoken here."""
HELLO_WAIT: Final = 1.0
"""Seconds from a peer's connecting until it is taken for one without oddwire, if it has said no hello."""
_SPARE: Final = 64  # entries of the timer's heap beside two for each peer, before it is made anew


class Host(Protocol):
    """What a session needs of the application. Everything is called on the loop, and returns at once."""

    def message_received(self, node_id: NodeId, payload: bytes) -> None:
        """Take a message that came in fragments."""

    def hello_received(self, link: Link, new: bool) -> None:
        """Learn that a peer has said hello; ``new`` if for the first time, or from another process than before."""

    def request_received(self, link: Link, handling: Handling[Answering], request: Request) -> None:
        """Have a request handled; its place within the limits is taken until ``link.asking`` is told of its end."""

    def data_received(self, link: Link, data: Data) -> bool:
        """Take a reliable message; False if an honest peer would not have sent it."""
        raise NotImplementedError

    def ack_received(self, link: Link, ack: Ack) -> bool:
        """Take what a peer says of our reliable messages; False if an honest peer would not have said it."""
        raise NotImplementedError

    def is_crowded(self, node_id: NodeId) -> bool:
        """Say whether a peer should begin no transfer now: there is no room for what it would bring."""
        raise NotImplementedError

    def ticked(self, link: Link, now: float) -> None:
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
        """Give what the extension that a type is of lets a peer have; None without limits of its own."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task that ends with the application at the latest."""
        raise NotImplementedError


class Session:
    """What is shared by the links to all peers.

    ``instance`` is a number nobody used before, u64: peers learn from a new one that this process is another.
    ``spoken`` are our extensions. ``limits`` hold for every peer, ``allowances`` within them for extensions, by name.
    ``hello_wait`` is how many seconds after its connecting a peer that has said no hello is taken for one without a
    session.
    """

    def __init__(
        self,
        host: Host,
        transport: Transport,
        *,
        instance: int,
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
        self.budget = AssemblyBudget(self.limits.total_reassembly_bytes)
        self.loop = asyncio.get_running_loop()
        self.links: dict[NodeId, Link] = {}
        self.hello_wait = hello_wait
        self.hello = Hello(
            flags=0,
            lowest=VERSION,
            highest=VERSION,
            instance=instance,
            extensions=(*sorted(spoken),),
            assembles=self.limits.reassembly_bytes,
            requests=self.limits.requests,
        )
        self._greeting = encode(self.hello._replace(flags=HelloFlag.ANSWER))
        self._answer = encode(self.hello)
        self._due: list[tuple[float, NodeId]] = []  # a heap, which outlives no peer: it names links, and holds none
        self._timer: asyncio.TimerHandle | None = None

    # Peers come and go ------------------------------------------------------------------------------

    def peer_connected(self, node_id: NodeId) -> Link:
        """Say hello, and give the link to the peer."""
        link = self.links[node_id] = Link(self, node_id)
        link.post(self._greeting)
        self.wake(link, link.since + self.hello_wait)
        return link

    def peer_disconnected(self, node_id: NodeId, reason: str) -> None:
        """Fail all that is under way with a peer, and cancel what it asked for."""
        link = self.links.pop(node_id, None)
        if link is not None:
            link.close(reason)

    def give_up(self, reason: str) -> None:
        """Fail what we ask of peers; what they ask for goes on."""
        for link in self.links.values():
            link.give_up(ConnectionClosed(reason))

    def close(self) -> None:
        """Stop the timer. Every peer should be gone."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._due.clear()

    def answer_hello(self, link: Link) -> None:
        """Say hello to a peer that asked for it."""
        link.post(self._answer)

    def overrun(self, error: QuotaExceeded, total: int = 0) -> Code:
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

    def wake(self, link: Link, when: float) -> None:
        """Have a link's `Link.tick` called at ``when`` at the latest, on the loop's clock."""
        if when >= link.due or link.closed:
            return
        link.due = when
        due = self._due
        if len(due) > 2 * len(self.links) + _SPARE:  # most are of earlier days: a peer can have them made
            due[:] = [(other.due, node_id) for node_id, other in self.links.items() if other.due < math.inf]
            heapq.heapify(due)
        heapq.heappush(due, (when, link.node_id))
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
            link = self.links.get(node_id)
            if link is not None and when == link.due:  # else it was woken earlier, or has closed
                link.due = math.inf
                link.tick(now)
        if self._due and self._timer is None:
            self._arm()
