"""Senders and receivers of reliable messages, on a link that loses, repeats and reorders; both sides crash."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from oddwire.session.reliable.lanes import Receiver, Sender, Verdict
from oddwire.session.wire.frame_types import MAX_NUMBER, MAX_WINDOW, Ack, AckFlag, Refusal, Scope
from oddwire.session.wire.frames import decode, encode, encode_data

ROUTE = 2 << 32 | 1
LANE = 7


def sender(**state: int) -> Sender:
    found = Sender(**{"epoch": 100, "offset": 0, "base": 1, "stop": 1, **state})
    found.connected()
    return found


def add(one: Sender, count: int) -> None:
    for _ in range(count):
        one.added(b"%d" % one.stop)


def ack(value: int, *, epoch: int = 100, again: bool = False, failures: tuple[Refusal, ...] = ()) -> Ack:
    return Ack(Scope.LANE, AckFlag.AGAIN if again else 0, LANE, epoch, value, failures)


class Delivery(RuleBasedStateMachine):
    """One lane. A commit puts on disk what is in memory, and a crash leaves that. Each third message is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        # The sender's disk, and what it made of it
        self.sent: list[bytes] = []
        self.rows: dict[int, bytes] = {}
        self.epoch, self.offset, self.base = 100, 0, 1
        self.delivered: set[int] = set()
        self.refused: dict[int, str] = {}
        self.new_epoch = 0
        self.start_sender()
        # The receiver's
        self.applied: list[bytes] = []
        self.state: dict[str, Any] = {}
        self.refusals: dict[int, Refusal] = {}
        self.start_receiver(crashed=False)
        # The link
        self.data: list[bytes] = []
        self.acks: list[bytes] = []

    def start_sender(self) -> None:
        stop = len(self.sent) + 1
        self.sender = Sender(
            epoch=self.epoch, offset=self.offset, base=self.base, stop=stop, window=4, window_bytes=100
        )
        self.sender.connected()
        self.new_epoch = 0

    def start_receiver(self, crashed: bool = True) -> None:
        self.receiver = Receiver(refusals=self.refusals.values(), unverified=crashed, **self.state)
        self.queue: list[tuple[int, int, bytes]] = []
        self.effects: list[bytes] = []
        self.saying_no: list[Refusal] = []

    @rule(count=st.integers(1, 6))
    def send(self, count: int) -> None:
        for _ in range(count):
            payload = b"\x80\x01%d" % len(self.sent)
            self.sent.append(payload)
            self.rows[len(self.sent)] = payload
            self.sender.added(payload)

    @rule()
    def pump(self) -> None:
        first, count = self.sender.wanted()
        if count:
            self.sender.load([self.rows[number] for number in range(first, first + count)])
        base = self.sender.base - self.sender.offset
        for sequence, payload in self.sender.take(self.now):
            assert payload == self.sent[sequence + self.sender.offset - 1]
            self.data.append(encode_data(ROUTE, LANE, self.sender.epoch, base, sequence, payload))

    @precondition(lambda self: self.data)
    @rule(place=st.integers(0, 20), keep=st.booleans())
    def deliver(self, place: int, keep: bool) -> None:
        place %= len(self.data)
        self.receive(self.data[place] if keep else self.data.pop(place))

    @rule()
    def deliver_all(self) -> None:
        while self.data:
            self.receive(self.data.pop(0))

    def receive(self, payload: bytes) -> None:
        frame: Any = decode(payload)
        verdict = self.receiver.receive(frame.epoch, frame.base, frame.sequence, self.now)
        if verdict is Verdict.HANDLE:
            self.queue.append((frame.epoch, frame.sequence, frame.content))
        elif verdict is not Verdict.IGNORE:
            self.answer(AckFlag.AGAIN if verdict is Verdict.AGAIN else 0)

    def answer(self, flags: int = 0) -> None:
        frame = self.receiver.ack(LANE, flags)
        assert frame.value <= len(self.applied), "acknowledged, and not on disk"
        self.acks.append(encode(frame, ROUTE))

    @rule(lost=st.booleans(), handled=st.integers(0, 6))
    def exchange(self, lost: bool, handled: int) -> None:
        """Connect anew, send all there is, and handle so many; none of it is committed yet."""
        self.reconnect(lost=lost)
        self.pump()
        self.deliver_all()
        for _ in range(min(handled, len(self.queue))):
            self.handle()

    @rule()
    def deliver_acks(self) -> None:
        while self.acks:
            self.acknowledge(self.acks.pop(0))

    @precondition(lambda self: self.queue)
    @rule()
    def handle(self) -> None:
        epoch, sequence, payload = self.queue.pop(0)
        if self.receiver.is_next(epoch, sequence):
            if sequence % 3 == 0:
                self.saying_no.append(Refusal(sequence, 4, payload.decode("latin-1")))
            self.effects.append(payload)
            self.receiver.finished(sequence)

    @rule()
    def commit_receiver(self) -> None:
        self.applied += self.effects
        receiver, self.effects = self.receiver, []
        if receiver.handled:
            if self.state.get("epoch") != receiver.epoch:
                self.refusals.clear()
            self.state = {"epoch": receiver.epoch, "last": receiver.handled}
        self.refusals.update({refusal.sequence: refusal for refusal in self.saying_no})
        if receiver.stored(receiver.epoch, receiver.handled, self.saying_no):
            self.answer()
        self.saying_no = []

    @rule()
    def fail_to_commit(self) -> None:
        self.effects, self.saying_no = [], []
        self.receiver.failed()

    @precondition(lambda self: self.acks)
    @rule(place=st.integers(0, 20), keep=st.booleans())
    def deliver_ack(self, place: int, keep: bool) -> None:
        place %= len(self.acks)
        self.acknowledge(self.acks[place] if keep else self.acks.pop(place))

    def acknowledge(self, payload: bytes) -> None:
        frame: Any = decode(payload)
        found = self.sender.acknowledged(frame, self.now)
        for number in range(found.first, found.stop):
            if number in found.failures:
                self.refused[number] = found.failures[number][1]
            else:
                self.delivered.add(number)
        self.new_epoch = found.epoch or self.new_epoch

    @rule()
    def commit_sender(self) -> None:
        settled = self.base = self.sender.settled
        for number in [number for number in self.rows if number < settled]:
            del self.rows[number]
        if self.new_epoch:
            self.epoch, self.offset, self.new_epoch = max(self.new_epoch, self.epoch) + 1, settled - 1, 0
        self.sender.stored(settled)
        if self.sender.epoch != self.epoch:
            self.sender.renumbered(self.epoch, self.offset)

    @rule()
    def crash_sender(self) -> None:
        self.start_sender()

    @rule()
    def crash_receiver(self) -> None:
        self.start_receiver()

    @rule(lost=st.booleans())
    def reconnect(self, lost: bool) -> None:
        if lost:
            self.data.clear()
            self.acks.clear()
        self.sender.disconnected()
        self.sender.connected()

    @rule(seconds=st.floats(0.1, 100))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.sender.tick(self.now)

    @invariant()
    def applied_once_and_in_order(self) -> None:
        assert self.applied == self.sent[: len(self.applied)]

    @invariant()
    def what_the_sender_hears_is_true(self) -> None:
        assert all(number % 3 and number <= len(self.applied) for number in self.delivered)
        assert all(self.sent[number - 1] == text.encode("latin-1") for number, text in self.refused.items())

    @invariant()
    def the_sender_knows_where_each_message_is(self) -> None:
        sender = self.sender
        assert sender.base <= sender.settled <= sender._sent <= sender._loaded <= sender.stop == len(self.sent) + 1
        assert list(sender._held) == self.sent[sender.settled - 1 : sender._loaded - 1]
        assert sender._held_bytes == sum(map(len, sender._held))

    @invariant()
    def little_is_on_its_way(self) -> None:
        assert len(self.sender._held) <= 4

    def teardown(self) -> None:
        """Let there be a good link at last: everything arrives."""
        for _ in range(10 + len(self.sent)):
            self.wait(100)
            self.exchange(lost=True, handled=6)
            self.commit_receiver()
            self.deliver_acks()
            self.commit_sender()
            self.applied_once_and_in_order()
            self.what_the_sender_hears_is_true()
        assert self.applied == self.sent
        assert self.sender.settled == len(self.sent) + 1
        assert not self.rows


