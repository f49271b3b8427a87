"""An extension whose handlers do all that no handler should: each hook call is answered, and the plugin goes on."""

from __future__ import annotations

import asyncio
import struct
import subprocess
import sys

import msgpack
import pytest

PEER = "03284bb117cd2af9e6f4268e433f199bab2a29b1b863127bbd351706b5d0ddd625"
OTHER = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"

# What a handler does, and words of the line that the log then has
PASSING = {
    "raise-an-error": "raised on purpose",
    "answer-nonsense": "dict should be a message",
    "answer-an-unregistered-message": "Stray",
    "leave": "stop()",
    "leave-in-a-task": "SystemExit",
    "leave-in-a-callback": "SystemExit",
    "raise-generator-exit": "GeneratorExit: by hand",
    "raise-keyboard-interrupt": "KeyboardInterrupt: by hand",
    "interrupt-in-a-task": "KeyboardInterrupt",
    "print-something": "printed after all",
    "have-a-child-print": "printed by a child",
    "read-what-is-not-there": "read '' and b''",
    "log-what-cannot-be-written": "half a pair",
    "ignore-sigterm": None,
    "close-the-standard-streams": None,
    "wait-for-what-is-cancelled": None,
}

NOISY = """
import os
from oddwire import Extension
print("printed while loading")
os.write(1, b"written while loading\\n")
os.system("echo said by a child while loading")
extension = Extension("noisy", version="1.0")
"""


def trouble(how: str) -> bytes:
    return b"\x8d\x01" + msgpack.packb({"how": how})


def question(number: int) -> bytes:
    return struct.pack(">HI", 0x8D03, number)


def answer(number: int) -> bytes:
    return struct.pack(">HI", 0x8D05, number)


@pytest.fixture(params=["hook", "notification"])
async def host(start, request):
    host = await start("rough", ROUGH_RECEIVE=request.param)
    host.connect(PEER)
    host.connect(OTHER)
    return host


async def works(host, *peers):
    for peer in peers or (PEER, OTHER):
        await host.custommsg(peer, question(1))
        assert await host.sent(peer) == answer(1)


@pytest.mark.parametrize(("how", "words"), PASSING.items())
async def test_the_plugin_goes_on(host, how, words):
    await host.custommsg(PEER, trouble(how))
    await works(host)
    if words is not None:
        _, line = await host.logged(words)
        assert "Traceback" not in line.splitlines()[0]
    await host.custommsg(PEER, trouble(how))
    await works(host)
    assert host.running


async def test_a_method_that_does_the_same_gets_an_answer(host):
    for how in PASSING:
        reply = await host.request("rough-do", {"how": how})
        assert ("result" in reply) != ("error" in reply), how
        await works(host)


async def test_prints_are_lines_of_the_log(host):
    assert (await host.logged("printed while loading")) == ("info", "printed while loading")
    await host.custommsg(PEER, trouble("print-something"))
    await host.logged("printed after all")
    lines = [line for _, line in host.log]
    assert "printed, no line endedprinted by a handler" in lines
    assert '{"jsonrpc": "2.0", "id": "cln:custommsg#1", "result": {"result": "crash"}}' in lines
    assert "written by a handler" in lines
    assert any("no UTF-8, no line ended" in line for line in lines)
    # A line of 100 000 characters, in one piece or in several, of each of which the log has the beginning
    long = [line for line in lines if "x" * 1000 in line]
    assert long
    assert all(line.endswith(" characters)") for line in long if line.count("x") >= 16384)


async def test_a_plugin_file_catches_what_is_written_while_it_loads(spawn, tmp_path):
    noisy, file = tmp_path / "noisy.py", tmp_path / "plugin"
    noisy.write_text(NOISY)
    command = [sys.executable, "-m", "oddwire.cli.main", "plugin", str(noisy), "-o", str(file)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    host = await spawn(file, PYTHONUNBUFFERED="1")
    await host.load()
    for text in ("printed", "written", "said by a child"):
        assert await host.logged(f"{text} while loading") == ("info", f"{text} while loading")
    assert await host.init() == {}


@pytest.mark.parametrize("how", ["hang", "hang-on"])
async def test_a_handler_that_hangs_keeps_only_its_own_peer_waiting(host, how):
    await host.custommsg(PEER, trouble(how), *[question(number) for number in range(50)])
    await works(host, OTHER)
    assert not [call for call in host.calls if call[0] == "sendcustommsg"]


async def test_a_loop_that_is_blocked_answers_every_hook(host):
    await host.custommsg(PEER, trouble("block"))
    await host.logged("blocking the loop")
    for peer in (PEER, OTHER):
        await host.custommsg(peer, *[question(number) for number in range(500)])
    call = host.ask("rough-told", [])
    assert not [call for call in host.calls if call[0] == "sendcustommsg"]
    assert not call.done()
    (host.folder / "go").touch()
    for peer in (PEER, OTHER):
        assert [await host.sent(peer) for _ in range(500)] == [answer(number) for number in range(500)]
    assert "result" in await call


async def test_a_host_that_does_not_read_blocks_nobody(host):
    """The hook's answers wait in the pipe, and the handlers go on: what they send goes another way."""
    host.reading.clear()
    for number in range(20):
        host.hand_on(PEER, trouble("print-something"))
        host.hand_on(PEER, question(number))
        assert await host.sent(PEER) == answer(number)
    last = host.hand_on(PEER, question(20))
    host.reading.set()
    if last is not None:
        assert (await last)["result"] == {"result": "continue"}
    assert await host.sent(PEER) == answer(20)


async def test_what_is_not_for_the_plugin_does_it_no_harm(host):
    """Requests and notifications nobody asked for; parameters that are not what they should be."""
    assert (await host.error("rough-nothing"))[0] == -32601
    assert (await host.error("getinfo"))[0] == -32601
    await host.request("peer_connected", {"peer": {"id": PEER}})
    for params in ({}, [], {"payload": "8d03", "peer_id": 7}, {"payload": "zz", "peer_id": PEER}, {"payload": None}):
        assert (await host.request("custommsg", params))["result"] == {"result": "continue"}
    for topic, params in (("block_added", {"height": 1}), ("connect", {}), ("connect", {"connect": []})):
        host.write(host.habits.write({"jsonrpc": "2.0", "method": topic, "params": params}))
    await works(host)


@pytest.mark.parametrize(
    ("how", "words", "count"),
    [("wait", "waiting", 250), pytest.param("block", "blocking the loop", 1200, marks=pytest.mark.long)],
)
async def test_messages_beyond_what_is_held_are_dropped_counted_and_logged(host, how, words, count):
    """Of a peer whose handler waits, and of one that blocks all: nothing grows without end, nothing is lost unsaid."""
    await host.custommsg(PEER, trouble(how))
    await host.logged(words)
    await host.custommsg(PEER, *[b"\x8d\x07" + msgpack.packb({"number": 7, "rest": bytes(65000)})] * count)
    await host.has_read()
    (host.folder / "go").touch()
    level, line = await host.logged("had to be dropped")
    assert level == "unusual"
    assert PEER in line
    (dropped,) = (int(word) for word in line.split() if word.isdigit())
    await works(host, PEER)
    assert (await host.result("rough-told"))["questions"].count(7) == count - dropped
    assert 0 < dropped < count
