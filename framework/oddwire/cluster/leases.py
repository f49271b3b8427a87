"""The leases that a process holds, and a view of everybody's.

A lease is taken by creating its key, which the broker does only if there is none, and kept by replacing it, which the
broker does only if it is still as this process left it. See `oddwire.cluster.lease_times` for when it is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from oddwire import clocks
from oddwire.cluster.lease_times import TIMES, LeaseClock, LeaseTimes
from oddwire.cluster.lease_values import LeaseLost, parsed, remove, renew, revision_of
from oddwire.cluster.watchdog import Watchdog
from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.transports.nats.bucket import Bucket, Value
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerFailure, BrokerUnavailable, UnexpectedSequence

if TYPE_CHECKING:
    from nats.aio.msg import Msg

__all__ = ["Fields", "Lease", "Leases", "Seen"]

logger = get_logger("oddwire.cluster.leases")

Fields = Callable[[], Mapping[str, Any]]
"""Return what a lease says, each time that it is written."""

_SPACING: Final = 0.02  # seconds between two reads of the bucket, if something has changed
_HEARD: Final = 0.5  # seconds in which those who rely on a lease have heard of its loss, if the event loop goes on
_REMOVALS: Final = ("DEL", "PURGE")


class Lease:
    """A lease that this process holds, from `Leases.take` until it is released or ``lost``."""

    def __init__(self, key: str, fields: Fields, revision: int, clock: LeaseClock) -> None:
        self.key = key
        self.fields = fields
        self.revision = revision
        self.clock = clock
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Is done once the lease is over, with the reason; whoever relies on it has to stop then."""
        self.released = False
        self.renewing: asyncio.Task[None] | None = None

    @property
    def holds(self) -> bool:
        """Whether it is neither lost nor released."""
        return not self.released and not self.lost.done()


class Seen:
    """What the bucket was when it was last read: each key's fields, and which keys have gone, and how."""

    def __init__(self) -> None:
        self.fields: dict[str, Mapping[str, Any]] = {}
        self.gone: dict[str, tuple[Mapping[str, Any], bool]] = {}
        """The last fields of keys that are not there any more, and whether they were removed by their holder."""
        self.removed: dict[str, float] = {}
        """When a key was removed last."""
        self.at = 0.0
        """When it was read; 0 before."""

    def take(self, now: float, found: Mapping[str, Value], ttl: float) -> bool:
        """Take what was read; return whether anything is not as it was."""
        self.removed = {key: at for key, at in self.removed.items() if now < at + ttl}  # none runs out sooner
        alive = {key: parsed(value.data) for key, value in found.items()}
        changed = self.at == 0.0 or alive != self.fields
        for key in self.fields.keys() - alive.keys():
            self.gone[key] = (self.fields[key], key in self.removed)
        for key in alive:
            self.gone.pop(key, None)
        self.fields, self.at = alive, now
        return changed


