from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.texts import Answer, Ask
from tests.support.waiting import until

from oddwire import Again, Peer
from oddwire.app import AppContext, Context, Extension, PeerRpc, hookimpl
from oddwire.errors import (
    ConnectionClosed,
    LocalProtocolError,
    OddwireError,
    PeerNotConnected,
    StoreError,
)
from oddwire.proto.keys import NodeId, PrivateKey
from oddwire.session.limits import Limits
from oddwire.testing import AppPair, Clock, RawPeers, RunApp, RunningApp, ScriptedTransport

TRANSPORTS = pytest.mark.parametrize("transport", ["memory", "bolt8"])
BOTH = pytest.mark.parametrize("kill", [False, True], ids=["clean", "killed"])


class Desk:
    """Where an extension's parts write down what they did; and what holds its handler."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.failures: list[BaseException] = []


@pytest.fixture
def desk() -> Desk:
    return Desk()


class Thing: ...


class OwnThing: ...


@pytest.fixture
def extension(desk: Desk) -> Extension:
    """An extension that notes all that happens to it, and counts what it was asked in its store."""
    extension = Extension("test", version="1.0")

    @extension.option("test-size")
    def size(value: int = 1) -> int:
        return value

    @extension.provide
    async def thing(context: AppContext) -> AsyncIterator[Thing]:
        desk.seen.append("thing made")
        yield Thing()
        desk.seen.append("thing closed")

    @extension.provide(scope="peer")
    def own_thing(context: Context) -> Iterator[OwnThing]:
        yield OwnThing()
        desk.seen.append("own thing closed")

    @extension.on_startup
    async def startup(context: AppContext, thing: Thing) -> None:
        desk.seen.append("startup")

    @extension.on_stopping
    async def stopping(context: AppContext) -> None:
        desk.seen.append("stopping")

    @extension.on_shutdown
    async def shutdown(context: AppContext) -> None:
        desk.seen.append("shutdown")

    @extension.on_disconnect
    async def disconnect(context: Context, reason: str) -> None:
        desk.seen.append("disconnect")

    @extension.on_error
    async def error(context: AppContext, error: BaseException, message: object) -> None:
        desk.failures.append(error)

    @extension.on(Ask, reliable=True)
    async def ask(context: Context, message: Ask, own: OwnThing) -> Answer:
        count = await context.store.get("count", 0)
        assert isinstance(count, int)
        await context.store.set("count", count + 1)
        if message.text == "wait":
            desk.begun.set()
            await desk.go.wait()
        return Answer(text=str(count + 1))

    return extension


def others() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


@TRANSPORTS
@BOTH
async def test_it_knows_what_it_has_kept_and_nothing_else(
    app_pair: AppPair, extension: Extension, transport, kill: bool
) -> None:
    async with app_pair(extension, transport=transport, options={"test-size": 5}) as (server, client):
        uris, node_id, program = server.uris, server.node_id, server.program
        assert await client.peers[0].request(Ask(text="a"), Answer) == Answer(text="1")
        await server.restart(kill=kill)
        assert (server.uris, server.node_id) == (uris, node_id)
        assert server.program != program
        assert server.options["test-size"] == 5
        assert server.peers == []
        await until(lambda: not client.peers or not client.peers[0].connected)
        peer = await client.connect(server.uris[0])
        assert await peer.request(Ask(text="b"), Answer) == Answer(text="2")


async def test_a_clean_restart_runs_all_hooks(app_pair: AppPair, extension: Extension, desk: Desk) -> None:
    async with app_pair(extension, Extension("client", version="1.0")) as (server, _):
        desk.seen.clear()
        await server.restart()
        told = ["stopping", "disconnect", "own thing closed", "shutdown", "thing closed", "thing made", "startup"]
        assert desk.seen == told


async def test_a_kill_runs_none(app_pair: AppPair, extension: Extension, desk: Desk) -> None:
    async with app_pair(extension, Extension("client", version="1.0")) as (server, client):
        desk.seen.clear()
        await server.restart(kill=True)
        assert desk.seen == ["thing made", "startup"]
        assert client.peers == []


@TRANSPORTS
async def test_peers_are_not_told_of_a_kill(app_pair: AppPair, extension: Extension, transport) -> None:
    reasons = []

    class Client:
        @hookimpl
        async def peer_disconnected(self, reason: str) -> None:
            reasons.append(reason)

    async with app_pair(extension, [Extension("test", version="1.0"), Client()], transport=transport) as (server, _):
        await server.restart(kill=True)
        await until(lambda: reasons)
        assert "application" not in reasons[0]


@TRANSPORTS
async def test_what_a_killed_handler_had_not_finished_is_undone_and_done_again(
    app_pair: AppPair, extension: Extension, desk: Desk, transport, caplog: pytest.LogCaptureFixture
) -> None:
    client_extension = Extension("test", version="1.0")
    client_extension.register(Ask)
    client_extension.register(Answer)
    async with app_pair(extension, client_extension, transport=transport) as (server, client):
        await (await client.peers[0].deliver(Ask(text="first"))).delivered()
        receipt = await client.peers[0].deliver(Ask(text="wait"))
        await desk.begun.wait()
        await server.restart(kill=True)
        assert await server.store("test").get("count") == 1
        desk.go.set()
        await client.connect(server.uris[0])
        await receipt.delivered()
        assert await server.store("test").get("count") == 2
    assert desk.failures == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@TRANSPORTS
async def test_what_is_delivered_is_there_after_a_kill(app_pair: AppPair, extension: Extension, transport) -> None:
    async with app_pair(extension, transport=transport) as (server, client):
        await server.aclose()
        await client.peer(server.node_id).deliver(Ask(text="a"))
        await client.restart(kill=True)
        await server.restart()
        await client.connect(server.uris[0])
        await until(lambda: server.peers)
        while await server.store("test").get("count") != 1:
            await asyncio.sleep(0.001)


async def test_what_unwinds_reaches_neither_peers_nor_the_store(
    app_pair: AppPair, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[BaseException | str] = []
    extension = Extension("test", version="1.0")
    heard: list[str] = []

    async def attempt(work) -> None:
        try:
            await work
            tried.append("done")
        except OddwireError as error:
            tried.append(error)

    @extension.on(Ask)
    async def ask(context: Context, message: Ask) -> None:
        try:
            await context.store.set("begun", 1)
            desk.begun.set()
            await asyncio.Event().wait()
        finally:
            await attempt(context.peer.send(Answer(text="goodbye")))
            await attempt(context.store.set("ended", 1))
            await attempt(context.peer.deliver(Answer(text="goodbye")))

    @extension.on(Answer)
    async def answer(context: Context, message: Answer) -> None:
        heard.append(message.text)

    async with app_pair(extension) as (server, client):
        await client.peers[0].send(Ask(text="a"))
        await desk.begun.wait()
        await server.restart(kill=True)
        assert [type(error) for error in tried] == [PeerNotConnected, StoreError, StoreError]
        assert await server.store("test").get("begun") == 1
        assert await server.store("test").get("ended") is None
        await client.connect(server.uris[0])
        await server.peers[0].send(Answer(text="after"))
        await until(lambda: heard)
        assert heard == ["after"]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@BOTH
async def test_nothing_of_the_past_goes_on(app_pair: AppPair, desk: Desk, kill: bool) -> None:
    """Jobs, tasks of the application's and a peer's, and what was spawned: one of each, of now."""
    running: list[str] = []
    extension = Extension("test", version="1.0")

    async def go_on(name: str) -> None:
        running.append(name)
        try:
            await asyncio.Event().wait()
        finally:
            running.remove(name)

    @extension.every(3600, at_start=True)
    async def job(context: AppContext) -> None:
        await go_on("job")

    @extension.task(restart=True)
    async def task(context: AppContext) -> None:
        await go_on("task")

    @extension.task(restart=True, per_peer=True)
    async def peer_task(context: Context) -> None:
        await go_on("peer's task")

    @extension.on_connect
    async def connect(context: Context) -> None:
        context.spawn(go_on("spawned"))

    @extension.on_ready
    async def ready(context: AppContext) -> None:
        context.spawn(go_on("spawned for all"))

    of_app, of_peer = ["job", "spawned for all", "task"], ["peer's task", "spawned"]
    async with app_pair(extension, Extension("client", version="1.0"), grace=1.0) as (server, client):
        await until(lambda: sorted(running) == sorted(of_app + of_peer))
        await server.restart(kill=kill)
        await until(lambda: sorted(running) == of_app)
        await client.connect(server.uris[0])
        await until(lambda: sorted(running) == sorted(of_app + of_peer))
        await asyncio.sleep(0)
    assert running == []


async def test_no_task_is_left_of_what_was_killed(app_pair: AppPair, extension: Extension, desk: Desk) -> None:
    before = others()
    async with app_pair(extension) as (server, client):
        await client.peers[0].deliver(Ask(text="wait"))
        await desk.begun.wait()
        for _ in range(3):
            await server.restart(kill=True)
            await client.restart(kill=True)
        await server._abandon()
        await client._abandon()
        assert others() == before


@BOTH
async def test_whoever_waits_for_what_ends_is_told(
    app_pair: AppPair, extension: Extension, desk: Desk, kill: bool
) -> None:
    async with app_pair(extension, grace=0.0) as (server, client):
        peer = client.peers[0]
        asked = asyncio.create_task(peer.request(Ask(text="wait"), Answer, timeout=None))
        await desk.begun.wait()
        receipt = await peer.deliver(Ask(text="later"))
        delivered = asyncio.create_task(receipt.delivered())
        await asyncio.sleep(0)
        await client.restart(kill=kill)
        with pytest.raises(ConnectionClosed):
            await asked
        with pytest.raises(OddwireError):
            await delivered
        with pytest.raises(PeerNotConnected):
            await peer.send(Ask(text="of the past"))
        assert not peer.connected
        await server.aclose()


async def test_a_request_by_class_is_told_too(app_pair: AppPair, desk: Desk) -> None:
    extension = Extension("test", version="1.0")

    @extension.on(Ask)
    async def ask(context: Context, message: Ask) -> Answer:
        desk.begun.set()
        await desk.go.wait()
        return Answer(text="")

    async with app_pair(extension, session=(True, False), grace=0.0) as (server, client):
        asked = asyncio.create_task(client.peers[0].request(Ask(text="wait"), Answer, timeout=None))
        await desk.begun.wait()
        await client.restart(kill=True)
        with pytest.raises(ConnectionClosed):
            await asked
        await server.aclose()


async def test_killed_while_a_commit_is_under_way(app_pair: AppPair, extension: Extension) -> None:
    """Whatever of it is on disk, it is whole."""
    async with app_pair(extension) as (server, client):
        for _ in range(5):
            peer = await client.connect(server.uris[0])
            asked = [asyncio.create_task(peer.request(Ask(text="a"), Answer, timeout=None)) for _ in range(20)]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            done = sum(task.done() and not task.exception() for task in asked)
            await server.restart(kill=True)
            await asyncio.gather(*asked, return_exceptions=True)
            count = await server.store("test").get("count")
            assert isinstance(count, int)
            assert count >= done


@BOTH
async def test_another_version_takes_its_place(app_pair: AppPair, extension: Extension, kill: bool) -> None:
    update = Extension("test", version="1.1")

    @update.on(Ask)
    async def ask(context: Context, message: Ask) -> Answer:
        return Answer(text=f"{message.text} after {await context.store.get('count')}")

    async with app_pair(extension) as (server, client):
        await client.peers[0].request(Ask(text="a"), Answer)
        await server.restart(update, kill=kill)
        peer = await client.connect(server.uris[0])
        assert await peer.request(Ask(text="b"), Answer) == Answer(text="b after 1")
        await server.restart(kill=kill)
        peer = await client.connect(server.uris[0])
        assert await peer.request(Ask(text="c"), Answer) == Answer(text="c after 1")


@BOTH
async def test_what_has_ended_is_started_again(run_app: RunApp, extension: Extension, desk: Desk, kill: bool) -> None:
    async with run_app(extension) as app:
        await app.aclose()
        with pytest.raises(LocalProtocolError, match="is closed"):
            await app.connect("someone")
        desk.seen.clear()
        await app.restart(kill=kill)
        assert desk.seen == ["thing made", "startup"]
        assert app.peers == []


async def test_a_closing_application_is_waited_for(run_app: RunApp, extension: Extension, desk: Desk) -> None:
    async with run_app(extension) as app:
        desk.seen.clear()
        closing = asyncio.create_task(app.aclose())
        await asyncio.sleep(0)
        await app.restart(kill=True)
        assert closing.done() or await closing is None
        assert desk.seen == ["stopping", "shutdown", "thing closed", "thing made", "startup"]


@BOTH
async def test_not_by_its_own_handler(app_pair: AppPair, kill: bool) -> None:
    caught: list[BaseException] = []
    extension = Extension("test", version="1.0")
    extension.register(Answer)
    apps: list[RunningApp] = []

    @extension.on(Ask)
    async def ask(context: Context, message: Ask) -> Answer:
        with pytest.raises(LocalProtocolError, match="let the test do that") as found:
            await apps[0].restart(kill=kill)
        caught.append(found.value)
        return Answer(text="still here")

    async with app_pair(extension) as (server, client):
        apps.append(server)
        assert await client.peers[0].request(Ask(text="a"), Answer) == Answer(text="still here")
        assert len(caught) == 1


@BOTH
@pytest.mark.parametrize("how", ["gather", "task", "job"])
async def test_not_by_a_task_of_its_own_handler(app_pair: AppPair, kill: bool, how: str) -> None:
    caught: list[object] = []
    extension = Extension("test", version="1.0")
    extension.register(Answer)
    apps: list[RunningApp] = []
    told = asyncio.Event()

    async def restart() -> None:
        with pytest.raises(LocalProtocolError, match="let the test do that") as found:
            await asyncio.gather(apps[0].restart(kill=kill))
        caught.append(found.value)
        told.set()

    @extension.on(Ask)
    async def ask(context: Context, message: Ask) -> Answer:
        if how == "gather":
            await restart()
        elif how == "task":
            await asyncio.create_task(restart())
        else:
            context.spawn(restart())
        return Answer(text="still here")

    async with app_pair(extension) as (server, client):
        apps.append(server)
        assert await client.peers[0].request(Ask(text="a"), Answer) == Answer(text="still here")
        await told.wait()
        assert len(caught) == 1
        await server.restart(kill=kill)
        assert server.uris


@TRANSPORTS
@BOTH
async def test_two_at_once_are_one_and_the_other_is_told(run_app: RunApp, transport, kill: bool) -> None:
    async with run_app(Extension("test", version="1.0"), transport=transport) as app:
        uris = app.uris
        for _ in range(2):
            one, other = await asyncio.gather(
                app.restart(kill=kill), app.restart(kill=not kill), return_exceptions=True
            )
            assert one is None
            assert isinstance(other, LocalProtocolError)
            assert str(other) == "this application is being restarted already: await its start first"
            assert app.uris == uris
        await app.restart(kill=kill)
        assert app.uris == uris


async def test_after_one_that_failed_it_can_be_restarted(run_app: RunApp) -> None:
    extension = Extension("test", version="1.0")
    starts: list[None] = []

    @extension.on_startup
    async def startup(context: AppContext) -> None:
        starts.append(None)
        if len(starts) == 2:
            raise ValueError("not now")

    async with run_app(extension) as app:
        with pytest.raises(ValueError, match="not now"):
            await app.restart()
        await app.restart()
        assert app.uris


async def test_not_while_it_starts(run_app: RunApp) -> None:
    extension = Extension("test", version="1.0")
    apps: list[RunningApp] = []

    @extension.on_ready
    async def ready(context: AppContext) -> None:
        if apps:
            with pytest.raises(LocalProtocolError, match="await its start first"):
                await apps[0].restart(kill=True)

    async with run_app(extension) as app:
        apps.append(app)
        await app.restart()


async def test_a_store_in_memory_is_lost_with_the_application(run_app: RunApp, extension: Extension) -> None:
    async with run_app(extension, store=":memory:") as app:
        await app.store("test").set("key", 1)
        await app.restart()
        assert await app.store("test").get("key") is None


async def test_a_failing_shutdown_is_told_and_it_can_be_started_afterwards(run_app: RunApp) -> None:
    extension = Extension("test", version="1.0")
    fails = [True]

    @extension.on_shutdown
    async def shutdown(context: AppContext) -> None:
        if fails:
            raise ValueError("cannot")

    async with run_app(extension) as app:
        with pytest.raises(ValueError, match="cannot"):
            await app.restart()
        fails.clear()
        await app.restart()
        assert app.peers == []


async def test_fakes_and_limits_are_those_of_before(run_app: RunApp, extension: Extension, tmp_path: Path) -> None:
    fake = Thing()
    seen: list[object] = []

    class Watcher(Extension): ...

    watcher = Watcher("watcher", version="1.0")

    @watcher.on_startup
    async def startup(context: AppContext, thing: Thing) -> None:
        seen.append(thing)

    limits = Limits(outbox_messages=7)
    async with run_app(watcher, provide={Thing: fake}, limits=limits, store=tmp_path / "store") as app:
        await app.restart(kill=True)
        await app.restart()
        assert seen == [fake, fake, fake]
        assert app._limits is limits


async def test_a_provider_killed_behind_its_yield_frees_what_it_holds(run_app: RunApp) -> None:
    """As the end of a process does: a second start finds no lock of the first one's."""
    held: list[str] = []

    class Lock:
        def __init__(self) -> None:
            assert not held
            held.append("lock")

        def __del__(self) -> None:
            held.clear()

    extension = Extension("test", version="1.0")
    closed: list[str] = []

    @extension.provide
    async def lock(context: AppContext) -> AsyncIterator[Lock]:
        yield Lock()
        closed.append("closed")

    async with run_app(extension) as app:
        await app.restart(kill=True)
        assert held == ["lock"]
        assert closed == []
    assert closed == ["closed"]


