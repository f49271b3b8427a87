"""Peers made of BOLT 8 alone that send what they like, and real processes for them to send it to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

from oddwire.errors import OddwireError
from oddwire.proto import PrivateKey, connect
from oddwire.proto.addresses import NodeUri
from oddwire.proto.bolt1 import CHAINS, DEFAULT_NETWORK, Init
from oddwire.proto.connection import LightningConnection
from oddwire.proto.keys import PublicKey

__all__ = ["Victim", "notice", "stranger", "victim"]


class Victim:
    """A process under attack."""

    def __init__(self, process: asyncio.subprocess.Process, ready: dict[str, str], log: Path) -> None:
        self.process = process
        self.uri = ready["uri"]
        self.rpc_file = ready.get("rpc_file", "")
        self._log = log

    @property
    def log_size(self) -> int:
        """Bytes that it has logged."""
        return self._log.stat().st_size

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")


@contextlib.asynccontextmanager
async def victim(folder: Path, *arguments: str) -> AsyncIterator[Victim]:
    """Run ``oddwire`` with ``--json``, logging to a file; it has to live until the block ends."""
    log = folder / "victim.log"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "oddwire.cli.main", *arguments, "--json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            cwd=folder,
            limit=1 << 26,
        )
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line, log.read_text()
    reading = asyncio.create_task(process.stdout.read())
    try:
        yield Victim(process, json.loads(line), log)
        assert process.returncode is None, log.read_text(errors="replace")[-2000:]
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await reading


async def stranger(uri: str, payloads: Iterable[bytes] = (), *, network: str = DEFAULT_NETWORK) -> LightningConnection:
    """Connect under a new id and send; what comes back is not read."""
    where = NodeUri.parse(uri)
    connection = await connect(PrivateKey(os.urandom(32)), PublicKey(where.node_id), where.host, where.port)
    await connection.read_message()
    await connection.send_message(Init(networks=(CHAINS[network],)).encode())
    for payload in payloads:
        await connection.send_message(payload)
    return connection


async def all_of(strangers: Sequence[asyncio.Future[LightningConnection]]) -> None:
    """Wait until they have sent all, and hang up."""
    for connection in await asyncio.gather(*strangers):
        with contextlib.suppress(OddwireError):
            await connection.aclose()


def notice(type_id: int, data: bytes) -> bytes:
    """Return a warning (1) or error (17)."""
    return type_id.to_bytes(2, "big") + bytes(32) + len(data).to_bytes(2, "big") + data
