"""Reading the stream of a partition: connections, runs, the marker, numbers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from oddwire.proto.keys import NodeId
from oddwire.session.constants import SESSION_TYPE_BYTES
from oddwire.testing import RecordingSink
from oddwire.testing.sinks import Connected, Disconnected, Received
from oddwire.transports.base import PeerInfo
from oddwire.transports.nats.inbound import Inbound, Owner
from oddwire.transports.nats.packing import CONNECTED, DISCONNECTED, MARKER, PAYLOAD, ROOM, Batch, Entry
from oddwire.transports.nats.peer_connections import PeerConnection, StreamMessage

ALICE = NodeId("02" + "aa" * 32)
BOB = NodeId("03" + "bb" * 32)
PEERS = {1: ALICE, 2: BOB, 3: ALICE, 4: BOB}
FRAME = SESSION_TYPE_BYTES + b"of a session"


def note(number: int) -> bytes:
    return b"\x8c\x05" + number.to_bytes(2, "big")


def payload(conn: int, number: int) -> Entry:
    return [PAYLOAD, conn, number, note(number)]


class Reader(Owner):
    """Feeds messages to an `Inbound`, and keeps what this tells."""

    def __init__(
        self,
        live: dict[int, int] | None = None,
        *,
        marker: int = 100,
        run: int = 5,
        handled: dict[tuple[int, int], int] | None = None,
    ) -> None:
        self.sink = RecordingSink()
        self.over: list[tuple[int, str]] = []
        self.lost: list[int] = []
        self.rooms: list[int] = []
        self.done: list[int] = []
        self.sequences = count(1)
        self.run = run
        infos = {conn: (PeerInfo(node_id=PEERS[conn], address="live"), place) for conn, place in (live or {}).items()}
        self.inbound = Inbound(self.sink, self, term=7, run=run, marker=marker, live=infos, handled=handled or {})

    def connection_over(self, connection: PeerConnection) -> None:
        self.over.append((connection.number, connection.gone))

    def connection_lost(self, number: int, reason: str) -> None:
        self.lost.append(number)

    def has_room(self, connection: PeerConnection) -> None:
        self.rooms.append(connection.number)

    def handled(self, message: StreamMessage) -> None:
        self.done.append(message.sequence)

    def call_soon(self, call: Callable[[], object]) -> None:
        call()

    def take(self, *entries: Entry, run: int | None = None, sequence: int | None = None) -> None:
        number = next(self.sequences) if sequence is None else sequence
        used = self.run if run is None else run
        peers = {entry[1]: PEERS[entry[1]] for entry in entries if entry[0] != MARKER}
        self.inbound.take(StreamMessage(number, used), Batch(used, peers, list(entries)))

    def mark(self) -> None:
        """Take the marker."""
        self.take([MARKER, 7], sequence=100)
        self.sequences = count(101)

    @property
    def story(self) -> list[str]:
        told = []
        for event in self.sink.events:
            match event:
                case Connected(info):
                    told.append(f"+{'alice' if info.node_id == ALICE else 'bob'}")
                case Received(_, content):
                    told.append("frame" if content == FRAME else str(int.from_bytes(content[2:], "big")))
                case Disconnected(peer, _):
                    told.append(f"-{'alice' if peer == ALICE else 'bob'}")
        return told


def test_behind_the_marker_numbers_are_without_holes() -> None:
    reader = Reader({1: 4})
    reader.mark()
    assert reader.story == ["+alice"]
    reader.take(payload(1, 4), payload(1, 4), payload(1, 3), payload(1, 5))
    reader.take([CONNECTED, 2, "", "out", b""], payload(2, 1), [PAYLOAD, 2, 2, FRAME])
    reader.take([PAYLOAD, 1, 7, note(7)], payload(1, 8), [DISCONNECTED, 1, "late"])
    assert reader.story == ["+alice", "4", "5", "+bob", "1", "frame", "-alice"]
    assert reader.lost == [1]
    assert reader.over == [(1, "payload 6 is missing: 7 came next")]
    assert reader.done == [100, 101, 102, 103]
    assert reader.sink.connected[1].direction == "out"


def test_before_the_marker_holes_are_what_others_have_handled_and_sessions_are_not_ours() -> None:
    reader = Reader({1: 9, 4: 1})
    reader.take([PAYLOAD, 1, 3, FRAME], payload(1, 5), payload(1, 5), payload(1, 4))
    reader.take(payload(2, 6), [ROOM, 1], [MARKER, 3])
    reader.take([DISCONNECTED, 3, "never seen"], payload(3, 2))
    reader.mark()
    assert reader.story == ["+alice", "5", "+bob", "6", "-bob", "+bob"], "bob has connected anew, as 4"
    assert reader.lost == []
    reader.take([PAYLOAD, 1, 9, FRAME], payload(4, 1), payload(2, 7))
    assert reader.story[6:] == ["frame", "1"]
    assert [info.address for info in reader.sink.connected] == ["live", "", "live"]
    assert reader.rooms == [1]


def test_what_the_former_owner_has_handled_of_what_it_left() -> None:
    reader = Reader({1: 9}, handled={(5, 1): 6, (4, 2): 3})
    reader.take(payload(2, 3), payload(2, 4), run=4)
    reader.take(payload(1, 5), payload(1, 6), payload(1, 7))
    reader.mark()
    assert reader.story == ["+bob", "4", "-bob", "+alice", "7"]


def test_a_marker_that_is_gone_is_passed_all_the_same() -> None:
    reader = Reader({1: 9})
    reader.take([PAYLOAD, 1, 8, FRAME], payload(1, 9), sequence=101)
    assert reader.story == ["+alice", "9"]


def test_only_the_last_of_several_markers_of_ours_counts() -> None:
    reader = Reader({1: 9})
    reader.take([MARKER, 7], [PAYLOAD, 1, 8, FRAME], [MARKER, 6], [MARKER, 7], [PAYLOAD, 1, 9, FRAME], sequence=100)
    assert reader.story == ["+alice", "frame"]


def test_runs() -> None:
    reader = Reader({2: 1})
    reader.take([CONNECTED, 2, "", "in", b""], payload(2, 1), run=3)
    reader.take(payload(2, 2), run=4)
    reader.take(payload(2, 3), run=3)
    reader.mark()
    reader.take(payload(2, 9), run=4)
    reader.take(payload(2, 1))
    assert reader.story == ["+bob", "1", "-bob", "+bob", "2", "-bob", "+bob", "1"]
    assert reader.lost == []
    assert reader.done == [1, 2, 3, 100, 101, 102], "what nobody wants is acknowledged, too"


def test_a_peer_that_connects_anew() -> None:
    reader = Reader({1: 1})
    reader.mark()
    reader.take([CONNECTED, 3, "", "in", b""], payload(1, 1), payload(3, 1), [DISCONNECTED, 1, "late"])
    assert reader.story == ["+alice", "-alice", "+alice", "1"]
    reader.take([CONNECTED, 3, "", "in", b""], [CONNECTED, 1, "", "in", b""])
    assert len(reader.story) == 4, "both were there before"
    reader.take([DISCONNECTED, 3, ""])
    assert reader.sink.events[-1] == Disconnected(ALICE, "the connection has ended")


def test_a_connection_without_a_beginning_is_given_up() -> None:
    reader = Reader({1: 1})
    reader.mark()
    reader.take(payload(4, 1), payload(4, 2))
    assert reader.story == ["+alice"]
    assert reader.lost == [4]


def test_arrivals() -> None:
    reader, arrived = Reader({1: 1}), list[int]()
    reader.inbound.on_arrival(1, lambda: arrived.append(1))
    reader.inbound.on_arrival(2, lambda: arrived.append(2))
    reader.mark()
    assert arrived == [1]
    reader.inbound.on_arrival(1, lambda: arrived.append(11))
    reader.take([CONNECTED, 2, "", "in", b""], [DISCONNECTED, 2, ""])
    reader.inbound.on_arrival(2, lambda: arrived.append(22))
    reader.inbound.on_arrival(4, lambda: arrived.append(4))
    assert arrived == [1, 11, 2, 22]
    reader.inbound.deliveries.close("the end")
    assert arrived == [1, 11, 2, 22, 4]


def test_nothing_is_handed_on_once_it_is_silent() -> None:
    reader = Reader({1: 1})
    reader.mark()
    reader.sink.on_payload = lambda *_: reader.inbound.deliveries.silence()
    reader.take(payload(1, 1), payload(1, 2))
    reader.take(payload(1, 3))
    assert reader.story == ["+alice", "1"]
    assert reader.done == [100]


@given(
    st.lists(st.lists(st.tuples(st.sampled_from([1, 2]), st.booleans()), max_size=4), max_size=12),
    st.sets(st.integers(0, 11)),
    st.integers(0, 12),
)
def test_an_heir_gets_each_payload_that_was_not_acknowledged_in_order(
    messages: list[list[tuple[int, bool]]], acknowledged: set[int], mark_at: int
) -> None:
    """Whatever messages were acknowledged before the marker: what is left comes in order, and all that is behind it."""
    numbers, marked = {1: 0, 2: 0}, {1: 1, 2: 1}
    stream, expected = list[tuple[int, list[Entry]]](), list[tuple[NodeId, bytes]]()
    mark_at = min(mark_at, len(messages))
    for place, message in enumerate(messages):
        if place == mark_at:
            marked = {conn: number + 1 for conn, number in numbers.items()}
        entries = list[Entry]()
        for conn, is_frame in message:
            numbers[conn] += 1
            entries.append([PAYLOAD, conn, numbers[conn], FRAME if is_frame else note(numbers[conn])])
            if place >= mark_at or (place not in acknowledged and not is_frame):
                expected.append((PEERS[conn], entries[-1][3]))
        stream.append((place + 1 if place < mark_at else place + 2, entries))
    if mark_at == len(messages):
        marked = {conn: number + 1 for conn, number in numbers.items()}
    reader = Reader(marked, marker=mark_at + 1)
    for place, (sequence, entries) in enumerate(stream):
        if place == mark_at:
            reader.take([MARKER, 7], sequence=mark_at + 1)
        if place >= mark_at or place not in acknowledged:
            reader.take(*entries, sequence=sequence)
    got = [(event.peer, event.payload) for event in reader.sink.events if isinstance(event, Received)]
    assert got == expected
    assert reader.lost == []


def test_a_marker_that_is_still_to_be_stored_is_known_by_its_term() -> None:
    reader = Reader({1: 9}, marker=0)
    reader.take([MARKER, 7], run=4)  # of our term, but for another run
    reader.take([MARKER, 6], [PAYLOAD, 1, 7, FRAME], payload(1, 8))
    reader.take([PAYLOAD, 1, 8, FRAME], [MARKER, 7], payload(1, 9))
    reader.take(payload(1, 11))
    assert reader.story == ["+alice", "8", "9", "-alice"]
    assert reader.lost == [1]
