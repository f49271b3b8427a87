"""oddwire.proto.accepting: who is let in, in which order, and what happens when there is no descriptor left."""

import asyncio
import contextlib
import logging
import resource
import socket
from collections import Counter

import pytest
from tests.support import waiting

from oddwire.proto import PrivateKey, connect, serve
from oddwire.proto.accepting import Lingering, _SourceQueue, source_of
from oddwire.proto.noise import Handshake
from oddwire.proto.sharing import LoopShare

LOOPS = ["asyncio", "uvloop"]
DIALER, LISTENER = PrivateKey(b"\x11" * 32), PrivateKey(b"\x21" * 32)
NODE_ID = LISTENER.public_key()


async def until(condition):
    """Wait on a clock that may be hurried: its seconds are short."""
    await waiting.until(condition, patience=1200)


@contextlib.asynccontextmanager
async def callers(server, count, data=b""):
    """So many TCP connections that have sent ``data``."""
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        socks = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", server.port))
            await loop.sock_sendall(sock, data)
            socks.append(sock)
        yield socks


@pytest.mark.parametrize(
    ("address", "source"),
    [
        (("192.0.2.1", 1), "192.0.2.1"),
        (("2001:db8:1:2:3:4:5:6", 1, 0, 0), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::", 9, 0, 0), "2001:db8:1:2::/64"),
        (("::ffff:192.0.2.1", 1, 0, 0), "192.0.2.1"),
        (("fe80::1%eth0", 1, 0, 2), "fe80::/64"),
        ("", ""),
        (None, ""),
    ],
)
def test_sources(address, source):
    assert source_of(address) == source


def test_sources_have_turns_and_the_one_with_most_loses_its_oldest():
    line = _SourceQueue()
    for source, caller in (("a", 1), ("a", 2), ("a", 3), ("b", 4)):
        line.add(source, caller, 0.0)
    assert line.drop() == 1
    assert [line.next()[:2] for _ in range(len(line))] == [("a", 2), ("b", 4), ("a", 3)]


async def test_callers_beyond_what_may_wait_cost_their_source_the_oldest():
    share = LoopShare()
    async with await serve(None, LISTENER, "127.0.0.1", 0, share=share, max_waiting=5) as server:
        share.handshakes.spend(1000.0)  # nobody is admitted
        share.want()
        share._wanted_until = share.loop.time() + 1000
        async with callers(server, 8) as socks:
            await until(lambda: server.counters["max_waiting"] == 3)
            assert server.pending == 5
            loop = asyncio.get_running_loop()
            for sock in socks[:3]:
                assert await loop.sock_recv(sock, 1) == b""
            for sock in socks[3:]:
                with pytest.raises(BlockingIOError):
                    sock.recv(1)
            share._wanted_until = 0.0
            share.handshakes._free_at = 0.0


async def test_in_a_crowd_who_says_something_new_comes_before_who_does_not():
    share = LoopShare()
    async with await serve(None, LISTENER, "127.0.0.1", 0, share=share, max_waiting=60) as server:
        act = Handshake.initiator(DIALER, NODE_ID, PrivateKey(b"\x12" * 32)).start()
        share.handshakes.remember(act)
        share.handshakes.spend(1000.0)
        share._wanted_until = share.loop.time() + 1000
        async with callers(server, 20), callers(server, 20, act) as stale:
            await until(lambda: server.pending == 40)
            dialing = asyncio.create_task(connect(DIALER, NODE_ID, "127.0.0.1", server.port))
            await until(lambda: server.pending == 41)
            share.handshakes._free_at = share.loop.time()
            share.handshakes.spend = lambda seconds: None
            share.handshakes._go_on()
            connection = await dialing
            loop = asyncio.get_running_loop()
            for sock in stale:
                with contextlib.suppress(ConnectionResetError):
                    assert await loop.sock_recv(sock, 1) == b""
            connection.abort("test over")
            share._wanted_until = 0.0


@pytest.mark.asyncio(loop_factories=["hurried"])
async def test_nobody_waits_for_ever():
    share = LoopShare()
    async with await serve(None, LISTENER, "127.0.0.1", 0, share=share) as server:
        share.handshakes.spend(5.0)
        share._wanted_until = share.loop.time() + 5000
        async with callers(server, 30) as socks:
            await until(lambda: server.pending == 0)
            assert await asyncio.get_running_loop().sock_recv(socks[0], 1) == b""  # once it has come


async def test_connections_that_linger_are_so_many_and_no_more():
    counters = Counter()
    lingering = Lingering(3, counters)
    async with await serve(None, LISTENER, "127.0.0.1", 0, lingering=lingering) as server:
        ours = []
        server._on_open = ours.append
        theirs = [await connect(DIALER, NODE_ID, "127.0.0.1", server.port) for _ in range(5)]
        await until(lambda: len(ours) == 5)
        for connection in theirs:
            connection.pause()  # and so do not see that we hang up
        for connection in ours:
            connection.close("by the test")
        assert len(lingering) == 3
        assert counters == {"max_lingering": 2}
        await until(lambda: [connection.lingers for connection in ours] == [False, False, True, True, True])
        for connection in theirs:
            connection.abort("test over")
        await until(lambda: len(lingering) == 0)


async def test_without_descriptors_accepting_rests_and_says_so_once(caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with await serve(None, LISTENER, "127.0.0.1", 0) as server:
        socks = [socket.socket() for _ in range(30)]
        try:
            most = max(sock.fileno() for sock in socks) + 1  # and below are no gaps, or they would be lower
            with caplog.at_level(logging.WARNING):
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
                for sock in socks:
                    sock.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        sock.connect(("127.0.0.1", server.port))
                await until(lambda: server.counters["descriptors"] >= 2)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for sock in socks:
                sock.close()
        told = [record.getMessage() for record in caplog.records]
        assert told == ["no connection can be accepted for now: Too many open files"]
        connection = await connect(DIALER, NODE_ID, "127.0.0.1", server.port)
        connection.abort("test over")
