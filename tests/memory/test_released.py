"""Counting references frees a message, and a connection, when it is done: nothing waits for the cyclic collector.

`relax_collector` tells Python to look for cycles seldom, so what is in one stays for long: each way in which a message
or a connection can end is walked here with the collector off, and then nothing may be left of it. Not counted are
asyncio's own transports, each of which refers to itself.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterator, Sequence
from contextlib import aclosing, suppress
from typing import Any

import pytest
from tests.support.waiting import until

from oddwire import Application, Context, Extension, Message, NodeId, Peer, Refuse, RpcError, message
from oddwire.app import PeerRpc, hookimpl
from oddwire.app.dispatch.peer_queue import PeerQueue
from oddwire.app.dispatch.peer_things import PeerThings
from oddwire.app.dispatch.request_tasks import RequestTask
from oddwire.errors import OddwireError, RemoteRpcError
from oddwire.proto import wire
from oddwire.proto.addresses import NodeUri
from oddwire.proto.connection import LightningConnection
from oddwire.proto.framing import FrameReceiver
from oddwire.proto.keys import PrivateKey
from oddwire.proto.noise import Handshake
from oddwire.session.limits import Limits
from oddwire.session.peer.fragment_sender import FragmentSender
from oddwire.session.peer.link import Link
from oddwire.session.peer.outgoing_requests import OutgoingRequests
from oddwire.session.peer.outgoing_requests import _OutgoingRequest as OutgoingRequest
from oddwire.session.peer.peer_session import PeerSession
from oddwire.session.peer.reassembly import Reassembler
from oddwire.session.peer.request_tables import HandledRequest, SentStream
from oddwire.session.store.unit import Unit
from oddwire.session.wire.frame_types import Fragment, Request
from oddwire.session.wire.frames import encode
from oddwire.transports.bolt8.peer import Bolt8Peer
from oddwire.transports.bolt8.transport import Bolt8Transport
from oddwire.transports.memory import MemoryNetwork
from oddwire.transports.memory import _End as MemoryEnd

DEADLINE = 30.0  # seconds; reached only where something stays


@message(0x8CD1)
class Ask(Message):
    how: str
    body: bytes = b""


@message(0x8CD3)
class Answer(Message):
    body: bytes = b""


@message(0x8CD5)
class Note(Message):
    how: str
    body: bytes = b""


@message(0x8CD7)
class Limited(Message):
    how: str = ""


@message(0x8CD9)
class Unhandled(Message):
    body: bytes = b""


@message(0x8CDB)
class Count(Message):
    to: int
    how: str = ""


@message(0x8CDD)
class Parcel(Message):
    how: str
    body: bytes = b""


@message(0x8CDF)
class Take(Message):
    how: str = ""


RPC = 0x8CE1


class Lent:
    """What is provided for a connection."""

    fails = False


MESSAGES = ("Ask", "Answer", "Note", "Limited", "Unhandled", "Count", "Parcel", "Take", "Document")
PARTS = tuple(
    part.__name__
    for part in (
        *(Bolt8Peer, FragmentSender, FrameReceiver, HandledRequest, Handshake, LightningConnection, Link),
        *(
            Lent,
            PeerThings,
            MemoryEnd,
            OutgoingRequest,
            OutgoingRequests,
            PeerQueue,
            PeerSession,
            Reassembler,
            RequestTask,
            SentStream,
            Unit,
        ),
        *(RpcError, RemoteRpcError),
        *(asyncio.CancelledError, asyncio.Task, RuntimeError, ValueError),
    )
)


HANGING = asyncio.Event()
"""Ends the handlers that the end of a connection does not cancel: of plain and reliable messages."""


def route_to(peer: Peer) -> int:
    """Return the addresses of frames to the program of a peer that was met."""
    session = peer._messenger.session_of(peer.node_id)
    assert session is not None
    return next(iter(session.links.values())).route


async def behave(how: str) -> None:
    """Do what a message says its handler should do."""
    match how:
        case "wait":
            await asyncio.sleep(0)
        case "raise":
            raise ValueError(how)
        case "wait and raise":
            await asyncio.sleep(0)
            raise ValueError(how)
        case "chain":
            try:
                raise ValueError(how)
            except ValueError as error:
                raise RuntimeError(how) from error
        case "refuse":
            raise Refuse(how)
        case "hang":
            await asyncio.Event().wait()
        case "hang on":
            await HANGING.wait()
        case "swallow":
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        case "raise when cancelled":
            try:
                await asyncio.Event().wait()
            finally:
                raise RuntimeError(how)
        case "cancel itself":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)


def make() -> list[Extension]:
    free = Extension("free", version="1.0")

    @free.on(Ask)
    async def ask(context: Context, asked: Ask) -> Answer | None:
        await behave(asked.how)
        if asked.how == "nothing":
            return None
        return Answer(body=asked.body if asked.how != "too large" else bytes(17 << 20))

    @free.on(Note)
    async def note(context: Context, noted: Note) -> Note | None:
        await behave(noted.how)
        return Note(how="") if noted.how == "reply" else None

    @free.on(Count)
    async def count(context: Context, counting: Count) -> AsyncIterator[Answer]:
        for number in range(counting.to):
            yield Answer(body=bytes(number))
        await behave(counting.how)

    @free.on(Parcel, reliable=True)
    async def parcel(context: Context, parcel: Parcel) -> None:
        await behave(parcel.how)

    free.register(Unhandled)
    limited = Extension(
        "limited", version="1.0", allow=lambda peer: True, limits=Limits(requests=1, messages_per_second=1e6)
    )

    @limited.on(Limited, concurrent=True)
    async def take(context: Context, noted: Limited) -> Answer:
        await behave(noted.how)
        return Answer()

    taking = Extension("taking", version="1.0")

    @taking.provide(scope="peer")
    async def lent(context: Context) -> AsyncIterator[Lent]:
        if Lent.fails:
            raise ValueError("nothing left")
        yield Lent()

    @taking.on(Take)
    async def hold(context: Context, take: Take, lent: Lent) -> Answer:
        await behave(take.how)
        return Answer()

    @taking.on_disconnect
    async def left(context: Context, reason: str, lent: Lent) -> None:
        await asyncio.sleep(0)

    calling = Extension("calling", version="1.0")
    rpc = PeerRpc(calling, RPC)

    @rpc.method("do")
    async def do(context: Context, how: str) -> str:
        if how == "error":
            raise RpcError(1, how, {"how": how})
        if how == "call back":
            return await rpc.call(context.peer, "do", how="wait", result=str)
        await behave(how)
        return how

    @rpc.notification("note")
    async def hear(context: Context, how: str) -> None:
        await behave(how)

    return [free, limited, taking, calling]


CALLER = PeerRpc(Extension("calling", version="1.0"), RPC)


class Watcher:
    """A plugin that has every hook there is around peers and messages."""

    name = "watcher"

    @hookimpl
    async def peer_connected(self, app: Application, peer: Peer) -> None:
        await asyncio.sleep(0)

    @hookimpl
    def message_traced(self, app: Application, event: object) -> None:
        pass

    @hookimpl
    def handler_failed(self, peer: Peer, extension: str, message: Message | None, error: BaseException) -> None:
        pass


def census() -> Counter[str]:
    found = Counter(type(thing).__name__ for thing in gc.get_objects())
    return Counter({name: found[name] for name in (*MESSAGES, *PARTS) if found[name]})


class Stage:
    """Two applications; ``there`` listens, ``here`` dials."""

    def __init__(self, kind: str) -> None:
        self._network = None if kind == "bolt8" else MemoryNetwork()
        watchers = [Watcher()] if kind == "watched" else []
        self.there, self.here = (
            Application(*make(), *watchers, transport=transport, store=":memory:", grace=0.2)
            for transport in (self.new_transport(0x11, ["127.0.0.1:0"]), self.new_transport(0x12))
        )

    def new_transport(self, key: int, listen: Sequence[str] = ()) -> Any:
        if self._network is not None:
            return self._network.transport()
        return Bolt8Transport(PrivateKey(bytes([key]) * 32), listen=listen)

    async def dial(self, transport: Any) -> NodeId:
        keep = {"keep": False} if isinstance(transport, Bolt8Transport) else {}  # it is not dialed again by itself
        return (await transport.connect(self.there.uris[0], **keep)).node_id

    async def meet(self) -> Peer:
        peer = self.here.peer(await self.dial(self.here.transport))
        await peer.request(Ask(how=""), Answer)  # both have said hello
        return peer

    async def part(self, app: Application | None = None) -> None:
        app = app or self.here
        await app.disconnect(app.peers[0].node_id)
        await until(lambda: not self.here.peers and not self.there.peers)


@pytest.fixture(params=["memory", "bolt8", "watched"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    stage = Stage(request.param)
    async with stage.there, stage.here:
        await stage.meet()  # what is made once is made
        await stage.part()
        yield stage


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Turn the collector off, and the log, whose captured records would keep tracebacks."""
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.freeze()  # what other tests have left is not counted each time
    gc.disable()
    yield
    gc.enable()
    logging.disable(logging.NOTSET)


