"""A worker: takes partitions of nodes, and runs an `Application` for each that it owns."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from oddwire import clocks
from oddwire.cluster.lease_times import TIMES, LeaseTimes
from oddwire.cluster.lease_values import parsed
from oddwire.cluster.leases import Lease, Leases
from oddwire.cluster.manifests import ExtensionManifest, write_manifests
from oddwire.cluster.owned_partition import OwnedPartition
from oddwire.cluster.ownership import Candidate, Event, Ownership, Standing, Step
from oddwire.cluster.partition import Parts
from oddwire.cluster.watchdog import Watchdog
from oddwire.errors import TransportError
from oddwire.exit_exceptions import spelled
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerDenied, BrokerFailure
from oddwire.transports.nats.subjects import LEASES, META, node_key, partition_key, worker_key

__all__ = ["Worker", "worker_name"]

logger = get_logger("oddwire.cluster.worker")

_MOST: Final = 1024  # partitions of a node
_META: Final = 5.0  # seconds between two looks for new nodes
_WAIT: Final = 1.0  # seconds between two looks for what a broker lacks yet


def worker_name() -> str:
    """Return a new name for a worker: the machine's, and a random number."""
    host = "".join(each if each.isalnum() or each == "-" else "-" for each in socket.gethostname().partition(".")[0])
    return f"{host or 'worker'}-{os.urandom(3).hex()}"


