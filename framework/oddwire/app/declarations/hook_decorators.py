"""The decorators for hooks, periodic jobs and tasks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from oddwire.app.context import AppContext, Context
from oddwire.app.declarations.declared import NOTHING, Declared, check_argument
from oddwire.app.declarations.handlers import place, scope_of
from oddwire.errors import ExtensionError, OddwireError
from oddwire.schema import Message

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ["HookDecorators"]

M = TypeVar("M", bound=Message)
M2 = TypeVar("M2", bound=Message)
M3 = TypeVar("M3", bound=Message)
C = TypeVar("C", bound=Coroutine[Any, Any, None])
P = ParamSpec("P")  # provided parameters
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


class HookDecorators(Declared):
    """Declares what an extension does besides handling messages: hooks, jobs, tasks."""

    def on_startup(self, function: AppCallback = NOTHING) -> AppCallback:
        """Await the decorated ``async def (context)`` before the transport opens; raising stops the start.

        Options have their values, the store is open, and `Peer.deliver` works; there are no peers yet.
        """
        if function is NOTHING:
            return self.on_startup  # type: ignore[return-value]  # with parentheses, it is the decorator itself
        self._hook("on_startup", function, "called on startup", AppContext, "context")
        return function

    def on_ready(self, function: AppCallback = NOTHING) -> AppCallback:
        """Await the decorated ``async def (context)`` once the transport is open; raising stops the start.

        From now on there are peers: it may connect and send. If it raises, everything that has started is shut down.
        """
        if function is NOTHING:
            return self.on_ready  # type: ignore[return-value]  # with parentheses, it is the decorator itself
        self._hook("on_ready", function, "called when ready", AppContext, "context")
        return function

    def on_stopping(self, function: AppCallback = NOTHING) -> AppCallback:
        """Await the decorated ``async def (context)`` before the application closes; the last declared goes first.

        Peers are still connected, and their messages are still handled. It has the application's ``grace``, in seconds
        and shared with the handlers, then it is cancelled. Its exception goes to `on_error`, and the application closes
        nevertheless.
        """
        if function is NOTHING:
            return self.on_stopping  # type: ignore[return-value]  # with parentheses, it is the decorator itself
        self._hook("on_stopping", function, "called when stopping", AppContext, "context")
        return function

    def on_shutdown(self, function: AppCallback = NOTHING) -> AppCallback:
        """Await the decorated ``async def (context)`` after the transport has closed; the last declared goes first."""
        if function is NOTHING:
            return self.on_shutdown  # type: ignore[return-value]  # with parentheses, it is the decorator itself
        self._hook("on_shutdown", function, "called on shutdown", AppContext, "context")
        return function

    def on_connect(self, function: ConnectCallback = NOTHING) -> ConnectCallback:
        """Await the decorated ``async def (context)`` for each new connection, before the peer's messages are handled.

        Messages, requests, streams and reliable messages of the peer for this extension wait for the hook's end, in
        memory, within the limits; those for other extensions do not. The hook may send the peer a request, on both
        sides at once: replies do not wait. A hook that has not ended after ten seconds is logged.
        """
        if function is NOTHING:
            return self.on_connect  # type: ignore[return-value]  # with parentheses, it is the decorator itself
        self._hook("on_connect", function, "called on connect", Context, "context", per_peer=True)
        return function

    def on_disconnect(self, function: DisconnectCallback = NOTHING) -> DisconnectCallback:
        """Await the decorated ``async def (context, reason)`` once a peer is disconnected and its messages handled."""
        if function is NOTHING:
            return self.on_disconnect  # type: ignore[return-value]  # with parentheses, it is the decorator itself
        self._hook("on_disconnect", function, "called on disconnect", Context, "context", "reason", per_peer=True)
        return function

    @overload
    def on_undelivered(self, function: UndeliveredCallback, /) -> UndeliveredCallback: ...

    @overload
    def on_undelivered(self, /) -> Callable[[UndeliveredCallback], UndeliveredCallback]: ...

    @overload
    def on_undelivered(
        self, message: type[M], /
    ) -> Callable[[Callable[Concatenate[Context, M, OddwireError, P], C]], Callable[..., C]]: ...

    @overload
    def on_undelivered(
        self, first: type[M], second: type[M2], /
    ) -> Callable[[Callable[Concatenate[Context, M | M2, OddwireError, P], C]], Callable[..., C]]: ...

    @overload
    def on_undelivered(
        self, first: type[M], second: type[M2], third: type[M3], /
    ) -> Callable[[Callable[Concatenate[Context, M | M2 | M3, OddwireError, P], C]], Callable[..., C]]: ...

    @overload
    def on_undelivered(
        self, first: type[Message], second: type[Message], third: type[Message], /, *more: type[Message]
    ) -> Callable[[Callable[Concatenate[Context, Any, OddwireError, P], C]], Callable[..., C]]: ...

    def on_undelivered(self, *given: Any) -> Any:
        """Await the decorated ``async def (context, message, error)`` for a message of ours that is lost.

        Either a reliable one: the peer has refused it for good (``error`` is the `RemoteFailure`), or it has expired
        (`QuotaExceeded` of ``outbox_seconds``). Or one that was sent with `Again` and expired before it was settled
        (`ReplyTimeout`). This process may have sent it, or an earlier one. ``message`` is None if its bytes cannot be
        decoded any more. Called once per message, and once more if the process ends before the call is recorded on
        disk.

        With message classes, ``on_undelivered(Parcel, Letter)``, it is called for these alone. Raises `ExtensionError`,
        as does loading the extension: for a class that it does not register.
        """
        if not given:
            return self.on_undelivered  # with parentheses, it is the decorator itself
        kind, parameters = "called for lost messages", ("context", "message", "error")
        if len(given) == 1 and isinstance(given[0], (tuple, list, set, frozenset)):
            names = ", ".join(one.__name__ if isinstance(one, type) else repr(one) for one in given[0])
            what = type(given[0]).__name__
            raise ExtensionError(f"{self!r}: on_undelivered: pass the classes, on_undelivered({names}), not a {what}")
        if len(given) == 1 and not isinstance(given[0], type):
            self._hook("on_undelivered", given[0], kind, Context, *parameters)
            return given[0]

        def register(function: Any) -> Any:
            from oddwire.app.declarations.undelivered import Undelivered  # not for extensions without

            frame = sys._getframe(1)  # noqa: SLF001 - as dataclasses do
            self._check_hook("on_undelivered", function, kind, Context, *parameters, frame=frame)
            self._declare(Undelivered(function=function, classes=given, scope=scope_of(function, frame)))
            return function

        return register

    def on_error(self, function: ErrorCallback = NOTHING) -> ErrorCallback:
        """Await the decorated ``async def (context, error, message)`` for each failure of this extension.

        A failure is an exception of a handler, job, task of `AppContext.spawn` or hook. ``context`` is a `Context` if a
        peer is concerned; ``message`` is the one that was handled, None outside of handlers. The failure is logged
        and counted (`Counters.failed`) as well. Exceptions that stop the start, and those of ``on_shutdown``, are
        raised by `Application.start` and `Application.aclose` instead; those of an RPC method go to its caller.
        """
        if function is NOTHING:
            return self.on_error  # type: ignore[return-value]  # with parentheses, it is the decorator itself
        self._hook("on_error", function, "called for failures", AppContext, "context", "error", "message")
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
        scope: Literal["app", "cluster"] = "app",
    ) -> Callable[[AppCallback], AppCallback]: ...

    @overload
    def every(
        self,
        seconds: float | timedelta | str,
        *,
        jitter: float | timedelta = 0.0,
        at_start: bool = False,
        per_peer: Literal[True],
        scope: Literal["app"] = "app",
    ) -> Callable[[ConnectCallback], ConnectCallback]: ...

    def every(
        self,
        seconds: Any = NOTHING,
        *,
        jitter: float | timedelta = 0.0,
        at_start: bool = False,
        per_peer: bool = False,
        scope: Literal["app", "cluster"] = "app",
    ) -> Any:
        """Await the decorated ``async def (context)`` periodically, every ``seconds``, one run at a time.

        Runs are from ready to stopping, or with ``per_peer`` from the end of ``on_connect`` to the end of the
        connection. The next run begins ``seconds`` after the last has begun, or at once if that took longer; ``jitter``
        is the maximum, in seconds or a `timedelta`, of a random addition to each pause. The first run begins after a
        pause, or at once with ``at_start``. ``seconds`` may be a `timedelta`, or the name of an option, whose value is
        read for each pause. A run under way at the end is cancelled, and waited for. An exception is logged, counted
        and passed to `on_error`; the job continues.

        With ``scope="cluster"`` it runs in one program of all workers of a cluster, and in another when that one ends:
        at least once in ``seconds`` and a lease's ten, and in two at the same time only if one of them is frozen.
        Outside of a cluster that changes nothing.

        Raises `ExtensionError` for an invalid duration, and at load for an option that no extension has.
        """
        check_argument(seconds, "every", "10")

        def register(function: Any) -> Any:
            from oddwire.app.declarations.jobs import EVERY, Job  # not for extensions without

            if seconds is None:
                raise ExtensionError(f"{place(function)}, @every: every should be {EVERY}, not None")
            names = scope_of(function, sys._getframe(1))  # noqa: SLF001 - as dataclasses do
            job = Job(
                function=function,
                every=seconds,
                jitter=jitter,
                at_start=at_start,
                per_peer=per_peer,
                scope=scope,
                names=names,
            )
            self._declare(job)
            return function

        return register

    @overload
    def task(self, function: AppCallback, /) -> AppCallback: ...

    @overload
    def task(
        self, *, restart: bool = True, per_peer: Literal[False] = False, scope: Literal["app", "cluster"] = "app"
    ) -> Callable[[AppCallback], AppCallback]: ...

    @overload
    def task(
        self, *, restart: bool = True, per_peer: Literal[True], scope: Literal["app"] = "app"
    ) -> Callable[[ConnectCallback], ConnectCallback]: ...

    def task(
        self,
        function: Any = NOTHING,
        *,
        restart: bool = True,
        per_peer: bool = False,
        scope: Literal["app", "cluster"] = "app",
    ) -> Any:
        """Run the decorated ``async def (context)`` as a task from ready to stopping, where it is cancelled.

        With ``per_peer`` there is one task per connection, from the end of ``on_connect`` to the end of the connection.
        A function that returns is not called again. One that raises is called again if ``restart`` is true: after a
        second, two, four, and so on up to a minute, from one second again once it has run for a minute. Its exception
        is logged, counted and passed to `on_error`. With ``scope="cluster"`` it runs in one program of all workers of a
        cluster, from its start in another when that one ends; outside of a cluster that changes nothing. Raises
        `ExtensionError`.
        """

        def register(function: Any) -> Any:
            from oddwire.app.declarations.jobs import Job  # not for extensions without

            names = scope_of(function, sys._getframe(1 if given else 2))  # noqa: SLF001 - as dataclasses do
            self._declare(Job(function=function, restart=restart, per_peer=per_peer, scope=scope, names=names))
            return function

        given = function is NOTHING
        return register if given else register(function)
