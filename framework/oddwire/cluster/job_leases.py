"""Leases of jobs of scope ``"cluster"``: who holds one runs the job."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from oddwire.cluster.leases import Lease, Leases
from oddwire.log_limits import get_logger
from oddwire.transports.nats.errors import BrokerFailure
from oddwire.transports.nats.subjects import job_key

__all__ = ["JobLeases"]

logger = get_logger("oddwire.cluster.worker")

_AGAIN: Final = 1.0  # max seconds until a lease that could not be had is tried again


class JobLeases:
    """A partition's: each partition's application asks for a job, and the first that gets its lease runs it."""

    def __init__(self, leases: Leases, worker: str, partition: str) -> None:
        self._leases = leases
        self._worker = worker
        self._partition = partition

    @contextlib.asynccontextmanager
    async def alone(self, extension: str, name: str) -> AsyncIterator[asyncio.Future[str]]:
        """Wait for the job's lease, and hold it; see `oddwire.app.dispatch.cluster_jobs.ClusterJobs`."""
        key = job_key(extension, name)
        lease = await self._take(key)
        logger.info("job %s of %s runs here, in partition %s", name, extension, _short(self._partition))
        try:
            yield lease.lost
        finally:
            await asyncio.shield(asyncio.ensure_future(self._leases.release(lease)))

    async def _take(self, key: str) -> Lease:
        while True:
            await self._leases.until_free(key)
            try:
                lease = await self._leases.take(key, self._fields)
            except BrokerFailure as error:
                logger.warning("%s", error.reason)
                lease = None
            if lease is not None:
                return lease
            await asyncio.sleep(random.uniform(_AGAIN / 4, _AGAIN))  # noqa: S311 - need not be unpredictable

    def _fields(self) -> Mapping[str, Any]:
        return {"worker": self._worker, "partition": self._partition}


def _short(key: str) -> str:
    """Return how people are told of the partition with this key."""
    _, _, place = key.partition(".")
    node, _, number = place.partition(".")
    return f"{node[:8]}.{number}"
