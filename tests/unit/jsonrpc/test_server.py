"""The server's shell: what clients may do to it, and that no other client suffers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import until

from oddwire.errors import TransportError
from oddwire.jsonrpc import JsonRpcServer, encode

LIMIT = 30  # seconds; reached only by what hangs


def request(key: Any, method: str = "echo", params: Any = ()) -> bytes:
    return encode({"jsonrpc": "2.0", "id": key, "method": method, "params": list(params)})


async def answer(reader: asyncio.StreamReader) -> Any:
    async with asyncio.timeout(LIMIT):
        return json.loads((await reader.readuntil(b"\n\n")).decode())


async def test_the_socket_is_its_owners_alone(server: JsonRpcServer) -> None:
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600


async def test_requests_joined_and_cut_anywhere(dial) -> None:
    reader, writer = await dial()
    data = b"".join(request(number, params=["ü"]) for number in range(20))
    for byte in data:
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    writer.write(data)
    keys = [(await answer(reader))["id"] for _ in range(40)]
    assert keys == [*range(20), *range(20)]


async def test_answers_come_as_they_are_done(dial, methods) -> None:
    reader, writer = await dial()
    writer.write(request("slow", "wait") + request("quick"))
    assert (await answer(reader))["id"] == "quick"
    methods.gate.set()
    assert (await answer(reader))["id"] == "slow"


async def test_a_shortcut_answers_in_turn(tmp_path: Path, methods: Any) -> None:
    usual = encode({"usual": 1})

    def shortcut(text: str, at: int) -> tuple[bytes, int] | None:
        return (encode({"id": "usual"}), at + len(usual)) if text.startswith(usual.decode(), at) else None

    server = JsonRpcServer(tmp_path / "shortcut", methods, shortcut=shortcut)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(server.path))
    writer.write(usual + request("first").strip() + usual + usual + request("second"))
    assert [(await answer(reader))["id"] for _ in range(5)] == ["usual", "first", "usual", "usual", "second"]
    assert [document["id"] for document in methods.seen] == ["first", "second"]
    writer.transport.abort()
    await server.aclose()


async def test_garbage_is_answered_once_then_the_connection_closes(dial, methods) -> None:
    reader, writer = await dial()
    writer.write(request("first", "wait"))
    writer.write(b"garbage}" + request("never"))
    told = await answer(reader)
    assert told["id"] is None
    assert told["error"]["code"] == -32600
    assert told["error"]["message"].startswith("Failed to parse RPC JSON response 'garbage}")
    methods.gate.set()
    assert (await answer(reader))["id"] == "first"  # what was asked before is answered
    assert await reader.read() == b""
    assert [document["id"] for document in methods.seen] == ["first"]


@pytest.mark.parametrize("data", [b"[" * 10_000_000, b'{"a":"' + b"x" * 10_000_000])
async def test_bombs_and_huge_documents_are_refused_before_they_end(dial, server: JsonRpcServer, data: bytes) -> None:
    reader, writer = await dial()
    other, other_writer = await dial()
    writer.write(data)
    told = await answer(reader)
    assert (told["id"], told["error"]["code"]) == (None, -32600)
    assert told["error"]["message"] == f"request of so far {len(data)} bytes, of at most {server.max_document}"
    assert await reader.read() == b"", "it is closed: nobody knows where the next request would begin"
    other_writer.write(request("alive"))
    assert (await answer(other))["id"] == "alive"


@pytest.mark.parametrize("cut", [1 << 16, 1000])
async def test_a_request_that_is_too_large_is_told_so_under_its_id_and_the_next_one_is_answered(dial, cut) -> None:
    reader, writer = await dial()
    large = request("large", params=["x" * 5_000_000])
    unknown = encode({"params": ["x" * 5_000_000], "id": {}})
    last = encode({"params": ["x" * 5_000_000], "method": "echo", "jsonrpc": "2.0", "id": 12})
    data = request("before") + large + request("between") + unknown + last + request("after")
    for at in range(0, len(data), cut):
        writer.write(data[at : at + cut])
    assert (await answer(reader))["id"] == "before"
    text = "request of {} bytes, of at most 4194304"
    refused = {"code": -32600, "message": text.format(len(large) - 2)}
    assert await answer(reader) == {"jsonrpc": "2.0", "id": "large", "error": refused}
    assert (await answer(reader))["id"] == "between"
    assert await answer(reader) == {
        "jsonrpc": "2.0",
        "id": None,
        "error": {"code": -32600, "message": text.format(len(unknown) - 2)},
    }
    assert (await answer(reader))["id"] == 12
    assert (await answer(reader))["id"] == "after"


async def test_a_request_that_is_nested_too_deep_is_told_so_under_its_id(dial) -> None:
    reader, writer = await dial()
    deep: Any = []
    for _ in range(99):
        deep = [deep]
    writer.write(request("deep", params=[deep]) + request("after"))
    told = await answer(reader)
    assert (told["id"], told["error"]["message"]) == ("deep", "request nested 102 deep, of at most 100")
    assert (await answer(reader))["id"] == "after"


async def test_a_client_that_ends_in_the_middle_of_what_is_too_large_is_told_so(dial) -> None:
    reader, writer = await dial()
    writer.write(request(3, params=["x" * 5_000_000])[:-10])
    writer.write_eof()
    assert "of at most 4194304" in (await answer(reader))["error"]["message"]
    assert await reader.read() == b""


async def test_half_a_request_harms_nobody(dial) -> None:
    _, writer = await dial()
    writer.write(request("half")[:20])
    reader, other = await dial()
    other.write(request("whole"))
    assert (await answer(reader))["id"] == "whole"


async def test_ten_thousand_requests_without_reading(dial, methods) -> None:
    """Its answers wait in its own socket, and then its requests do; others are answered all the while."""
    reader, writer = await dial()
    writer.transport.pause_reading()
    count, size = 10_000, 1000
    writer.write(b"".join(request(number, "big", [size]) for number in range(count)))
    other, other_writer = await dial()
    for number in range(50):
        other_writer.write(request(f"other {number}"))
        assert (await answer(other))["id"] == f"other {number}"
    bulk = [document for document in methods.seen if document["method"] == "big"]
    assert len(bulk) < count, "all were answered into memory"
    writer.transport.resume_reading()
    for number in range(count):
        assert (await answer(reader))["id"] == number


async def test_a_client_with_too_much_under_way_is_not_read(dial, methods) -> None:
    reader, writer = await dial()
    count = 5000
    writer.write(b"".join(request(number, "wait") for number in range(count)))
    await until(lambda: methods.waiting == 1024)
    other, other_writer = await dial()
    other_writer.write(request("other"))
    assert (await answer(other))["id"] == "other"
    assert methods.waiting == 1024
    methods.gate.set()
    assert {(await answer(reader))["id"] for _ in range(count)} == set(range(count))


async def test_a_client_that_never_stops_lets_others_have_their_turn(dial, methods) -> None:
    reader, writer = await dial()
    other, other_writer = await dial()
    writer.write(b"".join(map(request, range(2000))))
    other_writer.write(request("other"))
    await answer(other)
    for number in range(2000):
        assert (await answer(reader))["id"] == number


async def test_a_half_closed_client_gets_its_answers(dial, methods) -> None:
    reader, writer = await dial()
    writer.write(request(0, "wait") + b"".join(map(request, range(1, 500))))
    writer.write_eof()
    await until(lambda: methods.waiting)
    methods.gate.set()
    async with asyncio.timeout(LIMIT):
        answers = (await reader.read()).decode().split("\n\n")[:-1]
    assert sorted(json.loads(text)["id"] for text in answers) == [*range(500)]


async def test_a_client_that_leaves_is_forgotten(dial, server: JsonRpcServer, methods) -> None:
    _, writer = await dial()
    writer.write(request("gone", "wait"))
    await until(lambda: methods.waiting)
    writer.transport.abort()
    methods.gate.set()
    await until(lambda: not server.connections)


async def test_closing_lets_clients_read_what_they_asked_for(dial, server: JsonRpcServer, methods) -> None:
    reader, writer = await dial()
    writer.write(request("last", "wait"))
    await until(lambda: methods.waiting)
    closing = asyncio.create_task(server.aclose())
    await asyncio.sleep(0)
    methods.gate.set()
    assert (await answer(reader))["id"] == "last"
    assert await reader.read() == b""
    await closing
    assert not server.path.exists()


async def test_a_dead_socket_is_replaced(tmp_path: Path, methods) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "rpc"))
    server = JsonRpcServer(tmp_path / "rpc", methods)
    await server.start()
    assert server.path.is_socket()
    await server.aclose()
    await server.aclose()


async def test_a_socket_that_somebody_serves_is_left_to_them(tmp_path: Path, methods) -> None:
    """Though they have as many clients waiting as they take."""
    with socket.socket(socket.AF_UNIX) as other, contextlib.ExitStack() as clients:
        other.bind(str(tmp_path / "rpc"))
        other.listen(0)
        for _ in range(2):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(str(tmp_path / "rpc"))
            server = JsonRpcServer(tmp_path / "rpc", methods)
            with pytest.raises(TransportError, match="another process listens there; stop it, or"):
                await server.start()
            await server.aclose()
            assert server.path.is_socket()


@pytest.mark.parametrize("kind", ["file", "folder", "pipe", "link", "dangling link", "link to a socket"])
async def test_what_is_no_socket_is_left_alone(tmp_path: Path, methods, kind: str) -> None:
    path, other = tmp_path / "rpc", tmp_path / "other"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(other)
        if kind == "link":
            other.write_text("precious")
        elif kind == "link to a socket":
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(other))
    before = path.lstat()
    server = JsonRpcServer(path, methods)
    with pytest.raises(TransportError, match="something that is no socket is there; move it away"):
        await server.start()
    await server.aclose()
    assert path.lstat() == before


async def test_what_others_put_in_its_place_is_left_alone(tmp_path: Path, methods) -> None:
    server = JsonRpcServer(tmp_path / "rpc", methods)
    await server.start()
    server.path.unlink()
    server.path.write_text("precious")
    await server.aclose()
    assert server.path.read_text() == "precious"


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
@pytest.mark.parametrize("length", [20, 300])
async def test_its_mode_under_any_umask(tmp_path: Path, methods, umask: int, length: int) -> None:
    folder = tmp_path
    while len(str(folder)) < length:
        folder /= "f" * 40
    folder.mkdir(parents=True, exist_ok=True)
    before = os.umask(umask)
    try:
        server = JsonRpcServer(folder / "rpc", methods)
        await server.start()
        assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
        await server.aclose()


async def test_a_folder_that_is_not_there(tmp_path: Path, methods) -> None:
    with pytest.raises(TransportError, match=r"cannot listen at .*/none/rpc"):
        await JsonRpcServer(tmp_path / "none" / "rpc", methods).start()
