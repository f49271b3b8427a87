"""What is sent to a partition's peers: gathered into batches, of which one is under way, until the gateway has it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from oddwire.errors import ConnectionClosed, EncodeError
from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.proto.type_numbers import REFUSED
from oddwire.transports.base import MAX_PAYLOAD, MIN_PAYLOAD, not_connected, wrong_length
from oddwire.transports.nats.packing import MAX_BATCH, Accepted, Outgoing
from oddwire.transports.nats.peer_connections import PeerConnection, StreamMessage

__all__ = ["MOST_WAITING", "Outbound"]

logger = get_logger("oddwire.transports.nats")

MOST_WAITING: Final = 1 << 20
"""Bytes for one peer that wait for the gateway, above which `Outbound.send` waits."""
_OVERHEAD: Final = 64  # bytes counted per payload besides its length
_REFUSED_TYPES: Final = {type_id.to_bytes(2, "big"): type_id for type_id in REFUSED}


class Outbound:
    """Payloads for the peers of one partition, in order for each of their connections.

    ``ask`` sends a request to the gateway until it is answered. ``failed(status, text)`` is called, and nothing more is
    sent, if the gateway takes nothing of this owner any more. ``acknowledge`` is called with a stream message given to
    `handled` when the gateway has accepted what was sent before; what a peer that reads too slowly keeps waiting is not
    waited for, but for messages of that peer itself.
    """

    def __init__(
        self,
        partition: int,
        term: int,
        run: int,
        *,
        ask: Callable[[bytes], Awaitable[bytes]],
        failed: Callable[[str, str], object],
        acknowledge: Callable[[StreamMessage], object],
    ) -> None:
        self._partition, self._term, self._run = partition, term, run
        self._ask = ask
        self._failed = failed
        self._acknowledge = acknowledge
        self._queue: deque[tuple[PeerConnection | None, bytes]] = deque()
        self._appended = 0  # payloads, since the start
        self._passed = 0  # of these, how many the gateway has accepted, or that wait elsewhere, or for nobody
        self._handled: deque[tuple[int, StreamMessage]] = deque()  # and how many have to be passed before
        self._batch = 0
        self._wake: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._closed = ""

    def _is_closed(self) -> bool:
        return bool(self._closed)

    # Sending ----------------------------------------------------------------------------------------

    def send_nowait(self, connection: PeerConnection, payload: bytes) -> bool:
        """Queue a payload, or return False if `send` would wait. Raises as `Transport.send` does."""
        self._check(connection)
        if not MIN_PAYLOAD <= len(payload) <= MAX_PAYLOAD:
            raise wrong_length(len(payload))
        if (type_id := _REFUSED_TYPES.get(payload[:2])) is not None:
            raise EncodeError(
                f"nodes handle {REFUSED[type_id]} messages themselves and send none for others", type_id=type_id
            )
        if connection.size >= MOST_WAITING or connection.waiting:
            return False
        self._take(connection, payload)
        return True

    async def send(self, connection: PeerConnection, payload: bytes) -> None:
        """Queue a payload, when there is room. Raises `ConnectionClosed` if the connection ends meanwhile."""
        if self.send_nowait(connection, payload):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        connection.waiting.append(turn)
        try:
            await turn
            if self._closed or connection.gone or connection.unreachable:
                raise ConnectionClosed(
                    f"{connection.peer}: {connection.gone or self._closed or 'the connection has ended'}"
                )
            self._take(connection, payload)
        finally:
            connection.waiting.remove(turn)
            del turn  # its error's traceback holds this frame
            self._grant(connection)  # for the next; and if cancelled, the turn was not used

    def _check(self, connection: PeerConnection) -> None:
        if self._closed or connection.gone or connection.unreachable:
            raise not_connected(connection.peer)

    def _take(self, connection: PeerConnection, payload: bytes) -> None:
        connection.size += len(payload) + _OVERHEAD
        if connection.full:
            connection.held.append(payload)
        else:
            self._append(connection, payload)

    def _append(self, connection: PeerConnection, payload: bytes) -> None:
        self._queue.append((connection, payload))
        self._appended += 1
        if self._wake is not None:
            if not self._wake.done():
                self._wake.set_result(None)
            self._wake = None

    @staticmethod
    def _grant(connection: PeerConnection) -> None:
        waiting = connection.waiting
        if waiting and not waiting[0].done() and connection.size < MOST_WAITING:
            waiting[0].set_result(None)

    # Connections ------------------------------------------------------------------------------------

    def has_room(self, connection: PeerConnection) -> None:
        """Send what was held for a connection that was full."""
        connection.roomy = True
        if not connection.full:
            return
        connection.full = False
        held, messages = connection.held, connection.unacknowledged
        while held:
            self._append(connection, held.popleft())
        connection.unacknowledged = []
        for message in messages:
            self._await_passing(message)

    def over(self, connection: PeerConnection, reason: str) -> None:
        """Drop what waits for a connection that has ended, and fail its senders."""
        connection.held.clear()
        connection.full = False
        for turn in connection.waiting:
            if not turn.done():
                turn.set_exception(ConnectionClosed(f"{connection.peer}: {reason}"))
        messages, connection.unacknowledged = connection.unacknowledged, []
        for message in messages:
            self._await_passing(message)
        self._call_idle(connection)

    async def until_idle(self, connection: PeerConnection) -> None:
        """Wait until the gateway has accepted all that was sent to a connection, or it has ended."""
        if connection.size and not (connection.gone or connection.unreachable):
            idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def call() -> None:
                if not idle.done():
                    idle.set_result(None)

            connection.idle.append(call)
            try:
                await idle
            finally:
                if call in connection.idle:
                    connection.idle.remove(call)

    @staticmethod
    def _call_idle(connection: PeerConnection) -> None:
        calls, connection.idle = connection.idle, []
        for call in calls:
            call()

    # Acknowledging ----------------------------------------------------------------------------------

    def handled(self, message: StreamMessage, connections: list[PeerConnection]) -> None:
        """Acknowledge a message when what was sent until now is accepted; ``connections`` are those of its peers."""
        message.waits = 1
        for connection in connections:
            if connection.held:
                message.waits += 1
                connection.unacknowledged.append(message)
        self._await_passing(message)

    def _await_passing(self, message: StreamMessage) -> None:
        if self._passed >= self._appended:
            self._release(message)
        else:
            self._handled.append((self._appended, message))

    def _release(self, message: StreamMessage) -> None:
        message.waits -= 1
        if not message.waits and not self._closed:
            self._acknowledge(message)

    def _pass(self, count: int) -> None:
        self._passed += count
        handled, passed = self._handled, self._passed
        while handled and handled[0][0] <= passed:
            self._release(handled.popleft()[1])
        if passed >= self._appended and self._drained is not None:
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None

    # To the gateway ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send batches, one after the other, until cancelled, or until the gateway takes no more."""
        while not self._is_closed():
            taken = self._next_batch()
            if not taken:
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
                continue
            self._batch += 1
            payloads = [(connection.number, payload) for connection, payload in taken]
            request = Outgoing(self._partition, self._term, self._run, self._batch, payloads).pack()
            answer = Accepted.unpack(await self._ask(request))
            if self._is_closed():
                return
            if answer.status:
                self.close(answer.text or answer.status)
                self._failed(answer.status, answer.text)
                return
            self._accepted(taken, answer)

    def _next_batch(self) -> list[tuple[PeerConnection, bytes]]:
        queue, size, skipped = self._queue, 0, 0
        taken: list[tuple[PeerConnection, bytes]] = []
        while queue and size < MAX_BATCH:
            connection, payload = queue.popleft()
            if connection is None or connection.gone or connection.unreachable:
                skipped += 1
                continue
            connection.roomy = False
            taken.append((connection, payload))
            size += len(payload) + _OVERHEAD
        if skipped:
            self._pass(skipped)
        return taken

    def _accepted(self, taken: list[tuple[PeerConnection, bytes]], answer: Accepted) -> None:
        connections = {connection.number: connection for connection, _ in taken}
        again: dict[PeerConnection, list[bytes]] = {}
        for index, code, text in answer.refused:
            if not 0 <= index < len(taken):
                continue
            connection, payload = taken[index]
            if code == "gone":
                if not connection.unreachable:
                    connection.unreachable = True
                    self.over(connection, "the connection has ended")
            elif code == "full":  # since it had a former owner
                again.setdefault(connection, []).append(payload)
            else:
                type_id = int.from_bytes(payload[:2], "big")
                logger.error(
                    "the gateway refused a payload of type %d to %s: %s", type_id, connection.peer, printable(text)
                )
        for number in answer.full:
            named = connections.get(number)
            if named is not None:
                self._is_full(named)
        for connection, payload in taken:
            connection.size -= len(payload) + _OVERHEAD
        for connection, payloads in again.items():
            self._send_again(connection, payloads)
        self._pass(len(taken))
        for connection in connections.values():
            if connection.waiting:
                self._grant(connection)
            if connection.idle and not connection.size:
                self._call_idle(connection)

    def _send_again(self, connection: PeerConnection, payloads: list[bytes]) -> None:
        """Keep payloads that were sent to a connection that is full, before all others for it."""
        self._is_full(connection)
        if connection.gone or connection.unreachable:
            return
        connection.size += sum(len(payload) + _OVERHEAD for payload in payloads)
        if connection.full:
            connection.held.extendleft(reversed(payloads))
            self._keep_messages(connection)
        else:
            self._queue.extendleft((connection, payload) for payload in reversed(payloads))
            self._appended += len(payloads)

    def _is_full(self, connection: PeerConnection) -> None:
        """Hold what waits for a connection, and the messages that this is the answer to, until it has room."""
        if connection.full or connection.roomy or connection.gone or connection.unreachable:
            return  # it had room again before we were told that it was full
        connection.full = True
        queue, kept = self._queue, deque[tuple[PeerConnection | None, bytes]]()
        for to, payload in queue:
            if to is connection:
                connection.held.append(payload)
                kept.append((None, b""))  # keeps the count
            else:
                kept.append((to, payload))
        self._queue = kept
        self._keep_messages(connection)

    def _keep_messages(self, connection: PeerConnection) -> None:
        """Acknowledge messages of a peer no sooner than the answers to them that are held now."""
        if connection.held:
            for _, message in self._handled:
                if connection.peer in message.peers and message not in connection.unacknowledged:
                    message.waits += 1
                    connection.unacknowledged.append(message)

    # The end ----------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Wait until the gateway has accepted all that it takes."""
        if self._passed < self._appended and not self._closed:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def close(self, reason: str) -> None:
        """Send, accept and acknowledge nothing more."""
        self._closed = self._closed or reason
        self._queue.clear()
        for future in (self._wake, self._drained):
            if future is not None and not future.done():
                future.set_result(None)
        self._wake = self._drained = None
