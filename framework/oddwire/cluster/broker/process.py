"""A nats-server as a child of this process: its start, its log, its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import sys
from collections import deque
from pathlib import Path
from typing import Final

from oddwire.cluster.broker.configuration import CONFIGURATION_FILE, BrokerConfiguration
from oddwire.errors import TransportError
from oddwire.files import make_folder, open_private
from oddwire.log_limits import get_logger
from oddwire.printable import printable

__all__ = ["BrokerProcess"]

logger = get_logger("oddwire.cluster.broker")

# On Linux the kernel ends the server with us, however we end: PR_SET_PDEATHSIG is 1. Asked for in the child by a Python
# of its own, as code between fork and exec is not safe where there are threads.
_UNTIL_WE_END: Final = """
import ctypes, os, sys
try:
    ctypes.CDLL(None).prctl(1, 15)
except (AttributeError, OSError):
    pass
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""
_LOOK: Final = 0.01  # seconds between two looks for the file with the ports
_LAST: Final = 20  # lines of the log that are kept, for the reason why it ended
_LEVELS: Final = {"FTL": logging.ERROR, "ERR": logging.ERROR, "WRN": logging.WARNING}
_LINE: Final = re.compile(r"\[\d+\] \[([A-Z]{3})\] ?(.*)")
# After such an error nothing is stored any more, also when there is room again, and nobody is told
_CANNOT_STORE: Final = re.compile(r"no space left on device|failed to store", re.IGNORECASE)
_KNOWN: Final = "Plaintext passwords detected"  # it is in a file that we alone may read


class BrokerProcess:
    """Runs one nats-server. ``url`` is known once it is started."""

    def __init__(self, executable: Path, configuration: BrokerConfiguration) -> None:
        self.url = ""
        """Where clients reach it, ``nats://127.0.0.1:4222``; without a password."""
        self._executable = executable
        self._configuration = configuration
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._last: deque[str] = deque(maxlen=_LAST)
        self._stopping = False
        self._cannot_store = ""

    async def start(self, *, keep_open: tuple[int, ...] = ()) -> None:
        """Start it, and wait until it takes clients; however long it reads what it has on disk.

        ``keep_open`` are descriptors that it inherits, locks say. Raises `TransportError` with its reason if it ends
        before that, `OSError` for a folder that cannot be written, `ValueError` for what its configuration cannot hold.
        If cancelled, it is stopped.
        """
        folder = self._configuration.data_dir
        text = self._configuration.text()
        make_folder(folder)
        for stale in folder.glob("*.ports"):
            stale.unlink(missing_ok=True)
        file = folder / CONFIGURATION_FILE
        _write(file, text)
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", _UNTIL_WE_END, str(os.getpid())),
            *(str(self._executable), "-c", str(file)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C at a terminal is for us, who then end it in order
            pass_fds=keep_open,
        )
        self._reading = asyncio.create_task(self._read(process), name="nats-server's log")
        try:
            ending = asyncio.create_task(process.wait(), name="nats-server")
            while not ending.done():
                self.url = _url_of(folder)
                if self.url:
                    return
                await asyncio.wait([ending], timeout=_LOOK)
            await self._reading
            raise self._failure("nats-server could not start")
        except BaseException:
            await self.stop()
            raise

    async def wait(self) -> None:
        """Wait until it ends. Raises `TransportError` with its reason unless `stop` was called."""
        if self._process is None or self._reading is None:
            raise TransportError("nats-server was not started")
        await self._process.wait()
        await asyncio.shield(self._reading)
        if self._cannot_store or not self._stopping:
            raise self._failure("nats-server has ended")

    async def stop(self) -> None:
        """Ask it to end, and wait for that: what it has acknowledged is on disk. Idempotent."""
        self._stopping = True
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        await process.wait()
        if self._reading is not None:
            await self._reading

    def kill(self) -> None:
        """Kill it at once. For any thread."""
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Write its lines to our log."""
        assert process.stdout is not None  # noqa: S101 - narrows the type for checkers
        while True:
            try:
                raw = await process.stdout.readuntil()
            except asyncio.IncompleteReadError as error:
                raw = error.partial
                if not raw:
                    return
            except asyncio.LimitOverrunError as error:
                raw = await process.stdout.readexactly(error.consumed)
            text = raw.decode(errors="replace").rstrip()
            match = _LINE.fullmatch(text)
            level = logging.DEBUG if match is None else _LEVELS.get(match[1], logging.DEBUG)
            text = text if match is None else match[2]
            if text.startswith(_KNOWN):
                continue
            if text and (match is None or level > logging.DEBUG):
                self._last.append(text)
            logger.log(level, "nats-server: %s", text)
            if level == logging.ERROR and not self._cannot_store and _CANNOT_STORE.search(text):
                self._cannot_store = text
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)

    def _failure(self, what: str) -> TransportError:
        if self._cannot_store:
            folder = printable(str(self._configuration.data_dir))
            text = f"nats-server cannot write to {folder}, and has to be started anew once there is room"
            return TransportError(f"{text}: {printable(self._cannot_store)}")
        return TransportError(f"{what}: {self._reason()}")

    def _reason(self) -> str:
        code = None if self._process is None else self._process.returncode
        how = f"exit code {code}" if code is None or code >= 0 else signal.Signals(-code).name
        if code is not None and code < 0:
            return how
        return printable(self._last[-1]) if self._last else how


def _write(file: Path, text: str) -> None:
    descriptor = open_private(file, os.O_WRONLY | os.O_CREAT)
    with os.fdopen(descriptor, "wb") as opened:
        opened.truncate()
        opened.write(text.encode())


def _url_of(folder: Path) -> str:
    """Return the URL in the file of ports, which the server writes once it takes clients; empty until then."""
    for file in folder.glob("*.ports"):
        try:
            urls = json.loads(file.read_text())["nats"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # it is being written
        for url in urls:
            if isinstance(url, str):
                return url
    return ""
