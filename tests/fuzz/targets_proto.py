"""What a peer's bytes meet first: the handshake, frames, BOLT 1, and a node with all of it on a real socket.

Whole, or one byte at a time, they end in the same way: by a documented error, never in an exception out of the loop.
"""

# ruff: noqa: PT017 - a target is told what to raise by no one, so it looks at what was raised

from __future__ import annotations

import asyncio
import atexit
import functools
import itertools
import logging
import socket
from collections.abc import Iterable, Iterator
from typing import Any

from oddwire.errors import (
    AuthenticationFailed,
    HandshakeFailed,
    LocalProtocolError,
    MalformedMessage,
    RemoteProtocolError,
)
from oddwire.proto.bolt1 import CHAINS, INTERNAL, NO_PONG, Bolt1, Init, Notice, Ping, Pong, encode_error, encode_warning
from oddwire.proto.features import feature_bytes
from oddwire.proto.framing import FrameReceiver, FrameSender
from oddwire.proto.keys import NodeId, PrivateKey
from oddwire.proto.noise import ACT_SIZES, CipherState, Handshake
from oddwire.testing.sinks import Connected, Disconnected, Received, RecordingSink
from oddwire.transports.base import Manifest
from oddwire.transports.bolt8.transport import Bolt8Transport

DIALER, LISTENER = PrivateKey(b"\x11" * 32), PrivateKey(b"\x21" * 32)
DIALER_EPHEMERAL, LISTENER_EPHEMERAL = PrivateKey(b"\x12" * 32), PrivateKey(b"\x22" * 32)
PEER = NodeId(DIALER.public_key())


