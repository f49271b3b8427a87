"""An application's store and its extensions' access control, created on demand."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, TypeVar

from oddwire.app.context import Context, Peer
from oddwire.app.plugins.tables import Tables
from oddwire.errors import ExtensionError, LocalProtocolError, StoreError
from oddwire.transports.base import Transport

if TYPE_CHECKING:
    from oddwire.app.application import Application
    from oddwire.app.declarations.providers import Close
    from oddwire.app.dispatch.core import Core
    from oddwire.app.dispatch.messenger import AppMessenger
    from oddwire.app.limits.access import AccessControl
    from oddwire.app.plugins.manager import Contribution
    from oddwire.app.resending.resending import Resending
    from oddwire.proto.keys import NodeId
    from oddwire.schema import Message
    from oddwire.session.limits import Limits
    from oddwire.session.reliable.delivery import Delivery
    from oddwire.session.reliable.receipt import Receipt
    from oddwire.session.store.ages import Ages
    from oddwire.session.store.commit_log import RemoteLog
    from oddwire.session.store.extension_store import ExtensionStore

__all__ = ["Resources"]

T = TypeVar("T")


def _is_limited(owner: Contribution) -> bool:
    rated = any(handler.rate is not None for handler in owner.handlers)
    return rated or owner.allow is not None or owner.limits is not None


class Resources:
    """The store and the access control. Raises `ExtensionError` for reliable handlers without a store or session."""

    def __init__(
        self,
        tables: Tables,
        transport: Transport,
        store: str | os.PathLike[str] | RemoteLog | None,
        limits: Limits | None,
        session: bool,
    ) -> None:
        self._tables = tables
        self._transport = transport
        self._log: RemoteLog | None = None
        if store is None or isinstance(store, (str, os.PathLike)):
            self._path = None if store is None else os.fspath(store)
        else:
            self._path, self._log = store.path, store
        self._limits = limits
        self._delivery: Delivery | None = None
        self._resending: Resending | None = None
        self._start_delivery: Callable[[Delivery], object] | None = None
        self._core: Core | None = None
        self._running = False
        self._access: dict[str, AccessControl] = {}
        self._number = int.from_bytes(os.urandom(8), "big")  # of the store, if one is created
        self.ages: Ages | None = None
        """The clock for the ages of stored messages, set before the start; None for the system's."""
        self.patience = 0.0
        """Seconds to wait at the start for a store in use by another process, which may be about to end."""
        self.explain: Callable[[StoreError], StoreError] = lambda error: error
        """Returns the error for a store that cannot be opened at the start, with details that only the host knows."""
        self.on_new_store: Callable[[Collection[str]], object] | None = None
        """Called in the store's thread when its file is created, with the names of the extensions."""
        if tables.reliable and (store is None or not session):
            names = ", ".join(message.__name__ for message in tables.reliable)
            needed = "a session" if not session else "a store: Application(store=path)"
            raise ExtensionError(f"handlers of reliable messages ({names}) need {needed}")

    async def prepare(self) -> dict[str, AccessControl]:
        """Open the store if it is needed or its file exists, and return the access control, by extension's name.

        Raises `StoreError`, and `ExtensionError` for access control that needs answers the transport does not have.
        """
        limited = [owner for owner in self._tables.owners if _is_limited(owner)]
        found: dict[str, AccessControl] = {}
        if limited:
            from oddwire.app.limits.access import AccessControl

            found = {
                owner.name: AccessControl(owner.name, owner.allow, owner.limits, self._transport) for owner in limited
            }
            for access in found.values():
                await access.start()
        self._access = found
        self._running = True
        if self._tables.reliable or self._may_hold_messages():
            try:
                await self.delivery().open(self.patience)
            except StoreError as error:
                raise self.explain(error) from error
        return found

    def _may_hold_messages(self) -> bool:
        return self._path is not None and os.path.exists(self._path)  # noqa: PTH110 - pathlib takes its time to load

    def store_numbers(self) -> tuple[int, ...]:
        """Return the numbers of the store, by which peers recognise the store that has handled their reliable messages.

        Before the store is created, this is the number that it would get; empty without a store.
        """
        if self._delivery is not None:
            return self._delivery.numbers
        return () if self._path is None else (self._number,)

    async def renew_store(self) -> None:
        """Assign the store new numbers, because another program uses a copy of it; see `Delivery.renew`.

        To be called before the transport opens. Raises `StoreError`, and `LocalProtocolError` without a store.
        """
        await self.delivery().renew()

    @property
    def in_use(self) -> bool:
        """Whether extensions keep anything in the store yet, or take reliable messages."""
        return self._delivery is not None

    def start(self, start_delivery: Callable[[Delivery], object], core: Core | None = None) -> None:
        """Call ``start_delivery`` with the reliable delivery, now or once it is created."""
        self._core = core
        self._start_delivery = start_delivery
        if self._delivery is not None:
            start_delivery(self._delivery)

    # What is provided -------------------------------------------------------------------------------

    async def make_things(self, app: Application) -> None:
        """Make what is provided for the application. Raises what a provider raises."""
        if self._tables.injector is not None:
            await self._tables.injector.open(app)

    def things_to_close(self) -> list[tuple[str, str, Close]]:
        """Return how to close what was made, last first: each one's name, its plugin's, and an async function."""
        return [] if self._tables.injector is None else self._tables.injector.take_open()

    def bound(self, extension: str, function: Callable[..., T], fixed: int) -> Callable[..., T]:
        """Return what to call with the first ``fixed`` parameters of an extension's function.

        That is the function itself, unless it takes more, which is provided: so for whatever an extension declares.
        """
        return self._tables.bound(extension, function, fixed)

    def context(self, app: Application, extension: str, peer: Peer) -> Context:
        """Return the context of an extension's function for a connected peer, with what is provided for that."""
        if self._tables.injector is not None and self._core is not None:
            queue = self._core.queues.get(peer.node_id)
            for number, owner in enumerate(self._tables.owners, 1):
                if owner.name == extension and queue is not None:
                    return queue.contexts[number] or self._core.context(queue, number)
        return Context(app, extension, peer)

    async def deliver(self, node_id: NodeId, message: Message) -> tuple[Receipt, bytes]:
        """Store a message of an extension until the peer has acknowledged it; return its receipt and its payload.

        Raises as `delivery` and `Delivery.send` do, and `EncodeError` for a message that cannot be encoded.
        """
        payload = self._tables.outgoing[type(message)].encode(message)
        owner = self._tables.claims[type(message)][0].name
        delivery = self._delivery or self.delivery()
        return await delivery.send(node_id, owner, payload), payload

    def outbox_loads(self) -> dict[str, tuple[int, int]]:
        """Return how many reliable messages wait, and their bytes, by extension."""
        return {} if self._delivery is None else self._delivery.outbox.loads()

    def outbox_of(self, node_id: NodeId) -> int:
        """Return how many reliable messages wait for a peer."""
        return 0 if self._delivery is None else self._delivery.outbox.waiting(node_id)[0]

    async def abandon(self) -> None:
        """Drop the store and what was made as the end of the process would, for `oddwire.testing`."""
        await self.cut_off()
        if self._tables.injector is not None:
            self._tables.injector.abandon()

    async def cut_off(self) -> None:
        """Drop what is not stored yet: nothing is from now on. What was made is closed as ever."""
        if self._resending is not None:
            self._resending.close()
        if self._delivery is not None:
            await self._delivery.abandon()
        else:
            self._running = False  # none is created on demand any more

    async def aclose(self) -> None:
        """Close the store."""
        if self._resending is not None:
            self._resending.close()
        if self._delivery is not None:
            await self._delivery.aclose()

    def delivery(self) -> Delivery:
        """Return the reliable delivery, created on demand.

        Raises `LocalProtocolError` without a store, or before the start.
        """
        if self._path is None:
            raise LocalProtocolError("this application has no store: give it one, Application(store=path)")
        if not self._running:
            raise LocalProtocolError("the application is not started")
        if self._delivery is None:
            from oddwire.app.resending.resending import Resending
            from oddwire.session.limits import Limits
            from oddwire.session.reliable.delivery import Delivery  # imports SQLite, which few applications need
            from oddwire.session.store.unit import Store

            names = [owner.name for owner in self._tables.owners]
            store = Store(self._path, number=self._number, extensions=names, ages=self.ages, log=self._log)
            if self.on_new_store is not None:
                store.on_new = functools.partial(self.on_new_store, names)
            allowances = [access.allowance for access in self._access.values()]
            limits = self._limits or Limits()
            self._delivery = Delivery(store, limits=limits, allowances=allowances, extensions=names)
            self._resending = Resending(self._tables, self._delivery, limits, allowances)
            if self._start_delivery is not None:
                self._start_delivery(self._delivery)
        return self._delivery

    def resending(self) -> Resending:
        """Return the messages that are sent again, created with the store. Raises as `delivery` does."""
        self.delivery()
        assert self._resending is not None  # noqa: S101 - narrows the type for checkers
        return self._resending

    def start_resending(self, core: Core, messenger: AppMessenger) -> None:
        """Send the messages that are kept until they are settled, from now on."""
        self.resending().start(core, messenger)

    def store(self, extension: str) -> ExtensionStore:
        """Return an extension's part of the store. Raises as `delivery` does."""
        from oddwire.session.store.extension_store import ExtensionStore

        return ExtensionStore(self.delivery().store, self._tables.owner_of(extension).name)
