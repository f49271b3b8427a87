"""oddwire.cli.monitor: as processes, on a program that is scripted and on a real one; on a terminal of its own."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import sys
import termios
from pathlib import Path

import pytest
from tests.support.waiting import until
from tests.support.watched_program import ALICE, WatchedProgram
from typer.main import get_command

from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.monitor import _check, _only
from oddwire.cli.monitor import program as command
from oddwire.cli.running_programs import RunningProgram
from oddwire.monitor.recording import read_recording

SAY = "8c1182a474657874a26869a66e756d62657201"


@pytest.fixture
async def program(tmp_path):
    async with WatchedProgram(tmp_path / "rpc") as program:
        program.connect(ALICE)
        yield program


def asked_for_events(program):
    return any(method == "oddwire-watch" and params.get("wait") for method, params in program.asked)


async def test_a_recording_until_it_is_interrupted(program, start, tmp_path):
    file = tmp_path / "talk.jsonl"
    command = await start("monitor", "--rpc-file", str(program.path), "--record", str(file), "--json")
    await until(lambda: file.exists() and asked_for_events(program))
    program.message("received", SAY, "chat.Say", {"text": "hi", "number": 1})
    await until(lambda: len(file.read_text().splitlines()) == 3)
    code, out, err = await command.interrupt()
    assert (code, err) == (0, "")
    [result] = map(json.loads, out.splitlines())
    assert result["value"] == {
        "file": str(file),
        "events": 1,
        "bytes": file.stat().st_size,
        "missed": 0,
        "full": False,
    }
    assert [event.event for event in read_recording(file).events] == ["connected", "received"]


async def test_a_full_recording_ends_the_command(program, start, oddwire, tmp_path):
    file = tmp_path / "talk.jsonl"
    options = ("--rpc-file", str(program.path), "--record", str(file))
    command = await start("monitor", *options, "--max-bytes", "4096")
    await until(lambda: asked_for_events(program))
    for number in range(100):
        program.message("received", SAY, "chat.Say", {"text": "hi", "number": number})
    code, _, err = await command.end()
    assert code == 0
    assert "it is full, at --max-bytes 4096" in err
    code, _, err = await oddwire("monitor", *options)
    assert (code, f"{file} is there already; --force replaces it" in err) == (USAGE, True)


async def test_a_program_that_ends_and_is_back_is_told_of(program, start, tmp_path):
    file = tmp_path / "talk.jsonl"
    command = await start("monitor", "--rpc-file", str(program.path), "--record", str(file))
    await until(lambda: asked_for_events(program))
    await program.__aexit__()
    async with WatchedProgram(program.path, pid=2) as again:
        await until(lambda: asked_for_events(again))
        again.message("sent", SAY, "chat.Say", {"number": 7})
        await until(lambda: '"number": 7' in file.read_text())
        code, _, err = await command.interrupt(signal.SIGTERM)
    assert code == 0
    assert "trying again" in err
    assert "is watched again" in err
    assert read_recording(file).missed == 1


async def test_a_running_program_is_found_recorded_and_replayed(start, oddwire, tmp_path):
    running = await start("run", "echo", "--listen", "127.0.0.1:0", "--json", "--data-dir", str(tmp_path / "data"))
    uri = (await running.event("listening"))["uri"]
    file = tmp_path / "echo.jsonl"
    command = await start("monitor", "--program", "echo", "--record", str(file))
    await until(file.exists)
    code, _, err = await oddwire("send", uri, "echo.Request", "text=hi")
    assert code == 0, err
    await until(lambda: '"disconnected"' in file.read_text())
    assert (await command.interrupt())[0] == 0
    code, out, err = await oddwire("replay", str(file), "echo")
    assert (code, out) == (0, f"{file}: 1 received again, 1 sent: no difference\n"), err


async def test_the_page_is_served_at_an_address_that_is_printed(program, start, tmp_path):
    command = await start("monitor", "--rpc-file", str(program.path), "--web", "--json")
    address = (await command.event("listening"))["uri"]
    assert address.startswith("http://127.0.0.1:")
    assert "/#token=" in address
    code, _, err = await command.interrupt()
    assert (code, err) == (0, "")


class Terminal:
    """The monitor on a terminal of 80 columns and 24 lines."""

    def __init__(self, process, master):
        self.process = process
        self.shown = b""
        self._master = master
        asyncio.get_running_loop().add_reader(master, self._read)

    @classmethod
    async def start(cls, *arguments):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "oddwire.cli.main", "monitor", *arguments),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(slave)
        return cls(process, master)

    def _read(self):
        try:
            self.shown += os.read(self._master, 65536)
        except OSError:
            asyncio.get_running_loop().remove_reader(self._master)

    def type(self, text):
        os.write(self._master, text)

    async def end(self):
        code = await asyncio.wait_for(self.process.wait(), 30)
        with contextlib.suppress(OSError):
            while data := os.read(self._master, 65536):
                self.shown += data
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        return code


@pytest.mark.parametrize("end", [b"q", b"\x03", signal.SIGTERM])
async def test_a_terminal_is_left_as_it_was(program, end):
    terminal = await Terminal.start("--rpc-file", str(program.path))
    await until(lambda: b"0279be66...1798" in terminal.shown)
    if isinstance(end, bytes):
        terminal.type(end)
    else:
        terminal.process.send_signal(end)
    assert await terminal.end() == 0
    assert terminal.shown.count(b"\x1b[?1049h") == terminal.shown.count(b"\x1b[?1049l") == 1
    assert b"\x1b[?25h" in terminal.shown


async def test_where_nobody_is(oddwire, tmp_path):
    code, _, err = await oddwire("monitor", "--rpc-file", str(tmp_path / "none"), "--record", str(tmp_path / "file"))
    assert code == 1
    assert "none" in err
    assert not (tmp_path / "file").exists()
    code, _, err = await oddwire("monitor", "--program", "nobody", "--web")
    assert code == 1
    assert "no program 'nobody' is running" in err


async def test_what_has_no_such_methods(oddwire, tmp_path):
    async with WatchedProgram(tmp_path / "rpc", prefix="other"):
        code, _, err = await oddwire("monitor", "--rpc-file", str(tmp_path / "rpc"), "--web")
    assert code == 1
    assert "has no method node-watch or oddwire-watch; of a lightningd, name a plugin by --program" in err


@pytest.mark.parametrize(("library", "extra"), [("uvicorn", "web"), ("starlette", "web")])
async def test_a_library_that_is_not_installed(program, library, extra):
    code = f"import sys; sys.modules[{library!r}] = None; from oddwire.cli.main import main; main()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, "monitor", "--rpc-file", str(program.path), "--web"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert process.returncode == USAGE
    assert f"pip install 'oddwire[{extra}]'" in err.decode()


NOTHING = {"web": False, "listen": None, "record": None, "seconds": None, "as_json": False}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"web": True, "record": Path("x")}, "--web and --record do not go together"),
        ({"listen": "127.0.0.1:0"}, "--listen is where the page of --web is served"),
        ({"seconds": 3.0}, "--seconds and --json are for --record FILE and --web"),
        ({"as_json": True}, "--seconds and --json are for --record FILE and --web"),
        ({}, "a terminal is needed; --record FILE and --web do without"),
    ],
)
def test_options_that_do_not_go_together(options, says):
    with pytest.raises(CommandFailure, match=says) as caught:
        _check(**{**NOTHING, **options})
    assert caught.value.code == USAGE


async def test_other_addresses_are_refused(program, oddwire):
    code, _, err = await oddwire("monitor", "--rpc-file", str(program.path), "--web", "--listen", "0.0.0.0:80")
    assert code == USAGE
    assert "on loopback alone" in err


def test_which_of_several_programs():
    run = RunningProgram("run", "chat", 1, Path("run"))
    plugin = RunningProgram("plugin", "talk", 2, Path("plugin"))
    node = RunningProgram("node", "alice", 3, Path("node"))
    assert _only([run]) == Path("run")
    assert _only([plugin, node, plugin]) == Path("node")
    for several in ([run, plugin], [run, node], [plugin, plugin], [node, node]):
        with pytest.raises(CommandFailure, match="several programs are running, and one should be named: ") as caught:
            _only(several)
        assert caught.value.code == USAGE


def test_the_options_that_say_which_program_say_so():
    help_of = {name: option.help for option in get_command(command).params for name in option.opts}
    assert help_of["--data-dir"] == "The oddwire run that has this one."
