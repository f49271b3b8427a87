import asyncio
from contextlib import AsyncExitStack

import pytest

from oddwire import Application, DecodeError, describe, schema_of
from oddwire.transports import MemoryNetwork
from oddwire_extensions import echo

from .conftest import Recorder


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (echo.Request(text="ahoy"), echo.Reply(text="ahoy")),
        (echo.Request(text="señor ⚡" * 1000, number=2**64 - 1), echo.Reply(text="señor ⚡" * 1000, number=2**64 - 1)),
        (echo.BoltRequest(), echo.BoltReply()),
        (
            echo.BoltRequest(number=7, data=bytes(60_000), note="in a TLV record"),
            echo.BoltReply(number=7, data=bytes(60_000), note="in a TLV record"),
        ),
    ],
    ids=describe,
)
async def test_what_was_said_comes_back(pair, request_, reply) -> None:
    async with pair(("echo",), ("echo",)) as (_, dialer):
        assert await dialer.peers[0].request(request_, type(reply)) == reply


async def test_replies_come_in_the_order_of_requests(pair) -> None:
    async with pair(("echo",), ("echo",)) as (_, dialer):
        peer = dialer.peers[0]
        requests = [peer.request(echo.BoltRequest(number=number), echo.BoltReply) for number in range(1000)]
        assert [reply.number for reply in await asyncio.gather(*requests)] == list(range(1000))


async def test_an_unknown_odd_payload_is_bounced_to_who_dialed(pair, recorder) -> None:
    async with pair(("echo",), ("chat", recorder)) as (_, dialer):
        payload = b"\xee\xffwhatever this is"
        await dialer.transport.send(dialer.peers[0].node_id, payload)
        (bounced,) = await recorder.until("received", 0xEEFF)
        assert bounced.payload == payload


async def test_many_unknown_payloads_are_bounced_in_order(pair, recorder) -> None:
    async with pair(("echo",), ("chat", recorder)) as (_, dialer):
        payloads = [b"\xee\xff" + number.to_bytes(2, "big") for number in range(1000)]
        for payload in payloads:
            await dialer.transport.send(dialer.peers[0].node_id, payload)
        await dialer.transport.send(dialer.peers[0].node_id, b"\xee\xfd")
        bounced = await recorder.until("received", 0xEEFF, 0xEEFD)
        assert [event.payload for event in bounced] == [*payloads, b"\xee\xfd"]


async def test_what_waits_for_a_peer_that_does_not_read_is_limited(pair, recorder) -> None:
    async with pair(("echo",), ("chat", recorder)) as (_, dialer):
        there = dialer.peers[0].node_id
        dialer.transport.pause(there)
        for _ in range(600):
            await dialer.transport.send(there, b"\xee\xff" + bytes(65_533))
        await dialer.transport.send(there, b"\xee\xfd")  # there is room for a short one
        dialer.transport.resume(there)
        await recorder.until("received", 0xEEFD)
        received = [event.type_id for event in recorder.events if event.direction == "received"]
        assert 60 < received.count(0xEEFF) < 600


async def test_what_waits_for_all_peers_is_limited(pair, recorder) -> None:
    async with pair(("echo",), ("chat", recorder)) as (_, dialer):
        there = dialer.peers[0].node_id
        before, echo.Waiting.total = echo.Waiting.total, 64 << 20  # as if others did not read
        try:
            await dialer.transport.send(there, b"\xee\xff")
            await dialer.transport.send(there, b"\x8c\x05" + bytes(10))  # answered in order, once that was looked at
            await recorder.until("received", 0x8C07)
        finally:
            echo.Waiting.total = before
        await dialer.transport.send(there, b"\xee\xfd")
        await recorder.until("received", 0xEEFD)
        assert 0xEEFF not in [event.type_id for event in recorder.events if event.direction == "received"]


async def test_what_waits_for_many_node_ids_is_limited_in_sum(monkeypatch) -> None:
    monkeypatch.setattr(echo, "MAX_WAITING_ALL", 1 << 20)
    network, most = MemoryNetwork(), 0
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(Application("echo", transport=network.transport(), session=False))
        dialers = []
        for _ in range(20):
            dialer = Application("chat", transport=network.transport(), session=False)
            dialers.append(await stack.enter_async_context(dialer))
            await dialer.connect(app.uris[0])
            dialer.transport.pause(app.node_id)
        for _ in range(8):
            for dialer in dialers:
                await dialer.transport.send(app.node_id, b"\xee\xff" + bytes(65_533))
            for _ in range(20):
                await asyncio.sleep(0)
                most = max(most, echo.Waiting.total)
        assert (1 << 20) - 65_600 <= most <= 1 << 20
    async with asyncio.timeout(30):
        while echo.Waiting.total:
            await asyncio.sleep(0.01)


