"""Attempts that are made again: with which pauses, for which errors, and what is said of them."""

from __future__ import annotations

import itertools

import pytest

from oddwire.transports.nats.errors import (
    BrokerFailure,
    BrokerRefused,
    BrokerUnavailable,
    StreamFull,
    UnexpectedSequence,
)
from oddwire.transports.nats.patience import LONGEST, patiently, pauses

SILENT, LOST = BrokerUnavailable("it is silent"), BrokerUnavailable("it is lost")
FULL = StreamFull("full", 10077)


class Broker:
    """Answers with these errors, one after the other, and then with 7."""

    def __init__(self, *errors: BrokerFailure) -> None:
        self.errors = [*errors]

    async def __call__(self) -> int:
        if self.errors:
            raise self.errors.pop(0)
        return 7


def test_pauses_double_up_to_the_longest() -> None:
    assert [*itertools.islice(pauses(), 7)] == [0.05, 0.1, 0.2, 0.4, 0.8, LONGEST, LONGEST]


async def test_a_call_is_made_until_it_is_answered_and_each_new_reason_is_told_once() -> None:
    told: list[str] = []
    assert await patiently(Broker(SILENT, SILENT, LOST, FULL, SILENT), told.append) == 7
    assert told == ["it is silent", "it is lost", "full", "it is silent"]


async def test_who_is_answered_at_once_is_told_nothing() -> None:
    told: list[str] = []
    assert await patiently(Broker(), told.append) == 7
    assert told == []


@pytest.mark.parametrize("error", [BrokerRefused("no", 10059), UnexpectedSequence("no", 10071)])
async def test_what_is_refused_is_not_asked_again(error: BrokerFailure) -> None:
    broker = Broker(error, SILENT)
    with pytest.raises(type(error)):
        await patiently(broker, print)
    assert broker.errors == [SILENT]
