"""The node's peers while the transport is open: connecting the peer table, the inbound queue and send queues."""

from __future__ import annotations

import asyncio
from binascii import hexlify
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final, Literal

from oddwire.errors import ConnectionClosed, OddwireError
from oddwire.jsonrpc.client import JsonRpcClient
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo
from oddwire.transports.cln.pacing import ClnLimits
from oddwire.transports.cln.peer_table import Event, PeerTable, Question, read_address
from oddwire.transports.cln.send_queue import SendQueue
from oddwire.transports.expected_peers import ExpectedPeers
from oddwire.transports.inbound_delivery import InboundDelivery
from oddwire.transports.inbound_queue import InboundQueue

__all__ = ["PeerDirectory"]

logger = get_logger("oddwire.transports.cln")

_PATIENCE: Final = 10.0  # timeout of listpeers, in seconds
_MOMENT: Final = 1.0  # seconds that `catch_up` waits


class PeerDirectory:
    """Connects the peer table with the node's RPC and with ``inbound``, on the loop where it is made.

    ``send_queues`` are those of connected peers that the sink knows.
    """

    def __init__(self, rpc: JsonRpcClient, inbound: InboundQueue, limits: ClnLimits) -> None:
        self.inbound = inbound
        self.send_queues: dict[NodeId, SendQueue] = {}
        self._rpc = rpc
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._table = PeerTable()
        self._delivery = InboundDelivery(inbound)
        self._expected = ExpectedPeers()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def list_peers(self) -> None:
        """Load the connected peers. Raises the errors of the RPC client, and `KeyError` for an unexpected answer."""
        number = self._table.asking_for_all()
        listed = (await self._rpc.call("listpeers"))["peers"]
        self._report(self._table.listed(number, listed))

    async def expect(self, node_id: NodeId, answer: Mapping[str, Any]) -> PeerInfo:
        """Wait until a peer is reported; ``answer`` is that of ``connect``. Raises `ConnectionClosed`."""
        info = self._table.info(node_id)
        if info is not None:
            return info
        with self._expected.awaited(node_id) as future:
            self._table.connected(node_id, _direction(answer), read_address(answer.get("address")))
            self.ask()
            try:
                async with asyncio.timeout(_PATIENCE):
                    return await future
            except TimeoutError:
                raise ConnectionClosed(f"{node_id} connected, and disconnected at once") from None
            finally:
                del future  # its error's traceback holds this frame

    async def catch_up(self) -> None:
        """Wait until all peers with a ``connect`` are reported; max 1 second, as some may have disconnected."""
        if self._table.awaited:
            with ExitStack() as stack:
                futures = [stack.enter_context(self._expected.awaited(node_id)) for node_id in self._table.awaited]
                await asyncio.wait(futures, timeout=_MOMENT)

    def take_payload(self, peer: NodeId, payload: bytes) -> None:
        """Deliver a payload, or queue it: behind others, or until the peer is reported."""
        if self._table.info(peer) is None:
            self.inbound.stage(peer, payload)
            self._table.message_received(peer)
        else:
            self._delivery.push(peer, payload)

    def take_notification(self, method: str, params: Mapping[str, Any]) -> None:
        """Handle ``connect`` or ``disconnect``. Raises `KeyError`, `TypeError` or `ValueError` for a malformed one."""
        fields = params.get(method, params)  # not nested in old versions
        node_id = NodeId(str(fields["id"]))
        if method == "connect":
            self._table.connected(node_id, _direction(fields), read_address(fields.get("address")))
        else:
            self._report(self._table.disconnected(node_id, "disconnected"))
            self._expected.fail(node_id, "disconnected")

    def ask(self) -> None:
        """Ask the node the table's questions; to be called after each event."""
        for question in self._table.questions:
            if question.delay:
                self._loop.call_later(question.delay, self._look_up, question)
            else:
                self._look_up(question)

    def resume(self, peer: NodeId) -> None:
        """Undo a pause of the inbound queue; queued payloads are delivered soon."""
        self._delivery.resume(peer)

    async def aclose(self, reason: str) -> None:
        """Stop asking, fail waiting callers, and report every peer as disconnected. Idempotent."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for queue in self.send_queues.values():
            queue.close(reason)
        self.send_queues.clear()
        self._expected.fail_all(reason)
        self._delivery.close(reason)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _report(self, events: Sequence[Event]) -> None:
        if self._closed:
            return
        for node_id, event in events:
            if isinstance(event, PeerInfo):
                self.send_queues[node_id] = SendQueue(
                    b'{"node_id":"%b","msg":"' % hexlify(node_id), self._limits, self._loop
                )
                self._expected.arrived(event)
            else:
                queue = self.send_queues.pop(node_id, None)
                if queue is not None:
                    queue.close(event)
            self._delivery.push(node_id, event)

    def _look_up(self, question: Question) -> None:
        if not self._closed:
            task = self._loop.create_task(self._find(question.node_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _find(self, node_id: NodeId) -> None:
        number = self._table.number_question()
        try:
            peers = (await self._rpc.call("listpeers", [str(node_id)], timeout=_PATIENCE))["peers"]
            entry = next((peer for peer in peers if peer["id"] == str(node_id)), None)
            events = self._table.answered(number, node_id, entry)
        except (OddwireError, TimeoutError, KeyError, TypeError, ValueError) as error:
            logger.debug("listpeers does not show %s: %r", node_id, error)
            events = self._table.unanswered(number, node_id)
        self._report(events)
        self.ask()


def _direction(fields: Mapping[str, Any]) -> Literal["in", "out"] | None:
    direction = fields.get("direction")
    return direction if direction in ("in", "out") else None
