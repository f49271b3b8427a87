"""The embedded node and Core Lightning, connected, with the same pyln-client plugins on both."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.cln, pytest.mark.interop]

ODD, EVEN = 32769, 40000  # collector.py lists the even one
UNKNOWN_EVEN = 40002
SIZES = [2, 3, 102, 65535]


class Pair:
    """The embedded node and Core Lightning; the test is told who dials."""

    def __init__(self, node, cln, node_dials):
        self.node = node
        self.cln = cln
        self.dialer, self.dialed = (node, cln) if node_dials else (cln, node)

    @property
    def directions(self):
        return (self.node, self.cln), (self.cln, self.node)

    async def connect(self):
        answer = await self.dialer.connect(self.dialed.uri)
        await self.dialed.until_connected(self.dialer.node_id)
        return answer


@pytest.fixture(params=[True, False], ids=["dialing", "dialed"])
async def pair(request, start, lightningd):
    """A new node, not connected yet; the parameter is what it does."""
    return Pair(start.node("collector"), lightningd, request.param)


@pytest.fixture
async def connected(pair):
    await pair.connect()
    return pair


async def test_connect_tells_the_same_of_each_other(pair):
    answer = await pair.connect()
    host, port = pair.dialed.address.split(":")
    assert answer == {
        "id": pair.dialed.node_id,
        "features": (await pair.dialed.call("getinfo"))["our_features"]["init"],
        "direction": "out",
        "address": {"type": "ipv4", "address": host, "port": int(port)},
    }
    for here, there in pair.directions:
        peer = await here.peer(there.node_id)
        assert peer.keys() == {"id", "connected", "num_channels", "netaddr", "features"}
        assert (peer["id"], peer["num_channels"]) == (there.node_id, 0)
        assert peer["features"] == (await there.call("getinfo"))["our_features"]["init"]
        # The one who was dialed sees the port that the other's system picked
        assert (peer["netaddr"] == [there.address]) == (here is pair.dialer)


async def test_messages_of_odd_and_even_types_from_hook_to_hook(connected, make_payload):
    payloads = [make_payload(type_id, size) for type_id in (ODD, EVEN) for size in SIZES]
    for sender, receiver in connected.directions:
        await sender.send(receiver.node_id, *payloads)
        assert await receiver.taken(sender.node_id, len(payloads)) == payloads


async def test_many_messages_cross_whole_and_in_order(connected, flood):
    payloads = flood(ODD, 2500, 102)
    for sender, receiver in connected.directions:
        await sender.send(receiver.node_id, *payloads)
        assert await receiver.taken(sender.node_id, len(payloads)) == list(payloads)


async def test_either_hangs_up_on_an_even_type_that_no_plugin_lists(connected, make_payload):
    payload = make_payload(UNKNOWN_EVEN, 20)
    for sender, receiver in connected.directions:
        await sender.send(receiver.node_id, payload)
        await sender.until_gone(receiver.node_id)
        await receiver.until_gone(sender.node_id)
        text = f"Invalid unknown even msg {payload.hex()}"
        assert await receiver.logged(text)
        assert await sender.logged(receiver.node_id, text)
        await connected.connect()  # it was the message, not the peer


async def test_pings_are_answered_both_ways(connected):
    for here, there in connected.directions:
        assert await here.call("ping", there.node_id) == {"totlen": 132}
        assert await here.call("ping", there.node_id, 0, 65531) == {"totlen": 65535}
        assert await here.call("ping", there.node_id, 0, 65532) == {"totlen": 0}


async def test_either_disconnects_and_they_connect_again(connected, make_payload):
    for here, there in connected.directions:
        await here.call("disconnect", there.node_id)
        await here.until_gone(there.node_id)
        await there.until_gone(here.node_id)
        await connected.connect()
        await there.send(here.node_id, make_payload(ODD, 20))
        assert await here.taken(there.node_id) == [make_payload(ODD, 20)]


async def test_a_node_keeps_connected_to_core_lightning_through_its_restart(start, make_payload):
    cln = start.lightningd("collector")
    node = start.node(options=[f"--connect={cln.uri}"])
    await cln.until_connected(node.node_id)
    cln.end()
    assert await node.refusal("sendcustommsg", node.node_id, "8001") == (
        -32600,
        f"No such peer: {node.node_id}",
    )
    cln.start()
    await cln.until_connected(node.node_id)
    await node.until_connected(cln.node_id)
    await node.send(cln.node_id, make_payload(ODD, 20))
    assert await cln.taken(node.node_id) == [make_payload(ODD, 20)]


# The same plugins on both -----------------------------------------------------------------------------


@pytest.fixture
async def hosts(start):
    """Both, with three plugins each, connected by the node."""
    plugins = ["greeter", "doorkeeper", "gossiper"]
    pair = Pair(start.node(*plugins), start.lightningd(*plugins), node_dials=True)
    await pair.connect()
    return pair


async def heard(host, *topics):
    """Wait until the plugin `gossiper` was told of each of these topics, and give what it was told first of each."""
    found = {}
    while not found.keys() >= set(topics):
        for topic, told in (await host.call("gossiper-heard"))["heard"]:
            found.setdefault(topic, told.get(topic))
    return [found[topic] for topic in topics]


async def greeting(host):
    """Wait for the answer of the plugin `greeter` to come in as a notification."""
    while True:
        for topic, told in (await host.call("gossiper-heard"))["heard"]:
            if topic == "custommsg" and told["custommsg"]["payload"].startswith("8803"):
                return told["custommsg"]


async def test_a_plugin_greets_and_the_greeting_is_heard_on_the_other_host(hosts):
    for asker, greeter in hosts.directions:
        await asker.send(greeter.node_id, bytes.fromhex("8801aabb"))
        assert await greeting(asker) == {"peer_id": greeter.node_id, "payload": "8803" + b"hello".hex()}
        assert (await greeter.call("greeter-received"))["received"] == [[asker.node_id, "8801aabb"]]


async def test_even_types_and_a_feature_bit_of_a_plugin(hosts):
    for sender, receiver in hosts.directions:
        features = int((await sender.peer(receiver.node_id))["features"], 16)
        assert features >> 201 & 1
        payloads = ["8802", "8802dead", "8804", "8801"]
        await sender.send(receiver.node_id, *map(bytes.fromhex, payloads))
        assert await greeting(sender)  # it comes last
        came = (await receiver.call("doorkeeper-saw"))["came"]
        assert [payload for payload in came if payload in payloads] == payloads


async def test_both_hosts_tell_plugins_the_same(hosts):
    await hosts.cln.call("disconnect", hosts.node.node_id)
    await hosts.node.until_gone(hosts.cln.node_id)
    shapes = {}
    for here, there in hosts.directions:
        connect, disconnect = await heard(here, "connect", "disconnect")
        assert connect["id"] == disconnect["id"] == there.node_id
        (asked,) = (await here.call("doorkeeper-saw"))["asked"]
        assert asked["id"] == there.node_id
        assert asked["direction"] == connect["direction"] == ("out" if here is hosts.dialer else "in")
        shapes[here] = [shape(told) for told in (connect, disconnect, asked)]
    assert shapes[hosts.node] == shapes[hosts.cln]


def shape(value):
    """What a JSON value is made of."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    return [shape(each) for each in value] if isinstance(value, list) else type(value)
