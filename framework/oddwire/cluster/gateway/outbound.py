"""What workers send to peers: checked, then handed to the transport, or queued for peers that read slowly."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from oddwire.cluster.gateway.inbound import Inbound
from oddwire.cluster.gateway.limits import GatewayLimits
from oddwire.cluster.gateway.owners import Owners, Refused
from oddwire.cluster.gateway.partition_queue import OVERHEAD
from oddwire.cluster.gateway.peer_conns import Conn
from oddwire.cluster.gateway.refusals import Refusals
from oddwire.errors import OddwireError, PeerNotConnected
from oddwire.log_limits import get_logger
from oddwire.proto.type_numbers import REFUSED
from oddwire.transports.base import MAX_PAYLOAD, MIN_PAYLOAD, Transport, fast_send
from oddwire.transports.nats.packing import Accepted, MalformedBatch, Outgoing

__all__ = ["Outbound"]

logger = get_logger("oddwire.cluster.gateway")

_RESERVED: Final = {type_id.to_bytes(2, "big"): name for type_id, name in REFUSED.items()}
_LONGEST: Final = 2 << 20  # bytes of a request: more than any batch has


class _Unsent:
    """What waits to be sent to one peer."""

    __slots__ = ("full", "payloads", "size", "task")

    def __init__(self) -> None:
        self.payloads: deque[bytes] = deque()
        self.size = 0
        self.full = False
        self.task: asyncio.Task[None] | None = None


class Outbound:
    """Takes batches of the owners, each once, and sends what is in them, in order for each peer."""

    def __init__(
        self, transport: Transport, inbound: Inbound, owners: Owners, limits: GatewayLimits, refusals: Refusals
    ) -> None:
        self.unsent = 0
        """Bytes that wait for peers."""
        self._transport = transport
        self._send_fast = fast_send(transport)
        self._inbound = inbound
        self._owners = owners
        self._limits = limits
        self._refusals = refusals
        self._by_conn: dict[int, _Unsent] = {}
        self._ending: set[asyncio.Task[None]] = set()
        inbound.on_gone = self._gone

    def take(self, raw: bytes, run: int) -> bytes:
        """Return the answer to a request, whatever its bytes are; ``run`` is ours, 0 if there is none."""
        try:
            return self._take(raw, run).pack()
        except MalformedBatch as error:
            code, text = "malformed", str(error)
        except Refused as refused:
            code, text = refused.code, refused.text
        self._refusals.add(code, text)
        return Accepted(code, text).pack()

    def _take(self, raw: bytes, run: int) -> Accepted:
        if len(raw) > _LONGEST:
            raise Refused("malformed", f"a request to send has at most {_LONGEST} bytes, not {len(raw)}")
        batch = Outgoing.unpack(raw)
        if batch.run != run or not run:
            raise Refused(
                "run", f"this gateway is in run {run}, not {batch.run}" if run else "this gateway has no lease"
            )
        owner = self._owners.check(batch.partition, batch.term)
        if batch.batch == owner.batch and batch.batch:
            return owner.answer
        if batch.batch != owner.batch + 1:
            raise Refused("batch", f"after batch {owner.batch} of partition {batch.partition} comes no {batch.batch}")
        owner.answer = self._accept(batch)
        owner.batch = batch.batch
        return owner.answer

    def _accept(self, batch: Outgoing) -> Accepted:
        conns = self._inbound.table.conns
        refused: list[tuple[int, str, str]] = []
        was_full = {number for number, unsent in self._by_conn.items() if unsent.full}
        touched: dict[int, None] = {}
        wrong: dict[str, tuple[int, str]] = {}
        for index, (number, payload) in enumerate(batch.payloads):
            conn = conns.get(number)
            reason = _wrong(payload)
            if conn is None or conn.peer.partition != batch.partition:
                reason = ("gone", f"connection {number} of partition {batch.partition} has ended, or never was")
            elif reason is None and number in was_full:
                reason = ("full", f"connection {number} takes nothing until it has room")
            if reason is None and conn is not None:
                reason = self._send(conn, payload)
                touched[number] = None
            if reason is not None:
                code, text = reason
                refused.append((index, code, text))
                wrong[code] = (wrong.get(code, (0, ""))[0] + 1, text)
        for code, (count, text) in wrong.items():
            if code != "gone":  # which may happen to any worker
                self._refusals.add(code, text, count)
        return Accepted(refused=refused, full=[number for number in touched if self._is_full(number)])

    def _send(self, conn: Conn, payload: bytes) -> tuple[str, str] | None:
        """Send, or queue; return why neither was possible."""
        unsent = self._by_conn.get(conn.number)
        if unsent is None:
            try:
                if self._send_fast(conn.peer.node_id, payload):
                    return None
            except PeerNotConnected as error:
                return "gone", str(error)
            except OddwireError as error:
                return "refused", str(error)
            unsent = self._by_conn[conn.number] = _Unsent()
            unsent.task = asyncio.create_task(self._drain(conn, unsent), name=f"sends to {conn.peer.node_id}")
        unsent.payloads.append(payload)
        size = len(payload) + OVERHEAD
        unsent.size += size
        self.unsent += size
        return None

    def _is_full(self, number: int) -> bool:
        unsent = self._by_conn.get(number)
        if unsent is None:
            return False
        unsent.full = unsent.full or unsent.size > self._limits.peer_unsent or self.unsent > self._limits.unsent
        return unsent.full

    async def _drain(self, conn: Conn, unsent: _Unsent) -> None:
        """Send what waits for one connection, in order; then it is sent to directly again."""
        while unsent.payloads:
            payload = unsent.payloads.popleft()
            try:
                await self._transport.send(conn.peer.node_id, payload)
            except OddwireError as error:
                logger.warning("a payload of %d bytes for %s is lost: %s", len(payload), conn.peer.node_id, error)
            size = len(payload) + OVERHEAD
            unsent.size -= size
            self.unsent -= size
            if unsent.full and unsent.size * 2 <= self._limits.peer_unsent and self.unsent <= self._limits.unsent:
                unsent.full = False
                self._inbound.give_room(conn)
        self._by_conn.pop(conn.number, None)
        if unsent.full:  # as too much waits for others
            self._inbound.give_room(conn)

    def _gone(self, conn: Conn) -> None:
        """Drop what waits for a connection that has ended."""
        unsent = self._by_conn.pop(conn.number, None)
        if unsent is None:
            return
        self.unsent -= unsent.size
        unsent.payloads.clear()
        unsent.size = 0
        if unsent.task is not None:
            unsent.task.cancel()
            self._ending.add(unsent.task)
            unsent.task.add_done_callback(self._ending.discard)

    async def aclose(self) -> None:
        """Drop all that waits, and end its tasks."""
        tasks = [*self._ending, *(unsent.task for unsent in self._by_conn.values() if unsent.task is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _wrong(payload: bytes) -> tuple[str, str] | None:
    """Return what nobody may send: a type that nodes keep to themselves, a payload of no possible length."""
    if not MIN_PAYLOAD <= len(payload) <= MAX_PAYLOAD:
        return "length", f"a payload has {MIN_PAYLOAD} to {MAX_PAYLOAD} bytes, not {len(payload)}"
    name = _RESERVED.get(payload[:2])
    if name is not None:
        return "reserved", f"nodes send {name} themselves, and nothing of that type for anybody else"
    return None
