"""What type checkers accept and reject of authors' tests. See cases_handlers.py for the marks.

Read by test_checkers.py; never run.
"""
# pyright: strict

from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path

from oddwire import Application, Extension, Limits, Message, PrivateKey, message
from oddwire.testing import AppPair, Clock, RawPeer, RawPeers, RunApp, RunningApp, assert_wire
from oddwire.transports import Bolt8Transport, MemoryNetwork


@message(0x8C01)
class Ask(Message):
    text: str


class Database: ...


async def test_apps(run_app: RunApp, app_pair: AppPair, memory_network: MemoryNetwork, extension: Extension) -> None:
    running: AbstractAsyncContextManager[RunningApp] = run_app(extension, "courier", store=":memory:", limits=Limits())
    async with running as app, run_app(extension, transport=lambda key: Bolt8Transport(key)) as other:
        plain: Application = app
        await app.restart()
        await app.restart(extension, kill=True)
        await app.restart(kill=1)  # error
        await app.restart(killed=True)  # error
        plain.restart()  # error
        memory_network.drop(plain.node_id, other.peers[0].node_id)  # error
    async with (
        app_pair(extension, [extension, "courier"], session=(True, False), store=(None, Path("store"))) as (
            left,
            right,
        ),
        run_app(extension, provide={Database: Database()}, options={"size": 5}, key=PrivateKey(bytes(32))),
    ):
        server: RunningApp = left
        await right.connect(server.uris[0])
    run_app(extension, transport="bolt9")  # error
    run_app(extension, sesion=False)  # error
    run_app(extension, limits=5)  # error
    app_pair(extension, session=(True, False, True))  # error
    app_pair(extension, key=PrivateKey(bytes(32)))  # error
    app_pair()  # error


async def test_raw(raw_peer: RawPeers, app: Application) -> None:
    async with raw_peer(app, features=[1]) as peer:
        one: RawPeer = peer
        await one.send("8c01")
        await one.send(b"")
        await one.send(Ask(text=""))
        await one.send(5)  # error
        text: str = await one.receive()
        text = await one.receive(0x8C01, timeout=5)
        ask: Ask = await one.receive(Ask)
        text = await one.receive(Ask)  # error
        await one.receive("8c01")  # error
        await one.receive(int)  # error
        print(text, ask.text, one.received[0], await one.warning(), await one.closed())
    raw_peer(7)  # error


async def test_clock(clock: Clock) -> None:
    async with clock as same:
        await same.advance(1)
        await clock.advance(timedelta(hours=1))
        await clock.advance("1 h")  # error
        clock.jumping = True


def test_wire() -> None:
    assert_wire(Ask(text=""), "8c01")
    assert_wire(Ask(text=""), b"")
    assert_wire("8c01", Ask(text=""))  # error