async def test_killed_on_a_transport_that_can_only_close(run_app: RunApp, extension: Extension, desk: Desk) -> None:
    transports: list[ScriptedTransport] = []

    def make(key: PrivateKey) -> ScriptedTransport:
        transports.append(ScriptedTransport())
        return transports[-1]

    async with run_app(extension, transport=make) as app:
        peer = NodeId("02" + "aa" * 32)
        transports[0].connect_peer(peer)
        await until(lambda: app.peers)
        desk.seen.clear()
        await app.restart(kill=True)
        assert desk.seen == ["thing made", "startup"]
        assert transports[0].closed
        assert app.peers == []
        assert not transports[1].closed


async def test_a_call_by_json_rpc_ends_with_a_kill(app_pair: AppPair, desk: Desk) -> None:
    extension = Extension("test", version="1.0")
    rpc = PeerRpc(extension, 0x8C11)

    @rpc.method("wait")
    async def wait(context: Context) -> int:
        desk.begun.set()
        await desk.go.wait()
        return 1

    async with app_pair(extension, grace=0.0) as (_, client):
        called = asyncio.create_task(rpc.call(client.peers[0], "wait", result=int, timeout=None))
        await desk.begun.wait()
        await client.restart(kill=True)
        with pytest.raises(ConnectionClosed):
            await called


