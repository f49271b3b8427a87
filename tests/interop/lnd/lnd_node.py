"""LND in a process of its own, and its API as bare as can be: what is sent and received here, oddwire has no part in.

Its chain is `nochainbackend`: blocks are not needed for meeting peers and exchanging custom messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import grpc
import grpc.aio
from tests.interop.conftest import LIMIT
from tests.support.ports import free_port
from tests.support.waiting import until, until_answered, until_blocking

SERVER_ACTIVE = 4
PASSWORD = b"of a wallet for tests"
CUSTOM_BIT = 513  # which those have in their init that the tests share, as the transport kit's manifest has it
LOWEST = 32768  # the first type that needs no line in lnd.conf
CALLS = ("SendCustomMessage", "SubscribeCustomMessages", "SubscribePeerEvents", "ListPeers", "GetInfo")
CONNECTING = ("ConnectPeer", "DisconnectPeer")
QUICK = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200))


# Protocol buffers ---------------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    head = b""
    while value > 127:
        head += bytes([value & 127 | 128])
        value >>= 7
    return head + bytes([value])


def field(number: int, value: int | str | bytes) -> bytes:
    """Encode one field; nothing for its zero value."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value) if value else b""
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data if data else b""


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Decode a message into the numbers and values of its fields."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        if key & 7 == 0:
            yield key >> 3, number()
        elif key & 7 == 2:
            size = number()
            yield key >> 3, message[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {key & 7}")


def all_of(message: bytes) -> dict[int, Any]:
    """Return the fields that are there once, by number."""
    return dict(fields(message))


@dataclass(frozen=True)
class ListedPeer:
    """A peer as `ListPeers` has it."""

    node_id: str
    address: str
    inbound: bool
    features: frozenset[int]
    sent: int
    received: int

    @classmethod
    def decode(cls, message: bytes) -> ListedPeer:
        of = all_of(message)
        features = frozenset(all_of(value).get(1, 0) for number, value in fields(message) if number == 11)
        address = of.get(3, b"").decode()
        return cls(of[1].decode(), address, bool(of.get(8, 0)), features, of.get(4, 0), of.get(5, 0))


# The API ------------------------------------------------------------------------------------------------


class Api:
    """Bare calls; to be made and closed in one loop."""

    def __init__(self, channel: grpc.aio.Channel, macaroon: bytes) -> None:
        self.channel = channel
        self.metadata = (("macaroon", macaroon.hex()),) if macaroon else ()
        self._send = channel.unary_unary("/lnrpc.Lightning/SendCustomMessage")

    async def call(self, method: str, request: bytes = b"") -> bytes:
        answer: bytes = await self.channel.unary_unary(f"/lnrpc.Lightning/{method}")(
            request, metadata=self.metadata, timeout=LIMIT
        )
        return answer

    async def refusal(self, method: str, request: bytes = b"") -> tuple[int, str]:
        """Make a call that must fail; give the code and the text."""
        try:
            answer = await self.call(method, request)
        except grpc.aio.AioRpcError as error:
            return error.code().value[0], error.details() or ""
        raise AssertionError(f"{method} answered {answer!r}")

    def stream(self, method: str) -> Any:
        return self.channel.unary_stream(f"/lnrpc.Lightning/{method}")(b"", metadata=self.metadata)

    async def send(self, peer: str, payload: bytes) -> None:
        request = field(1, bytes.fromhex(peer)) + field(2, int.from_bytes(payload[:2], "big")) + field(3, payload[2:])
        await self._send(request, metadata=self.metadata, timeout=LIMIT)

    async def connect(self, uri: str) -> None:
        """Connect; as `ConnectPeer` answers before the two have exchanged their `init`, wait for that."""
        node_id, _, address = uri.partition("@")
        with contextlib.suppress(grpc.aio.AioRpcError) if node_id in await self.peers() else contextlib.nullcontext():
            await self.call("ConnectPeer", field(1, field(1, node_id) + field(2, address)))
        await self.until_connected(node_id)

    async def disconnect(self, node_id: str) -> None:
        await self.call("DisconnectPeer", field(1, node_id))

    async def peers(self) -> dict[str, ListedPeer]:
        answer = await self.call("ListPeers", field(1, 1))
        listed = (ListedPeer.decode(value) for number, value in fields(answer) if number == 1)
        return {peer.node_id: peer for peer in listed}

    async def until_connected(self, node_id: str) -> ListedPeer:
        async def connected() -> ListedPeer | None:
            peer = (await self.peers()).get(node_id)
            return peer if peer and peer.features else None

        return await until_answered(connected)

    async def until_gone(self, node_id: str) -> None:
        async def gone() -> bool:
            return node_id not in await self.peers()

        await until_answered(gone)

    @contextlib.asynccontextmanager
    async def subscribed(self) -> AsyncIterator[Subscription]:
        """Subscribe to custom messages; the subscription is in force when the block begins."""
        subscription = Subscription(self.stream("SubscribeCustomMessages"))
        await self.call("GetInfo")  # nothing else says so
        await self.call("GetInfo")
        try:
            yield subscription
        finally:
            await subscription.end()


class Subscription:
    """The custom messages that LND got since."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._messages: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())

    async def message(self) -> tuple[str, bytes]:
        """Wait for the next; give its peer and the payload."""
        async with asyncio.timeout(LIMIT):
            return await self._messages.get()

    async def end(self) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def _read(self) -> None:
        async for message in self._stream:
            of = all_of(message)
            self._messages.put_nowait((of[1].hex(), of[2].to_bytes(2, "big") + of.get(3, b"")))


# The process --------------------------------------------------------------------------------------------


class Lnd:
    """A node in a process of its own."""

    def __init__(self, folder: Path, *options: str, host: str = "127.0.0.1") -> None:
        self.folder = folder
        self.options = options
        self.address = f"{host}:{free_port()}"
        self.rpc = f"127.0.0.1:{free_port()}"
        self.node_id = ""
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"{self.node_id}@{self.address}"

    @property
    def tlscert(self) -> Path:
        return self.folder / "tls.cert"

    @property
    def macaroon(self) -> Path:
        return self.folder / "data" / "chain" / "bitcoin" / "regtest" / "admin.macaroon"

    @property
    def small_macaroon(self) -> Path:
        """The one that permits what an application may ask for, and no more; it is made when it is first wanted."""
        file = self.folder / "oddwire.macaroon"
        if not file.exists():
            file.write_bytes(self.bake((*CALLS, *CONNECTING)))
        return file

    @property
    def log(self) -> str:
        return (self.folder / "logs" / "bitcoin" / "regtest" / "lnd.log").read_text(errors="replace")

    def launch(self, *options: str) -> None:
        """Start it, and do not wait for anything; its wallet is not there without ``--noseedbackup``."""
        command = ["lnd", f"--lnddir={self.folder}", "--bitcoin.regtest", "--bitcoin.node=nochainbackend"]
        command += ["--nobootstrap", f"--listen={self.address}", f"--rpclisten={self.rpc}", "--norest"]
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "output").open("wb") as file:
            self.process = subprocess.Popen(
                [*command, *self.options, *options], stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
            )

    def start(self) -> Self:
        """Start it, for the first time or again; returns when it talks to peers."""
        self.launch("--noseedbackup")
        return self.ready()

    def ready(self) -> Self:
        """Wait until it talks to peers."""
        self.until_state(SERVER_ACTIVE)
        with self.blocking_channel() as channel:
            answer = channel.unary_unary("/lnrpc.Lightning/GetInfo")(
                b"", metadata=(("macaroon", self.macaroon.read_bytes().hex()),), timeout=LIMIT
            )
        self.node_id = all_of(answer)[1].decode()
        return self

    def make_wallet(self) -> None:
        """Make the wallet that is not there; returns when LND has taken it."""
        with self.blocking_channel() as channel:
            seed = channel.unary_unary("/lnrpc.WalletUnlocker/GenSeed")(b"", timeout=LIMIT)
            words = b"".join(field(2, word) for number, word in fields(seed) if number == 1)
            channel.unary_unary("/lnrpc.WalletUnlocker/InitWallet")(field(1, PASSWORD) + words, timeout=LIMIT)

    def unlock(self) -> None:
        """Unlock the wallet that `make_wallet` has made."""
        with self.blocking_channel() as channel:
            channel.unary_unary("/lnrpc.WalletUnlocker/UnlockWallet")(field(1, PASSWORD), timeout=LIMIT)

    def until_state(self, state: int) -> None:
        """Wait until it says that it is in this state."""
        until_blocking(lambda: self.tlscert.exists() or self.ended(), patience=LIMIT)
        with self.blocking_channel() as channel:
            states = channel.unary_stream("/lnrpc.State/SubscribeState")(b"", wait_for_ready=True, timeout=LIMIT)
            try:
                while all_of(next(states)).get(1, 0) != state:
                    pass
            except grpc.RpcError as error:
                self.fail(f"is not in state {state}: {error.details()}")
            states.cancel()

    def ended(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            self.fail("has ended")
        return False

    def fail(self, what: str) -> None:
        raise AssertionError(f"lnd {what}:\n{(self.folder / 'output').read_text(errors='replace')[-4000:]}")

    @contextlib.contextmanager
    def blocking_channel(self) -> Iterator[grpc.Channel]:
        channel = grpc.secure_channel(self.rpc, grpc.ssl_channel_credentials(self.tlscert.read_bytes()), QUICK)
        try:
            yield channel
        finally:
            channel.close()

    @contextlib.asynccontextmanager
    async def api(self, macaroon: bytes | None = None) -> AsyncIterator[Api]:
        """Open its API, with the macaroon that may do all or another one."""
        credentials = grpc.ssl_channel_credentials(self.tlscert.read_bytes())
        async with grpc.aio.secure_channel(self.rpc, credentials, QUICK) as channel:
            yield Api(channel, self.macaroon.read_bytes() if macaroon is None else macaroon)

    def lncli(self, *arguments: str) -> str:
        """Have lncli do something; returns what it prints."""
        command = ["lncli", f"--lnddir={self.folder}", f"--rpcserver={self.rpc}", "--network=regtest", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def bake(self, methods: Sequence[str]) -> bytes:
        """Make a macaroon for these methods and no other."""
        return bytes.fromhex(self.lncli("bakemacaroon", *(f"uri:/lnrpc.Lightning/{method}" for method in methods)))

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(LIMIT)

    def end(self) -> None:
        """Have it stop by itself; returns when it has."""
        if self.process is None or self.process.poll() is not None:
            return
        self.signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.kill()
            self.fail("did not end on SIGTERM")


async def connect(left: Lnd, right: Lnd) -> None:
    """See that the two are connected, and both know it."""
    async with left.api() as ours, right.api() as theirs:
        if right.node_id not in await ours.peers():
            await ours.connect(right.uri)
        await theirs.until_connected(left.node_id)


__all__ = ["CALLS", "CONNECTING", "LOWEST", "Api", "ListedPeer", "Lnd", "Subscription", "connect", "field", "until"]
