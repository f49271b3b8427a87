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
from oddwire.exit_exceptions import must_pass, spelled

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
        """The providers that plugins wait for, by the plugin's number: names for the log."""
        self.late: str | None = None
        """What is being closed, or has been cancelled while it was, last: a name for the log."""
        self.failed: dict[int, str] = {}
        """The providers that have failed, likewise, until that is logged."""

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
                self.doing[number] = self._name(thing, number)
                values[thing] = await self._use(injector, thing, number, values)
        except BaseException:
            why = "" if thing is None else self._made[thing].why
            self._put(number, NotProvided(why or "its provider was cancelled"))
            if thing is not None:
                self.failed[number] = self._name(thing, number)
            await self._let_go(number)
            raise
        finally:
            self.doing.pop(number, None)
        self._put(number, injector.extras(name, values))
        self.served.add(number)

    def _name(self, thing: Thing, number: int) -> str:
        """Return a provider's name, for a log line of the plugin that waits for it."""
        is_own = self._core.tables.owners[number - 1] is thing.owner
        return thing.title if is_own else f"on_connect with provider {thing}"

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
        """Release a plugin's things, and close those that no other plugin uses; every failure to close is reported."""
        self._put(number, NOT_PROVIDED)
        await self._let_go(number)

    async def close(self) -> None:
        """Release the things of all plugins, and close them, as `release` does."""
        for number in self._wanted:
            await self._let_go(number)

    async def _let_go(self, number: int) -> None:
        """Close the things that a plugin is the last to use, last made first: all, though one raises."""
        cancelled = False
        for thing, made in reversed([*self._made.items()]):
            if number not in made.users:
                continue
            made.users.discard(number)
            if made.users:
                continue
            del self._made[thing]
            if made.close is not None:
                cancelled |= await self._close(thing, made.close)
        if cancelled:
            raise asyncio.CancelledError

    async def _close(self, thing: Thing, close: Close) -> bool:
        """Close one thing; return whether that was cancelled."""
        before, self.late = self.late, f"closing of {thing.title} of {thing.owner.name!r}"
        try:
            await close()
            self.late = before
        except BaseException as error:
            if must_pass(error):
                if isinstance(error, asyncio.CancelledError):
                    return True
                raise
            context = Context(self._core.app, thing.owner.name, self.peer)
            self._core.failures.report(f"closing of {thing.title}", context, error)
        return False
