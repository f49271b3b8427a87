"""oddwire.proto.sharing: who waits, for how long, and for whom. Work is what the tests say it was."""

import asyncio
import itertools

import pytest

from oddwire.proto.sharing import LoopShare, WorkLimits

LOOPS = ["jumping"]  # its clock jumps: what waits for time waits for nothing else


class Peer:
    """A connection, as far as the share knows it; ``costs`` are what its next slices cost, at nothing."""

    def __init__(self, share, log=None, costs=(), name=""):
        self.share, self.log, self.costs, self.name = share, [] if log is None else log, list(costs), name
        self.let_go_at = []
        share.join(self)

    def let_go(self):
        self.log.append(self.name)
        self.let_go_at.append(asyncio.get_running_loop().time())
        if self.costs:
            self.share.wasted.charge(self, self.costs.pop(0))


async def sleep(seconds):
    await asyncio.sleep(seconds)


def used_up(share):
    """Bring the rations into debt, by somebody who has gone."""
    for ration in (share.wasted, share.costly):
        ration._spend(0.2, share.loop.time())


# Limits


@pytest.mark.parametrize("name", ["turn_seconds", "wasted_share", "costly_share", "handshake_share", "wanted_seconds"])
@pytest.mark.parametrize("value", [0, -1, "1", True, float("nan")])
def test_a_limit_that_cannot_be_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name} should be a number greater than 0"):
        WorkLimits(**{name: value})


def test_a_share_is_at_most_all():
    with pytest.raises(ValueError, match=r"wasted_share should be a number greater than 0 and at most 1, not 1\.5"):
        WorkLimits(wasted_share=1.5)


# Rations


async def test_who_wastes_little_does_not_wait():
    share = LoopShare()
    used_up(share)
    peer = Peer(share)
    assert not share.wasted.charge(peer, 0.0005)
    assert share.wasted.waiting == 0
    assert not share.counters


async def test_who_wastes_more_waits_until_the_ration_is_made_up_for():
    share = LoopShare(WorkLimits(wasted_share=0.05))
    used_up(share)
    peer = Peer(share)
    began = share.loop.time()
    assert share.wasted.charge(peer, 0.002)
    assert share.wasted.waiting == 1
    assert share.counters == {"wasted_share": 1}
    await sleep(60)
    assert share.wasted.waiting == 0
    # 0.1 saved before, 0.202 spent: 0.102 owed, at 0.05 a second
    assert peer.let_go_at == [pytest.approx(began + 0.102 / 0.05)]


async def test_those_who_wait_are_let_go_in_turn_one_for_each_that_the_share_pays():
    share, log = LoopShare(WorkLimits(wasted_share=0.05)), []
    used_up(share)
    peers = [Peer(share, log, [0.1] * 3, name) for name in "abc"]
    for peer in peers:
        assert share.wasted.charge(peer, 0.01)
    await sleep(60)
    assert log == ["a", "b", "c"] * 4
    # A tenth of a second at a twentieth of the time
    times = sorted(time for peer in peers for time in peer.let_go_at)[:9]
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == pytest.approx([2] * 8, abs=0.01)


async def test_a_peer_that_is_not_in_the_line_goes_on_beside_those_who_are():
    share = LoopShare()
    used_up(share)
    bad, good = Peer(share), Peer(share)
    assert share.wasted.charge(bad, 0.01)
    for _ in range(30):
        await sleep(0.1)
        assert not share.wasted.charge(good, 0.0001)
    assert good.let_go_at == []


async def test_all_connections_together_save_no_more_than_the_share():
    """Else strangers with many connections would have as many shares."""
    share = LoopShare(WorkLimits(wasted_share=0.05))
    peers = [Peer(share) for _ in range(100)]
    free = 0.0
    for _ in range(100):
        for peer in peers:
            if peer not in share.wasted._line and not share.wasted.charge(peer, 0.001):
                free += 0.001
        await sleep(0.1)
    # What they began with, what was saved, and the share of ten seconds
    assert free <= 100 * 0.001 + 0.1 + 10 * 0.05 + 0.001


