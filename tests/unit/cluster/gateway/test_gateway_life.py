"""What a gateway does when something is full, slow, lost, or there already."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.broker import Broker
from tests.support.gateway_rig import Rig, new_key
from tests.support.owners import OwnerDouble
from tests.support.waiting import until, until_answered

from oddwire.cluster.gateway.gateway import Gateway
from oddwire.cluster.gateway.limits import GatewayLimits
from oddwire.cluster.lease_times import LeaseTimes
from oddwire.cluster.log.entries import START, Kind, encode
from oddwire.cluster.manifests import ExtensionManifest, write_manifests
from oddwire.errors import DefinitionError, NodeRefused, TransportError
from oddwire.proto.keys import NodeId
from oddwire.testing import RecordingSink
from oddwire.transports.base import Manifest
from oddwire.transports.host import HostTransport
from oddwire.transports.memory import MemoryNetwork, MemoryTransport
from oddwire.transports.nats.address import BrokerAddress
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import StreamFull
from oddwire.transports.nats.packing import CONNECTED, DISCONNECTED, MARKER, PAYLOAD, ROOM
from oddwire.transports.nats.subjects import LEASES, META, in_stream, log_stream, log_subject, node_key

ASK = bytes.fromhex("8c01")
LARGE = ASK + bytes(60_000)
QUICK = LeaseTimes(renew=0.02)


class HostDouble(MemoryTransport, HostTransport):
    """A node of its own with methods: its connections are not the gateway's to end."""

    async def call(self, method, params=None, *, timeout=None):
        if method == "boom":
            raise NodeRefused("no such thing", code=-1, data={"of": 1 << 70})
        return {"method": method, "params": params, "large": 1 << 65}


@pytest.fixture
async def own_broker(tmp_path: Path) -> AsyncIterator[Broker]:
    with Broker(tmp_path / "own") as broker:
        yield broker


class Made:
    """Makes rigs, and closes them."""

    def __init__(self) -> None:
        self.rigs: list[Rig] = []

    async def __call__(self, connection: BrokerConnection, kind: type[MemoryTransport] = MemoryTransport, **options):
        network = MemoryNetwork()
        gateway = Gateway(kind(new_key(), network=network), connection, **{"partitions": 2, **options})
        peer, sink = network.transport(new_key()), RecordingSink()
        await peer.open(Manifest(), sink)
        await gateway.start()
        await peer.connect(gateway.transport.uris[0])
        rig = Rig(gateway, network, peer, sink, connection)
        self.rigs.append(rig)
        await until(lambda: gateway.peers)
        return rig


@pytest.fixture
async def make(connection: BrokerConnection) -> AsyncIterator[Made]:  # which is closed after the gateways
    made = Made()
    yield made
    for rig in made.rigs:
        await rig.peer.aclose()
        await rig.gateway.aclose()


async def owned(rig: Rig, term: int = 1) -> tuple[OwnerDouble, int]:
    """An owner of the peer's partition, and the number of its connection."""
    owner = rig.owner(term)
    assert "ok" in await owner.own()
    ((conn, *_),) = owner.conns
    return owner, conn


# Full ---------------------------------------------------------------------------------------------------


async def test_a_peer_that_reads_slowly_is_named_full_and_has_room_later(make: Made, connection) -> None:
    rig = await make(connection)
    owner, conn = await owned(rig)
    rig.peer.pause(rig.node)
    sent, full = 0, []
    while not full:
        accepted = await owner.send(*[(conn, LARGE)] * 4)
        assert (accepted.status, accepted.refused) == ("", [])
        full, sent = list(accepted.full), sent + 4
    assert full == [conn]
    accepted = await owner.send((conn, LARGE))
    assert [(index, reason) for index, reason, _ in accepted.refused] == [(0, "full")]
    rig.peer.resume(rig.node)
    await owner.until(ROOM)
    await owner.send((conn, ASK))
    await rig.sink.until(lambda sink: sink.payloads[-1:] == [ASK])
    assert len(rig.sink.payloads) == sent + 1


