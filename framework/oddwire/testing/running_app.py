"""`RunningApp`: the application that a fixture runs, which can be restarted, and killed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, Final, Literal, TypeAlias

from oddwire.app.application import Application
from oddwire.errors import ExtensionError, LocalProtocolError
from oddwire.proto.keys import PrivateKey
from oddwire.session.limits import Limits
from oddwire.transports.base import Transport
from oddwire.transports.memory import MemoryNetwork

__all__ = ["MakeTransport", "Recipe", "RunningApp"]

MakeTransport: TypeAlias = Literal["memory", "bolt8"] | Callable[[PrivateKey], Transport]
"""A transport's kind, or a function that makes one of a node's key."""

_UNWINDING: Final = 5  # iterations of the event loop in which dropped generators are closed

# The application that has started the running code, its handlers, jobs and the tasks that these create
_running: ContextVar[RunningApp | None] = ContextVar("oddwire_running", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What an application is made of, again at each start."""

    extensions: tuple[object, ...]
    network: MemoryNetwork
    transport: MakeTransport
    key: PrivateKey
    listen: tuple[str, ...] = ("127.0.0.1:0",)
    store: str | PathLike[str] | None
    options: Mapping[str, Any] | None
    limits: Limits | None
    session: bool
    provide: Mapping[Any, Any] | None
    grace: float
    program: int | None

    def make_transport(self) -> Transport:
        """Return a new transport. Raises `ExtensionError` for one that is not known, or not made."""
        if self.transport == "memory":
            return self.network.transport(self.key)
        if self.transport == "bolt8":
            from oddwire.transports.bolt8.transport import Bolt8Transport

            return Bolt8Transport(self.key, listen=self.listen)
        make: object = self.transport
        if not callable(make):
            should = "'memory', 'bolt8', or a function that makes a transport of a PrivateKey"
            raise ExtensionError(f"transport should be {should}, not {make!r:.200}")
        made: object = make(self.key)
        if not isinstance(made, Transport):
            raise ExtensionError(f"transport should make a Transport of a PrivateKey, not {made!r:.200}")
        return made


class RunningApp(Application):
    """An `Application` run by a fixture. It can be restarted, with all that it was made of."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._restarting = False
        self._build()

    def _build(self) -> None:
        recipe = self._recipe
        Application.__init__(
            self,
            *recipe.extensions,
            transport=recipe.make_transport(),
            options=recipe.options,
            store=recipe.store,
            limits=recipe.limits,
            session=recipe.session,
            grace=recipe.grace,
            program=recipe.program,
            provide=recipe.provide,
        )

    async def start(self) -> None:
        """Start, as any application does; on bolt8, the port stays the same from now on."""
        token = _running.set(self)  # for the contexts that it copies
        try:
            await super().start()
        finally:
            _running.reset(token)
        if self._recipe.transport == "bolt8":
            self._recipe = replace(self._recipe, listen=tuple(uri.partition("@")[2] for uri in self.uris))

    async def restart(self, *extensions: object, kill: bool = False) -> None:
        """End, unless it has ended, and start again with the same key, store, options, limits and things provided.

        Handles of peers, contexts and receipts from before the restart fail as those of a closed application do, and no
        peer is connected. ``extensions``, if given, replace the previous ones.

        With ``kill`` it ends as by SIGKILL: no hook is called, no provider resumed behind its ``yield``, no peer told,
        what is under way to and from peers is lost, and so is what the store has not committed. Handlers and jobs are
        cancelled; their ``finally`` blocks run in this process all the same, and reach neither a peer nor the store.

        Raises what a shutdown hook raises, and what `Application` and `start` do; and `LocalProtocolError` in a handler
        or job of its own, or a task that one has created, which would wait for itself, and while another restart is
        under way.
        """
        if self._restarting:
            raise LocalProtocolError("this application is being restarted already: await its start first")
        if self._is_working_on(asyncio.current_task()) or (self._starter is None and _running.get() is self):
            raise LocalProtocolError("restart would wait for the handler that called it: let the test do that")
        self._restarting = True
        try:
            await self._restart(extensions, kill)
        finally:
            self._restarting = False

    async def _restart(self, extensions: tuple[object, ...], kill: bool) -> None:
        if kill:
            await self._kill()
        elif self._closing is None or not self._closing.done():  # else it has ended, and what that raised was raised
            await self.aclose()
        if extensions:
            self._recipe = replace(self._recipe, extensions=extensions)
        self._build()
        await self.start()

    async def _kill(self) -> None:
        if self._closing is None or not self._closing.done():
            await self._abandon()
        gc.collect()  # generators of providers may be in cycles with what they provide
        for _ in range(_UNWINDING):
            await asyncio.sleep(0)
