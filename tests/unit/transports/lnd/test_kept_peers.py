"""Peers that stay connected, on a clock that jumps."""

import asyncio

from tests.support.loopback import nothing_left
from tests.support.waiting import until

from oddwire.errors import TransportError
from oddwire.proto.addresses import NodeUri
from oddwire.proto.keys import NodeId
from oddwire.transports.lnd import LndLimits
from oddwire.transports.lnd.kept_peers import KeptPeers

LOOPS = ("jumping",)
PEER = NodeId("02" + "11" * 32)
FIRST, SECOND = NodeUri(PEER, "first", 1), NodeUri(PEER, "second", 2)


class Lnd:
    """Connects to whom it can reach."""

    def __init__(self):
        self.up = asyncio.Event()
        self.reached = set()
        self.connected = set()
        self.dialed = []
        self.kept = KeptPeers(self.up.wait, self.connect, self.connected.__contains__, LndLimits())

    async def connect(self, uri):
        self.dialed.append(uri)
        if uri not in self.reached:
            raise TransportError("refused")
        self.connected.add(uri.node_id)
        self.kept.changed(uri.node_id)


async def test_a_peer_is_connected_once_lnd_is_there_and_again_when_it_is_lost(caplog):
    caplog.set_level("INFO", logger="oddwire.transports.lnd")
    lnd = Lnd()
    async with nothing_left():
        lnd.reached.add(SECOND)
        lnd.kept.keep(FIRST)
        lnd.kept.keep(SECOND)
        await asyncio.sleep(100)
        assert lnd.dialed == []
        lnd.up.set()
        await until(lambda: lnd.connected)
        assert lnd.dialed == [FIRST, SECOND]
        lnd.connected.clear()
        lnd.kept.changed(PEER)
        lnd.kept.changed(NodeId("03" + "11" * 32))  # nobody's
        await until(lambda: lnd.connected)
        lnd.reached.clear()
        lnd.connected.clear()
        lnd.kept.changed(PEER)
        await asyncio.sleep(1000)
        assert f"{FIRST}: refused; {SECOND}: refused; trying again in" in caplog.text
        await lnd.kept.aclose()
        await lnd.kept.aclose()
