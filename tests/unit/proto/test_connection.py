"""oddwire.proto.connection: two ends on loopback, or one end and a socket that misbehaves."""

import asyncio
import contextlib
import gc
import socket
import struct

import pytest
from tests.support.waiting import until

from oddwire.errors import ConnectionClosed, HandshakeFailed, PayloadTooLarge
from oddwire.proto.connection import LightningConnection
from oddwire.proto.framing import FrameReceiver, FrameSender
from oddwire.proto.keys import PrivateKey
from oddwire.proto.noise import ACT_SIZES, Handshake
from oddwire.proto.sharing import LoopShare, WorkLimits

LOOPS = ["asyncio", "uvloop"]
DIALER, LISTENER = PrivateKey(b"\x11" * 32), PrivateKey(b"\x21" * 32)
QUIET = 0.1
"""Seconds without progress that are taken to mean that something waits."""
CHUNK = bytes(60_000)


async def settle(turns=5):
    """Let callbacks that are due run."""
    for _ in range(turns):
        await asyncio.sleep(0)


class RawPeer:
    """The dialing end of a connection as a plain socket, with its ciphers in the test's hands."""

    def __init__(self, sock, handshake, received):
        self.sock = sock
        self.loop = asyncio.get_running_loop()
        self.frames = FrameSender(handshake.sending)
        self.received = received
        self.opener = FrameReceiver(handshake.receiving, received.append)

    async def send(self, data):
        await self.loop.sock_sendall(self.sock, data)

    async def read_on(self):
        """Read until the other end has nothing more to say."""
        while data := await self.loop.sock_recv(self.sock, 65536):
            self.opener.feed(data)


@contextlib.asynccontextmanager
async def raw(*, on_open=None, on_close=None, receive_buffer=None):
    """A listening `LightningConnection` and the `RawPeer` that dialed it."""
    loop = asyncio.get_running_loop()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await loop.sock_connect(sock, listening.getsockname())
        accepted, _ = listening.accept()
    with sock:
        transport, connection = await loop.create_connection(
            lambda: LightningConnection(LISTENER, on_open=on_open, on_close=on_close), sock=accepted
        )
        try:
            handshake = Handshake.initiator(DIALER, LISTENER.public_key(), PrivateKey(b"\x12" * 32))
            await loop.sock_sendall(sock, handshake.start())
            answer = b""
            while len(answer) < ACT_SIZES[2]:
                answer += await loop.sock_recv(sock, ACT_SIZES[2] - len(answer))
            await loop.sock_sendall(sock, handshake.receive(answer))
            await connection.opened()
            yield connection, RawPeer(sock, handshake, [])
        finally:
            connection.abort("test over")
            await until(lambda: transport.is_closing())
            await settle()


# Messages


async def test_messages_of_every_size_both_ways(connected):
    async with connected() as (dialer, listener):
        assert dialer.is_initiator
        assert not listener.is_initiator
        assert dialer.remote_pubkey == LISTENER.public_key()
        assert listener.remote_pubkey == DIALER.public_key()
        for one, other in ((dialer, listener), (listener, dialer)):
            for size in (0, 1, 2, 1000, 65535):
                await one.send_message(b"\xa5" * size)
                assert await other.read_message() == b"\xa5" * size


async def test_2500_messages_each_way_at_once(connected):
    """Five rotations of either key, while both directions are under way."""
    async with connected() as (dialer, listener):

        async def pump(connection, mark):
            for number in range(2500):
                await connection.send_message(mark + number.to_bytes(4, "big"))

        async def drain(connection, mark):
            for number in range(2500):
                assert await connection.read_message() == mark + number.to_bytes(4, "big")

        async with asyncio.TaskGroup() as group:
            group.create_task(pump(dialer, b"d"))
            group.create_task(pump(listener, b"l"))
            group.create_task(drain(dialer, b"l"))
            group.create_task(drain(listener, b"d"))


async def test_async_for_ends_with_the_connection(connected):
    async with connected() as (dialer, listener):
        for number in range(10):
            await dialer.send_message(bytes([number]))
        await dialer.aclose()
        assert [message async for message in listener] == [bytes([number]) for number in range(10)]


async def test_a_message_that_is_too_long_is_refused_and_the_connection_lives(connected):
    async with connected() as (dialer, listener):
        with pytest.raises(PayloadTooLarge):
            await dialer.send_message(bytes(65536))
        with pytest.raises(PayloadTooLarge):
            dialer.send_nowait(bytes(65536))
        await dialer.send_message(b"next")
        assert await listener.read_message() == b"next"


