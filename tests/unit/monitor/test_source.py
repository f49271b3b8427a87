"""The source: asks a program that is scripted, and goes on when that is back."""

from __future__ import annotations

import pytest
from tests.support.waiting import until
from tests.support.watched_program import ALICE, WatchedProgram

from oddwire.errors import ConnectionClosed
from oddwire.jsonrpc import JsonRpcServer, encode
from oddwire.monitor.model import Model
from oddwire.monitor.source import NotWatchable, Source

QUICK = {"every": 0.01, "again": (0.01,)}


def events(model):
    return [event.event for event in model.events]


async def test_counters_and_events_reach_the_model(tmp_path):
    model = Model()
    async with WatchedProgram(tmp_path / "rpc") as program, Source(tmp_path / "rpc", model, **QUICK).watching():
        assert model.state == "connected"
        assert model.program.name == "talk"
        program.connect(ALICE)
        program.message("received", "8c11ff", "chat.Say", {"text": "hi"})
        await until(lambda: events(model) == ["connected", "received"])
        await until(lambda: model.types and model.types[0].received == 1 and model.peers[0].received == 1)


async def test_what_was_before_is_not_told(tmp_path):
    model = Model()
    async with WatchedProgram(tmp_path / "rpc") as program:
        program.message("received", "8c11ff")
        async with Source(tmp_path / "rpc", model, **QUICK).watching():
            program.message("sent", "8c13ff")
            await until(lambda: events(model) == ["sent"])


async def test_missed_events_are_counted(tmp_path):
    model = Model()
    async with WatchedProgram(tmp_path / "rpc") as program, Source(tmp_path / "rpc", model, **QUICK).watching():
        await until(lambda: any(method == "oddwire-watch" and params["wait"] for method, params in program.asked))
        program.forgotten = 3
        for _ in range(5):
            program.message("received", "8c11ff")
        await until(lambda: model.missed == 3 and len([*model.events]) == 3)
        assert events(model) == ["missed", "received", "received"]


async def test_a_node_is_watched_by_its_own_methods(tmp_path):
    model = Model()
    async with (
        WatchedProgram(tmp_path / "rpc", prefix="node", name="node") as program,
        Source(tmp_path / "rpc", model, **QUICK).watching(),
    ):
        program.message("received", "8c11ff")
        await until(lambda: events(model) == ["received"])
        assert {method for method, _ in program.asked} == {"node-stats", "node-watch"}


async def test_a_program_that_is_started_again_is_watched_on(tmp_path):
    model = Model()
    source = Source(tmp_path / "rpc", model, **QUICK)
    async with WatchedProgram(tmp_path / "rpc", pid=1) as program:
        watching = source.watching()
        await watching.__aenter__()
        program.message("received", "8c11ff")
        await until(lambda: events(model) == ["received"])
    await until(lambda: "trying again" in model.state)
    async with WatchedProgram(tmp_path / "rpc", pid=2) as program:
        await until(lambda: model.state == "connected")
        program.message("sent", "8c11ff")
        await until(lambda: events(model) == ["received", "missed", "sent"])
        await watching.__aexit__(None, None, None)
    assert model.restarts == 1


async def test_a_connection_that_is_lost_misses_nothing_the_program_kept(tmp_path):
    model = Model()
    program = WatchedProgram(tmp_path / "rpc", pid=1)
    async with program, Source(tmp_path / "rpc", model, **QUICK).watching():
        program.message("received", "8c11ff")
        await until(lambda: events(model) == ["received"])
        for connection in list(program._server.connections):
            connection.abort()
        program.message("sent", "8c11ff")
        await until(lambda: events(model) == ["received", "sent"])


async def test_where_no_program_is(tmp_path):
    with pytest.raises(ConnectionClosed):
        async with Source(tmp_path / "rpc", Model()).watching():
            pytest.fail("nobody answers")


async def test_what_cannot_be_watched(tmp_path):
    async with WatchedProgram(tmp_path / "rpc", prefix="other"):
        with pytest.raises(NotWatchable, match="has no method node-watch or oddwire-watch"):
            async with Source(tmp_path / "rpc", Model()).watching():
                pytest.fail("it has none of the methods")


@pytest.mark.parametrize("answer", [3, {"events": 1, "next": 2}, {"events": [], "next": "x"}, {"next": 1}])
async def test_answers_that_are_none_are_told_of(tmp_path, answer):
    model = Model()

    def handle(request, _):
        watch = request["method"] == "oddwire-watch"
        known = request["method"].startswith("oddwire-")
        first = watch and request["params"].get("wait") == 0
        result = {"events": [], "next": 0} if first else answer if watch else {"pid": 1}
        body = {"result": result} if known else {"error": {"code": -32601, "message": "none"}}
        return encode({"jsonrpc": "2.0", "id": request["id"], **body})

    server = JsonRpcServer(tmp_path / "rpc", handle)
    await server.start()
    async with Source(tmp_path / "rpc", model, **QUICK).watching():
        await until(lambda: "oddwire-watch answers" in model.state)
    await server.aclose()
