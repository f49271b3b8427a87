"""The decorators for messages and their handlers, RPC methods, options, and what is provided."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, cast, overload

from oddwire.app.context import AppContext, Context
from oddwire.app.declarations.declared import NOTHING, Declared, RegisteredMessage, check_argument
from oddwire.app.declarations.handlers import Handler, place, scope_of
from oddwire.app.declarations.options import Option
from oddwire.app.declarations.rpc import RpcMethod
from oddwire.errors import ExtensionError
from oddwire.records import replace
from oddwire.schema import Message, schema_of

if TYPE_CHECKING:
    from oddwire.app.declarations.middleware import CallNext

__all__ = ["MessageDecorators", "check_once"]

M = TypeVar("M", bound=Message)
H = TypeVar("H", bound=Coroutine[Any, Any, Message | None] | AsyncIterator[Message])
P = ParamSpec("P")  # provided parameters, behind the fixed ones of a function
T = TypeVar("T")
ProviderFunction = TypeVar("ProviderFunction", bound=Callable[..., object])
OptionFunction = TypeVar("OptionFunction", bound=Callable[[Any], Any])
UnknownFunction = TypeVar(
    "UnknownFunction", bound=Callable[Concatenate[Context, int, bytes, ...], Coroutine[Any, Any, None]]
)
MiddlewareFunction = TypeVar(
    "MiddlewareFunction",
    bound="Callable[Concatenate[Context, Message, CallNext, ...], Coroutine[Any, Any, Message | None]]",
)


class MessageDecorators(Declared):
    """Declares messages and their handlers, with what these need, RPC methods and options."""

    def handlers(self) -> list[Handler]:
        """Return the handlers, in order, each with the middleware that is around it."""
        found: list[Handler] = []
        for one in self._declarations:
            if isinstance(one, MessageDecorators):
                found += one.handlers()
            elif isinstance(one, Handler):
                found.append(one)
        middleware = sys.modules.get("oddwire.app.declarations.middleware")  # loaded with the first one
        if middleware is None:
            return found
        own = [one for one in self._declarations if isinstance(one, middleware.Middleware)]
        return [replace(handler, middleware=(*own, *handler.middleware)) for handler in found] if own else found

    def _declare_once(self, declaration: Handler | RpcMethod | Option) -> None:
        check_once(repr(self), [*self.declared(type(declaration)), declaration])
        self._declare(declaration)

    def on(
        self,
        message: type[M] = NOTHING,
        *,
        concurrent: bool = False,
        reliable: bool = False,
        rate: float | None = None,
        burst: float | None = None,
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

        ``rate`` is the maximum number of messages per second from one peer, after the first ``burst``, by default a
        second's worth. Beyond it, requests are refused (`Code.QUOTA`), reliable messages wait, and after a plain one
        the peer is read later.

        Raises `ExtensionError` for a second handler of a message, or a function with other parameters or annotations.
        """
        check_argument(message, "on", "Ask")

        def register(function: Callable[Concatenate[Context, M, P], H]) -> Callable[Concatenate[Context, M, P], H]:
            scope = scope_of(function, sys._getframe(1))  # noqa: SLF001 - as dataclasses do
            handler = Handler(
                message=message,
                function=cast("Any", function),
                concurrent=concurrent,
                reliable=reliable,
                rate=rate,
                burst=burst,
                scope=scope,
            )
            self._declare_once(handler)
            return function

        return register

    def register(self, message: type[M] = NOTHING) -> type[M]:
        """Declare a message class that no handler takes or returns: one that is sent, or the reply of a `Peer.request`.

        Works as a decorator above ``@message`` too. Raises `ExtensionError` for anything but a message class.
        """
        if message is NOTHING:
            return self.register  # type: ignore[return-value]  # with parentheses, it is the decorator itself
        given: object = message
        if not (isinstance(given, type) and issubclass(given, Message)):
            hint = ""
            if isinstance(given, tuple | list) or hasattr(given, "messages") or hasattr(given, "PROTOCOL"):
                hint = "; of several, each: for message in PROTOCOL.messages: extension.register(message)"
            raise ExtensionError(f"{self!r}: register should be given a message class, not {given!r:.100}{hint}")
        schema_of(message)
        self._declare(RegisteredMessage(message=message))
        return message

    def on_unknown(self, *types: int | range, spec: bool = False) -> Callable[[UnknownFunction], UnknownFunction]:
        """Register the decorated ``async def (context, type_id, data)`` for types without a message class.

        ``types`` are numbers and ranges. It receives what peers send plainly under them, in the order of arrival:
        the number, and the bytes behind it. Requests, reliable messages, and what comes in fragments are refused.
        ``spec`` is as with `message`. Parameters behind ``data`` are provided by type; see `provide`. `Peer.send_raw`
        sends such bytes.

        Raises `ExtensionError` for anything but such numbers, and, at load, `TypeConflict` for a number that a loaded
        extension has a message or another function for.
        """
        check_argument(types[0] if len(types) == 1 else types or NOTHING, "on_unknown", "range(0x9001, 0x9081, 2)")

        def register(function: UnknownFunction) -> UnknownFunction:
            from oddwire.app.declarations.unknown import UnknownHandler  # not for extensions without

            handler = UnknownHandler(types=types, function=function, spec=spec)
            self._declare(handler)
            fixed, frame = ("context", "type_id", "data"), sys._getframe(1)  # noqa: SLF001 - as dataclasses do
            self._note(function, "on_unknown", fixed, True, frame)
            return function

        return register

    def middleware(self, function: MiddlewareFunction = NOTHING) -> MiddlewareFunction:
        """Await the decorated ``async def (context, message, call_next)`` in place of each handler.

        It returns the reply, or None: what ``await call_next(message)`` returned, or something else, without calling
        the handler if it likes. It may raise `Refuse`; what it raises is treated as a handler's exception. The first
        declared is the outermost. That of a router is for its own handlers and those of routers that it includes.
        Around a handler that yields, ``call_next`` returns None once the last part was sent, and a message that the
        middleware returns is one more part. Parameters behind ``call_next`` are provided by type; see `provide`. Raises
        `ExtensionError`.
        """
        if function is NOTHING:
            return self.middleware  # type: ignore[return-value]  # with parentheses, it is the decorator itself
        from oddwire.app.declarations.middleware import Middleware  # not for extensions without

        names = scope_of(function, sys._getframe(1))  # noqa: SLF001 - as dataclasses do
        middleware = Middleware(function=function, names=names)
        self._declare(middleware)
        if (dependent := middleware.dependent()) is not None:
            self._declare(dependent)
        return function

    def rpc(
        self, name: str = NOTHING, *, usage: str = "", description: str = ""
    ) -> Callable[
        [Callable[Concatenate[AppContext, P], Coroutine[Any, Any, T]]],
        Callable[Concatenate[AppContext, P], Coroutine[Any, Any, T]],
    ]:
        """Register the decorated ``async def (context, ...)`` as an RPC method of the host node; see `RpcMethod`.

        Usage and help come from its signature and docstring. Its exceptions are errors of the call: `RpcError` with its
        code, text and data, `NodeRefused` with its code, other errors of oddwire and `ValueError` with their text, any
        other exception without details.
        Parameters of a provided type are not the caller's; see `provide`. Raises `ExtensionError`.
        """
        check_argument(name, "rpc", '"quote-ask"')

        def register(
            function: Callable[Concatenate[AppContext, P], Coroutine[Any, Any, T]],
        ) -> Callable[Concatenate[AppContext, P], Coroutine[Any, Any, T]]:
            scope = scope_of(function, sys._getframe(1))  # noqa: SLF001 - as dataclasses do
            method = RpcMethod(name=name, function=function, usage=usage, description=description, scope=scope)
            self._declare_once(method)
            return function

        return register

    def option(
        self, name: str = NOTHING, *, dynamic: bool = False, description: str = ""
    ) -> Callable[[OptionFunction], OptionFunction]:
        """Register the decorated ``def (value: T = default)`` as an option of the host node and of ``oddwire run``.

        Its result is the option's value, in ``app.options[name]`` and ``context.options[name]``; see `Option`. Raises
        `ExtensionError`.
        """
        check_argument(name, "option", '"quote-asset"')

        def register(function: OptionFunction) -> OptionFunction:
            scope = scope_of(function, sys._getframe(1))  # noqa: SLF001 - as dataclasses do
            option = Option(name=name, function=function, dynamic=dynamic, description=description, scope=scope)
            self._declare_once(option)
            return function

        return register

    @overload
    def provide(self, function: ProviderFunction, /) -> ProviderFunction: ...

    @overload
    def provide(
        self, /, *, per_peer: bool = False, scope: Literal["app", "peer"] = "app"
    ) -> Callable[[ProviderFunction], ProviderFunction]: ...

    def provide(
        self, function: Any = NOTHING, /, *, per_peer: Any = False, scope: Literal["app", "peer"] = "app"
    ) -> Any:
        """Register the decorated function as the provider of a type: that of its annotated return or yield value.

        Handlers, hooks, RPC methods and other providers of this extension receive the value by a parameter of that
        type, behind their fixed parameters. The provider is a ``def`` or an ``async def``; with one ``yield``, the code
        after it closes the value. Its parameters may be a context, first, and values of other providers.

        There is one value per application: created at its start, before ``on_startup``, where an exception stops the
        start, and closed after ``on_shutdown``. With ``per_peer``, or ``scope="peer"``, there is one per connection:
        created before ``on_connect``, closed after ``on_disconnect``; an exception is a failure of ``on_connect``, and
        calls of functions that take values of that connection fail. Values that others need are created first and
        closed last; an exception of one does not keep others from being closed. Raises `ExtensionError`, as does
        loading the extension: for a type without a provider or with two, a cycle, and a value per peer where there is
        no peer.
        """

        def register(function: Any) -> Any:
            from oddwire.app.declarations.providers import Provider  # not for extensions without

            if not isinstance(per_peer, bool):
                text = f"per_peer should be True or False, not {per_peer!r:.100}"
                raise ExtensionError(f"provider {place(function)}: {text}")
            names = scope_of(function, sys._getframe(1 if given else 2))  # noqa: SLF001 - as dataclasses do
            self._declare(Provider(function=function, scope="peer" if per_peer else scope, names=names))
            return function

        given = function is NOTHING
        return register if given else register(function)


def check_once(who: str, declarations: Sequence[Handler | RpcMethod | Option]) -> None:
    """Raise `ExtensionError` for two handlers of one message, or two RPC methods or options of one name."""
    seen: dict[object, Handler | RpcMethod | Option] = {}
    for one in declarations:
        before = seen.setdefault(one.message if isinstance(one, Handler) else one.name, one)
        if before is one:
            continue
        both = place(before.function), place(one.function)
        if isinstance(one, Handler):
            name = one.message.__name__
            raise ExtensionError(f"{who}: {name} has two handlers, {both[0]} and {both[1]}; it should have one")
        kind = "option" if isinstance(one, Option) else "RPC method"
        raise ExtensionError(f"{who}: {kind} {one.name!r} is both {both[0]} and {both[1]}")
