"""One frame as a line of a log: its kind, its numbers, and the message that it carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from oddwire.errors import MalformedMessage
from oddwire.printable import printable
from oddwire.session.wire.frame_types import (
    Ack,
    Cancel,
    Data,
    Failure,
    Fragment,
    Hello,
    HelloFlag,
    Reply,
    ReplyFlag,
    Request,
    Scope,
    describe_code,
)
from oddwire.session.wire.frames import addresses, decode

__all__ = ["summary"]

_TEXT: Final = 200  # characters of a failure's text


def summary(payload: bytes, title_of: Callable[[int], str]) -> str:
    """Return a frame in words; ``title_of`` returns the name of a message type. Raises nothing."""
    try:
        to, sender = addresses(payload)
        frame = decode(payload)
    except MalformedMessage as error:
        return f"unreadable frame of {len(payload)} bytes: {printable(str(error))}"
    return f"{_content(frame, title_of)}; {len(payload)} bytes from {sender:08x} to {f'{to:08x}' if to else 'all'}"


def _content(frame: object, title_of: Callable[[int], str]) -> str:
    def inner(content: bytes) -> str:
        return f"{title_of(int.from_bytes(content[:2], 'big'))} [{len(content)} bytes]" if content else "nothing"

    match frame:
        case Hello():
            spoken = ", ".join(f"{one.name} {'|'.join(one.versions)}" for one in frame.extensions)
            flags = "".join(f" {flag.name}".lower() for flag in HelloFlag if frame.flags & flag)
            return printable(f"hello{flags}, program {frame.program:016x}: {spoken or 'no extensions'}")
        case Request():
            stream = f", a stream with credit {frame.credit}" if frame.credit else ""
            wait = "" if frame.wait_ms is None else f", waits {frame.wait_ms} ms"
            return f"request {frame.id}{', urgent' if frame.urgent else ''}{stream}{wait}: {inner(frame.content)}"
        case Reply():
            if frame.flags & ReplyFlag.END:
                return f"end of stream {frame.id}"
            return f"{'part' if frame.flags & ReplyFlag.PART else 'reply'} of {frame.id}: {inner(frame.content)}"
        case Failure():
            scope = frame.scope.name.lower()
            return f"failure of {scope} {frame.id}, {describe_code(frame.code)}: {printable(frame.text[:_TEXT])}"
        case Cancel():
            return f"cancel of {frame.scope.name.lower()} {frame.id}"
        case Fragment():
            return f"fragment of transfer {frame.transfer}, piece {frame.piece} of {frame.total} bytes"
        case Data():
            where = f"lane {frame.lane:016x}, epoch {frame.epoch}, base {frame.base}"
            return f"data {frame.sequence} of {where}: {inner(frame.content)}"
        case Ack():
            what = "stream" if frame.scope is Scope.REQUEST else "lane"
            refused = f", {len(frame.failures)} refused" if frame.failures else ""
            return f"ack of {what} {frame.id:x} up to {frame.value}{refused}"
    return "frame of an unknown kind"
