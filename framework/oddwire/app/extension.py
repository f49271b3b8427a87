"""`Extension`: an author's declarations, and a plugin whose methods implement the hooks."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, cast, overload

from oddwire.app.context import AppContext, Context, Peer
from oddwire.app.declarations.handlers import Handler, check_callback, parameters_behind, place, scope_of
from oddwire.app.declarations.options import Option
from oddwire.app.declarations.rpc import RpcMethod
from oddwire.app.gc_tuning import hold_collector
from oddwire.app.hookspecs import hookimpl
from oddwire.app.main_program import check_place
from oddwire.errors import ExtensionError, OddwireError
from oddwire.schema import Message, schema_of
from oddwire.session.constants import MAX_NAME, MAX_VERSIONS, is_version

if TYPE_CHECKING:
    from datetime import timedelta

    from oddwire.app.application import Application
    from oddwire.app.declarations.jobs import Job
    from oddwire.app.declarations.providers import Dependent, Provider
    from oddwire.app.limits.access import Allow
    from oddwire.session.limits import Limits

__all__ = ["Extension"]

M = TypeVar("M", bound=Message)
H = TypeVar("H", bound=Coroutine[Any, Any, Message | None] | AsyncIterator[Message])
P = ParamSpec("P")  # provided parameters, behind the fixed ones of a function
T = TypeVar("T")
ProviderFunction = TypeVar("ProviderFunction", bound=Callable[..., object])
OptionFunction = TypeVar("OptionFunction", bound=Callable[[Any], Any])
AppCallback = TypeVar("AppCallback", bound=Callable[Concatenate[AppContext, ...], Coroutine[Any, Any, None]])
ConnectCallback = TypeVar("ConnectCallback", bound=Callable[Concatenate[Context, ...], Coroutine[Any, Any, None]])
DisconnectCallback = TypeVar(
    "DisconnectCallback", bound=Callable[Concatenate[Context, str, ...], Coroutine[Any, Any, None]]
)
ErrorCallback = TypeVar(
    "ErrorCallback",
    bound=Callable[Concatenate[AppContext, BaseException, Message | None, ...], Coroutine[Any, Any, None]],
)
UndeliveredCallback = TypeVar(
    "UndeliveredCallback",
    bound=Callable[Concatenate[Context, Message | None, OddwireError, ...], Coroutine[Any, Any, None]],
)

_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_MAX_FEATURE = 32767  # a feature map of 4 KiB: BOLT 1's init holds far more, no node announces that much
_NOTHING: Any = object()  # default of a decorator's parameter: empty parentheses


class Extension:
    """A named set of messages and of the async functions that handle them.

    ``name`` is lower-case words joined by ``-`` or ``_``; ``feature`` is the odd feature bit, announced in ``init``,
    that shows peers that we support the extension. Both must be unique in an application. ``versions`` are the protocol
    versions that it speaks, numbers joined by dots; by default ``version`` is the only one. For `Peer.supports`, a peer
    whose hello lists none of them does not support the extension.

    ``allow`` says which peers may use it, all by default: node ids; a function of the `Peer`, async or not, whose
    result is cached for a minute; or ``"channels"``, peers with a channel, where the host node knows. Other peers'
    messages are refused, or ignored if they need no reply. ``limits`` are the resources of the extension that one peer
    may use, within those that the application allows each peer. Limits that are not set here are the application's
    alone, and those of `oddwire.session.limits.OF_ALL` always are. Raises `ExtensionError`.

    To implement further hooks, subclass it and add methods marked ``@hookimpl``.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str,
        feature: int | None = None,
        versions: Sequence[str] | None = None,
        allow: Allow | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.versions: tuple[str, ...] = (version,) if versions is None else (*versions,)
        self.feature = feature
        self.allow = allow
        self.limits = limits
        made_in = sys._getframe(1).f_globals  # noqa: SLF001 - errors name both sides
        self.module: str = made_in.get("__name__", "?")
        self._messages: dict[type[Message], None] = {}
        self._handlers: dict[type[Message], Handler] = {}
        self._rpc_methods: dict[str, RpcMethod] = {}
        self._options: dict[str, Option] = {}
        self._startup: list[Callable[..., Coroutine[Any, Any, None]]] = []
        self._ready: list[Callable[..., Coroutine[Any, Any, None]]] = []
        self._stopping: list[Callable[..., Coroutine[Any, Any, None]]] = []
        self._shutdown: list[Callable[..., Coroutine[Any, Any, None]]] = []
        self._error: list[Callable[..., Coroutine[Any, Any, None]]] = []
        self._jobs: list[Job] = []
        self._connect: list[Callable[..., Coroutine[Any, Any, None]]] = []
        self._disconnect: list[Callable[..., Coroutine[Any, Any, None]]] = []
        self._undelivered: list[Callable[..., Coroutine[Any, Any, None]]] = []
        self._providers: list[Provider] = []
        self.dependents: list[Dependent] = []
        """Hooks, jobs and tasks that have provided parameters."""
        if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > MAX_NAME:
            text = f"lower-case words joined by '-' or '_', {MAX_NAME} characters at most"
            raise ExtensionError(f"{self.module}: an extension's name should be {text}, not {name!r}")
        if not isinstance(version, str) or not version:
            raise ExtensionError(f"{self!r}: version should be a text such as '1.0', not {version!r}")
        if len(self.versions) > MAX_VERSIONS:
            raise ExtensionError(f"{self!r}: versions should be {MAX_VERSIONS} at most, not {len(self.versions)}")
        for spoken in self.versions:
            if not isinstance(spoken, str) or not is_version(spoken):
                where = "version" if versions is None else "versions"
                hint = "; versions=(...) lists those of its protocol" if versions is None else ""
                raise ExtensionError(f"{self!r}: {where} should be numbers joined by dots, not {spoken!r}{hint}")
        if allow is not None:
            from oddwire.app.limits.access import check_allow

            check_allow(repr(self), allow)
        if limits is not None:
            from oddwire.app.limits.access import check_limits

            check_limits(repr(self), limits)
        if feature is not None and not (type(feature) is int and feature % 2 and 0 < feature <= _MAX_FEATURE):
            # BOLT 9: an even bit is compulsory, a peer that does not know it must disconnect.
            raise ExtensionError(f"{self!r}: feature should be an odd bit from 1 to {_MAX_FEATURE}, not {feature!r}")
        if self.module == "__main__":
            _name_program(made_in)

    # What the author declares -----------------------------------------------------------------------

    def on(
        self, message: type[M] = _NOTHING, *, concurrent: bool = False, reliable: bool = False
    ) -> Callable[[Callable[Concatenate[Context, M, P], H]], Callable[Concatenate[Context, M, P], H]]:
        """Register the decorated ``async def (context, message)`` as the handler of ``message``; it returns the reply.

        Messages of one peer are handled one after the other, in the order of arrival, whatever their class; with
        ``concurrent`` each message is handled in a task of its own, up to a limit per peer, in no guaranteed order.
        Requests, messages sent with `Peer.request`, always have a task of their own; a handler may raise `Refuse`. A
        handler that yields replies to `Peer.stream`. Parameters behind the message are provided by type; see `provide`.

        With ``reliable`` the handler receives messages of `Peer.deliver`, in the order in which they were sent. Each
        takes effect once: the handler's writes to ``context.store``, its reliable messages and the record that the
        message was handled are committed together, or not at all. After an exception the handler is called again, up to
        five times in all. Its reply is sent reliably. Messages sent in other ways are units of work of their own.

        Raises `ExtensionError` for a second handler of a message, or a function with other parameters or annotations.
        """
        _check_argument(message, "on", "Ask")

        def register(function: Callable[Concatenate[Context, M, P], H]) -> Callable[Concatenate[Context, M, P], H]:
            scope = scope_of(function, sys._getframe(1))  # noqa: SLF001 - as dataclasses do
            handler = Handler(
                message=message, function=cast("Any", function), concurrent=concurrent, reliable=reliable, scope=scope
            )
            before = self._handlers.get(message)
            if before is not None:
                raise ExtensionError(
                    f"{self!r}: {message.__name__} has two handlers, {place(before.function)} and {place(function)}; "
                    "it should have one"
                )
            self._handlers[message] = handler
            return function

        return register

    def register(self, message: type[M] = _NOTHING) -> type[M]:
        """Declare a message class that no handler takes or returns: one that is sent, or the reply of a `Peer.request`.

        Works as a decorator above ``@message`` too. Raises `ExtensionError` for anything but a message class.
        """
        if message is _NOTHING:
            return self.register  # type: ignore[return-value]  # with parentheses, it is the decorator itself
        if not (isinstance(message, type) and issubclass(message, Message)):
            raise ExtensionError(f"{self!r}: register should be given a message class, not {message!r}")
        schema_of(message)
        self._messages[message] = None
        return message

    def rpc(
        self, name: str = _NOTHING, *, usage: str = "", description: str = ""
    ) -> Callable[
        [Callable[Concatenate[AppContext, P], Coroutine[Any, Any, T]]],
        Callable[Concatenate[AppContext, P], Coroutine[Any, Any, T]],
    ]:
        """Register the decorated ``async def (context, ...)`` as an RPC method of the host node; see `RpcMethod`.

        Usage and help come from its signature and docstring. Its exceptions are errors of the call: `NodeRefused` with
        its code, other errors of oddwire and `ValueError` with their text, any other exception without details.
        Parameters of a provided type are not the caller's; see `provide`. Raises `ExtensionError`.
        """
        _check_argument(name, "rpc", '"quote-ask"')

        def register(
            function: Callable[Concatenate[AppContext, P], Coroutine[Any, Any, T]],
        ) -> Callable[Concatenate[AppContext, P], Coroutine[Any, Any, T]]:
            before = self._rpc_methods.get(name)
            if before is not None:
                raise ExtensionError(
                    f"{self!r}: RPC method {name!r} is both {place(before.function)} and {place(function)}"
                )
            scope = scope_of(function, sys._getframe(1))  # noqa: SLF001 - as dataclasses do
            method = RpcMethod(name=name, function=function, usage=usage, description=description, scope=scope)
            self._rpc_methods[name] = method
            return function

        return register

    def option(
        self, name: str = _NOTHING, *, dynamic: bool = False, description: str = ""
    ) -> Callable[[OptionFunction], OptionFunction]:
        """Register the decorated ``def (value: T = default)`` as an option of the host node and of ``oddwire run``.

        Its result is the option's value, in ``app.options[name]`` and ``context.options[name]``; see `Option`. Raises
        `ExtensionError`.
        """
        _check_argument(name, "option", '"quote-asset"')

        def register(function: OptionFunction) -> OptionFunction:
            before = self._options.get(name)
            if before is not None:
                raise ExtensionError(
                    f"{self!r}: option {name!r} is both {place(before.function)} and {place(function)}"
                )
            scope = scope_of(function, sys._getframe(1))  # noqa: SLF001 - as dataclasses do
            option = Option(name=name, function=function, dynamic=dynamic, description=description, scope=scope)
            self._options[name] = option
            return function

        return register

    @overload
    def provide(self, function: ProviderFunction, /) -> ProviderFunction: ...

    @overload
    def provide(
        self, /, *, scope: Literal["app", "peer"] = "app"
    ) -> Callable[[ProviderFunction], ProviderFunction]: ...

    def provide(self, function: Any = _NOTHING, /, *, scope: Literal["app", "peer"] = "app") -> Any:
        """Register the decorated function as the provider of a type: that of its annotated return or yield value.

        Handlers, hooks, RPC methods and other providers of this extension receive the value by a parameter of that
        type, behind their fixed parameters. The provider is a ``def`` or an ``async def``; with one ``yield``, the code
        after it closes the value. Its parameters may be a context, first, and values of other providers.

        With ``scope`` ``"app"`` there is one value per application: created at its start, before ``on_startup``, where
        an exception stops the start, and closed after ``on_shutdown``. With ``"peer"`` there is one per connection:
        created before ``on_connect``, closed after ``on_disconnect``; an exception is a failure of ``on_connect``, and
        calls of functions that take values of that connection fail. Values that others need are created first and
        closed last; an exception of one does not keep others from being closed. Raises `ExtensionError`, as does
        loading the extension: for a type without a provider or with two, a cycle, and a value per peer where there is
        no peer.
        """

        def register(function: Any) -> Any:
            from oddwire.app.declarations.providers import Provider  # not for extensions without

            names = scope_of(function, sys._getframe(1 if given else 2))  # noqa: SLF001 - as dataclasses do
            self._providers.append(Provider(function=function, scope=scope, names=names))
            return function

        given = function is _NOTHING
        return register if given else register(function)

    def _take(
        self,
        function: Callable[..., Any],
        what: str,
        kind: str,
        context: type[AppContext],
        *parameters: str,
        per_peer: bool = False,
    ) -> None:
        """Check a declared function, and record its provided parameters; ``what`` is its decorator."""
        check_callback(function, kind, context, *parameters)
        self._note(function, what, parameters, per_peer, sys._getframe(2))  # noqa: SLF001 - as dataclasses do

    def _note(
        self, function: Callable[..., Any], what: str, fixed: tuple[str, ...], per_peer: bool, frame: FrameType
    ) -> None:
        if parameters_behind(function, len(fixed)):
            from oddwire.app.declarations.providers import Dependent  # not for extensions without

            names = scope_of(function, frame)
            self.dependents.append(Dependent(function=function, what=what, fixed=fixed, per_peer=per_peer, names=names))

    def on_startup(self, function: AppCallback = _NOTHING) -> AppCallback:
        """Await the decorated ``async def (context)`` before the transport opens; raising stops the start.

        Options have their values, the store is open, and `Peer.deliver` works; there are no peers yet.
        """
        if function is _NOTHING:
            return self.on_startup  # type: ignore[return-value]  # with parentheses, it is the decorator itself
        self._take(function, "on_startup", "called on startup", AppContext, "context")
        self._startup.append(function)
        return function

    def on_ready(self, function: AppCallback = _NOTHING) -> AppCallback:
        """Await the decorated ``async def (context)`` once the transport is open; raising stops the start.

        From now on there are peers: it may connect and send. If it raises, everything that has started is shut down.
        """
        if function is _NOTHING:
            return self.on_ready  # type: ignore[return-value]  # with parentheses, it is the decorator itself
        self._take(function, "on_ready", "called when ready", AppContext, "context")
        self._ready.append(function)
        return function

    def on_stopping(self, function: AppCallback = _NOTHING) -> AppCallback:
        """Await the decorated ``async def (context)`` before the application closes; the last declared goes first.

        Peers are still connected, and their messages are still handled. It has the application's ``grace``, in seconds
        and shared with the handlers, then it is cancelled. Its exception goes to `on_error`, and the application closes
        nevertheless.
        """
        if function is _NOTHING:
            return self.on_stopping  # type: ignore[return-value]  # with parentheses, it is the decorator itself
        self._take(function, "on_stopping", "called when stopping", AppContext, "context")
        self._stopping.append(function)
        return function

    def on_shutdown(self, function: AppCallback = _NOTHING) -> AppCallback:
        """Await the decorated ``async def (context)`` after the transport has closed; the last declared goes first."""
        if function is _NOTHING:
            return self.on_shutdown  # type: ignore[return-value]  # with parentheses, it is the decorator itself
        self._take(function, "on_shutdown", "called on shutdown", AppContext, "context")
        self._shutdown.append(function)
        return function

    def on_connect(self, function: ConnectCallback = _NOTHING) -> ConnectCallback:
        """Await the decorated ``async def (context)`` for each new connection, before the peer's messages are handled.

        Messages, requests, streams and reliable messages of the peer for this extension wait for the hook's end, in
        memory, within the limits; those for other extensions do not. The hook may send the peer a request, on both
        sides at once: replies do not wait. A hook that has not ended after ten seconds is logged.
        """
        if function is _NOTHING:
            return self.on_connect  # type: ignore[return-value]  # with parentheses, it is the decorator itself
        self._take(function, "on_connect", "called on connect", Context, "context", per_peer=True)
        self._connect.append(function)
        return function

    def on_disconnect(self, function: DisconnectCallback = _NOTHING) -> DisconnectCallback:
        """Await the decorated ``async def (context, reason)`` once a peer is disconnected and its messages handled."""
        if function is _NOTHING:
            return self.on_disconnect  # type: ignore[return-value]  # with parentheses, it is the decorator itself
        self._take(function, "on_disconnect", "called on disconnect", Context, "context", "reason", per_peer=True)
        self._disconnect.append(function)
        return function

    def on_undelivered(self, function: UndeliveredCallback = _NOTHING) -> UndeliveredCallback:
        """Await the decorated ``async def (context, message, error)`` for a reliable message of ours that is lost.

        The peer has refused it for good (``error`` is the `RemoteFailure`), or it was given up (`QuotaExceeded` of
        ``outbox_seconds``), whether this process sent it or an earlier one. ``message`` is None if its bytes cannot
        be decoded any more. Called once per message, and once more if the process ends before the call is recorded on
        disk.
        """
        if function is _NOTHING:
            return self.on_undelivered  # type: ignore[return-value]  # with parentheses, it is the decorator itself
        self._take(function, "on_undelivered", "called for lost messages", Context, "context", "message", "error")
        self._undelivered.append(function)
        return function

    def on_error(self, function: ErrorCallback = _NOTHING) -> ErrorCallback:
        """Await the decorated ``async def (context, error, message)`` for each failure of this extension.

        A failure is an exception of a handler, job, task of `AppContext.spawn` or hook. ``context`` is a `Context` if a
        peer is concerned; ``message`` is the one that was handled, None outside of handlers. The failure is logged
        and counted (`Counters.failed`) as well. Exceptions that stop the start, and those of ``on_shutdown``, are
        raised by `Application.start` and `Application.aclose` instead; those of an RPC method go to its caller.
        """
        if function is _NOTHING:
            return self.on_error  # type: ignore[return-value]  # with parentheses, it is the decorator itself
        self._take(function, "on_error", "called for failures", AppContext, "context", "error", "message")
        self._error.append(function)
        return function

    # Work of its own --------------------------------------------------------------------------------

    @overload
    def every(
        self,
        seconds: float | timedelta | str,
        *,
        jitter: float | timedelta = 0.0,
        at_start: bool = False,
        per_peer: Literal[False] = False,
    ) -> Callable[[AppCallback], AppCallback]: ...

    @overload
    def every(
        self,
        seconds: float | timedelta | str,
        *,
        jitter: float | timedelta = 0.0,
        at_start: bool = False,
        per_peer: Literal[True],
    ) -> Callable[[ConnectCallback], ConnectCallback]: ...

    def every(
        self,
        seconds: Any = _NOTHING,
        *,
        jitter: float | timedelta = 0.0,
        at_start: bool = False,
        per_peer: bool = False,
    ) -> Any:
        """Await the decorated ``async def (context)`` periodically, every ``seconds``, one run at a time.

        Runs are from ready to stopping, or with ``per_peer`` from the end of ``on_connect`` to the end of the
        connection. The next run begins ``seconds`` after the last has begun, or at once if that took longer; ``jitter``
        is the maximum, in seconds or a `timedelta`, of a random addition to each pause. The first run begins after a
        pause, or at once with ``at_start``. ``seconds`` may be a `timedelta`, or the name of an option, whose value is
        read for each pause. A run under way at the end is cancelled, and waited for. An exception is logged, counted
        and passed to `on_error`; the job continues.

        Raises `ExtensionError` for an invalid duration, and at load for an option that no extension has.
        """
        _check_argument(seconds, "every", "10")

        def register(function: Any) -> Any:
            from oddwire.app.declarations.jobs import EVERY, Job  # not for extensions without

            if seconds is None:
                raise ExtensionError(f"{place(function)}, @every: every should be {EVERY}, not None")
            job = Job(function=function, every=seconds, jitter=jitter, at_start=at_start, per_peer=per_peer)
            self._jobs.append(job)
            self._note(function, job.title, ("context",), per_peer, sys._getframe(1))  # noqa: SLF001 - as dataclasses do
            return function

        return register

    @overload
    def task(self, function: AppCallback, /) -> AppCallback: ...

    @overload
    def task(
        self, *, restart: bool = True, per_peer: Literal[False] = False
    ) -> Callable[[AppCallback], AppCallback]: ...

    @overload
    def task(
        self, *, restart: bool = True, per_peer: Literal[True]
    ) -> Callable[[ConnectCallback], ConnectCallback]: ...

    def task(self, function: Any = _NOTHING, *, restart: bool = True, per_peer: bool = False) -> Any:
        """Run the decorated ``async def (context)`` as a task from ready to stopping, where it is cancelled.

        With ``per_peer`` there is one task per connection, from the end of ``on_connect`` to the end of the connection.
        A function that returns is not called again. One that raises is called again if ``restart`` is true: after a
        second, two, four, and so on up to a minute, from one second again once it has run for a minute. Its exception
        is logged, counted and passed to `on_error`. Raises `ExtensionError`.
        """

        def register(function: Any) -> Any:
            from oddwire.app.declarations.jobs import Job  # not for extensions without

            job = Job(function=function, restart=restart, per_peer=per_peer)
            self._jobs.append(job)
            frame = sys._getframe(1 if given else 2)  # noqa: SLF001 - as dataclasses do
            self._note(function, job.title, ("context",), per_peer, frame)
            return function

        given = function is _NOTHING
        return register if given else register(function)

    @property
    def messages(self) -> tuple[type[Message], ...]:
        """Every message class of the extension: handled, returned by a handler, or registered."""
        found = dict.fromkeys(self._handlers)
        for handler in self._handlers.values():
            found.update(dict.fromkeys(handler.replies()))
        return (*(found | self._messages),)

    @property
    def does_nothing(self) -> bool:
        """Whether the extension has no handler, RPC method, job or hook: nothing of it would ever be called.

        False for every subclass, which may have hooks of its own.
        """
        calls = (self._startup, self._ready, self._stopping, self._shutdown, self._connect, self._disconnect)
        reports = (self._undelivered, self._error)
        return type(self) is Extension and not (
            self._handlers or self._rpc_methods or self._jobs or any(calls) or any(reports)
        )

    def run(self, argv: Sequence[str] | None = None, *, receive: Literal["hook", "notification"] | None = None) -> None:
        """Run this extension, as a plugin if lightningd started the process, else as ``oddwire run`` does; then exit.

        ``argv`` are the options of ``oddwire run`` (default ``sys.argv[1:]``). ``receive`` is the way in which
        lightningd passes messages: by its notification, which v24.02 and later have and which is the default there, or
        by its hook.

        Call it in the main thread of a script, at the script's end: raises `ExtensionError` while an event loop is
        running, in another thread, or while the script is only being imported, saying what to do instead.
        """
        check_place(self.name, sys._getframe().f_back)  # noqa: SLF001 - depends on the caller's module
        if argv is not None and (isinstance(argv, str) or not all(isinstance(each, str) for each in _listed(argv))):
            raise ExtensionError(
                f"extension.run() of {self.name!r} takes argv as a list of texts, ['--json'] say, not {argv!r:.200}"
            )
        if receive not in (None, "hook", "notification"):
            raise ExtensionError(
                f"extension.run() of {self.name!r} takes receive='hook' or 'notification', not {receive!r:.200}"
            )
        hold_collector()
        from oddwire.app.lightningd import is_hosted, run_plugin

        if is_hosted():
            run_plugin(self, receive=receive)
        # The one import of a higher layer: here, at call time, an author's script becomes the program.
        from oddwire.cli.run import run_extension

        run_extension(self, argv)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs declared by `every` and `task`."""
        return (*self._jobs,)

    def has_hook(self, name: str) -> bool:
        """Return whether a hook is not empty: ``peer_connected``, ``peer_disconnected`` or ``stopping``."""
        declared = {"peer_connected": self._connect, "peer_disconnected": self._disconnect, "stopping": self._stopping}
        return bool(declared[name]) or getattr(type(self), name) is not getattr(Extension, name)

    # Hooks that pluggy calls ------------------------------------------------------------------------

    @hookimpl
    def register_messages(self) -> tuple[type[Message], ...]:
        """Return the message classes: `messages`."""
        return self.messages

    @hookimpl
    def register_handlers(self) -> tuple[Handler, ...]:
        """Return the handlers declared by `on`."""
        return (*self._handlers.values(),)

    @hookimpl
    def register_rpc(self) -> tuple[RpcMethod, ...]:
        """Return the RPC methods declared by `rpc`."""
        return (*self._rpc_methods.values(),)

    @hookimpl
    def register_options(self) -> tuple[Option, ...]:
        """Return the options declared by `option`."""
        return (*self._options.values(),)

    @hookimpl
    async def startup(self, app: Application) -> None:
        """Await the functions of `on_startup`, in order."""
        for function in self._startup:
            await self._call(function, AppContext(app, self.name))

    @hookimpl
    async def ready(self, app: Application) -> None:
        """Await the functions of `on_ready`, in order."""
        for function in self._ready:
            await self._call(function, AppContext(app, self.name))

    @hookimpl
    async def stopping(self, app: Application) -> None:
        """Await the functions of `on_stopping`, last first; each runs, the first error is raised at the end."""
        await self._run_all(self._stopping, app)

    @hookimpl
    async def shutdown(self, app: Application) -> None:
        """Await the functions of `on_shutdown`, last first; each runs, the first error is raised at the end."""
        await self._run_all(self._shutdown, app)

    async def _run_all(self, functions: Sequence[Callable[..., Coroutine[Any, Any, None]]], app: Application) -> None:
        from asyncio import current_task  # imported late: the host node has the manifest sooner

        from oddwire.exit_exceptions import must_pass

        errors: list[BaseException] = []
        me = current_task()
        try:
            for function in reversed(functions):
                try:
                    await self._call(function, AppContext(app, self.name))
                except BaseException as error:
                    if must_pass(error, me):
                        raise
                    if errors:  # only the first error is raised
                        AppContext(app, self.name).logger.error("%s failed", place(function), exc_info=error)
                    errors.append(error)
            if errors:
                raise errors[0]
        finally:
            errors.clear()  # a stored error refers to this frame
            del me

    @hookimpl
    def handler_failed(
        self, app: Application, peer: Peer | None, extension: str, message: Message | None, error: BaseException
    ) -> Coroutine[Any, Any, None] | None:
        """Return a coroutine that awaits the functions of `on_error`; None for another extension's failure."""
        if extension != self.name or not self._error:
            return None
        context = AppContext(app, self.name) if peer is None else Context(app, self.name, peer)
        return self._call_on_error(context, error, message)

    async def _call_on_error(self, context: AppContext, error: BaseException, message: Message | None) -> None:
        for function in self._error:
            await self._call(function, context, error, message)

    @hookimpl
    async def peer_connected(self, app: Application, peer: Peer) -> None:
        """Await the functions of `on_connect`, in order."""
        for function in self._connect:
            await self._call(function, app.resources.context(app, self.name, peer))

    @hookimpl
    async def delivery_failed(
        self, app: Application, peer: Peer, extension: str, message: Message | None, error: OddwireError
    ) -> None:
        """Await the functions of `on_undelivered`, in order, for a message of this extension."""
        if extension == self.name:
            for function in self._undelivered:
                await self._call(function, Context(app, self.name, peer), message, error)

    @hookimpl
    async def peer_disconnected(self, app: Application, peer: Peer, reason: str) -> None:
        """Await the functions of `on_disconnect`, in order."""
        for function in self._disconnect:
            await self._call(function, app.resources.context(app, self.name, peer), reason)

    @hookimpl
    def register_providers(self) -> tuple[Provider, ...]:
        """Return the providers declared by `provide`, for this extension alone."""
        return (*self._providers,)

    def _call(
        self, function: Callable[..., Coroutine[Any, Any, None]], context: AppContext, *given: Any
    ) -> Coroutine[Any, Any, None]:
        """Call a declared function with its provided parameters added."""
        return context.app.resources.bound(self.name, function, 1 + len(given))(context, *given)

    def __repr__(self) -> str:
        return f"<Extension {self.name!r} of {self.module}>"


