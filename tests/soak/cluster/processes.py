"""The processes of a cluster under the kill harness: started, killed, frozen, ended, and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.support.broker import Broker

PATIENCE: Final = 60.0  # seconds without progress until it counts as stuck
LEASE: Final = 10.0  # seconds, after which what is not renewed is free


class Program:
    """One process of a cluster, by the same command at each start. What it writes is in a file of its own."""

    has_lease = False

    def __init__(self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.deaths: dict[int, int] = {}
        """When each of its processes had ended, by pid: nanoseconds of CLOCK_MONOTONIC."""
        self.counts: Counter[str] = Counter()
        self.surprises: list[str] = []
        """Ends that nobody asked for, and that nothing explains."""
        self._command = command
        self._environment = {**os.environ, **environment}
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._wanted = False
        self._may_end = False
        self._frozen = asyncio.Lock()
        self._ending = asyncio.Lock()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        self._wanted, self._may_end = True, False
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )
        self._watch = asyncio.create_task(self._see_it_end(self._process))

    async def _see_it_end(self, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        self.deaths[process.pid] = time.monotonic_ns()
        if self._wanted:
            self.counts["ended by itself"] += 1
            if not self._may_end:
                last = self.log.read_text(errors="replace").splitlines()[-3:]
                self.surprises.append(f"{self.name} ended by itself with {code}: {last}")
            await asyncio.sleep(0.1)  # as whoever looks after services does
            if self._wanted:
                await self.start()

    async def kill(self) -> None:
        """Kill it, frozen or not, and start it again."""
        async with self._ending:
            await self._end(signal.SIGKILL)
            await self.start()

    async def leave(self, number: signal.Signals) -> None:
        """End it by a signal, for good."""
        async with self._ending:
            await self._end(number)

    async def restart(self) -> None:
        """Ask it to end, once it is not frozen, and start it again."""
        async with self._frozen, self._ending:
            process = self._process
            await self._end(signal.SIGTERM)
            code = process.returncode if process is not None and process is self._process else 0
            if code in (128 + signal.SIGTERM, -signal.SIGTERM):
                self.counts["ended unfinished"] += 1  # it was starting, or the broker did not let it end in order
            elif code and not self._may_end:
                last = self.log.read_text(errors="replace").splitlines()[-3:]
                self.surprises.append(f"{self.name} ended with {code} when it was asked to: {last}")
            await self.start()

    async def freeze(self, seconds: float) -> None:
        """Stop it for so long, or until it is killed."""
        async with self._frozen:
            process = self._process
            assert process is not None
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(seconds)
                self._may_end = self.has_lease and seconds > LEASE / 2
                process.send_signal(signal.SIGCONT)
                if self.has_lease and seconds > LEASE:
                    await self._ends_by_itself(process)

    async def _ends_by_itself(self, process: asyncio.subprocess.Process) -> None:
        """See whether it does: it need not if it had lost all it had before, as the broker was away, say."""
        self.counts["frozen past its lease"] += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEASE):
                await process.wait()
            self.counts["ended after that"] += 1

    async def end(self) -> None:
        """End it for good, whatever has become of it."""
        if self._process is None:
            return
        async with self._ending:
            try:
                async with asyncio.timeout(15):
                    await self._end(signal.SIGTERM)
            except TimeoutError:
                self.surprises.append(f"{self.name} did not end within 15 s of SIGTERM")
                await self._end(signal.SIGKILL)

    async def _end(self, number: signal.Signals) -> None:
        ended = None
        while ended is not self._process:  # another one may have been started when it had ended by itself
            self._wanted, ended = False, self._process
            assert ended is not None
            assert self._watch is not None
            with contextlib.suppress(ProcessLookupError):
                ended.send_signal(number)
                ended.send_signal(signal.SIGCONT)
            await asyncio.shield(self._watch)


class Worker(Program):
    """A worker ends itself when it finds that it was frozen for longer than its lease."""

    has_lease = True


class BrokerProgram:
    """The nats-server, with the verbs of a `Program`."""

    name = "broker"

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.deaths: dict[int, int] = {}
        self.counts: Counter[str] = Counter()
        self.surprises: list[str] = []
        self._frozen = asyncio.Lock()
        self._ending = asyncio.Lock()

    async def start(self) -> None:
        await asyncio.to_thread(self.broker.start)

    async def kill(self) -> None:
        async with self._ending:
            await asyncio.to_thread(self.broker.kill)
            await self.start()

    async def restart(self) -> None:
        async with self._frozen, self._ending:
            await asyncio.to_thread(self.broker.stop)
            await self.start()

    async def freeze(self, seconds: float) -> None:
        async with self._frozen:
            async with self._ending:
                process = self.broker.process
                assert process is not None
                process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(seconds)
            process.send_signal(signal.SIGCONT)  # to nobody, if it was killed and waited for

    async def end(self) -> None:
        async with self._ending:
            await asyncio.to_thread(self.broker.kill)
