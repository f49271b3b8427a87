"""What the log needs of a broker, held to by JetStream and by the double of the tests alike; and how it is used."""

from __future__ import annotations

import os
from typing import Any

import pytest
from tests.support.partition_logs import GatedPlace, MemoryPlace

from oddwire.cluster.log.subject import (
    EndedEarly,
    LogPlace,
    Message,
    Overtaken,
    Subject,
    append_once,
    read_to,
    when_there,
)
from oddwire.transports.nats.errors import BrokerRefused, BrokerUnavailable, StreamFull, UnexpectedSequence


async def fill(subject: Subject, count: int, size: int = 10) -> list[Message]:
    found, last = [], 0
    for _ in range(count):
        data = os.urandom(size)
        last = await subject.append(data, last)
        found.append(Message(last, data))
    return found


async def everything(subject: Subject, after: int = 0) -> list[Message]:
    return [message async for message in subject.read(after)]


async def test_only_who_knows_the_last_message_appends(place: LogPlace) -> None:
    log = place.log
    assert await log.last() is None
    assert await log.following(0) is None
    with pytest.raises(UnexpectedSequence):
        await log.append(b"behind nothing", 7)
    first = await log.append(b"first", 0)
    for wrong in (0, first + 1, first - 1):
        with pytest.raises(UnexpectedSequence):
            await log.append(b"second", wrong)
    assert await log.append(b"second", first) > first
    assert [message.data for message in await everything(log)] == [b"first", b"second"]


async def test_messages_are_found_from_both_ends(place: LogPlace) -> None:
    messages = await fill(place.log, 5)
    assert await place.log.last() == messages[-1]
    assert await place.log.following(0) == messages[0]
    assert await place.log.following(messages[2].sequence) == messages[3]
    assert await place.log.following(messages[4].sequence) is None
    assert await everything(place.log, messages[1].sequence) == messages[2:]
    assert await everything(place.log, messages[4].sequence) == []
    assert await everything(place.log, messages[4].sequence + 1000) == []


async def test_many_and_long_messages_are_read_as_they_are(place: LogPlace) -> None:
    messages = await fill(place.log, 600)
    for size in (300_000, place.max_message, 900_000, place.max_message):
        data = os.urandom(size)
        messages.append(Message(await place.log.append(data, messages[-1].sequence), data))
    assert await everything(place.log) == messages
    with pytest.raises(BrokerRefused):
        await place.log.append(bytes(place.max_message + 5000), messages[-1].sequence)


async def test_a_purge_leaves_what_is_behind_it(place: LogPlace) -> None:
    messages = await fill(place.log, 5)
    await place.log.purge(messages[2].sequence)
    assert await everything(place.log) == messages[2:]
    assert await place.log.following(0) == messages[2]
    await place.log.purge(messages[1].sequence)
    assert await everything(place.log) == messages[2:]
    last = await place.log.append(b"more", messages[-1].sequence)
    await place.log.purge()
    assert await place.log.last() is None
    with pytest.raises(UnexpectedSequence):
        await place.log.append(b"behind what is gone", last)
    assert await place.log.append(b"anew", 0) > last


async def test_snapshots_have_subjects_of_their_own(place: LogPlace) -> None:
    assert await place.snapshots() == []
    one = await fill(place.snapshot("1-1"), 3)
    await fill(place.snapshot("1-2"), 1)
    assert sorted(await place.snapshots()) == ["1-1", "1-2"]
    assert await everything(place.snapshot("1-1")) == one
    await place.snapshot("1-1").purge()
    assert await place.snapshots() == ["1-2"]
    assert await everything(place.log) == []


class Trouble:
    """A gate that fails as it is told, call by call: ``before`` what was asked for is done, or ``after`` it."""

    def __init__(self, *failures: tuple[str, Exception] | None) -> None:
        self.failures = [*failures]

    async def __call__(self, call: str, when: str) -> None:
        if self.failures and self.failures[0] is None:
            if when == "after":
                self.failures.pop(0)
        elif self.failures and self.failures[0] is not None and self.failures[0][0] == when:
            failure = self.failures.pop(0)
            assert failure is not None
            raise failure[1]


GONE = BrokerUnavailable("no answer")


