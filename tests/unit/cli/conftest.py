"""The commands as processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 30.0


class Program:
    """A running command. Every wait ends in a failure that tells what was printed."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Path) -> None:
        assert process.stderr is not None
        self.process = process
        self.directory = directory
        self.lines: list[str] = []
        self._errors = asyncio.ensure_future(process.stderr.read())

    async def line(self, *wanted: str) -> str:
        """Read stdout up to a line that holds all of ``wanted``."""
        try:
            async with asyncio.timeout(PATIENCE):
                while raw := await self.process.stdout.readline():
                    line = raw.decode().rstrip("\n")
                    self.lines.append(line)
                    if all(part in line for part in wanted):
                        return line
        except TimeoutError:
            raise AssertionError(f"waited for {wanted}; there came {self.lines}") from None
        raise AssertionError(f"ended before {wanted} came: {self.lines}, {(await self._errors).decode()}")

    async def event(self, kind: str, **values: Any) -> dict[str, Any]:
        """Read stdout up to an event with these values."""
        while True:
            event = json.loads(await self.line(f'"event": "{kind}"'))
            if all(event.get(key) == value for key, value in values.items()):
                return event

    async def type(self, text: str) -> None:
        """Write to stdin."""
        self.process.stdin.write(text.encode())
        await self.process.stdin.drain()

    async def end(self) -> tuple[int, str, str]:
        """Wait for the end: exit code, all of stdout, all of stderr."""
        try:
            async with asyncio.timeout(PATIENCE):
                rest = await self.process.stdout.read() if self.process.stdout is not None else b""
                code = await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"did not end; there came {self.lines}") from None
        self.lines += rest.decode().splitlines()
        return code, "".join(line + "\n" for line in self.lines), (await self._errors).decode()

    async def interrupt(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
        """Press Ctrl-C, or send another signal, and wait for the end."""
        self.process.send_signal(number)
        return await self.end()


Start = Callable[..., Coroutine[Any, Any, Program]]


@pytest.fixture
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which programs of the test have their sockets."""
    return tmp_path_factory.mktemp("runtime")


@pytest.fixture
async def start(tmp_path: Path, runtime: Path) -> AsyncIterator[Start]:
    """Start ``oddwire`` with arguments, or with ``program`` another Python program; ended with the test."""
    programs: list[Program] = []

    async def begin(
        *arguments: str | Path, program: Path | None = None, stdin: int | None = None, stdout: int | None = None
    ) -> Program:
        environment = {**os.environ, "HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(runtime)}
        environment.pop("PYTHONASYNCIODEBUG", None)  # it reports what was slow on stderr, and a busy machine is slow
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(["-m", "oddwire.cli.main"] if program is None else [str(program)]),
            *map(str, arguments),
            stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
            stdout=asyncio.subprocess.PIPE if stdout is None else stdout,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            cwd=tmp_path,
            limit=1 << 20,
        )
        programs.append(Program(process, tmp_path))
        return programs[-1]

    yield begin
    for program in programs:
        if program.process.returncode is None:
            program.process.kill()
        await program.end()


@pytest.fixture
async def oddwire(start: Start) -> Callable[..., Coroutine[Any, Any, tuple[int, str, str]]]:
    """Run ``oddwire`` with arguments to its end: exit code, stdout, stderr."""

    async def run(*arguments: str | Path, **options: Any) -> tuple[int, str, str]:
        return await (await start(*arguments, **options)).end()

    return run
