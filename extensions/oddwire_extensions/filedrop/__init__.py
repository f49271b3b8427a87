"""filedrop: files of any size to a peer that accepts them, resumed where they were cut.

::

    Offer      35889  0x8c31  msgpack  reliable     a file's name, size and SHA-256, under a random key
    Outcome    35891  0x8c33  msgpack  reliable     it has arrived, is refused, or has failed
    Withdraw   35893  0x8c35  msgpack  reliable     it is offered no more
    Fetch      35895  0x8c37  msgpack  a request    for a stream of  Chunk  35897  0x8c39  bolt

Offer a file; the peer's operator accepts it, and it is fetched from then on, whenever both are connected::

    filedrop-send NODE_ID disk.img
    filedrop-offers
    filedrop-accept 1
    filedrop-wait 1

or accepts what certain nodes send, up to a size::

    oddwire run filedrop --listen 127.0.0.1:9735 --data-dir data --filedrop-accept-from NODE_ID

The receiver fetches from the byte that is safely on its disk, so either side may be killed at any moment. A file leaves
the quarantine once its SHA-256 is the one that was offered. docs/filedrop.md says what strangers can do, and cannot.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final

from oddwire import AppContext, Context, Extension, Limits, OddwireError
from oddwire_extensions.filedrop import commands, options
from oddwire_extensions.filedrop.messages import CHUNK, Chunk, Fetch, Offer, Outcome, Withdraw
from oddwire_extensions.filedrop.names import safe_name
from oddwire_extensions.filedrop.quarantine import make_folder
from oddwire_extensions.filedrop.threads import in_thread
from oddwire_extensions.filedrop.transfers import Desk

__all__ = ["CHUNK", "Chunk", "Desk", "Fetch", "Offer", "Outcome", "Withdraw", "extension"]

DAY: Final = 86_400

extension = Extension("filedrop", version="1.0", limits=Limits(requests=4, messages_per_second=20))
extension.include(options.router)
extension.include(commands.router)


# Life ---------------------------------------------------------------------------------------------------


@extension.provide
async def desk(context: AppContext) -> Desk:
    """Return the transfers of this application."""
    found = Desk(context)
    await found.book.prepare()
    return found


@extension.task
async def fetch_accepted(context: AppContext, desk: Desk) -> None:
    """Fetch what is accepted."""
    await desk.run()


@extension.on_connect
async def connected(context: Context, desk: Desk) -> None:
    """Go on with the files of a peer that is there again."""
    desk.connected(context.peer.node_id)


@extension.every(600, at_start=True)
async def clean_up(context: AppContext, desk: Desk) -> None:
    """Drop what is too old, and parts of files that are received no more."""
    days = context.options["filedrop-days"]
    for drop in await desk.book.untouched(days * DAY):
        if drop.way == "in" and drop.state == "offered":
            await desk.book.delete(drop)  # nothing to look at, and strangers' offers should push nothing else out
        elif not desk.is_active(drop):
            await desk.end(drop, "expired", f"nothing has gone on for {days:g} days")
    await desk.sweep(context.options["filedrop-dir"], days * DAY)


# Messages of peers --------------------------------------------------------------------------------------


@extension.on(Offer, reliable=True)
async def offered(context: Context, offer: Offer, desk: Desk) -> None:
    """Keep an offer, and accept it if the options say so."""
    node_id, info = context.peer.node_id, context.peer.info
    friend = node_id in context.options["filedrop-accept-from"]
    dialed = info is not None and info.direction == "out"
    stranger = not (friend or dialed or await desk.book.knows(node_id))
    number = await desk.book.add_incoming(node_id, offer, stranger=stranger)
    if number is None:
        return
    context.logger.info("%.8s offers file %d: %s, %d bytes", context.peer, number, safe_name(offer.name), offer.size)
    drop = await desk.book.get(number)
    if drop is not None and friend and offer.size <= context.options["filedrop-accept-size"]:
        target = context.options["filedrop-dir"]
        try:
            await in_thread(make_folder, target)
            await desk.accept(drop, target)
        except (ValueError, OSError) as error:
            context.logger.warning("%.8s: file %d waits to be accepted: %s", context.peer, number, error)


@extension.on(Fetch)
async def fetch(context: Context, request: Fetch, desk: Desk) -> AsyncIterator[Chunk]:
    """Answer with the bytes of a file that was offered to this peer: as fast as it writes them down."""
    async with aclosing(desk.reader.read(context.peer.node_id, request)) as chunks:
        async for chunk in chunks:
            yield chunk


@extension.on(Outcome, reliable=True)
async def ended(context: Context, outcome: Outcome, desk: Desk) -> None:
    """Write down what has become of an offer of ours."""
    drop = await desk.book.find("out", context.peer.node_id, outcome.key)
    if drop is not None and await desk.book.change(drop, outcome.outcome, outcome.reason):
        context.logger.info("%.8s: file %d, %s: %s", context.peer, drop.number, drop.name, outcome.outcome)


@extension.on(Withdraw, reliable=True)
async def withdrawn(context: Context, message: Withdraw, desk: Desk) -> None:
    """Forget an offer, or what has arrived of it."""
    drop = await desk.book.find("in", context.peer.node_id, message.key)
    if drop is not None and drop.state == "offered":
        await desk.book.delete(drop)
    elif drop is not None:
        await desk.end(drop, "withdrawn")


@extension.on_undelivered(Offer)
async def lost(context: Context, offer: Offer, error: OddwireError, desk: Desk) -> None:
    """Write down that an offer was refused by the peer's program, or did not reach it."""
    drop = await desk.book.find("out", context.peer.node_id, offer.key)
    if drop is not None and await desk.book.change(drop, "refused", str(error)):
        context.logger.warning("%.8s: file %d, %s, was not offered: %s", context.peer, drop.number, drop.name, error)


if __name__ == "__main__":
    extension.run()