class Leases:
    """Takes leases in ``bucket``, renews them, and reads what others hold. ``token`` marks this process's.

    ``place`` says where this process runs, if no other can be there while it lives: with a locked folder, say.
    ``on_change`` is called when what others hold has changed. Times are of `clocks.uptime`, which goes on while the
    machine is suspended.
    """

    def __init__(
        self,
        connection: BrokerConnection,
        bucket: Bucket,
        *,
        times: LeaseTimes = TIMES,
        watchdog: Watchdog | None = None,
        place: str = "",
        on_change: Callable[[], object] = lambda: None,
    ) -> None:
        self.times = times
        self.place = place
        self.token = os.urandom(8).hex()
        self.seen = Seen()
        self._connection = connection
        self._bucket = bucket
        self._watchdog = watchdog
        self._on_change = on_change
        self._held: dict[str, Lease] = {}
        self._prefix = f"$KV.{bucket.name}."
        self._hint = asyncio.Event()
        self._free: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._troubled = False  # the broker does not answer, and that is told

    async def open(self) -> None:
        """Read what there is, and go on so. Raises `BrokerFailure`. May be called again, and then only reads."""
        await self._look()
        if self._tasks:
            return
        self._subscription = await self._connection.client.subscribe(f"{self._prefix}>", cb=self._told)
        self._tasks = [
            asyncio.create_task(self._look_on(), name="leases: look"),
            asyncio.create_task(self._renew_on(), name="leases: renew"),
        ]

    async def aclose(self) -> None:
        """Release what is still held, and stop. Idempotent."""
        tasks, self._tasks = self._tasks, []
        if not tasks:
            return
        await asyncio.gather(*(self.release(lease) for lease in [*self._held.values()]))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await self._connection.end(self._subscription)

    @property
    def is_fresh(self) -> bool:
        """Whether what is seen is recent enough to act by."""
        return self.seen.at > 0 and clocks.uptime() < self.seen.at + self.times.renew

    async def bury(self, prefix: str = "") -> None:
        """Remove the leases below ``prefix`` of a process that was in this place before, and so has ended.

        Raises `BrokerFailure`.
        """
        for key, value in (await self._bucket.all(prefix) if self.place else {}).items():
            fields = parsed(value.data)
            if fields.get("place") == self.place and fields.get("token") != self.token:
                with contextlib.suppress(UnexpectedSequence):
                    await self._bucket.delete(key, value.revision)

    # One lease --------------------------------------------------------------------------------------

    async def take(self, key: str, fields: Fields) -> Lease | None:
        """Take a lease if nobody has it; return None if somebody has.

        Raises `BrokerFailure`. If the broker did not answer, it may be ours all the same, and is over in time.
        """
        sent = clocks.uptime()
        try:
            async with asyncio.timeout(self.times.ttl - self.times.margin):
                try:
                    revision = await self._bucket.create(key, self._encoded(fields))
                except UnexpectedSequence:
                    if key in self._held:
                        return None
                    before = await revision_of(self._bucket, key, self.token)  # ours, if the answer was lost
                    sent = clocks.uptime()
                    revision = await self._bucket.update(key, self._encoded(fields), before)
        except (UnexpectedSequence, LeaseLost):
            return None
        except TimeoutError:
            raise BrokerUnavailable(f"the broker did not answer for the lease {key}") from None
        lease = Lease(key, fields, revision, LeaseClock(self.times, sent))
        self._held[key] = lease
        self._hint.set()
        if self._watchdog is not None:
            self._watchdog.add(key, lease.clock)
        return lease

    async def release(self, lease: Lease) -> None:
        """Give a lease up, whoever wants it may take it at once. What does not work is logged: it ends in time."""
        if lease.released:
            return
        lease.released = True
        self._drop(lease)
        if lease.renewing is not None:
            await asyncio.wait([lease.renewing])
        if lease.lost.done():
            return
        try:
            async with asyncio.timeout(self.times.renew):
                await remove(self._bucket, lease.key, lease.revision, self.token)
        except (BrokerFailure, TimeoutError) as error:
            logger.warning("lease %s is not given back, and ends in time: %s", lease.key, _spelled(error))

    def renew_soon(self, lease: Lease) -> None:
        """Write a lease anew now, as what it says has changed."""
        if lease.holds and lease.renewing is None:
            self._begin(lease)

    async def until_free(self, key: str) -> None:
        """Wait until nobody holds a lease, as far as is seen."""
        while not self.seen.at or key in self.seen.fields:
            event = self._free.setdefault(key, asyncio.Event())
            await event.wait()

    def _drop(self, lease: Lease) -> None:
        if self._held.get(lease.key) is lease:
            del self._held[lease.key]
            if self._watchdog is not None:
                self._watchdog.remove(lease.key)

    def _encoded(self, fields: Fields) -> bytes:
        marks = {"token": self.token, "place": self.place} if self.place else {"token": self.token}
        return json.dumps({**fields(), **marks}, separators=(",", ":")).encode()

    # Renewing ---------------------------------------------------------------------------------------

    async def _renew_on(self) -> None:
        while True:
            now = clocks.uptime()
            times = [now + self.times.renew]
            for lease in [*self._held.values()]:
                if not lease.holds:
                    continue
                if lease.clock.is_over(now):
                    self._lose(lease, "it was not renewed in time")
                    continue
                if now >= lease.clock.due and lease.renewing is None:
                    self._begin(lease)
                times += [lease.clock.deadline, lease.clock.due if lease.renewing is None else lease.clock.deadline]
            await asyncio.sleep(max(0.01, min(times) - clocks.uptime()))

    def _begin(self, lease: Lease) -> None:
        lease.renewing = asyncio.create_task(self._renew(lease), name=f"renew {lease.key}")
        lease.renewing.add_done_callback(lambda _: setattr(lease, "renewing", None))

    async def _renew(self, lease: Lease) -> None:
        sent = clocks.uptime()
        lease.clock.sent(sent)
        try:
            async with asyncio.timeout(self.times.renew):
                data = self._encoded(lease.fields)
                revision = await renew(self._bucket, lease.key, data, lease.revision, self.token)
        except LeaseLost as lost:
            self._lose(lease, _holder(lost.found))
        except (BrokerFailure, TimeoutError) as error:
            self._not_renewed(lease, error)
        else:
            self._troubled = False
            if lease.clock.is_over(clocks.uptime()):  # too late: who relied on it may have been told
                self._lose(lease, "it was not renewed in time")
                return
            lease.revision = revision
            lease.clock.granted(sent)

    def _not_renewed(self, lease: Lease, error: BaseException) -> None:
        logger.debug("lease %s is not renewed: %s", lease.key, _spelled(error))
        if not self._troubled:
            self._troubled = True
            left = max(0.0, lease.clock.deadline - clocks.uptime())
            logger.warning("leases are not renewed, and over in %.0f s: %s", left, _spelled(error))

    def _lose(self, lease: Lease, reason: str) -> None:
        if lease.holds:
            logger.info("lease %s is lost: %s", lease.key, reason)
            lease.lost.set_result(reason)
            asyncio.get_running_loop().call_later(_HEARD, self._drop, lease)
            self._on_change()

    # Looking ----------------------------------------------------------------------------------------

    async def _told(self, message: Msg) -> None:
        """Look at the bucket soon: a lease was given up. That it was written or ran out is seen in time."""
        if message.headers is not None and message.headers.get("KV-Operation") in _REMOVALS:
            self.seen.removed[message.subject.removeprefix(self._prefix)] = clocks.uptime()
            self._hint.set()

    async def _look(self) -> None:
        now = clocks.uptime()
        changed = self.seen.take(now, await self._bucket.all(), self.times.ttl)
        for key in [key for key in self._free if key not in self.seen.fields]:
            self._free.pop(key).set()
        if changed:
            self._on_change()

    async def _look_on(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self.times.renew / 2):
                    await self._hint.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(_SPACING)
            self._hint.clear()
            try:
                await self._look()
            except (BrokerFailure, TimeoutError) as error:
                logger.debug("%s", _spelled(error))


def _holder(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "it has run out"
    return f"it is {printable(str(found.get('worker', found.get('id', 'somebody else'))))}'s"


def _spelled(error: BaseException) -> str:
    return "the broker does not answer" if isinstance(error, TimeoutError) else printable(str(error))
