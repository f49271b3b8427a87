"""`oddwire monitor` as a picture, at a terminal and in a browser, while a program talks with two peers."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import secrets
import struct
import tempfile
import termios
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from oddwire import Application, Peer, PrivateKey
from oddwire.transports import Bolt8Transport
from oddwire_extensions.chat import Heard, Say
from oddwire_extensions.chat import extension as chat
from publishing.pictures.browser import chromium, picture

_TALK = 12  # seconds until there is something to see
_FONT_FACE = re.compile(r"@font-face\s*\{[^}]*\}")  # Textual's exports would fetch a font from elsewhere


async def screens(oddwire: Path, *, columns: int = 110, rows: int = 34) -> tuple[str, bytes | None]:
    """Return the terminal as SVG, and the page in Chromium as PNG; None where Chromium is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        async with _talking(oddwire, Path(folder)):
            svg = await asyncio.to_thread(_terminal, oddwire, Path(folder), columns, rows)
            return svg, await _page(oddwire, Path(folder))


@contextlib.asynccontextmanager
async def _talking(oddwire: Path, folder: Path) -> AsyncIterator[None]:
    command = [oddwire, "run", "echo", "chat", "--listen", "127.0.0.1:0", "--data-dir", "talk", "--json"]
    program = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=1 << 20,
    )
    assert program.stdout is not None
    drain: asyncio.Future[None] | None = None
    try:
        uri = ""
        while not uri:
            event = json.loads(await program.stdout.readline())
            uri = event.get("uri", "")
        drain = asyncio.ensure_future(_drain(program.stdout))
        async with contextlib.AsyncExitStack() as stack:
            for number, pause in ((1, 0.12), (2, 0.3)):
                transport = Bolt8Transport(PrivateKey(secrets.token_bytes(32)))
                app = await stack.enter_async_context(Application(chat, transport=transport))
                talker = asyncio.ensure_future(_talk(await app.connect(uri), number, pause))
                stack.callback(talker.cancel)
            yield
    finally:
        if drain is not None:
            drain.cancel()
        await _end(program)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        process.terminate()
    await process.wait()


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.read(65536):
        pass


async def _talk(peer: Peer, number: int, pause: float) -> None:
    while True:
        await peer.request(Say(text="hello", number=number), Heard, plain=True)
        number += 1
        await asyncio.sleep(pause)


def _terminal(oddwire: Path, folder: Path, columns: int, rows: int) -> str:
    """Run the monitor at a terminal; Textual itself takes the picture, when its environment says so."""
    shot = {"TEXTUAL_SCREENSHOT": str(_TALK), "TEXTUAL_SCREENSHOT_LOCATION": str(folder)}
    shot |= {"TEXTUAL_SCREENSHOT_FILENAME": "monitor.svg", "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execve(oddwire, [str(oddwire), "monitor", "--data-dir", "talk"], {**os.environ, **shot})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    quitting = threading.Timer(2 * _TALK, os.write, (terminal, b"q"))
    quitting.start()
    printed = b""
    with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
        while data := os.read(terminal, 65536):
            printed += data
            if (folder / "monitor.svg").exists():
                with contextlib.suppress(OSError):
                    os.write(terminal, b"q")
    quitting.cancel()
    os.close(terminal)
    os.waitpid(child, 0)
    if not (folder / "monitor.svg").exists():
        raise RuntimeError(f"oddwire monitor took no picture:\n{printed.decode(errors='replace')[-2000:]}")
    return _FONT_FACE.sub("", (folder / "monitor.svg").read_text(encoding="utf-8"))


async def _page(oddwire: Path, folder: Path) -> bytes | None:
    browser = chromium()
    if browser is None:
        return None
    command = [oddwire, "monitor", "--data-dir", "talk", "--web", "--seconds", str(4 * _TALK), "--json"]
    monitor = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    assert monitor.stdout is not None
    try:
        address = None
        while address is None:
            line = await monitor.stdout.readline()
            if not line:
                raise RuntimeError("oddwire monitor --web did not say its address")
            address = re.search(rb"https?://[^\s\"]+", line)
        return await picture(browser, address[0].decode(), after=_TALK, width=1100, height=760)
    finally:
        await _end(monitor)
