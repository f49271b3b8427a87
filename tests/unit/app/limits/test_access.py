from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.messages import Answer, Ask, Note
from tests.support.waiting import until

from oddwire.app import Application, Context, Extension, Peer
from oddwire.app.limits.access import AccessControl, Meter, check_allow, check_limits
from oddwire.errors import ExtensionError, NodeRefused, QuotaExceeded, RemoteFailure
from oddwire.proto.keys import NodeId
from oddwire.session.limits import OF_ALL, Limits
from oddwire.session.wire.frame_types import Code
from oddwire.testing import ScriptedTransport
from oddwire.transports.host import HostTransport
from oddwire.transports.memory import MemoryNetwork, MemoryTransport

ALICE = NodeId("02" + "aa" * 32)
BOB = NodeId("03" + "bb" * 32)


def ask(number: int) -> bytes:
    return b"\x8c\x01" + number.to_bytes(8, "big")


def note(number: int) -> bytes:
    return b"\x8c\x05" + number.to_bytes(8, "big")


class Server:
    def __init__(self, **options: Any) -> None:
        self.extension = extension = Extension("test", version="1.0", **options)
        self.gate = asyncio.Event()
        self.notes: list[tuple[NodeId, int]] = []

        @extension.on(Ask)
        async def answer(context: Context, request: Ask) -> Answer:
            if request.number:
                await self.gate.wait()
            return Answer(number=request.number)

        @extension.on(Note, reliable="store" in options)
        async def noted(context: Context, request: Note) -> None:
            self.notes.append((context.peer.node_id, request.number))


@asynccontextmanager
async def connected(
    server: Server, transport: MemoryTransport | None = None
) -> AsyncIterator[tuple[Application, Peer]]:
    network = MemoryNetwork() if transport is None else transport.network
    async with (
        Application(server.extension, transport=transport or network.transport(), grace=0.0) as left,
        Application(Server().extension, transport=network.transport()) as right,
    ):
        yield left, await right.connect(left.uris[0])


# Who may --------------------------------------------------------------------------------------------


async def test_a_list_lets_its_nodes_through_and_no_other() -> None:
    server = Server(allow=[ALICE, str(BOB)])
    transport = ScriptedTransport()
    async with Application(server.extension, transport=transport, session=False) as app:
        eve = NodeId("02" + "ee" * 32)
        for node_id in (ALICE, BOB, eve):
            transport.connect_peer(node_id)
            transport.receive(node_id, note(7))
            transport.receive(node_id, ask(0))
        # No peer waits for another: on a busy machine the turns of two end in any order
        await until(lambda: len(transport.sent) == 2 and app.counters.dropped.get("allow") == 2)
        assert sorted(server.notes) == [(ALICE, 7), (BOB, 7)]
        assert sorted(peer for peer, _ in transport.sent) == [ALICE, BOB]
        assert app.counters.to_json() == {"dropped": {"allow": 2}}


async def test_who_is_not_allowed_is_refused_a_request() -> None:
    async with connected(Server(allow=[ALICE])) as (left, peer):
        with pytest.raises(RemoteFailure, match="test is not allowed for this node") as caught:
            await peer.request(Ask(number=0), Answer)
        assert caught.value.code == Code.NOT_ALLOWED
        assert left.counters.refused == {"allow": 1}


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_function_is_asked_once_in_a_while(is_async: bool) -> None:
    asked: list[NodeId] = []

    def plain(peer: Peer) -> bool:
        asked.append(peer.node_id)
        return True

    async def slow(peer: Peer) -> bool:
        await asyncio.sleep(0)
        return plain(peer)

    async with connected(Server(allow=slow if is_async else plain)) as (_, peer):
        for _ in range(3):
            assert await peer.request(Ask(number=0), Answer) == Answer(number=0)
        assert len(asked) == 1


async def test_a_function_that_raises_lets_nobody_through() -> None:
    def broken(peer: Peer) -> bool:
        raise ZeroDivisionError("a secret")

    async with connected(Server(allow=broken)) as (_, peer):
        with pytest.raises(RemoteFailure) as caught:
            await peer.request(Ask(number=0), Answer)
        assert caught.value.code == Code.INTERNAL
        assert "secret" not in str(caught.value)


