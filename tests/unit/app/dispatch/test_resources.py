from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from oddwire.app import AppContext, Application, Context, Extension
from oddwire.errors import ExtensionError, LocalProtocolError, RemoteFailure, StoreError
from oddwire.proto.keys import NodeId, PrivateKey
from oddwire.schema import Message, message, u64
from oddwire.session.wire.frame_types import Code
from oddwire.transports.memory import MemoryNetwork

ALICE = NodeId("02" + "aa" * 32)
SERVER, CLIENT = (PrivateKey(bytes(31) + bytes([number])) for number in (1, 2))


@message(0x8C01)
class Order(Message):
    number: u64


@message(0x8C05)
class Plain(Message):
    number: u64


class Shop:
    """An extension that takes orders."""

    def __init__(self) -> None:
        self.extension = Extension("shop", version="1.0")
        self.extension.register(Plain)

        @self.extension.on(Order, reliable=True)
        async def order(context: Context, order: Order) -> None: ...


class Both:
    """A shop and its customer on one network, each with a store of its own."""

    def __init__(self, folder: Path) -> None:
        self.network = MemoryNetwork()
        self._folder = folder

    def left(self) -> Application:
        return self._app(SERVER, "left.sqlite3")

    def right(self) -> Application:
        return self._app(CLIENT, "right.sqlite3")

    def _app(self, key: PrivateKey, name: str) -> Application:
        return Application(
            Shop().extension, transport=self.network.transport(key), store=self._folder / name, grace=0.0
        )


@pytest.fixture
def both(tmp_path: Path) -> Both:
    return Both(tmp_path)


def test_reliable_handlers_need_a_store_and_a_session() -> None:
    with pytest.raises(ExtensionError, match=r"handlers of reliable messages \(Order\) need a store"):
        Application(Shop().extension, transport="memory")
    with pytest.raises(ExtensionError, match="need a session"):
        Application(Shop().extension, transport="memory", store=":memory:", session=False)


async def test_without_a_store_nothing_is_kept() -> None:
    extension = Extension("test", version="1.0")
    extension.register(Plain)
    async with Application(extension, transport="memory") as app:
        with pytest.raises(LocalProtocolError, match=r"no store: give it one, Application\(store=path\)"):
            await app.peer(ALICE).deliver(Plain(number=1))
        with pytest.raises(LocalProtocolError, match="no store"):
            app.store("test")


async def test_a_store_is_made_when_something_needs_it(tmp_path: Path) -> None:
    extension = Extension("test", version="1.0")
    seen: list[Any] = []

    @extension.on_startup
    async def startup(context: AppContext) -> None:
        seen.append(await context.store.get("key", "nothing"))

    path = tmp_path / "store.sqlite3"
    idle = Application(transport="memory", store=path)
    async with idle:
        assert not path.exists()
    for _ in range(2):
        async with Application(extension, transport="memory", store=path) as app:
            await app.store("test").set("key", "something")
            with pytest.raises(ExtensionError, match="no extension 'other' is loaded"):
                app.store("other")
    assert seen == ["nothing", "something"]


async def test_a_store_in_use_stops_the_start(both: Both) -> None:
    async with both.left():
        other = both.left()
        with pytest.raises(StoreError) as caught:
            await other.start()
        assert caught.value.reason == "locked"


async def test_a_store_in_use_may_be_waited_for(both: Both) -> None:
    other = both.left()
    other.resources.patience = 30.0
    async with both.left():
        starting = asyncio.create_task(other.start())
        await asyncio.sleep(0.1)
        assert not starting.done()
    await starting
    await other.aclose()


async def test_what_is_no_store_of_ours_stops_the_start(both: Both, tmp_path: Path) -> None:
    (tmp_path / "left.sqlite3").write_bytes(os.urandom(10_000))
    with pytest.raises(StoreError) as caught:
        await both.left().start()
    assert caught.value.reason == "foreign"


async def test_a_broken_store_stops_nothing_that_does_without(
    both: Both, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with both.left():
        pass
    path = tmp_path / "left.sqlite3"
    path.write_bytes(path.read_bytes()[:100] + os.urandom(10_000))
    async with both.left() as left, both.right() as right:
        assert "reliable delivery is suspended" in caplog.text
        with pytest.raises(StoreError) as caught:
            await left.peer(ALICE).deliver(Order(number=1))
        assert caught.value.reason == "corrupt"
        peer = await right.connect(left.uris[0])
        receipt = await peer.deliver(Order(number=1))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await receipt.delivered()  # nothing is acknowledged that is not safe
        with pytest.raises(RemoteFailure) as refused:
            await peer.request(Plain(number=1), Order)
        assert refused.value.code == Code.UNKNOWN_MESSAGE  # all else works


async def test_nothing_can_be_kept_before_the_start() -> None:
    app = Application(Shop().extension, transport="memory", store=":memory:")
    with pytest.raises(LocalProtocolError, match="the application is not started"):
        app.store("shop")