async def test_what_waits_for_a_peer_that_is_gone_is_dropped(make: Made, connection) -> None:
    rig = await make(connection)
    owner, conn = await owned(rig)
    rig.peer.pause(rig.node)
    while not (await owner.send(*[(conn, LARGE)] * 4)).full:
        pass
    rig.network.drop(rig.node, rig.me)
    await owner.until(DISCONNECTED)
    assert (await owner.send((conn, ASK))).refused[0][1] == "gone"
    await until(lambda: not rig.gateway._outbound.unsent)


async def test_a_full_stream_pauses_peers_and_loses_nothing(make: Made, connection) -> None:
    limits = GatewayLimits(peer_waiting=200_000)
    rig = await make(connection, limits=limits, max_waiting=300_000)
    sent = [ASK + number.to_bytes(2, "big") + bytes(50_000) for number in range(30)]
    inbound = rig.gateway._inbound

    async def send() -> None:
        for payload in sent:
            await rig.peer.send(rig.node, payload)

    sending = asyncio.create_task(send())
    await until(lambda: any(publisher.is_full for publisher in inbound.publishers))
    await until(lambda: inbound.table.peers[rig.me].pauses == {"waiting"})
    assert inbound.waiting < 400_000
    owner, found = rig.owner(), []
    while len(found) < len(sent):
        for batch in await owner.batches():
            found += [entry for entry in batch.entries if entry[0] == PAYLOAD]
        await connection.api(f"STREAM.PURGE.{in_stream(rig.node)}", {"seq": owner.read + 1})
        await asyncio.sleep(0.01)
    await sending
    assert [entry[3] for entry in found] == sent
    assert [entry[2] for entry in found] == list(range(1, 31))
    await until(lambda: not inbound.table.peers[rig.me].pauses)


async def test_a_worker_pauses_its_peer_until_the_next_owner(make: Made, connection) -> None:
    rig = await make(connection)
    owner, conn = await owned(rig)
    assert await owner.ask("pause", conn=conn) == {"ok": {}}
    await rig.peer.send(rig.node, ASK)
    await rig.peer.send(rig.node, ASK)
    assert not [entry for entry in await owner.until(CONNECTED) if entry[0] == PAYLOAD]
    assert await owner.ask("resume", conn=conn) == {"ok": {}}
    await owner.until(PAYLOAD)
    await owner.ask("pause", conn=conn)
    await rig.peer.send(rig.node, ASK + b"later")
    later, _ = await owned(rig, 2)
    later.read = owner.read
    await later.until(PAYLOAD)


# Peers and the host -------------------------------------------------------------------------------------


async def test_a_worker_dials_warns_and_disconnects(make: Made, connection) -> None:
    rig = await make(connection)
    owner, conn = await owned(rig)
    other, sink = rig.network.transport(new_key()), RecordingSink()
    await other.open(Manifest(), sink)
    answer = await owner.ask("connect", uri=other.uris[0])
    assert NodeId(answer["ok"]["conn"][1]) == other.node_id
    assert (await owner.ask("connect", uri="nonsense"))["error"][0] == "failed"
    assert await owner.ask("warn", conn=conn, text="careful") == {"ok": {}}
    await until(lambda: rig.peer.warnings)
    assert rig.peer.warnings[0] == (rig.node, "careful")
    assert await owner.ask("disconnect", conn=conn, reason="enough") == {"ok": {}}
    await owner.until(DISCONNECTED)
    assert (await owner.ask("warn", conn=conn, text="x"))["error"][0] == "gone"
    await other.aclose()


async def test_only_methods_that_are_listed_are_called(make: Made, connection) -> None:
    rig = await make(connection, kind=HostDouble, methods=["getinfo", "boom"])
    owner, _ = await owned(rig)
    answer = await owner.ask("call", method="getinfo", params={"a": [1]})
    assert answer["ok"]["result"] == {"method": "getinfo", "params": {"a": [1]}, "large": str(1 << 65)}
    assert (await owner.ask("call", method="boom"))["error"] == ["node", "no such thing", -1, {"of": str(1 << 70)}]
    code, text = (await owner.ask("call", method="pay", params=[]))["error"]
    assert code == "method"
    assert text.endswith("workers call 'pay'; allowed: boom, getinfo (--allow-method)")
    assert rig.gateway.refusals.counts == {"method": 1}