class Worker:
    """Takes what is free of the partitions of ``nodes``, by default of all nodes there are, from `run` to `stop`.

    ``name`` has to be this worker's alone. ``facts`` are told in its lease, the versions of extensions among them;
    ``manifests`` are written to the broker before anything is taken, for gateways. ``place`` is that of `Leases`: what
    a process that was there before has left is taken at once.
    ``on_event`` is called with the name of what has happened to a partition, ``taken``, ``given``, ``lost`` or
    ``failed``, and with its values.
    """

    def __init__(
        self,
        connection: BrokerConnection,
        parts: Parts,
        *,
        name: str,
        nodes: Collection[NodeId] | None = None,
        times: LeaseTimes = TIMES,
        facts: Mapping[str, Any] | None = None,
        manifests: Sequence[ExtensionManifest] = (),
        place: str = "",
        watchdog: Watchdog | None = None,
        on_event: Callable[[str, Mapping[str, Any]], object] = lambda _, __: None,
    ) -> None:
        self.name = name
        self._connection = connection
        self._parts = parts
        self._nodes = None if nodes is None else frozenset(nodes)
        self._times = times
        self._facts = dict(facts or {})
        self._manifests = manifests
        self._watchdog = watchdog or Watchdog()
        self._on_event = on_event
        self._meta = Bucket(connection, META)
        self._wake = asyncio.Event()
        self.leases = Leases(
            connection,
            Bucket(connection, LEASES, max_age=times.ttl),
            times=times,
            watchdog=self._watchdog,
            place=place,
            on_change=self._wake.set,
        )
        self.ownership = Ownership(name, times)
        self._partitions: dict[str, tuple[NodeId, int]] = {}  # all that there are, by their lease's key
        self._missing: set[NodeId] = set()
        self._places: dict[str, OwnedPartition] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._own: Lease | None = None
        self._ending = False
        self._meta_at = float("-inf")

    # Its life ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until `stop`. Cancelled, it ends in order as well.

        Raises `TransportError` for a name that is in use, and for a login that may not do what workers do.
        """
        self._watchdog.start()
        try:
            try:
                await self._open()
            except BrokerDenied as error:
                raise TransportError(f"the broker at {self._connection.address.shown}: {error.reason}") from error
            while not (self._ending and not self._tasks):
                await self._look()
                self._act()
                await self._rest()
        except asyncio.CancelledError:
            self.stop()
            if self._tasks:
                self._act()
                await asyncio.wait([*self._tasks.values()])
            raise
        finally:
            await self.leases.aclose()
            self._watchdog.stop()

    def stop(self) -> None:
        """Give up all partitions, and have `run` return. Returns at once."""
        self._ending = True
        self.ownership.end()
        if self._own is not None:
            self.leases.renew_soon(self._own)
        self._wake.set()

    async def _open(self) -> None:
        told = False
        while not self._ending:
            try:
                await self.leases.bury(worker_key(""))
                await self.leases.open()
                await write_manifests(self._meta, self._manifests)
                break
            except BrokerDenied:
                raise
            except BrokerFailure as error:
                if not told:
                    logger.warning("waiting for a gateway to set up the broker: %s", error.reason)
                told = True
                await self._pause(_WAIT)
        key, until, told = worker_key(self.name), clocks.uptime() + 2 * self._times.ttl, False
        while self._own is None and not self._ending:
            try:
                self._own = await self.leases.take(key, self._record)
            except BrokerDenied:
                raise
            except BrokerFailure as error:
                logger.warning("%s", error.reason)
                until = clocks.uptime() + 2 * self._times.ttl
            if self._own is None:
                if clocks.uptime() > until:
                    raise TransportError(f"there is a worker called {self.name!r} already: give this one another --id")
                if not told:
                    logger.warning("there is a worker called %r: waiting whether it is alive", self.name)
                told = True
                await self._pause(_WAIT)
        try:
            await self.leases.bury()  # once others see this worker, so that nobody takes what is this one's
        except BrokerFailure as error:
            logger.warning("what was left here is free when its leases have run out: %s", error.reason)

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _rest(self) -> None:
        """Wait for news, or until something is due without any."""
        now = clocks.uptime()
        at = self.ownership.next_time(now) if self.leases.is_fresh else None
        await self._pause(self._times.renew / 2 if at is None else min(self._times.renew / 2, max(0.01, at - now)))

    def _record(self) -> Mapping[str, Any]:
        """Return what this worker's lease says."""
        return {
            **self._facts,
            "id": self.name,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "state": "ending" if self._ending else "running",
            "nodes": None if self._nodes is None else sorted(map(str, self._nodes)),
            "failing": self.ownership.failing(clocks.uptime()),
            "partitions": {place.key: place.term for place in self._places.values() if place.term},
        }

    # What there is to do ----------------------------------------------------------------------------

    async def _look(self) -> None:
        """Tell the rules what is seen."""
        now = clocks.uptime()
        if now >= self._meta_at + _META and not self._ending:
            self._meta_at = now
            try:
                await self._read_nodes()
            except BrokerFailure as error:
                logger.debug("%s", error.reason)
        seen = self.leases.seen.fields
        if self._own is not None and self._own.lost.done() and not self._ending:
            await self._be_back(self._own)
        there = {key for key, (node, _) in self._partitions.items() if node_key(node) in seen}
        self.ownership.partitions(now, there | self._places.keys())
        self.ownership.workers(
            _candidate(key, fields) for key, fields in seen.items() if key.startswith(worker_key("")) and _works(fields)
        )
        for key in there | self._places.keys():
            holder = seen.get(key)
            self.ownership.held(now, key, None if holder is None else str(holder.get("worker")))
        for place in self._places.values():
            place.gateway_is(seen.get(node_key(place.node), {}).get("run"))

    async def _be_back(self, own: Lease) -> None:
        """Take this worker's own lease anew, after the broker was away."""
        try:
            self._own = await self.leases.take(own.key, self._record) or own
        except BrokerFailure as error:
            logger.debug("%s", error.reason)

    async def _read_nodes(self) -> None:
        found: dict[str, tuple[NodeId, int]] = {}
        there = set()
        for key, value in (await self._meta.all("node.")).items():
            count = parsed(value.data).get("partitions")
            try:
                node = NodeId(key.removeprefix("node."))
            except ValueError:
                continue
            there.add(node)
            if type(count) is int and count <= _MOST and (self._nodes is None or node in self._nodes):
                found |= {partition_key(node, number): (node, number) for number in range(count)}
        self._partitions = found
        for node in (self._nodes or frozenset()) - there - self._missing:
            logger.warning("no gateway of node %s has ever been at this broker: it is waited for", node)
            self._missing.add(node)

    def _act(self) -> None:
        if not self.leases.is_fresh and not self._ending:
            return  # what is not known cannot be acted by
        for step, key, reason in self.ownership.decide(clocks.uptime()):
            if step is Step.TAKE:
                node, partition = self._partitions[key]
                place = OwnedPartition(node, partition, self.leases, self.ownership, self._parts, self.name)
                place.why, place.on_event = reason, self._event
                task = asyncio.create_task(place.run(), name=f"partition {place}")
                self._places[key], self._tasks[key] = place, task
                task.add_done_callback(functools.partial(self._over, place))
            else:
                self._places[key].give_up(reason)

    def _event(self, what: str, values: Mapping[str, Any]) -> None:
        self._tell()
        self._on_event(what, values)

    def _over(self, place: OwnedPartition, _: object) -> None:
        task = self._tasks.pop(place.key)
        self._places.pop(place.key, None)
        if self.ownership.standing(place.key) is not Standing.APART:
            self.ownership.on(place.key, Event.ENDED)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("partition %s: %s", place, spelled(error), exc_info=error)
            self.ownership.failed(clocks.uptime(), place.key)
        self._tell()
        self._wake.set()

    def _tell(self) -> None:
        if self._own is not None:
            self.leases.renew_soon(self._own)


def _works(fields: Mapping[str, Any]) -> bool:
    return fields.get("state") == "running" and isinstance(fields.get("id"), str)


def _candidate(key: str, fields: Mapping[str, Any]) -> Candidate:
    refused, served = _texts(fields.get("failing")) or frozenset(), _texts(fields.get("nodes"))

    def serves(partition: str) -> bool:
        return partition not in refused and (served is None or partition.split(".")[1] in served)

    return Candidate(key.removeprefix(worker_key("")), serves)


def _texts(values: object) -> frozenset[str] | None:
    """Return the texts of a list, which another process has written; None if it is no list."""
    return frozenset(each for each in values if isinstance(each, str)) if isinstance(values, list) else None
