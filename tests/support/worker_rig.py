"""Workers over a broker, with an application in memory for each partition: only leases are real."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json

from tests.support.lease_buckets import QUICK

from oddwire import Extension
from oddwire.app import Application
from oddwire.cluster.partition import Parts
from oddwire.cluster.watchdog import Watchdog
from oddwire.cluster.worker import Worker
from oddwire.proto.keys import NodeId, PrivateKey
from oddwire.transports.memory import MemoryTransport
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.subjects import LEASES, META, node_key, partition_key

NODE = NodeId(PrivateKey(b"\x01" * 32).public_key())
KEYS = [partition_key(NODE, number) for number in range(4)]


class Fences:
    """The logs of partitions, as far as owners are fenced: a number for each take."""

    def __init__(self):
        self.numbers = itertools.count(1)
        self.terms = {}
        self.wrong = {}
        self.taken = []


class FakeStore:
    def __init__(self, fences, partition):
        self.fences, self.partition = fences, partition
        self.closed = False
        self.on_fenced = []
        self.lost_by = ""

    def lost(self, why):
        self.lost_by = why

    async def take(self):
        wrong = self.fences.wrong.get(self.partition)
        if wrong is not None:
            raise wrong
        self.fences.terms[self.partition] = term = next(self.fences.numbers)
        self.fences.taken.append(self.partition)
        return term

    async def catch_up(self):
        return None

    async def aclose(self):
        self.closed = True


class FakeTransport(MemoryTransport):
    """A transport that a worker can tell of its loss."""

    lost_by = ""

    def lost(self, reason):
        self.lost_by = reason


class Rig:
    """Workers with an application of one extension for each partition, and what became of it."""

    def __init__(self, connection, times=QUICK):
        self.connection = connection
        self.times = times
        self.extension = Extension("quote", version="1")
        self.fences = Fences()
        self.apps = {}
        self.events = []
        self.tasks = []
        self.transports = []
        self.stores = {}

    def parts(self):
        def transport(node, partition, term):
            made = FakeTransport()
            made.place = partition
            self.transports.append(made)
            return made

        def application(transport, store, program):
            app = Application(self.extension, transport=transport, program=program, session=False)
            self.apps[transport.place] = app
            return app

        def store(_, partition):
            made = self.stores[partition] = FakeStore(self.fences, partition)
            return made

        return Parts(store=store, transport=transport, application=application)

    def worker(self, name, **more):
        worker = Worker(
            self.connection,
            self.parts(),
            name=name,
            times=self.times,
            on_event=lambda what, values: self.events.append((name, what, values["partition"], values["reason"])),
            watchdog=Watchdog(lambda _: None),
            **more,
        )
        self.tasks.append(asyncio.create_task(worker.run()))
        return worker, self.tasks[-1]

    def owned(self, worker):
        return sorted(key for key, term in worker._record()["partitions"].items() if term)


@contextlib.asynccontextmanager
async def worker_rig(connection, times=QUICK):
    """Yield a rig with a node of four partitions, whose gateway is alive."""
    made = Rig(connection, times)
    await Bucket(connection, META).put(node_key(NODE), json.dumps({"partitions": 4}).encode())
    leases = Bucket(connection, LEASES)

    async def gateway():
        while True:
            await leases.put(node_key(NODE), json.dumps({"run": 7}).encode())
            await asyncio.sleep(QUICK.renew)

    made.tasks.append(asyncio.create_task(gateway()))
    yield made
    for task in made.tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*made.tasks, return_exceptions=True)
