"""The hooks: all that a plugin can do, each with its signature.

A plugin is any object, class instance or module, whose functions carry ``@hookimpl``; it takes as many of a hook's
parameters as it wants, by name. `Extension` is one already. Hooks that say so may also be ``async def``.
The ``register_`` hooks are called once, while the application is built; messages never pass through here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Literal

import pluggy

from oddwire.app.declarations.handlers import Handler
from oddwire.app.declarations.options import Option
from oddwire.app.declarations.rpc import RpcMethod
from oddwire.codecs.base import Codec
from oddwire.errors import DecodeError, OddwireError, Refuse
from oddwire.proto.keys import NodeId
from oddwire.records import FrozenRecord
from oddwire.schema import Message
from oddwire.transports.base import Transport

if TYPE_CHECKING:
    from oddwire.app.application import Application
    from oddwire.app.context import Peer
    from oddwire.app.declarations.providers import Provider

__all__ = ["PROJECT", "Hooks", "TraceEvent", "hookimpl", "hookspec"]

PROJECT = "oddwire"

hookspec: pluggy.HookspecMarker = pluggy.HookspecMarker(PROJECT)
hookimpl: pluggy.HookimplMarker = pluggy.HookimplMarker(PROJECT)


class TraceEvent(FrozenRecord, kw_only=True):
    """One message that came or went, or one that had come and was refused, by its handler or on the way to it.

    ``message`` is None for a payload without a schema (``error`` None) or one that did not decode (``error`` says
    why). ``error`` of a refused one is the `Refuse`, its code and text. ``handled`` is False for one received that
    nobody takes: no handler, and no request that waits for it. ``time`` is `time.monotonic` in seconds. ``latency``, in
    seconds, is known for a received message that answers a request (since that was sent) and for a sent message that a
    handler returned (since what it answers was received); else it is None.
    """

    direction: Literal["received", "sent", "refused"]
    peer: NodeId
    type_id: int
    payload: bytes
    time: float
    message: Message | None = None
    error: DecodeError | Refuse | None = None
    latency: float | None = None
    handled: bool = True

    @property
    def size(self) -> int:
        """The payload's bytes, its two-byte type included."""
        return len(self.payload)


class Hooks:
    """Every hook, in the order in which an application meets them."""

    @hookspec
    def register_codecs(self) -> Iterable[Codec]:  # type: ignore[empty-body]
        """Return codecs; messages name one with ``@message(..., codec=name)``. Two of one name fail at load."""

    @hookspec
    def register_transports(self) -> Mapping[str, Callable[..., Transport]]:  # type: ignore[empty-body]
        """Return transports by name: each a callable that takes options as keywords and returns an unopened one."""

    @hookspec
    def register_messages(self) -> Iterable[type[Message]]:  # type: ignore[empty-body]
        """Return the message classes the plugin speaks, sent or received. Two claims on one type fail at load."""

    @hookspec
    def register_handlers(self) -> Iterable[Handler]:  # type: ignore[empty-body]
        """Return handlers. Their messages and replies need not be registered again; one handler a message."""

    @hookspec
    def register_rpc(self) -> Iterable[RpcMethod]:  # type: ignore[empty-body]
        """Return RPC methods: `Application.call` reaches them, and so does a host node that has JSON-RPC."""

    @hookspec
    def register_options(self) -> Iterable[Option]:  # type: ignore[empty-body]
        """Return options, for the host node and for ``oddwire run``. Two of one name fail at load."""

    @hookspec
    def register_providers(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Return providers: what functions of all extensions may take by its type. An extension's own come first.

        Two plugins that provide one type fail at load.
        """

    @hookspec
    def startup(self, app: Application) -> Awaitable[None] | None:
        """Get ready, before the transport opens; may be async. In the order of loading. Options have their values.

        Raising stops the start: the plugins that had started are shut down, last first, and the error goes on.
        """

    @hookspec
    def ready(self, app: Application) -> Awaitable[None] | None:
        """Begin: the transport is open, and there may be peers; may be async. In the order of loading.

        Raising stops the start, as with `startup`. An extension's jobs begin when its own is done.
        """

    @hookspec
    def peer_connected(self, app: Application, peer: Peer) -> Awaitable[None] | None:
        """Greet a peer, before any message from it for the plugin is handled; may be async.

        Begun in the order of loading; plugins do not wait for each other's. That of a plugin which is no `Extension`
        and handles no messages is waited for by all that the peer sends. One that has not ended after ten seconds is
        named in the log. What it raises goes to `handler_failed`, as from `peer_disconnected` and `stopping`.
        """

    @hookspec
    def message_traced(self, app: Application, event: TraceEvent) -> None:
        """See every message, received and sent, and again if it is refused.

        Not async. With no implementation loaded, tracing costs nothing.
        """

    @hookspec
    def handler_failed(
        self, app: Application, peer: Peer | None, extension: str, message: Message | None, error: BaseException
    ) -> Awaitable[None] | None:
        """Learn that a handler raised, returned what is no message, or one that could not be sent; may be async.

        ``extension`` is the name of the plugin the handler belongs to; ``message`` is what it was handling, None
        for hooks, jobs and tasks of an extension's own. ``peer`` is None where there is none. The failure is logged
        and counted as well. The peer is told nothing of it, but that there was one, if it had sent a request.
        """

    @hookspec
    def delivery_failed(
        self, app: Application, peer: Peer, extension: str, message: Message | None, error: OddwireError
    ) -> Awaitable[None] | None:
        """Learn that a reliable message to a peer is lost: refused for good, or given up; may be async.

        ``error`` is what its receipt raises: `RemoteFailure` with the peer's code and text, or `QuotaExceeded` of
        ``outbox_seconds``. ``extension`` is the name of the plugin that sent it, in this process or an earlier one,
        empty if it is not loaded; ``message`` is None if its bytes cannot be read any more. Called once for each, and
        once more if the process ends before that is on disk. The loss is logged as well, as a warning.
        """

    @hookspec
    def peer_disconnected(self, app: Application, peer: Peer, reason: str) -> Awaitable[None] | None:
        """Take leave of a peer, after everything received from it was handled; may be async.

        The plugin's next `peer_connected` for the peer waits for it.
        """

    @hookspec
    def stopping(self, app: Application) -> Awaitable[None] | None:
        """Say goodbye: the application is about to close, peers are still there; may be async.

        In the reverse order of loading, each plugin's that had got ready, whatever another one raises. All together
        have the application's grace; what runs longer is cancelled.
        """

    @hookspec
    def shutdown(self, app: Application) -> Awaitable[None] | None:
        """Clean up, after the transport has closed; may be async. In the reverse order of loading.

        Every plugin that started is shut down, whatever another one raises.
        """
