"""oddwire.proto.framing. The BOLT's own vectors are in tests/vectors."""

import random

import pytest

from oddwire.errors import PayloadTooLarge, RemoteProtocolError
from oddwire.proto.framing import HEADER_SIZE, MAX_FRAME, FrameReceiver, FrameSender
from oddwire.proto.noise import CipherState
from oddwire.proto.primitives import MAX_MESSAGE

KEYS = b"k" * 32, b"c" * 32


def sender():
    return FrameSender(CipherState(*KEYS))


def receiver(deliver):
    return FrameReceiver(CipherState(*KEYS), deliver)


def sealed(messages):
    frames = sender()
    return b"".join(map(frames.frame, messages))


def chunks(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


def feed(frames, data, size):
    for chunk in chunks(data, size):
        frames.feed(chunk)


def numbered(count, size=20):
    return [number.to_bytes(4, "big").ljust(size, b".") for number in range(count)]


# What is sealed


def test_sizes():
    assert HEADER_SIZE == 18
    assert MAX_MESSAGE == 65_535
    assert MAX_FRAME == 65_569  # BOLT 8's own sum
    for size in (0, 1, 2, 2047, 2048, MAX_MESSAGE):
        assert len(sender().frame(bytes(size))) == size + 34


def test_seal_appends_two_packets_and_gives_their_size():
    out = [b"before"]
    assert sender().seal(b"hello", out) == 5 + 34
    assert [len(packet) for packet in out] == [6, 18, 5 + 16]
    assert b"".join(out[1:]) == sender().frame(b"hello")


def test_a_message_that_is_too_long_is_refused_and_spoils_nothing():
    frames = sender()
    out = []
    with pytest.raises(PayloadTooLarge, match="65536 bytes; BOLT 8 allows at most 65535"):
        frames.seal(bytes(MAX_MESSAGE + 1), out)
    assert out == []
    assert frames.frame(b"next") == sender().frame(b"next")


@pytest.mark.parametrize("size", [0, 1, 2048, MAX_MESSAGE])
def test_seal_into_writes_what_frame_gives_and_nothing_behind_it(size):
    message = random.Random(size).randbytes(size)
    room = bytearray(b"\xee" * (MAX_FRAME + 1))
    assert sender().seal_into(message, memoryview(room)) == size + 34
    assert room[: size + 34] == sender().frame(message)
    assert room[size + 34 :] == b"\xee" * (MAX_FRAME + 1 - size - 34)


def test_both_ways_of_sealing_count_as_one_and_rotate():
    messages = numbered(1501)
    frames, data, room = sender(), b"", memoryview(bytearray(MAX_FRAME))
    for number, message in enumerate(messages):
        data += room[: frames.seal_into(message, room)] if number % 3 else frames.frame(message)
    assert data == sealed(messages)


def test_a_message_that_is_too_long_is_not_written():
    frames, room = sender(), bytearray(2 * MAX_FRAME)
    with pytest.raises(PayloadTooLarge, match="65536 bytes; BOLT 8 allows at most 65535"):
        frames.seal_into(bytes(MAX_MESSAGE + 1), memoryview(room))
    assert not any(room)
    assert frames.frame(b"next") == sender().frame(b"next")


def test_equal_messages_look_different_each_time():
    frames = sender()
    assert len({frames.frame(b"same") for _ in range(2000)}) == 2000


# What is opened


@pytest.mark.parametrize("size", [0, 1, 2, 34, 2047, 2048, 4095, 4096, 65_534, 65_535])
def test_a_message_of_any_size_comes_back(size):
    message = random.Random(size).randbytes(size)
    received = []
    frames = receiver(received.append)
    frames.feed(sealed([message, b"", message]))
    assert received == [message, b"", message]
    assert all(type(got) is bytes for got in received)
    assert frames.rest == b""


@pytest.mark.parametrize("size", [1, 2, 17, 18, 19, 33, 34, 35, 1000, 65_536, 10**9])
def test_any_chunks_give_the_same_messages(size):
    messages = [random.Random(n).randbytes(n) for n in (0, 1, 2, 100, 5000, 3, 0, 20_000, 1)]
    received = []
    frames = receiver(received.append)
    feed(frames, sealed(messages), size)
    assert received == messages


def test_a_chunk_is_used_during_the_call_only():
    """It is a view of a buffer that the next read of any connection overwrites."""
    messages = [b"small", bytes(5000), b"large " * 10_000, b"small again"]
    received = []
    frames = receiver(received.append)
    buffer = bytearray(30_000)
    for chunk in chunks(sealed(messages), len(buffer)):
        buffer[: len(chunk)] = chunk
        frames.feed(memoryview(buffer)[: len(chunk)])
        buffer[:] = b"\xee" * len(buffer)
    assert received == messages


def test_each_direction_rotates_on_its_own():
    """2 500 messages, five rotations, one way; 10 the other way, none."""
    left, right = CipherState(*KEYS), CipherState(*KEYS)
    sent, back, received, answers = FrameSender(left), FrameSender(CipherState(b"b" * 32, KEYS[1])), [], []
    there, here = FrameReceiver(right, received.append), FrameReceiver(CipherState(b"b" * 32, KEYS[1]), answers.append)
    messages = numbered(2500)
    keys = set()
    for number, message in enumerate(messages):
        there.feed(sent.frame(message))
        keys.add(left.key)
        assert left.key == right.key
        if number % 250 == 0:
            here.feed(back.frame(message))
    assert received == messages
    assert answers == messages[::250]
    assert len(keys) == 6  # the last message was the last use of the fifth


def test_rotation_in_the_middle_of_a_chunk():
    messages = numbered(1200)
    received = []
    receiver(received.append).feed(sealed(messages))
    assert received == messages


# Holding


@pytest.mark.parametrize("size", [1, 40, 10**6])
@pytest.mark.parametrize("length", [20, 5000], ids="messages of {} bytes".format)
def test_hold_inside_deliver_stops_at_once_and_loses_nothing(size, length):
    received = []

    def deliver(message):
        received.append(message)
        frames.hold()

    frames = receiver(deliver)
    messages = numbered(50, length)
    feed(frames, sealed(messages), size)
    for count in range(1, 51):
        assert frames.held
        assert received == messages[:count]
        frames.release()
        assert not frames.held
        frames.feed(b"")
    assert received == messages
    assert frames.rest == b""


def test_what_comes_while_held_is_kept():
    received = []
    frames = receiver(received.append)
    frames.hold()
    messages = numbered(10)
    feed(frames, sealed(messages), 13)
    assert received == []
    frames.release()
    assert received == [], "release delivers nothing by itself"
    frames.feed(b"")
    assert received == messages


def test_hold_between_the_two_packets_of_a_frame():
    received = []
    frames = receiver(received.append)
    data = sealed([b"hello", b"world"])
    frames.feed(data[:20])  # the length is open, the message not yet whole
    frames.hold()
    frames.feed(data[20:])
    frames.release()
    frames.feed(b"")
    assert received == [b"hello", b"world"]


def test_deliver_may_be_replaced_by_deliver():
    first, others = [], []

    def deliver(message):
        first.append(message)
        frames.deliver = others.append

    frames = receiver(deliver)
    frames.feed(sealed([b"a", b"b", b"c"]))
    assert first == [b"a"]
    assert others == [b"b", b"c"]


@pytest.mark.parametrize("where", [0, 1, 2, 499, 500])
def test_an_exception_of_deliver_loses_its_message_only(where):
    received = []

    def deliver(message):
        if message == messages[where]:
            raise RuntimeError("deliver failed")
        received.append(message)

    messages = numbered(502)
    frames = receiver(deliver)
    with pytest.raises(RuntimeError, match="deliver failed"):
        frames.feed(sealed(messages))
    frames.feed(b"")
    assert received == messages[:where] + messages[where + 1 :]


# Tampering


MESSAGES = [b"one", b"", b"three"]
FRAMES = sealed(MESSAGES)
ENDS = [37, 71, 110]  # of each frame


@pytest.mark.parametrize("size", [1, 10**6], ids=["one byte at a time", "whole"])
@pytest.mark.parametrize("at", range(len(FRAMES)))
def test_a_changed_byte_anywhere_is_noticed_and_nothing_after_it_is_delivered(at, size):
    data = bytearray(FRAMES)
    data[at] ^= 0x40
    received = []
    frames = receiver(received.append)
    with pytest.raises(RemoteProtocolError, match="MAC does not verify"):
        feed(frames, bytes(data), size)
    assert received == MESSAGES[: sum(at >= end for end in ENDS)]


@pytest.mark.parametrize("at", [0, 20], ids=["length", "message"])
def test_after_a_bad_mac_nothing_is_ever_delivered(at):
    data = bytearray(FRAMES)
    data[at] ^= 1
    received = []
    frames = receiver(received.append)
    with pytest.raises(RemoteProtocolError):
        frames.feed(bytes(data))
    for more in (b"", FRAMES, sealed([b"x"])):
        frames.release()
        with pytest.raises(RemoteProtocolError):
            frames.feed(more)
    assert received == []


def test_frames_swapped_repeated_or_left_out_are_noticed():
    frames = sender()
    one, two, three = map(frames.frame, (b"one", b"two", b"three"))
    for stream, good in (
        ((two, one), []),
        ((one, one), [b"one"]),
        ((one, three), [b"one"]),
        ((one, two, one), [b"one", b"two"]),
    ):
        received = []
        with pytest.raises(RemoteProtocolError):
            receiver(received.append).feed(b"".join(stream))
        assert received == good


# In slices


def test_a_slice_ends_when_the_clock_says_so_and_the_rest_needs_no_new_data():
    received, now = [], iter(range(1000))
    frames = receiver(received.append)
    messages = numbered(1000, 2)
    data = sealed(messages)
    looks = 0
    assert frames.feed(memoryview(data), lambda: next(now), 3)
    assert 0 < len(received) < 1000
    while frames.feed(b"", lambda: 1.0, 1.0):
        looks += 1
        assert looks < 1000
    assert received == messages
    assert frames.rest == b""
    assert (frames.opened, frames.size) == (1000, len(data))


def test_a_slice_that_ends_with_the_data_is_not_stopped():
    received = []
    frames = receiver(received.append)
    assert not frames.feed(sealed([bytes(5000)]), lambda: 1.0, 0.0)
    assert len(received) == 1


def test_what_is_left_of_a_slice_comes_before_new_data():
    received = []
    frames = receiver(received.append)
    messages = numbered(600)
    data = sealed(messages)
    assert frames.feed(data[:20_000], lambda: 1.0, 0.0)
    frames.feed(data[20_000:])
    assert received == messages