async def leaves_nothing(walk: Callable[[], Awaitable[object]], times: int = 3, but: Container[str] = ()) -> None:
    """Walk a way some times; afterwards there is no more of anything than before."""
    await walk()  # what is made once is made, and stays with its connection
    await settled()
    gc.collect()
    before = census()
    for _ in range(times):
        await walk()
    left: dict[str, int] = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(DEADLINE):
            while left := {name: more for name, more in (census() - before).items() if name not in but}:
                await asyncio.sleep(0.02)
    assert not left, f"the collector alone would free {left}"


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def fails(work: Awaitable[object]) -> None:
    with suppress(OddwireError, TimeoutError, asyncio.CancelledError):
        await work


HOWS = ["", "wait", "raise", "wait and raise", "chain", "refuse", "cancel itself"]


@pytest.mark.parametrize("how", [*HOWS, "nothing", "too large"])
async def test_a_request(stage: Stage, how: str) -> None:
    peer = await stage.meet()
    await leaves_nothing(lambda: fails(peer.request(Ask(how=how, body=bytes(1000)), Answer)))


@pytest.mark.parametrize("how", ["hang", "swallow", "raise when cancelled"])
async def test_a_request_whose_time_is_over(stage: Stage, how: str) -> None:
    peer = await stage.meet()
    await leaves_nothing(lambda: fails(peer.request(Ask(how=how), Answer, timeout=0.02)))