async def test_who_has_gone_is_out_of_the_line():
    share = LoopShare()
    used_up(share)
    peer = Peer(share)
    assert share.wasted.charge(peer, 0.011)
    share.leave(peer)
    assert share.wasted.waiting == 0
    assert share.members == 0
    await sleep(60)
    assert peer.let_go_at == []


async def test_what_those_who_have_gone_have_used_up_keeps_no_caller_waiting():
    share, done = LoopShare(WorkLimits(wanted_seconds=1000)), []
    share.want(object())
    for _ in range(60):
        peer = Peer(share)
        share.costly.charge(peer, 1.0)
        share.wasted.charge(peer, 1.0)
        share.leave(peer)
        share.left(1.0, 1, 0)
        await sleep(0.1)
        share.handshakes.do(lambda: done.append(share.loop.time()))
        assert done.pop() == share.loop.time(), "at once"
    assert share.costly.level < 0


async def test_who_owes_nothing_waits_in_the_line_in_turns_with_those_who_do():
    share, order = LoopShare(WorkLimits(costly_share=0.1, wanted_seconds=1000)), []
    used_up(share)
    share.want(object())

    class Costly(Peer):
        def let_go(self):
            super().let_go()
            self.share.costly.charge(self, 0.05)

    owing = [Costly(share, order, name=f"owing {number}") for number in range(3)]
    for peer in owing:
        assert share.costly.charge(peer, 0.05)
    others = [Peer(share, order, name=name) for name in ("first", "second")]
    for peer in others:
        assert not share.costly.is_free(peer)
        share.costly.enter(peer)
    assert share.costly.waiting == 5
    await sleep(10)
    assert order[:6] == ["first", "owing 0", "second", "owing 1", "owing 2", "owing 0"]
    share.costly.enter(others[0])
    share.leave(others[0])
    await sleep(10)
    assert len(others[0].let_go_at) == 1, "who has gone has no turn"
    for peer in owing:
        share.leave(peer)
    assert share.costly.waiting == 0


async def test_newcomers_are_tried_while_a_share_is_used_up_and_all_are_when_it_is_by_far():
    share = LoopShare(WorkLimits(wanted_seconds=1000))
    peer = Peer(share)
    share.want(object())
    assert not share.used_up
    share.costly._spend(0.15, share.loop.time())
    assert share.used_up
    assert share.gate(peer, tried=False) is share.costly
    assert share.gate(peer, tried=True) is None
    share.wasted._spend(0.3, share.loop.time())
    assert share.gate(peer, tried=True) is share.wasted, "of which more is used up"
    await sleep(3)
    assert share.gate(peer, tried=False) is share.wasted
    assert share.gate(peer, tried=True) is None
    await sleep(2)
    assert share.gate(peer, tried=False) is None
    assert not share.used_up


async def test_large_ones_of_newcomers_are_taken_one_after_the_other_where_nobody_wants_the_loop():
    share, order = LoopShare(WorkLimits(wasted_share=1e-6)), []
    peers = [Peer(share, order, name=number) for number in range(3)]
    share.wasted._spend(1.0, share.loop.time())
    for peer in peers:
        assert share.gate(peer, tried=False) is share.costly
        share.costly.enter(peer)
    assert order == []
    began = share.loop.time()
    await sleep(1)
    assert order == [0, 1, 2]
    assert peers[-1].let_go_at[0] - began < 0.01


async def test_costly_messages_wait_only_while_others_want_the_loop():
    share = LoopShare(WorkLimits(wanted_seconds=0.1))
    used_up(share)
    peer, other = Peer(share), Peer(share)
    assert not share.costly.charge(peer, 0.05), "nobody else is here"
    share.want(peer)
    assert not share.costly.charge(peer, 0.05), "it is the only one who wants anything"
    share.want(other)
    share.want(peer)
    began = share.loop.time()
    assert share.costly.charge(peer, 0.05)
    await sleep(60)
    assert peer.let_go_at == [pytest.approx(began + 0.1)], "the other one has wanted nothing more"