Delivery.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestDelivery = Delivery.TestCase


@pytest.mark.parametrize("seed", range(10))
def test_long_walks(seed: int) -> None:
    """Much further than hypothesis goes, but with nobody to find the shortest way to a failure."""
    chance = random.Random(seed)
    for _ in range(20):
        walk(Delivery(), chance)


def walk(world: Delivery, chance: random.Random) -> None:
    steps: list[Callable[[], object]] = [
        lambda: world.send(chance.randint(1, 3)),
        lambda: world.exchange(chance.random() < 0.3, chance.randint(0, 6)),
        world.pump,
        lambda: world.data and world.deliver(chance.randrange(100), chance.random() < 0.5),
        lambda: world.acks and world.deliver_ack(chance.randrange(100), chance.random() < 0.5),
        world.deliver_acks,
        lambda: world.queue and world.handle(),
        world.commit_receiver,
        world.commit_sender,
        lambda: world.wait(chance.choice([0.1, 2, 10])),
        lambda: chance.random() < 0.3 and world.fail_to_commit(),
        lambda: chance.random() < 0.3 and world.crash_receiver(),
        lambda: chance.random() < 0.3 and world.crash_sender(),
    ]
    for _ in range(200):
        chance.choice(steps)()
        world.applied_once_and_in_order()
        world.what_the_sender_hears_is_true()
        world.the_sender_knows_where_each_message_is()
    world.teardown()


