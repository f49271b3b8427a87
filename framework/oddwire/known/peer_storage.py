"""Peer storage: a node keeps a small blob for each of its peers, and gives it back when they connect again.

BOLT 1, "The peer storage messages", at commit a377265. The feature bit is 42/43, ``option_provide_storage``. A blob has
65531 bytes at most.
"""

from __future__ import annotations

from typing import Annotated

from oddwire.known import Protocol
from oddwire.schema import Message, max_length, message

__all__ = ["PROTOCOL", "PeerStorage", "PeerStorageRetrieval"]


@message(7, codec="bolt", spec=True)
class PeerStorage(Message):
    """Keep this blob for me in the place of the one before."""

    blob: Annotated[bytes, max_length(65531)]


@message(9, codec="bolt", spec=True)
class PeerStorageRetrieval(Message):
    """The blob that you sent last, after a reconnection."""

    blob: Annotated[bytes, max_length(65531)]


PROTOCOL = Protocol(
    name="peer storage",
    document="https://github.com/lightning/bolts/blob/master/01-messaging.md",
    version="commit a377265",
    messages=(PeerStorage, PeerStorageRetrieval),
)