async def test_a_node_without_methods_has_none_to_call(make: Made, connection) -> None:
    rig = await make(connection)
    owner, _ = await owned(rig)
    assert "allowed: none is" in (await owner.ask("call", method="getinfo"))["error"][1]


# Runs ---------------------------------------------------------------------------------------------------


async def take_over(rig: Rig, connection: BrokerConnection) -> Bucket:
    """Write the node's lease as another gateway would."""
    leases = Bucket(connection, LEASES, max_age=10.0)
    await leases.put(node_key(rig.node), b'{"host": "elsewhere", "pid": 7, "token": "other"}')
    return leases


async def test_a_gateway_that_loses_its_lease_ends_connections_and_begins_anew(make: Made, connection) -> None:
    rig = await make(connection, times=QUICK)
    owner, conn = await owned(rig)
    run = rig.gateway.run
    leases = await take_over(rig, connection)
    await rig.sink.until(lambda sink: sink.disconnected)
    assert (await owner.send((conn, ASK))).status == "run"
    assert (await owner.own())["error"][0] == "run"
    await leases.delete(node_key(rig.node))
    await until(lambda: rig.gateway.run)
    assert rig.gateway.run > run
    await rig.connect()
    await until(lambda: rig.gateway.peers)
    later, again = await owned(rig, 2)
    assert later.run == rig.gateway.run
    assert again != conn
    assert (await later.send((again, ASK))).status == ""


async def test_under_a_host_connections_stay_and_get_new_numbers(make: Made, connection) -> None:
    rig = await make(connection, kind=HostDouble, times=QUICK)
    owner, conn = await owned(rig)
    leases = await take_over(rig, connection)
    await until(lambda: not rig.gateway.run)
    await leases.delete(node_key(rig.node))
    await until(lambda: rig.gateway.run)
    later, again = await owned(rig, 2)
    assert again != conn
    assert not rig.sink.disconnected
    later.read = owner.read
    batches = await until_answered(lambda: _of_run(later), every=0.01)
    assert batches[0].entries[0][:2] == [CONNECTED, again]


async def _of_run(owner: OwnerDouble):
    return [batch for batch in await owner.batches() if batch.run == owner.run]


async def test_a_second_gateway_of_a_node_is_refused(make: Made, connection) -> None:
    rig = await make(connection, times=QUICK)
    other = MemoryTransport(rig.gateway.transport.network.next_key())
    other.node_id = rig.node
    with pytest.raises(TransportError, match=r"has a gateway already, process \d+ on .*; it can have one at a time"):
        await Gateway(other, connection).start()
    assert rig.gateway.run


async def test_a_gateway_of_the_same_place_takes_over_at_once(make: Made, connection) -> None:
    rig = await make(connection, place="boot/1/2")
    other = MemoryTransport()
    other.node_id = rig.node
    second = Gateway(other, connection, place="boot/1/2")
    await second.start()
    assert second.run > rig.gateway.run - 1
    assert (await rig.owner().own())["ok"]["run"]
    await second.aclose()


# Manifests ----------------------------------------------------------------------------------------------


async def test_what_extensions_announce_is_announced_and_changes_are_told(make: Made, connection, caplog) -> None:
    meta = Bucket(connection, META)
    await meta.create_bucket()
    await write_manifests(meta, [ExtensionManifest(name="quote", version="1.0", types=(0x8C02,), features=(513,))])
    rig = await make(connection)
    assert 0x8C02 in rig.gateway.announced.type_ids
    assert rig.sink.connected[0].has_feature(513)
    await write_manifests(meta, [ExtensionManifest(name="quote", version="1.1", types=(0x8C04,), features=(515,))])
    line = "a worker of quote 1.1 offers feature 515, takes type 0x8c04; restart the gateway to announce it"
    await until(lambda: line in caplog.text)


