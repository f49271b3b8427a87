"""LDK as a peer of the kill harness: the session protocol in JavaScript, on LDK's own BOLT 8."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.soak.cluster.records import ReliablePeer

if TYPE_CHECKING:
    from tests.interop.conftest import LdkPeer

ASK: Final = "8ca1"
NOTE: Final = "8caf"
BUNCH: Final = 10
AHEAD: Final = 200
PATIENT: Final = 5.0  # seconds for a handshake with a gateway that may be frozen


class LdkNotes:
    """Sends notes reliably, as far as it may, and dials again whenever it is not connected."""

    def __init__(self, key: bytes, uri: str, folder: Path) -> None:
        self.known = ReliablePeer(answered=False)
        self.allowed = 0
        self._connected = False
        self.node_id = ""
        self._server = uri.partition("@")[0]
        self._uri = uri
        self._options = {"seed": key.hex(), "disk": str(folder / "ldk_disk")}
        self._peer: LdkPeer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        from tests.interop.conftest import NODE_FOLDER, LdkPeer, install_packages, node_commands

        (node, *rest), npm = node_commands()
        await asyncio.to_thread(install_packages, npm, node)
        self._peer = await LdkPeer.start(node, *rest, str(NODE_FOLDER / "session_peer.mjs"), **self._options)
        self.node_id = self._peer.node_id
        self._tasks = [asyncio.create_task(self._produce(self._peer)), asyncio.create_task(self._dial(self._peer))]

    async def _produce(self, peer: LdkPeer) -> None:
        known = self.known
        while True:
            await self._read(peer)
            stop = min(known.sent + BUNCH, self.allowed, len(known.settled) + AHEAD)
            if stop > known.sent:
                payloads = [f"{NOTE}{number:08x}" for number in range(known.sent, stop)]
                await peer.command("send_reliably", peer=self._server, payloads=payloads)
                known.sent = stop
            await asyncio.sleep(0.02)

    async def _read(self, peer: LdkPeer) -> None:
        """Take what its events tell."""
        for _ in peer.waiting("delivered"):
            self.known.settled.append(int((await peer.event("delivered"))["payload"][4:], 16))
        for _ in peer.waiting("failed"):
            self.known.failed.append(f"note {await peer.event('failed')}")

    async def _dial(self, peer: LdkPeer) -> None:
        again = 0.0
        while True:
            await asyncio.sleep(0.2)
            self._connected = self._server in await peer.command("connected")
            if not self._connected and time.monotonic() > again:
                with contextlib.suppress(RuntimeError):  # nobody is there: soon again
                    await peer.connect(self._uri)
                    again = time.monotonic() + PATIENT

    @property
    def progress(self) -> int:
        return len(self.known.settled)

    @property
    def at_rest(self) -> bool:
        for task in self._tasks:
            if task.done():
                task.result()  # raises why it has ended
        known = self.known
        return known.sent == self.allowed == len(known.settled) + len(known.failed)

    @property
    def state(self) -> str:
        """What there is to know about it if it is stuck."""
        return f"connected {self._connected}, sent {self.known.sent}, settled {len(self.known.settled)}"

    async def ask(self) -> None:
        """Ask what is stored of us."""
        assert self._peer is not None
        reply: Any = (await self._peer.command("requests", peer=self._server, payloads=[ASK]))[0]
        content = bytes.fromhex(reply)[2:]
        numbers = [int.from_bytes(content[at : at + 4], "big") for at in range(0, len(content), 4)]
        self.known.stored = [(number, "") for number in numbers]
        self.known.counter = len(numbers)

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._peer is not None:
            await self._peer.aclose()