async def test_what_is_dropped_does_not_count_for_ever(pair) -> None:
    async with pair(("echo",), ("chat",)) as (_, dialer):
        there = dialer.peers[0].node_id
        dialer.transport.pause(there)
        for _ in range(600):
            await dialer.transport.send(there, b"\xee\xff" + bytes(65_533))
    async with asyncio.timeout(30):
        while echo.Waiting.total:
            await asyncio.sleep(0.01)


async def test_applications_of_one_process_bounce_each_to_its_own_peers() -> None:
    network, recorder = MemoryNetwork(), Recorder()
    async with (
        Application("echo", transport=network.transport()) as one,
        Application("echo", transport=network.transport()) as other,
        Application(recorder, transport=network.transport()) as dialer,
    ):
        for app in (one, other):
            await dialer.connect(app.uris[0])
        for peer in dialer.peers:
            dialer.transport.pause(peer.node_id)  # nothing is bounced before all has arrived
        for number, app in enumerate((one, other, one)):
            await dialer.peer(app.node_id).send_raw(0xEEFF, bytes([number]))
        for peer in dialer.peers:
            dialer.transport.resume(peer.node_id)
        for number, app in enumerate((one, other, one)):
            await dialer.peer(app.node_id).send_raw(0xEEFD - 2 * number, b"")
        bounced = await recorder.until("received", 0xEEFF, 0xEEFD, 0xEEFB, 0xEEF9)
        found = [(event.peer, event.payload[2:]) for event in bounced if event.type_id == 0xEEFF]
        assert sorted(found) == sorted([(one.node_id, b"\0"), (other.node_id, b"\1"), (one.node_id, b"\2")])


async def test_two_echo_nodes_do_not_play_ball(pair, recorder) -> None:
    async with pair(("echo", recorder), ("echo",)) as (listener, dialer):
        to_dialer = listener.peers[0].node_id
        await dialer.transport.send(dialer.peers[0].node_id, b"\xee\xff")
        await listener.transport.send(to_dialer, b"\xee\xfd")
        await dialer.peers[0].request(echo.Request(text="done?"), echo.Reply)
        await listener.peers[0].request(echo.Request(text="done?"), echo.Reply)
        await dialer.peers[0].request(echo.Request(text="really?"), echo.Reply)
        received = [event.type_id for event in recorder.events if event.direction == "received"]
        assert received.count(0xEEFF) == 1
        assert received.count(0xEEFD) == 0


@pytest.mark.parametrize(
    "payload",
    [b"\x7f\xffbelow 32768", b"\x8c\x01\xffmalformed", b"\x8c\x05", b"\xc0\xdd\x01", b"\xc0\xdd\xff of a session"],
)
async def test_nothing_else_is_bounced(pair, recorder, payload: bytes) -> None:
    async with pair(("echo",), (recorder, "echo")) as (_, dialer):
        peer = dialer.peers[0]
        await dialer.transport.send(peer.node_id, payload)
        await peer.request(echo.Request(text="done?"), echo.Reply)
        await peer.request(echo.Request(text="really?"), echo.Reply)
        received = [event.payload for event in recorder.events if event.direction == "received"]
        assert payload not in received


async def test_a_malformed_request_is_answered_by_nothing_and_ends_nothing(pair, recorder) -> None:
    async with pair((recorder, "echo"), ("echo",)) as (_, dialer):
        peer = dialer.peers[0]
        await dialer.transport.send(peer.node_id, b"\x8c\x01\xc0")
        assert await peer.request(echo.Request(text="still there?"), echo.Reply) == echo.Reply(text="still there?")
        assert isinstance(recorder.events[0].error, DecodeError)


def test_both_codecs_are_used() -> None:
    codecs = {message.__name__: schema_of(message).codec for message in echo.extension.messages}
    assert codecs == {"Request": "msgpack", "Reply": "msgpack", "BoltRequest": "bolt", "BoltReply": "bolt"}
    assert all(schema_of(message).type_id % 2 for message in echo.extension.messages)
