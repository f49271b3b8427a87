"""What the printed permissions allow at a real nats-server with TLS and NKEYs: all that is needed, and not more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.broker_users import GuardedBroker
from tests.support.owners import OwnerDouble
from tests.support.waiting import until

from oddwire.cli.workers import look
from oddwire.cluster.broker.permissions import ROLES, permissions_of, permissions_text
from oddwire.cluster.gateway.gateway import Gateway
from oddwire.cluster.log.jetstream import JetStreamLog
from oddwire.cluster.manifests import ExtensionManifest, write_manifests
from oddwire.cluster.partition import Parts
from oddwire.cluster.worker import Worker
from oddwire.errors import TransportError
from oddwire.proto.keys import NodeId, PrivateKey
from oddwire.testing import RecordingSink
from oddwire.transports.base import Manifest
from oddwire.transports.memory import MemoryNetwork
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerFailure, BrokerRefused
from oddwire.transports.nats.packing import CONNECTED, MARKER
from oddwire.transports.nats.subjects import (
    LEASES,
    META,
    in_stream,
    in_subject,
    log_stream,
    log_subject,
    node_key,
    partition_key,
    partition_of,
    snapshot_stream,
    snapshot_subject,
    worker_key,
)

KEY = PrivateKey(bytes([5]) * 32)
NODE = NodeId(KEY.public_key())
PEER = PrivateKey(bytes([6]) * 32)
K = partition_of(NodeId(PEER.public_key()), 4)


class Cluster:
    """A guarded broker with a connection of each role."""

    def __init__(self, broker: GuardedBroker) -> None:
        self.broker = broker
        self.connections: dict[str, BrokerConnection] = {}

    async def open(self) -> None:
        for role in ("gateway", "worker", "admin"):
            self.connections[role] = await BrokerConnection.open(self.broker.address_of(role))

    async def aclose(self) -> None:
        for connection in self.connections.values():
            await connection.aclose()

    async def is_refused(self, role: str, subject: str) -> bool:
        """Whether the server refuses a message of this role on this subject: it says so before it answers a request."""
        connection = self.connections[role]
        await connection.publish(subject, b"x")
        await connection.api("INFO")
        return f'publish to "{subject.lower()}"' in str(connection.client.last_error)


@pytest.fixture(params=[None, NODE], ids=["any node", "one node"])
async def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    with GuardedBroker(tmp_path, {role: permissions_text(role, request.param) for role in ROLES}) as broker:
        made = Cluster(broker)
        await made.open()
        yield made
        await made.aclose()


async def test_gateway_and_worker_do_all_that_they_do_and_no_more(cluster: Cluster) -> None:
    network = MemoryNetwork()
    gateway = Gateway(network.transport(KEY), cluster.connections["gateway"], partitions=4)
    peer, sink = network.transport(PEER), RecordingSink()
    await peer.open(Manifest(), sink)
    await gateway.start()
    await peer.connect(gateway.transport.uris[0])
    await until(lambda: gateway.peers)
    worker = cluster.connections["worker"]
    await _work(worker, sink)
    await OwnerDouble(cluster.connections["admin"], NODE, K).until(CONNECTED, MARKER)
    await _lease_and_store(worker)
    await _consume(worker)

    for subject in (in_subject(NODE, K), f"$KV.{LEASES}.{node_key(NODE)}", f"$KV.{META}.{node_key(NODE)}"):
        assert await cluster.is_refused("worker", subject), subject
    for subject in (
        log_subject(NODE, K),
        snapshot_subject(NODE, K, 1),
        f"$KV.{LEASES}.{partition_key(NODE, K)}",
        f"$KV.{META}.manifest.quote",
    ):
        assert await cluster.is_refused("gateway", subject), subject
        assert not await cluster.is_refused("worker", subject), subject
    for operation in (f"STREAM.DELETE.{in_stream(NODE)}", "STREAM.CREATE.MINE", f"STREAM.PURGE.KV_{META}"):
        with pytest.raises(BrokerRefused, match=f"may not publish to .*{operation.lower()}"):
            await worker.api(operation, {"name": "MINE", "subjects": ["mine"]})
    await peer.aclose()
    await gateway.aclose()


async def test_a_worker_with_the_gateways_login_ends_and_says_what_it_may_not(cluster: Cluster) -> None:
    worker = Worker(cluster.connections["gateway"], Parts(store=_never, transport=_never, application=_never), name="a")
    with pytest.raises(TransportError, match=r"may not publish to .*kv_ow_lease: 'oddwire broker permissions' prints"):
        await worker.run()
    with pytest.raises(TransportError, match=r"^tls://[0-9.:]*: this login may not .* need$"):
        await look(cluster.connections["gateway"])


async def test_a_log_that_a_login_may_not_read(cluster: Cluster) -> None:
    log = JetStreamLog(cluster.connections["gateway"], NODE, 0).log
    with pytest.raises(BrokerRefused, match=r"may not publish to \$js.api.direct.get.ow_log_"):
        async for _ in log.read(0):
            pass


def _never(*_: object) -> Any:
    raise AssertionError("nothing is owned")


async def _work(worker: BrokerConnection, sink: RecordingSink) -> None:
    """Own a partition, and send."""
    owner = OwnerDouble(worker, NODE, K)
    assert "ok" in await owner.own()
    ((conn, *_),) = owner.conns
    assert (await owner.send((conn, b"\x8c\x01"))).status == ""
    await sink.until(lambda sink: sink.payloads)
    for do in ("pause", "resume"):
        assert await owner.ask(do, conn=conn) == {"ok": {}}


async def _lease_and_store(worker: BrokerConnection) -> None:
    """Do with leases, manifests, logs and snapshots what workers do."""
    leases, meta = Bucket(worker, LEASES, max_age=10.0), Bucket(worker, META)
    for key in (worker_key("w1"), partition_key(NODE, K), "job.quote.hourly"):
        revision = await leases.create(key, b"{}")
        revision = await leases.update(key, b"{}", revision)
        await leases.delete(key, revision)
    assert list(await leases.all("node.")) == [node_key(NODE)]
    assert (await meta.get(node_key(NODE))) is not None
    await write_manifests(meta, [ExtensionManifest(name="quote", version="1.0", types=(0x8C02,))])
    for stream, subject in (
        (log_stream(NODE), log_subject(NODE, K)),
        (snapshot_stream(NODE), snapshot_subject(NODE, K, 1)),
    ):
        stored = await worker.append(subject, b"x", expected_last=0)
        found = await worker.last_of(stream, subject)
        assert found is not None
        assert found.sequence == stored.sequence
        await worker.api(f"STREAM.INFO.{stream}", {"subjects_filter": subject})
        await worker.api(f"STREAM.PURGE.{stream}", {"filter": subject})


async def _consume(worker: BrokerConnection) -> None:
    """Make a consumer, take a message from it, acknowledge that, delete it."""
    stream, client = in_stream(NODE), worker.client
    config = {"name": "t", "filter_subject": in_subject(NODE, K), "ack_policy": "explicit", "max_ack_pending": 10_000}
    body = {"stream_name": stream, "config": config, "action": "create"}
    await worker.api(f"CONSUMER.CREATE.{stream}.t.{in_subject(NODE, K)}", body)
    assert (await worker.api(f"CONSUMER.NAMES.{stream}"))["consumers"] == ["t"]
    subscription = await client.subscribe(client.new_inbox())
    await worker.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.t", b'{"batch": 1}', reply=subscription.subject)
    message = await subscription.next_msg(timeout=20)
    await worker.request(message.reply, b"")
    await worker.api(f"CONSUMER.INFO.{stream}.t")
    await worker.api(f"CONSUMER.DELETE.{stream}.t")
    await subscription.unsubscribe()


def test_for_one_node_streams_are_named() -> None:
    found = permissions_of("worker", NODE)
    assert set(found["publish"]) == {"allow"}
    assert not any(each.startswith("$JS.API") and ".*" in each.removesuffix(".*") for each in found["publish"]["allow"])


async def test_a_user_with_another_key_is_not_let_in(cluster: Cluster, tmp_path: Path) -> None:
    wrong = GuardedBroker(tmp_path / "other", {})
    address = cluster.broker.address_of("worker")
    with pytest.raises(BrokerFailure, match="does not let us in"):
        await BrokerConnection.open(
            type(address)(url=address.url, nkey=wrong.seeds["admin"], ca=address.ca), patience=20.0
        )
