"""Things provided for a peer's connection: created before its on_connect hooks, closed after its on_disconnect hooks.

Plugins' hooks run independently, so each plugin has its own things created, and those of others that it takes: the
first plugin that needs a thing has it created, and the last one to release it has it closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oddwire.app.context import NOT_PROVIDED, Context, NotProvided, Peer, ThingsNotThere
from oddwire.app.declarations.annotations import spell
from oddwire.exit_exceptions import spelled

if TYPE_CHECKING:
    from oddwire.app.declarations.providers import Close
    from oddwire.app.dispatch.core import Core
    from oddwire.app.dispatch.peer_queue import PeerQueue
    from oddwire.app.plugins.injection import Injector, Thing

__all__ = ["PeerThings"]


class _Made:
    """One thing of the connection: being created, created, or failed."""

    __slots__ = ("close", "ready", "users", "value", "why")

    def __init__(self, ready: asyncio.Future[None]) -> None:
        self.ready = ready  # done once the thing is created, or has failed
        self.users: set[int] = set()
        self.value: Any = None
        self.close: Close | None = None
        self.why: str | None = None  # the reason, if the provider has failed


class PeerThings:
    """All things provided for one connection. ``wanted`` are those that each plugin, by number, provides or takes."""

    def __init__(self, core: Core, queue: PeerQueue, wanted: Mapping[int, tuple[Thing, ...]]) -> None:
        self._core = core
        self._queue = queue
        self._wanted = wanted
        self._made: dict[Thing, _Made] = {}
        self.left = {*wanted}
        """The plugins, by number, whose on_disconnect hooks for the connection have not ended."""
        self.served: set[int] = set()
        """The plugins, by number, whose things were created."""
        self.doing: dict[int, str] = {}
        """The providers that plugins wait for, by the plugin's number."""

    @property
    def peer(self) -> Peer:
        """The peer of the connection."""
        return self._queue.peer

    async def make(self, number: int) -> None:
        """Create a plugin's things, and put them into its context.

        Raises a provider's exception, after releasing the plugin's things that were created before.
        """
        core = self._core
        injector = core.tables.injector
        assert injector is not None  # noqa: S101 - there are no things without an injector
        name = core.tables.owners[number - 1].name
        values: dict[Thing, Any] = {}
        thing = None
        try:
            for thing in self._wanted[number]:
                self.doing[number] = str(thing)
                values[thing] = await self._use(injector, thing, number, values)
        except BaseException:
            why = "" if thing is None else self._made[thing].why
            self._put(number, NotProvided(why or "its provider was cancelled"))
            await self._let_go(number)
            raise
        finally:
            self.doing.pop(number, None)
        self._put(number, injector.extras(name, values))
        self.served.add(number)

    def _put(self, number: int, things: Sequence[Any] | NotProvided) -> None:
        """Put things into the context object of a plugin's functions, to which waiting messages refer already."""
        queue = self._queue
        context = queue.contexts[number] or self._core.context(queue, number)
        context._things = things  # noqa: SLF001 - not part of the API

    async def _use(self, injector: Injector, thing: Thing, number: int, values: Mapping[Thing, Any]) -> Any:
        made = self._made.get(thing)
        if made is None:
            core = self._core
            made = self._made[thing] = _Made(core.loop.create_future())
            context = Context(core.app, thing.owner.name, self._queue.peer)
            try:
                made.value, made.close = await injector.make_for_peer(thing, context, values)
            except BaseException as error:
                made.why = f"{spell(thing.annotation)} is not there, as its provider failed, {thing}: {spelled(error)}"
                raise
            finally:
                if not made.ready.done():
                    made.ready.set_result(None)
        elif not made.ready.done():
            await asyncio.wait([made.ready])  # cancelling this does not cancel the provider
        if made.why is not None:
            raise ThingsNotThere(made.why)
        made.users.add(number)
        return made.value

    async def release(self, number: int) -> None:
        """Release a plugin's things, and close those that no other plugin uses. Raises the first error, at the end."""
        self._put(number, NOT_PROVIDED)
        errors = await self._let_go(number)
        try:
            if errors:
                raise errors[0]
        finally:
            errors.clear()  # a stored error refers to this frame

    async def close(self) -> None:
        """Release the things of all plugins, and close them; errors are logged."""
        for number in self._wanted:
            await self._let_go(number)

    async def _let_go(self, number: int) -> list[BaseException]:
        from oddwire.app.plugins.injection import close_all

        closing = []
        for thing, made in [*self._made.items()]:
            if number in made.users:
                made.users.discard(number)
                if not made.users:
                    del self._made[thing]
                    if made.close is not None:
                        closing.append((thing, made.close))
        return await close_all(closing)