async def test_a_peer_can_begin_while_we_go_on():
    async with raw() as (connection, peer):
        for _ in range(2):
            for _ in range(300):
                connection.send_nowait(bytes(66))  # frames of 100 bytes
            peer.sock.settimeout(10)  # there are no loop turns while this waits
            early = b""
            while len(early) < 4100 + 8200 + 16_400:
                early += peer.sock.recv(65536)
            assert len(early) == 4100 + 8200 + 16_400
            peer.sock.setblocking(False)
            late = b""
            while len(late) < 1300:
                late += await peer.loop.sock_recv(peer.sock, 65536)
            assert len(late) == 1300


async def test_a_peer_that_is_behind_is_not_hurried():
    async with raw(receive_buffer=4096) as (connection, _):
        while not connection.congested:
            connection.send_nowait(CHUNK)
        await settle()
        behind = connection._transport.get_write_buffer_size()
        for _ in range(30):
            connection.send_nowait(bytes(66))
        assert connection._transport.get_write_buffer_size() == behind
        await settle()
        assert connection._transport.get_write_buffer_size() == behind + 3000


async def test_what_one_loop_turn_sends_arrives_in_one_piece():
    """One write a turn: a message a write costs a system call and a packet each."""
    async with raw() as (connection, peer):
        for number in range(50):
            connection.send_nowait(bytes([number]))
        await settle()
        data = await peer.loop.sock_recv(peer.sock, 65536)
        assert len(data) == 50 * 35
        peer.opener.feed(data)
        assert peer.received == [bytes([number]) for number in range(50)]