# The broker ---------------------------------------------------------------------------------------------


async def test_a_broker_that_is_killed_loses_nothing(make: Made, own_broker: Broker) -> None:
    connection = await BrokerConnection.open(own_broker.address)
    rig = await make(connection)
    await rig.peer.send(rig.node, ASK + b"before")
    owner = rig.owner()
    await owner.until(PAYLOAD)
    own_broker.kill()
    await until(lambda: not connection.is_connected)
    await rig.peer.send(rig.node, ASK + b"meanwhile")
    own_broker.start()
    await until(lambda: connection.is_connected)
    await rig.peer.send(rig.node, ASK + b"after")
    found = []
    while len(found) < 2:
        found += [entry for entry in await owner.until(PAYLOAD) if entry[0] == PAYLOAD]
    assert [entry[2:] for entry in found] == [[2, ASK + b"meanwhile"], [3, ASK + b"after"]]
    assert (await owner.own())["ok"]["run"] == rig.gateway.run
    await rig.peer.aclose()
    await rig.gateway.aclose()
    await connection.aclose()


async def test_an_account_whose_limit_is_reached_is_waited_for(make: Made, tmp_path: Path) -> None:
    limited = "accounts { A: { jetstream: { max_file: 10M }, users: [ { user: a, password: b } ] } }"
    with Broker(tmp_path / "limited", settings=limited) as broker:
        connection = await BrokerConnection.open(BrokerAddress(url=broker.url.replace("//", "//a:b@")))
        short = LeaseTimes(ttl=2.0, renew=0.02, margin=1.0, watchdog=0.5)
        rig = await make(connection, times=short, max_waiting=2_000_000)
        run, subject = rig.gateway.run, log_subject(rig.node, rig.k)
        for size in (1_000_000, 10_000, 100):
            with pytest.raises(StreamFull, match="resource limits exceeded for account"):
                await _append_on(connection, subject, size)
        await until(lambda: not rig.gateway.run)
        await connection.api(f"STREAM.PURGE.{log_stream(rig.node)}")
        await Bucket(connection, LEASES).delete(node_key(rig.node))  # which runs out in time, too
        await until(lambda: rig.gateway.run)
        assert rig.gateway.run > run
        await rig.peer.aclose()
        await rig.gateway.aclose()
        await connection.aclose()


async def _append_on(connection: BrokerConnection, subject: str, size: int) -> None:
    while True:
        await connection.append(subject, bytes(size))


async def test_its_lease_tells_how_it_is(make: Made, connection) -> None:
    rig = await make(connection, times=QUICK)
    leases = Bucket(connection, LEASES, max_age=10.0)

    async def told():
        value = await leases.get(node_key(rig.node))
        found = {} if value is None else json.loads(value.data)
        return found if found.get("peers") == 1 else None

    found = await until_answered(told)
    assert found["run"] == rig.gateway.run
    assert found["partitions"] == 2
    assert found["refused"] == {}


async def test_an_owner_of_a_full_partition_is_answered_and_can_empty_it(make: Made, connection) -> None:
    rig = await make(connection, max_waiting=600_000)
    inbound = rig.gateway._inbound
    sending = asyncio.create_task(_send_on(rig))
    await until(lambda: any(publisher.is_full for publisher in inbound.publishers))
    owner = rig.owner()
    answer = (await owner.own())["ok"]
    assert answer["marker"] == 0
    assert answer["total"] == len(answer["conns"]) == 1
    marked: list[int] = []
    while not marked:
        batches = await owner.numbered()
        marked = [number for number, batch in batches if MARKER in [entry[0] for entry in batch.entries]]
        await connection.api(f"STREAM.PURGE.{in_stream(rig.node)}", {"seq": owner.read + 1})
        await asyncio.sleep(0.01)
    sending.cancel()
    await asyncio.wait([sending])
    assert (await owner.own())["ok"]["marker"] == marked[0]


async def _send_on(rig: Rig) -> None:
    while True:
        await rig.peer.send(rig.node, LARGE)


