"""A gateway over a real broker: a peer in memory on one side, an owner that speaks the wire format on the other."""

from __future__ import annotations

from tests.support.gateway_rig import Rig
from tests.support.waiting import until

from oddwire.proto.keys import NodeId
from oddwire.transports.nats.packing import CONNECTED, DISCONNECTED, MARKER, PAYLOAD

ASK = bytes.fromhex("8c01")


async def test_what_a_peer_sends_is_in_the_stream_numbered_and_in_order(rig: Rig) -> None:
    await rig.connect()
    sent = [ASK + bytes([number]) for number in range(50)]
    for payload in sent:
        await rig.peer.send(rig.node, payload)
    await rig.peer.disconnect(rig.node, "enough")
    owner = rig.owner()
    entries = await owner.until(DISCONNECTED)
    conn = entries[0][1]
    assert entries[0] == [CONNECTED, conn, "memory", "in", b""]
    assert [entry for entry in entries if entry[0] == PAYLOAD] == [
        [PAYLOAD, conn, number + 1, payload] for number, payload in enumerate(sent)
    ]
    assert [entry[:2] for entry in entries if entry[0] == DISCONNECTED] == [[DISCONNECTED, conn]]


async def test_an_owner_is_told_the_connections_and_where_its_time_begins(rig: Rig) -> None:
    await rig.connect()
    await rig.peer.send(rig.node, ASK)
    owner = rig.owner()
    await until(lambda: rig.gateway.peers)
    answer = await owner.own()
    assert answer["ok"]["run"] == rig.gateway.run > 0
    ((number, peer, address, direction, features, following),) = owner.conns
    assert (NodeId(peer), address, direction, features) == (rig.me, "memory", "in", b"")
    await rig.peer.send(rig.node, ASK + b"after")
    entries = await owner.until(MARKER, PAYLOAD)
    while entries[-1][0] != PAYLOAD or entries[-1][3] != ASK + b"after":
        entries += await owner.until(PAYLOAD)
    marker = entries.index([MARKER, 1])
    before = [entry[2] for entry in entries[:marker] if entry[0] == PAYLOAD]
    after = [entry[2] for entry in entries[marker:] if entry[0] == PAYLOAD]
    assert all(each < following for each in before)
    assert all(each >= following for each in after)
    assert {entry[1] for entry in entries if entry[0] == PAYLOAD} == {number}
    assert await owner.own() == answer  # asked again, as after a time-out: no second marker
    assert not await owner.entries()


async def test_what_an_owner_sends_reaches_the_peer_once(rig: Rig) -> None:
    await rig.connect()
    owner = rig.owner()
    await until(lambda: rig.gateway.peers)
    await owner.own()
    ((conn, *_),) = owner.conns
    accepted = await owner.send((conn, ASK + b"1"), (conn, ASK + b"2"))
    assert accepted == ("", "", [], [])
    assert await owner.send((conn, ASK + b"1"), (conn, ASK + b"2"), batch=1) == accepted
    await owner.send((conn, ASK + b"3"))
    await rig.sink.until(lambda sink: len(sink.payloads) == 3)
    assert rig.sink.payloads == [ASK + b"1", ASK + b"2", ASK + b"3"]


async def test_only_the_highest_term_in_this_run_may_send(rig: Rig) -> None:
    await rig.connect()
    old, new = rig.owner(3), rig.owner(7)
    await until(lambda: rig.gateway.peers)
    assert (await old.send((1, ASK))).status == "run"
    assert (await old.send((1, ASK), run=rig.gateway.run)).status == "run"
    await old.own()
    await new.own()
    ((conn, *_),) = new.conns
    assert (await old.send((conn, ASK + b"old"))).status == "stale"
    assert (await old.own())["error"][0] == "stale"
    assert (await old.ask("pause", conn=conn))["error"][0] == "stale"
    assert (await new.send((conn, ASK), run=new.run + 1)).status == "run"
    assert (await new.send((conn, ASK), batch=9)).status == "batch"
    assert (await new.send((conn, ASK), partition=77)).status == "partition"
    await new.send((conn, ASK + b"new"), batch=1)
    await rig.sink.until(lambda sink: sink.payloads)
    assert rig.sink.payloads == [ASK + b"new"]
    assert rig.gateway.refusals.counts == {"run": 3, "stale": 3, "batch": 1, "partition": 1}


async def test_no_worker_sends_what_belongs_to_the_node(rig: Rig) -> None:
    await rig.connect()
    owner = rig.owner()
    await until(lambda: rig.gateway.peers)
    await owner.own()
    ((conn, *_),) = owner.conns
    wrong = [bytes.fromhex("0011") + b"error", bytes.fromhex("0080"), b"", b"\x8c", ASK + bytes(65534)]
    accepted = await owner.send(*((conn, payload) for payload in wrong), (conn, ASK), (conn + 7, ASK))
    assert [(index, reason) for index, reason, _ in accepted.refused] == [
        (0, "reserved"),
        (1, "reserved"),
        (2, "length"),
        (3, "length"),
        (4, "length"),
        (6, "gone"),
    ]
    await rig.sink.until(lambda sink: sink.payloads)
    assert rig.sink.payloads == [ASK]


async def test_any_bytes_are_answered(rig: Rig) -> None:
    owner = rig.owner()
    for raw in (b"", b"\xc1", bytes([0x91] * 5000), b"\x96\x01\x02", b"\x80", bytes(3 << 20)):
        assert (await owner.request(raw)).status == "malformed"
    for values in ({"do": 1}, {"do": "pay"}, {"k": -1}, {"term": "x"}, {"k": [1]}, {"term": 1 << 63}):
        answer = await owner.ask(**{"do": "owner", **values})  # type: ignore[arg-type]
        assert "error" in answer or values == {"term": 1 << 63}


async def test_what_an_owner_leaves_handled_is_told_to_the_next_until_one_says_more(rig: Rig) -> None:
    first, second, third = rig.owner(1), rig.owner(2), rig.owner(3)
    assert (await first.own())["ok"]["handled"] == []
    assert (await first.ask("release", handled=[[1, 2]]))["error"][0] == "malformed"
    assert await first.ask("release", handled=[[1, 2, 3]]) == {"ok": {}}
    assert (await first.send()).status == "run"
    for _ in range(2):
        assert (await second.own())["ok"]["handled"] == [[1, 2, 3]]
    assert await second.ask("handled", handled=[[1, 2, 5]]) == {"ok": {}}
    assert await second.ask("handled", handled=[[1, 2, 6]]) == {"ok": {}}
    assert (await third.own())["ok"]["handled"] == [[1, 2, 6]]
    assert (await second.ask("handled", handled=[]))["error"][0] == "stale"
    assert (await rig.owner(4).own())["ok"]["handled"] == [[1, 2, 6]], "the third may have died before it said anything"
