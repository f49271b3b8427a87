"""Nodes of four kinds that run the same extension, `everywhere`, and what each can be told to do with any other."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from pyln.client import RpcError
from tests.interop.conftest import Daemon, LdkPeer
from tests.interop.extensions.everywhere import extension
from tests.interop.lnd.lnd_node import Lnd
from tests.support.waiting import until_answered

from oddwire import Application, OddwireError
from oddwire.transports.lnd.transport import LndTransport

ASK, ANSWER, COUNT, NUMBER, NOTE = (f"{type_id:04x}" for type_id in (0x8CA1, 0x8CA3, 0x8CA5, 0x8CA7, 0x8CAF))


class Failed(Exception):
    """What was asked of a peer has failed, as it may where connections end."""


class Party(ABC):
    """One node, and the extension on it."""

    name: str
    node_id: str
    uri: str

    @abstractmethod
    async def dial(self, uri: str) -> None: ...

    @abstractmethod
    async def knows(self, other: Party) -> bool:
        """Whether the other is connected, and the extension there was met."""

    @abstractmethod
    async def ask(self, other: Party, length: int) -> bool:
        """Ask so many bytes; whether they come back. Raises `Failed`."""

    @abstractmethod
    async def count(self, other: Party, to: int) -> bool:
        """Have a stream counted; whether that was right. Raises `Failed`."""

    @abstractmethod
    async def send(self, other: Party, notes: Sequence[bytes]) -> None:
        """Send notes reliably. Raises `Failed` if they were not accepted."""

    @abstractmethod
    async def notes(self) -> list[bytes]:
        """The notes that were taken."""

    @abstractmethod
    async def kill(self) -> None:
        """Kill the node (-9), and start all of it again."""

    async def meet(self, other: Party) -> None:
        """See to it that the two are connected, and each has met the extension of the other."""

        async def met() -> bool:
            if await self.knows(other) and await other.knows(self):
                return True
            with contextlib.suppress(Failed):
                await self.dial(other.uri)
            return False

        await until_answered(met, every=0.1, patience=120)


class OnLnd(Party):
    """An application of this process on an LND, which dials everybody."""

    name = "lnd"

    def __init__(self, lnd: Lnd, store: Path) -> None:
        self.lnd = lnd
        self.node_id, self.uri = lnd.node_id, lnd.uri
        self._store = store
        self._app: Application | None = None

    @property
    def app(self) -> Application:
        assert self._app is not None
        return self._app

    async def start(self) -> None:
        transport = LndTransport(self.lnd.rpc, tlscert=self.lnd.tlscert, macaroon=self.lnd.small_macaroon)
        self._app = Application(extension, transport=transport, store=self._store, grace=0)
        await self._app.start()

    async def aclose(self) -> None:
        if self._app is not None:
            await self._app.aclose()

    async def dial(self, uri: str) -> None:
        await self._call(self.app.connect(uri))

    async def knows(self, other: Party) -> bool:
        return bool(await self._call(self.app.call("vectors-knows", other.node_id)))

    async def ask(self, other: Party, length: int) -> bool:
        return bool(await self._call(self.app.call("vectors-ask", other.node_id, length)))

    async def count(self, other: Party, to: int) -> bool:
        return bool(await self._call(self.app.call("vectors-count", other.node_id, to)))

    async def send(self, other: Party, notes: Sequence[bytes]) -> None:
        await self._call(self.app.call("vectors-send", other.node_id, [note.hex() for note in notes]))

    async def notes(self) -> list[bytes]:
        return [bytes.fromhex(note) for note in await self._call(self.app.call("vectors-notes"))]

    async def kill(self) -> None:
        """Kill LND; the application goes on, and finds it again."""
        await asyncio.to_thread(self.lnd.kill)
        await asyncio.to_thread(self.lnd.start)

    async def restart(self) -> None:
        """Stop the application and start it again."""
        await self.aclose()
        await self.start()

    async def _call(self, call: Awaitable[Any]) -> Any:
        try:
            return await call
        except (OddwireError, TimeoutError) as error:
            raise Failed(repr(error)) from error


class OnDaemon(Party):
    """A plugin of Core Lightning or of the embedded node."""

    def __init__(self, name: str, daemon: Daemon) -> None:
        self.name = name
        self.daemon = daemon
        self.node_id, self.uri = daemon.node_id, daemon.uri

    async def dial(self, uri: str) -> None:
        await self._call("connect", uri)

    async def knows(self, other: Party) -> bool:
        return bool(await self._call("vectors-knows", other.node_id))

    async def ask(self, other: Party, length: int) -> bool:
        return bool(await self._call("vectors-ask", other.node_id, length))

    async def count(self, other: Party, to: int) -> bool:
        return bool(await self._call("vectors-count", other.node_id, to))

    async def send(self, other: Party, notes: Sequence[bytes]) -> None:
        await self._call("vectors-send", other.node_id, [note.hex() for note in notes])

    async def notes(self) -> list[bytes]:
        return [bytes.fromhex(note) for note in await self._call("vectors-notes")]

    async def kill(self) -> None:
        self.daemon.kill()
        await asyncio.to_thread(self.daemon.start)

    async def _call(self, method: str, *parameters: Any) -> Any:
        try:
            return await self.daemon.call(method, *parameters)
        except RpcError as error:
            raise Failed(str(error)) from error


class OnLdk(Party):
    """The session protocol in JavaScript; it listens, and dials nobody by itself."""

    name = "ldk"

    def __init__(self, start: Callable[[], Awaitable[LdkPeer]], peer: LdkPeer) -> None:
        self._start = start
        self.peer = peer
        self.node_id = peer.node_id
        self._one_at_a_time = asyncio.Lock()  # it keeps one result

    @property
    def uri(self) -> str:  # type: ignore[override]
        return self.peer.uri

    async def dial(self, uri: str) -> None:
        await self._command("connect", **_parts(uri))

    async def knows(self, other: Party) -> bool:
        """Always: it tells of nobody whom it has met. Who is asked before answers anyway, or the question fails."""
        return True

    async def ask(self, other: Party, length: int) -> bool:
        payload = ASK + bytes(number % 251 for number in range(length)).hex()
        (reply,) = await self._command("requests", peer=other.node_id, payloads=[payload])
        return bool(reply == ANSWER + payload[4:])

    async def count(self, other: Party, to: int) -> bool:
        async with self._one_at_a_time:
            await self._command("stream", peer=other.node_id, payload=f"{COUNT}{to:04x}", credit=16)
            result = await self._command("result")
        if not isinstance(result, dict) or "code" in result:
            raise Failed(str(result))
        return bool(result["parts"] == [f"{NUMBER}{number:04x}" for number in range(to)])

    async def send(self, other: Party, notes: Sequence[bytes]) -> None:
        payloads = [NOTE + note.hex() for note in notes]
        await self._command("send_reliably", peer=other.node_id, payloads=payloads)

    async def notes(self) -> list[bytes]:
        return [bytes.fromhex(note)[2:] for note in await self._command("notes")]

    async def kill(self) -> None:
        await self.peer.kill()
        await self.peer.aclose()
        self.peer = await self._start()
        await self.peer.listen()

    async def _command(self, command: str, **parameters: Any) -> Any:
        try:
            return await self.peer.command(command, **parameters)
        except RuntimeError as error:
            raise Failed(str(error)) from error


def _parts(uri: str) -> dict[str, Any]:
    node_id, _, address = uri.partition("@")
    host, _, port = address.rpartition(":")
    return {"node_id": node_id, "host": host, "port": int(port)}


def pairs(parties: Sequence[Party]) -> list[tuple[Party, Party]]:
    """All pairs; the first of each dials."""
    return [(one, other) for index, one in enumerate(parties) for other in parties[index + 1 :]]


def ways(parties: Sequence[Party]) -> list[tuple[Party, Party]]:
    """All pairs, both ways."""
    return [(one, other) for one in parties for other in parties if one is not other]


async def meet_all(parties: Sequence[Party]) -> None:
    for one, other in pairs(parties):
        await one.meet(other)


LARGE: Final = 300_000
__all__ = ["LARGE", "Failed", "OnDaemon", "OnLdk", "OnLnd", "Party", "meet_all", "pairs", "ways"]