async def test_a_stream_that_is_deleted_ends_the_gateway(make: Made, connection) -> None:
    rig = await make(connection)
    ended = asyncio.create_task(rig.gateway.wait())
    await connection.api(f"STREAM.DELETE.{in_stream(rig.node)}")
    await rig.peer.send(rig.node, ASK)
    with pytest.raises(TransportError, match=r"the gateway cannot go on: STREAM.INFO.OW_IN_.*: stream not found"):
        await ended


async def test_a_log_that_begins_anew_is_believed(make: Made, connection) -> None:
    rig = await make(connection)
    assert "ok" in await rig.owner(1 << 60).own()  # of a worker that lies, as long as the log is empty
    assert (await rig.owner(5).own())["error"][0] == "stale"
    subject = log_subject(rig.node, rig.k)
    fence = (await connection.append(subject, encode(Kind.FENCE, 0, START, b"x")[0])).sequence
    assert "ok" in await rig.owner(fence).own()
    assert (await rig.owner(fence + 1).own())["error"][0] == "stale"
    assert (await rig.owner(1 << 60).own())["error"][0] == "stale"


async def test_a_run_is_later_than_former_ones_though_the_bucket_of_leases_was_deleted(own_broker: Broker) -> None:
    connection = await BrokerConnection.open(own_broker.address)
    key, runs, read = new_key(), [], 0
    for payload in (ASK + b"before", ASK + b"after"):
        network = MemoryNetwork()
        gateway = Gateway(network.transport(key), connection, partitions=1)
        peer = network.transport(new_key())
        await peer.open(Manifest(), RecordingSink())
        await gateway.start()
        runs.append(gateway.run)
        await peer.connect(gateway.transport.uris[0])
        await peer.send(gateway.node_id, payload)
        owner = OwnerDouble(connection, gateway.node_id, 0)
        owner.read = read
        entries = await owner.until(PAYLOAD)
        assert [entry[3] for entry in entries if entry[0] == PAYLOAD] == [payload]
        read = owner.read
        await peer.aclose()
        await gateway.aclose()
        read = max(read, int((await connection.api(f"STREAM.INFO.{in_stream(gateway.node_id)}"))["state"]["last_seq"]))
        await connection.api(f"STREAM.DELETE.KV_{LEASES}")
    assert runs[0] == 1
    assert runs[1] > runs[0]
    await connection.aclose()


async def test_a_term_is_higher_than_former_ones_though_the_log_was_deleted(connection: BrokerConnection) -> None:
    network, key = MemoryNetwork(), new_key()
    first = Gateway(network.transport(key), connection, partitions=1)
    await first.start()
    await first.aclose()
    subject = log_subject(first.node_id, 0)
    terms = [(await connection.append(subject, encode(Kind.FENCE, 0, START, b"x")[0])).sequence for _ in range(3)]
    await connection.api(f"STREAM.DELETE.{log_stream(first.node_id)}")
    second = Gateway(network.transport(key), connection)
    await second.start()
    assert (await connection.append(subject, b"x", expected_last=0)).sequence > max(terms)
    await second.aclose()


async def test_a_number_of_partitions_that_is_lost_is_asked_for(connection: BrokerConnection) -> None:
    network, key = MemoryNetwork(), new_key()
    first = Gateway(network.transport(key), connection, partitions=3)
    await first.start()
    await first.aclose()
    await Bucket(connection, META).delete(node_key(first.node_id))
    second = Gateway(network.transport(key), connection, partitions=3)  # nothing is in any store
    await second.start()
    await second.aclose()
    await connection.append(log_subject(first.node_id, 0), encode(Kind.FENCE, 0, START, b"x")[0])
    await Bucket(connection, META).delete(node_key(first.node_id))
    with pytest.raises(DefinitionError, match=r"does not say any more in how many partitions .*--partitions N"):
        await Gateway(network.transport(key), connection).start()
    third = Gateway(network.transport(key), connection, partitions=3)
    await third.start()
    await third.aclose()
