"""What a handler sees: the peer it talks with, the application, and the extension it belongs to."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeVar, overload

from oddwire.app.declarations.jsonable import to_plain
from oddwire.durations import check_seconds
from oddwire.errors import LocalProtocolError
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.schema import Message
from oddwire.transports.base import PeerInfo, Transport

if TYPE_CHECKING:
    import asyncio

    from typing_extensions import TypeForm

    from oddwire.app.application import Application
    from oddwire.app.extension import Extension
    from oddwire.app.plugins.manager import Contribution
    from oddwire.session.peer.fragment_sender import Progress
    from oddwire.session.peer.peer_session import PeerSession
    from oddwire.session.reliable.receipt import Receipt
    from oddwire.session.store.extension_store import ExtensionStore

__all__ = [
    "NOT_PROVIDED",
    "STARTING",
    "AppContext",
    "Context",
    "HostNode",
    "Messenger",
    "NotProvided",
    "Peer",
    "ThingsNotThere",
]

M = TypeVar("M", bound=Message)
T = TypeVar("T")

STARTING: Final = (
    "the application is still starting: there are no peers before its on_startup hooks have ended and its transport is "
    "open. Do this in on_ready, or for each peer in on_connect; peer.deliver() may be called now"
)
"""What is told who wants of peers what has to wait for connections."""


class Messenger(Protocol):
    """How a `Peer` talks to the node that it stands for. What the arguments mean, the peer's own methods say."""

    def send(
        self,
        node_id: NodeId,
        message: Message,
        force: bool = False,
        since: float | None = None,
        progress: Progress | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Send one message."""
        raise NotImplementedError

    def deliver(self, node_id: NodeId, message: Message) -> Coroutine[Any, Any, Receipt]:
        """Keep a message until the peer has it."""
        raise NotImplementedError

    def request(
        self, node_id: NodeId, message: Message, reply: type[M], limit: float | None, force: bool
    ) -> Coroutine[Any, Any, M]:
        """Send a request and wait for its reply."""
        raise NotImplementedError

    def stream(
        self, node_id: NodeId, message: Message, part: type[M], limit: float | None, credit: int | None, force: bool
    ) -> AsyncGenerator[M, None]:
        """Send a request for a stream and iterate over its parts."""
        raise NotImplementedError

    def info(self, node_id: NodeId) -> PeerInfo | None:
        """Return what is known of a connected peer."""

    def session_of(self, node_id: NodeId) -> PeerSession | None:
        """Return a connected peer's part of the session."""

    def owner_of(self, extension: Extension | str) -> Contribution:
        """Find a loaded extension."""
        raise NotImplementedError


_LONG: Final = 1e6  # seconds; longer ones are looked at more closely


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

    @property
    def extensions(self) -> Mapping[str, tuple[str, ...]]:
        """The extensions the peer says it speaks, loaded here or not: by name, the versions. Empty before its hello.

        Of those not loaded here the first 32 are kept, and of each extension the first 16 versions.
        """
        session = self._messenger.session_of(self.node_id)
        return {} if session is None else session.extensions()

    def version_of(self, extension: Extension | str) -> str | None:
        """Return the version of ``extension`` to speak with the peer: the highest both list, compared as numbers.

        None if there is none, or the peer has not said hello. Raises `ExtensionError` for one that is not loaded.
        """
        name = self._messenger.owner_of(extension).name
        session = self._messenger.session_of(self.node_id)
        return None if session is None else session.version_of(name)

    def supports(self, extension: Extension | str) -> bool:
        """Say whether the peer shows that it speaks ``extension``, one loaded here or its name.

        Its feature bits show it, or its hello, by a version that both speak. False for a peer that is not connected,
        and before its hello; `wait_for_hello` waits for that. Raises `ExtensionError` for a name that is not loaded.
        """
        owner = self._messenger.owner_of(extension)
        info = self._messenger.info(self.node_id)
        if owner.feature is not None and info is not None and info.has_feature(owner.feature):
            return True
        session = self._messenger.session_of(self.node_id)
        return session is not None and session.version_of(owner.name) is not None

    async def wait_for_hello(self, extension: Extension | str | None = None) -> bool:
        """Wait until the peer has said that it speaks ``extension``, or anything at all; return whether it has.

        Behind its node there may be several programs that each say it for themselves, so name the extension that you
        are about to use. No is known a second after the peer has connected, or one of its programs has ended, or as
        soon as the peer goes. Raises `ExtensionError` for an extension that is not loaded.
        """
        name = None if extension is None else self._messenger.owner_of(extension).name
        session = self._messenger.session_of(self.node_id)
        return session is not None and await session.wait_for_hello(name)

    def send(
        self,
        message: Message,
        *,
        force: bool = False,
        progress: Progress | None = None,
        reliable: None = None,
    ) -> Coroutine[Any, Any, None]:
        """Send one message; returns once the transport has accepted it, which is not delivery.

        Waits while the peer's queue is full; cancelled meanwhile, nothing is sent. One of more than 65535 bytes goes in
        fragments, to a peer with a session, and waits for others of its kind; ``progress`` is called with the bytes
        accepted so far and the bytes in all. Cancelled, the peer is told to forget it.

        Raises `EncodeError` for a value that does not fit or a message that no loaded extension registers;
        `NotSupported` for a message of even type if neither the peer's features nor its hello, which is waited for up
        to a second after it connected, show its extension, since a peer that does not know an even type hangs up
        (``force`` sends it all the same), and for one that is too long for a peer without a session; `QuotaExceeded`
        for one longer than the peer puts together, and `RemoteFailure` if it refuses it on the way; `PeerNotConnected`;
        `ConnectionClosed` if that happens meanwhile. Raises `TypeError` at once for ``reliable``, which is `deliver`.
        """
        if reliable is not None:
            raise TypeError("send() is not reliable: 'await peer.deliver(message)' is, and returns a Receipt")
        if progress is not None:
            return self._messenger.send(self.node_id, message, force, None, progress)
        return self._messenger.send(self.node_id, message, force)

    def deliver(self, message: Message) -> Coroutine[Any, Any, Receipt]:
        """Send one message reliably; returns a `Receipt` once it is safe on disk, whether the peer is connected or not.

        It goes out, again if need be, also after restarts of either side, and takes effect once, in the order in which
        an extension's messages to the peer were delivered: the peer's handler is one of ``on(..., reliable=True)``. In
        a reliable handler of ours it goes out if the handler ends well. How long it is tried is the limit
        ``outbox_seconds``; a message that is lost, refused for good or given up, is told to the receipt and to
        `Extension.on_undelivered`. Cancelled before it returns, the message may or may not be sent.

        Raises `QuotaExceeded` if too much waits for the peer already, `StoreError` if the disk does not take it,
        `LocalProtocolError` without a store, and `EncodeError` as `send` does.
        """
        return self._messenger.deliver(self.node_id, message)

    @overload
    def request(
        self, message: Message, reply: type[M], *, timeout: float | None = 5.0, force: bool = False
    ) -> Coroutine[Any, Any, M]: ...

    @overload
    def request(
        self, message: Message, reply: TypeForm[M], *, timeout: float | None = 5.0, force: bool = False
    ) -> Coroutine[Any, Any, M]: ...

    def request(
        self, message: Message, reply: Any, *, timeout: float | None = 5.0, force: bool = False
    ) -> Coroutine[Any, Any, Any]:
        """Send one message and return the ``reply`` that the peer's handler returns for it.

        ``reply`` is a message class, or several of which the reply is one: ``Quote | NoQuote``.
        ``timeout`` is in seconds, None waits for ever. Requests have ids: replies come in any order, only from this
        peer, and are handed to nobody else. More requests than the peer handles at once wait for their turn here.
        Cancelled or timed out, the peer cancels its handler.

        A peer without a session is asked in the plain way, a second after it connected at the latest: the next message
        of class ``reply`` from it is the answer, for requests of one class in the order they were made, and one that
        comes after its request gave up is taken for the next one's.

        Raises `ReplyTimeout`; `RemoteFailure` if the peer's handler refuses, fails or answers with something else;
        `ConnectionClosed` if the peer goes first; `QuotaExceeded` if too many wait already; `DecodeError` for a reply
        that is malformed; `EncodeError` if ``reply`` is something else, or a class that no loaded extension registers;
        and whatever `send` raises. Raises `TypeError` or `ValueError` at once for a ``timeout`` that is no time.
        """
        if type(timeout) is not float or not 0.0 < timeout < _LONG:
            timeout = check_seconds("request()", timeout)
        return self._messenger.request(self.node_id, message, reply, timeout, force)

    @overload
    def stream(
        self,
        message: Message,
        part: type[M],
        *,
        timeout: float | None = 5.0,
        credit: int | None = None,
        force: bool = False,
    ) -> AsyncGenerator[M, None]: ...

    @overload
    def stream(
        self,
        message: Message,
        part: TypeForm[M],
        *,
        timeout: float | None = 5.0,
        credit: int | None = None,
        force: bool = False,
    ) -> AsyncGenerator[M, None]: ...

    def stream(
        self,
        message: Message,
        part: Any,
        *,
        timeout: float | None = 5.0,
        credit: int | None = None,
        force: bool = False,
    ) -> AsyncGenerator[Any, None]:
        """Send one message and iterate over what the peer's handler yields for it, each a ``part``.

        ``part`` may be several classes, as with `request`. ``timeout`` is for each part, in seconds. The peer sends
        ``credit`` parts ahead of the one in use, at most and by default what the limits say, so a slow reader slows it
        down. Leave the iteration and the peer's handler is cancelled; ``aclose`` does so at once.

        Raises as `request` does, after the parts that had come; `NotSupported` for a peer without a session.
        """
        timeout = check_seconds("stream()", timeout)
        if credit is not None and (type(credit) is not int or credit < 1):
            raise (TypeError if type(credit) is not int else ValueError)(
                f"stream(): credit should be a number of parts, 1 or more, or None, not {credit!r:.200}"
            )
        return self._messenger.stream(self.node_id, message, part, timeout, credit, force)

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
        if isinstance(params, (str, bytes)):
            raise TypeError(f"call({method!r}): params should be a list or a dict, not {params!r}")
        timeout = check_seconds(f"call({method!r})", timeout)
        from oddwire.transports.host import call_host  # a host need not wait for it to hear what we are

        return await call_host(self._transport, method, to_plain(named if params is None else params), timeout=timeout)

    def __repr__(self) -> str:
        return f"<HostNode behind {type(self._transport).__name__}>"


class AppContext:
    """Handed to what an extension does without a peer: hooks such as ``on_startup``, and RPC methods.

    ``app`` is the application, ``extension`` the name of the extension. It has no ``peer``: `Application.peer` returns
    the handle of any.
    """

    __slots__ = ("app", "extension")

    def __init__(self, app: Application, extension: str) -> None:
        self.app = app
        self.extension = extension

    @property
    def node(self) -> HostNode:
        """The node the application runs inside: `Application.node`."""
        return self.app.node

    @property
    def options(self) -> Mapping[str, Any]:
        """The values of all loaded extensions' options, by name: `Application.options`."""
        return self.app.options

    @property
    def store(self) -> ExtensionStore:
        """What the extension keeps on disk. Raises `LocalProtocolError` if the application has no store."""
        return self.app.store(self.extension)

    @property
    def logger(self) -> logging.Logger:
        """The extension's logger, ``oddwire.extension.<name>``.

        What is logged about one peer is limited, and in sum (`oddwire.log_limits.LogLimits`): pass the peer as an
        argument, ``logger.info("%s asks", context.peer)``. Without one, the same line of the source is limited for all
        together.
        """
        return get_logger(f"oddwire.extension.{self.extension}")

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Run ``work`` beside what calls this, as a task that is cancelled and waited for at its owner's end.

        Its owner is the connection of the context's peer, or the application where there is none. What it raises is
        logged with its traceback, counted (`Counters.failed`) and told to `Extension.on_error`; whoever awaits the task
        gets it as well. Context variables are those that the application was started with. ``name`` is the task's.

        Raises `TypeError` for what is no coroutine, `PeerNotConnected` once the peer has gone, and
        `LocalProtocolError` before the application starts, and when it has closed.
        """
        return self.app._spawn(self, work, name)  # noqa: SLF001 - its own contexts

    if not TYPE_CHECKING:  # for which there is nothing else

        def __getattr__(self, name: str) -> Any:
            text = f"a context has no {name!r}"
            if name == "peer":
                text = "this context has no peer, as nobody sent anything: take one with context.app.peer(node_id)"
            elif not name.startswith("_") and hasattr(type(self.app), name):
                text += f", its application has: context.app.{name}"
            raise AttributeError(text, name=name, obj=self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.extension!r}>"


class NotProvided:
    """Stands for things that are not there: to take one raises `LocalProtocolError`, saying why."""

    __slots__ = ("_why",)

    def __init__(self, why: str) -> None:
        self._why = why

    def __getitem__(self, index: int) -> NoReturn:
        raise ThingsNotThere(self._why)

    def __iter__(self) -> NoReturn:
        raise ThingsNotThere(self._why)


class ThingsNotThere(LocalProtocolError):
    """What is provided is not made yet, could not be made, or is closed already."""


NOT_PROVIDED: Final = NotProvided("what is provided for a peer is there from its connecting to its end, and not now")


class Context(AppContext):
    """Handed to every handler, and to hooks that are about a peer; kept while the peer is connected."""

    __slots__ = ("_peer", "_things")

    def __init__(self, app: Application, extension: str, peer: Peer) -> None:
        self.app = app
        self.extension = extension
        self._peer = peer
        # For each function of the extension that takes what is provided for the peer's connection: those things
        self._things: Sequence[Any] | NotProvided = NOT_PROVIDED

    @property
    def peer(self) -> Peer:
        """The peer the message came from, or that the hook is about."""
        return self._peer

    def __repr__(self) -> str:
        return f"<Context of {self.extension!r} with {self._peer}>"
