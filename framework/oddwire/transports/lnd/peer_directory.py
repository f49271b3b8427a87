"""LND's peers while the transport is open: connecting the peer table, the inbound queue and send queues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Final

from oddwire.errors import ConnectionClosed, PeerNotConnected
from oddwire.exit_exceptions import must_pass
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo
from oddwire.transports.expected_peers import ExpectedPeers
from oddwire.transports.inbound_delivery import InboundDelivery
from oddwire.transports.inbound_queue import InboundQueue
from oddwire.transports.lnd.client import LndClient
from oddwire.transports.lnd.errors import LndFailure, LndUnavailable
from oddwire.transports.lnd.failures import send_failure
from oddwire.transports.lnd.peer_table import Event, PeerTable
from oddwire.transports.lnd.send_queue import Cancellable, Ended, SendQueue

__all__ = ["PeerDirectory"]

logger = get_logger("oddwire.transports.lnd")

_PATIENCE: Final = 30.0  # seconds for an answer to ListPeers, and for an expected peer; LND gives a handshake 15


class PeerDirectory:
    """Connects the peer tables of one client after the other with ``inbound``, on the loop where it is made.

    ``send_queues`` are those of connected peers that the sink knows. Payloads of other types than ``type_ids`` are
    dropped. ``changed`` is called with each peer that connects or disconnects.
    """

    def __init__(self, inbound: InboundQueue, type_ids: frozenset[int], changed: Callable[[NodeId], object]) -> None:
        self.inbound = inbound
        self.send_queues: dict[NodeId, SendQueue] = {}
        self._wanted = frozenset(type_id.to_bytes(2, "big") for type_id in type_ids)
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._table = PeerTable()
        self._client: LndClient | None = None
        self._delivery = InboundDelivery(inbound)
        self._expected = ExpectedPeers()
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None
        self._rest_until = 0.0
        self._closed = False

    # One client after the other -----------------------------------------------------------------------

    async def begin(self, client: LndClient) -> None:
        """Take the peers of another client: whose are connected, is told. Raises the client's errors."""
        self._table = table = PeerTable()
        number = table.number_question()
        peers = await client.peers()
        self._client = client
        self._report(table.listed(number, peers))
        self._ask()

    def end(self, reason: str) -> None:
        """Note that the client is lost: every peer is gone. Idempotent."""
        self._client = None
        self._stop_timer()
        if self._asking is not None:
            self._asking.cancel()
        self._report(self._table.lost(reason))
        self._disappoint(reason)
        self._expected.fail_all(reason)

    async def read_messages(self, messages: AsyncIterator[tuple[NodeId, bytes]]) -> None:
        """Read a stream of messages until it ends. Raises the client's errors."""
        wanted, peers, received = self._wanted, self.inbound.peers, self.inbound.sink.payload_received
        async for peer, payload in messages:
            if payload[:2] not in wanted:
                continue
            inbound = peers.get(peer)
            if inbound is None or not inbound.clear:
                self._take_payload(peer, payload)
                continue
            try:
                received(peer, payload)
            except BaseException as error:
                if must_pass(error):
                    raise
                logger.exception("the sink raised over a payload of %s", peer)

    async def read_events(self, events: AsyncIterator[tuple[NodeId, bool]]) -> None:
        """Read a stream of peers' events until it ends. Raises the client's errors."""
        async for peer, is_online in events:
            if is_online:
                self._report(self._table.online(peer))
            else:
                self._table.offline(peer)
            self._ask()

    async def aclose(self, reason: str) -> None:
        """Report every peer as disconnected, and fail those who wait. Idempotent."""
        self._closed = True
        self._stop_timer()
        asking = self._asking
        if asking is not None:
            asking.cancel()
            await asyncio.wait([asking])
        for queue in self.send_queues.values():
            queue.close(reason)
        self.send_queues.clear()
        self._expected.fail_all(reason)
        self._delivery.close(reason)

    # Used by the transport ----------------------------------------------------------------------------

    def info(self, node_id: NodeId) -> PeerInfo | None:
        """Return the info of a connected peer, or None."""
        return self._table.info(node_id)

    async def expect(self, node_id: NodeId) -> PeerInfo:
        """Wait until a peer is reported that is being connected. Raises `ConnectionClosed`."""
        info = self._table.info(node_id)
        if info is not None:
            return info
        try:
            with self._expected.awaited(node_id) as future:
                self._table.expect(node_id)
                self._ask()
                try:
                    async with asyncio.timeout(_PATIENCE):
                        return await future
                finally:
                    del future  # its error's traceback holds this frame
        except TimeoutError:
            raise ConnectionClosed(f"{node_id} connected, and has not shaken hands in {_PATIENCE:.0f} s") from None
        finally:
            if node_id not in self._expected:  # cancelled, or too late
                self._table.forget(node_id)

    def resume(self, peer: NodeId) -> None:
        """Undo a pause of the inbound queue; queued payloads are delivered soon."""
        self._delivery.resume(peer)

    # Inside -------------------------------------------------------------------------------------------

    def _take_payload(self, peer: NodeId, payload: bytes) -> None:
        if self._table.info(peer) is None:
            self.inbound.stage(peer, payload)
            self._table.message_received(peer)
            self._ask()
        else:
            self._delivery.push(peer, payload)

    def _report(self, events: Sequence[Event]) -> None:
        if self._closed:
            return
        for node_id, event in events:
            if isinstance(event, PeerInfo):
                if self._client is not None:
                    self.send_queues[node_id] = SendQueue(partial(self._begin_send, self._client, node_id), self._loop)
                self._expected.arrived(event)
            else:
                queue = self.send_queues.pop(node_id, None)
                if queue is not None:
                    queue.close(event)
            self._delivery.push(node_id, event)
            self._changed(node_id)

    def _begin_send(self, client: LndClient, peer: NodeId, payload: bytes, ended: Ended) -> Cancellable:
        type_id = int.from_bytes(payload[:2], "big")
        return client.post_custom_message(peer, type_id, payload[2:], partial(self._sent, client, peer, type_id, ended))

    def _sent(self, client: LndClient, peer: NodeId, type_id: int, ended: Ended, error: LndFailure | None) -> None:
        if error is None:
            ended(None)
            return
        failure = send_failure(error, peer, type_id)
        if client is self._client and isinstance(failure, ConnectionClosed | PeerNotConnected):
            self._table.doubt()  # it may be gone, and the table does not know yet
            self._ask()
        ended(failure)

    def _ask(self) -> None:
        """Ask for a list as soon as the table wants one, if none is under way; to be called after each event."""
        delay = self._table.delay
        if delay is None or self._closed or self._client is None or self._asking is not None:
            return
        self._stop_timer()
        delay = max(delay, self._rest_until - self._loop.time())
        if delay > 0:
            self._timer = self._loop.call_later(delay, self._ask_now)
        else:
            self._ask_now()

    def _ask_now(self) -> None:
        self._timer = None
        if self._client is not None and not self._closed:
            self._asking = self._loop.create_task(self._list(self._client, self._table))
            self._asking.add_done_callback(self._asked)

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the list of LND's peers cannot be handled", exc_info=error)
        self._ask()

    async def _list(self, client: LndClient, table: PeerTable) -> None:
        number, began = table.number_question(), self._loop.time()
        try:
            async with asyncio.timeout(_PATIENCE):
                peers = await client.peers()
        except LndUnavailable:
            return  # the streams end, too
        except (LndFailure, TimeoutError) as error:
            logger.warning("LND does not list its peers: %s", str(error) or "no answer")
            table.unanswered()
            return
        now = self._loop.time()
        self._rest_until = now + (now - began)  # of many peers, lists take long: half of the time at most
        if client is self._client:
            self._report(table.listed(number, peers))
            self._disappoint("it disconnected during its handshake")

    def _disappoint(self, reason: str) -> None:
        for node_id in self._table.disappointed:
            self._expected.fail(node_id, reason)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
