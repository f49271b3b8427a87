"""What a failure is called: the kind and the name of the code that has failed, in the log and for hooks."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from typing import Any

import pytest

from oddwire.app import AppContext, Application, Context, Extension, hookimpl
from oddwire.app.dispatch.hook_names import failed_hook, running_hook
from oddwire.errors import OddwireError, Refuse
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message
from oddwire.testing import ScriptedTransport
from oddwire.transports.memory import MemoryNetwork

ALICE = NodeId("02" + "aa" * 32)


@message(0x8C01)
class Ask(Message): ...


class Basket: ...


class Witness:
    name = "witness"

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    @hookimpl
    def handler_failed(self, extension: str, what: str) -> None:
        self.heard.append((what, extension))


async def idle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def fine(*_: Any) -> None: ...


async def greet(*_: Any) -> None:
    raise ValueError("no")


async def test_each_is_called_by_kind_and_name(caplog: pytest.LogCaptureFixture) -> None:
    extension, witness = Extension("test", version="1.0"), Witness()

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> None:
        raise ValueError("no")

    for register in (extension.on_connect, extension.on_disconnect, extension.on_stopping):
        register(fine)
        register(greet)
        register(functools.partial(fine))
    extension.every(1, at_start=True)(greet)
    extension.task(per_peer=True, restart=False)(greet)

    transport = ScriptedTransport()
    async with Application(extension, witness, transport=transport, session=False) as app:
        app.context("test").spawn(greet())
        await idle()
        transport.connect_peer(ALICE)
        await idle()
        transport.receive(ALICE, app.registry.encode(Ask()))
        await idle()
        transport.lose_peer(ALICE)
        await idle()
    assert [what for what, _ in witness.heard] == [
        "@every greet",
        "task greet",
        "on_connect greet",
        "@task greet",
        "handler of Ask",
        "on_disconnect greet",
        "on_stopping greet",
    ]
    assert {extension for _, extension in witness.heard} == {"test"}
    told = [record.getMessage().partition(",")[0] for record in caplog.records]
    assert [text.partition(";")[0] for text in told] == [f"{what} of 'test' failed" for what, _ in witness.heard]


async def test_a_provider_of_a_peers_thing_is_named(caplog: pytest.LogCaptureFixture) -> None:
    extension, witness, fails = Extension("test", version="1.0"), Witness(), [True]

    @extension.provide(scope="peer")
    def basket() -> Iterator[Basket]:
        if fails.pop():
            raise ValueError("no basket")
        yield Basket()
        raise ValueError("the basket stays")

    transport = ScriptedTransport()
    async with Application(extension, witness, transport=transport, session=False):
        for _ in range(2):
            transport.connect_peer(ALICE)
            await idle()
            transport.lose_peer(ALICE)
            await idle()
            fails.append(False)
    place = f"{__name__}.test_a_provider_of_a_peers_thing_is_named.<locals>.basket ({__file__}:"
    assert [what.rpartition(":")[0] + ":" for what, _ in witness.heard] == [
        f"provider {place}",
        f"closing of provider {place}",
    ]
    assert [record.getMessage() for record in caplog.records] == [
        f"{what} of 'test' failed, with {ALICE}" for what, _ in witness.heard
    ]


async def test_what_the_others_thing_keeps_from_beginning_is_named() -> None:
    from oddwire.app import Provider

    class Shared:
        name = "shared"

        @hookimpl
        def register_providers(self) -> list[Provider]:
            return [Provider(function=make, scope="peer")]

    def make() -> Basket:
        raise ValueError("no basket")

    extension, witness = Extension("test", version="1.0"), Witness()

    @extension.on_connect
    async def connected(context: Context, basket: Basket) -> None: ...

    transport = ScriptedTransport()
    async with Application(Shared(), extension, witness, transport=transport, session=False):
        transport.connect_peer(ALICE)
        await idle()
    names = {extension: what for what, extension in witness.heard}
    assert names["shared"].startswith(f"provider {__name__}.")
    assert names["test"].startswith(f"on_connect with provider {__name__}.")
    assert names["test"].endswith(" of 'shared'")


async def test_one_for_lost_messages_is_named() -> None:
    network, witness = MemoryNetwork(), Witness()
    extension = Extension("test", version="1.0")
    extension.register(Ask)

    @extension.on_undelivered
    async def lost(context: Context, message: Message | None, error: OddwireError) -> None:
        raise ValueError("no")

    async with (
        Application(extension, witness, transport=network.transport(), store=":memory:") as app,
        Application(extension, transport=network.transport()) as other,
    ):
        peer = await app.connect(other.uris[0])
        await peer.deliver(Ask())
        async with asyncio.timeout(30):
            while not witness.heard:
                await asyncio.sleep(0.005)
    assert witness.heard == [("on_undelivered lost for Ask", "test")]


@pytest.mark.parametrize("hook", ["on_startup", "on_ready"])
async def test_one_of_the_start_is_found_in_the_error(hook: str) -> None:
    extension = Extension("test", version="1.0")
    getattr(extension, hook)(greet)
    with pytest.raises(ValueError, match="no") as raised:
        await Application(extension, transport=ScriptedTransport()).start()
    assert failed_hook(raised.value) == f"{hook} greet"


def test_an_error_of_others_has_none() -> None:
    assert failed_hook(ValueError("never raised")) is None
    with pytest.raises(ZeroDivisionError) as raised:
        _ = 1 / 0
    assert failed_hook(raised.value) is None


async def test_a_task_that_runs_none_has_none() -> None:
    extension = Extension("test", version="1.0")
    event = asyncio.Event()

    @extension.on_startup
    async def begin(context: AppContext) -> None:
        await event.wait()

    app = Application(extension, transport=ScriptedTransport())
    start = asyncio.create_task(app.start())
    other = asyncio.create_task(event.wait())
    await idle()
    assert running_hook(start) == "on_startup begin"
    assert running_hook(other) is None
    event.set()
    await start
    assert running_hook(start) is None
    await other
    await app.aclose()


async def test_a_refusal_by_a_hook_is_its_failure(caplog: pytest.LogCaptureFixture) -> None:
    """There is no message that it could refuse."""
    extension, witness = Extension("test", version="1.0"), Witness()

    @extension.on_connect
    async def no(context: Context) -> None:
        raise Refuse("not you")

    transport = ScriptedTransport()
    async with Application(extension, witness, transport=transport, session=False):
        transport.connect_peer(ALICE)
        await idle()
    assert witness.heard == [("on_connect no", "test")]
    assert "message refused" not in caplog.text
