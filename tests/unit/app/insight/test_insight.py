"""What comes of messages, each way caused, and that all of them add up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import until

from oddwire import Application, Context, Extension, Limits, Message, NodeId, Refuse, message, u64
from oddwire.app import Malformed, Metrics, PeerRpc
from oddwire.errors import (
    ExtensionError,
    LocalProtocolError,
    NotSupported,
    OddwireError,
    PeerNotConnected,
    RemoteFailure,
    ReplyTimeout,
)
from oddwire.schema import schema_of
from oddwire.testing import ScriptedTransport
from oddwire.transports import MemoryNetwork

ALICE = NodeId("02" + "aa" * 32)
Wanted = dict[str, int]


@message(0x8C21)
class Ask(Message):
    text: str
    filling: bytes = b""


@message(0x8C23)
class Answer(Message):
    text: str


@message(0x8C25)
class Kept(Message):
    number: u64


@message(0x8C27, codec="bolt")
class Rough(Message):
    number: u64


@message(0x8C29)
class Unwanted(Message): ...


@message(0x8C2B)
class Slow(Message): ...


@message(0x8C2D)
class Many(Message):
    count: u64


class Oracle:
    """An extension with a handler for each way in which a message can end."""

    def __init__(self, **options: Any) -> None:
        self.extension = extension = Extension("oracle", version="1.0", **options)
        extension.register(Unwanted)
        self.go = asyncio.Event()
        self.heard: list[object] = []

        @extension.on(Ask)
        async def ask(context: Context, ask: Ask) -> Answer | None:
            self.heard.append(ask.text)
            if ask.text == "fail":
                raise LookupError("no oracle today")
            if ask.text == "refuse":
                raise Refuse("not you")
            return None if ask.text == "quiet" else Answer(text=ask.text)

        @extension.on(Slow, concurrent=True)
        async def slow(context: Context, slow: Slow) -> None:
            self.heard.append("slow")
            await self.go.wait()

        @extension.on(Many)
        async def many(context: Context, many: Many) -> AsyncIterator[Answer]:
            for number in range(many.count):
                yield Answer(text=str(number))

        @extension.on(Rough)
        async def rough(context: Context, rough: Rough | Malformed) -> None:
            self.heard.append(rough)


class Keeper:
    """An extension that keeps reliable messages, some of them not."""

    def __init__(self) -> None:
        self.extension = extension = Extension("keeper", version="1.0")
        self.failed = False

        @extension.on(Kept, reliable=True)
        async def kept(context: Context, kept: Kept) -> None:
            if kept.number == 1:
                raise Refuse("no room")
            if kept.number == 2 and not self.failed:
                self.failed = True
                raise ZeroDivisionError


@asynccontextmanager
async def scripted(extension: Extension, **options: Any) -> AsyncIterator[tuple[Application, ScriptedTransport]]:
    transport = ScriptedTransport()
    app = Application(extension, transport=transport, metrics=True, grace=0.0, **{"session": False, **options})
    async with app:
        transport.connect_peer(ALICE)
        yield app, transport


@asynccontextmanager
async def pair(left: Extension, right: Extension, **options: Any) -> AsyncIterator[tuple[Application, Application]]:
    """Two counting applications, the left connected to the right."""
    network = MemoryNetwork()
    both = [
        Application(one, transport=network.transport(), metrics=True, store=":memory:", grace=0.0, **options)
        for one in (left, right)
    ]
    async with both[0], both[1]:
        await both[0].connect(both[1].uris[0])
        yield both[0], both[1]


def outcomes(metrics: Metrics, cls: type[Message] | int, direction: str = "received") -> Wanted:
    type_id = cls if isinstance(cls, int) else schema_of(cls).type_id
    rows = [row for row in metrics.messages if (row["type"], row["direction"]) == (type_id, direction)]
    return {row["outcome"]: row["count"] for row in rows}


async def settled(app: Application, cls: type[Message] | int, wanted: Wanted, direction: str = "received") -> None:
    """Wait until the outcomes of a type are those, and no others."""
    try:
        await until(lambda: outcomes(app.metrics(), cls, direction) == wanted)
    except TimeoutError:
        assert outcomes(app.metrics(), cls, direction) == wanted


def handled(app: Application, extension: str) -> Wanted:
    found: Wanted = {}
    for row in app.metrics().handlers:
        if row["extension"] == extension:
            assert list(row["buckets"].values())[-1] == row["count"]
            found[row["outcome"]] = found.get(row["outcome"], 0) + row["count"]
    return found


# Plain messages -----------------------------------------------------------------------------------------


async def test_plain_messages_that_are_handled_refused_and_failed() -> None:
    async with scripted(Oracle().extension) as (app, transport):
        for text in ("quiet", "quiet", "fail", "refuse", "loud"):
            transport.receive(ALICE, app.registry.encode(Ask(text=text)))
        await settled(app, Ask, {"ok": 3, "failed": 1, "refused": 1})
        await settled(app, Answer, {"ok": 1}, "sent")
        assert handled(app, "oracle") == {"ok": 3, "failed": 1, "refused": 1}
        metrics = app.metrics()
        assert metrics.received() == 5
        sizes = {row["outcome"]: row["bytes"] for row in metrics.messages if row["direction"] == "received"}
        assert sizes["failed"] == len(app.registry.encode(Ask(text="fail")))
        assert (metrics.peers[0]["received"], metrics.peers[0]["sent"]) == (5, 1)
        assert metrics.errors == [{"extension": "oracle", "where": "handler of Ask", "count": 1}]


async def test_messages_that_are_malformed_unknown_or_without_a_handler() -> None:
    async with scripted(Oracle().extension) as (app, transport):
        transport.receive(ALICE, b"\x8c\x21\xff")
        transport.receive(ALICE, b"\x9f\x01")
        transport.receive(ALICE, app.registry.encode(Unwanted()))
        assert outcomes(app.metrics(), Ask) == {"malformed": 1}
        assert outcomes(app.metrics(), 0x9F01) == {"unknown": 1}
        assert outcomes(app.metrics(), Unwanted) == {"unhandled": 1}
        assert app.metrics().received() == 3


async def test_what_a_handler_takes_malformed_is_its_own() -> None:
    oracle = Oracle()
    async with scripted(oracle.extension) as (app, transport):
        transport.receive(ALICE, b"\x8c\x27\x00")
        await settled(app, Rough, {"ok": 1})
        assert isinstance(oracle.heard[0], Malformed)


async def test_messages_that_wait_are_pending_and_dropped_at_the_end() -> None:
    oracle = Oracle()
    async with scripted(oracle.extension) as (app, transport):
        for _ in range(40):  # more than are handled at once
            transport.receive(ALICE, app.registry.encode(Slow()))
        await until(lambda: len(oracle.heard) == 32)
        assert outcomes(app.metrics(), Slow) == {"pending": 40}
    found = outcomes(app.metrics(), Slow)
    assert found["dropped"] > 0
    assert found["cancelled"] >= 32
    assert sum(found.values()) == 40


async def test_messages_of_who_is_not_connected_are_dropped() -> None:
    async with scripted(Oracle().extension) as (app, transport):
        transport.receive(ALICE, b"\x8c\x20")  # even and unknown: the peer is hung up on
        transport.receive(ALICE, app.registry.encode(Ask(text="late")))
        assert outcomes(app.metrics(), 0x8C20) == {"unknown": 1}
        assert outcomes(app.metrics(), Ask) == {"dropped": 1}


async def test_who_is_not_allowed_is_refused() -> None:
    async with scripted(Oracle(allow=["03" + "bb" * 32]).extension) as (app, transport):
        transport.receive(ALICE, app.registry.encode(Ask(text="let me in")))
        await settled(app, Ask, {"refused": 1})
        assert handled(app, "oracle") == {}


async def test_what_is_waited_for_is_awaited() -> None:
    async with scripted(Oracle().extension) as (app, transport):
        waiting = asyncio.create_task(app.peer(ALICE).wait_for(Unwanted, timeout=5))
        asking = asyncio.create_task(app.peer(ALICE).request(Ask(text="x"), Answer, timeout=5))
        await until(lambda: transport.sent)
        transport.receive(ALICE, app.registry.encode(Unwanted()))
        transport.receive(ALICE, app.registry.encode(Answer(text="y")))
        await waiting
        await asking
        assert outcomes(app.metrics(), Unwanted) == {"awaited": 1}
        assert outcomes(app.metrics(), Answer) == {"awaited": 1}
        assert outcomes(app.metrics(), Ask, "sent") == {"ok": 1}


async def test_types_that_strangers_invent_have_one_row_after_the_first() -> None:
    async with scripted(Oracle().extension) as (app, transport):
        for number in range(0x9001, 0x9001 + 400, 2):
            transport.receive(ALICE, number.to_bytes(2, "big"))
        rows = [row for row in app.metrics().messages if row["outcome"] == "unknown"]
        assert len(rows) == 65
        (others,) = [row for row in rows if row["type"] is None]
        assert (others["count"], others["message"], others["extension"]) == (136, None, "")
        assert app.metrics().received("unknown") == 200
        assert outcomes(app.metrics(), Ask) == {}
        transport.receive(ALICE, app.registry.encode(Ask(text="quiet")))  # those that are known keep their rows
        await settled(app, Ask, {"ok": 1})


# Requests and streams -----------------------------------------------------------------------------------


async def test_requests_of_every_fate_add_up_at_both_ends() -> None:
    async with pair(Oracle().extension, Oracle().extension) as (left, right):
        peer = left.peers[0]
        assert await peer.request(Ask(text="hi"), Answer) == Answer(text="hi")
        for text in ("fail", "refuse", "quiet"):
            with pytest.raises(RemoteFailure):
                await peer.request(Ask(text=text), Answer)
        with pytest.raises(RemoteFailure):
            await peer.request(Unwanted(), Answer)
        with pytest.raises(ReplyTimeout):
            await peer.request(Slow(), Answer, timeout=0.05)
        await settled(right, Ask, {"ok": 2, "failed": 1, "refused": 1})
        await settled(right, Slow, {"cancelled": 1})
        await settled(right, Unwanted, {"unhandled": 1})
        assert handled(right, "oracle") == {"ok": 2, "failed": 1, "refused": 1, "cancelled": 1}
        assert outcomes(left.metrics(), Ask, "sent") == {"ok": 1, "failed": 3}
        assert outcomes(left.metrics(), Unwanted, "sent") == {"failed": 1}
        assert outcomes(left.metrics(), Slow, "sent") == {"timed_out": 1}
        assert outcomes(left.metrics(), Answer) == {"awaited": 1}
        assert outcomes(right.metrics(), Answer, "sent") == {"ok": 1}
        assert left.metrics().sent() == right.metrics().received() == 6


async def test_requests_that_do_not_decode_or_have_no_room() -> None:
    async with pair(Oracle().extension, Oracle().extension, limits=Limits(request_bytes=70_000)) as (left, right):
        peer = left.peers[0]
        big = Ask(text="quiet", filling=bytes(68_000))
        found = await asyncio.gather(*(peer.request(big, Answer) for _ in range(3)), return_exceptions=True)
        assert all(isinstance(one, RemoteFailure) for one in found)
        await until(lambda: sum(outcomes(right.metrics(), Ask).values()) == 3)
        await until(lambda: "pending" not in outcomes(right.metrics(), Ask))
        await settled(left, Ask, {"failed": 3}, "sent")
    found_there = outcomes(right.metrics(), Ask)
    assert sum(found_there.values()) == 3
    assert set(found_there) <= {"ok", "refused"}


async def test_a_request_of_who_is_not_allowed() -> None:
    async with pair(Oracle().extension, Oracle(allow=["03" + "bb" * 32]).extension) as (left, right):
        with pytest.raises(RemoteFailure, match="not allowed"):
            await left.peers[0].request(Ask(text="hi"), Answer)
        await settled(right, Ask, {"refused": 1})
        assert handled(right, "oracle") == {}


async def test_a_stream_is_one_request_and_many_messages() -> None:
    async with pair(Oracle().extension, Oracle().extension) as (left, right):
        parts = [part async for part in left.peers[0].stream(Many(count=5), Answer)]
        assert len(parts) == 5
        await settled(right, Many, {"ok": 1})
        await settled(left, Many, {"ok": 1}, "sent")
        assert outcomes(left.metrics(), Answer) == {"awaited": 5}
        assert outcomes(right.metrics(), Answer, "sent") == {"ok": 5}
        assert handled(right, "oracle") == {"ok": 1}


async def test_a_message_in_fragments_is_one() -> None:
    async with pair(Oracle().extension, Oracle().extension) as (left, right):
        big = Ask(text="quiet", filling=bytes(200_000))
        await left.peers[0].send(big)
        await settled(right, Ask, {"ok": 1})
        (row,) = [row for row in right.metrics().messages if row["type"] == 0x8C21]
        assert row["bytes"] == len(left.registry.encode(big))
        assert outcomes(left.metrics(), Ask, "sent") == {"ok": 1}


# Reliable messages --------------------------------------------------------------------------------------


async def test_reliable_messages_count_once_whatever_it_takes() -> None:
    keeper = Keeper()
    async with pair(Keeper().extension, keeper.extension) as (left, right):
        peer = left.peers[0]
        receipts = [await peer.deliver(Kept(number=number)) for number in (0, 1, 2)]
        await receipts[0].delivered()
        with pytest.raises(RemoteFailure):
            await receipts[1].delivered()
        await receipts[2].delivered()
        await settled(right, Kept, {"ok": 2, "refused": 1})
        assert handled(right, "keeper") == {"ok": 2, "refused": 1, "failed": 1}
        assert outcomes(left.metrics(), Kept, "sent") == {"ok": 3}  # stored; what became of one is a limit's
        assert left.metrics().limits["refused"] == {"undelivered": 1}
        await left.peer("03" + "cc" * 32).deliver(Kept(number=7))
        assert left.metrics().outbox[0]["waiting"] == 1


async def test_a_reliable_message_that_nobody_takes() -> None:
    sender, other = Keeper(), Extension("keeper", version="1.0")
    other.register(Kept)
    async with pair(sender.extension, other) as (left, right):
        receipt = await left.peers[0].deliver(Kept(number=3))
        with pytest.raises(OddwireError):
            await receipt.delivered()
        assert sum(outcomes(right.metrics(), Kept).values()) == 1
        assert "ok" not in outcomes(right.metrics(), Kept)


# JSON-RPC between peers ---------------------------------------------------------------------------------


def serving() -> Extension:
    extension = Extension("lsp", version="1.0")
    rpc = PeerRpc(extension, 37913)

    @rpc.method("shop.price")
    async def price(context: Context, fail: bool = False, refuse: bool = False) -> dict[str, int]:
        if fail:
            raise LookupError("no price")
        if refuse:
            raise Refuse("not for you")
        return {"price": 7}

    @rpc.notification("shop.news")
    async def news(context: Context, refuse: bool = False) -> None:
        if refuse:
            raise Refuse("old news")

    return extension


async def test_json_rpc_with_peers() -> None:
    def ask(method: str, **params: Any) -> bytes:
        document = {"jsonrpc": "2.0", "id": str(len(params)), "method": method, "params": params}
        return (37913).to_bytes(2, "big") + json.dumps(document).encode()

    async with scripted(serving()) as (app, transport):
        for payload in (
            ask("shop.price"),
            ask("shop.price", fail=True),
            ask("shop.price", refuse=True),
            ask("shop.sell"),
            (37913).to_bytes(2, "big") + b"[]",
            (37913).to_bytes(2, "big") + b'{"jsonrpc": "2.0", "id": "nobody asked", "result": {}}',
        ):
            transport.receive(ALICE, payload)
        await settled(app, 37913, {"ok": 1, "failed": 1, "refused": 1, "unhandled": 2, "malformed": 1})
        await settled(app, 37913, {"ok": 5}, "sent")
        for params in ({}, {"refuse": True}):
            document = {"jsonrpc": "2.0", "method": "shop.news", "params": params}
            transport.receive(ALICE, (37913).to_bytes(2, "big") + json.dumps(document).encode())
        await settled(app, 37913, {"ok": 2, "failed": 1, "refused": 2, "unhandled": 2, "malformed": 1})


# Sending ------------------------------------------------------------------------------------------------


async def test_what_the_transport_does_not_take_is_unsent() -> None:
    async with scripted(Oracle().extension) as (app, transport):
        peer = app.peer(ALICE)
        await peer.send(Ask(text="there"))
        await peer.send_raw(0x9F03, b"raw")
        with pytest.raises(NotSupported):  # it is not even tried
            await peer.send_raw(0x9F02, b"")
        transport.lose_peer(ALICE)
        with pytest.raises(PeerNotConnected):
            await peer.send(Ask(text="gone"))
        with pytest.raises(PeerNotConnected):
            await peer.send_raw(0x9F03, b"raw")
        assert outcomes(app.metrics(), Ask, "sent") == {"ok": 1, "unsent": 1}
        assert outcomes(app.metrics(), 0x9F03, "sent") == {"ok": 1, "unsent": 1}
        assert app.metrics().peers == []


async def test_a_plain_request_that_is_not_answered() -> None:
    async with scripted(Oracle().extension) as (app, transport):
        peer = app.peer(ALICE)
        with pytest.raises(ReplyTimeout):
            await peer.request(Ask(text="x"), Answer, timeout=0.01)
        asking = asyncio.create_task(peer.request(Slow(), Unwanted, timeout=5))
        await until(lambda: len(transport.sent) == 2)
        assert outcomes(app.metrics(), Slow, "sent") == {"pending": 1}
        asking.cancel()
        await asyncio.wait([asking])
        assert outcomes(app.metrics(), Slow, "sent") == {"cancelled": 1}
        assert outcomes(app.metrics(), Ask, "sent") == {"timed_out": 1}


# On and off ---------------------------------------------------------------------------------------------


async def test_nothing_is_counted_until_somebody_asks() -> None:
    oracle, transport = Oracle(), ScriptedTransport()
    app = Application(oracle.extension, transport=transport, session=False, grace=0.0)
    with pytest.raises(LocalProtocolError, match="not started"):
        app.metrics()
    async with app:
        transport.connect_peer(ALICE)
        transport.receive(ALICE, app.registry.encode(Ask(text="quiet")))
        await until(lambda: oracle.heard)
        before = app.metrics()
        assert (before.messages, before.handlers, before.since) == ([], [], None)
        assert before.peers[0]["id"] == str(ALICE)
        first = app.insight.stats()
        assert first["messages"] == []
        assert first["since"] is not None
        transport.receive(ALICE, app.registry.encode(Ask(text="quiet")))
        await settled(app, Ask, {"ok": 1})
        assert app.insight.stats()["since"] == first["since"]
        found = app.insight.stats()
        assert json.loads(json.dumps(found)) == found
        assert 0 <= found["uptime"] < 600


async def test_messages_in_flight_when_counting_begins_are_not_counted() -> None:
    oracle, transport = Oracle(), ScriptedTransport()
    app = Application(oracle.extension, transport=transport, session=False, grace=0.0)
    async with app:
        transport.connect_peer(ALICE)
        transport.receive(ALICE, app.registry.encode(Slow()))
        await until(lambda: oracle.heard == ["slow"])
        app.insight.count()
        oracle.go.set()
        transport.receive(ALICE, app.registry.encode(Slow()))
        await settled(app, Slow, {"ok": 1})


def test_metrics_has_to_be_true_or_false() -> None:
    with pytest.raises(ExtensionError, match="metrics should be True or False"):
        Application(transport="memory", metrics=1)  # type: ignore[arg-type]


async def test_who_it_is() -> None:
    async with scripted(Oracle().extension) as (app, _):
        found = app.metrics()
        assert (found.program, found.kind) == ("oracle", "run")
        assert found.extensions == [{"name": "oracle", "version": "1.0"}]
        assert found.uptime >= 0
        app.insight.program, app.insight.kind = "talk", "plugin"
        assert (app.metrics().program, app.metrics().kind) == ("talk", "plugin")


# Watching -----------------------------------------------------------------------------------------------


async def test_watching_tells_what_run_json_does() -> None:
    async with pair(Oracle().extension, Oracle().extension) as (left, right):
        assert (await right.insight.watch())["events"] == []
        with pytest.raises(RemoteFailure):
            await left.peers[0].request(Ask(text="refuse"), Answer)
        await left.peers[0].request(Ask(text="hi"), Answer)
        seen = await right.insight.watch(after=0)
        assert seen["node_id"] == str(right.node_id)
        received, refused, *rest = seen["events"]
        assert (received["n"], received["event"], received["schema"]) == (1, "received", "oracle.Ask")
        assert received["message"] == {"text": "refuse", "filling": ""}
        assert (refused["event"], refused["message"]) == ("error", "oracle.Ask 0x8c21 refused: not you")
        assert [event["event"] for event in rest] == ["received", "sent"]
        assert rest[1]["latency"] > 0
        me = str(left.node_id)
        await left.disconnect(right.node_id or "")
        later = await right.insight.watch(after=seen["next"], wait=5, peers=[me])
        assert [event["event"] for event in later["events"]] == ["disconnected"]


async def test_watching_sees_failures_and_losses() -> None:
    async with pair(Keeper().extension, Keeper().extension) as (left, right):
        await right.insight.watch()
        await left.insight.watch()
        receipt = await left.peers[0].deliver(Kept(number=1))
        with pytest.raises(RemoteFailure):
            await receipt.delivered()
        await left.peers[0].deliver(Kept(number=2))

        async def errors(app: Application) -> str:
            seen = await app.insight.watch(after=0)
            return " ".join(str(event["message"]) for event in seen["events"] if event["event"] == "error")

        await until(lambda: app_failed(right))
        assert "handler of Kept of 'keeper' failed: ZeroDivisionError" in await errors(right)
        assert "keeper.Kept 0x8c25 was not delivered: no room" in await errors(left)


def app_failed(app: Application) -> bool:
    return bool(app.counters.failed)


async def test_when_nobody_looks_on_any_more_messages_are_not_told_of() -> None:
    async with scripted(Oracle().extension) as (app, transport):
        await app.insight.watch()
        app.insight.ring.close()
        transport.receive(ALICE, app.registry.encode(Ask(text="quiet")))
        await settled(app, Ask, {"ok": 1})
        assert (await app.insight.watch(after=0))["events"] == []


async def test_the_end_of_the_application_ends_a_watch() -> None:
    async with scripted(Oracle().extension) as (app, _):
        watching = asyncio.create_task(app.insight.watch(wait=60))
        await until(lambda: app.insight.ring.is_kept)
    assert (await asyncio.wait_for(watching, 5))["events"] == []


async def test_a_store_on_disk_shows_what_waits(tmp_path: Path) -> None:
    keeper = Keeper()
    network = MemoryNetwork()
    app = Application(keeper.extension, transport=network.transport(), store=tmp_path / "s.sqlite3", grace=0.0)
    async with app:
        await app.peer(ALICE).deliver(Kept(number=1))
        (row,) = app.metrics().outbox
        assert (row["extension"], row["waiting"]) == ("keeper", 1)
