"""Keeping, settling and listing, as authors call it."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import until
from tests.unit.app.resending.conftest import ALICE, BOB, Ask, Note, Scene, Yes

from oddwire import Again, AppContext, Application, Context, Extension, LocalProtocolError, Message, hookimpl, message
from oddwire.errors import EncodeError, ExtensionError, OddwireError, PayloadTooLarge, QuotaExceeded, StoreError
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Limits
from oddwire.session.store.ages import Ages
from oddwire.testing import ScriptedTransport
from oddwire.transports.memory import MemoryNetwork


@message(0x8E21)
class Long(Message):
    data: bytes


@message(0x8E23)
class Flag(Message):
    on: bool


@message(0x8E25, replies=Flag, match="on")
class SetFlag(Message):
    on: bool


@message(0x8E27)
class Order(Message):
    number: int


class More(Scene):
    def prepare(self, extension: Extension) -> None:
        for each in (Long, SetFlag):
            extension.register(each)


async def test_what_cannot_be_kept_is_refused_at_once(scene: Any) -> None:
    async with scene(More, limits=Limits(outbox_messages=1)) as here:
        peer = here.alice
        with pytest.raises(TypeError, match=r"^send\(again=\) should be Again\(every=10\) say, not 10$"):
            peer.send(Note(), again=10)
        with pytest.raises(TypeError, match="has no progress"):
            peer.send(Note(), again=Again(key=1), progress=print)
        with pytest.raises(
            ValueError, match=r"Note should have a key to settle it by: Again\(key=\), or @message\(.*match"
        ):
            await peer.send(Note(), again=Again())
        with pytest.raises(TypeError, match=r"^a key should be a str, bytes, int, NodeId.*, not True$"):
            await peer.send(SetFlag(on=True), again=Again())
        with pytest.raises(
            PayloadTooLarge, match=r"^Long 0x8e21: has 700\d\d bytes here; what is sent again goes as one"
        ):
            await peer.send(Long(data=bytes(70_000)), again=Again(key=1))
        with pytest.raises(EncodeError, match="should be a message that a loaded extension"):
            await peer.send(Order(number=1), again=Again(key=1))
        with pytest.raises(EncodeError):
            await peer.send(Note(text=5), again=Again(key=1))  # type: ignore[arg-type]
        assert await peer.pending() == []
        await peer.send(SetFlag(on=True), again=Again(key="flag"))
        with pytest.raises(QuotaExceeded):
            await peer.send(Note(), again=Again(key=2))
        with pytest.raises(TypeError, match="a key should be"):
            await peer.settle(None)
        assert here.app.counters.exceeded == {"outbox_messages": 1}


async def test_without_a_store_it_says_so() -> None:
    here = Scene(store=None)
    async with here.app:
        for doing in (here.alice.send(Ask(swap_id="1"), again=Again()), here.alice.settle("1"), here.alice.pending()):
            with pytest.raises(LocalProtocolError, match="this application has no store: give it one"):
                await doing


async def test_a_key_of_two_extensions_is_settled_for_the_one_that_is_named() -> None:
    other = Extension("other", version="1.0")
    other.register(Order)
    extension = Extension("swap", version="1.0")
    extension.register(Ask)
    async with Application(extension, other, transport=ScriptedTransport(), store=":memory:") as app:
        peer = app.peer(ALICE)
        await peer.send(Ask(swap_id="1"), again=Again())
        await peer.send(Order(number=1), again=Again(key="1"))
        with pytest.raises(
            LocalProtocolError, match=r"'other' and 'swap' have each kept .* under this key; say whose is settled"
        ):
            await peer.settle("1")
        assert len(await peer.pending()) == 2
        assert await peer.settle("1", extension=other) is True
        assert await peer.settle("1", "other") is False
        with pytest.raises(ExtensionError, match="no extension 'nobody' is loaded"):
            await peer.settle("1", "nobody")
        assert await peer.settle("1") is True


async def test_what_an_extension_has_kept_that_is_loaded_no_more_is_settled_by_its_name(tmp_path: Path) -> None:
    extensions = Extension("other", version="1.0"), Extension("swap", version="1.0")
    for extension, kept in zip(extensions, (Order, Ask), strict=True):
        extension.register(kept)
        async with Application(extension, transport=ScriptedTransport(), store=tmp_path / "store") as app:
            await app.peer(ALICE).send(Order(number=1) if kept is Order else Ask(swap_id="1"), again=Again(key="1"))
    async with Application(extensions[1], transport=ScriptedTransport(), store=tmp_path / "store") as app:
        peer = app.peer(ALICE)
        with pytest.raises(LocalProtocolError, match=r"settle\(key, extension='other'\)$"):
            await peer.settle("1")
        assert await peer.settle("1", extension="other") is True
        with pytest.raises(ExtensionError, match="no extension 'other' is loaded"):
            await peer.settle("1", extension="other")
        assert await peer.settle("1") is True


async def test_what_waits_is_listed_oldest_first_with_what_is_reliable(scene: Any) -> None:
    async with scene() as here:
        await here.alice.deliver(Note(text="first"))
        await here.alice.send(Ask(swap_id="1"), again=Again())
        await here.alice.deliver(Note(text="third"))
        await here.app.peer(BOB).send(Ask(swap_id="2"), again=Again())
        found = await here.alice.pending()
        assert [(one.message, one.reliable, one.key) for one in found] == [
            (Note(text="first"), True, None),
            (Ask(swap_id="1"), False, "1"),
            (Note(text="third"), True, None),
        ]
        assert [(one.extension, one.sent, one.due) for one in found] == [
            ("swap", None, None),
            ("swap", 0, None),
            ("swap", None, None),
        ]
        assert all(0.0 <= one.age < 60.0 for one in found)


async def test_a_list_of_many_lets_others_have_their_turn(scene: Any) -> None:
    async with scene() as here:
        await asyncio.gather(*(here.alice.deliver(Note(text=f"{number}")) for number in range(700)))
        await asyncio.gather(*(here.alice.send(Ask(swap_id=f"{n}"), again=Again()) for n in range(700)))
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        found = await here.alice.pending()
        counting.cancel()
        assert len(found) == 1400
        assert turns >= 5


async def test_in_a_start_it_is_kept_and_goes_out_later() -> None:
    class Early(Scene):
        def prepare(self, extension: Extension) -> None:
            @extension.on_startup
            async def startup(context: AppContext) -> None:
                peer = context.app.peer(ALICE)
                await peer.send(Ask(swap_id="1"), again=Again())
                await peer.send(Ask(swap_id="2"), again=Again())
                assert await peer.settle("2")
                assert [one.key for one in await peer.pending()] == ["1"]

    here = Early()
    async with here.app:
        here.transport.connect_peer(ALICE)
        await here.idle()
        assert here.sent() == [Ask(swap_id="1")]


async def test_after_a_restart_it_goes_on_and_its_answer_settles_it(tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = Scene(store=store)
    async with first.app:
        await first.alice.send(Ask(swap_id="1"), again=Again())
        await first.alice.send(Ask(swap_id="2"), again=Again(until=1800))
    second = Scene(store=store)
    second.app.resources.ages = Ages(uptime=lambda: second.loop.time() + 3600.0, boot=lambda: "boot")
    async with second.app:
        await until(lambda: second.lost)
        assert second.lost[0][0] == Ask(swap_id="2"), "what is too old by then is told of"
        second.transport.connect_peer(ALICE)
        await until(lambda: second.sent())
        assert second.sent() == [Ask(swap_id="1")]
        second.say(Yes(swap_id="1"))
        await until(lambda: second.handled)
    third = Scene(store=store)
    third.app.resources.ages = Ages(uptime=lambda: third.loop.time() + 3600.0, boot=lambda: "boot")
    async with third.app:
        assert await third.alice.pending() == []
        assert third.app._dispatcher.core.resender is None  # type: ignore[union-attr]


async def test_a_store_that_is_there_only_later_is_sent_from_then(tmp_path: Path) -> None:
    store, away = tmp_path / "store", tmp_path / "away"
    first = Scene(store=store)
    async with first.app:
        await first.alice.send(Ask(swap_id="1"), again=Again())
    store.rename(away)
    store.mkdir()
    second = Scene(store=store)
    async with second.app:
        second.transport.connect_peer(ALICE)
        with pytest.raises(StoreError):
            await second.alice.pending()
        store.rmdir()
        away.rename(store)
        second.app.resources.delivery().store._opened_at = -99.0
        await second.app.store("swap").get("a")
        await until(second.sent)
        assert second.sent() == [Ask(swap_id="1")]


async def test_of_an_extension_that_is_not_loaded_nothing_goes_and_that_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "store"
    first = Scene(store=store)
    async with first.app:
        for number in range(3):
            await first.alice.send(Ask(swap_id=f"{number}"), again=Again())
    other, lost = Extension("other", version="1.0"), []
    other.register(Order)

    class Plugin:
        name = "hears"

        @hookimpl
        def delivery_failed(self, extension: str, message: Message | None, error: OddwireError) -> None:
            lost.append((extension, message))

    transport = ScriptedTransport()
    caplog.clear()
    async with Application(other, Plugin(), transport=transport, store=store, session=False) as app:
        transport.connect_peer(ALICE)
        for _ in range(20):
            await asyncio.sleep(0)
        assert transport.sent == []
        [told] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert told.startswith(
            "messages of type 0x8e05 of 'swap' are kept and not sent: that extension is not loaded, or "
        )
        assert [(one.extension, one.message, one.due) for one in await app.peer(ALICE).pending()] == [
            ("swap", None, None)
        ] * 3
        assert await app.peer(ALICE).settle("0")
    async with Application(
        other, Plugin(), transport=ScriptedTransport(), store=store, limits=Limits(outbox_seconds=0.001)
    ):
        await until(lambda: len(lost) == 2)
        assert lost == [("", None)] * 2


async def test_in_a_reliable_handler_it_is_part_of_what_takes_effect() -> None:
    server, client = Extension("shop", version="1.0"), Extension("shop", version="1.0")
    tries: list[int] = []
    server.register(Note)

    @server.on(Order, reliable=True)
    async def order(context: Context, message: Order) -> None:
        tries.append(message.number)
        await context.peer.send(Note(text=f"{len(tries)}"), again=Again(key=len(tries)))
        if len(tries) > 1:
            await context.peer.settle(0)
        if len(tries) < 2:
            raise RuntimeError("not yet")

    client.register(Order)
    noted: list[Message] = []

    @client.on(Note)
    async def note(context: Context, message: Note) -> None:
        noted.append(message)

    network = MemoryNetwork()
    async with (
        Application(server, transport=network.transport(), store=":memory:") as shop,
        Application(client, transport=network.transport(), store=":memory:") as app,
    ):
        there = shop.peer(NodeId(app.node_id))
        await there.send(Note(text="0"), again=Again(every=None, key=0))
        peer = await app.connect(shop.uris[0])
        receipt = await peer.deliver(Order(number=1))
        await receipt.delivered()
        assert tries == [1, 1]
        assert [one.key for one in await there.pending()] == [2]
        await until(lambda: Note(text="2") in noted)
        assert Note(text="1") not in noted


async def test_an_answer_that_comes_reliably_settles_with_its_handler() -> None:
    asking, answering = Extension("swap", version="1.0"), Extension("swap", version="1.0")
    asking.register(Ask)
    tries: list[int] = []

    @asking.on(Yes, reliable=True)
    async def yes(context: Context, message: Yes) -> None:
        tries.append(len(await context.peer.pending()))
        if len(tries) < 2:
            raise RuntimeError("not yet")

    answering.register(Yes)
    answering.register(Ask)
    network = MemoryNetwork()
    async with (
        Application(asking, transport=network.transport(), store=":memory:") as left,
        Application(answering, transport=network.transport(), store=":memory:") as right,
    ):
        peer = await left.connect(right.uris[0])
        await peer.send(Ask(swap_id="1"), again=Again())
        await (await right.peer(NodeId(left.node_id)).deliver(Yes(swap_id="1"))).delivered()
        assert tries == [1, 1], "it was kept while it was not handled"
        assert await peer.pending() == []


async def test_what_is_kept_on_shutdown_is_there_on_the_next_startup(tmp_path: Path) -> None:
    async def run(*keys: str) -> list[tuple[bool, Any]]:
        extension = Extension("swap", version="1.0")
        extension.register(Order)
        seen: list[tuple[bool, Any]] = []

        @extension.on_startup
        async def resume(context: AppContext) -> None:
            peer = context.app.peer(ALICE)
            seen.extend((one.reliable, one.key) for one in await peer.pending())
            await peer.settle("bye")

        @extension.on_shutdown
        async def shut_down(context: AppContext) -> None:
            peer = context.app.peer(ALICE)
            for key in keys:
                await peer.send(Order(number=1), again=Again(key=key))
                await peer.deliver(Order(number=2))

        async with Application(extension, transport=ScriptedTransport(), store=tmp_path / "store.sqlite3"):
            pass
        return seen

    assert await run("bye") == []
    assert sorted(await run(), key=repr) == [(False, "bye"), (True, None)]
    assert await run() == [(True, None)]
