"""echo: answer every request with its own values. A first test of a node, and of a connection.

Two requests with their replies, one pair in each codec::

    Request       35841  0x8c01  msgpack   text, number        ->  Reply       35843  0x8c03
    BoltRequest   35845  0x8c05  bolt      number, data, note  ->  BoltReply   35847  0x8c07

A node that runs ``echo`` answers them in the order in which they arrive::

    oddwire run echo --listen 127.0.0.1:9735
    oddwire send URI echo.Request text=hello

It also bounces unknown messages: a payload of an odd type from 32768 on that no loaded extension knows is sent back
unchanged, so any protocol can be tried on it before its other half is written. Only peers that dialed us get payloads
back, or two echo nodes would bounce one for ever. Up to 4 MiB wait for a peer that does not read, 64 MiB for all peers;
what exceeds that is dropped and logged. Messages of sessions are not bounced. Inside Core Lightning nothing is bounced:
a plugin receives only the types that its extensions have declared.
"""

from __future__ import annotations

import asyncio
import contextlib
from weakref import WeakValueDictionary

from oddwire import Application, Context, Extension, Message, NodeId, TransportError, field, hookimpl, message, u64
from oddwire.app import TraceEvent
from oddwire.session import SESSION_TYPE

__all__ = ["BoltReply", "BoltRequest", "Reply", "Request", "extension"]

MAX_WAITING = 4 << 20
"""Bytes that wait for one peer."""
MAX_WAITING_ALL = 64 << 20
"""Bytes that wait for all peers, in the whole process."""
_OVERHEAD = 64  # what a payload takes in memory beside its bytes, so that empty ones count too


@message(0x8C01)
class Request(Message):
    """A request for `Reply`. ``number`` tells several apart."""

    text: str
    number: u64 = 0


@message(0x8C03)
class Reply(Message):
    """The values of a `Request`."""

    text: str
    number: u64 = 0


@message(0x8C05, codec="bolt")
class BoltRequest(Message):
    """A request for `BoltReply`: BOLT 1's wire types, and a note in a TLV record of odd type."""

    number: u64 = 0
    data: bytes = b""
    note: str | None = field(tlv=1, default=None)


@message(0x8C07, codec="bolt")
class BoltReply(Message):
    """The values of a `BoltRequest`."""

    number: u64 = 0
    data: bytes = b""
    note: str | None = field(tlv=1, default=None)


class Waiting:
    """The payloads that wait to be sent back to one peer, and the task of its connection that sends them in order."""

    total = 0
    """Bytes that wait for all peers of all applications in the process."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._payloads: asyncio.Queue[bytes] = asyncio.Queue()
        self._size = 0
        self._dropped = 0
        self.task = context.spawn(self._send())
        self.task.add_done_callback(lambda _: self._drop())

    def add(self, payload: bytes) -> None:
        """Send this one too, or drop it if too many wait."""
        size = len(payload) + _OVERHEAD
        if self._size + size <= MAX_WAITING and Waiting.total + size <= MAX_WAITING_ALL:
            self._count(size)
            self._payloads.put_nowait(payload)
            return
        if not self._dropped:
            self._context.logger.info("%.8s does not read what is bounced: the rest is dropped", self._context.peer)
        self._dropped += 1

    async def _send(self) -> None:
        with contextlib.suppress(TransportError):  # the peer has left without waiting for it
            while payload := await self._payloads.get():
                await self._context.peer.send_raw(int.from_bytes(payload[:2], "big"), payload[2:])
                self._count(-len(payload) - _OVERHEAD)
                if self._payloads.empty():
                    self._drop()

    def _drop(self) -> None:
        """Count nothing as waiting any more, and log how much was dropped."""
        self._count(-self._size)
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._context.logger.info("%d payloads were not bounced to %.8s", dropped, self._context.peer)

    def _count(self, size: int) -> None:
        self._size += size
        Waiting.total += size


class Echo(Extension):
    """An `Extension` with one more hook: it sees every message, also those without a schema.

    ``on_unknown`` takes types that are known when the extension is written; these are all that nobody else takes.
    """

    def __init__(self) -> None:
        super().__init__("echo", version="1.0")
        # Of each connection to which something was bounced: its task, which ends with it, keeps them alive
        self._waiting: WeakValueDictionary[tuple[Application, NodeId], Waiting] = WeakValueDictionary()

    @hookimpl
    def message_traced(self, app: Application, event: TraceEvent) -> None:
        """Bounce a payload that no loaded extension knows, if its peer has dialed us."""
        if event.handled or event.message is not None or event.error is not None or event.type_id == SESSION_TYPE:
            return
        peer = app.peer(event.peer)
        if event.type_id < 32768 or event.type_id % 2 == 0 or peer.info is None or peer.info.direction == "out":
            return
        waiting = self._waiting.get((app, peer.node_id))
        if waiting is None or waiting.task.cancelling():  # the connection has ended, and there is another one
            waiting = self._waiting[app, peer.node_id] = Waiting(Context(app, self.name, peer))
        waiting.add(event.payload)


extension = Echo()


@extension.on(Request)
async def echo(context: Context, request: Request) -> Reply:
    """Answer with the same values."""
    return Reply(text=request.text, number=request.number)


@extension.on(BoltRequest)
async def bolt_echo(context: Context, request: BoltRequest) -> BoltReply:
    """Answer with the same values."""
    return BoltReply(number=request.number, data=request.data, note=request.note)


if __name__ == "__main__":
    extension.run()
