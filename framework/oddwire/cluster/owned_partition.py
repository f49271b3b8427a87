"""One partition while a worker has to do with it: its lease is taken, its program runs, and both end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from oddwire import clocks
from oddwire.cluster.job_leases import JobLeases
from oddwire.cluster.leases import Lease, Leases
from oddwire.cluster.ownership import Event, Ownership
from oddwire.cluster.partition import PartitionProgram, Parts
from oddwire.errors import OddwireError
from oddwire.exit_exceptions import spelled
from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.proto.keys import NodeId
from oddwire.transports.nats.errors import BrokerFailure
from oddwire.transports.nats.subjects import partition_key

__all__ = ["OwnedPartition"]

logger = get_logger("oddwire.cluster.worker")

_SOON: Final = 0.25  # seconds until a lease that is not to be had yet is tried again


class OwnedPartition:
    """Takes a partition of ``node`` for ``worker``, and has it until it is given up or lost: see `run`."""

    def __init__(
        self, node: NodeId, partition: int, leases: Leases, ownership: Ownership, parts: Parts, worker: str
    ) -> None:
        self.key = partition_key(node, partition)
        self.why = ""
        """Why it was decided to take it."""
        self.term = 0
        """The owner's term while the program runs, else 0."""
        self.on_event: Callable[[str, Mapping[str, Any]], object] = lambda _, __: None
        self.node = node
        self._partition = partition
        self._leases = leases
        self._ownership = ownership
        self._worker = worker
        self._program = PartitionProgram(node, partition, parts, JobLeases(leases, worker, self.key))
        self._given = asyncio.Event()
        self._given_why = ""
        self._since = 0.0
        fields, removed = leases.seen.gone.get(self.key, ({}, True))
        self._former = {"worker": fields.get("worker"), "ran_out": not removed} if fields else {}

    def __str__(self) -> str:
        return f"{str(self.node)[:8]}.{self._partition}"

    def give_up(self, reason: str) -> None:
        """Have `run` end the program in good order, and give the lease back."""
        self._given_why = reason
        self._given.set()

    def gateway_is(self, run: object) -> None:
        """Note the run of the node's gateway: with another one than the program has, that ends, and begins anew."""
        if self.term and not self._program.is_of(run):
            self._program.lose("the gateway began a new run")

    async def run(self) -> None:
        """Take the partition, run its program while it is this worker's, and let it go."""
        begun = clocks.uptime()
        try:
            lease = await self._leases.take(self.key, self._fields)
        except BrokerFailure as error:
            self._failed(error.reason)
            return
        if lease is None:  # somebody was quicker, or it is not quite over yet
            self._ownership.on(self.key, Event.FAILED)
            self._ownership.postponed(clocks.uptime(), self.key, _SOON)
            return
        try:
            if await self._starts(lease):
                self.term, self._since = self._program.term, clocks.wall()
                self._ownership.on(self.key, Event.TAKEN)
                self._leases.renew_soon(lease)
                self._tell("taken", f"term {self.term}, {self._after()}", seconds=clocks.uptime() - begun)
                await self._until_over(lease)
        finally:
            self.term = 0
            await self._leases.release(lease)

    def _fields(self) -> Mapping[str, Any]:
        """Return what the lease says."""
        return {
            "worker": self._worker,
            "term": self.term,
            "state": self._ownership.standing(self.key).name.lower(),
            "since": round(self._since, 3),
            "reason": self.why,
            "former": self._former,
        }

    async def _starts(self, lease: Lease) -> bool:
        """Start the program; return whether it runs. A start is cancelled if the partition is lost or given up."""
        starting = asyncio.create_task(self._program.start(), name=f"start of partition {self}")
        given = asyncio.create_task(self._given.wait())
        try:
            await _first(starting, lease.lost, given)
        finally:
            given.cancel()
            if not starting.done():
                starting.cancel("the partition is given up")
                await asyncio.wait([starting])
        error = None if starting.cancelled() else starting.exception()
        if error is None and not starting.cancelled():
            return True
        if lease.lost.done():
            self._ownership.on(self.key, Event.LOSE)
            self._tell("lost", lease.lost.result())
        elif error is not None and not self._given.is_set():
            said = str(error) if isinstance(error, OddwireError | BrokerFailure) else spelled(error)
            self._failed(said, error)
        return False

    async def _until_over(self, lease: Lease) -> None:
        """Wait until it is lost or given up, or its program has ended by itself; see to it that the program ends."""
        program, ended, fenced = self._program, self._program.ended, self._program.fenced
        begun = clocks.uptime()
        given = asyncio.create_task(self._given.wait())
        try:
            await _first(lease.lost, fenced, given, ended)
        finally:
            given.cancel()
        if not (lease.lost.done() or fenced.done() or ended.done()):
            asked = clocks.uptime()
            ending = asyncio.create_task(program.end(), name=f"end of partition {self}")
            await _first(ending, lease.lost, fenced)
            if ending.done():
                self._tell("given", self._given_why, seconds=clocks.uptime() - asked)
                return
        if lease.lost.done() or fenced.done():
            reason = lease.lost.result() if lease.lost.done() else fenced.result()
            self._ownership.on(self.key, Event.LOSE)
            self._tell("lost", reason)
            await program.cut_off(f"the partition is lost: {reason}")
        else:
            await program.end()
            pause = self._ownership.ended(clocks.uptime(), self.key, clocks.uptime() - begun)
            again = f"; tried again in {pause:.0f} s" if pause >= 1 else ""
            self._tell("failed", f"its program has ended: {ended.result()}{again}")

    def _failed(self, reason: str, error: BaseException | None = None) -> None:
        self._ownership.on(self.key, Event.FAILED)
        pause = self._ownership.failed(clocks.uptime(), self.key)
        logger.debug("the whole story:", exc_info=error)
        self._tell("failed", f"{reason}; tried again in {pause:.0f} s, if nobody else takes it")

    def _tell(self, what: str, text: str, *, seconds: float | None = None) -> None:
        log = logger.info if what in ("taken", "given") else logger.warning
        took = "" if seconds is None else f" ({seconds:.2f} s)"
        log("partition %s %s: %s%s", self, what, printable(text), took)
        values = {"node": str(self.node), "partition": self._partition, "term": self._program.term, "reason": text}
        self.on_event(what, values if seconds is None else {**values, "seconds": round(seconds, 3)})

    def _after(self) -> str:
        former = self._former.get("worker")
        if former is None:
            return "which nobody had"
        return (
            f"after {former}, {'whose lease ran out' if self._former.get('ran_out') else 'whose lease was given back'}"
        )


async def _first(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