def portions(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


# The handshake


def sides() -> tuple[Handshake, Handshake]:
    return (
        Handshake.initiator(DIALER, LISTENER.public_key(), DIALER_EPHEMERAL),
        Handshake.responder(LISTENER, LISTENER_EPHEMERAL),
    )


def acts() -> tuple[bytes, bytes, bytes]:
    left, right = sides()
    one = left.start()
    two = right.receive(one)
    return one, two, left.receive(two)


ONE, TWO, THREE = acts()


def shake(handshake: Handshake, pieces: Iterable[bytes]) -> tuple[Any, ...]:
    """Return how it ended: the error's facts or the keys, with what was answered."""
    answer = leftover = b""
    try:
        for piece in pieces:
            if handshake.done:
                leftover += piece
            else:
                answer += handshake.receive(piece)
    except HandshakeFailed as error:
        kind, _, rest = error.code.partition("_")
        assert kind == f"ACT{error.act}"
        assert isinstance(error, AuthenticationFailed) is (rest in ("BAD_TAG", "BAD_CIPHERTEXT"))
        assert not handshake.done
        return answer, error.code, str(error)
    if not handshake.done:
        error = handshake.receive_eof()
        assert error.code == f"ACT{error.act}_READ_FAILED"
        return answer, error.code, str(error)
    assert handshake.sending is not None
    assert handshake.receiving is not None
    return answer, handshake.sending.key, handshake.receiving.key, handshake.leftover + leftover


def check_responder(data: bytes) -> None:
    whole = shake(sides()[1], [data])
    if len(whole) == 3:  # act two may have been answered before act three failed: whole, it was in the same call
        assert shake(sides()[1], portions(data, 1))[1:] == whole[1:]
    else:
        assert shake(sides()[1], portions(data, 1)) == whole
        assert data[:116] == ONE + THREE, "nobody else gets through"


def check_initiator(data: bytes) -> None:
    ends = []
    for size in (len(data) or 1, 1):
        left = sides()[0]
        left.start()
        ends.append(shake(left, portions(data, size)))
    assert ends[0] == ends[1]
    assert len(ends[0]) == 3 or data[:50] == TWO, "nobody else gets through"


# Frames


MESSAGES = [b"", b"\x8c\x01", bytes(100), b"\x00\x12\x00\x00\x00\x00", b"x" * 3000]


def frames() -> list[bytes]:
    sender = FrameSender(CipherState(b"k" * 32, b"c" * 32))
    return [sender.frame(message) for message in MESSAGES]


STREAM = b"".join(frames())


def check_frames(data: bytes) -> None:
    """What is opened is what was sealed, from the first message on, and nothing after the first change."""
    changed = [at for at, (ours, theirs) in enumerate(zip(STREAM, data, strict=False)) if ours != theirs]
    same = min([len(data), len(STREAM), *changed])
    ends = list(itertools.accumulate(map(len, frames())))
    good = [message for message, end in zip(MESSAGES, ends, strict=True) if end <= same]
    for size in (len(data) or 1, 1, 19):
        received: list[bytes] = []
        receiver = FrameReceiver(CipherState(b"k" * 32, b"c" * 32), received.append)
        try:
            for piece in portions(data, size):
                receiver.feed(piece)
        except RemoteProtocolError:
            assert data[: len(STREAM)] != STREAM[: len(data)] or len(data) > len(STREAM)
        assert received == good


# BOLT 1


def check_payloads(payload: bytes) -> None:
    """Each message's own reader: a message or a `MalformedMessage`, and what was read can be written and read again."""
    for read in (Init.decode, Ping.decode, Pong.decode):
        try:
            message = read(payload)
        except MalformedMessage:
            continue
        if not isinstance(message, Init) or len(message.features) <= 30_000:
            assert read(message.encode()) == message
    for type_id in (1, 17):
        try:
            notice = Notice.decode(type_id.to_bytes(2, "big") + payload[2:])
        except MalformedMessage:
            continue
        assert notice.text.isprintable()
        assert notice.text.isascii()


def pack(*payloads: bytes) -> bytes:
    return b"".join(len(payload).to_bytes(2, "big") + payload for payload in payloads)


def unpack(data: bytes) -> Iterator[bytes]:
    """Read any bytes as payloads, each after its length."""
    while len(data) >= 2:
        end = 2 + int.from_bytes(data[:2], "big")
        yield data[2:end]
        data = data[end:]


def check_rules(data: bytes) -> None:
    rules = Bolt1(features={513}, networks=[CHAINS["regtest"]], now=0.0)
    rules.start("8.8.8.8:1")
    for now, payload in enumerate(unpack(data)):
        before, closed = rules.init, rules.closed
        event = rules.receive(payload, float(now))
        outgoing = rules.outgoing()
        assert closed is None or (event is None and not outgoing), "nothing after the end"
        if before is None and rules.init is None:
            assert all(out[:2] == b"\0\x01" for out in outgoing), "before init nothing but warnings"
        for out in outgoing:
            assert out[:2] in (b"\0\x01", b"\0\x11", b"\0\x13")
            assert len(out) <= 65535
        if payload[:2] == b"\0\x12" and len(payload) >= 4 and int.from_bytes(payload[2:4], "big") >= NO_PONG:
            assert not any(out[:2] == b"\0\x13" for out in outgoing)
        rules.tick(float(now), received=True)
        rules.outgoing()
        try:
            rules.ping(float(now))
        except LocalProtocolError:
            assert rules.init is None or rules.closed


# A node


class Node:
    """A listening transport on a loop that lives as long as the process."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.faults: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.faults.append(context))
        self.sink = RecordingSink()
        self.transport = Bolt8Transport(LISTENER, listen=["127.0.0.1:0"], network="regtest", features=[513])
        self.loop.run_until_complete(self.transport.open(Manifest(), self.sink))
        self.port = int(self.transport.uris[0].rpartition(":")[2])
        atexit.register(self.close)

    def close(self) -> None:
        self.loop.run_until_complete(self.transport.aclose())
        self.loop.close()

    def meet(self, data: bytes, *, shaken: bool, size: int) -> list[Connected | Received | Disconnected]:
        """Let a peer send ``data``, perhaps after a handshake, and hang up; give what the sink was told."""
        self.sink.events.clear()
        logging.disable(logging.WARNING)  # what peers say is logged
        try:
            self.loop.run_until_complete(self.talk(data, shaken=shaken, size=size))
        finally:
            logging.disable(logging.NOTSET)
        assert not self.faults, self.faults
        assert not self.transport.peers
        return list(self.sink.events)

    async def talk(self, data: bytes, *, shaken: bool, size: int) -> None:
        with socket.socket() as sock:
            sock.setblocking(False)
            await self.loop.sock_connect(sock, ("127.0.0.1", self.port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                if shaken:
                    data = await self.seal(sock, data)
                # Many small portions take long: the last are what matters, as they are where an end may be
                head = data[: max(0, len(data) - 100)] if size == 1 else b""
                for piece in (head, *portions(data[len(head) :], size)):
                    await self.loop.sock_sendall(sock, piece)
                    await asyncio.sleep(0)
                sock.shutdown(socket.SHUT_WR)
                while await self.loop.sock_recv(sock, 1 << 20):
                    pass
            except OSError:
                pass  # reset: the node hangs up without a word when a MAC fails
            for _ in range(1000):
                if not (self.transport._all or self.transport._servers[0].pending):
                    return
                await asyncio.sleep(0.001)
            raise AssertionError("the node did not let go of a connection that has ended")

    async def seal(self, sock: socket.socket, data: bytes) -> bytes:
        """Shake hands, and give the payloads in ``data`` as frames."""
        handshake = Handshake.initiator(DIALER, LISTENER.public_key(), DIALER_EPHEMERAL)
        await self.loop.sock_sendall(sock, handshake.start())
        answer = b""
        while len(answer) < ACT_SIZES[2]:
            answer += await self.loop.sock_recv(sock, ACT_SIZES[2] - len(answer))
        last = handshake.receive(answer)
        assert handshake.sending is not None
        sender = FrameSender(handshake.sending)
        return last + b"".join(map(sender.frame, unpack(data)))


@functools.cache
def node() -> Node:
    return Node()


def check_strangers(data: bytes) -> None:
    """Who does not know the node's key is told nothing, and is no peer."""
    for size in (len(data) or 1, 1):
        assert node().meet(data, shaken=False, size=size) == []


def check_peers(data: bytes) -> None:
    told = [node().meet(data, shaken=True, size=size) for size in (1 << 20, 1)]
    for events in told:
        if not events:
            continue
        first, *middle, last = events
        assert isinstance(first, Connected)
        assert isinstance(last, Disconnected)
        payloads = [event.payload for event in middle if isinstance(event, Received)]
        assert len(payloads) == len(middle)
        assert all(len(payload) >= 2 and payload[:2] not in INTERNAL for payload in payloads)
        sent = iter(unpack(data))
        assert all(payload in sent for payload in payloads), "in the order they were sent"
    assert [event for event in told[0] if isinstance(event, Received)] == [
        event for event in told[1] if isinstance(event, Received)
    ]


OURS = Init(features=feature_bytes({8, 9, 513}), networks=(CHAINS["regtest"],), remote_addr="1.2.3.4:5").encode()
CHANNEL = b"\0\x20" + bytes(300)
SINGLE = [
    OURS,
    Init().encode(),
    Ping(5, 10).encode(),
    Pong(20).encode(),
    encode_error("no", b"\x07" * 32),
    encode_warning("careful"),
    CHANNEL,
]
TALKS = [
    pack(OURS),
    pack(OURS, b"\x8c\x01hello", Ping(7).encode(), b"\x8c\x02", b"\0\x07stored", b"\xff\xff" + bytes(500)),
    pack(b"\x8c\x01early", OURS, b"", b"\x8c", b"\x8c\x01x"),
    pack(OURS, CHANNEL, encode_warning("hm"), Ping(65535, 50).encode(), b"\x01\x00gossip", encode_error("bye")),
    pack(OURS, OURS),
    pack(Init(features=feature_bytes({0, 8, 12, 14, 44})).encode(), b"\x8c\x01x"),
    pack(Init(networks=(CHAINS["bitcoin"],)).encode(), b"\x8c\x01x"),
    pack(encode_error("wrong chain")),
]

TARGETS = {
    "proto: act one and three": (check_responder, [ONE + THREE, ONE + THREE + STREAM, ONE]),
    "proto: act two": (check_initiator, [TWO, TWO + STREAM]),
    "proto: frames": (check_frames, [STREAM]),
    "proto: bolt1 messages": (check_payloads, SINGLE),
    "proto: bolt1 rules": (check_rules, TALKS),
    "bolt8: strangers": (check_strangers, [ONE, ONE + bytes(66), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(50)]),
    "bolt8: peers": (check_peers, TALKS),
}