async def test_large_messages_leave_in_order_with_small_ones_though_their_buffer_is_shared():
    """Some are written at once from a buffer that all connections use, some wait for a peer that does not read yet."""
    mixed = [3, 60_000, 4, 5, 65_535, 40_000, 3, 60_000, 32_768, 100, 32_767, 60_000]
    sent = [], []
    async with raw(receive_buffer=4096) as (one, peer), raw(receive_buffer=4096) as (other, other_peer):
        for number in range(240):
            if number % 24 == 0:
                await settle()
            size = mixed[number // 2 % len(mixed)]
            message = (number.to_bytes(3, "big") * (size // 3 + 1))[:size]
            (one, other)[number % 2].send_nowait(message)
            sent[number % 2].append(message)
        assert one.congested
        reading = asyncio.gather(peer.read_on(), other_peer.read_on())
        await until(lambda: len(peer.received) + len(other_peer.received) == 240)
        assert (peer.received, other_peer.received) == sent
        one.abort("test over")
        other.abort("test over")
        await reading


async def test_small_messages_do_not_wait_for_nagle(connected):
    """pyln-proto sets no TCP_NODELAY: 88 ms a round trip."""
    async with connected() as (dialer, listener):
        for connection in (dialer, listener):
            sock = connection._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("size", [1, 17, 1000])
async def test_any_portions_of_bytes_give_the_same_messages(size):
    messages = [b"", b"hello", bytes(3000)]
    async with raw() as (connection, peer):
        data = b"".join(map(peer.frames.frame, messages))
        for at in range(0, len(data), size):
            await peer.send(data[at : at + size])
            await asyncio.sleep(0)
        assert [await connection.read_message() for _ in messages] == messages


async def test_a_read_that_finds_nothing_loses_nothing():
    """A loop may ask for a buffer and then have nothing to put there; another connection may then use it."""
    async with raw() as (connection, peer):
        data = peer.frames.frame(b"hello")
        await peer.send(data[:30])
        await until(lambda: connection._frames.rest)
        view = connection.get_buffer(-1)
        view[:100] = b"\xee" * 100
        await peer.send(data[30:])
        assert await connection.read_message() == b"hello"


async def test_messages_glued_to_the_last_act_are_delivered():
    received = []
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        _, connection = await loop.create_connection(
            lambda: LightningConnection(LISTENER, on_open=lambda opened: opened.deliver_to(received.append)), sock=ours
        )
        handshake = Handshake.initiator(DIALER, LISTENER.public_key(), PrivateKey(b"\x12" * 32))
        await loop.sock_sendall(theirs, handshake.start())
        act_three = handshake.receive(await loop.sock_recv(theirs, 50))
        frames = FrameSender(handshake.sending)
        await loop.sock_sendall(theirs, act_three + frames.frame(b"first") + frames.frame(b"second"))
        await until(lambda: len(received) == 2)
        assert received == [b"first", b"second"]
        assert connection.peer_address == "", "this socket has no host and port"
        connection.abort("test over")
        await settle()


# Reading


async def test_one_reader_at_a_time(connected):
    async with connected() as (dialer, listener):
        reading = asyncio.create_task(listener.read_message())
        await settle()
        with pytest.raises(RuntimeError, match="another task is reading"):
            await listener.read_message()
        await dialer.send_message(b"for the first")
        assert await reading == b"for the first"


async def test_a_cancelled_read_loses_nothing(connected):
    async with connected() as (dialer, listener):
        for number in range(5):
            reading = asyncio.create_task(listener.read_message())
            await settle()
            if number % 2:  # cancelled after its message has come, and before it could run
                await dialer.send_message(bytes([number]))
                await until(lambda reading=reading: listener._inbox or reading.done())
            reading.cancel()
            (result,) = await asyncio.gather(reading, return_exceptions=True)
            if not isinstance(result, asyncio.CancelledError):
                assert result == bytes([number])
            elif number % 2:
                assert await listener.read_message() == bytes([number])


async def test_what_came_before_the_end_is_read_first(connected):
    async with connected() as (dialer, listener):
        await dialer.send_message(b"one")
        await dialer.send_message(b"two")
        await dialer.aclose()
        await until(lambda: listener.closed)
        assert await listener.read_message() == b"one"
        assert await listener.read_message() == b"two"
        for _ in range(2):
            with pytest.raises(ConnectionClosed, match="closed by the peer") as caught:
                await listener.read_message()
            assert caught.value.reason == listener.close_reason == "closed by the peer"


async def test_the_end_wakes_a_reader(connected):
    async with connected() as (dialer, listener):
        reading = asyncio.create_task(listener.read_message())
        await settle()
        await dialer.aclose()
        with pytest.raises(ConnectionClosed):
            await reading


async def test_delivered_messages_cannot_be_read(connected):
    received = []
    async with connected(on_open=lambda opened: opened.deliver_to(received.append)) as (dialer, listener):
        await dialer.send_message(b"pushed")
        await until(lambda: received)
        with pytest.raises(RuntimeError, match="go to its on_message"):
            await listener.read_message()


async def test_nothing_is_delivered_before_the_handshake():
    connection = LightningConnection(LISTENER)
    with pytest.raises(RuntimeError, match="the handshake is not over"):
        connection.deliver_to(print)
    with pytest.raises(ConnectionClosed, match="the handshake is not over"):
        connection.send_nowait(b"too early")
    connection.pause()
    connection.resume()
    assert not connection.paused
    assert connection.peer_address == ""


# Back-pressure


async def fill(connection):
    """Send until a sender waits; give how many messages were accepted, and the waiting task."""
    accepted = 0

    async def flood():
        nonlocal accepted
        while True:
            await connection.send_message(accepted.to_bytes(4, "big") + CHUNK)
            accepted += 1

    task = asyncio.create_task(flood())
    last = -1
    while last != accepted:
        last = accepted
        await asyncio.sleep(QUIET)
    assert connection.congested
    return accepted, task


async def test_a_sender_waits_for_a_peer_that_does_not_read(connected):
    async with connected() as (dialer, listener):
        accepted, flood = await fill(dialer)
        assert listener._frames.held, "the reader's own queue is bounded, too"
        assert not listener.paused, "nobody asked for that"
        flood.cancel()
        await asyncio.wait([flood])
        for number in range(accepted):
            assert (await listener.read_message())[:4] == number.to_bytes(4, "big")
        await until(lambda: not dialer.congested)
        await dialer.send_message(b"last")
        assert await listener.read_message() == b"last", "the cancelled message was not sent"


async def test_an_inbox_of_empty_messages_is_bounded_too(connected):
    async with connected() as (dialer, listener):
        for _ in range(400):
            for _ in range(100):
                dialer.send_nowait(b"")
            await asyncio.sleep(0)
            if listener._frames.held:
                break
        assert listener._frames.held
        assert len(listener._inbox) < 40_000


async def test_waiting_senders_are_served_in_the_order_they_came(connected):
    async with connected() as (dialer, listener):
        accepted, flood = await fill(dialer)

        async def late(number):
            await dialer.send_message(b"late" + bytes([number]))

        tasks = []
        for number in range(10):
            tasks.append(asyncio.create_task(late(number)))
            await settle()
        tasks[3].cancel()
        flood.cancel()
        await asyncio.wait([flood, tasks[3]])
        for _ in range(accepted):
            await listener.read_message()
        messages = [await listener.read_message() for _ in range(9)]
        assert messages == [b"late" + bytes([number]) for number in range(10) if number != 3]
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_sender_cancelled_when_its_turn_has_come_passes_it_on(connected):
    async with connected() as (dialer, listener):
        _, flood = await fill(dialer)
        others = [asyncio.create_task(dialer.send_message(b"other")) for _ in range(3)]
        await settle()
        dialer.resume_writing()  # as the transport does; the first of the queue is woken
        flood.cancel()
        await asyncio.wait([flood])
        await asyncio.gather(*others)
        assert not dialer._writers
        listener.abort("enough")


async def test_the_end_wakes_every_waiting_sender(connected):
    async with connected() as (dialer, _):
        _, flood = await fill(dialer)
        others = [asyncio.create_task(dialer.send_message(b"x")) for _ in range(3)]
        await settle()
        dialer.abort("enough")
        for task in (flood, *others):
            with pytest.raises(ConnectionClosed, match="enough"):
                await task
        with pytest.raises(ConnectionClosed, match="enough"):
            await dialer.send_message(b"after the end, still congested")
        with pytest.raises(ConnectionClosed, match="enough"):
            await dialer.writable()


async def test_writable_returns_at_once_unless_congested(connected):
    async with connected() as (dialer, listener):
        assert not dialer.congested
        await dialer.writable()
        dialer.send_nowait(b"my turn")
        assert await listener.read_message() == b"my turn"


async def test_pause_is_exact_and_resume_loses_nothing(connected):
    received = []

    def on_message(message):
        received.append(message)
        if len(received) % 3 == 0:
            listener.pause()

    async with connected(on_open=lambda opened: opened.deliver_to(on_message)) as (dialer, listener):
        sent = [number.to_bytes(2, "big") for number in range(30)]
        for message in sent:
            dialer.send_nowait(message)
        for count in range(3, 31, 3):
            await until(lambda count=count: len(received) >= count)
            await asyncio.sleep(0.01)
            assert received == sent[:count]
            assert listener.paused
            listener.pause()
            listener.resume()
            listener.resume()
            assert len(received) == count, "resume delivers in a turn of its own"
        assert received == sent


async def test_pause_right_after_resume_holds(connected):
    received = []
    async with connected(on_open=lambda opened: opened.deliver_to(received.append)) as (dialer, listener):
        listener.pause()
        await dialer.send_message(b"held")
        await asyncio.sleep(QUIET)
        listener.resume()
        listener.pause()
        await asyncio.sleep(QUIET)
        assert received == []
        listener.resume()
        await until(lambda: received)
        assert received == [b"held"]


async def test_reading_what_came_before_a_pause_does_not_undo_it(connected):
    async with connected() as (dialer, listener):
        await dialer.send_message(b"before")
        await until(lambda: listener._inbox)
        listener.pause()
        await dialer.send_message(b"after")
        assert await listener.read_message() == b"before"
        reading = asyncio.create_task(listener.read_message())
        await asyncio.sleep(QUIET)
        assert not reading.done()
        listener.resume()
        assert await reading == b"after"


async def test_a_paused_connection_sends(connected):
    async with connected() as (dialer, listener):
        listener.pause()
        await listener.send_message(b"from the paused side")
        assert await dialer.read_message() == b"from the paused side"


async def test_more_than_the_read_buffer_may_be_held(connected):
    """Pausing in the middle of a chunk leaves the chunk's rest; with what follows it may exceed a read's buffer."""
    received = []

    def on_message(message):
        received.append(message)
        listener.pause()

    async with connected(on_open=lambda opened: opened.deliver_to(on_message)) as (dialer, listener):
        sent = [bytes([number]) * 65_535 for number in range(30)]
        for message in sent:
            dialer.send_nowait(message)
        while len(received) < len(sent):
            count = len(received)
            listener.resume()
            await until(lambda count=count: len(received) > count)
        assert received == sent


# The end


async def test_closing_from_both_sides_at_once(connected):
    async with connected() as (dialer, listener):
        await asyncio.gather(dialer.aclose("left"), listener.aclose("right"), dialer.aclose("again"))
        assert (dialer.close_reason, listener.close_reason) == ("left", "right")
        await dialer.aclose()


async def test_what_was_sent_before_close_arrives(connected):
    async with connected() as (dialer, listener):
        sent = [number.to_bytes(2, "big") * 500 for number in range(500)]
        for message in sent:
            dialer.send_nowait(message)
        dialer.close()
        assert [message async for message in listener] == sent


async def test_nothing_is_sent_after_close(connected):
    async with connected() as (dialer, _):
        dialer.close("bye")
        assert dialer.closed
        for _ in range(2):
            with pytest.raises(ConnectionClosed, match="bye"):
                dialer.send_nowait(b"x")
            with pytest.raises(ConnectionClosed, match="bye"):
                await dialer.send_message(b"x")


async def test_nothing_is_delivered_after_close():
    received = []

    def on_message(message):
        received.append(message)
        connection.close("one is enough")

    async with raw(on_open=lambda opened: opened.deliver_to(on_message)) as (connection, peer):
        await peer.send(b"".join(peer.frames.frame(bytes([n])) for n in range(10)))
        await peer.read_on()
        await peer.send(peer.frames.frame(b"late"))
        await asyncio.sleep(QUIET)
        assert received == [b"\0"]


async def test_our_last_words_arrive_though_the_peer_had_sent_bytes_we_never_read():
    """Closing a socket with unread bytes resets it, and the peer's kernel then drops what it has not read, too."""
    async with raw() as (connection, peer):
        connection.pause()
        for _ in range(50):
            await peer.send(peer.frames.frame(bytes(1000)))
        await asyncio.sleep(QUIET)
        connection.send_nowait(b"last words")
        connection.close("enough")
        assert connection._transport.is_reading(), "or the peer's own end would not be noticed"
        for _ in range(50):
            await peer.send(peer.frames.frame(bytes(1000)))
        await peer.read_on()
        assert peer.received == [b"last words"]


async def test_a_reset_by_the_peer_is_told_as_one():
    reasons = []
    async with raw(on_close=lambda _, reason: reasons.append(reason)) as (connection, peer):
        reading = asyncio.create_task(connection.read_message())
        await settle()
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.sock.close()
        with pytest.raises(ConnectionClosed, match="reset by the peer"):
            await reading
        assert reasons == ["connection reset by the peer"]


async def test_on_close_is_called_once_with_the_first_reason():
    reasons = []
    async with raw(on_close=lambda _, reason: reasons.append(reason)) as (connection, peer):
        connection.close("first")
        connection.close("second")
        connection.abort("third")
        peer.sock.close()
        await settle()
        assert reasons == ["first"]
        assert connection.close_reason == "first"


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_an_on_close_that_fails_is_reported_and_the_socket_is_closed(how):
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(str(context["exception"])))

    def fail(connection, reason):
        raise RuntimeError("on_close failed")

    async with raw(on_close=fail) as (connection, peer):
        getattr(connection, how)("enough")
        await peer.read_on()
        peer.sock.close()
        await until(lambda: connection._transport is None)
    assert reported == ["on_close failed"]


@pytest.mark.parametrize("at", [0, 17, 18, 40])
async def test_a_tampered_frame_ends_the_connection_and_nothing_after_it_is_delivered(at):
    async with raw() as (connection, peer):
        good = peer.frames.frame(b"good")
        bad = bytearray(peer.frames.frame(b"tampered with on the way"))
        bad[at] ^= 1
        await peer.send(good + bad + peer.frames.frame(b"after"))
        assert await connection.read_message() == b"good"
        with pytest.raises(ConnectionClosed, match="MAC does not verify"):
            await connection.read_message()


async def test_a_half_closed_peer_still_reads_what_was_sent():
    async with raw() as (connection, peer):
        connection.send_nowait(b"before")
        peer.sock.shutdown(socket.SHUT_WR)
        await until(lambda: connection.closed)
        await peer.read_on()
        assert peer.received == [b"before"]
        assert connection.close_reason == "closed by the peer"


async def test_a_half_closed_peer_that_does_not_read_is_gone_for_us():
    """Its silence must not keep readers and senders waiting until the kernel gives up."""
    async with raw(receive_buffer=4096) as (connection, peer):
        _, flood = await fill(connection)
        reading = asyncio.create_task(connection.read_message())
        await settle()
        peer.sock.shutdown(socket.SHUT_WR)
        for task in (flood, reading):
            with pytest.raises(ConnectionClosed, match="closed by the peer"):
                await task


@pytest.mark.asyncio(loop_factories=["hurried"])
async def test_aclose_waits_five_seconds_at_most_for_a_peer_that_does_not_close():
    async with raw() as (connection, peer):
        connection.send_nowait(b"bye")
        before = asyncio.Event()
        asyncio.get_running_loop().call_later(4.9, before.set)
        await connection.aclose()
        assert before.is_set()
        await peer.read_on()
        assert peer.received == [b"bye"]


@pytest.mark.asyncio(loop_factories=["hurried"])
async def test_a_half_closed_peer_that_does_not_read_has_five_seconds():
    async with raw(receive_buffer=4096) as (connection, peer):
        while not connection.congested:
            connection.send_nowait(CHUNK)
            await asyncio.sleep(0)
        peer.sock.shutdown(socket.SHUT_WR)
        await connection.aclose()
        assert connection._transport is None


@pytest.mark.parametrize("held", [False, True])
async def test_an_exception_of_on_message_ends_the_connection(held):
    """Whether it fails on what was just read or on what was held, it does not stay half alive."""
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))

    def on_message(message):
        if message == b"pause":
            connection.pause()
        else:
            raise RuntimeError("on_message failed")

    async with raw(on_open=lambda opened: opened.deliver_to(on_message)) as (connection, peer):
        await peer.send((peer.frames.frame(b"pause") if held else b"") + peer.frames.frame(b"fail"))
        if held:
            await until(lambda: connection.paused)
            connection.resume()
        await until(lambda: connection.closed)
        with contextlib.suppress(ConnectionResetError):
            await peer.read_on()
    assert [str(error) for error in reported] == ["on_message failed"]


