"""docs/lifetimes.md is what happens: each row of its tables is run, and says what was seen on both sides."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.support.waiting import until

from oddwire import (
    AppContext,
    Application,
    Code,
    Context,
    Extension,
    Message,
    NodeId,
    OddwireError,
    Peer,
    Refuse,
    RemoteFailure,
    hookimpl,
    message,
    u8,
    u16,
)
from oddwire.app import TraceEvent
from oddwire.transports import MemoryNetwork

PAGE = (Path(__file__).parents[2] / "docs" / "lifetimes.md").read_text()


# Messages: what the receiver does with each is in its name -----------------------------------------------------------


@message(0x9001, codec="bolt")
class Answer(Message):
    number: u8 = 1


def kind(number: int, name: str) -> type[Message]:
    return message(number, codec="bolt")(
        type(name, (Message,), {"__annotations__": {"number": u8}, "number": 1, "__module__": __name__})
    )


class Handled:
    """The receiver's classes."""

    nothing = kind(0x9003, "Nothing")
    replies = kind(0x9005, "Replies")
    streams = kind(0x9007, "Streams")
    reliable = kind(0x9009, "Reliable")
    reliable_refuses = kind(0x900B, "ReliableRefuses")
    reliable_raises = kind(0x900D, "ReliableRaises")
    refuses = kind(0x900F, "Refuses")
    raises = kind(0x9011, "Raises")
    not_allowed = kind(0x9013, "NotAllowed")
    reliable_not_allowed = kind(0x901B, "ReliableNotAllowed")
    known = kind(0x9015, "Known")
    odd = kind(0x9017, "Odd")
    even = kind(0x9018, "Even")


@message(0x9019, codec="bolt")
class Long(Message):
    number: u16 = 1


@message(0x901D, codec="bolt")
class ReliableLong(Message):
    number: u16 = 1


Short = kind(0x9019, "Long")  # what the sender takes it for
ReliableShort = kind(0x901D, "ReliableLong")
Ping = kind(0x9021, "Ping")

ROWS: dict[str, type[Message]] = {
    "returns nothing": Handled.nothing,
    "returns a reply": Handled.replies,
    "yields two parts, a stream": Handled.streams,
    "refuses: raises `Refuse`, code 1000": Handled.refuses,
    "raises anything else": Handled.raises,
    "`reliable=True`": Handled.reliable,
    "`reliable=True`, refuses": Handled.reliable_refuses,
    "`reliable=True`, raises": Handled.reliable_raises,
    "`Extension(allow=)` says no": Handled.not_allowed,
    "no handler, but the class is registered": Handled.known,
    "nobody knows the type, which is odd": Handled.odd,
    "nobody knows the type, which is even": Handled.even,
    "what comes does not decode": Short,
}
RELIABLE = {Handled.not_allowed: Handled.reliable_not_allowed, Short: ReliableShort}


def receiving(ran: list[str]) -> list[Extension]:
    shop = Extension("shop", version="1.0")

    @shop.on(Handled.nothing)
    async def nothing(context: Context, request: Handled.nothing) -> None:
        ran.append("")

    @shop.on(Handled.replies)
    async def replies(context: Context, request: Handled.replies) -> Answer:
        ran.append("")
        return Answer()

    @shop.on(Handled.streams)
    async def streams(context: Context, request: Handled.streams) -> AsyncIterator[Answer]:
        ran.append("")
        yield Answer(number=1)
        yield Answer(number=2)

    @shop.on(Handled.refuses)
    async def refuses(context: Context, request: Handled.refuses) -> Answer:
        ran.append("")
        raise Refuse("not today", code=1000)

    @shop.on(Handled.raises)
    async def raises(context: Context, request: Handled.raises) -> Answer:
        ran.append("")
        raise RuntimeError("ouch")

    @shop.on(Handled.reliable, reliable=True)
    async def reliable(context: Context, request: Handled.reliable) -> None:
        ran.append("")

    @shop.on(Handled.reliable_refuses, reliable=True)
    async def reliable_refuses(context: Context, request: Handled.reliable_refuses) -> None:
        ran.append("")
        raise Refuse("not today", code=1000)

    @shop.on(Handled.reliable_raises, reliable=True)
    async def reliable_raises(context: Context, request: Handled.reliable_raises) -> None:
        ran.append("")
        raise RuntimeError("ouch")

    @shop.on(Long)
    async def long(context: Context, request: Long) -> None:
        ran.append("")

    @shop.on(ReliableLong, reliable=True)
    async def reliable_long(context: Context, request: ReliableLong) -> None:
        ran.append("")

    @shop.on(Ping)
    async def ping(context: Context, request: Ping) -> None:
        await context.peer.send(request)

    shop.register(Handled.known)
    closed = Extension("closed", version="1.0", allow=[NodeId(bytes.fromhex("02" + "11" * 32))])

    @closed.on(Handled.not_allowed)
    async def not_allowed(context: Context, request: Handled.not_allowed) -> Answer:
        ran.append("")
        return Answer()

    @closed.on(Handled.reliable_not_allowed, reliable=True)
    async def reliable_not_allowed(context: Context, request: Handled.reliable_not_allowed) -> None:
        ran.append("")

    return [shop, closed]


