"""The arguments of handlers and hooks: contexts with the peer, the application, the extension and the host node."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeVar, overload

from oddwire.app.declarations.jsonable import to_plain
from oddwire.durations import check_seconds
from oddwire.errors import EncodeError, LocalProtocolError, SchemaError
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.proto.type_numbers import check_claim
from oddwire.schema import Message
from oddwire.session.constants import SESSION_TYPE
from oddwire.transports.base import MAX_PAYLOAD, PROGRESS, PeerInfo, Transport, wrong_length

if TYPE_CHECKING:
    import asyncio

    from typing_extensions import TypeForm

    from oddwire.app.application import Application
    from oddwire.app.dispatch.listeners import MessageStream
    from oddwire.app.dispatch.peer_rpcs import PeerRpcs
    from oddwire.app.extension import Extension
    from oddwire.app.peer_logger import PeerLogger
    from oddwire.app.plugins.manager import Contribution
    from oddwire.app.resending.again import Again, Pending
    from oddwire.app.resending.keys import Key
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
    "open. Do this in on_ready, or for each peer in on_connect; what is kept in the store may be called now: "
    "peer.deliver(), send(again=...), settle() and pending()"
)
"""The text of the error for operations on peers that are called before connections are possible."""


class Messenger(Protocol):
    """The operations by which a `Peer` communicates with its node. Its own methods document the arguments."""

    def send(
        self,
        node_id: NodeId,
        message: Message,
        force: bool = False,
        since: float | None = None,
        progress: Progress | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Send one message; see `Peer.send`."""
        raise NotImplementedError

    def send_raw(self, node_id: NodeId, payload: bytes, force: bool) -> Coroutine[Any, Any, None]:
        """Send one payload as it is; see `Peer.send_raw`."""
        raise NotImplementedError

    def deliver(self, node_id: NodeId, message: Message) -> Coroutine[Any, Any, Receipt]:
        """Send one message reliably; see `Peer.deliver`."""
        raise NotImplementedError

    def keep(self, node_id: NodeId, message: Message, again: Again, force: bool) -> Coroutine[Any, Any, None]:
        """Keep one message, and send it until it is settled; see `Peer.send`."""
        raise NotImplementedError

    def settle(self, node_id: NodeId, key: Key, extension: Extension | str | None) -> Coroutine[Any, Any, bool]:
        """Keep a message no longer; see `Peer.settle`."""
        raise NotImplementedError

    def pending(self, node_id: NodeId) -> Coroutine[Any, Any, list[Pending]]:
        """Return what waits for a peer; see `Peer.pending`."""
        raise NotImplementedError

    def request(
        self,
        node_id: NodeId,
        message: Message,
        reply: Any,
        limit: float | None,
        force: bool,
        match: str | Callable[[Any], object] | None = None,
        plain: bool = False,
    ) -> Coroutine[Any, Any, Any]:
        """Send a request and return its reply; see `Peer.request`."""
        raise NotImplementedError

    def wait_for(
        self, node_id: NodeId, classes: Any, match: Callable[[Any], object] | None, limit: float | None
    ) -> Coroutine[Any, Any, Any]:
        """Return the next message of some classes; see `Peer.wait_for`."""
        raise NotImplementedError

    def messages(self, node_id: NodeId, classes: Any, match: Callable[[Any], object] | None) -> MessageStream[Any]:
        """Return a stream of the messages of some classes; see `Peer.messages`."""
        raise NotImplementedError

    def stream(
        self, node_id: NodeId, message: Message, part: type[M], limit: float | None, credit: int | None, force: bool
    ) -> AsyncGenerator[M, None]:
        """Send a request for a stream and iterate over its parts; see `Peer.stream`."""
        raise NotImplementedError

    def info(self, node_id: NodeId) -> PeerInfo | None:
        """Return the transport's information about a peer; None unless it is connected."""

    def session_of(self, node_id: NodeId) -> PeerSession | None:
        """Return the session with a peer; None unless it is connected and there is one."""

    def owner_of(self, extension: Extension | str) -> Contribution:
        """Return a loaded extension's contribution. Raises `ExtensionError` if it is not loaded."""
        raise NotImplementedError

    def peer_rpc(self, message: type[Message], extension: str) -> PeerRpcs:
        """Return the application's JSON-RPC for a `PeerRpc` of an extension. Raises `ExtensionError` without any."""
        raise NotImplementedError


