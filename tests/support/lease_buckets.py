"""The buckets of a cluster, whose leases are short."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from oddwire.cluster.lease_times import LeaseTimes
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.subjects import LEASES, META

QUICK = LeaseTimes(
    ttl=8.0, renew=0.4, margin=1.0, free=0.3, better=0.4, watchdog=1.0, backoff=0.05, longest=0.2, forget=1.0
)


PATIENT = LeaseTimes(
    ttl=30.0, renew=0.4, margin=2.0, free=0.3, better=0.4, watchdog=1.0, backoff=0.05, longest=0.2, forget=1.0
)
"""Those of tests in which no lease runs out, however busy the machine."""


@contextlib.asynccontextmanager
async def lease_buckets(connection: BrokerConnection, times: LeaseTimes = QUICK) -> AsyncIterator[BrokerConnection]:
    """Make the buckets, new for a test, and delete them at its end."""
    for bucket in (Bucket(connection, LEASES, max_age=times.ttl), Bucket(connection, META)):
        await bucket.create_bucket()
    yield connection
    for name in (LEASES, META):
        await connection.api(f"STREAM.DELETE.KV_{name}")
