"""Programs end: in bounds whatever their code does, at once at a second signal, and saying what held them up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest
from tests.support.waiting import until

from oddwire.cli.events import Printer
from oddwire.cli.shutdown import Shutdown

# What hangs hangs for ever, so the limit may be short: a busy machine only makes it end later
PROGRAM = """
import asyncio, atexit, hashlib, os, sys, threading, time, warnings
from oddwire.cli.shutdown import importing, on_hangup, on_stop, watch_over
from oddwire.cli.events import Printer
from oddwire.cli.running import execute
from oddwire.cli.environment import prepare

def work():
    while True:
        time.sleep(1)

async def swallows():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def blocks(): time.sleep(1000)

async def spins():
    while True: pass

async def blocks_in_c(): hashlib.pbkdf2_hmac("sha256", b"", b"", 2 * 10**9)

async def eats_all():
    while True:
        try:
            time.sleep(1)
        except BaseException:
            pass

async def leaves_a_thread(): threading.Thread(target=work, name="worker").start()

async def leaves_a_pool(): asyncio.get_running_loop().run_in_executor(None, time.sleep, 1000)

async def stops_at_exit(): atexit.register(work)

async def imports_without_end():
    with importing():
        try:
            work()
        finally:
            tell("thrown out")

async def cleans_up():
    try:
        await asyncio.sleep(1000)
    finally:
        tell("cleaned up")

async def hangs_up():
    on_hangup(lambda: tell("anew"))
    await cleans_up()

async def forks():
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of Python 3.12: there are threads
        child = os.fork()
    if child == 0:
        time.sleep(1000)
        os._exit(0)
    os.kill(child, 15)
    tell(f"child {os.waitpid(child, 0)[1]}")
    await cleans_up()

def tell(text):
    os.write(1, text.encode() + b"\\n")

async def main():
    tell("ready")
    await globals()[sys.argv[1]]()
    return 0