_LONG: Final = 1e6  # seconds; longer timeouts go through `check_seconds`


class Peer:
    """The handle of another node, not of one connection: it stays valid when the peer reconnects.

    Two handles are equal if they have the same node id.
    """

    __slots__ = ("_messenger", "node_id")

    def __init__(self, messenger: Messenger, node_id: NodeId) -> None:
        self._messenger = messenger
        self.node_id = node_id

    @property
    def info(self) -> PeerInfo | None:
        """The transport's information about the peer; None while it is not connected."""
        return self._messenger.info(self.node_id)

    @property
    def connected(self) -> bool:
        """Whether the peer is connected now."""
        return self._messenger.info(self.node_id) is not None

    @property
    def extensions(self) -> Mapping[str, tuple[str, ...]]:
        """The extensions that the peer's hello lists, loaded here or not: versions by name. Empty before its hello.

        Of those not loaded here the first 32 are kept, and of each extension the first 16 versions.
        """
        session = self._messenger.session_of(self.node_id)
        return {} if session is None else session.extensions()

    def version_of(self, extension: Extension | str) -> str | None:
        """Return the version of ``extension`` to use with the peer: the highest that both list, compared as numbers.

        None if there is none, or before the peer's hello. Raises `ExtensionError` for an extension that is not loaded.
        """
        name = self._messenger.owner_of(extension).name
        session = self._messenger.session_of(self.node_id)
        return None if session is None else session.version_of(name)

    def supports(self, extension: Extension | str) -> bool:
        """Return whether the peer has announced support for ``extension``, one loaded here or its name.

        A peer announces it by its feature bits (the extension's ``feature`` or ``peer_feature``), or in its hello by a
        version that both speak. False for a peer that is not connected, and, without a feature bit, before its hello:
        `wait_for_hello` waits for that. Raises
        `ExtensionError` for an extension that is not loaded.
        """
        owner = self._messenger.owner_of(extension)
        info = self._messenger.info(self.node_id)
        if info is not None and owner.is_shown_by(info):
            return True
        session = self._messenger.session_of(self.node_id)
        return session is not None and session.version_of(owner.name) is not None

    async def wait_for_hello(self, extension: Extension | str | None = None) -> bool:
        """Wait for the peer's hello with ``extension``, or, without one, for any hello; return whether it came.

        Behind its node there may be several programs, each with a hello of its own, so name the extension that you are
        about to use. Returns False a second after the peer has connected, or one of its programs has ended, or as soon
        as the peer disconnects. Raises `ExtensionError` for an extension that is not loaded. Cancelling ends this wait
        alone.
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
        again: Again | None = None,
        reliable: None = None,
    ) -> Coroutine[Any, Any, None]:
        """Send one message; returns once the transport has accepted it, which is not delivery.

        Waits while the peer's queue is full; cancelled meanwhile, nothing is sent. Messages over 65535 bytes go in
        fragments, to a peer with a session, after other fragmented messages; ``progress`` is called with the
        number of bytes accepted so far and the total. Cancelled, the peer is notified to discard the fragments.

        Raises `EncodeError` for a value that does not fit or a message that no loaded extension registers;
        `NotSupported` for a message of even type if neither the peer's features nor its hello, which is waited for up
        to a second after it connected, show its extension, since a peer that does not know an even type disconnects
        (``force`` sends the message anyway; one of ``even="known"`` needs no sign from a peer without a hello), and for
        a message that is too long for a peer without a session;
        `QuotaExceeded` for one longer than the peer reassembles, and `RemoteFailure` if the peer refuses it during the
        transfer; `PeerNotConnected`; `ConnectionClosed` if the peer disconnects meanwhile. Raises `TypeError` at once
        for ``reliable``: call `deliver`.

        With ``again`` the message is kept in the store, and sent as one payload again and again, also after restarts,
        until it is settled: by `settle`, by an answer that its class declares (``replies`` and ``match``), by a later
        message with the same key, or by its age, which is reported to `Extension.on_undelivered`. The call returns once
        it is on disk, whether the peer is connected or not, and in a unit of work at once; a sending that fails raises
        nothing. Cancelled, the message may or may not be kept. Raises `PayloadTooLarge` above 65535 bytes,
        `QuotaExceeded`, `StoreError`, `LocalProtocolError` without a store, and `ValueError` without a key.
        """
        if reliable is not None:
            raise TypeError("send() is not reliable: 'await peer.deliver(message)' is, and returns a Receipt")
        if again is not None:
            return self._keep(message, again, force, progress)
        if progress is not None:
            return self._messenger.send(self.node_id, message, force, None, progress)
        return self._messenger.send(self.node_id, message, force)

    def send_raw(
        self, type_id: int, data: bytes, *, force: bool = False, spec: bool = False
    ) -> Coroutine[Any, Any, None]:
        """Send a payload as it is: the message type ``type_id``, and behind it the bytes ``data``, 65533 at most.

        Waits, and may be cancelled, as `send`. A ``type_id`` may be one that `message` accepts, also with ``spec``,
        whether or not there is a message of it. An even one is sent to a peer that shows, as `send` wants it, an
        extension which has a message of that type, or `Extension.on_unknown`; ``force`` sends it anyway.

        Raises `EncodeError` at once for another ``type_id``, `PayloadTooLarge` for ``data`` that is too long, and
        `TypeError` for what is no bytes; `NotSupported`, `PeerNotConnected` and `ConnectionClosed` as `send` does.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"send_raw() takes the bytes behind the type, not {data!r:.200}")
        try:
            check_claim(type_id, spec)
        except SchemaError as error:
            raise EncodeError(f"send_raw(): {error}") from None
        if type_id == SESSION_TYPE:
            raise EncodeError(f"send_raw(): type {type_id:#06x} is that of sessions; nobody else may send it")
        payload = type_id.to_bytes(2, "big") + data
        if len(payload) > MAX_PAYLOAD:
            raise wrong_length(len(payload))
        return self._messenger.send_raw(self.node_id, payload, force)

    def _keep(
        self, message: Message, again: Again, force: bool, progress: Progress | None
    ) -> Coroutine[Any, Any, None]:
        from oddwire.app.resending.again import Again  # few send anything again

        if not isinstance(again, Again):
            raise TypeError(f"send(again=) should be Again(every=10) say, not {again!r:.200}")
        if progress is not None:
            raise TypeError("send(again=) has no progress: what is sent again goes as one payload, and may go later")
        return self._messenger.keep(self.node_id, message, again, force)

    def settle(self, key: Key, extension: Extension | str | None = None) -> Coroutine[Any, Any, bool]:
        """Settle the message that was sent to the peer with `Again` under this key: it is sent no more.

        Returns True once it is gone from disk, or at once in a unit of work, with which it goes; False if nothing is
        kept under the key. ``extension`` is the one that sent it, needed if several have kept something under the key:
        else raises `LocalProtocolError`, as it does without a store. Raises `TypeError` for what is no key,
        `ExtensionError` for an extension that is not loaded, `StoreError`. Cancelled, it may or may not be settled.
        """
        return self._messenger.settle(self.node_id, key, extension)

    def pending(self) -> Coroutine[Any, Any, list[Pending]]:
        """Return our messages that wait for the peer, reliable ones and those sent with `Again`, the oldest first.

        Those of other extensions are among them. Raises `StoreError`, and `LocalProtocolError` without a store.
        """
        return self._messenger.pending(self.node_id)

    def deliver(self, message: Message) -> Coroutine[Any, Any, Receipt]:
        """Send one message reliably; returns a `Receipt` once it is safe on disk, whether the peer is connected or not.

        The message is sent, repeatedly if necessary, also after restarts of either side, and takes effect once, in the
        order of the extension's deliveries to the peer: the peer's handler is one of ``on(..., reliable=True)``. Called
        in a reliable handler of ours, the message is sent only if the handler succeeds. The limit ``outbox_seconds``
        says how long it is retried; the loss of a message, refused for good or given up, is reported by the receipt and
        to `Extension.on_undelivered`. Cancelled before it returns, the message may or may not be sent.

        Raises `QuotaExceeded` if too much waits for the peer already, `StoreError` if it cannot be written to disk,
        `LocalProtocolError` without a store, and `EncodeError` as `send` does.
        """
        return self._messenger.deliver(self.node_id, message)

    @overload
    def request(
        self,
        message: Message,
        reply: type[M],
        *,
        match: str | Callable[[M], object] | None = None,
        plain: bool = False,
        timeout: float | None = 5.0,
        force: bool = False,
    ) -> Coroutine[Any, Any, M]: ...

    @overload
    def request(
        self,
        message: Message,
        reply: TypeForm[M],
        *,
        match: str | Callable[[M], object] | None = None,
        plain: bool = False,
        timeout: float | None = 5.0,
        force: bool = False,
    ) -> Coroutine[Any, Any, M]: ...

    @overload
    def request(
        self,
        message: Message,
        *,
        match: str | Callable[[Any], object] | None = None,
        plain: bool = False,
        timeout: float | None = 5.0,
        force: bool = False,
    ) -> Coroutine[Any, Any, Message]: ...

    def request(
        self,
        message: Message,
        reply: Any = None,
        *,
        match: str | Callable[[Any], object] | None = None,
        plain: bool = False,
        timeout: float | None = 5.0,
        force: bool = False,
    ) -> Coroutine[Any, Any, Any]:
        """Send one message as a request and return the ``reply`` of the peer's handler.

        ``reply`` is a message class, or a union of the possible classes, ``Quote | NoQuote``; by default those that
        the class of the message declares, ``@message(..., replies=)``. ``timeout`` is in seconds, None waits for ever.
        Requests have ids: replies come in any order, only from this peer, and are passed to no handler. Requests
        beyond the number that the peer handles at once are queued here. Cancelled or timed out, the peer cancels its
        handler.

        To a peer without a session, or with ``plain``, the request is sent as a plain message, a second after the peer
        connected at the latest. Then ``match`` tells which message is the reply: the name of a field with the same
        value in both, by default what the class declares, or a function that is true for the reply; what it raises is
        raised here. Without any match the peer's next message of the class is the reply: then one such request is
        under way at a time, others wait for their turn within their timeout. With a session, a reply that does not
        match is a `RemoteFailure`.

        Raises `ReplyTimeout`, whose ``sent`` is False if the time was over before the request was sent, for example
        while the peer's hello had not come; its subclass `OutOfStep` if the reply could not be told from a late one to
        an earlier request; `RemoteFailure` if the peer's handler refuses, fails or replies
        with another class; `ConnectionClosed` if the peer disconnects first; `QuotaExceeded` if too many wait already;
        `DecodeError` for a malformed reply; `EncodeError` if ``reply`` is no message class, or one that no loaded
        extension registers, or if ``match`` is a field that cannot tell; and the errors of `send`. Raises `TypeError`
        or `ValueError` at once for a ``timeout`` that is no duration, `TypeError` for a ``match`` of another kind.
        """
        if type(timeout) is not float or not 0.0 < timeout < _LONG:
            timeout = check_seconds("request()", timeout)
        return self._messenger.request(self.node_id, message, reply, timeout, force, match, plain)

    @overload
    def wait_for(
        self, classes: type[M], match: Callable[[M], object] | None = None, *, timeout: float | None = 60.0
    ) -> Coroutine[Any, Any, M]: ...

    @overload
    def wait_for(
        self, classes: TypeForm[M], match: Callable[[M], object] | None = None, *, timeout: float | None = 60.0
    ) -> Coroutine[Any, Any, M]: ...

    def wait_for(
        self, classes: Any, match: Callable[[Any], object] | None = None, *, timeout: float | None = 60.0
    ) -> Coroutine[Any, Any, Any]:
        """Return the peer's next message of some classes, ``Cancel | Opened``, that is no reply to a request.

        It must be one for which the function ``match`` is true, if that is given; what it raises is raised here. The
        message is passed to all that wait for it, here or by `messages`, and to no handler. It may come plainly or in
        fragments; requests with ids and reliable messages are for handlers alone. Messages count from the moment in
        which the coroutine is awaited. ``timeout`` is in seconds, None waits for ever.

        Raises `ReplyTimeout`, `PeerNotConnected`, `ConnectionClosed` if the peer disconnects first, and `EncodeError`
        for what is no message class, or one that no loaded extension registers. Raises `TypeError` or `ValueError` at
        once for a ``timeout`` that is no duration.
        """
        timeout = check_seconds("wait_for()", timeout)
        return self._messenger.wait_for(self.node_id, classes, match, timeout)

    @overload
    def messages(self, classes: type[M], match: Callable[[M], object] | None = None) -> MessageStream[M]: ...

    @overload
    def messages(self, classes: TypeForm[M], match: Callable[[M], object] | None = None) -> MessageStream[M]: ...

    def messages(self, classes: Any, match: Callable[[Any], object] | None = None) -> MessageStream[Any]:
        """Return a stream of the peer's messages of some classes: ``async with peer.messages(Cancel) as stream``.

        It has all that come while the ``async with`` block runs, of the kind that `wait_for` sees. What was not read
        yet counts in the peer's inbound queue: a slow reader holds the peer up. Reading raises `ConnectionClosed` once
        the peer has disconnected and all is read, and what ``match`` raises.

        Raises `EncodeError` at once as `wait_for` does, and `PeerNotConnected` when the block is entered.
        """
        return self._messenger.messages(self.node_id, classes, match)

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
        """Send one message as a request and iterate over the messages that the peer's handler yields, each a ``part``.

        ``part`` may be a union of classes, as with `request`. ``timeout`` is for each part, in seconds. The peer sends
        up to ``credit`` parts ahead of the one in use, by default and at most the number that the limits allow, so a
        slow consumer slows the peer's handler down. Ending the iteration cancels the peer's handler; ``aclose`` does so
        at once.

        Raises as `request` does, after the parts received before; `NotSupported` for a peer without a session.
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
    """The node that an application runs inside, if its transport has one, for example lightningd."""

    __slots__ = ("_transport",)

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def call(
        self,
        method: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        /,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the result is dropped, the request goes on
        **named: Any,
    ) -> Any:
        """Call a JSON-RPC method of the node, return its result: ``call("connect", [uri])``, ``call("ping", id=...)``.

        Parameters are passed by position or by name, in ``params`` or as keywords; node ids, bytes and the like are
        converted to JSON. ``timeout`` is in seconds, None waits for ever; a parameter of that name goes in ``params``.
        Cancelled, the result is dropped, but the node still executes the call. Raises `NodeRefused` with the node's
        error, `ConnectionClosed` if the node has gone, when it may or may not have executed the call, `TimeoutError`,
        `TransportError` where there is no host node, and `TypeError` for parameters in both places or as a text.
        """
        if params is not None and named:
            raise TypeError(
                f"call({method!r}) should have its parameters in one place, params or keywords, not in both"
            )
        if isinstance(params, (str, bytes)):
            raise TypeError(f"call({method!r}): params should be a list or a dict, not {params!r}")
        timeout = check_seconds(f"call({method!r})", timeout)
        from oddwire.transports.host import call_host  # imported late: the host node has the manifest sooner

        return await call_host(self._transport, method, to_plain(named if params is None else params), timeout=timeout)

    def __repr__(self) -> str:
        return f"<HostNode behind {type(self._transport).__name__}>"


class AppContext:
    """The argument of an extension's functions that concern no peer: hooks such as ``on_startup``, and RPC methods.

    ``app`` is the application, ``extension`` the name of the extension. There is no ``peer``: `Application.peer`
    returns the handle of any node.
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
        """The extension's own part of the store. Raises `LocalProtocolError` if the application has no store."""
        return self.app.store(self.extension)

    @property
    def logger(self) -> logging.Logger:
        """The extension's logger, ``oddwire.extension.<name>``.

        Its rate is limited per peer, and in total (`oddwire.log_limits.LogLimits`): pass the peer as an argument,
        ``logger.info("%s asks", context.peer)``. Records without a peer are limited per line of source code.
        """
        return get_logger(f"oddwire.extension.{self.extension}")

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Run the coroutine ``work`` concurrently, as a task that is cancelled and waited for at its owner's end.

        Its owner is the connection of the context's peer, or the application if the context has no peer. An exception
        is logged with its traceback, counted (`Counters.failed`) and passed to `Extension.on_error`; awaiting the task
        raises it as well. Context variables are those of the application's start. ``name`` is the task's name.

        Raises `TypeError` if ``work`` is no coroutine, `PeerNotConnected` once the peer has disconnected, and
        `LocalProtocolError` before the application starts, and once it ends spawned tasks as it closes.
        """
        return self.app._spawn(self, work, name)  # noqa: SLF001 - its own contexts

    def progress(self, done: int, total: int) -> None:
        """Show the caller of the RPC method that runs how far it is: ``done`` of ``total``, in any unit.

        lightning-cli, and at a terminal ``oddwire call`` and ``oddwire run``, draw a bar. Callers that have not enabled
        notifications see nothing, and so do those of `Application.call`; it may be called often, ten a second are sent.
        Outside of RPC methods nothing happens. Raises `ValueError` for numbers that are not 0 <= done <= total.
        """
        if not 0 <= done <= total:
            raise ValueError(
                f"progress() takes what is done and the total, 0 <= done <= total, not {done!r}, {total!r}"
            )
        show = PROGRESS.get()
        if show is not None:
            show(done, total)

    if not TYPE_CHECKING:  # type checkers report unknown attributes themselves

        def __getattr__(self, name: str) -> Any:
            text = f"a context has no {name!r}"
            if name == "peer":
                text = "this context has no peer: context.app.peer(node_id) returns one"
            elif not name.startswith("_") and hasattr(type(self.app), name):
                text += f", its application has: context.app.{name}"
            raise AttributeError(text, name=name, obj=self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.extension!r}>"


class NotProvided:
    """Placeholder for unavailable provided things: using it raises `ThingsNotThere` with the reason."""

    __slots__ = ("_why",)

    def __init__(self, why: str) -> None:
        self._why = why

    def __getitem__(self, index: int) -> NoReturn:
        raise ThingsNotThere(self._why)

    def __iter__(self) -> NoReturn:
        raise ThingsNotThere(self._why)


class ThingsNotThere(LocalProtocolError):
    """A provided thing is not created yet, could not be created, or is closed already."""


NOT_PROVIDED: Final = NotProvided("objects provided for a peer exist only while it is connected")


class Context(AppContext):
    """The argument of every handler, and of hooks that concern a peer; one object for the duration of a connection."""

    __slots__ = ("_logger", "_peer", "_things")

    def __init__(self, app: Application, extension: str, peer: Peer) -> None:
        self.app = app
        self.extension = extension
        self._peer = peer
        self._logger: PeerLogger | None = None
        # For each function of the extension that takes things provided for the peer's connection: those things
        self._things: Sequence[Any] | NotProvided = NOT_PROVIDED

    @property
    def logger(self) -> logging.Logger:
        """The extension's logger, ``oddwire.extension.<name>``, with records that have the peer's node id, ``peer``.

        Its rate is limited per peer, and in total (`oddwire.log_limits.LogLimits`).
        """
        if self._logger is None:
            from oddwire.app.peer_logger import PeerLogger  # imported late: not needed to answer a host's getmanifest

            self._logger = PeerLogger(get_logger(f"oddwire.extension.{self.extension}"), str(self._peer.node_id))
        return self._logger

    @property
    def peer(self) -> Peer:
        """The peer that sent the message, or that the hook concerns."""
        return self._peer

    def __repr__(self) -> str:
        return f"<Context of {self.extension!r} with {self._peer}>"
