"""No nonce is ever used twice under one key, whatever is sent and whatever fails where, and no message is half sent."""

import array
import asyncio
import contextlib
import itertools
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwire.errors import ConnectionClosed, OddwireError, PayloadTooLarge
from oddwire.proto.connection import LightningConnection
from oddwire.proto.framing import MAX_FRAME, FrameReceiver, FrameSender
from oddwire.proto.keys import PrivateKey
from oddwire.proto.noise import ROTATE_AFTER, CipherState

KEYS = b"k" * 32, b"c" * 32
WRONG = [
    "text",
    [1, 2],
    None,
    7,
    3.5,
    memoryview(array.array("I", [1, 2])),
    memoryview(bytes(4)).cast("B", (2, 2)),
    bytes(65_536),
    bytearray(70_000),
    {},
    memoryview(bytes(65_536)),
    ["x"] * 40_000,
    "x" * 40_000,
]
"""What cannot be sent: of a wrong type, of a wrong format, too long; some so long that they would go another way."""

good = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([0, 1, 2047, 2048, 32_767, 32_768, 65_535]).map(bytes),
    st.binary(max_size=10).map(bytearray),
    st.binary(max_size=10).map(memoryview),
)
things = st.one_of(good, st.integers(0, len(WRONG) - 1).map(WRONG.__getitem__))


class Injected(BaseException):
    """What fails where nothing should."""


class WatchedCipher(CipherState):
    """Keeps which nonce was used under which key, and fails where it is told to, before or after it has sealed."""

    def __init__(self, *keys, fail_at=None, fail_after=False):
        self.seen = set()
        self.calls = itertools.count()
        self.fail_at = fail_at
        self.fail_after = fail_after
        self.failed = False
        super().__init__(*keys)

    def _step(self):
        self.failed = next(self.calls) == self.fail_at
        return self.failed

    def _watched(self, seal):
        def sealing(nonce, data, *rest):
            fails = self._step()
            if fails and not self.fail_after:
                raise Injected
            sealed = seal(nonce, data, *rest)
            assert (self.key, nonce) not in self.seen, "a nonce is used twice"
            self.seen.add((self.key, nonce))
            if fails:
                raise Injected
            return sealed

        return sealing

    def _set(self, key):
        super()._set(key)
        self.encrypt, self.encrypt_into = self._watched(self.encrypt), self._watched(self.encrypt_into)

    def rotate(self):
        fails = self._step()
        if fails and not self.fail_after:
            raise Injected
        super().rotate()
        if fails:
            raise Injected