@pytest.mark.parametrize("how", ["hang", "swallow", "raise when cancelled"])
async def test_a_request_whose_caller_is_cancelled(stage: Stage, how: str) -> None:
    peer = await stage.meet()

    async def walk() -> None:
        asking = asyncio.ensure_future(peer.request(Ask(how=how), Answer))
        await asyncio.sleep(0.02)
        asking.cancel()
        await fails(asking)

    await leaves_nothing(walk)


async def test_many_requests_at_once(stage: Stage) -> None:
    peer = await stage.meet()

    async def walk() -> None:
        hows = ["", "wait", "raise", "refuse"] * 50
        await asyncio.gather(*(fails(peer.request(Ask(how=how), Answer)) for how in hows))

    await leaves_nothing(walk)


async def test_a_large_request_and_its_large_reply(stage: Stage) -> None:
    peer = await stage.meet()
    # A transfer may be refused after its last piece was sent, so who sent it is remembered for the next 64
    remembered = (RequestTask.__name__, HandledRequest.__name__)
    await leaves_nothing(lambda: peer.request(Ask(how="", body=bytes(300_000)), Answer), but=remembered)


@pytest.mark.parametrize("how", ["", "raise", "refuse", "wait"])
async def test_a_request_to_an_extension_with_limits(stage: Stage, how: str) -> None:
    peer = await stage.meet()

    async def walk() -> None:
        await asyncio.gather(*(fails(peer.request(Limited(how=how), Answer)) for _ in range(5)))

    await leaves_nothing(walk)


async def test_a_request_that_nobody_handles(stage: Stage) -> None:
    peer = await stage.meet()
    await leaves_nothing(lambda: fails(peer.request(Unhandled(body=bytes(1000)), Answer)))


@pytest.mark.parametrize("how", [*HOWS, "reply"])
async def test_a_plain_message(stage: Stage, how: str) -> None:
    peer = await stage.meet()
    await leaves_nothing(lambda: peer.send(Note(how=how, body=bytes(1000))))


async def test_a_message_that_no_handler_takes(stage: Stage) -> None:
    peer = await stage.meet()
    await leaves_nothing(lambda: peer.send(Unhandled(body=bytes(1000))))


@pytest.mark.parametrize("how", ["", "wait", "raise", "refuse"])
async def test_a_message_to_a_concurrent_handler(stage: Stage, how: str) -> None:
    peer = await stage.meet()
    await leaves_nothing(lambda: peer.send(Limited(how=how)))


async def test_payloads_that_do_not_decode(stage: Stage) -> None:
    peer = await stage.meet()
    send = stage.here.transport.send

    async def walk() -> None:
        for payload in (
            b"\x8c\xd1\xc1",
            b"\x8c\xff",
            b"\xc0\xdd",
            b"\xc0\xdd\x09\0\0\0\0\0\0\0\x01",
            encode(Request(7, 0, b"\x8c\xd1\xc1"), route_to(peer)),
        ):
            await send(peer.node_id, payload)
        await peer.request(Ask(how=""), Answer)

    await leaves_nothing(walk)


