"""The states of a `Link` and their transitions: one table, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

__all__ = ["NEXT", "LinkEvent", "LinkState"]


class LinkState(Enum):
    """How far the session with a program is: two things are needed, in any order."""

    INITIAL = "no version in common, and our hello is not on its way"
    INCOMPATIBLE = "no version in common; the program has our hello, or gets it before any later frame"
    COMMON = "a version in common, and our hello is not on its way"
    READY = "a version in common; the program has our hello, or gets it before any later frame"
    CLOSED = "the session has ended, or the connection"


class LinkEvent(Enum):
    """What changes the state."""

    AGREED = "a hello of the program, with a version in common"
    APART = "a hello of the program, with none"
    HELLO_SENT = "our hello is on its way"
    CLOSED = "the session ends"


NEXT: Final[Mapping[tuple[LinkState, LinkEvent], LinkState]] = {
    (LinkState.INITIAL, LinkEvent.AGREED): LinkState.COMMON,
    (LinkState.INITIAL, LinkEvent.APART): LinkState.INITIAL,
    (LinkState.INITIAL, LinkEvent.HELLO_SENT): LinkState.INCOMPATIBLE,
    (LinkState.INITIAL, LinkEvent.CLOSED): LinkState.CLOSED,
    (LinkState.INCOMPATIBLE, LinkEvent.AGREED): LinkState.READY,
    (LinkState.INCOMPATIBLE, LinkEvent.APART): LinkState.INCOMPATIBLE,
    (LinkState.INCOMPATIBLE, LinkEvent.HELLO_SENT): LinkState.INCOMPATIBLE,
    (LinkState.INCOMPATIBLE, LinkEvent.CLOSED): LinkState.CLOSED,
    (LinkState.COMMON, LinkEvent.AGREED): LinkState.COMMON,
    (LinkState.COMMON, LinkEvent.APART): LinkState.INITIAL,
    (LinkState.COMMON, LinkEvent.HELLO_SENT): LinkState.READY,
    (LinkState.COMMON, LinkEvent.CLOSED): LinkState.CLOSED,
    (LinkState.READY, LinkEvent.AGREED): LinkState.READY,
    (LinkState.READY, LinkEvent.APART): LinkState.INCOMPATIBLE,
    (LinkState.READY, LinkEvent.HELLO_SENT): LinkState.READY,
    (LinkState.READY, LinkEvent.CLOSED): LinkState.CLOSED,
    # Who holds a link for longer than its session, a handler say, changes nothing any more
    (LinkState.CLOSED, LinkEvent.AGREED): LinkState.CLOSED,
    (LinkState.CLOSED, LinkEvent.APART): LinkState.CLOSED,
    (LinkState.CLOSED, LinkEvent.HELLO_SENT): LinkState.CLOSED,
    (LinkState.CLOSED, LinkEvent.CLOSED): LinkState.CLOSED,
}