def _name_program(program: dict[str, Any]) -> None:
    """Make ``import market`` return the module of ``python market.py``: Python would run the file again, as another.

    Handlers declared in a second file would then belong to another extension object, and the one that runs would have
    none. Raises `ExtensionError` if the file has been run twice already.
    """
    main, file = sys.modules.get("__main__"), program.get("__file__")
    if main is None or vars(main) is not program or not isinstance(file, str):
        return
    if main.__spec__ is not None:  # python -m market
        name = main.__spec__.name
    else:
        folder, base = os.path.split(os.path.realpath(file))
        name = base.removesuffix(".py")
        is_package = os.path.exists(f"{folder}/{name}/__init__.py")  # noqa: PTH110
        if name == base or is_package or not sys.path or os.path.realpath(sys.path[0]) != folder:
            return  # `import` would not find this file by its name
    other = sys.modules.setdefault(name, main)
    where = getattr(other, "__file__", None)
    if other is not main and isinstance(where, str) and os.path.realpath(where) == os.path.realpath(file):
        raise ExtensionError(
            f"{file} runs twice, as the program and as module {name!r}, so it makes two extensions, each with a part "
            f"of the handlers: what imports {name!r} should be imported below the line that makes the extension"
        )


def _listed(given: object) -> Sequence[object]:
    return given if isinstance(given, (list, tuple)) else (given,)


def _check_argument(given: object, decorator: str, example: str) -> None:
    """Raise `ExtensionError` for a decorator without parentheses, or with empty ones, that needs a parameter."""
    if given is _NOTHING:
        raise ExtensionError(f"@{decorator} needs an argument: @extension.{decorator}({example}), not {decorator}()")
    if isinstance(given, FunctionType):
        raise ExtensionError(f"{place(given)}: @{decorator} needs an argument: @extension.{decorator}({example})")
