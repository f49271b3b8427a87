"""What an operator types: offers, answers to those of peers, and how far everything is."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Final

from oddwire import AppContext, NodeId
from oddwire.app import Router
from oddwire_extensions.filedrop.book import Drop
from oddwire_extensions.filedrop.files import SLICE, Source
from oddwire_extensions.filedrop.messages import Offer, Outcome, Withdraw
from oddwire_extensions.filedrop.names import safe_name
from oddwire_extensions.filedrop.quarantine import make_folder
from oddwire_extensions.filedrop.threads import in_thread
from oddwire_extensions.filedrop.transfers import Desk

__all__ = ["router"]

GLANCE: Final = 0.25  # seconds from one look at a transfer that is waited for to the next

router = Router()


@router.rpc("filedrop-send")
async def send(context: AppContext, node_id: NodeId, path: Path, desk: Desk, wait: bool = False) -> dict[str, object]:
    """Offer a file to a peer, connected or not; returns once the offer is on disk, with wait once it has ended."""
    path = await in_thread(_resolved, path)
    source = Source(path)
    try:
        await in_thread(source.open)
        size, mark, hashed = source.size, source.mark, hashlib.sha256()
        for at in range(0, size, SLICE):
            hashed.update(data := await in_thread(source.read, at, SLICE))
            context.progress(min(at + len(data), size), size)
        if source.mark != mark:
            raise ValueError(f"{path} is being written to: it has changed while it was read")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    finally:
        source.close()
    offer = Offer(
        key=os.urandom(16), name=os.fsencode(path.name).decode(errors="replace"), size=size, digest=hashed.digest()
    )
    async with context.store.transaction():
        number = await desk.book.add_outgoing(node_id, offer, path, mark)
        await context.app.peer(node_id).deliver(offer)
    return await _watched(context, desk, number) if wait else _shown(await _get(desk, number), desk)


@router.rpc("filedrop-offers")
async def offers(context: AppContext, desk: Desk) -> list[dict[str, object]]:
    """Show the files that peers offer, and that wait to be accepted."""
    return [_shown(drop, desk) for drop in await desk.book.incoming("offered")]


@router.rpc("filedrop-accept")
async def accept(context: AppContext, number: int, desk: Desk, directory: Path | None = None) -> dict[str, object]:
    """Accept a file that a peer offers, for a folder, by default that of filedrop-dir."""
    drop = await _get(desk, number)
    if drop.way != "in" or drop.state != "offered":
        raise ValueError(f"file {number} is not offered to us: filedrop-offers shows those that are")
    target = context.options["filedrop-dir"]
    if directory is None:
        await in_thread(make_folder, target)
    else:
        target = await in_thread(_resolved, directory)
        if not await in_thread(target.is_dir):
            raise ValueError(f"{directory} should be a folder that is there")
    await desk.accept(drop, target)
    return _shown(await _get(desk, number), desk)


@router.rpc("filedrop-refuse")
async def refuse(context: AppContext, number: int, desk: Desk, reason: str = "") -> dict[str, object]:
    """Refuse a file that a peer offers, or that was accepted and has not arrived; an own one is withdrawn."""
    drop = await _get(desk, number)
    if drop.way == "in":
        ended = await desk.end(drop, "refused", tell=Outcome(key=drop.key, outcome="refused", reason=reason[:500]))
    else:
        async with context.store.transaction():
            if ended := await desk.book.change(drop, "withdrawn", reason):
                await context.app.peer(drop.node_id).deliver(Withdraw(key=drop.key))
    if not ended:
        raise ValueError(f"file {number} has ended before: {drop.state}")
    return _shown(await _get(desk, number), desk)


@router.rpc("filedrop-status")
async def status(context: AppContext, desk: Desk, number: int | None = None) -> list[dict[str, object]]:
    """Show the state of all files, sent and received, or of one."""
    return [_shown(drop, desk) for drop in ([await _get(desk, number)] if number else await desk.book.all())]


@router.rpc("filedrop-wait")
async def wait(context: AppContext, number: int, desk: Desk) -> dict[str, object]:
    """Wait until a file has arrived, or has ended otherwise; shows how far it is."""
    return await _watched(context, desk, number)


async def _watched(context: AppContext, desk: Desk, number: int) -> dict[str, object]:
    while (drop := await _get(desk, number)).is_open:
        context.progress(desk.progress(drop), drop.size)
        await asyncio.sleep(GLANCE)
    return _shown(drop, desk)


async def _get(desk: Desk, number: int) -> Drop:
    drop = await desk.book.get(number)
    if drop is None:
        raise ValueError(f"there is no file {number}: filedrop-status shows those there are")
    return drop


def _shown(drop: Drop, desk: Desk) -> dict[str, object]:
    shown: dict[str, object] = {
        "number": drop.number,
        "direction": drop.way,
        "peer": drop.peer,
        "name": safe_name(drop.name),
        "size": drop.size,
        "sha256": drop.digest.hex(),
        "state": drop.state,
        "done": desk.progress(drop),
    }
    return shown | {name: text for name, text in (("path", drop.path), ("reason", drop.reason)) if text}


def _resolved(path: Path) -> Path:
    return path.expanduser().resolve()
