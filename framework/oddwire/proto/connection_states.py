"""The states of a `LightningConnection` and their transitions: one table, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

__all__ = ["FOLLOWING", "ConnectionState"]


class ConnectionState(Enum):
    """The state of a connection."""

    CONNECTING = "it has no socket so far"
    HANDSHAKE = "it has its socket, and the handshake is under way"
    OPEN = "messages go both ways"
    GIVEN_UP = "it has ended before it had a socket; one that comes late is closed"
    LINGERING = "it has ended, and still has its socket, for the peer to read our last words"
    GONE = "it has ended, and so has its socket"


FOLLOWING: Final[Mapping[ConnectionState, tuple[ConnectionState, ...]]] = {
    ConnectionState.CONNECTING: (ConnectionState.HANDSHAKE, ConnectionState.GIVEN_UP),
    ConnectionState.HANDSHAKE: (ConnectionState.OPEN, ConnectionState.LINGERING),
    ConnectionState.OPEN: (ConnectionState.LINGERING,),
    ConnectionState.GIVEN_UP: (ConnectionState.LINGERING,),
    ConnectionState.LINGERING: (ConnectionState.GONE,),
    ConnectionState.GONE: (),
}