# One step at a time -----------------------------------------------------------------------------------


def test_a_window_goes_out_and_its_acks_let_more_go() -> None:
    one = sender(window=3)
    add(one, 5)
    assert one.take(0.0) == [(1, b"1"), (2, b"2"), (3, b"3")]
    assert one.take(0.0) == []
    assert one.wanted() == (4, 0)
    assert one.acknowledged(ack(2), 0.0)[:2] == (1, 3)
    assert one.wanted() == (4, 2)
    one.load([b"4", b"5"])
    assert one.take(0.0) == [(4, b"4"), (5, b"5")]


def test_a_window_is_measured_in_bytes_too_but_one_message_always_goes() -> None:
    one = sender(window_bytes=10)
    for size in (50, 4, 4, 4):
        one.added(bytes(size))
    assert [len(payload) for _, payload in one.take(0.0)] == [50]
    one.acknowledged(ack(1), 0.0)
    one.load([bytes(4)] * 3)
    assert [sequence for sequence, _ in one.take(0.0)] == [2, 3, 4]  # the last began below the limit


def test_what_is_not_linked_holds_nothing() -> None:
    one = Sender(epoch=1, offset=0, base=1, stop=1)
    add(one, 3)
    assert one.wanted() == (1, 0)
    assert one.take(0.0) == []
    one.connected()
    assert one.wanted() == (1, 3)
    one.load([b"1", b"2", b"3"])
    one.disconnected()
    assert one.deadline == math.inf
    one.connected()
    assert one.wanted() == (1, 3)


def test_silence_is_answered_with_the_same_again_ever_later() -> None:
    one = sender()
    add(one, 2)
    sent = one.take(0.0)
    times = []
    for _ in range(6):
        times.append(one.deadline)
        one.tick(one.deadline - 0.1)
        assert one.take(0.0) == []
        one.tick(times[-1])
        assert one.take(times[-1]) == sent
    assert [later - time for time, later in zip([0.0, *times], times, strict=False)] == [5, 10, 20, 40, 60, 60]
    one.acknowledged(ack(1), 500.0)
    assert one.deadline == 505.0
    one.acknowledged(ack(2), 500.0)
    assert one.deadline == math.inf


