"""What a handler sees: the peer it talks with, the application, and the extension it belongs to."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from oddwire.app.plain import to_plain
from oddwire.errors import LocalProtocolError
from oddwire.schema import Message
from oddwire.transports.base import NodeId, PeerInfo, Transport

if TYPE_CHECKING:
    from oddwire.app.application import Application
    from oddwire.app.extension import Extension

__all__ = ["Context", "HostNode", "Messenger", "Peer"]

M = TypeVar("M", bound=Message)


class Messenger(Protocol):
    """What a `Peer` needs of the dispatcher."""

    def send(self, node_id: NodeId, message: Message, force: bool = False) -> Coroutine[Any, Any, None]:
        """Send one message."""
        raise NotImplementedError

    def request(
        self, node_id: NodeId, message: Message, reply: type[M], limit: float | None, force: bool
    ) -> Coroutine[Any, Any, M]:
        """Send one message and wait ``limit`` seconds for the next one of class ``reply``."""
        raise NotImplementedError

    def info(self, node_id: NodeId) -> PeerInfo | None:
        """Tell what is known of a connected peer."""

    def feature_of(self, extension: Extension | str) -> int | None:
        """Give the feature bit of a loaded extension."""


class Peer:
    """Another node. It stands for the node, not for one connection: it stays good when the peer comes back.

    Two are equal if they are the same node.
    """

    __slots__ = ("_messenger", "node_id")

    def __init__(self, messenger: Messenger, node_id: NodeId) -> None:
        self._messenger = messenger
        self.node_id = node_id

    @property
    def info(self) -> PeerInfo | None:
        """What the transport knows of the peer; None while it is not connected."""
        return self._messenger.info(self.node_id)

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._messenger.info(self.node_id) is not None

    def supports(self, extension: Extension | str) -> bool:
        """Say whether the peer's feature bits show that it speaks ``extension``, one loaded here or its name.

        False for a peer that is not connected and for an extension without a feature bit. Raises `ExtensionError`
        for a name that is not loaded.
        """
        feature = self._messenger.feature_of(extension)
        info = self._messenger.info(self.node_id)
        return feature is not None and info is not None and info.has_feature(feature)

    def send(self, message: Message, *, force: bool = False) -> Coroutine[Any, Any, None]:
        """Send one message; returns once the transport has accepted it, which is not delivery.

        Waits while the peer's queue is full; cancelled meanwhile, nothing is sent. Raises `EncodeError` for a value
        that does not fit or a message that no loaded extension registers; `NotSupported` for a message of even type
        if the peer's features do not show its extension, since a peer that does not know an even type hangs up
        (``force`` sends it all the same); `PeerNotConnected`; `ConnectionClosed` if that happens during the wait.
        """
        return self._messenger.send(self.node_id, message, force)

    def request(
        self, message: Message, reply: type[M], *, timeout: float | None = 5.0, force: bool = False
    ) -> Coroutine[Any, Any, M]:
        """Send one message and return the next message of class ``reply`` from this same peer.

        There are no ids on the wire: requests that wait for one class are answered in the order they were made, and
        a reply that comes after its request gave up is taken for the next one's. What a request takes is not handed
        to a handler. ``timeout`` is in seconds, None waits for ever. Cancelled, it gives up its place.

        Raises `ReplyTimeout`; `ConnectionClosed` if the peer goes first; `EncodeError` if no loaded extension
        registers ``reply``; and whatever `send` raises.
        """
        return self._messenger.request(self.node_id, message, reply, timeout, force)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Peer) and self.node_id == other.node_id

    def __hash__(self) -> int:
        return hash(self.node_id)

    def __str__(self) -> str:
        return str(self.node_id)

    def __repr__(self) -> str:
        return f"<Peer {self.node_id} {'connected' if self.connected else 'not connected'}>"


class HostNode:
    """The node that an application runs inside, where its transport has one: lightningd, say."""

    __slots__ = ("_transport",)

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def call(
        self,
        method: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        /,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the answer is dropped, the request stands
        **named: Any,
    ) -> Any:
        """Call a JSON-RPC method of the node and give its result: ``call("connect", [uri])``, ``call("ping", id=...)``.

        Parameters go by position or by name, in ``params`` or as keywords; node ids, bytes and the like are written as
        JSON has them. ``timeout`` is in seconds, None waits for ever; a parameter of that name goes in ``params``.
        Cancelled, the answer is dropped, the request stands. Raises `NodeRefused` with the node's error,
        `ConnectionClosed` if the node is gone, when it may or may not have done it, `TimeoutError`, and
        `TransportError` where there is no host node.
        """
        if params is not None and named:
            raise TypeError(
                f"call({method!r}) should have its parameters in one place, params or keywords, not in both"
            )
        return await self._transport.call(method, to_plain(named if params is None else params), timeout=timeout)

    def __repr__(self) -> str:
        return f"<HostNode behind {type(self._transport).__name__}>"


class Context:
    """Handed to every handler: one a peer and extension, kept while the peer is connected.

    ``app`` is the application, ``extension`` the name of the extension the handler belongs to.
    """

    __slots__ = ("_peer", "app", "extension")

    def __init__(self, app: Application, extension: str, peer: Peer | None = None) -> None:
        self.app = app
        self.extension = extension
        self._peer = peer

    @property
    def peer(self) -> Peer:
        """The peer the message came from. Raises `LocalProtocolError` in an RPC method, which has none."""
        if self._peer is None:
            raise LocalProtocolError("an RPC method has no peer of its own: take one with context.app.peer(node_id)")
        return self._peer

    @property
    def node(self) -> HostNode:
        """The node the application runs inside: `Application.node`."""
        return self.app.node

    @property
    def options(self) -> Mapping[str, Any]:
        """The values of all loaded extensions' options, by name: `Application.options`."""
        return self.app.options

    @property
    def logger(self) -> logging.Logger:
        """The extension's logger, ``oddwire.extension.<name>``."""
        return logging.getLogger(f"oddwire.extension.{self.extension}")

    def __repr__(self) -> str:
        return f"<Context of {self.extension!r} with {self._peer or 'no peer'}>"