prepare()
sys.exit(execute(main, Printer(), limit=float(sys.argv[2]), uvloop="uvloop" in sys.argv))
"""


@pytest.fixture
def begin(start, tmp_path: Path):
    (tmp_path / "program.py").write_text(PROGRAM)

    async def begin(what: str, limit: float = 1000.0, *more: str):
        program = await start(what, str(limit), *more, program=tmp_path / "program.py")
        await program.line("ready")
        await asyncio.sleep(0.1)  # it then does what it does; earlier is right, too
        return program

    return begin


@pytest.mark.parametrize("gap", [0.0, 0.005])
def test_two_signals_at_once_are_one(gap: float) -> None:
    """``timeout`` sends two, to the process and to its group."""
    ended: list[str] = []

    class Told(Shutdown):
        def _end(self, how: str, number: signal.Signals | None) -> None:
            ended.append(how)

    ending = Told(Printer())
    ending.interruptible = False
    ending._take(signal.SIGINT)
    ending._first_at -= gap
    ending._take(signal.SIGINT)
    assert ended == []
    ending._take(signal.SIGTERM)
    ending._first_at -= 0.05
    ending._take(signal.SIGINT)
    ending._set_alarm(0.0)
    assert ended == ["SIGTERM after SIGINT: ended at once", "SIGINT again: ended at once"]


HOLDERS = {
    "swallows": "swallows at PROGRAM:15",
    "blocks": "blocks at PROGRAM:19, which does not end",
    "spins": "spins at PROGRAM:22, which does not end",
    "blocks_in_c": "blocks_in_c at PROGRAM:24, which does not end",
    "eats_all": "eats_all at PROGRAM:29, which does not end",
    "leaves_a_thread": "work at PROGRAM:10, in thread 'worker'",
    "leaves_a_pool": "time.sleep, in thread 'asyncio_0'",
    "stops_at_exit": "work at PROGRAM:10, which does not end",
}


CLOSING = ("leaves_a_thread", "leaves_a_pool", "stops_at_exit")  # the command itself is over


@pytest.mark.parametrize("what", HOLDERS)
async def test_a_second_signal_ends_it_at_once(begin, tmp_path: Path, what: str) -> None:
    program = await begin(what)
    if what in CLOSING:
        await asyncio.sleep(0.5)  # there is nothing that a first one could ask to end
    else:
        program.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)  # two at the same time may be one
    code, _, err = await program.interrupt(signal.SIGINT)
    assert code == 130
    holder = HOLDERS[what].replace("PROGRAM", str(tmp_path / "program.py"))
    assert holder in err.splitlines()[-1]
    assert "ended at once" in err


@pytest.mark.parametrize("what", HOLDERS)
async def test_it_ends_in_time_and_names_what_held_it_up(begin, tmp_path: Path, what: str) -> None:
    program = await begin(what, 0.5)
    closing = what in CLOSING
    code, _, err = await (program.end() if closing else program.interrupt(signal.SIGTERM))
    assert code == (1 if closing else 143)
    holder = HOLDERS[what].replace("PROGRAM", str(tmp_path / "program.py"))
    assert holder in err
    assert "Traceback" not in err


@pytest.mark.parametrize("what", ["swallows", "blocks", "blocks_in_c", "cleans_up"])
async def test_uvloop_ends_no_other_way(begin, what: str) -> None:
    pytest.importorskip("uvloop")
    program = await begin(what, 0.5, "uvloop")
    code, _, err = await program.interrupt(signal.SIGTERM)
    assert code == 143
    assert ("" if what == "cleans_up" else what) in err


async def test_it_says_what_it_waits_for(begin) -> None:
    program = await begin("swallows", 4.0)
    _, _, err = await program.interrupt()
    waiting, ended = err.splitlines()
    assert waiting.startswith("oddwire: waiting for swallows at ")
    assert waiting.endswith(" s, or at once at a second signal")
    assert ended.startswith("oddwire: SIGINT: ended unfinished; held up by swallows at ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_cancels_the_command(begin, number: signal.Signals) -> None:
    program = await begin("cleans_up")
    code, out, err = await program.interrupt(number)
    assert (code, out, err) == (128 + number, "ready\ncleaned up\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_an_import_ends_at_once(begin, number: signal.Signals) -> None:
    program = await begin("imports_without_end")
    code, out, err = await program.interrupt(number)
    assert (code, out, err) == (128 + number, "ready\nthrown out\n", "")


async def test_sighup_may_mean_something_else(begin) -> None:
    program = await begin("hangs_up")
    for _ in range(2):
        program.process.send_signal(signal.SIGHUP)
        await program.line("anew")
    code, out, _ = await program.interrupt()
    assert (code, out.splitlines()[-1]) == (130, "cleaned up")


async def test_a_forked_child_has_its_own_signals(begin) -> None:
    program = await begin("forks")
    await program.line("child 15")
    code, out, err = await program.interrupt()
    assert (code, out.splitlines()[-1], err) == (130, "cleaned up", "")


STUCK = """
import asyncio, time
from oddwire import Context, Extension, Message, message

extension = Extension("stuck", version="1.0")

@message(0x8D01)
class Ask(Message):
    how: str

@extension.on(Ask)
async def ask(context: Context, ask: Ask) -> None:
    print("handling", flush=True)
    if ask.how == "thread":
        await asyncio.to_thread(time.sleep, 1000)
    time.sleep(1000)

@extension.on_shutdown
async def shutdown(context) -> None:
    await asyncio.sleep(1000)

if __name__ == "__main__":
    extension.run()
