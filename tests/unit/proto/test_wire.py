"""oddwire.proto.wire: dialing, by proxy too."""

import asyncio
import contextlib
import socket

import pytest
from tests.support.loopback import DIALER, LISTENER, NODE_ID, STRANGER, echo, nothing_left, serving, settle
from tests.support.waiting import until

from oddwire.errors import AuthenticationFailed, HandshakeFailed, TransportError
from oddwire.proto import LightningConnection, connect, serve

LOOPS = ["asyncio", "uvloop"]


@contextlib.contextmanager
def silent(*, backlog=100):
    """A TCP listener that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as listening:
        yield listening


class SocksServer:
    """A SOCKS5 proxy (RFC 1928, RFC 1929) that connects to where ``hosts`` says a name is.

    ``stop_at`` says where to fall silent: "method", "password" or "reply". ``code`` is the reply's, 0 to connect.
    ``asked`` holds who was asked for, as (host, port).
    """

    def __init__(self, hosts, *, code=0, stop_at="", password=None, garbage=b""):
        self.hosts = hosts
        self.code = code
        self.stop_at = stop_at
        self.password = password
        self.garbage = garbage
        self.asked = []
        self.tasks = set()
        self.writers = []
        self.waiting = asyncio.Event()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.accepted, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc):
        self.server.close()
        for writer in self.writers:
            writer.close()
        await asyncio.gather(*self.tasks)

    async def accepted(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        self.writers.append(writer)
        try:
            await self.negotiate(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # who dialed has gone
        finally:
            writer.close()

    async def negotiate(self, reader, writer):
        version, count = await reader.readexactly(2)
        assert version == 5
        methods = await reader.readexactly(count)
        await self.maybe_stop("method", reader)
        if self.garbage:
            writer.write(self.garbage)
            return
        if self.password is not None and 2 in methods:
            writer.write(b"\x05\x02")
            await self.maybe_stop("password", reader)
            _, size = await reader.readexactly(2)
            user = await reader.readexactly(size)
            (size,) = await reader.readexactly(1)
            good = (user.decode(), (await reader.readexactly(size)).decode()) == self.password
            writer.write(b"\x01\x00" if good else b"\x01\x01")
        else:
            writer.write(b"\x05\x00" if self.password is None else b"\x05\xff")
        _, command, _, kind = await reader.readexactly(4)
        assert command == 1
        if kind == 3:
            (size,) = await reader.readexactly(1)
            host = (await reader.readexactly(size)).decode()
        else:
            host = socket.inet_ntop(*{1: (socket.AF_INET, await reader.readexactly(4))}[kind])
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked.append((host, port))
        await self.maybe_stop("reply", reader)
        if self.code:
            writer.write(bytes([5, self.code, 0, 1]) + bytes(6))
            return
        there = await asyncio.open_connection(*self.hosts[host, port])
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        try:
            await asyncio.gather(self.pipe(reader, there[1]), self.pipe(there[0], writer))
        finally:
            there[1].close()

    async def maybe_stop(self, where, reader):
        if self.stop_at == where:
            self.waiting.set()
            await reader.read()  # until the other end has gone
            raise ConnectionError

    @staticmethod
    async def pipe(reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
            writer.write_eof()


# Dialing


@pytest.mark.parametrize("node_id", [NODE_ID, bytes(NODE_ID), NODE_ID.hex()], ids=["key", "bytes", "hex"])
async def test_dial_and_talk(node_id):
    async with await serving() as server:
        connection = await connect(DIALER, node_id, "127.0.0.1", server.port)
        assert isinstance(connection, LightningConnection)
        assert connection.remote_pubkey == NODE_ID
        assert connection.peer_address == f"127.0.0.1:{server.port}"
        await connection.send_message(b"hello")
        assert await connection.read_message() == b"hello"
        await connection.aclose()


async def test_dial_over_ipv6():
    async with await serve(echo, LISTENER, "::1", 0) as server:
        connection = await connect(DIALER, NODE_ID, "::1", server.port)
        assert connection.peer_address == f"[::1]:{server.port}"
        await connection.aclose()


async def test_both_ends_know_each_other_and_are_told_of_the_end():
    opened, closed = [], []
    async with await serving(
        None, on_open=opened.append, on_close=lambda connection, reason: closed.append((connection, reason))
    ) as server:
        ends = []
        connection = await connect(
            DIALER, NODE_ID, "127.0.0.1", server.port, on_open=ends.append, on_close=lambda *args: ends.append(args)
        )
        await until(lambda: opened)
        assert opened[0].remote_pubkey == DIALER.public_key()
        await connection.aclose("bye")
        await until(lambda: closed)
        assert ends == [connection, (connection, "bye")]
        assert closed == [(opened[0], "closed by the peer")]


async def test_a_refused_connection():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(TransportError, match=rf"127\.0\.0\.1:{port}: Connection refused"):
        await connect(DIALER, NODE_ID, "127.0.0.1", port)


async def test_a_name_that_does_not_resolve():
    with pytest.raises(TransportError, match=r"no-such-host\.invalid:9735: "):
        await connect(DIALER, NODE_ID, "no-such-host.invalid")


@pytest.mark.parametrize("host", ["a..b", "x" * 100])
async def test_what_is_no_name_is_a_value_error(host):
    with pytest.raises(ValueError, match="label"):
        await connect(DIALER, NODE_ID, host)


@pytest.mark.parametrize("port", [-1, 65536])
async def test_what_is_no_port_is_a_value_error(port):
    with pytest.raises(ValueError, match=f"port should be 0 to 65535, not {port}"):
        await connect(DIALER, NODE_ID, "127.0.0.1", port)
    with pytest.raises(ValueError, match=f"port should be 0 to 65535, not {port}"):
        await serve(None, LISTENER, "127.0.0.1", port)


@pytest.mark.parametrize("node_id", ["", "02", "zz" * 33, bytes(33), b"\x02" + b"\xff" * 32])
async def test_what_is_no_node_id_is_a_value_error(node_id):
    with pytest.raises(ValueError, match=r"(node id|public key) "):
        await connect(DIALER, node_id, "127.0.0.1", 1)


async def test_a_silent_listener_is_given_up():
    async with nothing_left():
        with silent() as listening:
            host, port = listening.getsockname()
            with pytest.raises(TransportError, match=rf"127\.0\.0\.1:{port}: no connection within 0\.05 s"):
                await connect(DIALER, NODE_ID, host, port, timeout=0.05)


async def test_another_node_than_the_one_dialed():
    async with nothing_left(), await serving() as server:
        # It is the listener that notices, in act one, and closes without a word
        with pytest.raises(HandshakeFailed) as caught:
            await connect(DIALER, STRANGER.public_key(), "127.0.0.1", server.port)
        assert caught.value.code == "ACT2_READ_FAILED"


@pytest.mark.parametrize(
    ("answer", "code", "error"),
    [
        (b"\0" + bytes(NODE_ID) + bytes(16), "ACT2_BAD_TAG", AuthenticationFailed),
        (b"\x01" + bytes(NODE_ID) + bytes(16), "ACT2_BAD_VERSION", HandshakeFailed),
        (b"\0\x04" + bytes(48), "ACT2_BAD_PUBKEY", HandshakeFailed),
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n....", "ACT2_BAD_VERSION", HandshakeFailed),
        (b"\0" * 49, "ACT2_READ_FAILED", HandshakeFailed),
        (b"", "ACT2_READ_FAILED", HandshakeFailed),
    ],
)
async def test_a_listener_that_is_no_node(answer, code, error):
    async def handler(reader, writer):
        await reader.readexactly(50)
        writer.write(answer)
        writer.close()

    async with nothing_left():
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        with pytest.raises(error) as caught:
            await connect(DIALER, NODE_ID, *server.sockets[0].getsockname())
        assert (type(caught.value), caught.value.code) == (error, code)
        server.close()


# By proxy


async def test_by_proxy_which_resolves_the_name():
    async with await serving() as server, SocksServer({("xyz.onion", 9735): ("127.0.0.1", server.port)}) as proxy:
        connection = await connect(DIALER, NODE_ID, "xyz.onion", proxy=proxy.address)
        await connection.send_message(bytes(65535))
        assert await connection.read_message() == bytes(65535)
        assert proxy.asked == [("xyz.onion", 9735)]
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await connection.aclose()


async def test_by_proxy_with_a_password_and_an_address():
    async with (
        await serving() as server,
        SocksServer({("127.0.0.1", server.port): ("127.0.0.1", server.port)}, password=("alice", "sesame")) as proxy,
    ):
        url = f"socks5://alice:sesame@{proxy.address}"
        connection = await connect(DIALER, NODE_ID, "127.0.0.1", server.port, proxy=url)
        assert connection.remote_pubkey == NODE_ID
        await connection.aclose()
        for wrong in (f"socks5://alice:wrong@{proxy.address}", f"socks5://{proxy.address}"):
            with pytest.raises(TransportError, match="the proxy says:") as caught:
                await connect(DIALER, NODE_ID, "127.0.0.1", server.port, proxy=wrong)
            assert "wrong" not in str(caught.value), "passwords stay out of logs"


async def test_an_onion_address_needs_a_proxy():
    with pytest.raises(TransportError, match=r"xyz\.onion:9735: onion addresses are reached by a proxy"):
        await connect(DIALER, NODE_ID, "xyz.onion")


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"code": 5}, "Connection refused by destination host"),
        ({"code": 4}, "Host unreachable"),
        ({"garbage": b"HTTP/1.1 400\r\n"}, "Unexpected SOCKS version"),
        ({"garbage": b"\x05"}, ""),
    ],
    ids=["refused", "unreachable", "no proxy", "hangs up"],
)
async def test_what_the_proxy_says_is_told(kwargs, text):
    async with nothing_left(), SocksServer({}, **kwargs) as proxy:
        with pytest.raises(TransportError, match=rf"node\.example:9735: the proxy says: .*{text}"):
            await connect(DIALER, NODE_ID, "node.example", proxy=proxy.address)


async def test_a_proxy_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(TransportError, match=rf"node\.example:9735: Could not connect to proxy 127\.0\.0\.1:{port}"):
        await connect(DIALER, NODE_ID, "node.example", proxy=f"127.0.0.1:{port}")


@pytest.mark.parametrize("proxy", ["", "nope", "ftp://alice:sesame@host:1", "alice:sesame@host:port"])
async def test_what_is_no_proxy_is_a_value_error_that_shows_no_password(proxy):
    with pytest.raises(ValueError, match="proxy should be host:port or socks5://") as caught:
        await connect(DIALER, NODE_ID, "node.example", proxy=proxy)
    assert "sesame" not in str(caught.value)


# Cancelling


@pytest.mark.parametrize("turns", range(16))
async def test_cancelling_connect_after_any_turn_of_the_loop_leaves_nothing(turns):
    async with nothing_left(), await serving() as server:
        dialing = asyncio.create_task(connect(DIALER, NODE_ID, "127.0.0.1", server.port))
        await settle(turns)
        dialing.cancel()
        await asyncio.wait([dialing])
        if not dialing.cancelled():
            await dialing.result().aclose()
        await until(lambda: not server._connections and not server.pending)


async def test_cancelling_connect_while_tcp_is_under_way():
    with silent(backlog=0) as listening, contextlib.ExitStack() as stack:
        for _ in range(3):  # enough to fill the queue: what comes after waits
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(listening.getsockname())
        async with nothing_left():
            dialing = asyncio.create_task(connect(DIALER, NODE_ID, *listening.getsockname()))
            await asyncio.sleep(0.02)
            assert not dialing.done()
            dialing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dialing


async def test_cancelling_connect_during_the_handshake_closes_the_socket():
    loop = asyncio.get_running_loop()
    with silent() as listening:
        listening.setblocking(False)
        async with nothing_left():
            dialing = asyncio.create_task(connect(DIALER, NODE_ID, *listening.getsockname()))
            sock, _ = await loop.sock_accept(listening)
            with sock:
                sock.setblocking(False)
                assert len(await loop.sock_recv(sock, 100)) == 50
                dialing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await dialing
                with contextlib.suppress(ConnectionResetError):
                    assert await loop.sock_recv(sock, 100) == b""


@pytest.mark.parametrize("where", ["method", "password", "reply"])
async def test_cancelling_connect_at_any_stage_of_the_proxy(where):
    async with nothing_left(), SocksServer({}, stop_at=where, password=("a", "b")) as proxy:
        dialing = asyncio.create_task(connect(DIALER, NODE_ID, "node.example", proxy=f"socks5://a:b@{proxy.address}"))
        await proxy.waiting.wait()
        dialing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialing
        await until(lambda: all(task.done() for task in proxy.tasks))


async def test_a_silent_proxy_is_given_up():
    async with nothing_left(), SocksServer({}, stop_at="reply") as proxy:
        with pytest.raises(TransportError, match=r"node\.example:9735: no connection within 0\.1 s"):
            await connect(DIALER, NODE_ID, "node.example", proxy=proxy.address, timeout=0.1)
        await until(lambda: all(task.done() for task in proxy.tasks))


# Listening