def test_a_gap_is_filled_at_once_but_not_for_every_complaint() -> None:
    one = sender()
    add(one, 3)
    one.take(0.0)
    one.acknowledged(ack(1, again=True), 10.0)
    assert [sequence for sequence, _ in one.take(10.0)] == [2, 3]
    one.acknowledged(ack(1, again=True), 10.5)
    assert one.take(10.5) == []
    one.acknowledged(ack(1, again=True), 11.0)
    assert [sequence for sequence, _ in one.take(11.0)] == [2, 3]


def test_old_and_absurd_acks_change_nothing() -> None:
    one = sender()
    add(one, 3)
    one.take(0.0)
    for frame in (ack(2, epoch=99), ack(0), ack(1, epoch=MAX_NUMBER)):
        assert one.acknowledged(frame, 0.0) == (1, 1, {}, 0)
    assert one.settled == 1


@pytest.mark.parametrize("frame", [ack(0, epoch=200), ack(4), ack(MAX_NUMBER)], ids=["epoch", "next", "far"])
def test_a_peer_that_knows_more_than_we_makes_us_number_anew(frame: Ack) -> None:
    one = sender()
    add(one, 3)
    one.take(0.0)
    one.acknowledged(ack(1), 0.0)
    assert one.acknowledged(frame, 1.0).epoch == frame.epoch
    assert one.acknowledged(ack(2), 1.0) == (2, 2, {}, 0), "nothing counts until the new epoch is on disk"
    assert one.take(1.0) == []
    one.not_renumbered()
    assert one.acknowledged(frame, 2.0).epoch == 0, "a peer cannot make us write all the time"
    assert one.acknowledged(frame, 6.0).epoch == frame.epoch
    one.stored(2)
    one.renumbered(300, 1)
    assert one.take(7.0) == [(1, b"2"), (2, b"3")]
    assert one.base - one.offset == 1
    assert one.acknowledged(ack(1, epoch=300), 7.0)[:2] == (2, 3)


def test_what_is_given_up_leaves_a_hole_that_the_peer_learns_of() -> None:
    one = sender()
    add(one, 4)
    one.take(0.0)
    assert one.drop(3, 9, "too large") == (1, 1, {}, 0)
    one.disconnected()
    one.connected()
    one.load([b"1", b"2", b"3", b"4"])
    assert one.take(0.0) == [(1, b"1"), (2, b"2")]
    assert one.acknowledged(ack(2), 0.0) == (1, 4, {3: (9, "too large")}, 0)
    assert one.take(0.0) == []
    one.stored(4)
    assert one.take(0.0) == [(4, b"4")]
    assert one.drop(4, 9, "too large") == (4, 5, {4: (9, "too large")}, 0)
    assert one.drop(4, 9, "too large") == (5, 5, {}, 0)


def test_many_given_up_in_a_row() -> None:
    one = sender()
    add(one, 3000)
    for number in range(3000, 0, -1):
        last = one.drop(number, 9, "")
    assert last == (1, 3001, dict.fromkeys(range(1, 3001), (9, "")), 0)


def test_what_expires_is_gone() -> None:
    one = sender()
    add(one, 3)
    one.take(0.0)
    one.expire(3)
    assert one.settled == 3
    assert one.take(0.0) == []
    one.stored(3)
    assert one.take(0.0) == [(3, b"3")]
    one.expire(2)
    assert one.settled == 3


def test_no_more_is_sent_than_a_peer_may_remember() -> None:
    one = sender(window=10 * MAX_WINDOW)
    for _ in range(3):
        add(one, MAX_WINDOW)
        one.load([b"later"] * one.wanted()[1])
        one.take(0.0)
        one.acknowledged(ack(one._sent - 1), 0.0)
    assert one._sent - one.base == MAX_WINDOW
    one.stored(one.settled)
    one.load([b"later"] * one.wanted()[1])
    assert len(one.take(0.0)) == MAX_WINDOW


