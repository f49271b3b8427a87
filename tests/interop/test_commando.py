"""The server of commando, whose client is lnmessage: by TCP, by WebSocket, and from a page in Chromium."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys

import pytest
from tests.support.ports import free_port

pytestmark = pytest.mark.interop


class Served:
    """What lnmessage dials, and how its operator makes runes."""

    def __init__(self, uris, call):
        self.uris = uris
        self.call = call

    async def rune(self, *restrictions):
        return (await self.call("commando-createrune", restrictions=[*restrictions]))["rune"]


@pytest.fixture
def start_served_node(start):
    """Start an embedded node with the plugin, which listens for TCP and for WebSocket."""

    async def start_node():
        port = free_port()
        daemon = await asyncio.to_thread(start.node, "commanded", options=[f"--listen=ws://127.0.0.1:{port}"])
        return Served([daemon.uri, f"{daemon.node_id}@ws://127.0.0.1:{port}"], daemon.call)

    return start_node


class Program:
    """``python -m oddwire_extensions.commando``, which is asked on its standard input."""

    @classmethod
    async def start(cls, folder):
        self = cls()
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "oddwire_extensions.commando", "--json", "--data-dir", str(folder)),
            *("--listen", "127.0.0.1:0", "--listen", "ws://127.0.0.1:0"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
        return self

    async def event(self, name):
        async with asyncio.timeout(30):
            while line := await self.process.stdout.readline():
                found = json.loads(line)
                if found["event"] == name:
                    return found
        raise AssertionError((await self.process.stderr.read()).decode())

    async def call(self, method, **params):
        words = [method, "", *map(json.dumps, params.values())]  # in order: an empty rune first
        self.process.stdin.write(shlex.join(words).encode() + b"\n")
        return (await self.event("result"))["value"]

    async def aclose(self):
        self.process.terminate()
        _, errors = await self.process.communicate()
        assert self.process.returncode == 0, errors.decode()


@pytest.fixture
def start_served_program(peers, tmp_path):
    """Start the module as a program."""

    async def start_program():
        program = await Program.start(tmp_path / "home")
        peers.push_async_callback(program.aclose)
        return Served([(await program.event("listening"))["uri"] for _ in range(2)], program.call)

    return start_program


@pytest.fixture(params=["node", "program"])
async def served(request, start_served_node, start_served_program):
    return await (start_served_node if request.param == "node" else start_served_program)()


@pytest.fixture(params=["tcp", "websocket", "browser"])
def dialer(request):
    """How lnmessage is started, and which of our addresses it dials."""
    name = "start_browser" if request.param == "browser" else "start_lnmessage"
    return request.getfixturevalue(name), int(request.param != "tcp")


@pytest.fixture
async def lnmessage(dialer, served):
    """lnmessage, connected."""
    start, address = dialer
    peer = await start()
    await peer.connect(served.uris[address])
    await peer.event("connected")
    return peer


async def test_getinfo_with_a_rune(served, lnmessage):
    node_id = served.uris[0].partition("@")[0]
    answer = await lnmessage.commando("getinfo", {}, await served.rune(["method=getinfo"]))
    assert answer["result"]["id"] == node_id
    peers = await lnmessage.commando("listpeers", [], await served.rune())
    assert [peer["id"] for peer in peers["result"]["peers"]] == [lnmessage.node_id]


async def test_without_one_and_with_one_for_something_else(served, lnmessage):
    for rune, text in (
        ("AAAA", "Invalid rune: rune: should be base64 string"),
        (await served.rune(["method=listpeers"]), "Invalid rune: Not permitted: method: != listpeers"),
    ):
        answer = await lnmessage.commando("getinfo", {}, rune)
        assert answer == {"error": {"code": 19537, "message": text}}


async def test_the_errors_of_methods(served, lnmessage):
    answer = await lnmessage.commando("no-such-method", {}, await served.rune())
    assert answer["error"]["code"] == -32601
    answer = await lnmessage.commando("commando-checkrune", {}, await served.rune())
    assert answer["error"]["code"] == -32602


async def test_an_answer_in_several_pieces(served, lnmessage):
    for number in range(60):
        await served.rune([f"comment#{number}{'x' * 900}"])
    answer = await lnmessage.commando("commando-showrunes", {}, await served.rune())
    assert len(json.dumps(answer)) > 200_000
    assert [rune["unique_id"] for rune in answer["result"]["runes"]] == [str(number) for number in range(61)]


async def test_many_commands_at_the_same_time(served, lnmessage):
    rune = await served.rune()
    answers = await asyncio.gather(*(lnmessage.commando("getinfo", {}, rune) for _ in range(30)))
    assert {answer["result"]["id"] for answer in answers} == {served.uris[0].partition("@")[0]}


async def test_a_rate(served, lnmessage):
    rune = await served.rune(["per=1hour"])
    assert "result" in await lnmessage.commando("getinfo", {}, rune)
    answer = await lnmessage.commando("getinfo", {}, rune)
    assert answer["error"]["message"] == "Invalid rune: Not permitted: per: too soon"
