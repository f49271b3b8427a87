"""What strangers do, as functions: each runs until it is cancelled, and says how much it got done.

The payloads are endless: what is sent is as fast as the other end reads. A stranger has a new node id each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from oddwire.errors import OddwireError
from oddwire.proto import LightningConnection, NodeUri, PrivateKey, PublicKey, connect
from oddwire.proto.bolt1 import CHAINS, Init, Notice, Ping
from oddwire.proto.noise import Handshake
from oddwire.session.peer.reassembly import split
from oddwire.session.wire.frame_types import Hello, Spoken
from oddwire.session.wire.frames import (
    encode,
    encode_cancel,
    encode_data,
    encode_fragment,
    encode_reply,
    encode_request,
)

TYPE_ASK, TYPE_WIRE, TYPE_KEEP, TYPE_HOLD, TYPE_GIVE = (b"\x91" + bytes([low]) for low in b"\x21\x25\x27\x29\x2b")
TYPE_GUARDED = b"\x91\x31"
TYPE_RPC = b"\x91\x33"
CALL = b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"what":'
HELLO = Hello(0, 1, 1, 7, (), 1 << 26, 64)


def costly_map() -> bytes:
    """A msgpack map of 32 000 pairs, which is no message."""
    return TYPE_ASK + b"\xde\x7d\x00" + bytes(range(100)) * 640


def costly_fields() -> bytes:
    """A message with 13 000 fields that nobody knows."""
    letters = b"abcdefghijklmnopqrstuvwxyz"
    names = (bytes(name) for name in itertools.product(letters, repeat=3))
    pairs = b"".join(b"\xa3" + name + b"\x01" for name in itertools.islice(names, 13_000))
    known = b"\xa6number\x01\xa4note\xa1x"
    return TYPE_ASK + b"\xde" + (13_002).to_bytes(2, "big") + known + pairs


def costly_records() -> bytes:
    """A message with 16 000 TLV records that nobody knows, all odd."""
    records = b"".join(b"\xfd" + type_id.to_bytes(2, "big") + b"\0" for type_id in range(301, 32_301, 2))
    return TYPE_WIRE + bytes(8) + records[:65_000]


def costly_object(before: bytes = b'{"what":') -> bytes:
    """An object of JSON with 19 000 empty lists."""
    return TYPE_RPC + before + b"[" + b"[]," * 19_000 + b"[]]" + b"}" * before.count(b"{")


OURS = 1
"""The instance of a stranger; which the peer's is, its hello tells: see `Stranger`."""

SESSION = (
    encode_reply(OURS, 1, 0, b"\x91\x23" + bytes(90)),  # nobody asked
    encode_request(OURS, 2, 0, b"\x90\x71" + bytes(90)),  # of a type that nobody takes
    encode_request(OURS, 3, 0, TYPE_ASK + b"\xc1" * 90),  # malformed
    encode_fragment(OURS, 4, 1 << 40, 60_000, 0, bytes(60_000)),  # too large
    encode_fragment(OURS, 5, 1000, 10, 0, bytes(10)),  # too small a piece
    encode_cancel(OURS, 1, 6),
    encode_data(OURS, 7, 1, 1, 1, b"\x91\x23" + bytes(90)),  # to an application without a store
    b"\xc0\xdd\x63" + bytes(90),  # of no kind we know
)


class Endless:
    """What begins anew for each connection, and never ends: ``of(number)`` is the message of this number, from 1 on."""

    def __init__(self, of: Callable[[int], bytes]) -> None:
        self._of = of

    def __iter__(self) -> Iterator[bytes]:
        return map(self._of, itertools.count(1))


def _costly_to_keep(number: int) -> bytes:
    return encode_data(OURS, 5, 1, number, number, TYPE_KEEP + costly_map()[2:])


