"""Middleware: functions that are called around the handlers of messages."""

from __future__ import annotations

import dis
import inspect
import types
import typing
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from oddwire.app.context import Context
from oddwire.app.declarations.annotations import alternatives, evaluate, peel, spell
from oddwire.app.declarations.handlers import check_callback, parameters_behind, parameters_of, place
from oddwire.errors import ExtensionError
from oddwire.records import FrozenRecord
from oddwire.schema import Message, schema_of

if TYPE_CHECKING:
    from oddwire.app.declarations.providers import Dependent

__all__ = ["CallNext", "Middleware", "Pump", "around", "around_stream"]

CallNext = Callable[[Message], Coroutine[Any, Any, Message | None]]
"""The next middleware, or the handler: called with the message, it returns the reply."""

_Run = Callable[[Context, Any], Coroutine[Any, Any, Message | None]]
Pump = Callable[[Context, Any, Callable[[Message], Awaitable[bool]]], Coroutine[Any, Any, Message | None]]
"""Runs a handler that yields, with middleware around it, and passes each part to the third argument.

That returns False if nobody wants any more parts. The result is one more part, or None.
"""

_FIXED: Final = ("context", "message", "call_next")


class Middleware(FrozenRecord, kw_only=True, hidden=("names",)):
    """One async function that is awaited in place of handlers, and calls them.

    ``function`` is called with the handler's `Context`, the message, and `CallNext`; it returns the reply, or None.
    Raises `ExtensionError`.
    """

    function: Callable[..., Coroutine[Any, Any, Message | None]]
    names: Mapping[str, Any] = types.MappingProxyType({})
    """Names that annotations may use besides the function's globals, for a function made inside another."""

    def __post_init__(self) -> None:
        check_callback(self.function, "middleware", Context, *_FIXED)

    def replies(self) -> tuple[type[Message], ...]:
        """Check the annotations, and return the message classes that the result's names, besides `Message`.

        Raises `ExtensionError`, also for a function that returns nothing: the reply would be lost.
        """
        parameter = (*parameters_of(self.function),)[1]
        try:
            hints = evaluate(self.function, (parameter, "return"), self.names)
        except NameError as error:
            raise self._wrong(str(error)) from None
        accepted = alternatives(hints.get(parameter, Any))
        if not any(one is Any or one is Message or not isinstance(one, type) for one in accepted):
            shown = spell(hints[parameter])
            raise self._wrong(f"parameter {parameter!r} should be Message, as all messages come here, not {shown}")
        found: list[type[Message]] = []
        returned = alternatives(hints.get("return", Any))
        if returned == (types.NoneType,) or _drops_the_reply(self.function):
            returns = "'return await call_next(message)', -> Message | None"
            raise self._wrong(f"should return what call_next returned, the reply: {returns}")
        for one in returned:
            if one in (types.NoneType, Any, Message, typing.NoReturn, typing.Never):
                continue
            if not (isinstance(one, type) and issubclass(one, Message)):
                raise self._wrong(f"should return a message class or None, not {spell(one)}")
            schema_of(one)
            found.append(one)
        return tuple(found)

    def dependent(self, *, per_peer: bool = True) -> Dependent | None:
        """Return the function with its provided parameters, None if it has none."""
        if not parameters_behind(self.function, len(_FIXED)):
            return None
        from oddwire.app.declarations.providers import Dependent  # not for extensions without

        return Dependent(function=self.function, what="middleware", fixed=_FIXED, per_peer=per_peer, names=self.names)

    def _wrong(self, text: str) -> ExtensionError:
        return ExtensionError(f"{place(self.function)}, middleware: {text}")


def _drops_the_reply(function: Any) -> bool:
    """Return whether a function has ``call_next`` called, and never returns anything but None, by its byte code."""
    function = inspect.unwrap(peel(function))
    call = getattr(function, "__call__", None)  # noqa: B004 - that of an object whose class has one
    code = getattr(function, "__code__", None) or getattr(call, "__code__", None)
    names = (*parameters_of(function),)
    if code is None or len(names) < len(_FIXED):
        return False
    before: dis.Instruction | None = None
    calls = False
    for instruction in dis.get_instructions(code):
        name, value = instruction.opname, instruction.argval
        if name.startswith("LOAD_") and (value == names[2] or (isinstance(value, tuple) and names[2] in value)):
            calls = True
        elif name == "RETURN_CONST" and value is not None:
            return False
        elif name == "RETURN_VALUE":
            is_none = before is not None and before.opname.startswith("LOAD_") and before.argval is None
            if not is_none or instruction.is_jump_target:  # what comes by the jump may be a value
                return False
        before = instruction
    return calls


def around(functions: Sequence[Callable[..., Any]], run: _Run) -> _Run:
    """Return ``run``, a handler, with middleware around it, the first outermost."""
    for function in reversed(functions):
        run = _wrap(function, run)
    return run


def around_stream(
    functions: Sequence[Callable[..., Any]], stream: Callable[[Context, Any], AsyncGenerator[Message, None]]
) -> Pump:
    """Return a handler that yields as a `Pump`, with middleware around it, the first outermost."""

    async def pump(context: Context, given: Message, take: Callable[[Message], Awaitable[bool]]) -> Message | None:
        async def run(context: Context, message: Message) -> None:
            async with aclosing(stream(context, message)) as parts:
                async for part in parts:
                    if not await take(part):
                        return

        return await around(functions, run)(context, given)

    return pump


def _wrap(function: Callable[..., Any], run: _Run) -> _Run:
    def handle(context: Context, message: Message) -> Coroutine[Any, Any, Message | None]:
        wanted = type(message)

        def call_next(message: Message) -> Coroutine[Any, Any, Message | None]:
            if type(message) is not wanted:
                found = type(message).__name__
                raise TypeError(f"{place(function)}: call_next takes {wanted.__name__} here, not {found}")
            return run(context, message)

        found: Coroutine[Any, Any, Message | None] = function(context, message, call_next)
        return found

    return handle
