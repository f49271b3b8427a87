"""The peer table: notifications and answers in every order."""

from __future__ import annotations

import pytest

from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo
from oddwire.transports.cln.peer_table import PeerTable, Question, read_address

ONE, OTHER = NodeId("02" + "11" * 32), NodeId("02" + "22" * 32)


def entry(peer: NodeId = ONE, *, connected: bool = True, features: str = "80", address: str = "1.2.3.4:9735") -> dict:
    if not connected:
        return {"id": str(peer), "connected": False, "num_channels": 1, "features": ""}
    return {"id": str(peer), "connected": True, "num_channels": 0, "netaddr": [address], "features": features}


def info(peer: NodeId = ONE, *, features: str = "80", address: str = "1.2.3.4:9735", direction="out") -> PeerInfo:
    return PeerInfo(node_id=peer, address=address, direction=direction, features=bytes.fromhex(features))


@pytest.fixture
def table() -> PeerTable:
    return PeerTable()


def asked(table: PeerTable, peer: NodeId = ONE) -> int:
    assert table.questions == [Question(peer)]
    return table.number_question()


def test_a_peer_is_told_of_with_its_features(table: PeerTable) -> None:
    table.connected(ONE, "in", "5.6.7.8:1")
    number = asked(table)
    assert ONE in table
    assert table.info(ONE) is None
    assert table.answered(number, ONE, entry()) == [(ONE, info(direction="in"))]
    assert table.info(ONE) == info(direction="in")
    assert table.disconnected(ONE, "gone") == [(ONE, "gone")]
    assert ONE not in table
    assert table.questions == []


def test_who_is_awaited(table: PeerTable) -> None:
    assert table.awaited == set()
    table.message_received(OTHER)
    table.connected(ONE)
    assert table.awaited == {ONE}
    number = table.number_question()
    table.answered(number, ONE, entry())
    assert table.awaited == set()
    table.connected(ONE)  # look again: it is known meanwhile
    assert table.awaited == set()
    table.disconnected(ONE, "gone")
    table.connected(ONE)
    assert table.awaited == {ONE}
    table.disconnected(ONE, "gone")
    assert table.awaited == set()
    table.connected(ONE)
    number = table.number_question()
    for _ in range(10):
        table.answered(number, ONE, None)
    assert table.awaited == set()


def test_who_is_there_at_the_start(table: PeerTable) -> None:
    number = table.asking_for_all()
    assert table.listed(number, [entry(), entry(OTHER, connected=False)]) == [(ONE, info())]
    assert OTHER not in table


def test_who_left_or_came_while_the_list_was_made(table: PeerTable) -> None:
    number = table.asking_for_all()
    assert table.disconnected(ONE, "gone") == []
    table.connected(OTHER, "out", "")
    own = asked(table, OTHER)
    assert table.listed(number, [entry(), entry(OTHER, features="01")]) == []
    assert table.answered(own, OTHER, entry(OTHER)) == [(OTHER, info(OTHER))]


def test_an_answer_older_than_a_notification_is_none(table: PeerTable) -> None:
    table.connected(ONE)
    first = asked(table)
    table.disconnected(ONE, "gone")
    table.connected(ONE)
    second = asked(table)
    assert table.answered(first, ONE, entry(features="01")) == []
    assert table.answered(second, ONE, entry()) == [(ONE, info())]


def test_an_answer_after_the_disconnect_is_none(table: PeerTable) -> None:
    table.connected(ONE)
    number = asked(table)
    assert table.disconnected(ONE, "gone") == []
    assert table.answered(number, ONE, entry()) == []
    assert ONE not in table


def test_a_message_before_connect_asks_once(table: PeerTable) -> None:
    table.message_received(ONE)
    table.message_received(ONE)
    number = asked(table)
    assert table.answered(number, ONE, entry()) == [(ONE, info())]
    table.connected(ONE, "in", "1.2.3.4:9735")
    number = asked(table)
    assert table.answered(number, ONE, entry()) == []


def test_a_message_while_the_peer_is_still_connecting(table: PeerTable) -> None:
    table.message_received(ONE)
    assert table.answered(asked(table), ONE, entry(connected=False)) == []
    [question] = table.questions
    assert question.delay > 0
    assert table.answered(table.number_question(), ONE, entry()) == [(ONE, info())]