async def test_costly_messages_have_their_share_while_others_want_the_loop_all_the_time():
    share = LoopShare(WorkLimits(costly_share=0.1, wanted_seconds=0.1))
    used_up(share)
    peer, other = Peer(share), Peer(share)
    share.want(other)
    began = share.loop.time()
    assert share.costly.charge(peer, 0.05)
    while not peer.let_go_at:
        share.want(other)
        await sleep(0.01)
    assert peer.let_go_at[0] - began == pytest.approx((0.25 - 0.1) / 0.1, abs=0.02)


@pytest.mark.parametrize(
    ("work", "messages", "size", "wasted", "charged"),
    [
        (0.0001, 1, 100, 0, (0, 0)),  # as it should be
        (0.004, 100, 1000, 0, (0, 0)),
        (0.004, 100, 1000, 100, (0.004, 0)),  # nothing came of any
        (0.004, 100, 1000, 25, (0.001, 0)),  # of some
        (0.045, 1, 65_000, 0, (0, 0.04449)),  # more than its length allows
        (0.045, 1, 65_000, 1, (0.045, 0)),
        (0.045, 0, 0, 5, (0.045, 0)),
    ],
)
async def test_what_a_slice_is_charged_with(work, messages, size, wasted, charged):
    share = LoopShare()
    found = {"wasted": 0.0, "costly": 0.0}
    for name in found:
        ration = getattr(share, name)
        ration.charge = lambda peer, seconds, name=name: found.__setitem__(name, seconds)
    share.settle(Peer(share), work, messages, size, wasted)
    assert (found["wasted"], found["costly"]) == pytest.approx(charged, abs=1e-9)


async def test_who_sends_what_costs_a_bit_more_still_wants_the_loop_and_who_is_costly_does_not():
    share = LoopShare()
    used_up(share)
    good, costly = Peer(share), Peer(share)
    assert not share.settle(good, 0.0003, 1, 100, 0)
    assert share.unwanted_in(share.loop.time(), costly) > 0
    assert share.settle(costly, 0.045, 1, 65_000, 0)
    assert share.unwanted_in(share.loop.time(), good) == 0


# Handshakes


async def test_key_work_is_done_at_once_while_there_is_time():
    share, done = LoopShare(), []
    share.handshakes.do(lambda: done.append("at once"), later=lambda: done.append("later"))
    assert done == ["at once"]


async def test_more_key_work_than_a_turn_has_waits_for_the_next_one_and_ends_are_first():
    share, done = LoopShare(), []
    share.handshakes.do(lambda: share.handshakes.spend(1.0))
    for name in ("one", "two"):
        share.handshakes.do(lambda name=name: done.append(name), later=lambda name=name: done.append(f"{name} waits"))
    share.handshakes.do(lambda: done.append("an end"), first=True)
    assert done == ["one waits", "two waits"]
    assert share.handshakes.waiting == 3
    assert share.counters == {"handshake_share": 3}
    await sleep(60)
    assert done == ["one waits", "two waits", "an end", "one", "two"]


async def test_key_work_has_its_share_while_others_want_the_loop():
    share, done = LoopShare(WorkLimits(handshake_share=0.1)), []

    def work():
        share.handshakes.spend(0.001)
        done.append(share.loop.time())

    other = object()
    share.want(other)
    began = share.loop.time()
    for _ in range(50):
        share.handshakes.do(work)
    while len(done) < 50:
        share.want(other)
        await sleep(0.005)
    assert done[-1] - began >= 49 * 0.01
    assert all(later - earlier >= 0.01 - 1e-6 for earlier, later in itertools.pairwise(done))


