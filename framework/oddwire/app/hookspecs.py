"""The hooks that a plugin can implement, with their signatures.

A plugin is any object, class instance or module, with functions marked ``@hookimpl``; an implementation may declare any
subset of a hook's parameters, by name. `Extension` is a plugin. Hooks described so may also be ``async def``. The
``register_`` hooks are called once, while the application is built; messages are not dispatched by hooks.
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
    from oddwire.app.declarations.jobs import Job
    from oddwire.app.declarations.middleware import Middleware
    from oddwire.app.declarations.providers import Provider

__all__ = ["PROJECT", "Hooks", "TraceEvent", "hookimpl", "hookspec"]

PROJECT = "oddwire"

hookspec: pluggy.HookspecMarker = pluggy.HookspecMarker(PROJECT)
hookimpl: pluggy.HookimplMarker = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as one of `Hooks`, by its name; it takes those of the hook's parameters that it names.

With ``tryfirst=True`` or ``trylast=True`` it is called before or after those of other plugins, as pluggy orders them.
"""


class TraceEvent(FrozenRecord, kw_only=True):
    """One message that was received or sent, or a received one that was refused, by its handler or before.

    ``message`` is None for a payload without a schema (``error`` is None) or one that did not decode (``error`` says
    why). The ``error`` of a refused message is the `Refuse`, with its code and text. ``handled`` is False for a
    received message without a handler, for which no request waits either. ``time`` is `time.monotonic`, in seconds.
    ``latency``, in seconds, is known for a received reply (since its request was sent) and for a sent reply of a
    handler (since the message that it replies to was received); else it is None.
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
        """The payload's length in bytes, including its two-byte type."""
        return len(self.payload)


class Hooks:
    """Every hook, in the order in which an application calls them."""

    @hookspec
    def register_codecs(self) -> Iterable[Codec]:  # type: ignore[empty-body]
        """Return codecs, which messages select by ``@message(..., codec=name)``. Two of one name fail at load."""

    @hookspec
    def register_transports(self) -> Mapping[str, Callable[..., Transport]]:  # type: ignore[empty-body]
        """Return transports by name: each a callable with options as keywords that returns an unopened transport."""

    @hookspec
    def register_messages(self) -> Iterable[type[Message]]:  # type: ignore[empty-body]
        """Return the message classes that the plugin sends or receives. Two classes with one type fail at load."""

    @hookspec
    def register_handlers(self) -> Iterable[Handler]:  # type: ignore[empty-body]
        """Return handlers, one per message. Their messages and replies need not be registered again."""

    @hookspec
    def register_rpc(self) -> Iterable[RpcMethod]:  # type: ignore[empty-body]
        """Return RPC methods, which `Application.call` calls, and a host node with JSON-RPC offers."""

    @hookspec
    def register_options(self) -> Iterable[Option]:  # type: ignore[empty-body]
        """Return options, for the host node and for ``oddwire run``. Two of one name fail at load."""

    @hookspec
    def register_jobs(self) -> Iterable[Job]:  # type: ignore[empty-body]
        """Return jobs: functions that are called periodically, or run as tasks, as `Extension.every` and `task` do."""

    @hookspec
    def register_providers(self) -> Iterable[Provider]:  # type: ignore[empty-body]
        """Return providers for functions of all extensions. For a type, an extension's own provider takes precedence.

        Two plugins that provide one type fail at load.
        """

    @hookspec
    def register_middleware(self) -> Iterable[Middleware]:  # type: ignore[empty-body]
        """Return functions around the handlers of all plugins, outside of the extensions' own. In the order of loading.

        What they take by type is of scope ``"app"``, and provided by the plugin or for all extensions.
        """

    @hookspec
    def startup(self, app: Application) -> Awaitable[None] | None:
        """Initialize the plugin, before the transport opens; may be async. In the order of loading. Options are set.

        An exception stops the start: plugins that have started are shut down, last first, and the exception is raised.
        """

    @hookspec
    def ready(self, app: Application) -> Awaitable[None] | None:
        """Start using the transport, which is open, and peers, if there are any; may be async. In the order of loading.

        An exception stops the start, as with `startup`. An extension's jobs begin when its own hook has ended.
        """

    @hookspec
    def peer_connected(self, app: Application, peer: Peer) -> Awaitable[None] | None:
        """Handle the connection of a peer, before its messages for the plugin are handled; may be async.

        Called in the order of loading, without waiting for other plugins' hooks. If the plugin is no `Extension` and
        handles no messages, every message of the peer waits for its hook. A hook that has not ended after ten seconds
        is logged. Exceptions go to `handler_failed`, like those of `peer_disconnected` and `stopping`.
        """

    @hookspec
    def message_traced(self, app: Application, event: TraceEvent) -> None:
        """Observe every message, received or sent, and once more if it is refused.

        Not async. With no implementation loaded, tracing costs nothing.
        """

    @hookspec
    def handler_failed(
        self,
        app: Application,
        peer: Peer | None,
        extension: str,
        message: Message | None,
        error: BaseException,
        what: str,
    ) -> Awaitable[None] | None:
        """Handle a failure: a handler raised, or its result is no message or could not be sent; may be async.

        ``extension`` is the name of the plugin whose handler, hook, job or spawned task has failed; ``message`` is the
        one that was handled, None except for handlers. ``peer`` is None if no peer is concerned. ``what`` names the
        code that has failed, by kind and name: ``handler of Ask``, ``on_connect greet``, ``@every beat``. The failure
        is logged and counted as well. The peer learns only that its request has failed, without details, and nothing if
        it did not send a request.
        """

    @hookspec
    def delivery_failed(
        self, app: Application, peer: Peer, extension: str, message: Message | None, error: OddwireError
    ) -> Awaitable[None] | None:
        """Handle the loss of a reliable message to a peer, or of one sent with `Again`; may be async.

        ``error`` is the exception that its receipt raises: `RemoteFailure` with the peer's code and text, or
        `QuotaExceeded` of ``outbox_seconds``; `ReplyTimeout` for one sent again that was not settled. ``extension`` is
        the name of the plugin that sent it, in this process or an earlier one, empty if that is not loaded; ``message``
        is None if its bytes cannot be decoded any more. Called once per message, and once more if the process ends
        before the call is recorded on disk. The loss is logged as well, as a warning.
        """

    @hookspec
    def peer_disconnected(self, app: Application, peer: Peer, reason: str) -> Awaitable[None] | None:
        """Handle the disconnection of a peer, after its messages have been handled; may be async.

        The plugin's next `peer_connected` for the peer waits for this hook.
        """

    @hookspec
    def stopping(self, app: Application) -> Awaitable[None] | None:
        """Prepare for the closing of the application, while peers are still connected; may be async.

        Called in the reverse order of loading, for each plugin whose `ready` has ended, regardless of other plugins'
        exceptions. All together have the application's grace, in seconds; a hook that runs longer is cancelled.
        """

    @hookspec
    def shutdown(self, app: Application) -> Awaitable[None] | None:
        """Clean up, after the transport has closed; may be async. In the reverse order of loading.

        Called for every plugin that has started, regardless of other plugins' exceptions.
        """
