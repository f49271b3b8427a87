"""A rough day for a cluster: what is done to whom by a seed, and what is looked at when all has come to rest."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.soak.cluster.checks import all_faults
from tests.soak.cluster.clusters import Alone, AnyProgram, Cluster
from tests.soak.cluster.ghost import Ghosts
from tests.soak.cluster.ldk import LdkNotes
from tests.soak.cluster.peers import OrderingPeer, Peer, PlainPeer, SessionPeer
from tests.soak.cluster.processes import PATIENCE
from tests.soak.cluster.records import Run, parse

from oddwire import OddwireError

SOONEST, LATEST = 0.3, 3.0  # seconds between two events
FREEZES: Final = (3.0, 15.0)  # seconds


class Event(NamedTuple):
    """One thing that is done."""

    pause: float
    """Seconds after the one before."""
    program: int
    what: str
    """``kill``, ``freeze`` or ``restart``."""
    seconds: float = 0.0
    """How long it is frozen."""


def plan(chance: random.Random, programs: int, events: int) -> Iterator[Event]:
    """Yield so many events, at any of so many programs."""
    for _ in range(events):
        pause, program = chance.uniform(SOONEST, LATEST), chance.randrange(programs)
        what = chance.choice(("kill", "freeze", "restart"))
        yield Event(pause, program, what, chance.uniform(*FREEZES) if what == "freeze" else 0.0)


class Day:
    """Peers that talk with a cluster, while events happen to it."""

    def __init__(
        self,
        cluster: Cluster | Alone,
        messages: int,
        *,
        peers: int = 6,
        plain: int = 2,
        ldk: Path | None = None,
        say: Callable[[str], object],
    ) -> None:
        self.cluster = cluster
        self.counts: Counter[str] = Counter()
        self.session_peers: list[OrderingPeer] = [
            SessionPeer(bytes([number]) * 32, cluster.uri) for number in range(11, 11 + peers)
        ]
        if ldk is not None:
            self.session_peers.append(LdkNotes(b"\x4c" * 32, cluster.uri, ldk))
        self.plain_peers = [PlainPeer(bytes([number]) * 32, cluster.uri, 0.05) for number in range(101, 101 + plain)]
        self._each = messages // len(self.session_peers)
        self._say = say
        self._doing: set[asyncio.Task[None]] = set()

    @property
    def peers(self) -> Sequence[Peer]:
        return [*self.session_peers, *self.plain_peers]

    @property
    def progress(self) -> int:
        return sum(peer.progress for peer in self.peers)

    async def run(self, events: Sequence[Event]) -> Run:
        """Have it all happen, wait until all has come to rest, and return what is known of it then.

        Raises:
            AssertionError: nothing moved for a minute after the last event.
        """
        try:
            await self.cluster.start()
            for peer in self.peers:
                await peer.start()
            await self._settle("first messages", lambda: all(peer.progress for peer in self.peers), allowed=1)
            for number, event in enumerate(events, 1):
                self._allow(self._each * number // len(events))
                await asyncio.sleep(event.pause)
                self._begin(event)
                if number % 20 == 0:
                    self._say(f"{number} of {len(events)} events, {self.progress} answers, {dict(self.counts)}")
            await asyncio.gather(*self._doing)
            for plain in self.plain_peers:
                plain.sending = False
            await self._settle("rest", lambda: all(peer.at_rest for peer in self.peers), allowed=self._each)
            for peer in self.session_peers:
                await self._ask(peer)
        finally:
            for task in self._doing:
                task.cancel()
            await asyncio.gather(*self._doing, return_exceptions=True)
            await self.cluster.aclose()
            for peer in self.peers:
                with contextlib.suppress(OddwireError):
                    await peer.aclose()
        return self._known()

    def _begin(self, event: Event) -> None:
        program = self.cluster.programs[event.program]
        self.counts[f"{program.name.partition('-')[0]} {event.what}"] += 1
        task = asyncio.create_task(_done_to(program, event))
        self._doing.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._doing.discard(task)  # one that failed stays, to be raised

    def _allow(self, orders: int) -> None:
        for peer in self.session_peers:
            peer.allowed = max(peer.allowed, orders)

    async def _settle(self, what: str, reached: Callable[[], bool], *, allowed: int) -> None:
        self._allow(allowed)
        moved, before = time.monotonic(), -1
        while not reached():
            await asyncio.sleep(0.02)
            if self.progress != before:
                moved, before = time.monotonic(), self.progress
            stuck = [f"{peer.node_id[:8]} {peer.progress} {peer.state}" for peer in self.peers if not peer.at_rest]
            assert time.monotonic() < moved + PATIENCE, f"no {what}: stuck at {stuck}, {dict(self.counts)}"

    async def _ask(self, peer: OrderingPeer) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return await peer.ask()
            except (OddwireError, RuntimeError):  # LDK's, the latter
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.1)

    def _known(self) -> Run:
        handlings, lives = parse(self.cluster.log.read_text().splitlines(), self.cluster.deaths)
        for program in self.cluster.programs:
            self.counts += program.counts
        self.counts["owners"] = len(lives)
        self.counts["handled"] = len(handlings)
        return Run(
            handlings=handlings,
            lives=lives,
            reliable={peer.node_id: peer.known for peer in self.session_peers},
            plain={peer.node_id: peer.conns for peer in self.plain_peers},
            tocks={peer.node_id: peer.tocks for peer in self.plain_peers},
        )


async def _done_to(program: AnyProgram, event: Event) -> None:
    match event.what:
        case "kill":
            await program.kill()
        case "restart":
            await program.restart()
        case "freeze":
            await program.freeze(event.seconds)
        case other:
            raise ValueError(f"no event {other!r}")


async def rough_day(
    folder: Path,
    messages: int,
    events: int,
    seed: int,
    say: Callable[[str], object],
    *,
    workers: int = 3,
    ldk: Path | None = None,
) -> Counter[str]:
    """Run a day of a cluster, check everything, and return what was done and seen.

    Raises:
        AssertionError: a guarantee did not hold, or all stood still.
    """
    cluster = Cluster(folder, workers)
    return await judged_day(
        cluster, messages, [*plan(random.Random(seed), len(cluster.programs), events)], say, ldk=ldk
    )


async def judged_day(
    cluster: Cluster,
    messages: int,
    events: Sequence[Event],
    say: Callable[[str], object],
    *,
    peers: int = 6,
    ldk: Path | None = None,
    more: Callable[[Run], list[str]] = lambda _: [],
) -> Counter[str]:
    """Do as `rough_day` does, with events of choice, and ``more`` to be checked."""
    day = Day(cluster, messages, peers=peers, ldk=ldk, say=say)
    ghosts = Ghosts(cluster.address, cluster.node_id)
    haunting = asyncio.create_task(ghosts.haunt())
    try:
        run = await day.run(events)
    finally:
        haunting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await haunting
    faults = [*cluster.surprises, *ghosts.faults, *all_faults(run), *more(run)]
    counts = day.counts + ghosts.counts
    assert not faults, "\n".join([f"{len(faults)} faults, {dict(counts)}", *faults[:20]])
    return counts