async def test_first_acts_are_remembered_up_to_a_limit():
    share = LoopShare()
    for number in range(70_000):
        share.handshakes.remember(number.to_bytes(50, "big"))
    assert not share.handshakes.is_stale((0).to_bytes(50, "big"))
    assert share.handshakes.is_stale((69_999).to_bytes(50, "big"))
    assert len(share.handshakes._seen) == 1 << 16


# Turns


async def test_what_is_left_goes_on_in_turn():
    share, log = LoopShare(WorkLimits(turn_seconds=1e-9)), []

    def slices(name, left):
        log.append(name)
        if left:
            share.next_turn(lambda: slices(name, left - 1))

    for name in "abc":
        share.next_turn(lambda name=name: slices(name, 2))
    for turn in range(1, 10):
        await asyncio.sleep(0)
        assert len(log) == turn, "one slice a turn of the loop"
    assert log == ["a", "b", "c"] * 3


async def test_one_that_fails_costs_the_others_nothing():
    share, log, failures = LoopShare(), [], []
    share.loop.set_exception_handler(lambda loop, context: failures.append(context["exception"]))

    def fail():
        raise RuntimeError("on purpose")

    share.next_turn(fail)
    share.next_turn(lambda: log.append("done"))
    await sleep(1)
    assert log == ["done"]
    assert [str(error) for error in failures] == ["on purpose"]


async def test_connections_of_a_loop_that_were_given_none_share_one():
    share = LoopShare.of_loop()
    assert LoopShare.of_loop() is share
    assert await asyncio.to_thread(lambda: asyncio.run(other_loop())) is not share


async def other_loop():
    return LoopShare.of_loop()


# What is taken later than it was read


async def test_work_that_is_done_later_is_charged_as_that_of_a_slice():
    share = LoopShare()
    used_up(share)
    peer, other = Peer(share), Peer(share)
    share.want(other)
    assert not share.charge(peer, 0.0002, wasted=False, waits=False), "as much as a message may cost"
    assert not share.costly._accounts
    assert share.charge(peer, 0.01, wasted=False, waits=False)
    assert share.costly.waiting == 1
    assert share.charge(other, 0.01, wasted=True, waits=False)
    assert share.counters == {"wasted_share": 1, "costly_share": 1}


async def test_who_waits_already_owes_more_and_waits_in_one_line_only():
    share = LoopShare()
    used_up(share)
    peer = Peer(share)
    share.want(object())
    assert share.wasted.charge(peer, 0.01)
    assert not share.charge(peer, 0.05, wasted=False, waits=True)
    assert not share.charge(peer, 0.05, wasted=True, waits=True)
    assert share.costly.waiting == 0
    assert share.costly._accounts[peer].level < -0.04
    assert share.wasted._accounts[peer].level < -0.05
    share.leave(peer)
    assert not share.costly._accounts
    assert not share.wasted._accounts


async def test_what_is_left_of_a_peer_that_has_gone_waits_until_the_ration_is_made_up_for():
    share = LoopShare(WorkLimits(costly_share=0.1, wanted_seconds=1000))
    await share.turn()  # at once
    share.want(object())
    share.left(0.3, 1, 0)
    began = share.loop.time()
    turns = [asyncio.ensure_future(share.turn()) for _ in range(2)]
    await asyncio.wait(turns)
    # 0.1 saved before, 0.3 spent less what a message may cost: owed at 0.1 a second
    assert share.loop.time() - began == pytest.approx(2, abs=0.01)
    assert share.costly.waiting == 0


async def test_who_waits_for_a_turn_and_is_cancelled_is_out_of_the_line():
    share = LoopShare(WorkLimits(wanted_seconds=1000))
    used_up(share)
    share.want(object())
    turn = asyncio.ensure_future(share.turn())
    await asyncio.sleep(0)
    assert share.costly.waiting == 1
    turn.cancel()
    await asyncio.wait([turn])
    assert share.costly.waiting == 0
