"""The client: one connection for all calls, errors as exceptions, and a new connection when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from oddwire.errors import ConnectionClosed, NodeRefused, TransportError
from oddwire.jsonrpc import JsonRpcClient, JsonRpcServer, JsonSplitter, encode


@pytest.fixture
async def client(server: JsonRpcServer):
    async with JsonRpcClient(server.path) as client:
        yield client


async def test_results(client: JsonRpcClient, methods) -> None:
    assert await client.call("echo", {"a": [1, "ü"]}) == {"a": [1, "ü"]}
    assert await client.call("echo", [2]) == [2]
    assert await client.call("echo") == {}
    assert [document["jsonrpc"] for document in methods.seen] == ["2.0"] * 3


async def test_calls_side_by_side_share_a_connection(client: JsonRpcClient, server: JsonRpcServer) -> None:
    results = await asyncio.gather(*(client.call("echo", [number]) for number in range(500)))
    assert results == [[number] for number in range(500)]
    assert len(server.connections) == 1


async def test_calls_go_out_in_the_order_they_are_made(server: JsonRpcServer, methods) -> None:
    """Also those made before there is a connection."""
    order = []

    async def call(client: JsonRpcClient, names) -> None:
        for name in names:
            order.append(name)
            await client.call("echo", [name])

    async with JsonRpcClient(server.path) as client:
        names = iter(range(200))
        await asyncio.gather(*(call(client, names) for _ in range(20)))
    assert [document["params"] for document in methods.seen] == [[name] for name in order]


async def test_calls_with_parameters_that_are_json_already(client: JsonRpcClient, methods) -> None:
    """Their futures can be had in any order; a cancelled one is not sent if it has not gone out."""
    answers = [client.begin("echo", b"[%d]" % number) for number in range(100)]
    for number in (3, 50):
        answers[number].cancel()
    assert await answers[99] == [99]
    assert [await answer for answer in answers if not answer.cancelled()] == [
        [n] for n in range(100) if n not in (3, 50)
    ]
    assert [document["params"] for document in methods.seen] == [[n] for n in range(100) if n not in (3, 50)]
    with pytest.raises(NodeRefused, match=r"^no$"):
        await client.begin("fail", b"{}")


async def test_an_answer_to_a_cancelled_call_is_dropped(client: JsonRpcClient, methods) -> None:
    answer = client.begin("wait", b"{}")
    assert await client.call("echo", [1]) == [1]
    answer.cancel()
    methods.gate.set()
    assert await client.call("echo", [2]) == [2]
    assert answer.cancelled()


async def test_an_answer_that_is_too_large_fails_its_call_alone(server: JsonRpcServer, methods) -> None:
    async with JsonRpcClient(server.path, max_document=100_000) as client:
        waiting = asyncio.create_task(client.call("wait"))
        large = asyncio.create_task(client.call("big", [1_000_000]))
        assert await client.call("big", [10]) == "x" * 10
        text = r"the node's answer to big is too large: 1000\d+ bytes, of at most 100000 \(max_document, or ODDWIRE"
        with pytest.raises(TransportError, match=text):
            await large
        methods.gate.set()
        assert await waiting == "waited"
        assert len(server.connections) == 1, "it is the same connection"


async def test_34_mb_are_taken_unasked_as_listchannels_has_on_mainnet(client: JsonRpcClient) -> None:
    assert len(await client.call("big", [34_000_000])) == 34_000_000


@pytest.mark.parametrize("under_way", [1, 2])
async def test_a_large_answer_that_does_not_say_to_what_is_the_only_calls_that_is_under_way(
    tmp_path, under_way
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\n\n")
        writer.write(encode({"result": "x" * 5000, "id": {}}))
        await reader.read()
        writer.close()

    async with (
        await asyncio.start_unix_server(serve, tmp_path / "rpc"),
        JsonRpcClient(tmp_path / "rpc", max_document=1000) as client,
    ):
        calls = [client.begin("m", b"{}") for _ in range(under_way)]
        for call in calls:
            with pytest.raises(TransportError, match=r"too large: 5.* bytes, of at most 1000"):
                await call
        assert client.connected is (under_way == 1)


async def test_methods_of_any_name(client: JsonRpcClient, methods) -> None:
    for name in ('no "such" method\\', "ü", "two\nlines", "\ud800"):
        assert await client.call(name, [1]) == [1]
        assert methods.seen[-1]["method"] == name


async def test_a_quick_answer_overtakes(client: JsonRpcClient, methods) -> None:
    slow = asyncio.create_task(client.call("wait"))
    assert await client.call("echo", [1]) == [1]
    assert not slow.done()
    methods.gate.set()
    assert await slow == "waited"


async def test_an_error(client: JsonRpcClient) -> None:
    with pytest.raises(NodeRefused, match=r"^no$") as caught:
        await client.call("fail")
    error = caught.value
    assert (error.code, error.data, error.extra) == (-7, {"why": 1}, {"where": "here"})
    assert error.to_json() == {"code": -7, "message": "no", "data": {"why": 1}, "where": "here"}


async def test_giving_up_on_an_answer(client: JsonRpcClient, methods) -> None:
    with pytest.raises(TimeoutError):
        await client.call("wait", timeout=0.01)
    methods.gate.set()
    assert await client.call("echo", [3]) == [3]


async def test_notifications(server: JsonRpcServer) -> None:
    heard = []
    async with JsonRpcClient(server.path, on_notification=lambda *told: heard.append(told)) as client:
        await client.call("tell")
    [(method, params)] = heard
    assert method == "message"
    assert params["level"] == "info"


async def test_a_lost_connection_fails_the_call_and_is_made_anew(client: JsonRpcClient, server: JsonRpcServer) -> None:
    await client.connect()
    waiting = asyncio.create_task(client.call("wait"))
    with pytest.raises(ConnectionClosed):
        await client.call("hang up")
    with pytest.raises(ConnectionClosed):
        await waiting
    assert not client.connected
    assert await client.call("echo", [4]) == [4]
    assert client.connected


async def test_more_is_sent_than_the_node_reads_at_once(client: JsonRpcClient) -> None:
    results = await asyncio.gather(*(client.call("echo", ["x" * 100_000]) for _ in range(100)))
    assert all(result == ["x" * 100_000] for result in results)


async def test_no_node_there(tmp_path: Path) -> None:
    async with JsonRpcClient(tmp_path / "rpc") as client:
        with pytest.raises(ConnectionClosed, match=r"no node answers at .*rpc: No such file"):
            await client.call("echo")


async def test_a_closed_client(client: JsonRpcClient) -> None:
    waiting = asyncio.create_task(client.call("wait"))
    await asyncio.sleep(0.01)
    await client.aclose()
    await client.aclose()
    with pytest.raises(ConnectionClosed):
        await waiting
    with pytest.raises(ConnectionClosed, match="closed"):
        await client.call("echo")


@pytest.mark.parametrize("said", [b"garbage}", b"[1]", b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600}}'])
async def test_a_node_that_does_not_speak_json_rpc(tmp_path: Path, said: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(said)
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(speak, str(tmp_path / "rpc"))
    async with server, JsonRpcClient(tmp_path / "rpc") as client:
        with pytest.raises(ConnectionClosed, match="node"):
            await client.call("echo")


async def test_a_method_that_is_no_name_is_not_told_and_a_code_that_is_no_number_is_none(tmp_path: Path) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\n\n")
        said = [{"method": []}, {"method": "heard"}, {"id": "oddwire:echo#1", "error": {"code": True, "message": "no"}}]
        writer.write(b"".join(map(encode, said)))
        await reader.read()
        writer.close()

    heard: list[str] = []
    server = await asyncio.start_unix_server(speak, str(tmp_path / "rpc"))
    async with (
        server,
        JsonRpcClient(tmp_path / "rpc", on_notification=lambda method, _: heard.append(method)) as client,
    ):
        with pytest.raises(NodeRefused) as caught:
            await client.call("echo")
    assert (type(caught.value.code), caught.value.code) == (int, -1)
    assert heard == ["heard"]


SENT = {"status": "sent"}


def usual(request: Any) -> bytes:
    """The usual result as lightningd writes it."""
    return b'{"jsonrpc":"2.0","id":"%b","result":{"status":"sent"}}\n\n' % request["id"].encode()


@pytest.fixture
def answering(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[JsonRpcClient]]:
    """Make a client of a node that collects some requests, then writes what ``answer`` makes of them, in pieces."""

    @contextlib.asynccontextmanager
    async def make(collected: int, answer: Callable[[list[Any]], list[bytes]]) -> AsyncIterator[JsonRpcClient]:
        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            splitter = JsonSplitter()
            requests: list[Any] = []
            while data := await reader.read(1 << 16):
                requests += splitter.feed(data)
                if len(requests) == collected:
                    for piece in answer(requests):
                        writer.write(piece)
                        await writer.drain()
                        await asyncio.sleep(0)
                    requests.clear()
            writer.close()

        async with (
            await asyncio.start_unix_server(speak, str(tmp_path / "rpc")),
            JsonRpcClient(tmp_path / "rpc", usual=SENT) as client,
            asyncio.timeout(20),
        ):
            yield client

    return make


async def test_the_usual_result_is_each_callers_own(answering) -> None:
    async with answering(3, lambda requests: [b"".join(map(usual, requests))]) as client:
        results = await asyncio.gather(*(client.call("send-it", [number]) for number in range(3)))
    assert results == [SENT] * 3
    results[0]["status"] = "changed"
    assert results[1:] == [SENT] * 2


@pytest.mark.parametrize("cut", range(0, 420, 7))
async def test_the_usual_result_among_others_split_anywhere(answering, cut: int) -> None:
    def answer(requests: list[Any]) -> list[bytes]:
        first, other, spaced, refused, last = requests
        data = usual(first)
        data += encode({"jsonrpc": "2.0", "id": other["id"], "result": {"status": "sent", "to": "all"}})
        data += json.dumps({"jsonrpc": "2.0", "id": spaced["id"], "result": SENT}).encode()
        data += encode({"jsonrpc": "2.0", "id": refused["id"], "error": {"code": -1, "message": "sent"}})
        data += usual(last)
        return [data[:cut], data[cut:]]

    async with answering(5, answer) as client:
        calls = [client.begin("send", b"{}") for _ in range(5)]
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert results[:3] == [SENT, {"status": "sent", "to": "all"}, SENT]
    assert isinstance(results[3], NodeRefused)
    assert results[4] == SENT


async def test_the_usual_result_is_dropped_where_nobody_waits_for_it(answering) -> None:
    def answer(requests: list[Any]) -> list[bytes]:
        cancelled, wanted = requests
        calls[0].cancel()
        return [usual({"id": "oddwire:send#77"}) + usual(cancelled) + usual(cancelled) + usual(wanted)]

    async with answering(2, answer) as client:
        calls = [client.begin("send", b"{}") for _ in range(2)]
        assert await calls[1] == SENT
        assert calls[0].cancelled()


async def test_an_odd_id_before_the_usual_result_is_parsed(answering) -> None:
    def answer(requests: list[Any]) -> list[bytes]:
        first, second = (request["id"] for request in requests)
        twice, escaped = f'x","id":"{first}', second.replace("o", "\\u006f", 1)
        return [usual({"id": twice}) + usual({"id": escaped}) + usual({"id": "long" * 99})]

    async with answering(2, answer) as client:
        assert await asyncio.gather(client.call("send"), client.call("send")) == [SENT] * 2
