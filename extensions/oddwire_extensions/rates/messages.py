"""The messages of `rates`."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final

from oddwire import Message, field, message, subtype

__all__ = ["MAX_TOPICS", "Name", "Rate", "Subscribe", "Topic", "TopicList", "Topics", "Unsubscribe"]

MAX_TOPICS: Final = 1000
"""Topics of a publisher."""

Name = Annotated[str, field(pattern=r"[a-z0-9][a-z0-9/_.-]{0,63}")]


@subtype
class Topic:
    """What is published, and its value now."""

    topic: Name
    value: Decimal
    at: datetime


@message(0x8C53)
class TopicList(Message):
    """All topics, by name."""

    topics: tuple[Topic, ...] = field(max_length=MAX_TOPICS)


@message(0x8C51, replies=TopicList)
class Topics(Message):
    """A request for the list of topics."""


@message(0x8C55)
class Subscribe(Message):
    """Have the values of a topic sent, the one of now first."""

    topic: Name


@message(0x8C57)
class Unsubscribe(Message):
    """Have them sent no longer."""

    topic: Name


@message(0x8C59)
class Rate(Message):
    """A value, and when it was published; None if there are no more."""

    topic: Name
    value: Decimal | None
    at: datetime