def sending(pongs: list[str]) -> list[Extension]:
    shop, closed, other = (Extension(name, version="1.0") for name in ("shop", "closed", "other"))
    unknown = (Handled.odd, Handled.even)
    for cls in (*ROWS.values(), *RELIABLE.values(), Answer):
        is_closed = cls in (Handled.not_allowed, Handled.reliable_not_allowed)
        (other if cls in unknown else closed if is_closed else shop).register(cls)

    @shop.on(Ping)
    async def ping(context: Context, request: Ping) -> None:
        pongs.append("")

    return [shop, closed, other]


class Traces:
    """Keeps what was received and sent, all but pings."""

    def __init__(self) -> None:
        self.events: list[TraceEvent] = []

    @hookimpl
    def message_traced(self, event: TraceEvent) -> None:
        if event.type_id != 0x9021:
            self.events.append(event)

    def count(self, direction: str, **values: object) -> int:
        return sum(
            event.direction == direction and all(getattr(event, name) == value for name, value in values.items())
            for event in self.events
            if event.type_id == 0x9001
        )


# What both sides saw, in the page's words ----------------------------------------------------------------------------

LONG, SHORT = 30.0, 0.2  # seconds for what comes, and for what the page says does not


async def send(peer: Peer, given: Message, patience: float) -> str:
    await peer.send(given, force=True)
    return "`send` returns"


async def request(peer: Peer, given: Message, patience: float) -> str:
    await peer.request(given, Answer, force=True, timeout=LONG)
    return "the reply"


async def plain_request(peer: Peer, given: Message, patience: float) -> str:
    await peer.request(given, Answer, plain=True, timeout=patience, force=True)
    return "the reply"


async def stream(peer: Peer, given: Message, patience: float) -> str:
    parts = [part async for part in peer.stream(given, Answer, timeout=LONG, force=True)]
    return f"{len(parts)} part{'s' * (len(parts) != 1)}"


async def deliver(peer: Peer, given: Message, patience: float) -> str:
    receipt = await peer.deliver(given)
    try:
        async with asyncio.timeout(patience):
            await receipt.delivered()
    except TimeoutError:
        assert [each.message for each in await peer.pending()] == [given]
        return "it waits, and is tried again"
    return "`delivered()` returns"


WAYS: dict[str, Callable[[Peer, Message, float], Awaitable[str]]] = {
    "`send`": send,
    "`request`": request,
    "`request(plain=True)`, or the peer has no session": plain_request,
    "`stream`": stream,
    "`deliver`": deliver,
}


def named(error: BaseException) -> str:
    if isinstance(error, RemoteFailure):
        code = f"`Code.{Code(error.code).name}`" if error.code in Code.__members__.values() else str(error.code)
        return f"`RemoteFailure`, {code}"
    return f"`{type(error).__name__}`"


