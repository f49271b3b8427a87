"""A gateway as a plugin: of the embedded node, and of Core Lightning."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.broker import Broker
from tests.support.owners import OwnerDouble
from tests.support.waiting import until_answered

from oddwire.cluster.manifests import ExtensionManifest, write_manifests
from oddwire.proto.keys import NodeId
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerRefused
from oddwire.transports.nats.packing import CONNECTED, DISCONNECTED, PAYLOAD
from oddwire.transports.nats.subjects import LEASES, META, node_key, partition_of

pytestmark = pytest.mark.interop

ASK, EVEN = bytes.fromhex("8c01"), bytes.fromhex("8c02")
COMMAND = [sys.executable, "-m", "oddwire.cli.main", "gateway"]


@pytest.fixture(params=["node", pytest.param("lightningd", marks=pytest.mark.cln)])
def launch(request, start):
    """Start a node for one test."""
    return getattr(start, request.param)


@pytest.fixture
def gateway_plugin(tmp_path: Path) -> Path:
    file = tmp_path / "gw"
    done = subprocess.run([*COMMAND, "--plugin", "-o", str(file)], capture_output=True, text=True, check=True)
    assert "--oddwire-broker=nats://HOST:PORT" in done.stderr
    return file


@pytest.fixture
def broker(tmp_path: Path):
    with Broker(tmp_path / "broker") as running:
        yield running


async def lease(connection: BrokerConnection, node: str):
    """What the gateway of a node tells, once it has its lease."""

    async def look():
        with contextlib.suppress(BrokerRefused):  # no bucket yet
            return await Bucket(connection, LEASES, max_age=10.0).get(node_key(NodeId(node)))

    return await until_answered(look)


async def test_peers_of_the_host_reach_a_worker(launch, gateway_plugin: Path, broker: Broker, start_ours) -> None:
    connection = await BrokerConnection.open(broker.address)
    meta = Bucket(connection, META)
    await meta.create_bucket()
    await write_manifests(meta, [ExtensionManifest(name="quote", version="1.0", types=(0x8C02,), features=(513,))])
    options = [f"--oddwire-broker={broker.url}", "--oddwire-allow-method=getinfo", "--oddwire-partitions=4"]
    daemon = await asyncio.to_thread(launch, gateway_plugin, options=options)
    node = NodeId(daemon.node_id)
    await lease(connection, daemon.node_id)
    transport, sink = await start_ours()
    peer = transport.node_id
    await transport.connect(daemon.uri, keep=False)
    await daemon.until_connected(str(peer))
    await transport.send(node, ASK + b"in")
    owner = OwnerDouble(connection, node, partition_of(peer, 4), 1)
    found = await owner.until(CONNECTED, PAYLOAD)
    assert [entry[3] for entry in found if entry[0] == PAYLOAD][-1] == ASK + b"in"
    await owner.own()
    ((conn, *_),) = [each for each in owner.conns if NodeId(each[1]) == peer]
    accepted = await owner.send((conn, ASK + b"out"), (conn, bytes.fromhex("0011")))
    assert [reason for _, reason, _ in accepted.refused] == ["reserved"]
    while (await sink.payloads.get())[1] != ASK + b"out":
        pass
    assert (await owner.ask("call", method="getinfo"))["ok"]["result"]["id"] == daemon.node_id
    assert (await owner.ask("call", method="stop"))["error"][0] == "method"
    await owner.ask("disconnect", conn=conn)
    await owner.until(DISCONNECTED)

    # What extensions announce is known at the next start
    await daemon.stop()
    daemon.start()
    await lease(connection, daemon.node_id)
    features = (await transport.connect(daemon.uri, keep=False)).has_feature(513)
    assert features
    await transport.send(node, EVEN + b"even")
    while EVEN + b"even" not in [entry[3] for entry in await owner.until(PAYLOAD) if entry[0] == PAYLOAD]:
        pass
    await connection.aclose()


async def test_without_a_broker_the_node_runs_and_the_reason_is_logged(launch, gateway_plugin: Path) -> None:
    daemon = await asyncio.to_thread(launch, gateway_plugin)
    await daemon.logged("the option oddwire-broker should say where the cluster's NATS is")
    assert (await daemon.call("getinfo"))["id"] == daemon.node_id


async def test_the_broker_may_come_later(launch, gateway_plugin: Path, tmp_path: Path) -> None:
    broker = Broker(tmp_path / "later")
    daemon = await asyncio.to_thread(launch, gateway_plugin, options=[f"--oddwire-broker={broker.url}"])
    await daemon.logged("no broker answers at")
    with broker:
        connection = await BrokerConnection.open(broker.address)
        value = await lease(connection, daemon.node_id)
        pid = json.loads(value.data)["pid"]
        os.kill(pid, signal.SIGTERM)  # it lets go of its lease

        async def free():
            return await Bucket(connection, LEASES, max_age=10.0).get(node_key(NodeId(daemon.node_id))) is None

        await until_answered(free)
        await connection.aclose()


def test_alone_it_says_how_it_is_run(gateway_plugin: Path) -> None:
    done = subprocess.run([gateway_plugin], capture_output=True, text=True, check=True)
    command = f"lightningd --plugin={gateway_plugin} --oddwire-broker=nats://HOST:PORT"
    assert done.stderr == f"{gateway_plugin} is a plugin: {command} runs it\n"