@pytest.mark.parametrize("how", ["", "raise", "refuse"])
async def test_a_stream_to_its_end(stage: Stage, how: str) -> None:
    peer = await stage.meet()

    async def walk() -> None:
        async for _ in peer.stream(Count(to=50, how=how), Answer, credit=4):
            pass

    await leaves_nothing(lambda: fails(walk()))


async def test_a_stream_that_is_closed_early(stage: Stage) -> None:
    peer = await stage.meet()

    async def walk() -> None:
        async with aclosing(peer.stream(Count(to=50), Answer, credit=4)) as parts:
            async for _ in parts:
                break

    await leaves_nothing(walk)


@pytest.mark.parametrize("how", ["", "refuse"])
async def test_a_reliable_message(stage: Stage, how: str) -> None:
    peer = await stage.meet()

    async def walk() -> None:
        receipt = await peer.deliver(Parcel(how=how, body=bytes(1000)))
        await fails(receipt.delivered())

    await leaves_nothing(walk)


async def walk_a_connection(stage: Stage, meanwhile: Callable[[Peer], list[Awaitable[object]]], side: str) -> None:
    HANGING.clear()
    peer = await stage.meet()
    running = [asyncio.ensure_future(fails(work)) for work in meanwhile(peer)]
    await asyncio.sleep(0.05)
    await stage.part(stage.here if side == "ours" else stage.there)
    HANGING.set()
    if running:
        await asyncio.wait(running, timeout=DEADLINE)


async def consume(parts: AsyncIterator[Message]) -> None:
    async for _ in parts:
        await asyncio.Event().wait()


MEANWHILE: dict[str, Callable[[Peer], list[Awaitable[object]]]] = {
    "nothing": lambda peer: [],
    "requests": lambda peer: [peer.request(Ask(how=how), Answer, timeout=1e6) for how in ("hang", "swallow") * 3],
    "requests that wait for their turn": lambda peer: [peer.request(Ask(how="hang"), Answer) for _ in range(80)],
    "a guarded request": lambda peer: [peer.request(Limited(how="hang"), Answer)],
    "a request that takes what is provided": lambda peer: [peer.request(Take(how="hang"), Answer)],
    "messages": lambda peer: [peer.send(Note(how=how, body=bytes(1000))) for how in ("hang on", "", "")],
    "a concurrent handler": lambda peer: [peer.send(Limited(how="hang on")) for _ in range(3)],
    "a large message": lambda peer: [
        peer.send(Note(how="", body=bytes(8 << 20))),
        peer.send(Note(how="", body=bytes(9 << 20))),
    ],
    "JSON-RPC calls": lambda peer: [CALLER.call(peer, "do", how=how) for how in ("hang on", "hang on", "call back")],
    "reliable messages": lambda peer: [peer.deliver(Parcel(how="hang on")) for _ in range(3)],
}


@pytest.mark.parametrize("side", ["ours", "theirs"])
@pytest.mark.parametrize("meanwhile", MEANWHILE)
async def test_a_connection_that_ends_with_something_under_way(stage: Stage, meanwhile: str, side: str) -> None:
    await leaves_nothing(lambda: walk_a_connection(stage, MEANWHILE[meanwhile], side), times=2)


@pytest.mark.parametrize("how", [*HOWS, "error", "call back"])
async def test_a_json_rpc_call(stage: Stage, how: str) -> None:
    peer = await stage.meet()
    await leaves_nothing(lambda: fails(CALLER.call(peer, "do", how=how)))
    await leaves_nothing(lambda: CALLER.notify(peer, "note", how=how))


@pytest.mark.parametrize("how", ["time", "cancelled"])
async def test_a_json_rpc_call_that_is_not_waited_for(stage: Stage, how: str) -> None:
    peer = await stage.meet()

    async def walk() -> None:
        HANGING.clear()
        call = asyncio.ensure_future(fails(CALLER.call(peer, "do", how="hang on", timeout=0.02)))
        await asyncio.sleep(0.01)
        if how == "cancelled":
            call.cancel()
        await asyncio.wait([call])
        HANGING.set()

    await leaves_nothing(walk)


async def test_what_is_no_json_rpc(stage: Stage) -> None:
    peer = await stage.meet()

    async def walk() -> None:
        for text in (b"{", b"[]", b"{}", b'{"result":1,"id":"x"}', b'{"jsonrpc":"2.0","id":1,"method":"none"}'):
            await stage.here.transport.send(peer.node_id, RPC.to_bytes(2, "big") + text)
        await peer.request(Ask(how=""), Answer)

    await leaves_nothing(walk)