async def test_a_tampered_frame_that_was_held_ends_the_connection():
    received = []

    def on_message(message):
        received.append(message)
        connection.pause()

    async with raw(on_open=lambda opened: opened.deliver_to(on_message)) as (connection, peer):
        good, bad = peer.frames.frame(b"good"), bytearray(peer.frames.frame(b"bad"))
        bad[-1] ^= 1
        await peer.send(good + bad)
        await until(lambda: received)
        assert not connection.closed
        connection.resume()
        await until(lambda: connection.closed)
        assert "MAC does not verify" in connection.close_reason
        assert received == [b"good"]


async def test_closing_what_the_peer_has_reset_behind_our_back():
    """A paused connection does not notice; the socket then cannot even be half-closed."""
    async with raw() as (connection, peer):
        connection.pause()
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.sock.close()
        await asyncio.sleep(0.01)
        await connection.aclose("enough")
        assert connection.close_reason == "enough"


async def test_nothing_is_left_behind(connected):
    """No task, and on asyncio's own loop no timer: a handshake's deadline and a linger are called off."""
    loop = asyncio.get_running_loop()
    async with connected() as (dialer, listener):
        await dialer.send_message(b"x")
        await listener.read_message()
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not [handle for handle in getattr(loop, "_scheduled", ()) if not handle.cancelled()]
    del dialer, listener
    gc.collect()  # a transport left open warns when it is collected, and warnings are errors here


