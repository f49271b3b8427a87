"""Peers that come and go quickly: what LND tells on unordered streams comes out in order."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator

import pytest
from tests.interop.conftest import LIMIT
from tests.interop.lnd.lnd_node import Api, Lnd
from tests.support.waiting import until

from oddwire.errors import ConnectionClosed, HandshakeFailed
from oddwire.proto import LightningConnection, NodeId, PrivateKey
from oddwire.proto import connect as dial
from oddwire.proto.bolt1 import Init
from oddwire.proto.features import ASSUMED_FEATURES, feature_bytes
from oddwire.proto.keys import PublicKey
from oddwire.testing.sinks import Connected, Disconnected, Received, RecordingSink
from oddwire.transports.base import Manifest
from oddwire.transports.lnd.transport import LndTransport

pytestmark = [pytest.mark.lnd, pytest.mark.interop]

COMINGS = 40  # of each peer
PEERS = 5


class Visitor:
    """A peer that connects again and again with one key, and says with which connection it says something."""

    def __init__(self, lnd: Lnd, number: int) -> None:
        self.lnd = lnd
        self.key = PrivateKey(os.urandom(32))
        self.node_id = NodeId(self.key.public_key())
        self.dice = random.Random(number)
        self.here: LightningConnection | None = None

    async def come(self) -> LightningConnection:
        host, _, port = self.lnd.address.partition(":")
        connection = await dial(self.key, PublicKey(bytes.fromhex(self.lnd.node_id)), host, int(port))
        await connection.send_message(Init(features=feature_bytes(ASSUMED_FEATURES)).encode())
        await connection.read_message()
        return connection

    async def say(self, number: int) -> None:
        assert self.here is not None
        await self.here.send_message(b"\x8c\x01" + number.to_bytes(2, "big"))

    async def come_and_go(self) -> None:
        """Close the connection first, or leave LND to find that there is a new one."""
        for number in range(COMINGS):
            before = self.here
            if before is not None and self.dice.random() < 0.7:
                before.abort("goes")
            try:
                self.here = await self.come()
                await self.say(number)
            except (ConnectionClosed, HandshakeFailed, OSError):
                self.here = None  # LND keeps one of two connections
            await asyncio.sleep(self.dice.choice((0, 0.005, 0.05)))
            if before is not None:
                before.abort("goes")
        if self.here is not None:
            self.here.abort("has gone")


@pytest.fixture
async def transport_and_sink(lnd: Lnd) -> AsyncIterator[tuple[LndTransport, RecordingSink]]:
    transport, sink = LndTransport(lnd.rpc, tlscert=lnd.tlscert, macaroon=lnd.small_macaroon), RecordingSink()
    await transport.open(Manifest(type_ids=frozenset({0x8C01})), sink)
    yield transport, sink
    await transport.aclose()


async def test_peers_that_come_and_go_are_told_in_turn_and_messages_only_between(
    lnd: Lnd, api: Api, transport_and_sink: tuple[LndTransport, RecordingSink]
) -> None:
    _, sink = transport_and_sink
    visitors = [Visitor(lnd, number) for number in range(PEERS)]
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*(visitor.come_and_go() for visitor in visitors))
    for visitor in visitors:
        await api.until_gone(str(visitor.node_id))
        events = [event for event in sink.events if of(event) == visitor.node_id]
        here, said = False, []
        for event in events:
            if isinstance(event, Received):
                assert here, "a message of a peer that is not there"
                said.append(int.from_bytes(event.payload[2:], "big"))
            else:
                assert isinstance(event, Disconnected if here else Connected)
                here = not here
        assert said == sorted(set(said))
        comings = sum(isinstance(event, Connected) for event in events)
        print(f"{comings} of {COMINGS} connections told, {len(said)} messages")
        assert comings > 1
    for visitor in visitors:
        visitor.here = await visitor.come()
        await visitor.say(999)
    await until(lambda: sum(payload == b"\x8c\x01\x03\xe7" for payload in sink.payloads) == PEERS)
    for visitor in visitors:
        visitor.here.abort("has gone")
        await api.until_gone(str(visitor.node_id))
    await until(lambda: [type(last(sink, visitor)) for visitor in visitors] == [Disconnected] * PEERS)


def of(event: Connected | Received | Disconnected) -> NodeId:
    return event.info.node_id if isinstance(event, Connected) else event.peer


def last(sink: RecordingSink, visitor: Visitor) -> object:
    return [event for event in sink.events if of(event) == visitor.node_id][-1]