async def observed(way: str, cls: type[Message], patience: float) -> tuple[str, str]:
    """Send one message in one way; return what the sender and the receiver saw."""
    network = MemoryNetwork()
    ran: list[str] = []
    pongs: list[str] = []
    received, sent = Traces(), Traces()
    async with (
        Application(*receiving(ran), received, transport=network.transport(), store=":memory:") as shop,
        Application(*sending(pongs), sent, transport=(link := network.transport()), store=":memory:") as guest,
    ):
        peer = await guest.connect(shop.uris[0])
        await peer.wait_for_hello()
        try:
            outcome = await WAYS[way](peer, cls(), patience)
        except OddwireError as error:
            outcome = named(error)
        if peer.connected:
            await peer.send(Ping())
            await until(lambda: pongs or not peer.connected)
        await until(lambda: received.count("sent") == sent.count("received"))
        at_sender = [outcome]
        if more := sent.count("received", handled=False):
            at_sender.append(f"{more} message{'s come' if more > 1 else ' comes'}")
        if link.warnings:
            at_sender.append("a warning comes")
        if not peer.connected:
            at_sender.append("the connection ends")
        at_receiver = ["handled" if ran else "not handled"]
        if answers := received.count("sent"):
            at_receiver.append(f"{answers} message{'s' * (answers > 1)} sent")
        counts = {name: {*getattr(shop.counters, name)} for name in ("failed", "dropped", "refused", "declined")}
        counts["dropped"] -= {"not_connected"}  # the rest of the session, where the connection has ended
        at_receiver += [f"`{name}` counted" for name, keys in counts.items() if keys]
        return "; ".join(at_sender), "; ".join(at_receiver)


def table(way: str) -> dict[str, tuple[str, str]]:
    section = PAGE[PAGE.index(f"\n### {way}\n") :]
    section = section[: section.find("\n##", 5)] if "\n##" in section[5:] else section
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    return {name: (sender, receiver) for name, sender, receiver in rows if name != "the receiver's handler"}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_row_says_what_happens(way: str, row: str) -> None:
    cls = RELIABLE.get(ROWS[row], ROWS[row]) if way == "`deliver`" else ROWS[row]
    said = table(way)[row]
    comes_nothing = "waits" in said[0] or "`ReplyTimeout`" in said[0]
    seen = await observed(way, cls, SHORT if comes_nothing else LONG)
    if comes_nothing and seen != said:  # a busy machine had no time for it
        seen = await observed(way, cls, 10 * SHORT)
    assert said == seen


@pytest.mark.parametrize("way", WAYS)
def test_a_table_has_all_rows(way: str) -> None:
    assert list(table(way)) == list(ROWS)


# The order of hooks ---------------------------------------------------------------------------------------------------


class Thing: ...


class Basket: ...


def recorded(name: str, log: list[str]) -> Extension:
    """Return an extension that has everything which begins and ends, and writes down when."""
    extension = Extension(name, version="1.0")

    async def forever(what: str) -> None:
        log.append(f"{what}: begins")
        try:
            await asyncio.Event().wait()
        finally:
            log.append(f"{what}: cancelled")

    @extension.provide
    async def thing(context: AppContext) -> AsyncIterator[Thing]:
        log.append("provide: made")
        yield Thing()
        log.append("provide: closed")

    @extension.provide(per_peer=True)
    async def basket(context: Context) -> AsyncIterator[Basket]:
        log.append("provide(per_peer=True): made")
        yield Basket()
        log.append("provide(per_peer=True): closed")

    @extension.on_startup
    async def startup(context: AppContext, thing: Thing) -> None:
        log.append("on_startup")

    @extension.on_ready
    async def ready(context: AppContext) -> None:
        log.append("on_ready")

    @extension.on_connect
    async def connect(context: Context, basket: Basket) -> None:
        await asyncio.sleep(0)
        log.append("on_connect")

    @extension.on_disconnect
    async def disconnect(context: Context, reason: str) -> None:
        log.append("on_disconnect")

    @extension.on_stopping
    async def stopping(context: AppContext) -> None:
        log.append(f"on_stopping: {len(context.app.peers)} peer")

    @extension.on_shutdown
    async def shutdown(context: AppContext) -> None:
        log.append(f"on_shutdown: {len(context.app.peers)} peers")

    @extension.task
    async def task(context: AppContext) -> None:
        await forever("task")

    @extension.task(per_peer=True)
    async def task_per_peer(context: Context) -> None:
        await forever("task(per_peer=True)")

    @extension.every(1000, at_start=True)
    async def every(context: AppContext) -> None:
        log.append("every(at_start=True)")

    @extension.every(1000, at_start=True, per_peer=True)
    async def every_per_peer(context: Context) -> None:
        log.append("every(per_peer=True, at_start=True)")

    @extension.on(Handled.nothing)
    async def first(context: Context, request: Handled.nothing) -> None:
        context.spawn(forever("context.spawn"))
        await asyncio.sleep(0)
        log.append("handler: ends")

    @extension.on(Handled.replies)
    async def slow(context: Context, request: Handled.replies) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        log.append("handler: ends")

    return extension


