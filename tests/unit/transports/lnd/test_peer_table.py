"""The table of LND's peers: events, messages and lists in any order, against a model of LND."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Collection
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo
from oddwire.transports.inbound_queue import Dropped, InboundQueue
from oddwire.transports.lnd.limits import LndLimits
from oddwire.transports.lnd.peer_table import Event, PeerTable

ONE, OTHER = NodeId("02" + "11" * 32), NodeId("02" + "22" * 32)


class Listed(NamedTuple):
    """An entry of a list."""

    node_id: NodeId = ONE
    address: str = "127.0.0.1:9735"
    inbound: bool = False
    features: frozenset[int] = frozenset({1, 513})
    bytes_sent: int = 100
    bytes_recv: int = 100


def info_of(listed: Listed) -> PeerInfo:
    [(_, info)] = PeerTable().listed(0, [listed])
    assert isinstance(info, PeerInfo)
    return info


UP = Listed()
UP_AGAIN = Listed(bytes_sent=50)
HANDSHAKE = Listed(features=frozenset(), bytes_sent=0, bytes_recv=0)
INFO = info_of(UP)


def answer(table: PeerTable, *listed: Listed) -> list[Event]:
    """Ask, as the table wants to, and give this list."""
    assert table.delay is not None
    return table.listed(table.number_question(), listed)


def listing(*listed: Listed) -> PeerTable:
    """A table whose first list was this."""
    table = PeerTable()
    answer(table, *listed)
    assert table.delay is None
    return table


def test_the_first_list_is_asked_for_at_once_and_tells_its_peers() -> None:
    table = PeerTable()
    assert table.delay == 0.0
    assert answer(table, UP) == [(ONE, INFO)]
    assert table.info(ONE) == INFO
    assert table.delay is None


def test_what_a_list_shows_of_a_peer() -> None:
    inbound = info_of(Listed(address="[::1]:50000", inbound=True, features=frozenset({0, 9})))
    assert inbound == PeerInfo(node_id=ONE, address="[::1]:50000", direction="in", features=b"\x02\x01")


def test_online_is_asked_about_and_told_with_what_the_list_shows() -> None:
    table = listing()
    assert table.online(ONE) == []
    assert table.info(ONE) is None
    assert answer(table, UP) == [(ONE, INFO)]
    assert table.delay is None


def test_a_peer_in_its_handshake_is_not_told_and_not_asked_for() -> None:
    table = listing(HANDSHAKE)
    assert len(table) == 0


def test_after_online_a_list_without_features_is_asked_for_again_ever_later() -> None:
    table = listing()
    table.online(ONE)
    delays = []
    for _ in range(7):
        answer(table, HANDSHAKE)
        delays.append(table.delay)
    assert delays == [0.02, 0.05, 0.1, 0.2, 0.4, 1.0, 1.0]
    assert answer(table, UP) == [(ONE, INFO)]


def test_offline_of_a_peer_that_is_listed_tells_nothing() -> None:
    table = listing(UP)
    table.offline(ONE)
    assert answer(table, UP) == []
    assert table.info(ONE) == INFO


def test_offline_of_a_peer_that_is_not_listed_is_its_end() -> None:
    table = listing(UP)
    table.offline(ONE)
    assert table.info(ONE) == INFO
    assert answer(table) == [(ONE, "disconnected")]
    assert table.info(ONE) is None
    assert len(table) == 0


def test_offline_of_a_stranger_is_not_asked_about() -> None:
    table = listing()
    table.offline(ONE)
    assert table.delay is None
    assert len(table) == 0


def test_a_list_asked_for_before_an_event_tells_nothing_of_its_peer() -> None:
    table = listing()
    table.online(OTHER)
    number = table.number_question()
    table.offline(ONE)
    assert table.listed(number, [UP, Listed(OTHER)]) == [(OTHER, info_of(Listed(OTHER)))]
    assert answer(table) == [(OTHER, "disconnected")]
    assert len(table) == 0


def test_a_list_asked_for_before_online_does_not_say_that_the_peer_is_gone() -> None:
    table = listing()
    table.online(OTHER)
    number = table.number_question()
    table.online(ONE)
    assert table.listed(number, []) == []
    assert answer(table, UP) == [(ONE, INFO)]


def test_the_online_owed_for_a_listed_connection_is_not_a_new_one() -> None:
    table = listing()
    table.online(OTHER)
    assert answer(table, UP) == [(ONE, INFO)]
    assert table.online(ONE) == []
    assert table.delay is None
    assert table.online(ONE) == [(ONE, "connected anew")]


def test_a_second_online_is_a_new_connection() -> None:
    table = listing()
    table.online(ONE)
    answer(table, UP)
    assert table.online(ONE) == [(ONE, "connected anew")]
    assert table.info(ONE) is None
    assert answer(table, UP_AGAIN) == [(ONE, INFO)]


@pytest.mark.parametrize(
    "other",
    [
        Listed(address="127.0.0.1:9736"),
        Listed(inbound=True),
        Listed(bytes_sent=99),
        Listed(bytes_recv=99),
    ],
    ids=["address", "direction", "sent", "received"],
)
def test_a_list_that_shows_another_connection(other: Listed) -> None:
    table = listing(UP)
    table.online(OTHER)
    assert answer(table, other) == [(ONE, "connected anew"), (ONE, info_of(other))]
    assert table.online(ONE) == []  # that of the new connection


def test_a_told_peer_in_a_handshake_is_told_gone() -> None:
    table = listing(UP)
    table.online(OTHER)
    assert answer(table, HANDSHAKE) == [(ONE, "disconnected")]
    assert table.online(ONE) == []
    assert answer(table, UP_AGAIN) == [(ONE, INFO)]


def test_the_online_of_a_peer_of_the_first_list_may_have_come_before() -> None:
    table = listing(UP)
    assert table.online(ONE) == []
    assert answer(table, UP) == []
    assert table.online(ONE) == [(ONE, "connected anew")]


def test_after_an_offline_the_online_of_a_peer_of_the_first_list_is_a_new_one() -> None:
    table = listing(UP)
    table.offline(ONE)
    assert answer(table, UP) == []  # dialed again by LND at once, so the address is the same
    assert table.online(ONE) == [(ONE, "connected anew")]


def test_a_message_before_online_is_asked_about_once() -> None:
    table = listing()
    table.message_received(ONE)
    assert table.delay == 0.0
    number = table.number_question()
    table.message_received(ONE)
    assert table.delay is None
    assert table.listed(number, [UP]) == [(ONE, INFO)]
    assert table.online(ONE) == []
    assert table.delay is None


def test_a_message_of_a_peer_that_is_not_listed_is_told_with_a_brief_connection() -> None:
    table = listing(UP)
    table.offline(ONE)
    answer(table)
    table.message_received(ONE)
    assert answer(table) == [(ONE, INFO), (ONE, "disconnected")]
    table.message_received(OTHER)
    assert answer(table) == [(OTHER, PeerInfo(node_id=OTHER)), (OTHER, "disconnected")]
    assert len(table) == 0


def test_an_unanswered_question_is_asked_again_ever_later() -> None:
    table = PeerTable()
    delays = []
    for _ in range(7):
        table.number_question()
        table.unanswered()
        delays.append(table.delay)
    assert delays == [0.02, 0.05, 0.1, 0.2, 0.4, 1.0, 1.0]
    assert answer(table, UP) == [(ONE, INFO)]


def test_a_lost_node_ends_all() -> None:
    table = listing(UP)
    table.message_received(OTHER)
    table.expect(NodeId("03" + "33" * 32))
    assert table.lost("LND has stopped") == [
        (ONE, "LND has stopped"),
        (OTHER, PeerInfo(node_id=OTHER)),
        (OTHER, "LND has stopped"),
    ]
    assert table.disappointed == [NodeId("03" + "33" * 32)]
    assert table.disappointed == []
    assert table.delay is None


def test_an_expected_peer_is_asked_for_until_it_is_there() -> None:
    table = listing()
    table.expect(ONE)
    answer(table)
    answer(table, HANDSHAKE)
    assert table.delay == 0.05
    assert answer(table, UP) == [(ONE, INFO)]
    assert table.delay is None


def test_an_expected_peer_whose_connection_ends_is_a_disappointment() -> None:
    table = listing()
    table.expect(ONE)
    answer(table, HANDSHAKE)
    table.offline(ONE)
    while table.delay is not None:
        answer(table)
    assert table.disappointed == [ONE]
    assert len(table) == 0


def test_a_forgotten_expectation() -> None:
    table = listing()
    table.expect(ONE)
    table.forget(ONE)
    table.forget(OTHER)
    answer(table)
    assert table.delay is None
    assert len(table) == 0


# Any order --------------------------------------------------------------------------------------------

PEERS = [NodeId(bytes([2, number]) + bytes(31)) for number in (1, 2)]


class Connection:
    """One connection of LND to a peer."""

    def __init__(self, peer: NodeId, number: int, inbound: bool) -> None:
        self.peer, self.inbound = peer, inbound
        self.address = f"127.0.0.1:{50000 + number}" if inbound else "127.0.0.1:9735"
        self.bytes = 0
        self.ready = self.announced = False

    def shown(self) -> Listed:
        self.bytes += 1
        features = frozenset({1}) if self.ready else frozenset[int]()
        return Listed(self.peer, self.address, self.inbound, features, self.bytes, self.bytes)


class World:
    """LND, two streams, the table and what it reports; a step is one thing that happens at one of them."""

    def __init__(self, ready_before: list[NodeId]) -> None:
        self.up: dict[NodeId, Connection] = {}
        self.connections = 0
        self.has_looked = False
        self.count: Counter[NodeId] = Counter()  # ready connections
        self.events: deque[tuple[NodeId, bool]] = deque()
        self.ends: deque[NodeId] = deque()  # OFFLINEs that LND has not put into the stream
        self.messages: deque[tuple[NodeId, bytes]] = deque()
        self.sent: dict[NodeId, list[bytes]] = {peer: [] for peer in PEERS}
        self.number: int | None = None
        self.shown: list[Listed] | None = None
        self.doubtful: Collection[NodeId] = ()
        """Those of the first list: whether their ONLINE came before, or is to come, nobody can know."""
        self.looked_at: dict[NodeId, Connection] = {}
        self.told_of: dict[NodeId, Connection] = {}
        self.table = PeerTable()
        self.told: dict[NodeId, PeerInfo] = {}
        self.received: dict[NodeId, list[bytes]] = {peer: [] for peer in PEERS}
        self.tellings: Counter[NodeId] = Counter()
        self.briefs: Counter[NodeId] = Counter()
        self.inbound = InboundQueue(self, LndLimits(), Dropped())
        for peer in ready_before:
            self.connect(peer)
            self.ready(peer)
            self.up[peer].announced = True

    # The sink

    def peer_connected(self, peer: PeerInfo) -> None:
        assert peer.node_id not in self.told
        self.told[peer.node_id] = peer
        self.tellings[peer.node_id] += 1

    def payload_received(self, peer: NodeId, payload: bytes) -> None:
        assert peer in self.told
        self.received[peer].append(payload)

    def peer_disconnected(self, peer: NodeId, reason: str) -> None:
        del self.told[peer]

    def settled(self, peer: NodeId, call: Callable[[], object]) -> None:
        call()

    def host_stopping(self, reason: str) -> None:
        raise AssertionError(reason)

    # What may happen now

    def steps(self) -> list[tuple[Callable[[NodeId], None], NodeId]]:
        """Every step that would change something."""
        steps: list[tuple[Callable[[NodeId], None], NodeId]] = []
        for peer in PEERS:
            connection = self.up.get(peer)
            if connection is None:
                steps += [(self.connect, peer), (self.dial, peer)]
            else:
                steps.append((self.end, peer))
                steps.append((self.send if connection.ready else self.ready, peer))
                if connection.ready and not connection.announced:
                    steps.append((self.announce, peer))
        return steps + [(step, PEERS[0]) for step in self.own_steps()]

    def own_steps(self) -> list[Callable[[NodeId], None]]:
        """Those that lead to rest."""
        asking = self.number is not None
        possible = {
            self.tell_end: self.ends,
            self.event: self.events,
            self.message: self.messages,
            self.ask: not asking and self.table.delay is not None,
            self.look: asking and self.shown is None,
            self.answer: self.shown is not None,
        }
        return [step for step, is_possible in possible.items() if is_possible]

    # LND

    def connect(self, peer: NodeId, inbound: bool = True) -> None:
        self.connections += 1
        self.up[peer] = Connection(peer, self.connections, inbound)

    def dial(self, peer: NodeId) -> None:
        self.connect(peer, inbound=False)

    def ready(self, peer: NodeId) -> None:
        self.up[peer].ready = True
        self.count[peer] += 1

    def announce(self, peer: NodeId) -> None:
        connection = self.up[peer]
        if connection.ready and not connection.announced:
            connection.announced = True
            self.events.append((peer, True))

    def end(self, peer: NodeId) -> None:
        self.announce(peer)
        del self.up[peer]
        self.ends.append(peer)

    def tell_end(self, _: NodeId) -> None:
        self.events.append((self.ends.popleft(), False))

    def send(self, peer: NodeId) -> None:
        self.sent[peer].append(b"%d" % len(self.sent[peer]))
        self.messages.append((peer, self.sent[peer][-1]))

    # The transport

    def event(self, _: NodeId) -> None:
        peer, online = self.events.popleft()
        if online:
            self.report(self.table.online(peer))
        else:
            self.table.offline(peer)

    def message(self, _: NodeId) -> None:
        peer, payload = self.messages.popleft()
        if self.table.info(peer) is None:
            self.inbound.stage(peer, payload)
            self.table.message_received(peer)
        else:
            self.inbound.push(peer, payload)

    def ask(self, _: NodeId) -> None:
        self.number = self.table.number_question()

    def look(self, _: NodeId) -> None:
        self.shown = [connection.shown() for connection in self.up.values()]
        self.looked_at = dict(self.up)
        if not self.has_looked:
            self.has_looked = True
            self.doubtful = {peer for peer, connection in self.up.items() if connection.ready}

    def answer(self, _: NodeId) -> None:
        assert self.number is not None
        assert self.shown is not None
        number, shown, self.number, self.shown = self.number, self.shown, None, None
        self.report(self.table.listed(number, shown))

    def report(self, events: list[Event]) -> None:
        for (peer, event), after in zip(events, [*events, None][1:], strict=True):
            if isinstance(event, PeerInfo) and after is not None and after[0] == peer:
                self.briefs[peer] += 1
            elif isinstance(event, PeerInfo):
                self.told_of[peer] = self.looked_at[peer]
            assert not self.inbound.push(peer, event)

    # The end

    def settle(self) -> None:
        """Let everything come to rest: who is in a handshake gets ready, what is on its way arrives."""
        for peer, connection in self.up.items():
            if not connection.ready:
                self.ready(peer)
            self.announce(peer)
        while steps := self.own_steps():
            steps[0](PEERS[0])


@settings(max_examples=500)
@given(st.integers(0, 1 << 64))
def test_what_is_told_is_what_is_there(seed: int) -> None:
    """After any order of all that happens: each peer told once a connection, every message once, nothing kept."""
    choice = random.Random(seed)
    world = World(choice.sample(PEERS, choice.randrange(3)))
    for _ in range(choice.randrange(80)):
        step, peer = choice.choice(world.steps())
        step(peer)
    world.settle()
    assert world.told.keys() == world.up.keys()
    for peer, info in world.told.items():
        assert (info.address, info.direction) == (world.up[peer].address, "in" if world.up[peer].inbound else "out")
        assert world.told_of[peer] is world.up[peer] or peer in world.doubtful
    for peer in PEERS:
        assert world.received[peer] == world.sent[peer]
        most = world.count[peer] + world.briefs[peer] + (peer in world.doubtful)
        assert world.tellings[peer] <= most
    assert world.inbound.held == 0
    assert world.inbound.peers.keys() == world.told.keys()
    assert len(world.table) == len(world.told)
