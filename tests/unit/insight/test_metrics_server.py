from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.support.waiting import until_answered

from oddwire.errors import TransportError
from oddwire.insight.metrics_server import MetricsServer, parse_metrics_address


def page(accept: str) -> tuple[str, bytes]:
    return "text/plain", f"for {accept}\n".encode()


@asynccontextmanager
async def serving(host: str = "127.0.0.1") -> AsyncIterator[int]:
    server = MetricsServer(page)
    address = await server.open(host, 0)
    try:
        yield int(address.rpartition(":")[2])
    finally:
        await server.aclose()
        await server.aclose()


async def ask(port: int, request: bytes, host: str = "127.0.0.1") -> tuple[str, dict[str, str], bytes]:
    """Send bytes, and return the status line, the headers and the body of the answer."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return status, dict(line.split(": ", 1) for line in lines), body


async def test_the_one_page_is_served() -> None:
    async with serving() as port:
        status, headers, body = await ask(port, b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\nACCEPT: a/b\r\n\r\n")
        assert (status, body) == ("HTTP/1.1 200 OK", b"for a/b\n")
        assert headers == {"Content-Type": "text/plain", "Content-Length": "8", "Connection": "close"}
        status, headers, body = await ask(port, b"HEAD /metrics HTTP/1.0\r\n\r\n")
        assert (status, headers["Content-Length"], body) == ("HTTP/1.1 200 OK", "5", b"")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        (b"GET /metrics/x HTTP/1.1\r\n\r\n", "404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        (b"GET /metrics\r\n\r\n", "400 Bad Request"),
        (b"\xff\xfe\x00\r\n\r\n", "400 Bad Request"),
        (b"GET /metrics HTTP/2\r\n\r\n", "400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", "431 Request Header Fields Too Large"),
    ],
)
async def test_nothing_else_is(request_: bytes, status: str) -> None:
    async with serving() as port:
        assert (await ask(port, request_))[0] == f"HTTP/1.1 {status}"


async def test_clients_that_go_or_are_too_many_harm_nobody() -> None:
    async with serving() as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /met")
        writer.close()
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(17)]

        async def status() -> str:
            return (await ask(port, b"GET /metrics HTTP/1.1\r\n\r\n"))[0]

        async def answered(wanted: str) -> bool | None:
            return await status() == f"HTTP/1.1 {wanted}" or None

        try:
            await until_answered(lambda: answered("503 Service Unavailable"))
        finally:
            for _, writer in slow:
                writer.close()
        await until_answered(lambda: answered("200 OK"))


async def test_the_end_does_not_wait_for_slow_clients() -> None:
    server = MetricsServer(page)
    port = int((await server.open("127.0.0.1", 0)).rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\n")
    await asyncio.sleep(0.05)
    await asyncio.wait_for(server.aclose(), 5)
    assert await reader.read() == b""
    writer.close()


async def test_it_listens_on_ipv6() -> None:
    try:
        async with serving("::1") as port:
            assert (await ask(port, b"GET /metrics HTTP/1.1\r\n\r\n", "::1"))[0] == "HTTP/1.1 200 OK"
    except TransportError:
        pytest.skip("this machine has no IPv6")


async def test_an_address_that_is_taken_or_none_is_named() -> None:
    async with serving() as port:
        with pytest.raises(TransportError, match=rf"metrics cannot be served at 127\.0\.0\.1:{port}: Address already"):
            await MetricsServer(page).open("127.0.0.1", port)


async def test_a_failure_to_answer_is_logged_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    def broken(accept: str) -> tuple[str, bytes]:
        raise ZeroDivisionError("a secret")

    server = MetricsServer(broken)
    port = int((await server.open("127.0.0.1", 0)).rpartition(":")[2])
    status, _, body = await ask(port, b"GET /metrics HTTP/1.1\r\n\r\n")
    await server.aclose()
    assert status == "HTTP/1.1 500 Internal Server Error"
    assert b"secret" not in body
    assert "metrics cannot be told" in caplog.text


@pytest.mark.parametrize(
    ("text", "found"),
    [("127.0.0.1:9464", ("127.0.0.1", 9464)), ("[::1]:0", ("::1", 0)), ("localhost:1", ("localhost", 1))],
)
def test_addresses(text: str, found: tuple[str, int]) -> None:
    assert parse_metrics_address(text) == found


@pytest.mark.parametrize("text", ["9464", "localhost", "[::1]", "host:port", "a b:1", ":1", "h:70000"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT|host:port|port should be"):
        parse_metrics_address(text)
