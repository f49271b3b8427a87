"""Former owners that do not know that they are: what they commit and what they send has to be refused, every time.

A frozen worker has only an instant for that when it wakes up. So the harness plays them all: it notes the term and the
last record of each partition, and once there is a newer term, it appends and sends by what it had noted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from typing import Final, NamedTuple

from oddwire import NodeId
from oddwire.transports.nats.address import BrokerAddress
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerFailure, BrokerUnavailable, UnexpectedSequence
from oddwire.transports.nats.packing import Accepted, Outgoing
from oddwire.transports.nats.subjects import (
    LEASES,
    log_stream,
    log_subject,
    node_key,
    out_subject,
    partition_key,
)

EVERY: Final = 1.0  # seconds
PAYLOAD: Final = (0x9A17).to_bytes(2, "big") + b"of a former owner"


class Noted(NamedTuple):
    """A partition as it was seen."""

    term: int
    run: int
    sequence: int


class Ghosts:
    """Haunts the partitions of a node until cancelled. ``counts`` has what was refused; ``faults`` what was not."""

    def __init__(self, address: BrokerAddress, node_id: NodeId) -> None:
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._address = address
        self._node = node_id
        self._noted: dict[int, Noted] = {}

    async def haunt(self) -> None:
        """Do it all the time; while the broker is not there, nothing."""
        connection = await self._connected()
        try:
            bucket = Bucket(connection, LEASES, max_age=10.0)
            while True:
                await asyncio.sleep(EVERY)
                with contextlib.suppress(BrokerFailure, TimeoutError):
                    async with asyncio.timeout(5):
                        await self.round(connection, bucket)
        finally:
            await connection.aclose()

    async def _connected(self) -> BrokerConnection:
        while True:
            with contextlib.suppress(BrokerFailure):
                return await BrokerConnection.open(self._address)
            await asyncio.sleep(EVERY)

    async def round(self, connection: BrokerConnection, bucket: Bucket) -> None:
        """Look at each partition: act as its former owner if it has another one, and note what there is."""
        leases = await bucket.all()
        gateway = leases.get(node_key(self._node))
        for partition in range(16):
            lease = leases.get(partition_key(self._node, partition))
            if lease is None or gateway is None:
                continue
            term, run = int(json.loads(lease.data).get("term") or 0), int(json.loads(gateway.data).get("run") or 0)
            noted = self._noted.get(partition)
            if noted is not None and term > noted.term:
                await self._commit(connection, partition, noted)
                await self._send(connection, partition, noted._replace(run=run))
                del self._noted[partition]
            if term:
                last = await connection.last_of(log_stream(self._node), log_subject(self._node, partition))
                if last is not None and last.sequence >= term:
                    self._noted[partition] = Noted(term, run, last.sequence)

    async def _commit(self, connection: BrokerConnection, partition: int, noted: Noted) -> None:
        try:
            await connection.append(
                log_subject(self._node, partition), b"of a former owner", expected_last=noted.sequence
            )
        except UnexpectedSequence:
            self.counts["commits refused"] += 1
        else:
            self.faults.append(f"a commit of the former term {noted.term} was taken by partition {partition}")

    async def _send(self, connection: BrokerConnection, partition: int, noted: Noted) -> None:
        request = Outgoing(partition, noted.term, noted.run, 1_000_000, [(1, PAYLOAD)])
        try:
            answer = Accepted.unpack(await connection.request(out_subject(self._node), request.pack()))
        except BrokerUnavailable:
            return  # no gateway at the moment
        if answer.status:
            self.counts[f"sends refused: {answer.status}"] += 1
        else:
            self.faults.append(f"a send of the former term {noted.term} was taken for partition {partition}")
