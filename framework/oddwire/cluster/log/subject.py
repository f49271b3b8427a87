"""A subject of a stream, as the log uses it: appended to by who knows its last message, read, and purged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, NamedTuple, Protocol, TypeVar

from oddwire.log_limits import get_logger
from oddwire.transports.nats.errors import BrokerUnavailable, StreamFull, UnexpectedSequence
from oddwire.transports.nats.patience import patiently, pauses

__all__ = [
    "BEHIND",
    "EndedEarly",
    "LogPlace",
    "Message",
    "Overtaken",
    "Subject",
    "append_once",
    "read_to",
    "when_there",
]

logger = get_logger("oddwire.cluster.log")

T = TypeVar("T")

BEHIND: Final = 12
"""Attempts to read, which take about 8 s, for replicas to catch up."""


class Message(NamedTuple):
    """A stored message, and its sequence in the stream."""

    sequence: int
    data: bytes


class Subject(Protocol):
    """One subject. Methods raise `BrokerUnavailable` if there is no answer: what was asked for may be done or not."""

    @property
    def name(self) -> str:
        """The subject's name."""
        raise NotImplementedError

    async def append(self, data: bytes, expected: int) -> int:
        """Store a message behind the one with the sequence ``expected``, 0 for none; return its sequence.

        Raises `UnexpectedSequence` if the last message is another one, `StreamFull`, and `BrokerRefused`.
        """
        raise NotImplementedError

    async def last(self) -> Message | None:
        """Return the last message, by who decides about the stream; None if there is none."""
        raise NotImplementedError

    async def following(self, sequence: int) -> Message | None:
        """Return the first message behind a sequence, by who decides about the stream; None if there is none."""
        raise NotImplementedError

    def read(self, after: int) -> AsyncIterator[Message]:
        """Return the messages behind a sequence, in order. They may end early: replicas may be behind."""
        raise NotImplementedError

    async def purge(self, before: int | None = None) -> None:
        """Delete the messages before a sequence; None is all of them."""


class LogPlace(Protocol):
    """The log of a partition, and the pieces of its snapshots."""

    @property
    def log(self) -> Subject:
        """The log."""
        raise NotImplementedError

    @property
    def max_message(self) -> int:
        """Bytes of the longest message that the broker takes."""
        raise NotImplementedError

    def snapshot(self, name: str) -> Subject:
        """Return the subject of the pieces of a snapshot."""
        raise NotImplementedError

    async def snapshots(self) -> list[str]:
        """Return the names of the snapshots that have pieces."""
        raise NotImplementedError


class Overtaken(Exception):
    """Another message is where one was to be appended; ``message`` is that one, None if the former ones are gone."""

    def __init__(self, message: Message | None) -> None:
        super().__init__()
        self.message = message


class EndedEarly(Exception):
    """A subject has no messages behind the one with the sequence ``after``, where there should be some."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after


async def append_once(subject: Subject, data: bytes, expected: int) -> int:
    """Append a message behind the one with the sequence ``expected``, whatever happens on the way; return its sequence.

    Where the answer does not come, what is behind ``expected`` says whether it is stored; if not, it is sent again:
    should the former attempt arrive later, only one of both is stored, as both expect the same. Waits as long as there
    is no broker. Raises `Overtaken` if another message is in its place, and `BrokerRefused`.
    """
    following, said = pauses(), ""
    while True:
        refused = False
        try:
            return await subject.append(data, expected)
        except UnexpectedSequence:
            refused = True
        except (BrokerUnavailable, StreamFull) as error:
            if error.reason != said:
                said = error.reason
                logger.warning("%s takes nothing now, tried again until it does: %s", subject.name, said)
        found = await when_there(lambda: subject.following(expected))
        if found is not None:
            if found.data == data:
                return found.sequence
            raise Overtaken(found)
        if refused:
            last = await when_there(subject.last)
            if (0 if last is None else last.sequence) != expected:
                raise Overtaken(None)
        await asyncio.sleep(next(following))


async def when_there(read: Callable[[], Awaitable[T]]) -> T:
    """Return what ``read`` returns, called again as long as there is no broker."""
    return await patiently(
        read, lambda reason: logger.warning("the log cannot be read now, tried again until it can: %s", reason)
    )


async def read_to(
    subject: Subject, after: int, enough: Callable[[Message], bool], *, patience: int = BEHIND
) -> AsyncIterator[Message]:
    """Return the messages behind a sequence, in order, up to the one that is ``enough``.

    Waits for a broker, and for replicas that are behind. Raises `EndedEarly` if so many attempts bring nothing more.
    """
    fruitless, following, said = 0, pauses(), ""
    while True:
        count = 0
        try:
            async for message in subject.read(after):
                is_last = enough(message)
                yield message
                if is_last:
                    return
                after, count = message.sequence, count + 1
            fruitless = 0 if count else fruitless + 1
            if fruitless > patience:
                raise EndedEarly(after)
        except BrokerUnavailable as error:
            if error.reason != said:
                said = error.reason
                logger.warning("%s cannot be read now, tried again until it can: %s", subject.name, said)
            fruitless = 0
        if count:
            following, said = pauses(), ""
        else:
            await asyncio.sleep(next(following))
