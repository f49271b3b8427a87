"""Payment splitting: two messages of text, by which nodes tell each other of a payment that is split.

Nodes were seen to send them. No document of theirs is public, and no program: that they are ASCII, and what they are
for, is all that is known. So the schema of each is one text, up to the end of the message, whatever may be in it.
"""

from __future__ import annotations

from typing import Annotated

from oddwire.known import Protocol
from oddwire.schema import Message, message, rest

__all__ = ["PROTOCOL", "Announce", "Fail"]


@message(44203, codec="bolt", spec=True)
class Announce(Message):
    """Announces a split payment."""

    text: Annotated[str, rest]


@message(44205, codec="bolt", spec=True)
class Fail(Message):
    """A split payment has failed."""

    text: Annotated[str, rest]


PROTOCOL = Protocol(
    name="payment splitting",
    document="https://github.com/lightning/bolts/blob/master/01-messaging.md",
    version="seen in use; BOLT 1 for the type alone",
    messages=(Announce, Fail),
)
