"""`NatsTransport`: the peers of one partition of a node elsewhere, whose gateway is reached by a NATS broker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from oddwire.errors import ConnectionClosed, TransportError
from oddwire.exit_exceptions import must_pass
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.transports.base import Manifest, PeerInfo, Sink, not_connected
from oddwire.transports.host import HostTransport
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.consumer import StaleOwner
from oddwire.transports.nats.controls import Controls, GatewayRefused, Owned
from oddwire.transports.nats.errands import Errands
from oddwire.transports.nats.errors import BrokerFailure, BrokerUnavailable
from oddwire.transports.nats.exchange import Exchange
from oddwire.transports.nats.outbound import Outbound
from oddwire.transports.nats.patience import pauses
from oddwire.transports.nats.peer_connections import PeerConnection

__all__ = ["NatsTransport"]

logger = get_logger("oddwire.transports.nats")

_LAST: Final = 5.0  # seconds that the gateway has to accept what was sent before an end
_RELEASE: Final = 1.0  # seconds that it has to take note of our end
_DIALING: Final = 60.0
_CALLING: Final = 120.0
_CLOSED: Final = "closed by us"


class NatsTransport(HostTransport):
    """The peers in partition ``partition`` of ``node``, for their owner, for one term.

    Made for each time that a program takes the partition, with the ``term`` that this gave it. It ends by itself when
    it is not the partition's owner any more, or when the node's gateway was started anew: then the sink's
    `host_stopping` is called, ``ended`` is the reason, and ``stale`` says whether there is a later owner.

    Connections are the node's, and stay when the transport closes. What comes of peers stays in the broker's stream
    until it is handled, and what was sent while it was handled is accepted by the gateway: the next owner gets what is
    left. ``patience`` is how many seconds `open` waits for the gateway and the broker.
    """

    shared = True  # connections outlive the program: the next one must be told that we leave

    def __init__(
        self, connection: BrokerConnection, node: NodeId, partition: int, *, term: int, patience: float = 10.0
    ) -> None:
        self.node_id: NodeId = node  # pyright: ignore[reportIncompatibleVariableOverride] # always known
        self.partition = partition
        self.term = term
        self.uris = []
        self.run: int | None = None
        """The gateway's run, once the transport is open: the revision of its lease."""
        self.ended = ""
        """Why it has ended by itself, or by `lost`; empty before."""
        self.stale = False
        """Whether it has ended because the partition has a later owner."""
        self._connection = connection
        self._patience = patience
        self._controls = Controls(connection, node, partition, term)
        self._sink: Sink | None = None
        self._errands: Errands | None = None
        self._exchange: Exchange | None = None
        self._closing: asyncio.Task[None] | None = None
        self._opened = False

    # Start --------------------------------------------------------------------------------------------

    async def open(self, manifest: Manifest, sink: Sink) -> None:
        """Tell the gateway who owns the partition, and begin to read its stream.

        Raises `TransportError` if the gateway or the broker does not answer or refuses, and if there is a later owner:
        then ``stale`` is True. Failed or cancelled, the transport is closed.
        """
        if self._opened or self._closing is not None:
            raise TransportError("this transport was opened before, or closed; make a new one")
        self._opened, self._sink = True, sink
        errands = self._errands = Errands(self._controls, self._refused)
        try:
            owned = await self._own()
            self.run = self._controls.run = owned.run
            self.uris = [*owned.uris]
            self._exchange = Exchange(
                self._connection,
                errands,
                self.node_id,
                self.partition,
                self.term,
                owned=owned,
                sink=sink,
                ended=self._end,
            )
            await self._exchange.open()
        except (StaleOwner, BrokerFailure, GatewayRefused) as error:
            self.stale = isinstance(error, StaleOwner) or getattr(error, "status", "") == "stale"
            await self.aclose()
            raise TransportError(f"partition {self.partition} of {self.node_id} cannot be taken: {error}") from error
        except BaseException:
            await self.aclose()
            raise
        if self.ended:
            raise TransportError(self.ended)

    async def _own(self) -> Owned:
        loop = asyncio.get_running_loop()
        end, following = loop.time() + self._patience, pauses()
        while True:
            try:
                return await self._controls.own()
            except BrokerUnavailable:
                pause = next(following)
                if loop.time() + pause > end:
                    raise
            await asyncio.sleep(pause)

    def _refused(self, error: GatewayRefused) -> None:
        if self._exchange is not None:
            self._exchange.refused(error.status, str(error))

    # Called by the application ------------------------------------------------------------------------

    async def send(self, peer: NodeId, payload: bytes) -> None:
        """Send by the node, whose gateway has the payload soon; see `Transport.send`."""
        outbound, connection = self._way_to(peer)
        await outbound.send(connection, payload)

    def send_nowait(self, peer: NodeId, payload: bytes) -> bool:  # noqa: D102 - as the base says
        outbound, connection = self._way_to(peer)
        return outbound.send_nowait(connection, payload)

    def _way_to(self, peer: NodeId) -> tuple[Outbound, PeerConnection]:
        exchange = self._exchange
        connection = None if exchange is None else exchange.deliveries.told(peer)
        if exchange is None or connection is None:
            raise not_connected(peer)
        return exchange.outbound, connection

    def pause(self, peer: NodeId) -> None:
        """Hold the peer's payloads; the gateway stops reading from it when many are held."""
        if self._exchange is not None:
            self._exchange.deliveries.pause(peer)

    def resume(self, peer: NodeId) -> None:  # noqa: D102 - as the base says
        if self._exchange is not None:
            self._exchange.deliveries.resume(peer)

    async def connect(self, uri: str) -> PeerInfo:
        """Have the node connect to a peer of this partition, wait until it is here, and return its info.

        Raises `TransportError` for a peer of another partition, though it is connected then, to its owner; and
        `NodeRefused` with the reason of a node that is the gateway's host. Cancelling does not stop the node.
        """
        exchange = self._exchange
        if exchange is None or self._errands is None:
            raise TransportError("open the transport before you connect")
        with contextlib.suppress(ValueError):  # a form of the node's own: that knows
            known = exchange.deliveries.told(NodeId(uri.partition("@")[0]))
            if known is not None and not known.gone:
                return known.info
        answer = await self._errands.call("connect", _DIALING, uri=uri)
        try:
            (number, raw, *_), partition = answer["conn"], answer["k"]
            peer = NodeId(raw)
        except (KeyError, TypeError, ValueError) as error:
            raise TransportError(f"{uri}: the gateway's answer cannot be read: {error!r}") from error
        if partition != self.partition:
            text = f"{peer} is connected, and in partition {partition}, which another application serves"
            raise TransportError(f"{text}: this one has partition {self.partition}")
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        exchange.on_arrival(number, lambda: None if arrived.done() else arrived.set_result(None))
        await arrived
        connection = exchange.deliveries.told(peer)
        if connection is None or connection.number != number:
            raise ConnectionClosed(f"{uri}: closed as soon as it was open")
        return connection.info

    async def disconnect(self, peer: NodeId, reason: str = "") -> None:
        """End the connection, after what was sent to it, if the peer reads that within 5 seconds."""
        exchange, errands = self._exchange, self._errands
        connection = None if exchange is None else exchange.deliveries.told(peer)
        if exchange is None or errands is None or connection is None or self.ended:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST):
                await exchange.outbound.until_idle(connection)
        await errands.tell("disconnect", conn=connection.number, reason=reason)
        connection.unreachable = True

    def warn(self, peer: NodeId, text: str) -> None:  # noqa: D102 - as the base says
        exchange, errands = self._exchange, self._errands
        connection = None if exchange is None else exchange.deliveries.told(peer)
        if exchange is not None and errands is not None and connection is not None:
            errands.spawn(self._warn(errands, exchange.outbound, connection, text))

    @staticmethod
    async def _warn(errands: Errands, outbound: Outbound, connection: PeerConnection, text: str) -> None:
        await outbound.until_idle(connection)
        await errands.tell("warn", conn=connection.number, text=text)

    async def call(
        self,
        method: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the answer is dropped, the request stands
    ) -> Any:
        """Call a method of the gateway's host node, if its operator has permitted that. Raises as the base says."""
        if self._errands is None:
            raise TransportError(f"{method!r} cannot be called before the transport is open")
        seconds = _CALLING if timeout is None else timeout
        async with asyncio.timeout(timeout):
            answer = await self._errands.call("call", seconds, method=method, params=params)
        return answer.get("result") if isinstance(answer, dict) else None

    # Stop ---------------------------------------------------------------------------------------------

    def lost(self, reason: str) -> None:
        """End at once, as the partition may have another owner: nothing more is handed on, acknowledged or sent."""
        self._end(reason)

    def _end(self, reason: str, stale: bool = False) -> None:
        if self.ended or self._closing is not None:
            return
        self.ended, self.stale = reason, stale
        if self._exchange is not None:
            self._exchange.stop(reason)
        if self._errands is not None:
            self._errands.end(reason)
        if self._sink is not None:
            try:
                self._sink.host_stopping(reason)
            except BaseException as error:
                if must_pass(error):
                    raise
                logger.exception("the sink raised")

    async def aclose(self) -> None:
        """Give the partition up: send what was accepted, acknowledge what was handled, leave the rest to the next.

        Connections are the node's and stay. Idempotent. If cancelled, it goes on.
        """
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        exchange, errands = self._exchange, self._errands
        if exchange is not None and not self.ended and await exchange.give_up():
            await self._controls.try_to("release", _RELEASE, handled=exchange.handled_in_part())
        reason = self.ended or _CLOSED
        if errands is not None:
            errands.end(reason)
            await errands.aclose()
        if exchange is not None:
            await exchange.aclose(reason)
