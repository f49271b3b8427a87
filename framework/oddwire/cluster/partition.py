"""A partition's program: its store, its transport and its `Application`, from the fence to the end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from oddwire.errors import OddwireError
from oddwire.exit_exceptions import spelled
from oddwire.records import FrozenRecord

if TYPE_CHECKING:
    from oddwire.app.application import Application
    from oddwire.app.dispatch.cluster_jobs import ClusterJobs
    from oddwire.errors import StoreError
    from oddwire.proto.keys import NodeId
    from oddwire.transports.base import Transport

__all__ = ["PartitionProgram", "PartitionStore", "Parts", "partition_number"]


class PartitionStore(Protocol):
    """What a partition's store does besides being an application's: `oddwire.cluster.log`'s, or a test's."""

    on_fenced: list[Callable[[StoreError], object]]
    """What is called, with an error, when nothing is stored any more: another owner has the log, say."""

    async def take(self) -> int:
        """Write the fence record, by which former owners commit nothing any more; return the term, its sequence."""
        raise NotImplementedError

    async def catch_up(self) -> object:
        """Bring the store up to its log."""
        raise NotImplementedError

    def lost(self, why: str) -> None:
        """Store nothing any more; what waits for it fails."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Let go of the store, after the application's end. Idempotent."""
        raise NotImplementedError


class Parts(FrozenRecord, kw_only=True):
    """What programs are made of. ``store`` and ``transport`` get the node and the partition, ``transport`` the term."""

    store: Callable[[NodeId, int], PartitionStore]
    transport: Callable[[NodeId, int, int], Transport]
    application: Callable[[Transport, Any, int], Application]
    """Gets the transport, the store, and the number of the program, which is the same for every owner."""


def partition_number(node: NodeId, partition: int) -> int:
    """Return the number, u64, by which peers recognise the program of a partition, whoever owns it."""
    return int.from_bytes(
        hashlib.sha256(b"oddwire cluster\0" + node + partition.to_bytes(4, "big")).digest()[:8], "big"
    )


class PartitionProgram:
    """Runs the extensions for the peers of one partition of a node, from `start` to `end` or `cut_off`."""

    def __init__(self, node: NodeId, partition: int, parts: Parts, jobs: ClusterJobs) -> None:
        self.term = 0
        self.app: Application | None = None
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Is done once the program has ended by itself, with the reason."""
        self.fenced: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Is done once nothing is stored any more, though the program runs: it is to be cut off."""
        self._store: PartitionStore | None = None
        self._node = node
        self._partition = partition
        self._parts = parts
        self._jobs = jobs
        self._transport: Transport | None = None
        self._running: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take the partition's store from whoever had it, bring it up to date, and start the application.

        Cancelled or failed, nothing is left running. Raises what any of these raises.
        """
        store = self._store = self._parts.store(self._node, self._partition)
        store.on_fenced.append(self._fence)
        try:
            self.term = await store.take()
            await store.catch_up()
            self._transport = self._parts.transport(self._node, self._partition, self.term)
            number = partition_number(self._node, self._partition)
            app = self._parts.application(self._transport, store, number)
            app.cluster_jobs = self._jobs
            await app.start()
        except BaseException:
            await store.aclose()
            raise
        self.app = app
        self._running = asyncio.create_task(app.run_until_stopped(signals=False), name=f"partition {self._partition}")
        self._running.add_done_callback(self._done)

    def _fence(self, error: StoreError) -> None:
        if not self.fenced.done():
            self.fenced.set_result(str(error))

    def _done(self, task: asyncio.Task[None]) -> None:
        if self.ended.done():
            return
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.ended.set_result(str(error) if isinstance(error, OddwireError) else spelled(error))
            return
        reason = None if self.app is None else self.app.host_stopped
        self.ended.set_result(reason or "an extension stopped it")

    async def end(self) -> None:
        """End in good order: handlers have the application's grace, what they did is stored, what was sent is sent."""
        if self.app is not None and self._running is not None:
            self.app.stop()
            await asyncio.wait([self._running])
        await self._close_store()

    async def _close_store(self) -> None:
        """Close the store once, also where a program that is ending is cut off."""
        if self._closing is None and self._store is not None:
            self._closing = asyncio.create_task(self._store.aclose(), name=f"store of partition {self._partition}")
        if self._closing is not None:
            await asyncio.shield(self._closing)

    def is_of(self, run: object) -> bool:
        """Return whether the transport is one to this run of the gateway, as far as it says."""
        mine = getattr(self._transport, "run", None)
        return self.app is None or mine is None or run is None or mine == run

    def lose(self, reason: str) -> None:
        """Have the transport hand on and send nothing more; a transport of a broker then ends the program."""
        lost = getattr(self._transport, "lost", None)
        if lost is not None:
            lost(reason)

    async def cut_off(self, reason: str) -> None:
        """End at once: nothing more is handed on, handlers are cancelled, nothing is stored or sent."""
        if self.app is None or self._running is None:
            return
        self.lose(reason)
        if self._store is not None:
            self._store.lost(reason)
        with contextlib.suppress(OddwireError):  # hooks of the end that fail without a store are logged
            await self.app.cut_off()
        self.app.stop()
        await asyncio.wait([self._running])
        await self._close_store()
