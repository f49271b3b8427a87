"""How much memory the messages of all peers take that wait for handlers or are handled: no more than there may be."""

from __future__ import annotations

from typing import Final

__all__ = ["LARGE", "Room"]

LARGE: Final = 66_000
"""Bytes from which on a message counts: what came in fragments, or decodes to more than a payload holds.

All others are bounded by the queue that each peer has, and by how many requests.
"""


class Room:
    """Bytes of all large messages, decoded; ``most`` is `Limits.total_message_bytes`.

    It is not closed to those who have nothing in it, as node ids are free to make: once it is `full`, each peer may
    have one message at a time, and one more is read later, or refused.
    """

    __slots__ = ("held", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    @property
    def full(self) -> bool:
        """Whether there is no room for a second message of anybody."""
        return self.held >= self.most