# The handshake


async def test_opened_raises_what_ended_the_handshake_whenever_it_is_asked():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        _, connection = await loop.create_connection(lambda: LightningConnection(LISTENER), sock=ours)
        theirs.sendall(b"\x01" * 50)
        asked_before = asyncio.create_task(connection.opened())
        await until(lambda: connection.closed)
        with pytest.raises(HandshakeFailed, match="version 1"):
            await asked_before
        for _ in range(2):
            with pytest.raises(HandshakeFailed, match="version 1"):
                await connection.opened()


async def test_opened_before_the_transport_is_there_tells_of_an_early_close():
    connection = LightningConnection(LISTENER)
    connection.close("never mind")
    with pytest.raises(ConnectionClosed, match="never mind"):
        await connection.opened()


async def test_cancelling_one_who_waits_for_the_handshake_does_not_disturb_another():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        _, connection = await loop.create_connection(lambda: LightningConnection(LISTENER), sock=ours)
        first, second = (asyncio.create_task(connection.opened()) for _ in range(2))
        await settle()
        first.cancel()
        await asyncio.wait([first])
        theirs.close()
        with pytest.raises(HandshakeFailed, match="after 0 of the 50 bytes of act 1"):
            await second


@pytest.mark.parametrize("act", [1, 3])
async def test_the_end_at_any_byte_of_an_act_is_told(act):
    loop = asyncio.get_running_loop()
    for size in (0, 1, ACT_SIZES[act] - 1):
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.setblocking(False)
            _, connection = await loop.create_connection(lambda: LightningConnection(LISTENER), sock=ours)
            handshake = Handshake.initiator(DIALER, LISTENER.public_key(), PrivateKey(b"\x12" * 32))
            packet = handshake.start()
            if act == 3:
                await loop.sock_sendall(theirs, packet)
                packet = handshake.receive(await loop.sock_recv(theirs, 50))
            await loop.sock_sendall(theirs, packet[:size])
            theirs.close()
            with pytest.raises(HandshakeFailed) as caught:
                await connection.opened()
            assert caught.value.code == f"ACT{act}_READ_FAILED"
            await until(lambda connection=connection: connection._transport is None)


