"""The peers of the kill harness: those with a session, which send orders, and those without, which send ticks."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from tests.soak.cluster.ldk import LdkNotes
from tests.soak.cluster.records import PlainConn, ReliablePeer
from tests.soak.cluster.witness import Done, Order, Tell, Tick, Tock, Told

from oddwire import Application, Context, Extension, NodeId, OddwireError, PrivateKey
from oddwire.session.reliable.receipt import Receipt
from oddwire.transports import Bolt8Transport
from oddwire.transports.bolt8.limits import Bolt8Limits

BUNCH: Final = 10  # orders in one transaction
AHEAD: Final = 200  # orders that wait for their receipt at once
PATIENT: Final = Bolt8Limits(redial_first=0.05, redial_most=0.5, ping_after=5.0, ping_patience=60.0)


def _application(extension: Extension, key: bytes, uri: str, *, session: bool) -> Application:
    transport = Bolt8Transport(PrivateKey(key), connect=[uri], network="regtest", limits=PATIENT)
    return Application(extension, transport=transport, store=":memory:", session=session)


class SessionPeer:
    """Sends orders reliably, as far as it may, and notes what becomes of them."""

    def __init__(self, key: bytes, uri: str) -> None:
        self.known = ReliablePeer()
        self.allowed = 0
        """How many orders may be sent by now."""
        self._server = NodeId(uri.partition("@")[0])
        self._waiting: set[asyncio.Task[None]] = set()
        self._producing: asyncio.Task[None] | None = None
        extension = Extension("witness", version="1.0")
        for other in (Order, Tick, Tock, Tell, Told):
            extension.register(other)

        @extension.on(Done, reliable=True)
        async def done(context: Context, done: Done) -> None:
            self.known.done.append((done.number, done.token))

        self.app = _application(extension, key, uri, session=True)
        self.node_id = str(self.app.transport.node_id)

    async def start(self) -> None:
        await self.app.start()
        self._producing = asyncio.create_task(self._produce())

    async def _produce(self) -> None:
        peer, store, known = self.app.peer(self._server), self.app.store("witness"), self.known
        while True:
            stop = min(known.sent + BUNCH, self.allowed, len(known.settled) + AHEAD)
            if stop <= known.sent:
                await asyncio.sleep(0.01)
                continue
            numbers = range(known.sent, stop)
            async with store.transaction():
                receipts = [await peer.deliver(Order(number=number)) for number in numbers]
            known.sent = stop
            for number, receipt in zip(numbers, receipts, strict=True):
                task = asyncio.create_task(self._wait_for(number, receipt))
                self._waiting.add(task)
                task.add_done_callback(self._waiting.discard)

    async def _wait_for(self, number: int, receipt: Receipt) -> None:
        try:
            await receipt.delivered()
        except OddwireError as error:
            self.known.failed.append(f"order {number}: {error!r}")
        else:
            self.known.settled.append(number)

    @property
    def progress(self) -> int:
        return len(self.known.settled) + len(self.known.done)

    @property
    def at_rest(self) -> bool:
        """All that may be sent was sent, has taken effect, and is answered; or failed, which is a fault."""
        known = self.known
        settled = len(known.settled) + len(known.failed)
        return known.sent == self.allowed == settled and len(known.done) >= len(known.settled)

    @property
    def state(self) -> str:
        """What there is to know about it if it is stuck."""
        known, peer = self.known, self.app.peer(self._server)
        return f"connected {peer.connected}, sent {known.sent}, settled {len(known.settled)}, done {len(known.done)}"

    async def ask(self) -> None:
        """Ask what is stored of us."""
        self.known.stored.clear()
        async for part in self.app.peer(self._server).stream(Tell(), Told):
            self.known.counter = part.counter
            self.known.stored += zip(part.numbers, part.tokens, strict=True)

    async def aclose(self) -> None:
        if self._producing is not None:
            self._producing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._producing
        for task in list(self._waiting):
            task.cancel()
        await self.app.aclose()


class PlainPeer:
    """Has no session, and numbers the ticks that it sends, anew in each of its connections."""

    def __init__(self, key: bytes, uri: str, pause: float) -> None:
        self.conns: dict[int, PlainConn] = {}
        self.tocks: list[str] = []
        self.answered: set[int] = set()
        """Of the present connection: the numbers of its ticks that are answered."""
        self.sending = True
        self._pause = pause
        self._conn = 0
        extension = Extension("witness", version="1.0")
        extension.register(Tick)

        @extension.on_connect
        async def connected(context: Context) -> None:
            self._conn += 1
            self.answered = set()
            self.conns[self._conn] = PlainConn()
            context.spawn(self._send(context, self._conn))

        @extension.on_disconnect
        async def disconnected(context: Context, reason: str) -> None:
            self.conns[self._conn].lives = False

        @extension.on(Tock)
        async def tock(context: Context, tock: Tock) -> None:
            self.tocks.append(tock.token)
            if tock.conn == self._conn:
                self.answered.add(tock.number)

        self.app = _application(extension, key, uri, session=False)
        self.node_id = str(self.app.transport.node_id)

    async def start(self) -> None:
        await self.app.start()

    async def _send(self, context: Context, conn: int) -> None:
        known = self.conns[conn]
        with contextlib.suppress(OddwireError):
            while self.sending:
                known.sent += 1  # before: if it fails, it may have been sent or not, and the connection is gone
                await context.peer.send(Tick(conn=conn, number=known.sent))
                await asyncio.sleep(self._pause)

    @property
    def progress(self) -> int:
        return len(self.tocks)

    @property
    def at_rest(self) -> bool:
        """It sends nothing more, and every tick of its present connection is answered."""
        present = self.conns.get(self._conn)
        return not self.sending and present is not None and present.lives and len(self.answered) == present.sent

    @property
    def state(self) -> str:
        """What there is to know about it if it is stuck."""
        return f"connection {self._conn}, answered {len(self.answered)}, {self.conns.get(self._conn)}"

    async def aclose(self) -> None:
        await self.app.aclose()


OrderingPeer = SessionPeer | LdkNotes
Peer = OrderingPeer | PlainPeer