def _refused(number: int) -> bytes:
    """Send on 16 lanes what nobody takes, and settle seldom: each ack tells of up to a thousand."""
    sequence = number // 16 + 1
    return encode_data(OURS, number % 16, 1, max(1, sequence // 1000 * 1000), sequence, b"\x91\x71" + bytes(20))


def _costly_to_guard(number: int) -> bytes:
    return encode_request(OURS, number, 0, TYPE_GUARDED + costly_fields()[2:])


FLOODS: Mapping[str, Iterable[bytes]] = {
    "unknown": (b"\x99\x99",),
    "unknown, longer": (b"\x99\x99" + bytes(60_000),),
    "malformed": (TYPE_ASK + b"\xc1",),
    "no type": (b"\x99", b""),
    "pings": (Ping().encode(),),
    "pings for large pongs": (Ping(65_531).encode(),),
    "pings without pongs": (Ping(65_535).encode(),),
    "warnings": (Notice("warning", "x").encode(),),
    "errors": (Notice("error", "x" * 1000).encode(),),
    "channels": (b"\x00\x20" + bytes(64),),
    "gossip": (b"\x01\x02" + bytes(200),),
    "a costly map": (costly_map(),),
    "costly fields": (costly_fields(),),
    "costly records": (costly_records(),),
    "no JSON": (TYPE_RPC + b"{",),
    "a costly object": (costly_object(),),
    "costly calls": (costly_object(CALL),),
    "answers to no call": (TYPE_RPC + b'{"jsonrpc":"2.0","id":"%s","result":5}' % (b"0" * 32),),
    "session frames": SESSION,
    "costly reliable messages": Endless(_costly_to_keep),
    "refused reliable messages": Endless(_refused),
    "costly guarded requests": Endless(_costly_to_guard),
}
"""What a stranger sends again and again, by name."""
SESSIONS = frozenset(kind for kind, payloads in FLOODS.items() if isinstance(payloads, Endless))
"""Those that need a session."""


@dataclass
class Done:
    """How much a stranger got done."""

    messages: int = 0
    connections: int = 0


class Stranger:
    """One connection of one who is up to no good; it reads, or not, and says hello in its own way."""

    def __init__(self, connection: LightningConnection, reads: bool = True) -> None:
        self._connection = connection
        self._met = asyncio.Event()
        self._address = bytes(4)
        if reads:
            connection.deliver_to(self._hear)
        else:
            connection.pause()

    def _hear(self, payload: bytes) -> None:
        if payload[:3] == b"\xc0\xdd\x09":
            self._address = payload[7:11]
            self._met.set()

    async def greet(self, hello: Hello = HELLO) -> None:
        """Say hello once the peer has."""
        async with asyncio.timeout(30):
            await self._met.wait()
        await self._connection.send_message(self.addressed(encode(hello, OURS)))

    @property
    def route(self) -> int:
        """The addresses of what it sends."""
        return int.from_bytes(self._address, "big") << 32 | OURS

    def addressed(self, payload: bytes) -> bytes:
        """Return a payload, one of the session for the peer that was met."""
        return payload[:3] + self._address + payload[7:] if payload[:2] == b"\xc0\xdd" else payload


async def be_stranger(uri: str, payloads: Iterable[bytes], done: Done, *, reads: bool = True) -> None:
    """Connect, and send these again and again, as fast as they are read; come anew when hung up on."""
    node = NodeUri.parse(uri)
    while True:
        with contextlib.suppress(OddwireError):
            connection = await connect(PrivateKey(os.urandom(32)), node.node_id, node.host, node.port)
            done.connections += 1
            stranger = Stranger(connection, reads)
            try:
                await connection.send_message(Init(networks=(CHAINS["bitcoin"], CHAINS["regtest"])).encode())
                if isinstance(payloads, Endless) or payloads is SESSION:
                    await stranger.greet()
                for payload in payloads if isinstance(payloads, Endless) else itertools.cycle(payloads):
                    await connection.send_message(stranger.addressed(payload))
                    done.messages += 1
                    if not done.messages % 64:
                        await asyncio.sleep(0)
            finally:
                connection.abort("done")
        await asyncio.sleep(0.01)


async def flood(uri: str, kind: str, strangers: int, done: Done, *, reads: bool = True) -> None:
    """Run one kind of `FLOODS` by so many strangers."""
    async with asyncio.TaskGroup() as group:
        for _ in range(strangers):
            group.create_task(be_stranger(uri, FLOODS[kind], done, reads=reads))


@dataclass(frozen=True)
class Hoard:
    """What a stranger says on each connection, to have something kept; ``enough`` of that shows whether it is."""

    says: Callable[[int, int], Sequence[bytes]]
    """What to send by a route as message so and so, counted from 0 on each connection."""
    stays: int
    """How many of these before it hangs up and comes anew."""
    enough: int
    ids: int = 1
    """How many connections each stranger has."""
    reads: bool = True
    most: int = 300 << 20
    """Bytes that the node may have more."""


def _large_request(route: int, number: int) -> Sequence[bytes]:
    """Ask with a megabyte that says nothing: each is answered, or refused, and then over."""
    request = encode_request(
        route, number, 0, TYPE_ASK + b"\x83\xa6number\x01\xa4note\xa1x\xa1z\xc6\0\x10\0\0" + bytes(1 << 20)
    )
    return [*split(route, request, 60_000, number)]


def _long_wait(route: int, number: int) -> Sequence[bytes]:
    """Say a long hello, ask something whose answer is awaited for 49 days, and go."""
    types = tuple(range(0x9000, 0x9000 + 14_000))
    return [
        encode(Hello(0, 1, 1, number + 1, (Spoken("a", ("1",), types),)), route),
        encode_request(route, 1, 0, TYPE_ASK + b"\x82\xa6number\x01\xa4note\xa1x", 2**32 - 1),
    ]


def _pieces(route: int, number: int) -> Sequence[bytes]:
    """Begin transfers that never end."""
    whole = TYPE_ASK + bytes(2 << 20)
    return [*split(route, whole, 60_000, number)][:-1]


def _held(route: int, number: int) -> Sequence[bytes]:
    """Ask, just below what counts as large, where the answer takes long."""
    return [encode_request(route, number, 0, TYPE_HOLD + bytes(64_000))]


def _unread(route: int, number: int) -> Sequence[bytes]:
    """Ask for a megabyte."""
    return [encode_request(route, number, 0, TYPE_GIVE)]


HOARDS: Mapping[str, Hoard] = {
    "large requests": Hoard(_large_request, stays=100, enough=3_000),
    "long waits": Hoard(_long_wait, stays=1, enough=600),
    "transfers without end": Hoard(_pieces, stays=100, enough=10_000),
    # 256 MiB of messages, and of each of 480 connections 256 KiB that were read
    "held requests": Hoard(_held, stays=1 << 30, enough=8_000, ids=60, most=430 << 20),
    "unread replies": Hoard(_unread, stays=1 << 30, enough=500, ids=4, reads=False, most=700 << 20),
}
"""What would be kept if it could, by name."""


async def hoard(uri: str, kind: str, strangers: int, done: Done) -> None:
    """Run one kind of `HOARDS` by so many strangers."""
    async with asyncio.TaskGroup() as group:
        for _ in range(strangers * HOARDS[kind].ids):
            group.create_task(_hoard(uri, HOARDS[kind], done))


async def _hoard(uri: str, kind: Hoard, done: Done) -> None:
    node = NodeUri.parse(uri)
    while True:
        with contextlib.suppress(OddwireError):
            connection = await connect(PrivateKey(os.urandom(32)), node.node_id, node.host, node.port)
            done.connections += 1
            stranger = Stranger(connection)
            try:
                await connection.send_message(Init(networks=(CHAINS["bitcoin"],)).encode())
                await stranger.greet()
                if not kind.reads:
                    connection.pause()
                for number in range(kind.stays):
                    for payload in kind.says(stranger.route, number):
                        await connection.send_message(payload)
                        done.messages += 1
                    await asyncio.sleep(0)
            finally:
                connection.close("done")
        await asyncio.sleep(0.01)


DEBTORS: Mapping[str, Sequence[bytes]] = {
    "costly, and gone": (costly_map(),) * 2,
    "cheap, costly, and gone": (b"\x99\x99" + bytes(4000), costly_map(), costly_map()),
    "talk, and gone": (b"\x99\x99",) * 5000,
}
"""What is sent by those who then go, and come anew by another name, by name."""
_DEBTOR_IDS = 60
_DEBTORS_ADDRESS = "127.0.0.2"


async def run_up(uri: str, kind: str, strangers: int, done: Done) -> None:
    """Run one kind of `DEBTORS` by so many strangers, each with 60 node ids at a time."""
    async with asyncio.TaskGroup() as group:
        for _ in range(strangers * _DEBTOR_IDS):
            group.create_task(_run_up(uri, DEBTORS[kind], done))


async def _run_up(uri: str, payloads: Sequence[bytes], done: Done) -> None:
    node, loop = NodeUri.parse(uri), asyncio.get_running_loop()
    remote = PublicKey(node.node_id)

    def make() -> LightningConnection:
        return LightningConnection(PrivateKey(os.urandom(32)), remote)

    while True:
        with contextlib.suppress(OddwireError, OSError):
            # Callers have turns by address: honest ones do not share that of 60 who call all the time
            _, connection = await loop.create_connection(make, node.host, node.port, local_addr=(_DEBTORS_ADDRESS, 0))
            try:
                await connection.opened()
                done.connections += 1
                connection.deliver_to(lambda _: None)
                await connection.send_message(Init(networks=(CHAINS["bitcoin"],)).encode())
                for payload in payloads:
                    await connection.send_message(payload)
                    done.messages += 1
                await asyncio.sleep(0.2)  # until it was read, if it is
            finally:
                connection.abort("gone")
        await asyncio.sleep(0.01)


def acts_one(node_id: bytes, count: int) -> list[bytes]:
    """Make first acts of handshakes, to be sent as often as one likes."""
    remote = PublicKey(node_id)
    static = PrivateKey(os.urandom(32))
    return [Handshake.initiator(static, remote, PrivateKey(os.urandom(32))).start() for _ in range(count)]


async def half_open(uri: str, rate: float, done: Done, *, acts: int = 256, keep: int = 500) -> None:
    """Begin so many handshakes a second, and end none; the last ``keep`` stay open."""
    node = NodeUri.parse(uri)
    made = itertools.cycle(acts_one(node.node_id, acts))
    kept: list[socket.socket] = []
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        while True:
            while done.connections < (loop.time() - began) * rate:
                sock = socket.socket()
                sock.setblocking(False)
                kept.append(sock)
                with contextlib.suppress(OSError):
                    await loop.sock_connect(sock, (node.host, node.port))
                    sock.send(next(made))
                done.connections += 1
                if len(kept) > keep:
                    kept.pop(0).close()
            await asyncio.sleep(0.001)
    finally:
        for sock in kept:
            sock.close()


async def occupy(uri: str, count: int, *, init: bool = True) -> list[Callable[[], None]]:
    """Connect so many times, each by another node id, and say nothing more; give what hangs up on each."""
    node = NodeUri.parse(uri)
    opened: list[Callable[[], None]] = []

    async def one() -> None:
        with contextlib.suppress(OddwireError):
            connection = await connect(PrivateKey(os.urandom(32)), node.node_id, node.host, node.port)
            connection.deliver_to(lambda _: None)
            if init:
                await connection.send_message(Init().encode())
            opened.append(lambda: connection.abort("done"))

    for batch in _batches(count, 50):
        await asyncio.gather(*(one() for _ in range(batch)))
    return opened


async def everything(uri: str, done: Done) -> None:
    """Run every flood of which nothing comes by one stranger each, one that reads nothing, and half-open handshakes."""
    async with asyncio.TaskGroup() as group:
        for kind in FLOODS.keys() - SESSIONS:
            group.create_task(flood(uri, kind, 1, done))
        group.create_task(flood(uri, "pings for large pongs", 1, done, reads=False))
        group.create_task(half_open(uri, 200.0, Done()))


def _batches(count: int, size: int) -> Iterator[int]:
    while count > 0:
        yield min(count, size)
        count -= size
