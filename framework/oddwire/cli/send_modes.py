"""What `oddwire send` does with a message: send it, or ask for a reply or a stream."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from oddwire.app import Peer, hookimpl
from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import FAILED
from oddwire.errors import NotSupported, OddwireError, RemoteFailure, RemoteRpcError, ReplyTimeout
from oddwire.schema import Message
from oddwire.session.wire.frame_types import describe_code

__all__ = ["Connection", "Mode", "PlainSend", "Request", "Stream", "report"]


class Connection:
    """A plugin that sets ``gone`` when the peer disconnects."""

    name = "oddwire.cli.send"

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    @hookimpl
    def peer_disconnected(self) -> None:
        """Take note of it."""
        self.gone.set()


class Mode(Protocol):
    """One way to send a message."""

    async def run(self, peer: Peer, printer: Printer) -> int:
        """Do it, and return the command's exit code. What comes back is traced by the application."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainSend:
    """Sends a message that asks for nothing."""

    message: Message
    force: bool

    async def run(self, peer: Peer, printer: Printer) -> int:
        """Return 0. Raises as `Peer.send` does."""
        await peer.send(self.message, force=self.force)
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Asks for one reply, of one of the classes ``replies``. ``name`` is the message's, in errors."""

    message: Message
    name: str
    replies: Sequence[type[Message]]
    timeout: float
    plain: bool
    force: bool

    async def run(self, peer: Peer, printer: Printer) -> int:
        """Return 0 if the reply came."""
        try:
            reply: type[Message] = _union(self.replies)
            await peer.request(self.message, reply, timeout=self.timeout, plain=self.plain, force=self.force)
        except RemoteFailure as error:
            return report(printer, peer, f"{self.name}: {error}", error)
        except ReplyTimeout as error:
            hint = ""
            if error.sent and not self.plain and peer.connected and not await peer.wait_for_hello():
                hint = "; it has no session, so this went as a plain message, which it may not answer"
            return report(printer, peer, f"{error}{hint}", error)
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Asks for a stream of messages, each of one of the classes ``replies``, and ends after ``limit`` of them."""

    message: Message
    name: str
    replies: Sequence[type[Message]]
    timeout: float
    limit: int | None
    force: bool

    async def run(self, peer: Peer, printer: Printer) -> int:
        """Return 0 if the stream ended, or its ``limit`` was reached."""
        begun, count = time.monotonic(), 0
        part: type[Message] = _union(self.replies)
        # No more are asked for than are wanted
        parts = peer.stream(self.message, part, timeout=self.timeout, credit=self.limit, force=self.force)
        try:
            async with contextlib.aclosing(parts):
                async for _ in parts:
                    count += 1
                    if count == self.limit:
                        break
        except NotSupported as error:
            if error.feature != "session":
                raise
            text = f"{error}: the peer should run the extension with oddwire, or what speaks its session protocol"
            return report(printer, peer, f"{text}; --request --plain asks for a single reply", error)
        except RemoteFailure as error:
            return report(printer, peer, f"{self.name}, after {_parts(count)}: {error}", error)
        except ReplyTimeout as error:
            return report(printer, peer, f"{error}; --timeout is for each part", error)
        ended = "was cancelled at --limit" if count == self.limit else "ended"
        printer.remark(f"the stream {ended} after {_parts(count)}, {time.monotonic() - begun:.2f} s")
        return 0


def report(printer: Printer, peer: Peer, text: str, error: OddwireError) -> int:
    """Print why an exchange failed, with the code of a peer's failure; with JSON also as an event. Return 1."""
    code = data = None
    if isinstance(error, RemoteRpcError):
        code, data = error.code, error.data
        text += f" (code {code}{'' if data is None else f', data {data!r:.2000}'})"
    elif isinstance(error, RemoteFailure):
        code = error.code
        text += f" ({describe_code(code)})"
    if printer.as_json:
        printer.event(Event(event="error", peer=peer.node_id, text=text, code=code, data=data))
    printer.remark(f"oddwire: {text}")
    return FAILED


def _union(classes: Sequence[type[Message]]) -> type[Message]:
    """Return the union of some classes, which `Peer.request` takes where one class could be."""
    union: type[Message] = classes[0]
    for cls in classes[1:]:
        union = union | cls  # type: ignore[assignment]
    return union


def _parts(count: int) -> str:
    return f"{count} part{'' if count == 1 else 's'}"