@pytest.mark.asyncio(loop_factories=["hurried"])
@pytest.mark.parametrize(("sent", "act"), [(0, 1), (49, 1), (50, 3)])
async def test_a_handshake_has_ten_seconds_and_its_failure_names_the_act(sent, act):
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(Handshake.initiator(DIALER, LISTENER.public_key(), PrivateKey(b"\x12" * 32)).start()[:sent])
        _, connection = await loop.create_connection(lambda: LightningConnection(LISTENER), sock=ours)
        with pytest.raises(HandshakeFailed, match="handshake not over after 10 s") as caught:
            await connection.opened()
        assert (caught.value.act, caught.value.code) == (act, f"ACT{act}_READ_FAILED")
        await until(lambda: connection._transport is None)


@pytest.mark.asyncio(loop_factories=["asyncio"])  # uvloop forgets to close a socket it was given and lost at once
async def test_a_connection_closed_before_its_transport_came_closes_it():
    """A server that drops the oldest of many at once may drop one whose socket is just being set up."""
    loop = asyncio.get_running_loop()
    closed = []
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        connection = LightningConnection(LISTENER, on_close=lambda _, reason: closed.append(reason))
        connection.close("dropped")
        assert closed == ["dropped"]
        await loop.create_connection(lambda: connection, sock=ours)
        assert await loop.sock_recv(theirs, 10) == b""
        assert closed == ["dropped"]


async def test_closing_during_the_handshake_tells_who_waits_for_it():
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        _, connection = await loop.create_connection(lambda: LightningConnection(LISTENER), sock=ours)
        waiting = asyncio.create_task(connection.opened())
        await settle()
        await connection.aclose("changed our mind")
        with pytest.raises(ConnectionClosed, match="changed our mind"):
            await waiting


