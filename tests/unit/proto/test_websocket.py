"""oddwire.proto.websocket: BOLT 8 in binary frames, and what else WebSocket callers may send."""

import asyncio
import contextlib
import logging
import os
import socket
import struct
import sys
import time

import pytest
from tests.support.loopback import DIALER, NODE_ID, echo, nothing_left, serving
from tests.support.waiting import until
from websockets.asyncio.client import connect as ws_connect
from websockets.asyncio.server import serve as ws_serve
from websockets.exceptions import ConnectionClosed as WsClosed
from websockets.exceptions import InvalidStatus

from oddwire.errors import ConnectionClosed, HandshakeFailed, TransportError
from oddwire.proto import PrivateKey, connect
from oddwire.proto.framing import FrameReceiver, FrameSender
from oddwire.proto.noise import Handshake
from oddwire.proto.websocket import MAX_WEBSOCKET_FRAME

BINARY, TEXT, CONTINUATION, CLOSE, PING, PONG = 2, 1, 0, 8, 9, 10
UPGRADE = (
    "GET / HTTP/1.1\r\nHost: there\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)


def dialing(server, node_id=NODE_ID, **kwargs):
    return connect(DIALER, node_id, "127.0.0.1", server.port, scheme="ws", **kwargs)


def frame(opcode, data=b"", *, fin=True, rsv=0, mask=b"\0\0\0\0", size=None):
    """A client's frame, byte by byte (RFC 6455, section 5.2)."""
    size = len(data) if size is None else size
    head = bytes([(fin << 7) | rsv | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += bytes([0x80 | 126]) + struct.pack("!H", size)
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", size)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


class Raw:
    """A caller that writes its WebSocket frames itself, whatever they are."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def upgrade(self, more=""):
        self.writer.write(UPGRADE.format(more=more).encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head  # RFC 6455, section 1.3
        return head

    def send(self, *frames):
        self.writer.write(b"".join(frames))

    async def frame(self):
        """The next frame: opcode and data."""
        first, second = await self.reader.readexactly(2)
        assert first & 0xF0 == 0x80, "whole, without extensions"
        assert not second & 0x80, "a server does not mask"
        size = second
        assert size < 127, "no frame of more than 65535 bytes"
        if size == 126:
            (size,) = struct.unpack("!H", await self.reader.readexactly(2))
        return first & 0x0F, await self.reader.readexactly(size)

    async def shake(self, cut=None):
        """The BOLT 8 handshake, sent in pieces of ``cut`` bytes."""
        handshake = Handshake(DIALER, NODE_ID, PrivateKey(os.urandom(32)))
        self.stream(handshake.start(), cut)
        answer = b""
        while len(answer) < 50:
            opcode, data = await self.frame()
            assert opcode == BINARY
            answer += data
        self.stream(handshake.receive(answer), cut)
        self.got = []
        self.sender = FrameSender(handshake.sending)
        self.receiver = FrameReceiver(handshake.receiving, self.got.append)

    def stream(self, data, cut=None):
        cut = cut or len(data)
        self.send(*(frame(BINARY, data[at : at + cut], mask=b"\1\2\3\4") for at in range(0, len(data), cut)))

    async def message(self):
        while not self.got:
            opcode, data = await self.frame()
            assert opcode == BINARY
            self.receiver.feed(data)
        return self.got.pop(0)

    async def closed(self):
        """The code and text of the close frame; frames before it are passed over."""
        while True:
            opcode, data = await self.frame()
            if opcode == CLOSE:
                return int.from_bytes(data[:2], "big"), data[2:].decode()


@contextlib.asynccontextmanager
async def raw(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


# Both ends ours


async def test_messages_of_any_size_go_both_ways():
    async with nothing_left(), await serving(websocket=True) as server:
        connection = await dialing(server)
        for size in (0, 1, 100, 125, 126, 65535):
            message = os.urandom(size)
            await connection.send_message(message)
            assert await connection.read_message() == message
        assert connection.peer_address == f"127.0.0.1:{server.port}"
        await connection.aclose()
        assert connection.close_reason == "closed by us"


async def test_a_flood_arrives_whole_and_in_order_and_waits_for_who_does_not_read():
    count, size = 2000, 5000
    messages = [os.urandom(size) for _ in range(count)]
    got = []

    async def slow(connection):
        await asyncio.sleep(0.2)  # until the buffers are full
        async for message in connection:
            got.append(message)  # noqa: PERF401 - seen while it goes on

    async with await serving(slow, websocket=True) as server:
        connection = await dialing(server)
        congested = False
        for message in messages:
            congested = congested or connection.congested
            await connection.send_message(message)
        await until(lambda: len(got) == count)
        assert congested
        assert got == messages
        await connection.aclose()


async def test_both_flood_at_once():
    """A side that waits for the other to read goes on reading, or both would wait forever."""
    async with await serving(websocket=True) as server:
        connection = await dialing(server)

        async def send():
            for number in range(500):
                await connection.send_message(number.to_bytes(2, "big") * 10_000)

        sending = asyncio.ensure_future(send())
        await asyncio.sleep(0.1)
        for number in range(500):
            assert await connection.read_message() == number.to_bytes(2, "big") * 10_000
        await sending
        await connection.aclose()


async def test_each_side_sees_the_other_close():
    ended = asyncio.Queue()

    async def greet(connection):
        await connection.send_message(b"last words")

    async with await serving(greet, websocket=True, on_close=lambda _, reason: ended.put_nowait(reason)) as server:
        connection = await dialing(server)
        assert [message async for message in connection] == [b"last words"]
        assert connection.close_reason == "closed by the peer"
        assert await ended.get() == "handler returned"
    async with await serving(websocket=True, on_close=lambda _, reason: ended.put_nowait(reason)) as server:
        connection = await dialing(server)
        await connection.aclose()
        assert await ended.get() == "closed by the peer"


async def test_another_node_than_the_one_dialed():
    async with nothing_left(), await serving(websocket=True) as server:
        with pytest.raises(HandshakeFailed, match="act 2"):
            await dialing(server, DIALER.public_key())


async def test_pausing_stops_what_comes_by_websocket_too():
    opened = asyncio.get_running_loop().create_future()
    async with await serving(None, websocket=True, on_open=opened.set_result) as server:
        connection = await dialing(server)
        listener = await opened
        got = []
        listener.deliver_to(got.append)
        listener.pause()
        for number in range(100):
            await connection.send_message(bytes([number]) * 1000)
        await asyncio.sleep(0.1)
        assert not got
        listener.resume()
        await until(lambda: len(got) == 100)
        await connection.aclose()


# Dialing what is not ours


async def test_a_listener_that_speaks_no_websocket():
    async with await serving() as server:
        with pytest.raises(TransportError, match=r"^ws://127.0.0.1:\d+: WebSocket: it hung up before the upgrade"):
            await dialing(server)


async def test_a_listener_that_resets_the_connection():
    async def reset(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with await asyncio.start_server(reset, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(TransportError, match="it hung up before the upgrade to WebSocket"):
            await connect(DIALER, NODE_ID, "127.0.0.1", port, scheme="ws")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "it refuses the upgrade to WebSocket: 'HTTP/1.1 404 Not Found'"),
        (b"SSH-2.0-x\r\n\r\n", "it refuses the upgrade to WebSocket: 'SSH-2.0-x'"),
        (b"HTTP/1.1 101 Yes\r\n\r\n", "no upgrade to WebSocket: missing Connection header"),
        (b"x" * 20_000, "no HTTP header ends within 16384 bytes"),
    ],
)
async def test_a_server_that_does_not_agree(answer, text):
    served = asyncio.Event()

    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        served.set()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(TransportError) as caught:
            await connect(DIALER, NODE_ID, "127.0.0.1", port, scheme="ws")
        assert str(caught.value) == f"ws://127.0.0.1:{port}: WebSocket: {text}"
        await served.wait()


async def test_a_server_of_another_library_that_passes_the_stream_on():
    """A bridge from WebSocket to TCP, as some nodes have it in front."""
    async with await serving() as server:

        async def bridge(websocket):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)

            async def back():
                while data := await reader.read(1000):
                    await websocket.send(data)
                await websocket.close()

            backwards = asyncio.create_task(back())
            async for data in websocket:
                writer.write(data)
            writer.close()
            await backwards

        async with ws_serve(bridge, "127.0.0.1", 0) as bridging:
            port = bridging.sockets[0].getsockname()[1]
            connection = await connect(DIALER, NODE_ID, "127.0.0.1", port, scheme="ws")
            for size in (2, 65535):
                message = os.urandom(size)
                await connection.send_message(message)
                assert await connection.read_message() == message
            await connection.aclose()


async def test_tls_needs_a_certificate_that_is_trusted(tmp_path):
    async with await serving() as server:  # which speaks no TLS at all
        with pytest.raises(TransportError, match=r"^wss://127.0.0.1:\d+: "):
            await connect(DIALER, NODE_ID, "127.0.0.1", server.port, scheme="wss", timeout=5)


async def test_without_the_package_the_error_names_the_extra():
    program = """
import asyncio, sys
sys.modules["websockets"] = None
from oddwire.proto import PrivateKey, connect, serve
key = PrivateKey(bytes([1]) * 32)
for made in (serve(None, key, "127.0.0.1", 0, websocket=True), connect(key, key.public_key(), "x", scheme="ws")):
    try:
        asyncio.run(made)
    except Exception as error:
        print(type(error).__name__, error)
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    line = "TransportError WebSocket addresses need the package websockets 16 or later: pip install 'oddwire[ws]'"
    assert printed.decode().splitlines() == [line] * 2


# What callers send


@pytest.mark.parametrize("cut", [1, 7, 49, 50, 1000])
async def test_where_frames_begin_and_end_means_nothing(cut):
    async with await serving(websocket=True) as server, raw(server) as caller:
        await caller.upgrade()
        await caller.shake(cut)
        sealed = caller.sender.frame(b"one") + caller.sender.frame(b"two" * 500) + caller.sender.frame(b"")
        caller.stream(sealed, cut)
        assert [await caller.message() for _ in range(3)] == [b"one", b"two" * 500, b""]


async def test_fragments_pings_and_empty_frames_between_change_nothing():
    async with await serving(websocket=True) as server, raw(server) as caller:
        await caller.upgrade()
        await caller.shake()
        sealed = caller.sender.frame(b"in three parts")
        caller.send(
            frame(BINARY, sealed[:10], fin=False),
            frame(PING, b"are you there"),
            frame(CONTINUATION, fin=False),
            frame(CONTINUATION, sealed[10:20], fin=False),
            frame(PONG, b"nobody asked"),
            frame(CONTINUATION, sealed[20:]),
            frame(BINARY),
        )
        assert await caller.frame() == (PONG, b"are you there")
        assert await caller.message() == b"in three parts"


async def test_all_in_one_packet_with_the_upgrade():
    async with await serving(websocket=True) as server, raw(server) as caller:
        handshake = Handshake(DIALER, NODE_ID, PrivateKey(os.urandom(32)))
        caller.writer.write(UPGRADE.format(more="").encode() + frame(BINARY, handshake.start()))
        await caller.reader.readuntil(b"\r\n\r\n")
        opcode, answer = await caller.frame()
        assert (opcode, len(answer)) == (BINARY, 50)
        third = handshake.receive(answer)
        sender = FrameSender(handshake.sending)
        caller.send(frame(BINARY, third + sender.frame(b"early")))
        got = []
        receiver = FrameReceiver(handshake.receiving, got.append)
        while not got:
            receiver.feed((await caller.frame())[1])
        assert got == [b"early"]


async def test_compression_is_not_agreed_to():
    async with await serving(websocket=True) as server, raw(server) as caller:
        head = await caller.upgrade("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n")
        assert b"Extensions" not in head
        await caller.shake()
        caller.send(frame(BINARY, b"\0" * 10, rsv=0x40))
        assert await caller.closed() == (1002, "reserved bits must be 0")


@pytest.mark.parametrize(
    ("sent", "code", "text"),
    [
        (frame(TEXT, b"hello"), 1003, "BOLT 8 goes in binary frames, not in text"),
        (frame(BINARY, size=MAX_WEBSOCKET_FRAME + 1), 1009, "frame with 131073 bytes exceeds limit of 131072 bytes"),
        (frame(BINARY, size=1 << 62), 1009, f"frame with {1 << 62} bytes exceeds limit of 131072 bytes"),
        (frame(PING, b"x" * 126), 1002, "control frame too long"),
        (frame(PING, fin=False), 1002, "fragmented control frame"),
        (frame(CONTINUATION, b"x"), 1002, "unexpected continuation frame"),
        (frame(BINARY, fin=False) + frame(BINARY), 1002, "expected a continuation frame"),
        (frame(3), 1002, "invalid opcode"),
        (b"\x82\x01x", 1002, "incorrect masking"),
        (frame(CLOSE, b"\x03\xe8bye"), 1000, "bye"),
        (frame(CLOSE), 0, ""),
        (frame(CLOSE, b"x"), 1002, "close frame too short"),
    ],
)
@pytest.mark.parametrize("open_first", [False, True], ids=["before the handshake", "open"])
async def test_what_ends_a_connection_and_the_code_that_says_why(sent, code, text, open_first):
    reasons = []
    async with (
        nothing_left(),
        await serving(websocket=True, on_close=lambda _, reason: reasons.append(reason)) as server,
        raw(server) as caller,
    ):
        await caller.upgrade()
        if open_first:
            await caller.shake()
        caller.send(sent)
        assert await caller.closed() == (code, text)
        assert await caller.reader.read() == b"", "the server closes first (RFC 6455, section 7.1.1)"
        caller.writer.close()
        if open_first:
            (reason,) = reasons
            assert text in reason or reason == "closed by the peer"


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: there\r\n\r\n", b"426"),
        (b"POST / HTTP/1.1\r\nHost: there\r\n\r\n", b"405"),
        (UPGRADE.format(more="").replace("13", "8").encode(), b"400"),
        (UPGRADE.format(more="").replace("dGhlIHNhbXBsZSBub25jZQ==", "short").encode(), b"400"),
        (b"GET / HTTP/1.1\r\n" + b"A: %s\r\n" % (b"x" * 9000) + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"A: x\r\n" * 200 + b"\r\n", b"431"),
        (b"\x16\x03\x01\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 20_000, b""),
        (b"GET / HTTP/1.1\r\nHost: there\r\nContent-Length: 5\r\n\r\nhello", b""),
    ],
)
async def test_what_is_no_upgrade_is_answered_by_http_and_closed(request_head, status):
    async with nothing_left(), await serving(websocket=True) as server, raw(server) as caller:
        caller.writer.write(request_head)
        with contextlib.suppress(ConnectionError):
            answer = await caller.reader.read()
            assert answer.startswith(b"HTTP/1.1 " + status if status else b""), answer
        await until(lambda: server.pending == 0)


async def test_a_page_that_is_opened_in_a_browser_says_what_this_is(caplog):
    async with await serving(websocket=True) as server:
        with pytest.raises(InvalidStatus) as caught:
            await ws_connect(f"ws://127.0.0.1:{server.port}", additional_headers={"Upgrade": "h2c"}, proxy=None)
        assert caught.value.response.status_code == 426
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG and "oddwire" in record.name]


async def test_a_slow_request_has_the_time_of_a_handshake():
    async with await serving(websocket=True, handshake_timeout=0.3) as server, raw(server) as caller:
        start = time.perf_counter()
        for byte in UPGRADE.encode():
            caller.writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
            if caller.reader.at_eof() or caller.writer.is_closing():
                break
        with contextlib.suppress(ConnectionError):
            assert await caller.reader.read() == b""
        assert time.perf_counter() - start > 0.25
        assert server.pending == 0


async def test_a_handshake_that_stops_after_the_upgrade_ends_in_time():
    async with await serving(websocket=True, handshake_timeout=0.3) as server, raw(server) as caller:
        await caller.upgrade()
        caller.send(frame(BINARY, b"\0" * 20), frame(PING))
        assert await caller.frame() == (PONG, b"")
        assert await caller.reader.read() == b""


async def test_pings_without_end_before_the_handshake_end_the_connection():
    async with await serving(websocket=True) as server, raw(server) as caller:
        await caller.upgrade()
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                caller.send(frame(PING) * 100)
                await caller.writer.drain()
        with contextlib.suppress(ConnectionError):
            await caller.reader.read()
        await until(lambda: server.pending == 0)


async def test_the_cap_on_handshakes_holds_for_websocket_callers():
    async with await serving(websocket=True, max_handshakes=5, max_waiting=5) as server:
        writers = [(await asyncio.open_connection("127.0.0.1", server.port))[1] for _ in range(50)]
        connection = await dialing(server)
        await connection.send_message(b"still served")
        assert await connection.read_message() == b"still served"
        assert server.pending <= 10
        await connection.aclose()
        for writer in writers:
            writer.close()


async def test_pings_of_a_peer_that_reads_no_pongs_are_not_read_either():
    async with await serving(websocket=True) as server, raw(server) as caller:
        await caller.upgrade()
        await caller.shake()
        caller.writer.transport.set_write_buffer_limits(high=1 << 16)
        caller.reader._limit = 1024
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                while True:
                    caller.send(frame(PING, b"x" * 125) * 1000)
                    sent += 1000
                    await caller.writer.drain()
        assert sent < 2_000_000, "no flow control"
        (connection,) = server._connections
        assert connection.unwritten < 2_000_000
        caller.writer.transport.abort()


async def test_small_frames_delay_others_little():
    async with await serving(websocket=True) as server, raw(server) as flooder:
        await flooder.upgrade()
        await flooder.shake()
        connection = await dialing(server)

        async def flood():
            with contextlib.suppress(ConnectionError):
                while True:
                    flooder.send(frame(BINARY) * 20_000)
                    await flooder.writer.drain()
                    await asyncio.sleep(0)

        flooding = asyncio.create_task(flood())
        await asyncio.sleep(0.2)
        async with asyncio.timeout(60):  # it never ends
            for _ in range(20):
                await connection.send_message(b"x")
                assert await connection.read_message() == b"x"
        flooding.cancel()
        await connection.aclose()
        flooder.writer.transport.abort()


async def test_a_caller_that_vanishes_is_seen():
    ended = asyncio.Queue()
    async with await serving(websocket=True, on_close=lambda _, reason: ended.put_nowait(reason)) as server:
        async with raw(server) as caller:
            await caller.upgrade()
            await caller.shake()
        assert await ended.get() == "closed by the peer"
        async with raw(server) as caller:
            await caller.upgrade()
            await caller.shake()
            sock = caller.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            caller.writer.transport.abort()
            assert await ended.get() == "connection reset by the peer"


async def test_a_caller_that_ignores_the_close_frame_is_left_after_a_while(monkeypatch):
    monkeypatch.setattr("oddwire.proto.connection._LINGER", 0.2)

    async def greet(connection):
        return

    async with await serving(greet, websocket=True) as server, raw(server) as caller:
        await caller.upgrade()
        await caller.shake()
        assert await caller.closed() == (1000, "")
        start = time.perf_counter()
        with contextlib.suppress(ConnectionError):
            assert await caller.reader.read() == b""
        assert time.perf_counter() - start < 60


async def test_an_owner_that_fails_in_a_later_slice_ends_the_connection():
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    seen = []

    def opened(connection):
        def deliver(message):
            seen.append(message)
            if len(seen) == 2000:
                raise RuntimeError("the owner failed")

        connection.deliver_to(deliver)

    async with await serving(None, websocket=True, on_open=opened) as server:
        connection = await dialing(server)
        with contextlib.suppress(ConnectionClosed):
            for _ in range(5000):
                await connection.send_message(b"x" * 20)
        assert [message async for message in connection] == []
        assert "the owner failed" in str(reported[0]["exception"])


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_on_uvloop():
    async with await serving(websocket=True) as server:
        connection = await dialing(server)
        for size in (0, 65535):
            message = os.urandom(size)
            await connection.send_message(message)
            assert await connection.read_message() == message
        await connection.aclose()


async def test_another_librarys_client():
    async with await serving(echo, websocket=True) as server:
        async with ws_connect(f"ws://127.0.0.1:{server.port}", proxy=None) as websocket:
            handshake = Handshake(DIALER, NODE_ID, PrivateKey(os.urandom(32)))
            await websocket.send(handshake.start())
            await websocket.send(handshake.receive(await websocket.recv()))
            sender, got = FrameSender(handshake.sending), []
            receiver = FrameReceiver(handshake.receiving, got.append)
            message = os.urandom(60_000)
            await websocket.send(sender.frame(message))
            while not got:
                receiver.feed(await websocket.recv())
            assert got == [message]
        with pytest.raises(WsClosed):
            await websocket.send(b"")