def receive(one: Receiver, sequence: int, *, epoch: int = 100, base: int = 1, now: float = 0.0) -> Verdict:
    return one.receive(epoch, base, sequence, now)


def finish(one: Receiver, *sequences: int) -> None:
    for sequence in sequences:
        assert receive(one, sequence) is Verdict.HANDLE
        one.finished(sequence)


def test_frames_are_taken_in_order_and_once() -> None:
    one = Receiver()
    assert receive(one, 1) is Verdict.HANDLE
    assert receive(one, 2) is Verdict.HANDLE
    assert receive(one, 1) is Verdict.IGNORE
    assert receive(one, 4) is Verdict.AGAIN
    assert one.ack(LANE, AckFlag.AGAIN) == ack(0, again=True)
    one.finished(1)
    assert one.ack(LANE) == ack(0), "handled is not yet on disk"
    assert one.stored(100, 1)
    assert not one.stored(100, 1)
    assert not one.stored(99, 2)
    assert one.ack(LANE) == ack(1)
    assert receive(one, 1) is Verdict.ACK


def test_a_gap_is_told_once_and_after_a_second_again() -> None:
    one = Receiver(epoch=100, last=5)
    assert [receive(one, sequence, now=0.0) for sequence in (7, 8)] == [Verdict.AGAIN, Verdict.IGNORE]
    assert receive(one, 7, now=1.0) is Verdict.AGAIN
    assert receive(one, 6, now=1.1) is Verdict.HANDLE
    assert receive(one, 8, now=1.1) is Verdict.AGAIN


def test_epochs_only_ascend() -> None:
    one = Receiver()
    finish(one, 1)
    assert receive(one, 1, epoch=200) is Verdict.IGNORE, "what was taken may be the same message: it ends first"
    one.stored(100, 1, [Refusal(1, 4, "no")])
    assert receive(one, 9, epoch=200, base=9) is Verdict.HANDLE
    assert one.refusals_outdated
    assert one.ack(LANE) == ack(8, epoch=200)
    assert receive(one, 2, epoch=100) is Verdict.ACK


def test_a_base_that_is_ahead_skips_what_was_given_up() -> None:
    one = Receiver(epoch=100, last=5, tries=3)
    assert receive(one, 9, base=9) is Verdict.HANDLE
    assert one.tries == 0
    assert receive(one, 10, base=20) is Verdict.ACK, (
        "a frame of a base above its sequence is no frame, but does no harm"
    )
    assert one.ack(LANE) == ack(19)


def test_what_is_under_way_when_its_sender_gives_it_up_is_not_next() -> None:
    one = Receiver(epoch=100, last=5)
    assert receive(one, 6) is Verdict.HANDLE
    assert receive(one, 9, base=9) is Verdict.HANDLE
    assert not one.is_next(100, 6)
    assert one.is_next(100, 9)


def test_refusals_are_told_until_the_sender_knows() -> None:
    one = Receiver()
    finish(one, 1, 2, 3)
    told = (Refusal(1, 4, "no"), Refusal(3, 1000, "never"))
    one.stored(100, 3, told)
    assert one.ack(LANE) == ack(3, failures=told)
    receive(one, 4, base=2)
    assert one.refusals_outdated
    assert one.ack(LANE) == ack(3, failures=told[1:])


def test_after_a_failed_commit_all_of_it_is_taken_again() -> None:
    one = Receiver()
    finish(one, 1, 2)
    one.stored(100, 1)
    assert receive(one, 3) is Verdict.HANDLE
    one.failed()
    assert not one.is_next(100, 3)
    assert receive(one, 3) is Verdict.AGAIN
    finish(one, 2)


def test_after_a_bad_end_handlers_are_counted_for_a_while() -> None:
    one = Receiver(epoch=100, last=5, tries=2, unverified=True)
    assert one.unverified == MAX_WINDOW
    assert one.tries == 2
    finish(one, 6)
    assert one.unverified == MAX_WINDOW - 1
    assert one.tries == 0