# Sharing the loop


def shared(limits=None):
    return LoopShare(limits or WorkLimits())


@contextlib.asynccontextmanager
async def sharing(share, count, on_message):
    """So many connections that share a loop by ``share``, and their raw peers; ``on_message(index, connection)``."""

    async with contextlib.AsyncExitStack() as stack:
        ends = []
        for index in range(count):

            def on_open(connection, index=index):
                connection.share_with(share)
                connection.deliver_to(lambda message: on_message(index, connection))

            ends.append(await stack.enter_async_context(raw(on_open=on_open)))
        yield ends


async def test_a_chunk_is_taken_in_slices_and_others_have_their_turn_between():
    order = []
    share = shared(WorkLimits(turn_seconds=1e-9))
    async with sharing(share, 2, lambda index, _: order.append(index)) as ((_, much), (_, little)):
        # Hundreds of slices of LOOK_AFTER bytes and a bit
        data = b"".join(much.frames.frame(b"ab") for _ in range(20_000))

        async def send_little():
            await until(lambda: order)
            assert len(order) < 10_000
            await little.send(little.frames.frame(b"ab"))

        await asyncio.gather(much.send(data), send_little())
        await until(lambda: len(order) == 20_001)
        assert order[-1] == 0, "who sends little does not wait for the end of who sends much"


async def test_slices_keep_the_order_and_lose_nothing_however_messages_are_cut():
    received = []
    share = shared(WorkLimits(turn_seconds=1e-9))

    def on_open(connection):
        connection.share_with(share)
        connection.deliver_to(received.append)

    async with raw(on_open=on_open) as (connection, peer):
        sent = [number.to_bytes(4, "big") * (1 + number * 37 % 300) for number in range(3000)]
        sent[100] = sent[2000] = bytes(65_535)
        data = b"".join(map(peer.frames.frame, sent))
        for at in range(0, len(data), 100_003):
            await peer.send(data[at : at + 100_003])
        await until(lambda: len(received) == len(sent))
        assert received == sent
        assert not connection.paused


async def test_pauses_hold_within_slices():
    received = []
    share = shared(WorkLimits(turn_seconds=1e-9))

    def on_message(index, connection):
        received.append(index)
        if len(received) % 50 == 0:
            connection.pause()

    async with sharing(share, 1, on_message) as ((connection, peer),):
        await peer.send(b"".join(peer.frames.frame(b"ab") for _ in range(400)))
        for count in range(50, 401, 50):
            await until(lambda count=count: len(received) == count)
            await settle(20)
            assert len(received) == count
            connection.resume()


async def test_who_sends_what_nothing_comes_of_waits_and_others_do_not():
    count = [0, 0]
    share = shared(WorkLimits(wasted_share=1e-6))
    share.wasted._spend(10.0, share.loop.time())  # for days

    def on_message(index, connection):
        count[index] += 1
        connection.wasted += 1 - index

    async with sharing(share, 2, on_message) as ((_, bad), (_, good)):
        await bad.send(b"".join(bad.frames.frame(b"ab") for _ in range(10_000)))
        await until(lambda: share.wasted.waiting)
        taken = count[0]
        assert taken < 10_000
        await good.send(b"".join(good.frames.frame(b"ab") for _ in range(10_000)))
        await until(lambda: count[1] == 10_000)
        assert count[0] == taken
        assert share.counters["wasted_share"] == 1
    assert share.members == 0
    assert share.wasted.waiting == 0, "who has gone does not wait any more"
    assert not share.wasted._accounts


async def test_who_is_let_go_takes_one_slice_and_waits_again():
    count = [0]
    share = shared(WorkLimits(wasted_share=1e-6))
    share.wasted._spend(10.0, share.loop.time())

    def on_message(index, connection):
        count[0] += 1
        connection.wasted += 1

    async with sharing(share, 1, on_message) as ((connection, peer),):
        await peer.send(b"".join(peer.frames.frame(b"ab") for _ in range(7000)))
        for _ in range(3):
            await until(lambda: share.wasted.waiting)
            before = count[0]
            assert connection.paused
            share.wasted._line.clear()
            connection.let_go()
            assert before < count[0] < 7000
            assert share.wasted.waiting == 1


class Forgiving(LoopShare):
    """Charges nobody: on a busy machine what should be cheap may seem costly."""

    def settle(self, *_):
        return False


def costly_used_up():
    share = Forgiving(WorkLimits(costly_share=1e-6, wanted_seconds=1e6))
    share.costly._spend(0.2, share.loop.time())  # for days
    share.want(object())
    return share


LARGE = bytes(60_000)