class WithChannels(HostTransport, MemoryTransport):
    """A transport whose host has a channel with some nodes."""

    def __init__(self, network: MemoryNetwork, states: Mapping[NodeId, str]) -> None:
        super().__init__(network=network)
        self.states = dict(states)

    async def call(
        self, method: str, params: Sequence[Any] | Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        assert method == "listpeerchannels"
        assert isinstance(params, Mapping)
        if self.states.get(NodeId(params["id"])) == "broken":
            raise NodeRefused("out of order", code=-1)
        return {"channels": [{"state": state} for node, state in self.states.items() if str(node) == params["id"]]}


OPEN = ["CHANNELD_NORMAL", "CHANNELD_AWAITING_SPLICE"]
NOT_OPEN = [  # all other states that lightningd has
    "OPENINGD",
    "DUALOPEND_OPEN_INIT",
    "DUALOPEND_OPEN_COMMIT_READY",
    "DUALOPEND_OPEN_COMMITTED",
    "DUALOPEND_AWAITING_LOCKIN",
    "CHANNELD_AWAITING_LOCKIN",
    "CHANNELD_SHUTTING_DOWN",
    "CLOSINGD_SIGEXCHANGE",
    "CLOSINGD_COMPLETE",
    "AWAITING_UNILATERAL",
    "FUNDING_SPEND_SEEN",
    "ONCHAIN",
    "CLOSED",
]


@pytest.mark.parametrize(
    ("state", "allowed"),
    [*((state, True) for state in OPEN), *((state, False) for state in (*NOT_OPEN, None, "broken"))],
)
async def test_peers_with_a_channel_are_let_through_where_the_host_knows(state: str | None, allowed: bool) -> None:
    network = MemoryNetwork()
    transport = WithChannels(network, {})
    async with connected(Server(allow="channels"), transport) as (left, peer):
        if state is not None:
            transport.states[left.peers[0].node_id] = state
        if allowed:
            assert await peer.request(Ask(number=0), Answer) == Answer(number=0)
        else:
            with pytest.raises(RemoteFailure, match="not allowed for this node"):
                await peer.request(Ask(number=0), Answer)


async def test_one_open_channel_of_several_is_enough() -> None:
    class Several(WithChannels):
        async def call(self, *args: Any, **named: Any) -> Any:
            return {"channels": [{"state": state} for state in ("ONCHAIN", "CHANNELD_NORMAL", "AWAITING_UNILATERAL")]}

    async with connected(Server(allow="channels"), Several(MemoryNetwork(), {})) as (_, peer):
        assert await peer.request(Ask(number=0), Answer) == Answer(number=0)


async def test_under_a_node_older_than_the_method_it_does_not_start() -> None:
    class Older(WithChannels):
        async def call(self, *args: Any, **named: Any) -> Any:
            raise NodeRefused("Unknown command 'listpeerchannels'", code=-32601)

    app = Application(Server(allow="channels").extension, transport=Older(MemoryNetwork(), {}))
    with pytest.raises(
        ExtensionError, match="needs a node that knows its channels: Unknown command 'listpeerchannels'"
    ):
        await app.start()


async def test_without_a_host_that_knows_channels_it_does_not_start() -> None:
    app = Application(Server(allow="channels").extension, transport="memory")
    with pytest.raises(ExtensionError, match="extension 'test': allow='channels' needs a node that knows its channels"):
        await app.start()


@pytest.mark.parametrize(
    ("allow", "told"),
    [
        ("everyone", "should be node ids, a function of the peer, or 'channels', not 'everyone'"),
        (7, "should be node ids, a function of the peer, or 'channels', not 7"),
        (["alice"], "allow: .*66 hex digits"),
    ],
)
def test_what_does_not_say_who_is_refused(allow: Any, told: str) -> None:
    with pytest.raises(ExtensionError, match=told):
        Extension("test", version="1.0", allow=allow)
    check_allow("here", {ALICE})


# How much -------------------------------------------------------------------------------------------


async def test_requests_at_once_are_limited_for_each_peer() -> None:
    server = Server(limits=Limits(requests=2))
    async with connected(server) as (left, peer):
        tasks = [asyncio.create_task(peer.request(Ask(number=n), Answer)) for n in (1, 2)]
        await asyncio.sleep(0.01)
        with pytest.raises(RemoteFailure, match="test accepts no more from this node: requests is 2") as caught:
            await peer.request(Ask(number=0), Answer)
        assert caught.value.code == Code.QUOTA
        server.gate.set()
        assert await asyncio.gather(*tasks) == [Answer(number=1), Answer(number=2)]
        assert await peer.request(Ask(number=0), Answer) == Answer(number=0)
        assert left.counters.refused == {"requests": 1}


async def test_requests_above_the_rate_are_refused_and_do_not_count() -> None:
    async with connected(Server(limits=Limits(messages_per_second=3))) as (left, peer):
        for _ in range(3):
            await peer.request(Ask(number=0), Answer)
        for _ in range(20):
            with pytest.raises(RemoteFailure, match="messages_per_second is 3"):
                await peer.request(Ask(number=0), Answer)
        await asyncio.sleep(0.4)  # one more by now, whatever was refused
        await peer.request(Ask(number=0), Answer)
        assert left.counters.refused["messages_per_second"] == 20


@pytest.mark.parametrize("limits", [Limits(messages_per_second=50), Limits(bytes_per_second=500)])
async def test_messages_above_the_rate_are_read_later_and_none_is_lost(limits: Limits) -> None:
    server = Server(limits=limits)
    transport = ScriptedTransport()
    async with Application(server.extension, transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        for number in range(60):
            transport.receive(ALICE, note(number))
        assert transport.flow == [("pause", ALICE)]
        await until(lambda: len(server.notes) == 60)
        assert [number for _, number in server.notes] == list(range(60))
        assert sum(app.counters.throttled.values()) > 0
        await until(lambda: transport.flow[-1] == ("resume", ALICE))


def test_a_meter_is_there_for_rates_alone() -> None:
    assert not Meter.measures(Limits())
    assert Meter.measures(Limits(messages_per_second=1))
    meter = Meter(Limits(messages_per_second=2, bytes_per_second=100), 0.0)
    assert meter.take(10, 0.0) == (0.0, "messages_per_second")
    assert meter.take(100, 0.0) == (0.1, "bytes_per_second")
    assert meter.take(0, 0.0) == (0.5, "messages_per_second")
    meter.give_back(0, 0.0)
    meter.give_back(100, 0.0)
    assert meter.take(10, 0.0) == (0.0, "messages_per_second")


async def test_what_a_peer_has_used_is_forgotten_with_it() -> None:
    transport = ScriptedTransport()
    async with Application(Server().extension, transport=transport, session=False, grace=0.0) as app:
        guard = AccessControl("test", None, Limits(messages_per_second=1), transport)
        transport.connect_peer(ALICE)
        peer = app.peer(ALICE)
        assert guard.take(peer, 1)[0] == 0
        assert guard.take(peer, 1)[0] > 0
        guard.remove_peer(ALICE)
        assert guard.take(peer, 1)[0] == 0


async def test_what_a_peer_had_sent_before_it_went_leaves_nothing_behind() -> None:
    handled, gate = 0, asyncio.Event()

    async def slow(peer: Peer) -> bool:
        nonlocal handled
        handled += 1
        await gate.wait()
        return True

    server, transport = Server(allow=slow), ScriptedTransport()
    async with Application(server.extension, transport=transport, session=False, grace=0.0) as app:
        guard = app._running().core.access["test"]
        for number in range(10):
            stranger = NodeId("02" + f"{number:02x}" * 32)
            transport.connect_peer(stranger)
            transport.receive(stranger, note(1))
            transport.receive(stranger, note(2))
        await until(lambda: handled == 10)
        assert len(guard._peers) == 10
        for number in range(10):
            transport.lose_peer(NodeId("02" + f"{number:02x}" * 32))
        gate.set()
        await until(lambda: len(server.notes) == 20)
        assert guard._peers == {}


# Which limits an extension has ----------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_ALL)
def test_a_limit_of_all_extensions_together_is_refused_in_one(name: str) -> None:
    text = rf"^<Extension 'test' .*>: limits: {name} holds .*; set it in Application\(limits=Limits\(\.\.\.\)\)$"
    with pytest.raises(ExtensionError, match=text):
        Extension("test", version="1.0", limits=Limits(**{name: 5}))


def test_every_other_limit_is_taken() -> None:
    for name in Limits._fields:
        if name not in OF_ALL:
            check_limits("here", Limits(**{name: 5}))


def test_limits_should_be_limits() -> None:
    with pytest.raises(ExtensionError, match=r"limits should be Limits, not \{'requests': 5\}"):
        Extension("test", version="1.0", limits={"requests": 5})  # type: ignore[arg-type]


async def test_limits_that_were_not_given_are_the_application_s() -> None:
    server = Server(limits=Limits(transfers=3))
    network = MemoryNetwork()
    async with (
        Application(server.extension, transport=network.transport(), limits=Limits(requests=200), grace=0.0) as left,
        Application(Server().extension, transport=network.transport()) as right,
    ):
        peer = await right.connect(left.uris[0])
        tasks = [asyncio.create_task(peer.request(Ask(number=n), Answer)) for n in range(1, 101)]
        await asyncio.sleep(0.01)
        server.gate.set()
        assert len(await asyncio.gather(*tasks)) == 100
        assert left.counters.to_json() == {}


@pytest.mark.parametrize(
    ("options", "is_needed"),
    [
        ({"allow": [ALICE]}, True),
        ({"limits": Limits(requests=3)}, True),
        ({"limits": Limits(bytes_per_second=3)}, True),
        ({"limits": Limits(transfers=3, outbox_messages=3, open_requests=3)}, False),
    ],
)
def test_messages_pass_a_guard_only_where_it_has_something_to_say(options: dict[str, Any], is_needed: bool) -> None:
    guard = AccessControl("test", options.get("allow"), options.get("limits"), ScriptedTransport())
    assert guard.is_needed is is_needed


def test_requests_of_ours_are_counted_while_they_are_open() -> None:
    guard = AccessControl("test", None, Limits(open_requests=2), ScriptedTransport())
    with guard.count_request(ALICE), guard.count_request(ALICE), guard.count_request(BOB):
        with pytest.raises(QuotaExceeded, match="extension 'test': 2 requests to this peer wait") as caught:
            guard.count_request(ALICE).__enter__()
        assert (caught.value.limit, caught.value.extension) == ("open_requests", "test")
    assert guard.counters.exceeded == {"open_requests": 1}
    with guard.count_request(ALICE):
        assert len(guard._asking) == 1, "nothing is left of those that ended"