def opened(data):
    """What the other end makes of bytes; raises if they are not frames in order."""
    received = []
    receiver = FrameReceiver(CipherState(*KEYS), received.append)
    receiver.feed(data)
    assert not receiver.rest
    return received


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), things), max_size=30),
    st.sampled_from([0, ROTATE_AFTER - 6, ROTATE_AFTER - 4, ROTATE_AFTER - 2]),
    st.one_of(st.none(), st.integers(0, 60)),
    st.booleans(),
)
def test_frames_are_sealed_whole_or_not_at_all(batch, begin, fail_at, fail_after):
    cipher = WatchedCipher(*KEYS)
    frames, room = FrameSender(cipher), memoryview(bytearray(MAX_FRAME))
    out, sent, wire = [], [], b""
    for _ in range(begin // 2):
        frames.seal(b"", out)
        sent.append(b"")
    cipher.calls = itertools.count()
    cipher.fail_at, cipher.fail_after = fail_at, fail_after
    ended = False
    for into, thing in batch:
        size_before = len(out)
        try:
            if into:
                size = frames.seal_into(thing, room)
                out.append(bytes(room[:size]))
            else:
                size = frames.seal(thing, out)
        except (TypeError, PayloadTooLarge):
            assert any(thing is wrong for wrong in WRONG), "only what is wrong is refused"
            assert len(out) == size_before
            assert not frames.broken or ended
        except Injected:
            ended = True
            assert frames.broken
        except ConnectionClosed:
            assert ended, "all that follows is refused, and nothing before"
        else:
            assert not ended
            assert size == len(bytes(thing)) + 34
            sent.append(bytes(thing))
    wire = b"".join(out)
    # What was sealed whole may lie there though the key could not be rotated after it; of nothing there is a half
    assert opened(wire)[: len(sent)] == sent
    assert len(opened(wire)) <= len(sent) + ended


def test_a_room_that_is_too_small_is_refused_and_spoils_nothing():
    frames, room = FrameSender(CipherState(*KEYS)), memoryview(bytearray(100))
    with pytest.raises(ValueError, match="room of 100 bytes; the frame of 67 takes 101"):
        frames.seal_into(bytes(67), room)
    assert opened(bytes(room[: frames.seal_into(bytes(66), room)])) == [bytes(66)]


@contextlib.asynccontextmanager
async def pair():
    """Both ends of a connection, the one that sends with few bytes of room on the way."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    listening, dialing = PrivateKey(b"\x21" * 32), PrivateKey(b"\x11" * 32)
    listener, dialer = LightningConnection(listening), LightningConnection(dialing, listening.public_key())
    await loop.create_connection(lambda: listener, sock=theirs)
    await loop.create_connection(lambda: dialer, sock=ours)
    await asyncio.gather(listener.opened(), dialer.opened())
    try:
        yield dialer, listener
    finally:
        dialer.abort("test over")
        listener.abort("test over")
        await asyncio.gather(dialer.aclose(), listener.aclose())


async def send_all(steps, begin, fail_at, fail_after):
    async with pair() as (dialer, listener):
        old = dialer._sealer._cipher
        cipher = WatchedCipher(old.key, old._chaining_key)
        dialer._sealer = FrameSender(cipher)
        accepted, failures = [], 0
        for _ in range(begin // 2):
            dialer.send_nowait(b"")
            accepted.append(b"")
        cipher.calls = itertools.count()
        cipher.fail_at, cipher.fail_after = fail_at, fail_after
        for how, thing in steps:
            try:
                if how == "cancelled":
                    sending = asyncio.ensure_future(dialer.send_message(thing))
                    await asyncio.sleep(0)
                    if sending.cancel():
                        await asyncio.wait([sending])
                    if sending.cancelled():
                        continue
                    sending.result()
                elif how == "message":
                    async with asyncio.timeout(10):
                        await dialer.send_message(thing)
                elif how == "answer":
                    dialer.answer(thing)
                else:
                    dialer.send_nowait(thing)
            except Injected:
                failures += 1
            except (TypeError, OddwireError):
                if not failures:
                    assert any(thing is wrong for wrong in WRONG), "only what is wrong is refused"
            else:
                assert not failures, "nothing is accepted after what is lost"
                accepted.append(bytes(thing))
            if how == "message":
                await asyncio.sleep(0)
                while listener._inbox:
                    assert await listener.read_message() == accepted[0]
                    del accepted[0]
        assert dialer.closed == bool(failures)
        if not failures:
            dialer.close()
            async with asyncio.timeout(10):
                assert [message async for message in listener] == accepted


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(["nowait", "message", "answer", "cancelled"]), things), max_size=12),
    st.sampled_from([0, ROTATE_AFTER - 4, ROTATE_AFTER - 2]),
    st.one_of(st.none(), st.integers(0, 24)),
    st.booleans(),
)
def test_a_connection_sends_whole_messages_in_order_or_ends(steps, begin, fail_at, fail_after):
    steps = [("nowait", thing) if how == "message" and len(steps) > 8 else (how, thing) for how, thing in steps]
    asyncio.run(send_all(steps, begin, fail_at, fail_after))


@pytest.mark.parametrize("thing", WRONG, ids=lambda thing: type(thing).__name__)
def test_what_cannot_be_sent_is_refused_and_the_next_message_arrives(thing):
    async def main():
        async with pair() as (dialer, listener):
            for send in (dialer.send_nowait, dialer.answer):
                with pytest.raises((TypeError, PayloadTooLarge)):
                    send(thing)
            with pytest.raises((TypeError, PayloadTooLarge)):
                await dialer.send_message(thing)
            await dialer.send_message(b"next")
            assert await listener.read_message() == b"next"

    asyncio.run(main())