async def test_what_newcomers_send_is_taken_at_once_but_for_what_is_large_while_others_have_used_up_the_share():
    share, received = costly_used_up(), []
    async with sharing(share, 1, lambda *got: received.append(got)) as ((connection, peer),):
        sent = [*(number.to_bytes(4, "big") * 20 for number in range(500)), LARGE, b"after", LARGE, b"end"]
        await peer.send(b"".join(map(peer.frames.frame, sent)))
        await until(lambda: share.costly.waiting)
        assert len(received) == 500
        assert connection.paused
        assert share.counters["costly_share"] == 1
        share.costly._untried.clear()
        connection.let_go()
        await until(lambda: len(received) == 504)  # it has been tried: the second one is taken at once
        assert share.costly.waiting == 0
        assert not connection.paused


async def test_a_large_message_of_a_newcomer_waits_once_it_is_whole_and_in_whatever_pieces_it_comes():
    share, received = costly_used_up(), []
    async with sharing(share, 1, lambda *got: received.append(got)) as ((connection, peer),):
        data = peer.frames.frame(LARGE) + peer.frames.frame(b"end")
        for at in range(0, 60_000, 1500):
            await peer.send(data[at : at + 1500])
            await settle(5)
        assert share.costly.waiting == 0
        await peer.send(data[60_000:])
        await until(lambda: share.costly.waiting)
        assert received == []
        share.costly._untried.clear()
        connection.let_go()
        await until(lambda: len(received) == 2)


async def test_who_has_sent_large_ones_before_goes_on_unless_very_much_is_used_up():
    share, received = Forgiving(WorkLimits(costly_share=1e-6, wanted_seconds=1e6)), []
    async with sharing(share, 1, lambda *got: received.append(got)) as ((connection, peer),):
        await peer.send(peer.frames.frame(LARGE))
        await until(lambda: received)
        share.costly._spend(0.15, share.loop.time())
        share.want(object())
        await peer.send(peer.frames.frame(LARGE))
        await until(lambda: len(received) == 2)
        share.costly._spend(0.5, share.loop.time())
        await peer.send(peer.frames.frame(b"small") + peer.frames.frame(LARGE))
        await until(lambda: share.costly.waiting)
        assert len(received) == 3
        share.costly._untried.clear()
        connection.let_go()
        await until(lambda: len(received) == 4)


async def test_a_newcomer_that_is_alone_does_not_wait_long_whatever_others_have_used_up():
    share, received = shared(WorkLimits(costly_share=1e-6)), []
    share.costly._spend(0.2, share.loop.time())
    async with sharing(share, 1, lambda *got: received.append(got)) as ((_, peer),):
        await peer.send(peer.frames.frame(LARGE) + peer.frames.frame(b"end"))
        await until(lambda: len(received) == 2)


async def test_what_a_peer_sent_is_taken_later_in_its_turn_one_after_the_other():
    share, order = shared(WorkLimits(wasted_share=1e-6)), []
    share.wasted._spend(10.0, share.loop.time())

    async with sharing(share, 1, lambda index, connection: None) as ((connection, _),):
        await connection.turn()  # at once, as it does not wait
        connection.charge(0.01, wasted=True)
        assert share.wasted.waiting == 1
        assert connection.paused

        async def work(number):
            await connection.turn()
            order.append(number)
            connection.charge(0.01 if number == 1 else 0.0, wasted=True)

        tasks = [asyncio.create_task(work(number)) for number in range(4)]
        await settle(20)
        assert order == []
        tasks[0].cancel()
        share.wasted._line.clear()
        connection.let_go()
        await settle(20)
        assert order == [1], "which cost more than there was"
        assert connection.paused
        share.wasted._line.clear()
        connection.let_go()
        await settle(20)
        assert order == [1, 2, 3]
        connection.charge(0.01, wasted=True)
        tasks.append(asyncio.create_task(work(4)))
        await settle(20)
        assert order == [1, 2, 3]
    await settle(20)
    assert order == [1, 2, 3, 4], "whose peer has gone"
    connection.charge(0.01, wasted=True)
    await connection.turn()
    assert share.wasted.waiting == share.costly.waiting == 0


async def test_a_first_act_that_came_before_is_not_worked_on_while_others_wait():
    act = Handshake.initiator(DIALER, LISTENER.public_key(), PrivateKey(b"\x12" * 32)).start()
    share = shared()
    loop = asyncio.get_running_loop()

    async def begin():
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        _, connection = await loop.create_connection(lambda: LightningConnection(LISTENER, share=share), sock=theirs)
        await loop.sock_sendall(ours, act)
        return ours, connection

    first, connection = await begin()
    assert len(await loop.sock_recv(first, 100)) == 50
    share.handshakes.spend(10.0)
    share.want()
    share.handshakes.do(lambda: None)  # which waits
    second, refused = await begin()
    assert await loop.sock_recv(second, 100) == b""
    assert refused.close_reason == "act 1 came before, and others wait"
    for end in (first, second):
        end.close()
    connection.abort("test over")
    await until(lambda: not connection.lingers)