async def test_what_is_sent_again_is_sent_again_after_a_kill(run_app: RunApp, raw_peer: RawPeers, clock: Clock) -> None:
    """As often as its clock says, by what runs now alone, until it is too old."""
    lost: list[str] = []
    extension = Extension("test", version="1.0")
    extension.register(Ask)

    @extension.on_undelivered(Ask)
    async def undelivered(context: Context, message: Ask, error: OddwireError) -> None:
        lost.append(message.text)

    async with clock, run_app(extension) as app, raw_peer(app) as peer:

        def count() -> int:
            return sum(payload.startswith("8c01") for payload in peer.received)

        again = Again(every=10, until=timedelta(hours=1), key="a")
        await app.peer(peer.node_id).send(Ask(text="a"), again=again)
        await clock.advance(60)
        assert count() == 7
        await app.restart(kill=True)
        await clock.advance(600)
        assert count() == 7
        await peer.connect()
        await clock.advance(100)
        assert count() == 18  # at the connection, too
        await clock.advance(3600)
        assert lost == ["a"]
        before = count()
        await clock.advance(3600)
        assert count() == before


@BOTH
async def test_who_waits_for_messages_is_told_too(app_pair: AppPair, kill: bool) -> None:
    extension = Extension("test", version="1.0")
    extension.register(Ask)

    async def read(peer: Peer) -> None:
        async with peer.messages(Ask) as stream:
            async for _ in stream:
                pass

    async with app_pair(extension) as (_, client):
        peer = client.peers[0]
        waiting = [asyncio.create_task(work) for work in (peer.wait_for(Ask, timeout=None), read(peer))]
        await asyncio.sleep(0)
        await client.restart(kill=kill)
        for task in waiting:
            with pytest.raises(ConnectionClosed):
                await task
