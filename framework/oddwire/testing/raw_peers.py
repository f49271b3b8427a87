"""`RawPeer`: a peer without oddwire, for tests: sends payloads unchecked, records all received, has no session."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, nullcontext
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from oddwire.app.application import Application
from oddwire.durations import duration
from oddwire.errors import ConnectionClosed, LocalProtocolError, TransportError
from oddwire.proto.addresses import NodeUri
from oddwire.proto.bolt1 import INTERNAL, Bolt1, Notice
from oddwire.proto.connection import LightningConnection
from oddwire.proto.keys import NodeId, PrivateKey
from oddwire.proto.wire import connect
from oddwire.schema import Message, schema_of
from oddwire.testing.clock import Clock
from oddwire.testing.entering import Entering, entering
from oddwire.testing.wire import payload_of, plan_of
from oddwire.transports.base import Manifest, PeerInfo
from oddwire.transports.memory import MemoryNetwork, MemoryTransport

if TYPE_CHECKING:
    from oddwire.testing.fixture_types import RawPeers

__all__ = ["RawPeer", "raw_peers"]

M = TypeVar("M", bound=Message)
T = TypeVar("T")

_PATIENCE: Final = 5.0
_SHOWN: Final = 8  # payloads in an error


class RawPeer:
    """A node without oddwire, connected to an application by its transport, memory or BOLT 8.

    ``received`` are all payloads that the application has sent to it, in hex and in order, frames of the session too,
    but for BOLT 1's own messages, which are answered.
    """

    def __init__(
        self, app: Application | str, network: MemoryNetwork, key: PrivateKey, features: Iterable[int]
    ) -> None:
        self.node_id = NodeId(key.public_key())
        self.received: list[str] = []
        self._app = app
        self._unread: deque[bytes] = deque()
        self._warnings: deque[str] = deque()
        self._reason: str | None = "not connected yet"  # why there is no connection
        self._changed = asyncio.Event()
        self._link: _MemoryLink | _Bolt8Link
        if isinstance(app, Application) and isinstance(app.transport, MemoryTransport):
            self._link = _MemoryLink(self, app.transport.network, key, features)
        elif isinstance(app, str) and app.endswith("@memory"):
            self._link = _MemoryLink(self, network, key, features)
        else:
            self._link = _Bolt8Link(self, key, features)

    def __repr__(self) -> str:
        return f"<RawPeer {self.node_id} {'connected' if self.connected else 'not connected'}, {self._seen()}>"

    @property
    def connected(self) -> bool:
        """Whether it is connected."""
        return self._reason is None

    async def connect(self) -> None:
        """Connect again, to the application at its present address. Does nothing while it is connected.

        Raises `TransportError` if the application cannot be dialed, and `HandshakeFailed`.
        """
        if self._reason is not None:
            await self._link.connect(self._uri())

    async def disconnect(self) -> None:
        """End the connection, once what was sent has been written. Does nothing without one."""
        if self._reason is None:
            await self._link.disconnect()

    async def send(self, payload: str | bytes | Message) -> None:
        """Send a payload, its type included, as hex or bytes; or a message, in its plain form.

        Nothing is checked. Raises `ConnectionClosed`, `ValueError` for what is no hex, and `EncodeError`.
        """
        if isinstance(payload, Message):
            payload = plan_of(type(payload), self._codecs()).encode(payload)
        content = payload_of(payload)
        if self._reason is not None:
            raise ConnectionClosed(self._reason)
        await self._link.send(content)

    @overload
    async def receive(self, what: int | None = None, *, timeout: float = _PATIENCE) -> str: ...  # noqa: ASYNC109
    @overload
    async def receive(self, what: type[M], *, timeout: float = _PATIENCE) -> M: ...  # noqa: ASYNC109
    async def receive(self, what: type[M] | int | None = None, *, timeout: float = _PATIENCE) -> M | str:  # noqa: ASYNC109
        """Return the next payload in hex: of any type, or of type ``what``; or, decoded, the next of a message's class.

        Each payload is received once, and those of other types stay to be received. Cancelling loses none. Raises
        `TimeoutError` if none comes within ``timeout`` seconds, `ConnectionClosed` if none can come any more, and
        `DecodeError`.
        """
        cls = what if isinstance(what, type) else None
        type_id = schema_of(cls).type_id if cls is not None else what
        if type_id is not None and (isinstance(type_id, bool) or not isinstance(type_id, int)):
            raise TypeError(f"what is received should be a type number or a message class, not {what!r:.200}")
        if type_id is not None and not 0 <= type_id <= 0xFFFF:
            raise ValueError(f"a type number is from 0 to 65535, not {type_id}")
        prefix = b"" if type_id is None else type_id.to_bytes(2, "big")

        def found() -> bytes | None:
            return next((payload for payload in self._unread if payload.startswith(prefix)), None)

        wanted = "payload" if type_id is None else f"payload of type {type_id:#06x}"
        payload = await self._until(found, wanted if cls is None else f"{cls.__name__} {type_id:#06x}", timeout)
        self._unread.remove(payload)
        if cls is None:
            return payload.hex()
        message: M = plan_of(cls, self._codecs()).decode(payload)
        return message

    async def warning(self, *, timeout: float = _PATIENCE) -> str:  # noqa: ASYNC109 - as receive
        """Return the text of the next warning or error (BOLT 1). Raises as `receive` does."""
        await self._until(lambda: self._warnings or None, "warning", timeout)
        return self._warnings.popleft()

    async def closed(self, *, timeout: float = _PATIENCE) -> str:  # noqa: ASYNC109 - as receive
        """Wait until the connection has ended, and return why. Raises `TimeoutError`."""
        return await self._until(lambda: self._reason, "end of the connection", timeout)

    # For the link -----------------------------------------------------------------------------------

    def opened(self) -> None:
        """Note that it is connected."""
        self._reason = None

    def arrived(self, payload: bytes) -> None:
        """Keep a payload of the application's."""
        self.received.append(payload.hex())
        self._unread.append(payload)
        self._changed.set()

    def warned(self, text: str) -> None:
        """Keep the text of a warning or error."""
        self._warnings.append(text)
        self._changed.set()

    def ended(self, reason: str) -> None:
        """Note the end of the connection."""
        self._reason = reason
        self._changed.set()

    # ------------------------------------------------------------------------------------------------

    async def leave(self) -> None:
        """Disconnect, for good."""
        await self._link.aclose()

    async def _until(self, found: Callable[[], T | None], what: str, seconds: float) -> T:
        clock, within = Clock.in_use(), duration(seconds)

        def stands_still(patience: float, hint: str) -> None:
            nonlocal within
            within = f"{duration(patience)} of real time, in which the clock stood still: {hint}"
            limit.reschedule(-inf)

        try:
            async with asyncio.timeout(seconds) as limit:
                with nullcontext() if clock is None else clock.impatient(seconds, stands_still):
                    while (value := found()) is None:
                        if self._reason is not None:
                            raise ConnectionClosed(f"no {what} any more: {self._reason}; {self._seen()}")
                        self._changed.clear()
                        await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"no {what} within {within}; {self._seen()}") from None
        return value

    def _seen(self) -> str:
        if not self.received:
            return "nothing has come"
        last = ", ".join(f"{payload[:40]}{'...' if len(payload) > 40 else ''}" for payload in self.received[-_SHOWN:])
        return f"{len(self.received)} payload(s) have come, the last: {last}"

    def _uri(self) -> str:
        if isinstance(self._app, str):
            return self._app
        if not self._app.uris:
            kind = type(self._app.transport).__name__
            raise TransportError(f"nobody can dial this application: its {kind} has no address, or is not open")
        return self._app.uris[0]

    def _codecs(self) -> Iterable[Any]:
        return () if isinstance(self._app, str) else self._app.registry.codecs.values()


