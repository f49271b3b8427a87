from __future__ import annotations

import asyncio

import pytest
from tests.support.worker_rig import NODE, FakeStore, FakeTransport, Fences

from oddwire import Extension
from oddwire.app import Application
from oddwire.cluster.partition import PartitionProgram, Parts, partition_number
from oddwire.errors import StoreError, TransportError
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


class Program:
    """A partition's program, with the parts that it was made of."""

    def __init__(self, extension):
        self.store = FakeStore(Fences(), 1)
        self.transport = FakeTransport()
        self.transport.run = 7
        parts = Parts(
            store=lambda *_: self.store,
            transport=lambda *_: self.transport,
            application=lambda transport, _, number: Application(
                extension, transport=transport, program=number, session=False
            ),
        )
        self.program = PartitionProgram(NODE, 1, parts, None)


@pytest.fixture
def steps():
    return []


@pytest.fixture
def extension(steps):
    extension = Extension("quote", version="1")

    @extension.on_startup
    async def start(context):
        steps.append("started")

    @extension.on_stopping
    async def stop(context):
        steps.append("stopping")

    @extension.on_shutdown
    async def end(context):
        steps.append("ended")

    return extension


@pytest.fixture
async def made(extension):
    made = Program(extension)
    yield made
    await made.program.cut_off("the test is over")


async def test_a_program_runs_for_its_term_and_ends_in_good_order(made, steps):
    program = made.program
    await program.start()
    assert (program.term, steps) == (1, ["started"])
    assert not made.store.closed

    await program.end()

    assert steps == ["started", "stopping", "ended"]
    assert made.store.closed
    assert made.transport.lost_by == made.store.lost_by == ""
    assert await program.ended == "an extension stopped it"  # as it cannot tell who did
    assert not program.fenced.done()


async def test_a_program_that_is_cut_off_stores_and_sends_nothing_more(made, steps):
    await made.program.cut_off("not started yet")
    await made.program.start()

    await made.program.cut_off("the lease ran out")

    assert made.transport.lost_by == made.store.lost_by == "the lease ran out"
    assert made.store.closed
    assert steps == ["started", "stopping", "ended"]  # extensions are told, though it is too late to store anything


async def test_a_program_says_why_it_has_ended_by_itself(made):
    await made.program.start()
    made.program.app.stop()
    assert await made.program.ended == "an extension stopped it"
    await made.program.end()


async def test_a_store_that_is_anothers_fences_the_program_once(made):
    await made.program.start()
    for reason in ("a later owner has the log", "again"):
        for call in made.store.on_fenced:
            call(StoreError(reason, path="", reason="fenced"))
    assert await made.program.fenced == "a later owner has the log"
    await made.program.end()


async def test_a_program_is_of_the_run_that_its_transport_is_of(made):
    assert made.program.is_of(8)  # it has none yet
    await made.program.start()
    assert [made.program.is_of(run) for run in (7, None, 8)] == [True, True, False]
    made.program.lose("the gateway began a new run")
    assert made.transport.lost_by == "the gateway began a new run"
    await made.program.end()


async def test_a_start_that_is_cancelled_leaves_no_store_open(made):
    made.store.catch_up = asyncio.Event().wait
    starting = asyncio.create_task(made.program.start())
    while not made.store.fences.taken:
        await asyncio.sleep(0)
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    assert made.store.closed
    await made.program.end()


class CountingStore(FakeStore):
    closings = 0

    async def aclose(self):
        self.closings += 1
        await asyncio.sleep(0)  # as one that closes its files in a thread
        await super().aclose()


async def test_a_program_that_is_cut_off_while_it_ends_closes_its_store_once():
    store = CountingStore(Fences(), 1)

    def application(transport, *_):
        return Application(Extension("quote", version="1"), transport=transport, session=False)

    parts = Parts(store=lambda *_: store, transport=lambda *_: MemoryTransport(), application=application)
    program = PartitionProgram(NODE, 1, parts, None)
    await program.start()
    await asyncio.gather(program.end(), program.cut_off("lost"))
    assert store.closed
    assert store.closings == 1
