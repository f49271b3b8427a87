"""What is provided for a peer's connection: made before its on_connect hooks, closed after its on_disconnect hooks.

Each plugin's hooks run by themselves, so each has its own things made, and of others' those that it takes: whoever
comes first has them made, and whoever ends last has them closed.
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
    """One thing of the connection: on its way, made, or failed."""

    __slots__ = ("close", "ready", "users", "value", "why")

    def __init__(self, ready: asyncio.Future[None]) -> None:
        self.ready = ready  # done once it is made, or has failed
        self.users: set[int] = set()
        self.value: Any = None
        self.close: Close | None = None
        self.why: str | None = None  # it has failed


class PeerThings:
    """All that is provided for one connection. ``wanted`` are the things that each plugin, by number, has or takes."""

    def __init__(self, core: Core, queue: PeerQueue, wanted: Mapping[int, tuple[Thing, ...]]) -> None:
        self._core = core
        self._queue = queue
        self._wanted = wanted
        self._made: dict[Thing, _Made] = {}
        self.left = {*wanted}
        """The plugins that have not taken their leave of the connection."""
        self.served: set[int] = set()
        """Those whose things were made."""
        self.doing: dict[int, str] = {}
        """The providers that plugins wait for, by number."""

    @property
    def peer(self) -> Peer:
        """Whose connection it is."""
        return self._queue.peer

    async def make(self, number: int) -> None:
        """Have a plugin's things made, and put into its context. Raises what a provider raises; all is closed then."""
        core = self._core
        injector = core.router.injector
        assert injector is not None  # noqa: S101 - who makes something is told by it
        name = core.router.owners[number - 1].name
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
        """Put things into the context that a plugin's functions get: what waits to be handled has it already."""
        queue = self._queue
        context = queue.contexts[number] or self._core.context(queue, number)
        context._things = things  # noqa: SLF001 - nobody else's business

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
            await asyncio.wait([made.ready])  # to be cancelled leaves it alone
        if made.why is not None:
            raise ThingsNotThere(made.why)
        made.users.add(number)
        return made.value

    async def release(self, number: int) -> None:
        """Take a plugin's things back, and close those that nobody else has, all of them. Raises the first error."""
        self._put(number, NOT_PROVIDED)
        errors = await self._let_go(number)
        try:
            if errors:
                raise errors[0]
        finally:
            errors.clear()  # an error that is kept has this frame

    async def close(self) -> None:
        """Close whatever is left."""
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
