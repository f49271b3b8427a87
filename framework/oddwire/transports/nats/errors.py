"""The broker's errors, which do not leave the transport and the cluster: they raise oddwire's own for them."""

from __future__ import annotations

from typing import Final

__all__ = [
    "NO_STREAM",
    "BrokerDenied",
    "BrokerFailure",
    "BrokerRefused",
    "BrokerUnavailable",
    "StreamFull",
    "UnexpectedSequence",
]


NO_STREAM: Final = 10059
"""JetStream's code for a stream that is not there."""


class BrokerFailure(Exception):
    """Base of the broker's errors; ``reason`` is for people, and without secrets."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        """JetStream's ``err_code``, 0 if there is none."""


class BrokerUnavailable(BrokerFailure):
    """The broker, or who should answer there, is not reachable now, or did not answer in time.

    What was asked for may be done or not. Trying again may help.
    """


class BrokerRefused(BrokerFailure):
    """The broker does not do it: credentials, permissions, configuration. Trying again does not help."""


class BrokerDenied(BrokerRefused):
    """The broker does not let this login publish there."""


class StreamFull(BrokerFailure):
    """The stream, or the subject, takes nothing more for now; or none does, as our account's limit is reached."""


class UnexpectedSequence(BrokerFailure):
    """The last message of the subject is another one than the writer expects: somebody else has written."""
