"""`Entering`: what a fixture returns, to be entered with ``async with``; whoever uses it otherwise is told."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import wraps
from types import TracebackType
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar

__all__ = ["Entering", "entering"]

T = TypeVar("T")
P = ParamSpec("P")


class Entering(AbstractAsyncContextManager[T], Generic[T]):
    """An asynchronous context, of a call spelled ``call``, whose errors say how it is entered: ``as name``."""

    def __init__(self, context: AbstractAsyncContextManager[T], call: str, name: str) -> None:
        self._context = context
        self._hint = f"{call} has to be entered first: 'async with {call} as {name}:'"

    async def __aenter__(self) -> T:
        return await self._context.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._context.__aexit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<{self._hint}>"

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"no {name!r} here: {self._hint}", name=name, obj=self)

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError(self._hint)

    __await__ = __enter__ = __exit__ = __getitem__ = __iter__ = _refuse


def entering(
    call: str, name: str
) -> Callable[[Callable[P, AbstractAsyncContextManager[T]]], Callable[P, AbstractAsyncContextManager[T]]]:
    """Decorate what makes contexts: they are `Entering`."""

    def decorate(make: Callable[P, AbstractAsyncContextManager[T]]) -> Callable[P, AbstractAsyncContextManager[T]]:
        @wraps(make)
        def made(*given: P.args, **named: P.kwargs) -> Any:
            return Entering(make(*given, **named), call, name)

        return made

    return decorate
