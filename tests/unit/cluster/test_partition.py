from __future__ import annotations

import pytest
from tests.support.worker_rig import NODE, FakeStore, Fences

from oddwire.cluster.partition import PartitionProgram, Parts, partition_number
from oddwire.errors import TransportError
from oddwire.proto.keys import NodeId
from oddwire.transports.memory import MemoryTransport


def test_a_programs_number_is_the_partitions_whoever_owns_it():
    numbers = {partition_number(NODE, number) for number in range(16)}

    assert len(numbers) == 16
    assert all(0 <= number < 1 << 64 for number in numbers)
    assert partition_number(NODE, 3) == partition_number(NodeId(str(NODE)), 3)


async def test_a_store_is_closed_if_the_application_does_not_start():
    stores = []

    def store(_, partition):
        stores.append(FakeStore(Fences(), partition))
        return stores[0]

    def application(*_):
        raise TransportError("no")

    parts = Parts(store=store, transport=lambda *_: MemoryTransport(), application=application)
    with pytest.raises(TransportError):
        await PartitionProgram(NODE, 1, parts, None).start()

    assert stores[0].closed
