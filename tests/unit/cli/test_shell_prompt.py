"""The shell at a terminal, which pexpect stands in for."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from oddwire.cli.shell_prompt import FOLDER, state_folder

NODE = """
from oddwire import Context, Extension, Message, Refuse, message
extension = Extension("shop", version="1.0")

@message(0x8E31)
class Ask(Message):
    asset: str

@message(0x8E33)
class Price(Message):
    sats: int

@extension.on(Ask)
async def ask(context: Context, ask: Ask) -> Price:
    if ask.asset == "none":
        raise Refuse("no such asset", code=1404)
    if ask.asset == "later":
        await context.peer.send(Price(sats=777))
    return Price(sats=21)
"""
IN = r"In \[\x1b\[[\d;]*m\d+\x1b\[[\d;]*m\]: "


class Terminal:
    """A shell at a terminal of its own. Its waits run in a thread: the test's event loop reads what nodes print."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        environment = {
            **os.environ,
            "HOME": str(folder / "home"),
            "XDG_STATE_HOME": str(folder / "state"),
            "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": "1",  # pexpect does not say where the cursor is
        }
        environment.pop("PYTHONASYNCIODEBUG", None)
        command = ["-m", "oddwire.cli.main", "shell", *arguments]
        self.child: Any = pexpect.spawn(
            sys.executable,
            command,
            cwd=str(folder),
            env=environment,
            timeout=30,
            dimensions=(50, 200),
            encoding="utf-8",
        )

    async def shows(self, *patterns: str) -> str:
        """Wait until these have been printed, in this order; return what the last one matched."""
        for pattern in patterns:
            await asyncio.to_thread(self.child.expect, pattern)
        return str(self.child.after)

    async def runs(self, code: str, *patterns: str) -> str:
        """Type a line, and wait for what it prints, and for the next prompt."""
        self.child.send(f"{code}\r")
        found = await self.shows(*patterns)
        await self.shows(IN)
        return found

    async def ends(self) -> int:
        """Wait for the end; return the exit code."""
        await self.shows(pexpect.EOF)
        await asyncio.to_thread(self.child.wait)
        return int(self.child.exitstatus)


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Callable[..., Terminal]]:
    (tmp_path / "shop.py").write_text(NODE)
    opened: list[Terminal] = []

    def begin(*arguments: str) -> Terminal:
        opened.append(Terminal(tmp_path, *arguments))
        return opened[-1]

    yield begin
    for each in opened:
        await asyncio.to_thread(each.child.close, force=True)


async def test_a_conversation(start, terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    node = await start("run", "shop.py", "--listen", "127.0.0.1:0", "--data-dir", "theirs", "--json")
    uri = (await node.event("listening"))["uri"]
    shell = terminal(uri, "--extension", "./shop.py")
    await shell.shows("connected", r"In scope: app, peer, .*Ask, Price", IN)
    await shell.runs("(await peer.request(Ask(asset='x'), Price)).sats * 2", r"0m42\r")
    error = await shell.runs(
        "await peer.request(Ask(asset='none'), Price)", r"<module>[^$]*no such asset \(code 1404\)"
    )
    assert "oddwire/app" not in error
    # What the peer sends by itself stands above the prompt, and is kept
    await shell.runs("_ = await peer.request(Ask(asset='later'), Price)", r"shop\.Price\S* 0x8e33 .*sats=777")
    await shell.runs("len(received), received[-1].sats", r"\(1, 777\)")
    shell.child.send("Ask(ass\t")
    await shell.shows("asset=|et=")
    shell.child.send("\x03\x03")  # closes the menu, and empties the line
    # Ctrl-C interrupts what waits, and what computes
    shell.child.send("print('be', 'gun'); await asyncio.sleep(1000)\r")
    await shell.shows("be gun")
    shell.child.sendintr()
    await shell.shows("interrupted", IN)
    shell.child.send("print('com', 'putes'); [None for _ in iter(int, 1)]\r")
    await shell.shows("com putes")
    shell.child.sendintr()
    await shell.shows("interrupted", IN)
    # A connection that is lost is said so, and comes again
    await node.interrupt()
    await shell.shows("disconnected")
    await shell.runs("await peer.request(Ask(asset='x'), Price)", "PeerNotConnected")
    address = uri.partition("@")[2]
    await start("run", "shop.py", "--listen", address, "--data-dir", "theirs", "--json")
    await shell.shows("connected")
    await shell.runs("(await peer.request(Ask(asset='x'), Price)).sats * 2", r"0m42\r")
    shell.child.send("\x04")
    assert await shell.ends() == 0
    assert (tmp_path / "state" / FOLDER / "profile_default" / "history.sqlite").exists()
    assert not (tmp_path / "home" / ".ipython").exists()


async def test_without_a_peer_it_says_how_to_dial_and_sigterm_ends_it(terminal: Callable[..., Terminal]) -> None:
    shell = terminal()
    await shell.shows("No peer yet: peer = await app.connect", IN)
    await shell.runs("peer is None, received", r"\(True, deque\(\[\], maxlen=1000\)\)")
    await shell.runs("%who_ls", "asyncio")
    shell.child.kill(signal.SIGTERM)
    assert await shell.ends() == 128 + signal.SIGTERM


def test_the_history_is_in_the_users_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "oddwire/shell"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_folder() == tmp_path / ".local/state/oddwire/shell"
