"""What an application keeps beside its messages: the store, the guards of its extensions. Made when they are needed."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from oddwire.app.plugins.router import Router
from oddwire.errors import ExtensionError, LocalProtocolError, StoreError
from oddwire.transports.base import Transport

if TYPE_CHECKING:
    from oddwire.app.dispatch.dispatcher import Dispatcher
    from oddwire.app.dispatch.reliable_handlers import ReliableHandlers
    from oddwire.app.limits.access import AccessControl
    from oddwire.session.limits import Limits
    from oddwire.session.store.extension_store import ExtensionStore

__all__ = ["Resources"]


class Resources:
    """The store and the guards. Raises `ExtensionError` if there are reliable handlers and no store for them."""

    def __init__(
        self,
        router: Router,
        transport: Transport,
        store: str | os.PathLike[str] | None,
        limits: Limits | None,
        session: bool,
    ) -> None:
        self._router = router
        self._transport = transport
        self._path = None if store is None else os.fspath(store)
        self._limits = limits
        self._deliveries: ReliableHandlers | None = None
        self._dispatcher: Dispatcher | None = None
        self._running = False
        self._guards: dict[str, AccessControl] = {}
        self._number = int.from_bytes(os.urandom(8), "big")  # of the store, if it is made
        self.patience = 0.0
        """Seconds to wait at the start for a store that another process has: one that is about to end, say."""
        self.explain: Callable[[StoreError], StoreError] = lambda error: error
        """Says more, where the host can, of a store that cannot be opened at the start."""
        self.on_new_store: Callable[[Collection[str]], object] | None = None
        """Called in the store's thread when its file is made, with the names of the extensions."""
        if router.reliable and (store is None or not session):
            names = ", ".join(message.__name__ for message in router.reliable)
            needed = "a session" if not session else "a store: Application(store=path)"
            raise ExtensionError(f"handlers of reliable messages ({names}) need {needed}")

    async def prepare(self) -> dict[str, AccessControl]:
        """Open the store, if it is sure to be needed, and give the guards, by extension.

        Raises `StoreError`, and `ExtensionError` for a guard that the transport has no answers for.
        """
        guarded = [owner for owner in self._router.owners if owner.allow is not None or owner.limits is not None]
        guards: dict[str, AccessControl] = {}
        if guarded:
            from oddwire.app.limits.access import AccessControl

            guards = {
                owner.name: AccessControl(owner.name, owner.allow, owner.limits, self._transport) for owner in guarded
            }
            for guard in guards.values():
                await guard.start()
        self._guards = guards
        self._running = True
        if self._router.reliable or self._may_hold_messages():
            try:
                await self.deliveries().open(self.patience)
            except StoreError as error:
                raise self.explain(error) from error
        return guards

    def _may_hold_messages(self) -> bool:
        return self._path is not None and os.path.exists(self._path)  # noqa: PTH110 - pathlib takes its time to load

    def store_numbers(self) -> tuple[int, ...]:
        """Return the numbers of the store, by which peers know again what has handled their reliable messages.

        A store that is not made yet has the number that it will have; none has one that cannot be opened.
        """
        if self._deliveries is not None:
            return self._deliveries.numbers
        return () if self._path is None else (self._number,)

    async def renew_store(self) -> None:
        """Have a store that another program uses a copy of take numbers of its own; see `ReliableHandlers.renew`.

        To be called before the transport opens. Raises `StoreError`, and `LocalProtocolError` without a store.
        """
        await self.deliveries().renew()

    def attach(self, dispatcher: Dispatcher) -> None:
        """Let reliable messages come and go."""
        self._dispatcher = dispatcher
        if self._deliveries is not None:
            self._deliveries.attach(dispatcher)

    async def aclose(self) -> None:
        """Close the store."""
        if self._deliveries is not None:
            await self._deliveries.aclose()

    def deliveries(self) -> ReliableHandlers:
        """Return what keeps reliable messages. Raises `LocalProtocolError` without a store, or before the start."""
        if self._path is None:
            raise LocalProtocolError("this application has no store: give it one, Application(store=path)")
        if not self._running:
            raise LocalProtocolError("the application is not started")
        if self._deliveries is None:
            from oddwire.app.dispatch.reliable_handlers import ReliableHandlers  # and SQLite, which few need
            from oddwire.session.limits import Limits

            allowances = [guard.allowance for guard in self._guards.values()]
            names = [owner.name for owner in self._router.owners]
            self._deliveries = ReliableHandlers(
                self._path, self._limits or Limits(), allowances, number=self._number, extensions=names
            )
            if self.on_new_store is not None:
                self._deliveries.store.on_new = functools.partial(self.on_new_store, names)
            if self._dispatcher is not None:
                self._deliveries.attach(self._dispatcher)
        return self._deliveries

    def store(self, extension: str) -> ExtensionStore:
        """Return what an extension keeps on disk. Raises as `deliveries` does."""
        from oddwire.session.store.extension_store import ExtensionStore

        return ExtensionStore(self.deliveries().store, self._router.owner_of(extension).name)