"""


@pytest.mark.parametrize("how", ["thread", "block"])
async def test_the_handler_is_named(start, oddwire, tmp_path: Path, how: str) -> None:
    (tmp_path / "stuck.py").write_text(STUCK)
    node = await start("run", "./stuck.py", "--listen", "127.0.0.1:0")
    uri = (await node.line("listening")).split()[-1]
    await oddwire("send", uri, "stuck.Ask", f"how={how}", "--extension", "./stuck.py", "--wait", "0")
    await node.line("handling")
    node.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    code, _, err = await node.interrupt(signal.SIGTERM)
    assert code == 143
    line = 15 if how == "thread" else 16
    assert (
        f"SIGTERM again: ended at once; held up by the handler of Ask of 'stuck' at {tmp_path}/stuck.py:{line}" in err
    )


async def test_a_script_ends_the_same_way_and_names_its_hook(start, tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(STUCK)
    node = await start("--listen", "127.0.0.1:0", program=tmp_path / "stuck.py")
    await node.line("listening")
    node.process.send_signal(signal.SIGINT)
    await asyncio.sleep(0.5)
    code, _, err = await node.interrupt()
    assert code == 130
    assert f"held up by the on_shutdown hook of 'stuck' at {tmp_path}/stuck.py:20" in err


async def test_run_ends_at_sighup_unless_it_is_ignored(start) -> None:
    node = await start("run", "echo", "--listen", "127.0.0.1:0")
    await node.line("listening")
    assert (await node.interrupt(signal.SIGHUP))[0] == 0
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        node = await start("run", "echo", "--listen", "127.0.0.1:0")
    finally:
        signal.signal(signal.SIGHUP, before)
    await node.line("listening")
    node.process.send_signal(signal.SIGHUP)
    assert (await node.interrupt(signal.SIGTERM))[0] == 0


DEAF = """#!{python}
import json, os, sys, time
buffer = b""
while True:
    data = os.read(0, 65536)
    if not data:
        time.sleep(1000)
    *documents, buffer = (buffer + data).split(b"\\n\\n")
    for document in map(json.loads, documents):
        if "id" in document:
            result = {{"options": [], "rpcmethods": [], "subscriptions": ["shutdown"], "dynamic": True}}
            print(json.dumps({{"jsonrpc": "2.0", "id": document["id"], "result": result}}), flush=True)
"""


async def test_a_node_kills_the_plugin_that_holds_it_up(start, tmp_path: Path) -> None:
    plugin = tmp_path / "deaf.py"
    plugin.write_text(DEAF.format(python=sys.executable))
    plugin.chmod(0o755)
    node = await start(
        "node", "--lightning-dir", "alice", "--plugin", plugin, "--log-level", "debug", "--log-file", "log"
    )
    await node.line("")
    log = tmp_path / "log"
    started = next(line for line in log.read_text().splitlines() if "started(" in line)
    child = int(started.partition("started(")[2].partition(")")[0])
    node.process.send_signal(signal.SIGINT)
    await until(lambda: "SIGINT: shutting down" in log.read_text())
    await asyncio.sleep(0.2)  # a signal that follows within 50 ms is the same one
    code, _, err = await node.interrupt()
    assert code == 130
    assert "held up by plugin deaf.py, which was asked to shut down" in err
    await until(lambda: not Path(f"/proc/{child}/exe").exists())  # it is gone, or nobody's zombie
    assert not [*(tmp_path / "alice").rglob("lightning-rpc")]


async def test_sighup_has_a_node_open_its_log_anew(start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    node = await start("node", "--lightning-dir", "alice", "--log-file", log)
    await node.line("")
    log.rename(tmp_path / "log.1")
    node.process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(30):
        while not log.exists() or "SIGHUP" not in log.read_text():
            await asyncio.sleep(0.05)
    assert (await node.interrupt(signal.SIGTERM))[0] == 0
    assert "SIGTERM: shutting down" in log.read_text()


async def test_a_killed_node_is_in_nobodys_way(start, tmp_path: Path) -> None:
    for _ in range(2):
        node = await start("node", "--lightning-dir", "alice")
        await node.line("")
        await node.interrupt(signal.SIGKILL)
    assert [path.is_socket() for path in (tmp_path / "alice").rglob("lightning-rpc")] == [True]
    node = await start("node", "--lightning-dir", "alice")
    await node.line("")
    assert (await node.interrupt(signal.SIGTERM))[0] == 0


async def test_a_reader_who_stopped_holds_nothing_up(start) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writing, True)
    node = await start("run", "echo", "--listen", "127.0.0.1:0", stdout=writing)
    await asyncio.sleep(2.0)  # its line cannot be seen
    node.process.send_signal(signal.SIGINT)
    await asyncio.sleep(0.5)
    with contextlib.suppress(ProcessLookupError):  # before it takes signals, Ctrl-C is the kernel's
        node.process.send_signal(signal.SIGINT)
    async with asyncio.timeout(60):
        assert await node.process.wait() in (130, -2)
    os.close(reading)
    os.close(writing)
