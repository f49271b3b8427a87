"""oddwire.transports.redial."""

import asyncio
import itertools
import logging

import pytest
from tests.support import waiting

from oddwire.errors import TransportError
from oddwire.proto.addresses import NodeUri
from oddwire.proto.keys import NodeId
from oddwire.transports.redial import Redial

LOOPS = ["jumping"]
LOGGER = logging.getLogger("oddwire.transports")
PEER = NodeId("02" + "11" * 32)
FIRST, SECOND = NodeUri(PEER, "first", 1), NodeUri(PEER, "second", 2)


class Line:
    """A peer that can be reached or not, and the record of who dialed it when."""

    def __init__(self, *, first=1.0, most=60.0):
        self.up = True
        self.lasts = True
        self.connected = False
        self.dialed = []
        self.redial = Redial(PEER, self.dial, lambda _: self.connected, first, most, LOGGER)

    async def dial(self, uris):
        self.dialed.append((asyncio.get_running_loop().time(), list(uris)))
        await asyncio.sleep(0)
        if not self.up:
            raise TransportError("nobody there")
        self.connected = self.lasts

    def lose(self):
        self.connected = False
        self.redial.wake()

    @property
    def waits(self):
        times = [when for when, _ in self.dialed]
        return [after - before for before, after in itertools.pairwise(times)]


@pytest.fixture
async def line():
    line = Line()
    line.redial.add(FIRST)
    yield line
    await line.redial.aclose()


async def until(condition):
    """Wait on a clock that jumps: its seconds cost nothing."""
    await waiting.until(condition, every=0.01, patience=3600)


# The waits


def test_waits_double_up_to_the_cap_and_are_cut_by_up_to_a_half():
    redial = Redial(PEER, lambda uris: None, lambda peer: False, 1.0, 60.0, LOGGER)
    for failures, longest in ((1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (8, 60), (1000, 60)):
        delays = [redial.delay(failures) for _ in range(300)]
        assert all(longest / 2 <= delay <= longest for delay in delays)
        assert min(delays) < longest * 0.55, "down to a half"
        assert max(delays) > longest * 0.95, "up to the whole"


# Dialing


async def test_it_dials_at_once_and_then_rests(line):
    line.redial.start()
    await until(lambda: line.connected)
    await asyncio.sleep(100)
    assert [uris for _, uris in line.dialed] == [[FIRST]]


async def test_it_backs_off_from_who_hangs_up_before_it_is_looked_at(line):
    line.lasts = False  # a node that answers, and is gone again in the same moment
    line.redial.start()
    await until(lambda: len(line.dialed) == 6)
    for wait, longest in zip(line.waits, (1, 2, 4, 8, 16), strict=True):
        assert longest / 2 <= wait <= longest + 0.01


async def test_it_does_not_dial_who_is_connected(line):
    line.connected = True
    line.redial.start()
    await asyncio.sleep(100)
    assert line.dialed == []


async def test_every_address_is_given_in_the_order_it_was_learnt(line):
    line.redial.add(SECOND)
    line.redial.add(FIRST)
    line.redial.start()
    await until(lambda: line.dialed)
    assert line.dialed[0][1] == [FIRST, SECOND]


async def test_starting_twice_dials_once(line):
    line.redial.start()
    line.redial.start()
    await until(lambda: line.connected)
    await asyncio.sleep(1)
    assert len(line.dialed) == 1


async def test_failures_are_backed_off_from_for_ever_longer(line):
    line.up = False
    line.redial.start()
    await until(lambda: len(line.dialed) == 6)
    for wait, longest in zip(line.waits, (1, 2, 4, 8, 16), strict=True):
        assert longest / 2 <= wait <= longest + 0.1


async def test_it_goes_on_until_the_peer_is_back(line):
    line.up = False
    line.redial.start()
    await until(lambda: len(line.dialed) == 3)
    line.up = True
    await until(lambda: line.connected)


async def test_who_connects_by_itself_meanwhile_is_not_dialed(line):
    line.up = False
    line.redial.start()
    await until(lambda: len(line.dialed) == 2)
    line.connected = True
    await asyncio.sleep(100)
    assert len(line.dialed) == 2


async def test_a_lost_peer_is_dialed_again_after_a_wait(line):
    line.redial.start()
    await until(lambda: line.connected)
    line.lose()
    await until(lambda: len(line.dialed) == 2)
    assert 0.5 <= line.waits[0] <= 1.1


async def test_connections_that_never_last_are_backed_off_from_too(line):
    line.redial.start()
    for count in range(1, 6):
        await until(lambda count=count: len(line.dialed) == count and line.connected)
        line.lose()
    await until(lambda: len(line.dialed) == 6)
    for wait, longest in zip(line.waits, (1, 2, 4, 8, 16), strict=True):
        assert longest / 2 <= wait <= longest + 0.1


async def test_a_connection_that_lasted_starts_the_waits_over(line):
    line.up = False
    line.redial.start()
    await until(lambda: len(line.dialed) == 5)
    line.up = True
    await until(lambda: line.connected)
    await asyncio.sleep(70)
    line.up = False
    line.lose()
    await until(lambda: len(line.dialed) == 8)
    assert 70.5 <= line.waits[-2] <= 71.2, "it lasted 70 s, and then comes the first wait, not the sixth"
    assert 1 <= line.waits[-1] <= 2.1


async def test_an_address_learnt_while_connected_disturbs_nothing(line):
    line.redial.start()
    await until(lambda: line.connected)
    line.redial.add(SECOND)
    await asyncio.sleep(10)
    assert len(line.dialed) == 1
    line.lose()
    await until(lambda: len(line.dialed) == 2)
    assert line.dialed[1][1] == [FIRST, SECOND]


@pytest.mark.parametrize("started", [False, True])
async def test_after_aclose_nothing_is_dialed(line, started):
    if started:
        line.redial.start()
        await until(lambda: line.connected)
    await line.redial.aclose()
    await line.redial.aclose()
    line.lose()
    await asyncio.sleep(100)
    assert len(line.dialed) == started


async def test_aclose_cancels_a_dial_and_waits_for_that():
    ended = []

    async def dial(uris):
        try:
            await asyncio.sleep(10**6)
        finally:
            await asyncio.sleep(0)
            ended.append(uris)

    redial = Redial(PEER, dial, lambda peer: False, 1.0, 60.0, LOGGER)
    redial.start()
    await asyncio.sleep(1)
    await redial.aclose()
    assert ended == [[]]
