"""`Malformed`: what a handler gets that asks for payloads that do not decode."""

from __future__ import annotations

from oddwire.errors import DecodeError
from oddwire.records import FrozenRecord

__all__ = ["Malformed"]


class Malformed(FrozenRecord):
    """A payload that does not decode, for a handler that asks for it.

    ``async def hello(context: Context, message: Hello | Malformed)`` does. It takes the place of the message in all
    ways in which that may come, and of the policy: nothing is logged, and the peer is not warned. ``payload`` is all
    that came, its type included; ``error`` says what is wrong, and where.
    """

    payload: bytes
    error: DecodeError
