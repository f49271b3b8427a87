"""One large file between two `oddwire run filedrop`, either of which is killed (-9) while it is on its way.

``python -m tests.soak.filedrop``: fails unless the file arrives whole, goes on after each kill where it was but for the
last few megabytes, and neither process takes much more memory than before it began.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.support.ports import free_port

from oddwire_extensions.filedrop.transfers import SYNC

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 60.0  # seconds without progress until it counts as stuck
GROWTH: Final = 48 << 20  # bytes of memory for what is on its way, whatever the size of the file
BLOCK: Final = 8 << 20


class Process:
    """One `oddwire run filedrop`, that is asked by what is typed, and started again when it is killed."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.command = [sys.executable, "-m", "oddwire.cli.main", "run", "filedrop", f"--data-dir={folder / 'data'}"]
        self.command += ["--filedrop-dir", str(folder / "in"), *options]
        self.folder = folder
        self.process: asyncio.subprocess.Process
        self.uri = ""
        self.growth = 0
        self._before = 0

    async def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        # Every message is shown; that is not what is measured, and nobody reads it but for the URI
        output = self.folder / "output"
        with output.open("wb") as file:
            self.process = await asyncio.create_subprocess_exec(
                *self.command,
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=file,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONASYNCIODEBUG": ""},
            )
        await self.ask("filedrop-status")
        found = re.search(r"0[23][0-9a-f]{64}@127\S+", output.read_text())
        self.uri = found[0] if found else ""
        self._before = self._memory("VmRSS")

    def _memory(self, what: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(f"{what}:"))

    def measure(self) -> None:
        """Note how much more memory than at its start the process has had."""
        self.growth = max(self.growth, self._memory("VmHWM") - self._before)

    async def ask(self, line: str) -> Any:
        """Type a line, and return the result of the method."""
        process = self.process
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(f"{line}\n".encode())
        async with asyncio.timeout(PATIENCE):
            while answer := await process.stderr.readline():
                text = answer.decode()
                if text.startswith(("{", "[")):
                    return json.loads(text)
                assert text.startswith(("INFO ", "WARNING ")), text
        raise AssertionError(f"{line}: ended with {await process.wait()}")

    async def kill(self) -> None:
        assert self.process.returncode is None, f"ended by itself with {self.process.returncode}"
        self.measure()
        self.process.kill()
        await self.process.wait()

    async def done(self) -> int:
        """Return how many bytes of the file are there."""
        return int((await self.ask("filedrop-status 1"))[0]["done"])


async def rough_transfer(folder: Path, size: int, kills: int, seed: int, say: Callable[[str], object]) -> int:
    """Run it; return how many bytes of memory the processes took at most, beyond what they had at their start."""
    chance, path = random.Random(seed), folder / "large.bin"
    digest = await asyncio.to_thread(write_file, path, size, chance)
    port = free_port()
    receiver = Process(folder / "receiver", f"--listen=127.0.0.1:{port}")
    await receiver.start()
    sender = Process(folder / "sender", f"--connect={receiver.uri}")
    try:
        await sender.start()
        await sender.ask(f"filedrop-send {receiver.uri.partition('@')[0]} {path}")
        while not await receiver.ask("filedrop-offers"):
            await asyncio.sleep(0.05)
        await receiver.ask("filedrop-accept 1")
        for number in range(1, kills + 1):
            before = await until(receiver, size * number // (kills + 2))
            victim, name = chance.choice([(receiver, "receiver"), (sender, "sender")])
            await victim.kill()
            await victim.start()
            after = await receiver.done()
            say(f"{name} killed at {before >> 20} MiB, went on from {after >> 20} MiB or before")
            assert after < size, "it had arrived already: nothing was cut"
            assert after >= before - SYNC, f"{before - after} bytes were lost"
        await until(receiver, size)
        while (state := (await receiver.ask("filedrop-status 1"))[0])["state"] == "accepted":
            await asyncio.sleep(0.05)
        assert state["state"] == "received", state
        assert await asyncio.to_thread(hash_of, Path(state["path"])) == digest
        while (await sender.ask("filedrop-status 1"))[0]["state"] != "received":
            await asyncio.sleep(0.05)
    finally:
        for process in (sender, receiver):
            if process.process.returncode is None:
                await process.kill()
    growth = max(sender.growth, receiver.growth)
    say(f"at most {growth >> 20} MiB more memory than at the start")
    assert growth < GROWTH, f"the memory was not flat: {growth} bytes more"
    return growth


async def until(receiver: Process, wanted: int) -> int:
    """Wait until so much is there."""
    last, since = -1, time.monotonic()
    while (done := await receiver.done()) < wanted:
        if done != last:
            last, since = done, time.monotonic()
        assert time.monotonic() - since < PATIENCE, f"stuck at {done} bytes"
        await asyncio.sleep(0.01)
    return done


def write_file(path: Path, size: int, chance: random.Random) -> str:
    """Write so many random bytes, and return their SHA-256."""
    hashed = hashlib.sha256()
    with path.open("wb") as file:
        for at in range(0, size, BLOCK):
            data = chance.randbytes(min(BLOCK, size - at))
            file.write(data)
            hashed.update(data)
    return hashed.hexdigest()


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        await rough_transfer(Path(folder), arguments.megabytes * 1_000_000, arguments.kills, arguments.seed, print)
    print(f"{arguments.megabytes} MB arrived, with {arguments.kills} kills, in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    asyncio.run(main())
