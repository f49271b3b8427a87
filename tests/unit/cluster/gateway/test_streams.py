"""The streams of a node: made at first, compared then, and changed where the operator says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.broker import Broker
from tests.support.gateway_rig import new_key

from oddwire.cluster.gateway.gateway import Gateway
from oddwire.cluster.gateway.streams import Setup, set_up
from oddwire.errors import DefinitionError
from oddwire.proto.keys import NodeId
from oddwire.transports.memory import MemoryNetwork, MemoryTransport
from oddwire.transports.nats.address import BrokerAddress
from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.subjects import LEASES, META, in_stream, node_key


async def test_the_number_of_partitions_is_fixed(connection: BrokerConnection) -> None:
    network, key = MemoryNetwork(), new_key()
    first = Gateway(network.transport(key), connection, partitions=3)
    await first.start()
    await first.aclose()
    with pytest.raises(DefinitionError, match=r"set up with 3 partitions, .* leave out --partitions 5, or say"):
        await Gateway(network.transport(key), connection, partitions=5).start()
    third = Gateway(network.transport(key), connection)
    await third.start()
    assert third.partitions == 3
    await third.aclose()


async def test_the_number_of_partitions_is_free_until_a_node_is_set_up(tmp_path: Path) -> None:
    with Broker(
        tmp_path, settings="accounts { A: { jetstream: { max_file: 10M }, users: [ { user: a } ] } }"
    ) as broker:
        connection = await BrokerConnection.open(BrokerAddress(url=broker.url.replace("//", "//a:@")))
        network, key = MemoryNetwork(), new_key()
        with pytest.raises(DefinitionError, match=r"no room for the 1073741824 bytes .* say less with --max-waiting"):
            await Gateway(network.transport(key), connection).start()
        gateway = Gateway(network.transport(key), connection, partitions=3, max_waiting=1_000_000)
        await gateway.start()
        assert gateway.partitions == 3
        await gateway.aclose()
        await connection.aclose()


async def test_a_stream_that_somebody_changed_is_refused(connection: BrokerConnection) -> None:
    transport = MemoryTransport(new_key())
    subjects = [f"ow.in.{transport.node_id}.>"]
    await connection.api(
        f"STREAM.CREATE.{in_stream(transport.node_id)}", {"name": in_stream(transport.node_id), "subjects": subjects}
    )
    with pytest.raises(DefinitionError, match=r"has subjects \[.*\], and should have \[.*\]: somebody else"):
        await Gateway(transport, connection).start()


async def test_a_limit_that_is_said_again_is_changed(connection: BrokerConnection) -> None:
    network, key = MemoryNetwork(), new_key()
    for given, found in ((None, 1 << 30), (5_000_000, 5_000_000), (None, 5_000_000)):
        gateway = Gateway(network.transport(key), connection, max_waiting=given)
        await gateway.start()
        info = await connection.api(f"STREAM.INFO.{in_stream(gateway.node_id)}")
        await gateway.aclose()
        assert info["config"]["max_bytes"] == found


async def test_what_a_broker_has_no_room_for_is_said(connection: BrokerConnection) -> None:
    with pytest.raises(DefinitionError, match=r"no room for the 1152921504606846976 bytes .* less with --max-waiting"):
        await Gateway(MemoryTransport(new_key()), connection, max_waiting=1 << 60).start()


@pytest.mark.parametrize("value", [b"", b"[]", b'{"partitions": 0}', b'{"partitions": true}', b'{"partitions": "3"}'])
async def test_settings_that_say_no_number_of_partitions_are_named(connection: BrokerConnection, value: bytes) -> None:
    transport, meta = MemoryTransport(new_key()), Bucket(connection, META)
    await meta.create_bucket()
    await meta.put(node_key(transport.node_id), value)
    with pytest.raises(DefinitionError, match=f"node.{transport.node_id} of OW_META at the broker says no number of"):
        await Gateway(transport, connection).start()


async def test_a_bucket_with_other_settings_is_refused(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        connection = await BrokerConnection.open(broker.address)
        await Bucket(connection, LEASES, max_age=77.0).create_bucket()
        setup = Setup(partitions=3, chosen=False, replicas=None, max_waiting=None)
        with pytest.raises(DefinitionError, match="bucket OW_LEASE has a time to live of 77 s, and should have 10 s"):
            await set_up(connection, NodeId(new_key().public_key()), setup)
        await connection.aclose()