@pytest.mark.parametrize("how", ["", "wait", "raise", "refuse"])
async def test_a_request_that_takes_what_is_provided(stage: Stage, how: str) -> None:
    peer = await stage.meet()
    await leaves_nothing(lambda: fails(peer.request(Take(how=how), Answer)))


@pytest.mark.parametrize("side", ["ours", "theirs"])
async def test_a_connection_for_which_a_provider_fails(stage: Stage, side: str) -> None:
    Lent.fails = True
    try:
        await leaves_nothing(
            lambda: walk_a_connection(stage, lambda peer: [peer.request(Take(), Answer)], side), times=2
        )
    finally:
        Lent.fails = False


async def test_a_connection_that_ends_in_the_middle_of_a_transfer(stage: Stage) -> None:
    async def walk() -> None:
        peer = await stage.meet()
        piece = Fragment(1 << 40, 1 << 20, 1 << 15, 0, b"\x8c\xd5" + bytes((1 << 15) - 2))
        await stage.here.transport.send(peer.node_id, encode(piece, route_to(peer)))
        await peer.request(Ask(how=""), Answer)
        await stage.part()

    await leaves_nothing(walk)


@pytest.mark.parametrize("how", ["", "raise"])
async def test_a_reply_to_nobody(stage: Stage, how: str) -> None:
    """Without a session on our side: the plain way, by the class of what comes next."""
    asks = Extension("asks", version="1.0")
    for kind in (Ask, Answer):
        asks.register(kind)
    plain = Application(asks, transport=stage.new_transport(0x13), session=False)
    async with plain:
        peer = plain.peer(await stage.dial(plain.transport))
        await leaves_nothing(lambda: fails(peer.request(Ask(how=how), Answer, timeout=0.1)))


async def talk(transport: Bolt8Transport, *sent: bytes) -> None:
    """Connect to a node without BOLT 8, say something, hang up."""
    _, _, address = transport.uris[0].partition("@")
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    for data in sent:
        writer.write(data)
        await asyncio.sleep(0.01)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@pytest.mark.parametrize(
    "sent", [[], [b"\0" * 20], [b"\1" * 50], [bytes(200)]], ids=["nothing", "half", "garbage", "more"]
)
async def test_a_stranger_who_does_not_shake_hands(sent: list[bytes]) -> None:
    stage = Stage("bolt8")
    async with stage.there:
        transport: Any = stage.there.transport
        await leaves_nothing(lambda: talk(transport, *sent))


async def knock(app: Application) -> wire.LightningConnection:
    """Connect by BOLT 8 alone."""
    uri = NodeUri.parse(app.uris[0])
    return await wire.connect(PrivateKey(b"\x77" * 32), uri.node_id, uri.host, uri.port)


LAST_WORDS: dict[str, list[bytes]] = {
    "no init": [],
    "no init but a message": [b"\x8c\xd5"],
    "an init that is none": [b"\0\x10\0\1"],
    "an error": [b"\0\x10\0\0\0\0", b"\0\x11" + bytes(32) + b"\0\1!"],
    "a bad ping": [b"\0\x10\0\0\0\0", b"\0\x12\0"],
    "an unknown even type": [b"\0\x10\0\0\0\0", b"\x8c\xfe"],
}


@pytest.mark.parametrize("words", LAST_WORDS)
async def test_a_peer_that_breaks_the_rules(words: str) -> None:
    stage = Stage("bolt8")

    async def walk() -> None:
        connection = await knock(stage.there)
        for payload in LAST_WORDS[words]:
            await connection.send_message(payload)
        await asyncio.sleep(0.02)
        await connection.aclose()

    async with stage.there:
        await leaves_nothing(walk)


async def test_a_connection_that_another_replaces() -> None:
    stage = Stage("bolt8")

    async def walk() -> None:
        connections = []
        for _ in range(3):
            connection = await knock(stage.there)
            await connection.send_message(b"\0\x10\0\0\0\0")
            await connection.read_message()
            connections.append(connection)
        for connection in connections:
            await connection.aclose()

    async with stage.there:
        await leaves_nothing(walk)


async def test_a_dial_that_nobody_answers() -> None:
    stage = Stage("bolt8")
    async with stage.here:
        uri = f"{stage.there.node_id}@127.0.0.1:1"
        await leaves_nothing(lambda: fails(stage.here.connect(uri)))


async def test_a_dial_for_another_node() -> None:
    stage = Stage("bolt8")
    async with stage.there, stage.here:
        _, _, address = stage.there.uris[0].partition("@")
        uri = f"{NodeId(PrivateKey(bytes([9]) * 32).public_key())}@{address}"
        await leaves_nothing(lambda: fails(stage.here.connect(uri)))