@pytest.mark.parametrize(
    "failures",
    [
        (),
        (("before", GONE),),
        (("after", GONE),),
        (("before", GONE), ("before", GONE), ("after", GONE)),
        (("before", StreamFull("full")), ("after", GONE)),
    ],
)
async def test_whatever_answers_are_lost_a_message_is_stored_once(failures: Any) -> None:
    place = MemoryPlace()
    log = GatedPlace(place, Trouble(*failures)).log
    first = await append_once(log, b"first", 0)
    second = await append_once(log, b"second", first)
    assert place.log.messages == [Message(first, b"first"), Message(second, b"second")]


async def test_an_attempt_that_arrives_late_is_no_second_one() -> None:
    place = MemoryPlace()

    class Late:
        """It is stored by the first attempt, after it was asked whether it is."""

        attempts = 0

        async def __call__(self, call: str, when: str) -> None:
            if when == "before":
                self.attempts += 1
                if self.attempts == 1:
                    raise GONE
                await place.log.append(b"late", 0)

    late = Late()
    assert await append_once(GatedPlace(place, late).log, b"late", 0) == 1
    assert late.attempts == 2
    assert place.log.messages == [Message(1, b"late")]


@pytest.mark.parametrize("failures", [(), (("before", GONE),)])
async def test_another_message_in_its_place_is_told(failures: Any) -> None:
    place = MemoryPlace()
    first = await place.log.append(b"first", 0)
    other = await place.log.append(b"other", first)
    await place.log.append(b"more", other)
    with pytest.raises(Overtaken) as caught:
        await append_once(GatedPlace(place, Trouble(*failures)).log, b"ours", first)
    assert caught.value.message == Message(other, b"other")
    assert len(place.log.messages) == 3


async def test_ours_that_others_have_followed_is_stored() -> None:
    place = MemoryPlace()

    async def followed(call: str, when: str) -> None:
        if when == "after":
            await place.log.append(b"other", 1)
            raise GONE

    assert await append_once(GatedPlace(place, followed).log, b"ours", 0) == 1


async def test_former_messages_that_are_gone_are_told() -> None:
    place = MemoryPlace()
    first = await place.log.append(b"first", 0)
    await place.log.purge()
    with pytest.raises(Overtaken) as caught:
        await append_once(place.log, b"second", first)
    assert caught.value.message is None


async def test_a_refusal_is_raised() -> None:
    with pytest.raises(BrokerRefused):
        await append_once(MemoryPlace(max_message=10).log, bytes(11), 0)


class Reluctant:
    """A subject that answers as it is told, and then as the one in memory does."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = [*answers]
        self.inner = MemoryPlace().log
        self.name = "reluctant"

    def read(self, after: int) -> Any:
        return self._read(after, self.answers.pop(0) if self.answers else None)

    async def _read(self, after: int, answer: int | Exception | None) -> Any:
        if isinstance(answer, Exception):
            raise answer
        count = 0
        async for message in self.inner.read(after):
            if count == answer:
                return
            yield message
            count += 1

    async def last(self) -> Message | None:
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return await self.inner.last()


async def test_reading_waits_for_the_broker_and_for_replicas() -> None:
    subject: Any = Reluctant(GONE, 2, 0, 1, GONE)
    messages = await fill(subject.inner, 5)
    found = [message async for message in read_to(subject, 0, lambda message: message == messages[3])]
    assert found == messages[:4]
    subject.answers = [GONE]
    assert await when_there(subject.last) == messages[-1]


async def test_why_there_is_waiting_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    subject: Any = Reluctant(GONE, GONE, GONE, 1, GONE)
    messages = await fill(subject.inner, 2)
    found = [message async for message in read_to(subject, 0, lambda message: message == messages[-1])]
    assert found == messages
    subject.answers = [GONE, GONE]
    await when_there(subject.last)
    texts = [record.message for record in caplog.records]
    once = f"reluctant cannot be read now, tried again until it can: {GONE}"
    assert texts == [once, once, f"the log cannot be read now, tried again until it can: {GONE}"]


async def test_what_never_comes_is_told() -> None:
    subject: Any = Reluctant()
    messages = await fill(subject.inner, 2)
    with pytest.raises(EndedEarly) as caught:
        [message async for message in read_to(subject, 0, lambda _: False, patience=2)]
    assert caught.value.after == messages[-1].sequence
