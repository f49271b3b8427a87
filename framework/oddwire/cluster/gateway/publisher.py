"""Puts what waits for one partition into the stream, one message under way at a time, which keeps the order."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable

from oddwire.cluster.gateway.partition_queue import PartitionQueue
from oddwire.log_limits import get_logger
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerFailure, BrokerUnavailable, StreamFull
from oddwire.transports.nats.packing import MAX_BATCH, Batch
from oddwire.transports.nats.patience import LONGEST, pauses

__all__ = ["Publisher"]

logger = get_logger("oddwire.cluster.gateway")


class Publisher:
    """Publishes a partition's queue on a stream's subject. ``progress`` is called when something has been stored."""

    def __init__(
        self,
        connection: BrokerConnection,
        stream: str,
        subject: str,
        partition: int,
        queue: PartitionQueue,
        progress: Callable[[], object],
    ) -> None:
        self.is_full = False
        """Whether the stream took nothing at the last attempt, as it is full."""
        self.queue = queue
        self._connection = connection
        self._stream = stream
        self._subject = subject
        self._partition = partition
        self._progress = progress
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Note that something waits."""
        self._wake.set()

    async def publish(self, run: int) -> None:
        """Publish in this run, until it is cancelled. Raises `BrokerRefused` if the stream is gone."""
        number, token = 0, secrets.token_hex(8)  # runs are counted anew where the bucket of leases is
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self.queue:
                taken = self.queue.take(MAX_BATCH)
                number += 1
                data = Batch(run, taken.table, taken.entries).pack()
                sequence = await self._store(data, f"{token}.{self._partition}.{number}")
                self.queue.settle(taken, sequence)
                self._progress()

    async def _look(self) -> None:
        """Raise `BrokerRefused` if the stream is not there any more: nobody would make it anew while we wait."""
        with contextlib.suppress(BrokerUnavailable):
            await self._connection.api(f"STREAM.INFO.{self._stream}")

    async def _store(self, data: bytes, message_id: str) -> int:
        """Store one message, however often it takes: by its id the broker knows it again."""
        following, said = pauses(), ""
        while True:
            try:
                stored = await self._connection.append(self._subject, data, message_id=message_id)
            except BrokerFailure as failure:
                self.is_full = isinstance(failure, StreamFull)
                pause = next(following)
                if pause == LONGEST and isinstance(failure, BrokerUnavailable):
                    await self._look()
                reason = "the stream is full" if self.is_full else failure.reason
                if reason != said:
                    said = reason
                    logger.warning("partition %d waits: %s", self._partition, reason)
                await asyncio.sleep(pause)
            else:
                self.is_full = False
                if said:
                    logger.warning("partition %d goes on", self._partition)
                return stored.sequence
