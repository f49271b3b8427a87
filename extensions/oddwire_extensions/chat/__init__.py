"""chat: lines of text between peers, each with a receipt. A whole small protocol to read and to copy.

::

    Say     35857  0x8c11  msgpack   text, number    one line; ``number`` is the sender's count
    Heard   35859  0x8c13  bolt      number          its receipt

A peer that connects is sent a first line, the text of the option ``--chat-greeting``. What you type is sent to every
connected peer, as the RPC method ``chat-say`` is the only one there is and so needs no name::

    oddwire run chat --listen 127.0.0.1:9735
    oddwire run chat --connect URI
    oddwire send URI chat.Say text=hello

It runs inside Core Lightning as well, where ``chat-say`` is a command of lightning-cli::

    oddwire plugin chat -o chat-plugin
    lightningd --plugin=$PWD/chat-plugin --chat-greeting=ahoy

Both types are odd, so a peer that does not run chat ignores them: it's OK to be odd.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import NewType

from oddwire import AppContext, Context, Extension, Message, Peer, TransportError, field, message, u32

__all__ = ["Heard", "Say", "extension"]

MAX_LENGTH = 2000
"""Characters in a line."""
PATIENCE = 10.0
"""Seconds that chat-say waits for peers that do not read."""

extension = Extension("chat", version="1.0")
Numbers = NewType("Numbers", "count[int]")


@message(0x8C13, codec="bolt")
class Heard(Message):
    """The receipt of the line with the same number."""

    number: u32


@message(0x8C11, replies=Heard, match="number")
class Say(Message):
    """One line of text."""

    text: str = field(max_length=MAX_LENGTH)
    number: u32 = 0


@extension.option("chat-greeting")
def greeting(value: str = "hello") -> str:
    """Send this line to every new peer; none if it is empty."""
    if len(value) > MAX_LENGTH:
        raise ValueError(f"should have at most {MAX_LENGTH} characters, not {len(value)}")
    return value


@extension.provide
def numbers() -> Numbers:
    """Return the numbers of the lines that this application says."""
    return Numbers(count(1))


@extension.on_connect
async def greet(context: Context, numbers: Numbers) -> None:
    """Send the first line to a new peer."""
    if text := context.options["chat-greeting"]:
        await context.peer.send(Say(text=text, number=next(numbers)))


@extension.on(Say)
async def log_line(context: Context, line: Say) -> Heard:
    """Log a line and return its receipt."""
    context.logger.info("%.8s says: %s", context.peer, line.text)
    return Heard(number=line.number)


@extension.on(Heard)
async def log_receipt(context: Context, receipt: Heard) -> None:
    """Log that a line has arrived."""
    context.logger.debug("%.8s has received line %d", context.peer, receipt.number)


@extension.rpc("chat-say")
async def say(context: AppContext, text: str, numbers: Numbers) -> dict[str, int]:
    """Send a line to every connected peer; returns its number, and the number of peers.

    One that has not read enough to take it after 10 seconds is left out.
    """
    line, peers = Say(text=text, number=next(numbers)), context.app.peers

    async def reach(peer: Peer) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                await peer.send(line)
        except (TransportError, TimeoutError):  # it has just disconnected, or does not read
            return False
        return True

    # To all at once: one that does not read keeps none of the others waiting
    reached = sum(await asyncio.gather(*map(reach, peers)))
    if not peers:
        context.logger.warning("no peer is connected, so this was not sent: %s", text)
    elif reached < len(peers):
        context.logger.warning("%d of %d peers did not take this: %s", len(peers) - reached, len(peers), text)
    return {"number": line.number, "peers": reached}


if __name__ == "__main__":
    extension.run()