def test_a_message_of_a_peer_that_is_gone_has_a_session_of_its_own(table: PeerTable) -> None:
    table.message_received(ONE)
    assert table.answered(asked(table), ONE, None) == [(ONE, PeerInfo(node_id=ONE)), (ONE, "disconnected")]
    assert ONE not in table


def test_a_late_message_is_of_the_peer_that_was_known(table: PeerTable) -> None:
    table.connected(ONE)
    table.answered(asked(table), ONE, entry())
    table.disconnected(ONE, "gone")
    table.message_received(ONE)
    assert table.answered(asked(table), ONE, None) == [(ONE, info()), (ONE, "disconnected")]


def test_a_channel_partner_that_is_gone_is_given_up_after_some_attempts(table: PeerTable) -> None:
    table.message_received(ONE)
    events, attempts = [], 0
    while questions := table.questions:
        assert questions[0].node_id == ONE
        events += table.answered(table.number_question(), ONE, entry(connected=False))
        attempts += 1
    assert attempts == 6
    assert events == [(ONE, PeerInfo(node_id=ONE)), (ONE, "disconnected")]


def test_a_message_and_then_disconnect_without_connect(table: PeerTable) -> None:
    table.message_received(ONE)
    number = asked(table)
    assert table.disconnected(ONE, "gone") == [(ONE, PeerInfo(node_id=ONE)), (ONE, "gone")]
    assert table.answered(number, ONE, None) == []


def test_disconnect_without_anything(table: PeerTable) -> None:
    assert table.disconnected(ONE, "gone") == []


def test_connect_for_a_known_peer_refreshes(table: PeerTable) -> None:
    table.connected(ONE, "in")
    table.answered(asked(table), ONE, entry())
    table.connected(ONE, "in")
    assert table.answered(asked(table), ONE, entry(features="01")) == [
        (ONE, "connected anew"),
        (ONE, info(features="01", direction="in")),
    ]


def test_connected_but_not_listed_waits_for_its_disconnect(table: PeerTable) -> None:
    table.connected(ONE)
    table.answered(asked(table), ONE, None)
    assert len(table.questions) == 1
    assert table.disconnected(ONE, "gone") == []
    table.connected(ONE)
    table.message_received(ONE)
    table.answered(asked(table), ONE, None)
    assert [event for _, event in table.disconnected(ONE, "gone")] == [PeerInfo(node_id=ONE), "gone"]


def test_without_answers_the_notification_has_to_do(table: PeerTable) -> None:
    table.connected(ONE, "in", "5.6.7.8:1")
    events: list = []
    while table.questions:
        events += table.unanswered(table.number_question(), ONE)
    assert events == [(ONE, PeerInfo(node_id=ONE, address="5.6.7.8:1", direction="in"))]


def test_without_answers_a_message_is_not_kept_for_ever(table: PeerTable) -> None:
    table.message_received(ONE)
    events: list = []
    while table.questions:
        events += table.unanswered(table.number_question(), ONE)
    assert [event for _, event in events] == [PeerInfo(node_id=ONE), "disconnected"]


def test_failures_that_do_not_matter_any_more(table: PeerTable) -> None:
    table.connected(ONE)
    number = asked(table)
    table.answered(number, ONE, entry())
    assert table.unanswered(number, ONE) == []
    assert table.unanswered(number, OTHER) == []


def test_the_departed_are_not_remembered_without_end(table: PeerTable) -> None:
    for number in range(1100):
        peer = NodeId(b"\x02" + number.to_bytes(32, "big"))
        table.connected(peer)
        table.answered(asked(table, peer), peer, entry(peer))
        table.disconnected(peer, "gone")
    first = NodeId(b"\x02" + bytes(32))
    table.message_received(first)
    assert table.answered(asked(table, first), first, None)[0] == (first, PeerInfo(node_id=first))


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ({"type": "ipv4", "address": "127.0.0.1", "port": 9735}, "127.0.0.1:9735"),
        ({"type": "ipv6", "address": "::1", "port": 9735}, "[::1]:9735"),
        ({"type": "torv3", "address": "x.onion", "port": 9735}, "x.onion:9735"),
        ({"type": "local socket", "socket": "/tmp/x"}, "/tmp/x"),
        ("127.0.0.1:1", "127.0.0.1:1"),
        (None, ""),
    ],
)
def test_addresses(address: object, text: str) -> None:
    assert read_address(address) == text
