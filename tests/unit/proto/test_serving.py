"""oddwire.proto.serving: listening."""

import asyncio
import contextlib
import gc
import socket

import pytest
from tests.support.loopback import DIALER, LISTENER, NODE_ID, nothing_left, serving, settle
from tests.support.waiting import until

from oddwire.errors import ConnectionClosed, HandshakeFailed, TransportError
from oddwire.proto import LightningConnection, connect, serve


async def test_an_address_that_is_taken():
    async with await serving() as server:
        with pytest.raises(TransportError, match=rf"cannot listen on 127\.0\.0\.1:{server.port}: "):
            await serve(None, LISTENER, "127.0.0.1", server.port)


async def test_the_chosen_port_is_told():
    async with await serving() as server:
        assert server.addresses == [("127.0.0.1", server.port)]
        assert server.port > 0
    assert server.addresses == []


async def test_a_connection_ends_when_its_handler_returns():
    async def once(connection):
        await connection.send_message(b"only this")

    async with await serving(once) as server:
        connection = await connect(DIALER, NODE_ID, "127.0.0.1", server.port)
        assert [message async for message in connection] == [b"only this"]


async def test_a_handler_that_fails_is_reported_and_its_connection_closed():
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    async def fail(connection):
        raise RuntimeError("the handler failed")

    async with await serving(fail) as server:
        connection = await connect(DIALER, NODE_ID, "127.0.0.1", server.port)
        assert [message async for message in connection] == []
        await settle()
    gc.collect()
    assert [str(context["exception"]) for context in reported] == ["the handler failed"]


async def test_a_handler_whose_connection_ends_just_ends():
    ended = asyncio.Event()

    async def read(connection):
        try:
            await connection.read_message()
        except ConnectionClosed:
            ended.set()
            raise

    async with nothing_left(), await serving(read) as server:
        connection = await connect(DIALER, NODE_ID, "127.0.0.1", server.port)
        await connection.aclose()
        await ended.wait()


async def test_aclose_cancels_handlers_closes_connections_and_may_be_repeated():
    async with nothing_left():
        cancelled = []

        async def handler(connection):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancelled.append(connection)
                raise

        server = await serving(handler)
        connections = [await connect(DIALER, NODE_ID, "127.0.0.1", server.port) for _ in range(3)]
        await until(lambda: len(server._tasks) == 3)
        await settle()
        port = server.port
        await asyncio.gather(server.aclose(), server.aclose())
        await server.aclose()
        assert len(cancelled) == 3
        for connection in connections:
            with pytest.raises(ConnectionClosed):
                await connection.read_message()
        with pytest.raises(TransportError, match="refused"):
            await connect(DIALER, NODE_ID, "127.0.0.1", port)


async def test_a_handler_may_stop_the_server():
    stopped = asyncio.Event()

    async def stop(connection):
        await server.aclose()
        stopped.set()

    async with nothing_left():
        server = await serving(stop)
        connection = await connect(DIALER, NODE_ID, "127.0.0.1", server.port)
        await stopped.wait()
        assert [message async for message in connection] == []


# asyncio's accept leaves a transport to the collector if its server is closed in between
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("turns", range(6))
async def test_aclose_while_dialers_arrive_leaves_nothing(turns):
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with nothing_left():
        server = await serving()
        dialing = [asyncio.create_task(connect(DIALER, NODE_ID, "127.0.0.1", server.port)) for _ in range(20)]
        await settle(turns)
        await server.aclose()
        for result in await asyncio.gather(*dialing, return_exceptions=True):
            if isinstance(result, LightningConnection):
                await result.aclose()
            else:
                assert isinstance(result, (TransportError, HandshakeFailed))
        assert server.pending == 0
        assert not server._connections


# Dialers that do not finish


@contextlib.asynccontextmanager
async def dialers(server, count):
    """TCP connections that say nothing by themselves."""
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        socks = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", server.port))
            socks.append(sock)
        yield socks


async def test_an_honest_dialer_among_200_silent_ones_is_served():
    """pyln-proto shakes hands inline: one silent client blocks everyone."""
    async with await serving(max_handshakes=128) as server, dialers(server, 200):
        for _ in range(5):
            connection = await connect(DIALER, NODE_ID, "127.0.0.1", server.port)
            await connection.send_message(b"hello")
            assert await connection.read_message() == b"hello"
            await connection.aclose()
        assert server.pending <= 128


async def test_too_many_unfinished_handshakes_drop_the_oldest():
    loop = asyncio.get_running_loop()
    async with await serving(max_handshakes=5) as server, dialers(server, 5) as socks:
        await until(lambda: server.pending == 5)
        async with dialers(server, 2) as late:
            for sock in socks[:2]:
                assert await loop.sock_recv(sock, 1) == b""
            assert server.pending == 5
            for sock in (*socks[2:], *late):
                with pytest.raises(BlockingIOError):
                    sock.recv(1)
    assert server.pending == 0


async def test_the_cap_holds_when_all_come_at_once():
    """Many are accepted in one turn of the loop, before the first of them has its transport."""
    socks = []
    async with await serving(max_handshakes=4) as server:
        with contextlib.ExitStack() as stack:
            for _ in range(50):
                sock = stack.enter_context(socket.socket())
                sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    sock.connect(("127.0.0.1", server.port))
                socks.append(sock)
            await until(lambda: server.pending == 4)
            await asyncio.sleep(0.05)
            assert server.pending == 4
        await until(lambda: server.pending == 0)
        connection = await connect(DIALER, NODE_ID, "127.0.0.1", server.port)
        await connection.aclose()


async def test_a_finished_handshake_is_not_counted():
    async with await serving(max_handshakes=1) as server:
        connections = [await connect(DIALER, NODE_ID, "127.0.0.1", server.port) for _ in range(3)]
        for connection in connections:
            await connection.send_message(b"still here")
            assert await connection.read_message() == b"still here"
            await connection.aclose()
        assert server.pending == 0


@pytest.mark.asyncio(loop_factories=["hurried"])
async def test_a_dialer_that_drips_has_ten_seconds_and_delays_nobody():
    async with await serving() as server, dialers(server, 20) as socks:

        async def drip(sock):
            with contextlib.suppress(ConnectionError):
                while True:
                    sock.send(b"\0")  # of an act one that never becomes whole: 50 bytes would take 50 s
                    await asyncio.sleep(1.0)

        dripping = [asyncio.create_task(drip(sock)) for sock in socks]
        await until(lambda: server.pending == 20)
        connection = await connect(DIALER, NODE_ID, "127.0.0.1", server.port, timeout=300)
        await asyncio.wait(dripping)
        assert server.pending == 0
        await connection.send_message(b"hello")
        assert await connection.read_message() == b"hello"
        await connection.aclose()
