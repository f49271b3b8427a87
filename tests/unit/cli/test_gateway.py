"""`oddwire gateway` as a process: a node of its own, and LND's; the plugin file is in tests/interop."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.broker import Broker
from tests.support.lnd.scripted import ScriptedLnd
from tests.support.owners import OwnerDouble
from tests.support.waiting import until
from typer.main import get_command

from oddwire.cli.gateway import program
from oddwire.proto import PrivateKey
from oddwire.proto.keys import NodeId
from oddwire.testing import RecordingSink
from oddwire.transports.base import Manifest
from oddwire.transports.bolt8.transport import Bolt8Transport
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.packing import CONNECTED, PAYLOAD
from oddwire.transports.nats.subjects import LEASES, node_key, partition_of

ASK = bytes.fromhex("8c01")
PEER = NodeId("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory):
    with Broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
async def connection(broker: Broker) -> AsyncIterator[BrokerConnection]:
    opened = await BrokerConnection.open(broker.address)
    yield opened
    await opened.aclose()


@pytest.fixture
async def lnd(tmp_path: Path) -> AsyncIterator[ScriptedLnd]:
    async with ScriptedLnd(tmp_path / "lnd") as lnd:
        yield lnd


async def test_a_node_of_its_own(start, broker: Broker, connection: BrokerConnection, tmp_path: Path) -> None:
    arguments = ("gateway", "--broker", broker.url, "--listen", "127.0.0.1:0", "--data-dir", tmp_path / "d", "--json")
    gateway = await start(*arguments, "--partitions", "2")
    uri = (await gateway.event("listening"))["uri"]
    node = NodeId(uri.partition("@")[0])
    transport, sink = Bolt8Transport(PrivateKey(bytes([9]) * 32)), RecordingSink()
    await transport.open(Manifest(), sink)
    await transport.connect(uri, keep=False)
    await transport.send(node, ASK)
    owner = OwnerDouble(connection, node, partition_of(transport.node_id, 2))
    await owner.until(CONNECTED, PAYLOAD)
    await owner.own()
    run = owner.run
    assert (await owner.send((owner.conns[0][0], ASK + b"x"))).status == ""
    await sink.until(lambda sink: sink.payloads)

    # Killed, and started again in its folder: at once
    gateway.process.kill()
    await gateway.end()
    gateway = await start(*arguments)
    uri = (await gateway.event("listening"))["uri"]
    assert NodeId(uri.partition("@")[0]) == node
    await owner.ask("owner")
    assert (await owner.own())["ok"]["run"] > run
    assert (await gateway.interrupt(signal.SIGTERM))[0] == 0
    lease = await Bucket(connection, LEASES, max_age=10.0).get(node_key(node))
    assert lease is None
    await transport.aclose()


async def test_lnds_node(start, broker: Broker, connection: BrokerConnection, lnd: ScriptedLnd) -> None:
    files = ("--tlscert", lnd.tlscert, "--macaroon", lnd.macaroons / "oddwire.macaroon")
    gateway = await start(
        *("gateway", "--broker", broker.url, "--lnd", lnd.address, *files, "--allow-method", "GetInfo", "--json")
    )
    ready = await gateway.event("ready")
    assert (ready["node_id"], ready["address"]) == (str(lnd.node_id), lnd.address)
    lnd.add_peer(PEER)
    owner = OwnerDouble(connection, NodeId(lnd.node_id), partition_of(PEER, 16))
    await owner.until(CONNECTED)
    lnd.deliver(PEER, 0x8C01, b"")
    await owner.until(PAYLOAD)
    await owner.own()
    assert (await owner.send((owner.conns[0][0], ASK + b"x"))).refused == []
    await until(lambda: lnd.peers[PEER].bytes_sent > 394)
    assert (await owner.ask("call", method="GetInfo"))["ok"]["result"]["identity_pubkey"] == str(lnd.node_id)
    assert (await gateway.interrupt())[0] == 0


async def test_it_waits_for_the_broker(start, tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker")
    gateway = await start("gateway", "--broker", broker.url, "--listen", "127.0.0.1:0", "--data-dir", tmp_path / "d")
    with broker:
        await gateway.line("listening")
        assert (await gateway.interrupt())[0] == 0


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ([], "gateway needs --broker URL, where the cluster's NATS is; 'oddwire broker --data-dir DIR' runs one"),
        (["--broker", "http://x"], "--broker: a broker's URL is nats://HOST:PORT or tls://HOST:PORT, not"),
        (["--broker", "nats://a:1", "--broker-nkey", "nowhere"], "the broker's NKEY file cannot be read: "),
        (["--broker", "nats://a:1"], "gateway needs --data-dir DIR for the node's key, or each start would be another"),
        (["--partitions", "0"], "--partitions should be 1 to 1024, not 0"),
        (["--max-waiting", "5"], "--max-waiting should be 1048576 to "),
        (["--replicas", "6"], "--replicas should be 1 to 5, not 6"),
        (["--lnd", "a:1", "--listen", "b:2"], "--listen b:2 does not go with --lnd"),
        (["--plugin"], "--plugin needs -o FILE, the plugin file to write"),
        (["-o", "x"], "-o x is for --plugin, which writes a plugin file for lightningd"),
    ],
)
def test_what_makes_no_sense(arguments: list[str], wrong: str, capsys) -> None:
    assert get_command(program).main(arguments, standalone_mode=False) == 2
    assert wrong in capsys.readouterr().err


async def test_another_number_of_partitions_is_refused(start, broker: Broker, tmp_path: Path) -> None:
    arguments = ("gateway", "--broker", broker.url, "--listen", "127.0.0.1:0", "--data-dir", tmp_path / "d")
    first = await start(*arguments, "--partitions", "3")
    await first.line("listening")
    await first.interrupt()
    code, _, err = await (await start(*arguments, "--partitions", "4")).end()
    assert code == 2
    assert "was set up with 3 partitions, which cannot be changed" in err


def test_what_is_in_force_is_shown(capsys) -> None:
    code = get_command(program).main(["--show-config", "--broker", "nats://me:secret@h:1"], standalone_mode=False)
    out = capsys.readouterr().out
    assert not code
    assert "secret" not in out
    assert "broker " in out
