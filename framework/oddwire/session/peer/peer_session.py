"""One connection's part of the session: what speaks the protocol behind the peer's node, and what that has in common.

Behind a node there may be several programs. Each that says hello gets a `Link` of its own, found by the addresses in
its frames; what is meant for another program of our own node is not looked at.
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
_MOST_POSTED: Final = 1024  # refusals waiting for a peer that does not read; what comes on top is dropped
_HELLOS: Final = 64  # that may come at once: of each program its own, its answer to ours, some restarts
_HELLO_RATE: Final = 10.0  # a second, afterwards
_FORMER: Final = 64  # instances of one connection that are remembered as restarted, or otherwise at an end
_REGREET: Final = 1.0  # seconds between two hellos to instances that seem to have missed that there is no session
_BURST: Final = 10.0  # seconds' worth of faults at once
_LOOK: Final = 10.0  # seconds between two looks whether those of whom something is awaited are still there
_PATIENCE: Final = 30.0  # seconds in which a program that is asked for a hello has to say something
_LONGEST: Final = 60.0  # seconds between two such questions to one that takes its time
_ADDRESSED: Final = 11  # bytes of a frame up to its header: type, kind, to, from
_ALL: Final = bytes(4)


class PeerSession:
    """A connected peer: the sessions with the programs behind it, from its connecting to its going."""

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
        "_regreeted",
        "_since",
        "_waiting",
        "addressed",
        "assembling",
        "closed",
        "due",
        "left",
        "links",
        "met",
        "node_id",
        "reach",
        "several",
        "shared",
    )

    def __init__(self, shared: Shared, node_id: NodeId) -> None:
        self.shared = shared
        self.node_id = node_id
        self.due = _NEVER
        """When `tick` is to be called, on the loop's clock; kept by `PeerTimer.wake`."""
        self.closed = False
        self.assembling = ReassemblyGroup()
        """What its programs' messages in fragments take together."""
        self.left: list[Link] = []
        """Sessions that have ended, with handlers that take their time to."""
        self.met = False
        """Whether any has on this connection."""
        self.several = False
        """Whether more than one program has spoken for the peer on this connection."""
        self.links: dict[int, Link] = {}
        """The programs behind the peer, by instance, in the order in which they came."""
        self.reach: dict[type, Link] = {}
        """Whom to ask what, by the class of the message, as far as it was looked up; see `speaker`."""
        self.addressed: dict[bytes, Link] = {}
        """The same by both addresses, as the frames that are for us bear them."""
        self._changed: asyncio.Event | None = None
        self._early: list[tuple[int, Hello]] | None = []  # the peer's, until ours goes out
        self._faults: TokenBucket | None = None
        self._dropped: dict[int, None] = {}  # instances whose sessions we ended: they are told, should they be there
        self._former: dict[int, None] = {}
        self._hellos: TokenBucket | None = None
        self._looked = _NEVER
        self._owed: dict[int, bool] = {}  # instances that wait for our hello, and whether the host has to hear of them
        self._posted: deque[bytes | int] = deque()  # frames, and instances in whose turn they get it
        self._poster: asyncio.Task[None] | None = None
        self._regreeted = -_NEVER
        self._since = shared.loop.time()
        self._waiting = True

    def greet(self) -> None:
        """Say hello; for a while others may."""
        self.post(self.shared.own.to_all)
        self.wake(self._since + self.shared.hello_wait)

    # Who is there -----------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether there is a session with a program of the peer."""
        return any(link.ready for link in self.links.values())

    @property
    def waiting(self) -> bool:
        """Whether programs may come in a moment: since the connection, or an ending, or one has still to hear of us."""
        return self._waiting or bool(self._owed)

    @property
    def settled(self) -> bool:
        """Whether it is known if the peer has one: a hello came, or none for long enough, or the peer is gone."""
        return not self.waiting or (bool(self.links) and not self._owed)

    def speakers(self, name: str) -> Iterator[Link]:
        """Iterate over the sessions in which an extension is spoken in a version in common."""
        return (link for link in self.links.values() if link.ready and name in link.agreed)

    def speaker(self, names: Collection[str], type_id: int) -> Link | None:
        """Return whom to ask what is of type ``type_id`` and of one of the extensions ``names``; None if nobody fits.

        Of several it is the one with the least number: so it is the same one each time. Of two with one number it is
        that which came later, as the other may have been killed.
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
        """Return the one session of a peer behind which no other program has shown itself."""
        if self.several or len(self.links) != 1:
            return None
        (link,) = self.links.values()
        return link if link.ready else None

    def version_of(self, name: str) -> str | None:
        """Return the version of an extension that is spoken with the peer, None if it is not."""
        link = min(self.speakers(name), key=lambda link: link.program, default=None)
        return None if link is None else link.agreed[name]

    def extensions(self) -> Mapping[str, tuple[str, ...]]:
        """Return what all programs of the peer say they speak: by name, the versions."""
        told: dict[str, tuple[str, ...]] = {}
        for link in self.links.values():
            for name, spoken in link.spoken.items():
                known = told.get(name)
                told[name] = spoken.versions if known is None else (*dict.fromkeys((*known, *spoken.versions)),)
        return told

    async def wait_for_hello(self, name: str | None = None) -> bool:
        """Wait until it is known whether the peer has a session, or one in which ``name`` is spoken, and say so."""
        if name is None:
            while not self.settled:
                await self.change()
            return self.ready
        while (version := self.version_of(name)) is None and self.waiting:
            await self.change()
        return version is not None

    async def change(self) -> None:
        """Wait until a program comes or goes, or it is known that none comes any more."""
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
        """Send a short frame, in order with other such, without waiting for it; dropped if the peer is gone."""
        if not self.closed:
            self._posted.append(frame)
            self._begin()

    def _begin(self) -> None:
        if self._poster is None:
            self._poster = self.shared.host.spawn(self._post())

    @property
    def is_slow(self) -> bool:
        """Whether so much waits for the peer to read that a refusal more is dropped."""
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
                greets = self._early is not None
                if self._early is not None:
                    # The first is our hello. What the peer's wakes up comes to its turn when ours is on its way
                    early, self._early = self._early, None
                    for instance, hello in early:
                        self.take_hello(instance, hello)
                try:
                    await send(self.node_id, frame)
                except PeerNotConnected:
                    raise
                except TransportError as error:  # of this frame, or of the way to the node, which is tried anew
                    logger.debug("a frame to %s is lost: %s", self.node_id, error)
                if greets and not self.links:  # a busy node may have taken its time: answers could not come before
                    self._since = self.shared.loop.time()
        except PeerNotConnected:
            posted.clear()  # it has gone, or is going
            self._owed.clear()
            self._change()
        finally:
            self._poster = None

    def _answer(self, instance: int) -> bytes:
        """Return the hello that a program waits for: from now on it may be sent other things, which come after it."""
        link, told = self.links[instance], self._owed.pop(instance)
        if told:
            link.greeted()
        self._change()
        if told:
            self._heard(link, True)
        return self.shared.own.answer(instance)

    async def leave(self, farewell: bytes, seconds: float) -> None:
        """Say that we end to all who know us, after what waits, for which that waits ``seconds`` at most.

        No other hello goes out any more: who has one after the farewell takes us for alive.
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
            await self.shared.transport.send(self.node_id, farewell)

    # What the peer sends ----------------------------------------------------------------------------

    def receive(self, payload: bytes) -> None:
        """Take a frame, if it is for us."""
        link = self.addressed.get(payload[3:_ADDRESSED])
        if link is not None:
            link.receive(payload)
        else:
            self._unaddressed(payload)

    def _unaddressed(self, payload: bytes) -> None:
        """Take what is for everybody, or of somebody unknown; leave what is for others."""
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
            # Of another program of our node, or one that had our place: no fault of the peer's where there may be some
            if not self.shared.transport.shared:
                self.fault("a frame for another program")
        else:
            self.fault("a frame outside of a session")
            self._regreet(instance)

    def _regreet(self, instance: int) -> None:
        """Tell an instance that takes us for somebody it knows that there is no session, and offer one."""
        if instance == self.shared.instance or self.shared.left:  # our own frames come back; or we end
            return
        now = self.shared.loop.time()
        if self._early is None and not self.is_slow and now >= self._regreeted + _REGREET:
            self._regreeted = now
            self._begin_anew(instance)

    def _begin_anew(self, instance: int) -> None:
        self._dropped.pop(instance, None)
        self.post(self.shared.own.farewell(instance))
        self.post(self.shared.own.asking(instance))

    def take_hello(self, instance: int, hello: Hello) -> None:
        """Take a hello for us, or for all."""
        if self.shared.left:
            return
        if instance == self.shared.instance and hello.program == self.shared.own.hello.program:
            self.fault("a hello of ours")  # a peer that bounces what it does not know: there is nobody to talk to
            return
        if self._early is not None:  # nothing that it allows may overtake ours
            if len(self._early) < _HELLOS:
                self._early.append((instance, hello))
            else:
                self.fault("one hello too many")
            return
        now = self.shared.loop.time()
        if self._hellos is None:
            self._hellos = TokenBucket(_HELLO_RATE, _HELLOS, now)
        if self._hellos.take(1, now):
            self._hellos.take(-1, now)  # it did not take effect
            self.fault("one hello too many")  # it could end sessions, and have answers sent, at little cost
            return
        link = self.links.get(instance)
        if hello.flags & HelloFlag.LEAVING:
            if link is not None:
                self.end(link, "its program has ended")
            return
        new = link is None
        if link is None and instance in self._dropped:  # it does not know yet that its session has ended
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
            self.met = True
            self.wake(link.heard + _LOOK)
        link.update(hello)
        if hello.flags & HelloFlag.ANSWER:
            # Who has just started knows us by our answer, and ignores what comes before it
            if instance not in self._owed:
                self._owed[instance] = new
                self._posted.append(instance)
                self._begin()
        elif new:
            link.greeted()
        self._change()
        if not self._owed.get(instance):
            self._heard(link, new)

    def _heard(self, link: Link, new: bool) -> None:
        """Have what waits for a program sent to it."""
        logger.debug("%s speaks %s", self.node_id, dict(link.agreed) or "no extension of ours")
        self.shared.delivery.hello_received(link, new)

    def _see_restart(self, instance: int, hello: Hello) -> None:
        """End the session with the instance that a new one follows; one that speaks after its end has not ended."""
        namesakes = [link for link in self.links.values() if link.program == hello.program]
        if instance in self._former:
            logger.warning(
                "two programs speak for %s under one number, %016x: their node should tell them apart",
                self.node_id,
                hello.program,
            )
            self.several = True
        elif len(namesakes) == 1:
            (link,) = namesakes
            self._tell(link, "has restarted")
            _remember(self._former, link.instance)
            self._drop(link, "the peer has restarted")

    def _tell(self, link: Link, what: str) -> None:
        """Log what has become of a program; that is of interest where something was under way with it."""
        names = ", ".join(sorted(link.agreed)) or "no extension in common"
        if link.is_idle and not self.shared.delivery.is_waiting(link):
            logger.debug("a program of %s (%s) %s", self.node_id, names, what)
        else:
            logger.info("a program of %s (%s) %s: what was under way with it is over", self.node_id, names, what)

    def _make_room(self) -> bool:
        """End the session of which nothing has come for longest, of those with nothing under way."""
        idle = [link for link in self.links.values() if link.is_idle]
        if not idle:
            return False
        self._drop(min(idle, key=lambda link: link.heard), "others of its node took its place")
        return True

    def _drop(self, link: Link, reason: str) -> None:
        """End a session of which the program at its other end may not know it."""
        _remember(self._dropped, link.instance)
        self.end(link, reason)

    def end(self, link: Link, reason: str) -> None:
        """End the session with one program while the connection stays; another may follow at once."""
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
        """Count a frame of which nothing comes; who sends many of them is read later. ``what`` it was, if ignored."""
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
        """How many requests of all programs of the peer are being handled."""
        return sum(len(link.handled) for link in self.links.values())

    @property
    def lingering(self) -> int:
        """How many requests of programs that have ended are being handled still, as their handlers are slow to end."""
        return sum(link.working for link in self.left)

    def wake(self, when: float) -> None:
        """Have `tick` called at ``when`` at the latest, on the loop's clock."""
        if when < self.due:
            self.shared.timer.wake(self, when)

    def tick(self, now: float) -> None:
        """Do what is due by ``now``, and say when there will be more."""
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
        """Ask programs from which something is awaited whether they are there, and end the sessions of those that died.

        A program that is killed cannot say so, and the connection may be its node's.
        """
        shared, late = self.shared, now - self._looked > 2 * _LOOK  # it is us who did not get to it
        self._looked = now
        if shared.host.is_paused(self.node_id):  # what it says is not read
            late = True
        for link in list(self.links.values()):
            if link.doubted is None:
                if (
                    link.ready
                    and not late
                    and now >= link.heard + link.pause
                    and (link.is_asking or shared.delivery.is_waiting(link))
                ):
                    link.doubted = now
                    self.post(self.shared.own.asking(link.instance))
            elif link.heard >= link.doubted:
                link.doubted = None
                link.pause = min(2 * link.pause, _LONGEST)
            elif late:
                link.doubted = now
                self.post(self.shared.own.asking(link.instance))
            elif now >= link.doubted + _PATIENCE:
                self._tell(link, "does not answer any more")
                self._drop(link, "its program does not answer any more")

    def give_up(self, reason: str) -> None:
        """Fail what we asked of the peer."""
        for link in self.links.values():
            link.give_up(ConnectionClosed(reason))

    def close(self, reason: str) -> None:
        """End everything: the connection has ended."""
        self.closed, self._waiting, self.due = True, False, _NEVER
        self._posted.clear()  # not for the next connection
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
    """Say how well a program suits a message: by extension and type, by extension, by type under another name."""
    spoken = link.spoken
    named = [name for name in names if name in link.agreed]
    if any(type_id in spoken[name].types for name in named):
        return 3
    if named:
        return 2
    return int(any(type_id in told.types for told in spoken.values()))
