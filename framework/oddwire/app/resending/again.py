"""`Again` and `Pending`: how a message is sent again, and what is known of one that waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oddwire.app.resending.keys import Key, encode_key
from oddwire.durations import seconds_of, shown
from oddwire.records import FrozenRecord

if TYPE_CHECKING:
    from datetime import timedelta

    from oddwire.proto.keys import ShortChannelId
    from oddwire.schema import Message

__all__ = ["Again", "Pending"]


class Again(FrozenRecord, kw_only=True):
    """How `Peer.send` keeps a message, and sends it again until it is settled.

    While the peer is connected it is sent ``every`` so many seconds, or a `timedelta`; None for not at all. With
    ``on_connect`` it is sent at each connection. It expires at the age ``until``, in seconds or a `timedelta`, and
    at the limit ``outbox_seconds`` at the latest. ``key`` is what `Peer.settle` calls it by, and a later message with
    the same key replaces it; by default it is the value of the ``match`` field that the message's class declares.

    Raises `ValueError` for no duration, and if the message would be sent only once, `TypeError` for no key.
    """

    every: float | timedelta | None = 60.0
    on_connect: bool = True
    until: float | timedelta | None = None
    key: Key | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in ("every", "until"):
            value = getattr(self, name)
            try:
                if value is not None:
                    seconds_of(value)
            except ValueError as error:
                raise ValueError(f"Again({name}=): {error}, not {shown(value)}") from None
        if not isinstance(self.on_connect, bool):
            raise TypeError(f"Again(on_connect=): should be True or False, not {self.on_connect!r:.200}")
        if self.every is None and not self.on_connect:
            raise ValueError("Again(every=None, on_connect=False) would send once: give it one of both")
        if self.key is not None:
            try:
                encode_key(self.key)
            except TypeError as error:
                raise TypeError(f"Again(key=): {error}") from None

    @property
    def seconds(self) -> float | None:
        """The seconds from one sending to the next, None for no such."""
        return None if self.every is None else seconds_of(self.every)

    @property
    def life(self) -> float | None:
        """The age in seconds at which the message expires, None for that of the limit."""
        return None if self.until is None else seconds_of(self.until)


class Pending(FrozenRecord, kw_only=True):
    """A message of ours that waits for its peer: a reliable one, or one that is sent again until it is settled.

    ``extension`` is the name of the extension that sent it, empty if that is not known; ``message`` is None if its
    bytes cannot be decoded any more. ``key`` is what `Peer.settle` calls it by. ``age`` is in seconds; ``sent`` is how
    often this process has sent it; ``due`` is when it is sent next, in seconds from now, None if the peer has to
    connect first. Of a reliable message, ``key``, ``sent`` and ``due`` are None.
    """

    extension: str
    message: Message | None
    reliable: bool
    age: float
    key: str | bytes | int | ShortChannelId | None = None
    sent: int | None = None
    due: float | None = None
