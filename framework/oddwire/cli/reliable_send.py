"""Reliable delivery by `oddwire send`: it ends once the message has taken effect at the peer, or time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from oddwire.app import Peer, hookimpl
from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import FAILED
from oddwire.durations import duration
from oddwire.errors import NotSupported, OddwireError, QuotaExceeded, RemoteFailure
from oddwire.schema import Message, schema_of

__all__ = ["Delivery"]

_LOOK: Final = 0.1  # seconds between looks at what waits in the store, for a message of an earlier command


class _Watch:
    """A plugin that knows whether the peer is connected, and which of our messages were lost."""

    name = "oddwire.cli.send.delivery"

    def __init__(self) -> None:
        self.there = asyncio.Event()
        self.lost: list[tuple[Message | None, OddwireError]] = []

    @hookimpl
    def peer_connected(self) -> None:
        self.there.set()

    @hookimpl
    def peer_disconnected(self) -> None:
        self.there.clear()

    @hookimpl
    def delivery_failed(self, message: Message | None, error: OddwireError) -> None:
        self.lost.append((message, error))


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Delivers one message, and what waits for the peer before it. ``store`` is its file; None ends with the process.

    If an equal message waits already, as an earlier command has left it, that one is waited for, and no other is added.
    """

    message: Message
    name: str
    extension: str
    timeout: float
    store: Path | None
    command: str
    """The command that goes on with what waits, for people."""
    watch: _Watch = field(default_factory=_Watch)

    async def run(self, peer: Peer, printer: Printer) -> int:
        """Return 0 once it is delivered. Raises as `Peer.deliver` does."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        waiting = [] if self.store is None else await peer.pending()
        former = next((one for one in waiting if one.reliable and one.message == self.message), None)
        receipt = None
        if former is None:
            receipt = await peer.deliver(self.message)
        else:
            printer.remark(f"goes on with the {self.name} that has waited for {duration(former.age)} already")
        try:
            async with asyncio.timeout(self.timeout):
                await self._reach(peer)
                await (self._former_delivered(peer) if receipt is None else receipt.delivered())
        except TimeoutError:
            near = "" if peer.connected else f": {peer} cannot be reached"
            return await self._explain(
                peer, printer, f"{self.name} was not delivered in {duration(self.timeout)}{near}"
            )
        except NotSupported as error:
            return await self._explain(peer, printer, f"{self.name} was not delivered: {error}")
        except (RemoteFailure, QuotaExceeded) as error:  # which the application has reported with its code
            printer.remark(f"oddwire: {self.name} was not delivered, and is not sent again: {error}")
            return FAILED
        printer.event(
            Event(
                event="delivered",
                peer=peer.node_id,
                type_id=schema_of(self.message).type_id,
                schema=self.name,
                latency=loop.time() - begun,
            )
        )
        return 0

    async def _reach(self, peer: Peer) -> None:
        """Wait for a connection with the extension behind it. Raises `NotSupported` if the peer does not speak it."""
        while True:
            await self.watch.there.wait()
            if await peer.wait_for_hello(self.extension):
                return
            if peer.connected:
                raise NotSupported(self._why_not(peer), feature="session")
            await asyncio.sleep(_LOOK)  # it has just gone

    def _why_not(self, peer: Peer) -> str:
        spoken: Mapping[str, object] = peer.extensions
        if not spoken:
            return (
                f"{peer} has no session, which reliable messages need: it should run {self.extension} with oddwire, or "
                "what speaks its session protocol; without --reliable it is sent as a plain message"
            )
        return f"{peer} does not speak {self.extension}; it speaks {', '.join(sorted(spoken))}"

    async def _former_delivered(self, peer: Peer) -> None:
        while any(one.reliable and one.message == self.message for one in await peer.pending()):  # noqa: ASYNC110 - no receipt outlives its process
            await asyncio.sleep(_LOOK)
        for message, error in self.watch.lost:
            if message == self.message:
                raise error

    async def _explain(self, peer: Peer, printer: Printer, text: str) -> int:
        """Print what waits where, and how to go on with it. Return 1."""
        if self.store is None:
            text += "; it is lost, as nothing keeps it without --data-dir"
        else:
            waiting = await peer.pending()
            count = f"{len(waiting)} message{'' if len(waiting) == 1 else 's'}"
            names = ", ".join(sorted({one.extension for one in waiting if one.extension})) or "?"
            age = duration(max((one.age for one in waiting), default=0.0))
            wait = "waits" if len(waiting) == 1 else "wait"
            text += f"; {count} of {names} {wait} for {peer} in {self.store}, the oldest for {age}"
            text += f"; the same command goes on with it, and so does: {self.command}"
        printer.failure(text)
        return FAILED