def _check(app: object, key: object) -> None:
    """Raise `TypeError` for what a raw peer cannot connect to, saying what it can."""
    if not isinstance(app, (Application, str)):
        hint = ""
        if isinstance(app, tuple) and app and all(isinstance(one, Application) for one in app):
            hint = ": take one of them, 'async with app_pair(...) as (server, client), raw_peer(server) as peer:'"
        elif isinstance(app, Entering):
            hint = ": 'async with run_app(...) as app, raw_peer(app) as peer:'"
        raise TypeError(f"a raw peer connects to a running application, or to a node's URI, not to {app!r:.200}{hint}")
    if key is not None and not isinstance(key, PrivateKey):
        raise TypeError(f"key should be a PrivateKey, not {key!r:.200}")


class _MemoryLink:
    """A raw peer's node on a memory network; also the sink of its transport."""

    def __init__(self, peer: RawPeer, network: MemoryNetwork, key: PrivateKey, features: Iterable[int]) -> None:
        self._peer = peer
        self._transport = MemoryTransport(key, network=network)
        self._transport.warnings = _Warnings(peer)
        self._manifest = Manifest(features=frozenset(features))
        self._is_open = False
        self._them: NodeId | None = None

    async def connect(self, uri: str) -> None:
        if not self._is_open:
            await self._transport.open(self._manifest, self)
            self._is_open = True
        self._them = (await self._transport.connect(uri)).node_id

    async def send(self, payload: bytes) -> None:
        assert self._them is not None  # noqa: S101 - narrows the type for checkers
        await self._transport.send(self._them, payload)

    async def disconnect(self) -> None:
        assert self._them is not None  # noqa: S101 - narrows the type for checkers
        await self._transport.disconnect(self._them)

    async def aclose(self) -> None:
        await self._transport.aclose()

    def peer_connected(self, peer: PeerInfo) -> None:
        self._peer.opened()

    def payload_received(self, peer: NodeId, payload: bytes) -> None:
        self._peer.arrived(payload)

    def peer_disconnected(self, peer: NodeId, reason: str) -> None:
        self._peer.ended(reason)

    def settled(self, peer: NodeId, call: Callable[[], object]) -> None:
        call()

    def host_stopping(self, reason: str) -> None: ...


