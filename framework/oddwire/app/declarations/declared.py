"""What a module declares by decorators, in order, together with what it includes from other modules."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from functools import partial
from types import FrameType, FunctionType
from typing import Any, Final, Literal, TypeVar

from oddwire.app.context import AppContext
from oddwire.app.declarations.handlers import check_callback, parameters_behind, place, scope_of
from oddwire.errors import ExtensionError
from oddwire.records import FrozenRecord
from oddwire.schema import Message

__all__ = [
    "LATE",
    "NOTHING",
    "Declared",
    "Hook",
    "HookFunction",
    "LateCheck",
    "RegisteredMessage",
    "check_argument",
    "spelled_declaration",
    "takes_effect",
]

T = TypeVar("T")

HookFunction = Callable[..., Coroutine[Any, Any, None]]

NOTHING: Any = object()
"""Default of a decorator's parameter: empty parentheses."""

LATE: Final = "is declared after its application was {}, and would not be part of it; declare everything before"
"""The text of an error, for ``made`` or ``started``."""

_OUTER: Final = 2  # frames from `_hook` to the caller of the decorator


class Hook(FrozenRecord, kw_only=True):
    """A function for one of an extension's hooks; ``name`` is that of the decorator, as ``on_connect``."""

    name: str
    function: HookFunction

    def applies_to(self, message: Message | None) -> bool:
        """Return whether the function is to be called for this message; it is, unless it names classes of messages."""
        return True


class RegisteredMessage(FrozenRecord, kw_only=True):
    """A message class that is declared without a handler."""

    message: type[Message]


class LateCheck(FrozenRecord, kw_only=True):
    """A check of a declaration that can only be made when all of the author's modules are imported."""

    check: Callable[[], object]


class Declared:
    """A list of declarations, and of others included at their place. ``module`` is the name of the author's module."""

    def __init__(self, module: str) -> None:
        self.module = module
        self._declarations: list[object] = []
        self._running = 0  # applications that run what is declared here

    def declared(self, kind: type[T]) -> list[T]:
        """Return the declarations of one kind, in order, those of what is included at its place."""
        found: list[T] = []
        for one in self._declarations:
            if isinstance(one, Declared):
                found += one.declared(kind)
            elif isinstance(one, kind):
                found.append(one)
        return found

    def hook_functions(self, name: str) -> list[HookFunction]:
        """Return the functions of a hook, in order; ``name`` is that of the decorator, as ``on_connect``."""
        return [hook.function for hook in self.declared(Hook) if hook.name == name]

    def everything(self) -> list[object]:
        """Return all declarations, in order, those of what is included at its place."""
        found: list[object] = []
        for one in self._declarations:
            found += one.everything() if isinstance(one, Declared) else (one,)
        return found

    def hold(self, more: Literal[1, -1]) -> None:
        """Count one application more that runs what is declared here, or one less: while one does, nothing is added."""
        self._running += more
        for one in self._declarations:
            if isinstance(one, Declared):
                one.hold(more)

    def _of(self, module: str, kind: str) -> list[Any]:
        """Return the declarations of a kind whose module is loaded with the first of them, and not before."""
        loaded = sys.modules.get(f"oddwire.app.declarations.{module}")
        return [] if loaded is None else self.declared(getattr(loaded, kind))

    def _declare(self, declaration: object) -> None:
        if self._running and not takes_effect(declaration):
            raise ExtensionError(f"{spelled_declaration(declaration)} {LATE.format('started')}")
        self._declarations.append(declaration)

    def _hook(
        self,
        name: str,
        function: HookFunction,
        kind: str,
        context: type[AppContext],
        *parameters: str,
        per_peer: bool = False,
    ) -> None:
        """Check and declare the function of a hook, and its provided parameters."""
        frame = sys._getframe(_OUTER)  # noqa: SLF001 - as dataclasses do
        self._check_hook(name, function, kind, context, *parameters, per_peer=per_peer, frame=frame)
        self._declare(Hook(name=name, function=function))

    def _check_hook(
        self,
        name: str,
        function: HookFunction,
        kind: str,
        context: type[AppContext],
        *parameters: str,
        per_peer: bool = False,
        frame: FrameType,
    ) -> None:
        """Check the function of a hook, now and when it is loaded, and declare its provided parameters."""
        scope = scope_of(function, frame)
        if not check_callback(function, kind, context, *parameters, scope=scope):  # an annotation's name comes later
            check = partial(check_callback, function, kind, context, *parameters, scope=scope, late=True)
            self._declare(LateCheck(check=check))
        self._note(function, name, parameters, per_peer, frame)

    def _note(
        self, function: Callable[..., Any], what: str, fixed: tuple[str, ...], per_peer: bool, frame: FrameType
    ) -> None:
        """Declare the provided parameters of a function, if it has any; ``what`` is its decorator."""
        if parameters_behind(function, len(fixed)):
            from oddwire.app.declarations.providers import Dependent  # not for extensions without

            names = scope_of(function, frame)
            self._declare(Dependent(function=function, what=what, fixed=fixed, per_peer=per_peer, names=names))


def takes_effect(declaration: object) -> bool:
    """Return whether an application made before has it all the same: hooks are looked up when they are called."""
    return isinstance(declaration, (Hook, LateCheck))


def spelled_declaration(declaration: object) -> str:
    """Return how an error names a declaration: by its function or class, where it has one."""
    for name in ("function", "message"):
        if (found := getattr(declaration, name, None)) is not None:
            return place(found)
    return repr(declaration)


def check_argument(given: object, decorator: str, example: str) -> None:
    """Raise `ExtensionError` for a decorator without parentheses, or with empty ones, that needs a parameter."""
    if given is NOTHING:
        raise ExtensionError(f"@{decorator} needs an argument: @extension.{decorator}({example}), not {decorator}()")
    if isinstance(given, FunctionType):
        raise ExtensionError(f"{place(given)}: @{decorator} needs an argument: @extension.{decorator}({example})")
