"""echo: what you send comes back. The first thing to run against a node one is not sure of.

Two messages with their replies, one pair in each codec::

    Request       35841  0x8c01  msgpack   text, number        ->  Reply       35843  0x8c03
    BoltRequest   35845  0x8c05  bolt      number, data, note  ->  BoltReply   35847  0x8c07

A node that runs ``echo`` answers each with the same values, in the order they came::

    oddwire run echo --listen 127.0.0.1:9735
    oddwire send URI echo.Request text=hello

It also bounces what it does not understand: a payload of an odd type from 32768 on that no loaded extension knows
goes back unchanged. So any protocol can be tried on it before its other half is written. Only peers that dialed us
are bounced to, or two echo nodes would play ball for ever; up to 4 MiB wait for a peer that does not read, 64 MiB for
all of them, and what comes on top is dropped, which the log says. What belongs to a session is not bounced. Inside Core
Lightning nothing is: there, a plugin is given the types alone that its extensions have declared.
"""

from __future__ import annotations

import logging
from collections import deque

from oddwire import Application, Context, Extension, Message, NodeId, OddwireError, field, hookimpl, message, u64
from oddwire.app import TraceEvent
from oddwire.session import SESSION_TYPE

__all__ = ["BoltReply", "BoltRequest", "Reply", "Request", "extension"]

logger = logging.getLogger("oddwire.extension.echo")
_MOST_WAITING = 4 * 1024 * 1024
_MOST_WAITING_ALL = 64 * 1024 * 1024
_OVERHEAD = 64  # what a payload takes in memory beside its bytes, so that empty ones count too


@message(0x8C01)
class Request(Message):
    """Asks for `Reply`. ``number`` tells several apart."""

    text: str
    number: u64 = 0


@message(0x8C03)
class Reply(Message):
    """Says what `Request` said."""

    text: str
    number: u64 = 0


@message(0x8C05, codec="bolt")
class BoltRequest(Message):
    """Asks for `BoltReply`: BOLT 1's wire types, and a note in a TLV record of odd type."""

    number: u64 = 0
    data: bytes = b""
    note: str | None = field(tlv=1, default=None)


@message(0x8C07, codec="bolt")
class BoltReply(Message):
    """Says what `BoltRequest` said."""

    number: u64 = 0
    data: bytes = b""
    note: str | None = field(tlv=1, default=None)


class Bouncing:
    """The payloads that wait for one peer, and the task that sends them back in order, as long as it is connected."""

    all_waiting = 0
    """Bytes that wait for all peers."""

    def __init__(self, app: Application, peer: NodeId) -> None:
        self._queue: deque[bytes] = deque()
        self._peer = peer
        self._size = 0
        self._dropped = 0
        self.task = Context(app, "echo", app.peer(peer)).spawn(self._send(app, peer))

    def add(self, payload: bytes) -> None:
        """Send this one too, or drop it if too many wait."""
        size = len(payload) + _OVERHEAD
        if self._size + size > _MOST_WAITING or Bouncing.all_waiting + size > _MOST_WAITING_ALL:
            if not self._dropped:
                logger.info("%.8s does not read what is returned: the rest is dropped for now", self._peer)
            self._dropped += 1
            return
        self._count(size)
        self._queue.append(payload)

    def _count(self, size: int) -> None:
        self._size += size
        Bouncing.all_waiting += size

    async def _send(self, app: Application, peer: NodeId) -> None:
        try:
            while self._queue:
                payload = self._queue.popleft()
                await app.transport.send(peer, payload)
                self._count(-len(payload) - _OVERHEAD)
                logger.info("bounced 0x%s [%d bytes] to %.8s", payload[:2].hex(), len(payload), peer)
        except OddwireError:
            pass  # the peer has left without waiting for it
        finally:
            self.drop()

    def drop(self) -> None:
        """Send back nothing that still waits."""
        self._queue.clear()
        self._count(-self._size)
        dropped, self._dropped = self._dropped, 0
        if dropped:
            logger.info("%d payloads were not bounced to %.8s", dropped, self._peer)


class Echo(Extension):
    """An `Extension` with one hook more: it sees every message, also those without a schema."""

    def __init__(self) -> None:
        super().__init__("echo", version="1.0")
        self._bouncing: dict[NodeId, Bouncing] = {}

    @hookimpl
    def message_traced(self, app: Application, event: TraceEvent) -> None:
        """Bounce a payload that no loaded extension knows."""
        known = app.registry.lookup(event.type_id) is not None or event.type_id == SESSION_TYPE
        if event.direction != "received" or known or event.type_id < 32768 or event.type_id % 2 == 0:
            return
        info = app.peer(event.peer).info
        if info is None or info.direction == "out":
            return
        bouncing = self._bouncing.get(event.peer)
        if bouncing is None or bouncing.task.done():
            bouncing = self._bouncing[event.peer] = Bouncing(app, event.peer)
        bouncing.add(event.payload)

    def remove_peer(self, peer: NodeId) -> None:
        """Drop what waits for a peer that has left."""
        bouncing = self._bouncing.pop(peer, None)
        if bouncing is not None:
            bouncing.drop()


extension = Echo()


@extension.on(Request)
async def echo(context: Context, request: Request) -> Reply:
    """Answer with the same values."""
    return Reply(text=request.text, number=request.number)


@extension.on(BoltRequest)
async def bolt_echo(context: Context, request: BoltRequest) -> BoltReply:
    """Answer with the same values."""
    return BoltReply(number=request.number, data=request.data, note=request.note)


@extension.on_disconnect
async def left(context: Context, reason: str) -> None:
    """Keep nothing of a peer that has left."""
    extension.remove_peer(context.peer.node_id)


if __name__ == "__main__":
    extension.run()
