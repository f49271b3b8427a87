"""What happens when a message cannot be handled: one table."""

from __future__ import annotations

import logging
from enum import Enum
from typing import Final, NamedTuple

__all__ = ["POLICY", "Outcome", "Policy"]


class Outcome(Enum):
    """What can go wrong with one message."""

    UNKNOWN_ODD = "unknown odd type"
    UNKNOWN_EVEN = "unknown even type"
    MALFORMED = "malformed message"
    HANDLER_RAISED = "handler failed"


class Policy(NamedTuple):
    """What to do about it: how loud to log, and whether to warn the peer, to hang up, to call `handler_failed`."""

    log: int
    warn: bool = False
    disconnect: bool = False
    report: bool = False


# Where the transport can neither warn nor hang up (lightningd's custom messages), those columns do nothing.
POLICY: Final = {
    Outcome.UNKNOWN_ODD: Policy(logging.DEBUG),  # BOLT 1: it's OK to be odd
    Outcome.UNKNOWN_EVEN: Policy(logging.INFO, warn=True, disconnect=True),  # BOLT 1: must close the connection
    Outcome.MALFORMED: Policy(logging.INFO, warn=True),
    Outcome.HANDLER_RAISED: Policy(logging.ERROR, report=True),  # the peer is told nothing
}
