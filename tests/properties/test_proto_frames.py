"""Frames over any split of the bytes, held and let go at any time."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from oddwire.errors import RemoteProtocolError
from oddwire.proto.framing import FrameReceiver, FrameSender
from oddwire.proto.noise import CipherState

KEYS = b"k" * 32, b"c" * 32
messages = st.one_of(st.binary(max_size=40), st.integers(0, 9000).map(bytes))


class Frames(RuleBasedStateMachine):
    """A sender, bytes on their way, and a receiver that is held now and then, also by the message it delivers."""

    def __init__(self):
        super().__init__()
        self.sender = FrameSender(CipherState(*KEYS))
        self.receiver = FrameReceiver(CipherState(*KEYS), self.deliver)
        self.wire = bytearray()
        self.sent = []
        self.received = []
        self.hold_at = None

    def deliver(self, message):
        assert not self.receiver.held, "nothing is delivered while held"
        self.received.append(message)
        if len(self.received) == self.hold_at:
            self.receiver.hold()

    @rule(batch=st.lists(messages, max_size=5), times=st.sampled_from([1, 1, 1, 200]))
    def send(self, batch, times):
        for message in batch * times:
            self.wire += self.sender.frame(message)
            self.sent.append(message)

    @rule(size=st.integers(0, 200_000))
    def receive(self, size):
        self.receiver.feed(memoryview(bytes(self.wire[:size])))
        del self.wire[:size]

    @rule()
    def hold(self):
        self.receiver.hold()

    @rule(ahead=st.integers(1, 20))
    def hold_later(self, ahead):
        self.hold_at = len(self.received) + ahead

    @rule()
    def let_go(self):
        self.receiver.release()
        self.receiver.feed(b"")

    @invariant()
    def what_came_is_what_was_sent(self):
        assert self.received == self.sent[: len(self.received)]

    def teardown(self):
        self.hold_at = None
        self.receiver.release()
        self.receiver.feed(bytes(self.wire))
        assert self.received == self.sent
        assert self.receiver.rest == b""


TestFrames = Frames.TestCase


@settings(deadline=None)
@given(st.lists(messages, min_size=1, max_size=5), st.integers(0), st.integers(1, 255), st.integers(1, 5000))
def test_no_change_on_the_way_goes_unnoticed(batch, at, mask, size):
    sender = FrameSender(CipherState(*KEYS))
    data = bytearray(b"".join(map(sender.frame, batch)))
    data[at % len(data)] ^= mask
    received = []
    receiver = FrameReceiver(CipherState(*KEYS), received.append)
    noticed = False
    for start in range(0, len(data), size):
        try:
            receiver.feed(bytes(data[start : start + size]))
        except RemoteProtocolError:
            noticed = True
    assert noticed
    assert len(received) < len(batch)
    assert received == batch[: len(received)]
