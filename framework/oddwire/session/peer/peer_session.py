"""The sessions of one connection: one `Link` for each program behind the peer's node, and what these share.

A frame's link is found by the addresses in the frame. Frames addressed to another program of our own node are ignored.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from oddwire.errors import ConnectionClosed, MalformedMessage, PeerNotConnected, TransportError
from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.proto.keys import NodeId
from oddwire.session.limits import TokenBucket
from oddwire.session.peer.link import Link
from oddwire.session.peer.reassembly import ReassemblyGroup
from oddwire.session.wire.frame_types import FrameType, Hello, HelloFlag
from oddwire.session.wire.hello import decode_hello

if TYPE_CHECKING:
    from oddwire.session.peer.shared import Shared

__all__ = ["PeerSession"]

logger = get_logger("oddwire.session")

_NEVER: Final = math.inf
_MOST_POSTED: Final = 1024  # refusals queued for a peer that does not read; further ones are dropped
_HELLOS: Final = 64  # hellos in a burst: each program's own, its answer to ours, some restarts
_HELLO_RATE: Final = 10.0  # hellos per second after the burst
_FORMER: Final = 64  # instances remembered per connection whose sessions have ended (protocol, Restart)
_RESET_PAUSE: Final = 1.0  # seconds between hellos to instances without a session that send other frames
_BURST: Final = 10.0  # seconds' worth of faults in a burst
_LOOK: Final = 10.0  # seconds between checks for programs that died (protocol, An instance that dies)
_PATIENCE: Final = 30.0  # seconds until a session ends whose program was asked for a hello and sent nothing
_LONGEST: Final = 60.0  # max seconds without a frame before a program that answers slowly is asked again
_ADDRESSED: Final = 11  # bytes of a frame up to its header: type, kind, to, from
_ALL: Final = bytes(4)


class PeerSession:
    """A connected peer: the sessions with the programs behind it, for the time of one connection."""

    __slots__ = (
        "_changed",
        "_dropped",
        "_early",
        "_faults",
        "_former",
        "_hellos",
        "_looked",
        "_owed",
        "_posted",
        "_poster",
        "_reset_at",
        "_since",
        "_waiting",
        "addressed",
        "assembling",
        "closed",
        "due",
        "had_hello",
        "left",
        "links",
        "node_id",
        "reach",
        "several",
        "shared",
    )

    def __init__(self, shared: Shared, node_id: NodeId) -> None:
        self.shared = shared
        self.node_id = node_id
        self.due = _NEVER
        """When `tick` is to be called, in seconds of the event loop's clock; set by `PeerTimer.wake`."""
        self.closed = False
        self.assembling = ReassemblyGroup()
        """Totals of the transfers of all programs of the peer."""
        self.left: list[Link] = []
        """Sessions that have ended while cancelled handlers of theirs are still running."""
        self.had_hello = False
        """Whether any program has sent a hello on this connection."""
        self.several = False
        """Whether more than one program has sent a hello on this connection."""
        self.links: dict[int, Link] = {}
        """The programs behind the peer, by instance, in the order of their first hellos."""
        self.reach: dict[type, Link] = {}
        """Cache: the program to address, by message class; see `speaker`. Cleared when a program comes or goes."""
        self.addressed: dict[bytes, Link] = {}
        """The programs by the 8 address bytes of their frames to us; see `Link.inbound`."""
        self._changed: asyncio.Event | None = None
        self._early: list[tuple[int, Hello]] | None = []  # hellos of the peer that came before ours was sent
        self._faults: TokenBucket | None = None
        self._dropped: dict[int, None] = {}  # instances whose sessions we ended: a hello of one is answered *leaving*
        self._former: dict[int, None] = {}
        self._hellos: TokenBucket | None = None
        self._looked = _NEVER
        self._owed: dict[int, bool] = {}  # instances that wait for our hello, and whether they are new
        self._posted: deque[bytes | int] = deque()  # frames, and instances to which a hello is sent in their place
        self._poster: asyncio.Task[None] | None = None
        self._reset_at = -_NEVER
        self._since = shared.loop.time()
        self._waiting = True

    def send_hello(self) -> None:
        """Queue our hello to all programs of the peer, and wait ``hello_wait`` seconds for theirs."""
        self.post(self.shared.own.to_all)
        self.wake(self._since + self.shared.hello_wait)

    # Who is there -----------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether there is a session with any program of the peer."""
        return any(link.ready for link in self.links.values())

    @property
    def waiting(self) -> bool:
        """Whether another program is expected soon.

        True for ``hello_wait`` seconds after the connection and after the end of a session, and while a program waits
        for our hello.
        """
        return self._waiting or bool(self._owed)

    @property
    def settled(self) -> bool:
        """Whether it is known if the peer speaks the session protocol.

        True after a hello, after ``hello_wait`` seconds without one, and once the peer has disconnected.
        """
        return not self.waiting or (bool(self.links) and not self._owed)

    def speakers(self, name: str) -> Iterator[Link]:
        """Iterate over the sessions whose programs have an extension in a common version."""
        return (link for link in self.links.values() if link.ready and name in link.agreed)

    def speaker(self, names: Collection[str], type_id: int) -> Link | None:
        """Return the session for a message of type ``type_id`` of one of the extensions ``names``; None if none fits.

        Of several that fit equally, it is the one with the least program number, so the same each time. Of two with the
        same number it is the later one, as the other may have been killed.
        """
        best: tuple[int, int] | None = None
        found: Link | None = None
        for link in self.links.values():
            if link.ready and (rank := _rank(link, names, type_id)):
                order = (-rank, link.program)
                if best is None or order <= best:
                    best, found = order, link
        return found

    def only(self) -> Link | None:
        """Return the session if only one program has been there on this connection, else None."""
        if self.several or len(self.links) != 1:
            return None
        (link,) = self.links.values()
        return link if link.ready else None

    def version_of(self, name: str) -> str | None:
        """Return the common version of an extension with the peer, None if there is none."""
        link = min(self.speakers(name), key=lambda link: link.program, default=None)
        return None if link is None else link.agreed[name]

    def extensions(self) -> Mapping[str, tuple[str, ...]]:
        """Return the extensions in the hellos of all programs of the peer: versions by name."""
        found: dict[str, tuple[str, ...]] = {}
        for link in self.links.values():
            for name, spoken in link.spoken.items():
                known = found.get(name)
                found[name] = spoken.versions if known is None else (*dict.fromkeys((*known, *spoken.versions)),)
        return found

    async def wait_for_hello(self, name: str | None = None) -> bool:
        """Return whether the peer has a session, or, with ``name``, one with that extension in a common version.

        Waits for a hello, for as long as one is expected; see `waiting`. Cancellation has no other effect.
        """
        if name is None:
            while not self.settled:
                await self.change()
            return self.ready
        while (version := self.version_of(name)) is None and self.waiting:
            await self.change()
        return version is not None

    async def change(self) -> None:
        """Wait until a program comes or goes, or no further one is expected."""
        if self._changed is None:
            self._changed = asyncio.Event()
        await self._changed.wait()

    def _change(self) -> None:
        self.reach.clear()
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    # What we send -----------------------------------------------------------------------------------

    def post(self, frame: bytes) -> None:
        """Queue a short frame for sending, in the order of calls, without waiting; dropped once the peer is gone."""
        if not self.closed:
            self._posted.append(frame)
            self._begin()

    def _begin(self) -> None:
        if self._poster is None:
            self._poster = self.shared.host.spawn(self._post())

    @property
    def is_slow(self) -> bool:
        """Whether so many frames are queued for the peer that further refusals are dropped."""
        return len(self._posted) >= _MOST_POSTED

    async def _post(self) -> None:
        posted, send = self._posted, self.shared.transport.send
        try:
            while posted:
                frame = posted.popleft()
                if isinstance(frame, int):
                    if frame not in self._owed:
                        continue
                    frame = self._answer(frame)
                is_first = self._early is not None
                if self._early is not None:
                    # The first frame is our hello. Tasks that the peer's hellos wake run after it was sent
                    early, self._early = self._early, None
                    for instance, hello in early:
                        self.take_hello(instance, hello)
                try:
                    await send(self.node_id, frame)
                except PeerNotConnected:
                    raise
                except TransportError as error:  # the transport reconnects if it can
                    logger.debug("a frame to %s is lost: %s", self.node_id, error)
                if is_first and not self.links:  # the send may have waited for a busy node: answers come after it
                    self._since = self.shared.loop.time()
        except PeerNotConnected:
            posted.clear()  # the peer has disconnected, or is about to
            self._owed.clear()
            self._change()
        finally:
            self._poster = None

    def _answer(self, instance: int) -> bytes:
        """Return the hello that a program waits for. Other frames may be sent to the program from now on, after it."""
        link, is_new = self.links[instance], self._owed.pop(instance)
        if is_new:
            link.hello_sent()
        self._change()
        if is_new:
            self._report_hello(link, True)
        return self.shared.own.answer(instance)

    async def leave(self, hello: bytes, seconds: float) -> None:
        """Send ``hello``, one with *leaving*, after the queued frames, waiting at most ``seconds`` for these.

        Queued hellos are dropped: after *leaving* no other may be sent, as it would begin a new session. Raises the
        errors of the transport.
        """
        known = self._early is None and (self.links or self.waiting)
        self._owed.clear()
        self._early = None
        others = [frame for frame in self._posted if isinstance(frame, bytes) and frame[2] != FrameType.HELLO]
        self._posted.clear()
        self._posted.extend(others)
        self._change()
        if known and self._poster is not None:
            await asyncio.wait([self._poster], timeout=seconds)
        if known and not self.closed:
            await self.shared.transport.send(self.node_id, hello)

    # What the peer sends ----------------------------------------------------------------------------

    def receive(self, payload: bytes) -> None:
        """Handle a frame from the peer, if it is addressed to us."""
        link = self.addressed.get(payload[3:_ADDRESSED])
        if link is not None:
            link.receive(payload)
        else:
            self._unaddressed(payload)

    def _unaddressed(self, payload: bytes) -> None:
        """Handle a frame to all programs, or from an instance without a session; ignore one to another program."""
        to, sender = payload[3:7], payload[7:_ADDRESSED]
        instance = int.from_bytes(sender, "big")
        if len(payload) < _ADDRESSED or not instance:
            self.fault("a frame without addresses")
        elif payload[2] == FrameType.HELLO and (to == _ALL or to == self.shared.address):
            try:
                hello = decode_hello(payload)
            except MalformedMessage as error:
                self.fault("an unreadable hello")
                self.shared.host.malformed(self.node_id, payload, error)
            else:
                self.take_hello(instance, hello)
        elif to != self.shared.address:
            # To another program of our node, or one before us: a fault only if we are the only one there has been
            if not self.shared.transport.shared:
                self.fault("a frame for another program")
        else:
            self.fault("a frame outside of a session")
            self._reset_session(instance)

    def _reset_session(self, instance: int) -> None:
        """Tell an instance that there is no session, with *leaving*, and ask for its hello to begin one."""
        if instance == self.shared.instance or self.shared.left:  # a frame of ours that the peer sent back; or we end
            return
        now = self.shared.loop.time()
        if self._early is None and not self.is_slow and now >= self._reset_at + _RESET_PAUSE:
            self._reset_at = now
            self._begin_anew(instance)

    def _begin_anew(self, instance: int) -> None:
        self._dropped.pop(instance, None)
        self.post(self.shared.own.leaving(instance))
        self.post(self.shared.own.asking(instance))

    def take_hello(self, instance: int, hello: Hello) -> None:
        """Handle a hello to us, or to all programs."""
        if self.shared.left:
            return
        if instance == self.shared.instance and hello.program == self.shared.own.hello.program:
            self.fault("a hello of ours")  # the peer sends back what it does not know: it has no session
            return
        if self._early is not None:  # our own hello has to be the first frame that we send
            if len(self._early) < _HELLOS:
                self._early.append((instance, hello))
            else:
                self.fault("one hello too many")
            return
        now = self.shared.loop.time()
        if self._hellos is None:
            self._hellos = TokenBucket(_HELLO_RATE, _HELLOS, now)
        if self._hellos.take(1, now):
            self._hellos.take(-1, now)  # an ignored hello does not count
            self.fault("one hello too many")  # hellos end sessions and cause answers, at little cost to the sender
            return
        link = self.links.get(instance)
        if hello.flags & HelloFlag.LEAVING:
            if link is not None:
                self.end(link, "its program has ended")
            return
        new = link is None
        if link is None and instance in self._dropped:  # it may not know yet that its session has ended
            self._begin_anew(instance)
            return
        if link is None:
            self._see_restart(instance, hello)
            if len(self.links) >= self.shared.limits.programs and not self._make_room():
                self.shared.counters.refused["programs"] += 1
                self.fault("a hello of one program too many")
                return
            if self.links and all(other.program != hello.program for other in self.links.values()):
                self.several = True
            link = self.links[instance] = Link(self, instance)
            self.addressed[link.inbound] = link
            self.had_hello = True
            self.wake(link.last_received + _LOOK)
        link.update(hello)
        if hello.flags & HelloFlag.ANSWER:
            # An instance that has just started ignores all frames before our answer
            if instance not in self._owed:
                self._owed[instance] = new
                self._posted.append(instance)
                self._begin()
        elif new:
            link.hello_sent()
        self._change()
        if not self._owed.get(instance):
            self._report_hello(link, new)

    def _report_hello(self, link: Link, new: bool) -> None:
        """Report a hello to reliable delivery, which sends what waits for the program."""
        logger.debug("%s speaks %s", self.node_id, dict(link.agreed) or "no extension of ours")
        self.shared.delivery.hello_received(link, new)

    def _see_restart(self, instance: int, hello: Hello) -> None:
        """End the session with the instance that a new one of the same program replaces (protocol, Restart).

        An instance that says hello after it was replaced shows that two programs have one number.
        """
        namesakes = [link for link in self.links.values() if link.program == hello.program]
        if instance in self._former:
            logger.warning(
                "two programs of %s have one number, %016x: their node should give each its own",
                self.node_id,
                hello.program,
            )
            self.several = True
        elif len(namesakes) == 1:
            (link,) = namesakes
            self._log_end(link, "has restarted")
            _remember(self._former, link.instance)
            self._drop(link, "the peer has restarted")

    def _log_end(self, link: Link, what: str) -> None:
        """Log the end of a session: at info level if something was under way in it, else at debug level."""
        names = ", ".join(sorted(link.agreed)) or "no extension in common"
        if link.is_idle and not self.shared.delivery.is_waiting(link):
            logger.debug("a program of %s (%s) %s", self.node_id, names, what)
        else:
            logger.info(
                "a program of %s (%s) %s: its open requests and transfers have failed", self.node_id, names, what
            )

    def _make_room(self) -> bool:
        """End the idle session that was silent for longest. Return False if none is idle."""
        idle = [link for link in self.links.values() if link.is_idle]
        if not idle:
            return False
        self._drop(min(idle, key=lambda link: link.last_received), "another program of its node took its place")
        return True

    def _drop(self, link: Link, reason: str) -> None:
        """End a session whose program may not know that it has ended, and remember the instance."""
        _remember(self._dropped, link.instance)
        self.end(link, reason)

    def end(self, link: Link, reason: str) -> None:
        """End the session with one program while the connection stays; another program may follow at once."""
        logger.debug("the session with program %016x of %s ends: %s", link.program, self.node_id, reason)
        self.links.pop(link.instance, None)
        self.addressed.pop(link.inbound, None)
        self._owed.pop(link.instance, None)
        link.close(reason)
        self.left = [left for left in (*self.left, link) if left.working]
        self._waiting = True
        self._since = self.shared.loop.time()
        self.wake(self._since + self.shared.hello_wait)
        self._change()
        self.shared.delivery.session_ended(link)

    def fault(self, what: str = "") -> None:
        """Count a frame that was refused or ignored; a peer that sends many of them is throttled.

        ``what`` describes an ignored frame, for the log; empty for a refused one.
        """
        shared = self.shared
        shared.transport.wasted(self.node_id)
        if what:
            shared.counters.dropped["frames"] += 1
            logger.debug("%s from %s is ignored", what, self.node_id)
        now, rate = shared.loop.time(), shared.limits.faults_per_second
        if self._faults is None:
            self._faults = TokenBucket(rate, rate * _BURST, now)
        seconds = self._faults.take(1, now)
        if seconds:
            shared.counters.throttled["faults_per_second"] += 1
            shared.host.throttle(self.node_id, seconds)

    # Its life ---------------------------------------------------------------------------------------

    @property
    def open_requests(self) -> int:
        """The number of open requests of all programs of the peer."""
        return sum(len(link.handled) for link in self.links.values())

    @property
    def lingering(self) -> int:
        """The number of handlers still running for requests of sessions that have ended."""
        return sum(link.working for link in self.left)

    def wake(self, when: float) -> None:
        """Schedule `tick` for ``when`` at the latest, in seconds of the event loop's clock."""
        if when < self.due:
            self.shared.timer.wake(self, when)

    def tick(self, now: float) -> None:
        """Run everything that is due by ``now``, and schedule the next tick."""
        if self._waiting:
            if now < self._since + self.shared.hello_wait:
                self.wake(self._since + self.shared.hello_wait)
            else:
                self._waiting = False
                self._change()
        for link in list(self.links.values()):
            link.tick(now)
        if self.links and not self.shared.left:
            self._look(now)
            self.wake(now + _LOOK)
        self.shared.delivery.tick(self, now)

    def _look(self, now: float) -> None:
        """Send a hello to silent programs that owe us an answer or an ack; end the sessions of those that died.

        A killed program sends no *leaving*, and the connection of its node may stay (protocol, An instance that dies).
        """
        shared, late = self.shared, now - self._looked > 2 * _LOOK  # our event loop was blocked, or the machine asleep
        self._looked = now
        if shared.host.is_paused(self.node_id):  # its frames may wait unread
            late = True
        for link in list(self.links.values()):
            if link.doubted is None:
                if (
                    link.ready
                    and not late
                    and now >= link.last_received + link.pause
                    and (link.is_asking or shared.delivery.is_waiting(link))
                ):
                    link.doubted = now
                    self.post(self.shared.own.asking(link.instance))
            elif link.last_received >= link.doubted:
                link.doubted = None
                link.pause = min(2 * link.pause, _LONGEST)
            elif late:
                link.doubted = now
                self.post(self.shared.own.asking(link.instance))
            elif now >= link.doubted + _PATIENCE:
                self._log_end(link, "does not answer any more")
                self._drop(link, "its program does not answer any more")

    def fail_requests(self, reason: str) -> None:
        """Fail our open requests to all programs of the peer with `ConnectionClosed`."""
        for link in self.links.values():
            link.fail_requests(ConnectionClosed(reason))

    def close(self, reason: str) -> None:
        """End all sessions: the connection has ended."""
        self.closed, self._waiting, self.due = True, False, _NEVER
        self._posted.clear()  # they must not be sent on the next connection
        self._owed.clear()
        for link in self.links.values():
            link.close(reason)
        if self.links:
            logger.debug("the session with %s ends: %s", self.node_id, printable(reason))
        self.links.clear()
        self.addressed.clear()
        self._early = None
        self._change()


def _remember(instances: dict[int, None], instance: int) -> None:
    instances[instance] = None
    if len(instances) > _FORMER:
        del instances[next(iter(instances))]


def _rank(link: Link, names: Collection[str], type_id: int) -> int:
    """Return how well a program fits a message: 3 by extension and type, 2 by extension, 1 by type alone, 0 not."""
    spoken = link.spoken
    named = [name for name in names if name in link.agreed]
    if any(type_id in spoken[name].types for name in named):
        return 3
    if named:
        return 2
    return int(any(type_id in known.types for known in spoken.values()))