def block(title: str) -> list[str]:
    found = re.search(rf"^```text {title}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1].strip().splitlines()


async def test_the_order_of_hooks() -> None:
    network = MemoryNetwork()
    log: list[str] = []
    guests = Extension("guest", version="1.0")
    guests.register(Handled.nothing)
    guests.register(Handled.replies)

    async def comes(title: str) -> None:
        await until(lambda: len(log) >= len(block(title)))
        assert log == block(title)
        log.clear()

    for _ in range(2):  # the second time: a restart
        app = Application(recorded("life", log), transport=network.transport(), store=":memory:")
        async with Application(guests, transport=network.transport()) as guest:
            await app.start()
            await comes("start")
            peer = await guest.connect(app.uris[0])
            await peer.send(Handled.nothing())
            await comes("connect")
            await peer.send(Handled.replies())
            await guest.disconnect(app.node_id)
            await comes("disconnect")
            await (await guest.connect(app.uris[0])).send(Handled.nothing())
            await comes("connect")
            await app.aclose()
            await comes("stop")


async def test_a_peer_may_connect_while_on_ready_waits() -> None:
    assert "`on_connect` and handlers may run while an" in PAGE
    network, gate = MemoryNetwork(), asyncio.Event()
    log: list[str] = []
    extension = Extension("life", version="1.0")

    @extension.on_ready
    async def ready(context: AppContext) -> None:
        log.append("on_ready begins")
        await gate.wait()
        log.append("on_ready ends")

    @extension.on_connect
    async def connect(context: Context) -> None:
        log.append("on_connect")

    link = network.transport()
    async with Application(transport=network.transport()) as guest:
        app = Application(extension, transport=link)
        starting = asyncio.ensure_future(app.start())
        await until(lambda: log)
        await guest.connect(link.uris[0])
        await until(lambda: len(log) == 2)
        gate.set()
        await starting
        await app.aclose()
    assert log == ["on_ready begins", "on_connect", "on_ready ends"]


async def test_the_order_of_extensions() -> None:
    log: list[tuple[str, str]] = []

    def named(name: str) -> Extension:
        extension = Extension(name, version="1.0")
        for hook in ("on_startup", "on_ready", "on_stopping", "on_shutdown"):

            async def note(context: AppContext, hook: str = hook) -> None:
                log.append((hook, context.extension))

            getattr(extension, hook)(note)
        return extension

    async with Application(named("first"), named("second"), transport=MemoryNetwork().transport()):
        pass
    forward = [(hook, name) for hook in ("on_startup", "on_ready") for name in ("first", "second")]
    assert log == forward + [(hook, name) for hook in ("on_stopping", "on_shutdown") for name in ("second", "first")]


KILLED = """
import asyncio, os, signal, sys
from oddwire import Again, Application, Extension, NodeId, hookimpl
from oddwire.transports import MemoryNetwork
from tests.docs.test_lifetimes_page import Handled, KEY, keeping

async def main():
    async with Application(keeping([]), transport=MemoryNetwork().transport(), store=sys.argv[1]) as app:
        peer = app.peer(NodeId(bytes.fromhex(KEY)))
        await app.store("keeps").set("kept", 1)
        await peer.deliver(Handled.reliable())
        await peer.send(Handled.nothing(), again=Again(key=b"again"))
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
KEY = "02" + "c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"


def keeping(log: list[str]) -> Extension:
    extension = Extension("keeps", version="1.0")
    extension.register(Handled.reliable)
    extension.register(Handled.nothing)

    @extension.on_shutdown
    async def shutdown(context: AppContext) -> None:
        log.append("on_shutdown")

    return extension


async def test_what_a_kill_leaves(tmp_path: Path) -> None:
    """No hook runs; what `set`, `deliver` and `send(again=)` have returned for is there after the next start."""
    store = tmp_path / "kept.sqlite3"
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", KILLED, str(store)]
    killed = await asyncio.create_subprocess_exec(*command, cwd=root)
    assert await killed.wait() == -9
    async with Application(keeping([]), transport=MemoryNetwork().transport(), store=store) as app:
        assert await app.store("keeps").get("kept") == 1
        pending = await app.peer(NodeId(bytes.fromhex(KEY))).pending()
        assert {type(each.message) for each in pending} == {Handled.reliable, Handled.nothing}