class _Warnings(deque[tuple[NodeId, str]]):
    """The warnings that a memory transport receives, passed to its raw peer at once."""

    def __init__(self, peer: RawPeer) -> None:
        super().__init__()
        self._peer = peer

    def append(self, item: tuple[NodeId, str], /) -> None:
        self._peer.warned(item[1])


class _Bolt8Link:
    """A raw peer's connection by BOLT 8, on which inits are exchanged and pings answered (BOLT 1)."""

    def __init__(self, peer: RawPeer, key: PrivateKey, features: Iterable[int]) -> None:
        self._peer = peer
        self._key = key
        self._features = frozenset(features)
        self._connection: LightningConnection | None = None

    async def connect(self, uri: str) -> None:
        them, loop = NodeUri.parse(uri), asyncio.get_running_loop()
        rules = Bolt1(features=self._features, now=loop.time())
        ready: asyncio.Future[str | None] = loop.create_future()  # with why it has ended, if it has

        def opened(connection: LightningConnection) -> None:
            self._connection = connection
            connection.deliver_to(received)
            connection.send_nowait(rules.start())

        def received(payload: bytes) -> None:
            if rules.init is not None and payload[:2] not in INTERNAL:
                self._peer.arrived(payload)
                return
            event = rules.receive(payload, loop.time())
            if isinstance(event, Notice):
                self._peer.warned(event.text)
            elif rules.init is not None and not ready.done():
                self._peer.opened()
                ready.set_result(None)
            connection = self._connection
            if connection is not None and not connection.closed:
                for answer in rules.outgoing():
                    connection.send_nowait(answer)
                if rules.closed is not None:
                    connection.close(rules.closed)

        def ended(connection: LightningConnection, reason: str) -> None:
            if not ready.done():
                ready.set_result(reason)
            self._peer.ended(reason)

        connection = await connect(
            self._key, them.node_id, them.host, them.port, scheme=them.scheme, on_open=opened, on_close=ended
        )
        try:
            reason = await ready
        except BaseException:
            connection.abort("given up")
            raise
        if reason is not None:
            raise ConnectionClosed(f"{uri}: {reason}")

    async def send(self, payload: bytes) -> None:
        if self._connection is None:
            raise LocalProtocolError("connect first")
        await self._connection.send_message(payload)

    async def disconnect(self) -> None:
        if self._connection is not None:
            await self._connection.aclose("disconnected by us")

    async def aclose(self) -> None:
        await self.disconnect()


def raw_peers(network: MemoryNetwork) -> RawPeers:
    """Return what the fixture `raw_peer` is, for a network."""

    @entering("raw_peer(app)", "peer")
    @asynccontextmanager
    async def run(
        app: Application | str, *, features: Iterable[int] = (), key: PrivateKey | None = None
    ) -> AsyncIterator[RawPeer]:
        _check(app, key)
        peer = RawPeer(app, network, key or network.next_key(), features)
        try:
            await peer.connect()
            yield peer
        finally:
            await peer.leave()

    return run
