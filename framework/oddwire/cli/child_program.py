"""A command of ours as a child process: started again when it dies, with its events and its lines passed on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from oddwire.cli.events import Printer
from oddwire.cli.exit import CommandFailure
from oddwire.cli.variables import without_options
from oddwire.printable import printable

__all__ = ["ChildProgram"]

_STEADY: Final = 10.0  # seconds that a process has to run, so that the next pause is the first again
_PAUSES: Final = (0.0, 0.5, 1.0, 2.0, 5.0)  # seconds until it is started again, the last again and again
_LONGEST: Final = 1 << 20  # bytes of a line


class ChildProgram:
    """Runs ``oddwire ARGUMENTS --json`` as a child from `start` to `stop`; ``name`` is what people know it by.

    ``on_event`` gets each object that it prints. Its lines on stderr are printed behind its name.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        printer: Printer,
        on_event: Callable[[Mapping[str, Any]], object] = lambda _: None,
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.restarts = 0
        self._printer = printer
        self._on_event = on_event
        self._process: asyncio.subprocess.Process | None = None
        self._reading: list[asyncio.Task[None]] = []
        self._first: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._stopping = False
        self._starting = asyncio.Lock()  # so that none is begun that `stop` does not see
        self._last = ""

    @property
    def pid(self) -> int | None:
        """Its process id, None if it does not run now."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    async def start(self) -> None:
        """Start it."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "oddwire.cli.child_start", str(os.getpid()), *self.arguments, "--json"),
            env=without_options(dict(os.environ)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LONGEST,
            process_group=0,  # Ctrl-C at a terminal is for us, who then end all in order
        )
        assert self._process.stdout is not None and self._process.stderr is not None  # noqa: S101, PT018 - pipes
        self._reading = [
            asyncio.create_task(self._read(self._process.stdout, self._event)),
            asyncio.create_task(self._read(self._process.stderr, self._line)),
        ]

    async def event(self) -> Mapping[str, Any]:
        """Wait for its first event, and return that. Raises `CommandFailure` if it ends before, with its exit code."""
        ending = asyncio.create_task(self._ended())
        try:
            futures: list[asyncio.Future[Any]] = [self._first, ending]
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
            if self._first.done():
                return self._first.result()
            code = ending.result()
            text = self._last.removeprefix("oddwire: ") or _how(code)
            raise CommandFailure(f"{self.name}: {text}", code if code > 0 else 128 - code)
        finally:
            ending.cancel()

    async def done(self) -> int:
        """Wait until it has ended by itself, and all that it has said is printed; return its exit code."""
        return await self._ended()

    async def keep_up(self) -> None:
        """Start it again whenever it ends, until `stop`."""
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            begun = loop.time()
            code = await self._ended()
            if self._is_stopping():
                return
            failures = 0 if loop.time() - begun >= _STEADY else failures
            pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
            failures += 1
            when = f" in {pause:g} s" if pause else ""
            self._printer.remark(f"{self.name} has ended, {_how(code)}; it is started again{when}")
            await asyncio.sleep(pause)
            async with self._starting:
                if self._is_stopping():
                    return
                self.restarts += 1
                await self.start()

    def _is_stopping(self) -> bool:
        return self._stopping  # it changes while others run

    async def stop(self) -> None:
        """Ask it to end, and wait for that: each command has a limit of its own. Idempotent."""
        self._stopping = True
        async with self._starting:
            if self.pid is not None:
                self._send(signal.SIGTERM)
        if self._process is not None:
            await self._ended()

    def kill(self) -> None:
        """Kill it at once. For any thread."""
        self._stopping = True
        if self.pid is not None:
            self._send(signal.SIGKILL)

    async def _ended(self) -> int:
        assert self._process is not None  # noqa: S101 - it was started
        code = await self._process.wait()
        await asyncio.gather(*self._reading)
        return code

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    async def _read(self, stream: asyncio.StreamReader, take: Callable[[str], object]) -> None:
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # longer than any of ours
                continue
            if not line:
                return
            take(line.decode(errors="replace").rstrip("\n"))

    def _event(self, line: str) -> None:
        try:
            values = json.loads(line)
        except ValueError:
            self._line(line)  # an extension's print
            return
        if not isinstance(values, dict):
            return
        if values.get("event") == "error":
            return  # it is on stderr as well
        if not self._first.done():
            self._first.set_result(values)
        self._on_event(values)

    def _line(self, line: str) -> None:
        self._last = line
        self._printer.log(f"{self.name}: {printable(line)}")


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
