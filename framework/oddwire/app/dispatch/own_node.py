"""The peer handle of the application's own node, which refuses every operation: a node has no connection to itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any, NoReturn, cast

from oddwire.app.context import Messenger, Peer
from oddwire.errors import LocalProtocolError, PeerNotConnected

if TYPE_CHECKING:
    from oddwire.app.extension import Extension
    from oddwire.app.plugins.manager import Contribution
    from oddwire.app.plugins.tables import Tables
    from oddwire.proto.keys import NodeId

__all__ = ["own_peer"]


class _OwnNode:
    """The `Messenger` of our own node. What is not spelled out here raises `PeerNotConnected` when it is called."""

    def __init__(self, tables: Tables, node_id: NodeId) -> None:
        self._tables = tables
        self._node_id = node_id

    async def send(self, *_: object, **__: object) -> NoReturn:
        raise self._not_connected()

    async def send_raw(self, *_: object, **__: object) -> NoReturn:
        raise self._not_connected()

    async def request(self, *_: object, **__: object) -> NoReturn:
        raise self._not_connected()

    async def stream(self, *_: object, **__: object) -> AsyncGenerator[NoReturn, None]:
        yield self._refuse()

    async def deliver(self, *_: object, **__: object) -> NoReturn:
        raise LocalProtocolError(f"{self._text()}: what is delivered to it would wait for ever")

    def info(self, _: NodeId) -> None:
        return None

    def session_of(self, _: NodeId) -> None:
        return None

    def owner_of(self, extension: Extension | str) -> Contribution:
        return self._tables.owner_of(extension)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name=name, obj=self)
        return self._refuse

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise self._not_connected()

    def _not_connected(self) -> PeerNotConnected:
        return PeerNotConnected(self._text(), node_id=str(self._node_id))

    def _text(self) -> str:
        return f"{self._node_id} is this node itself, which has no connection to itself"


def own_peer(tables: Tables, node_id: NodeId) -> Peer:
    """Return the handle of our own node.

    Its `Peer.deliver` raises `LocalProtocolError`; what needs a connection raises `PeerNotConnected`.
    """
    return Peer(cast("Messenger", _OwnNode(tables, node_id)), node_id)
