"""Keeping messages, settling them, and telling what waits: the operations of `Peer` for messages sent again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from oddwire import clocks
from oddwire.app.resending.again import Again, Pending
from oddwire.app.resending.entries import Entry, Ident
from oddwire.app.resending.kept_messages import KeptMessages
from oddwire.app.resending.keys import Key, decode_key, encode_key
from oddwire.errors import DecodeError, LocalProtocolError, PayloadTooLarge, ValueOutOfRange
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, schema_of
from oddwire.transports.base import MAX_PAYLOAD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oddwire.app.dispatch.core import Core
    from oddwire.app.dispatch.messenger import AppMessenger
    from oddwire.app.extension import Extension
    from oddwire.app.plugins.tables import Tables
    from oddwire.app.resending.resender import Resender
    from oddwire.session.limits import Allowance, Limits
    from oddwire.session.reliable.delivery import Delivery

__all__ = ["Resending"]


class Resending:
    """The kept messages of an application, and what sends them: nothing does before there is one.

    The messages are a part of the store of ``delivery``, which must not be open yet.
    """

    def __init__(self, tables: Tables, delivery: Delivery, limits: Limits, allowances: Iterable[Allowance]) -> None:
        by_name = {allowance.extension: allowance for allowance in allowances}
        self.kept = KeptMessages(delivery.store, limits=limits, total=delivery.outbox.total, allowances=by_name)
        self._tables = tables
        self._delivery = delivery
        self._resender: Resender | None = None
        self._with: tuple[Core, AppMessenger] | None = None

    # For authors ------------------------------------------------------------------------------------

    async def keep(self, node_id: NodeId, message: Message, again: Again, force: bool) -> None:
        """Keep a message, and send it until it is settled; see `Peer.send`."""
        payload = self._tables.outgoing[type(message)].encode(message)
        schema = schema_of(message)
        if len(payload) > MAX_PAYLOAD:
            text = f"has {len(payload)} bytes here; what is sent again goes as one payload, of {MAX_PAYLOAD} at most"
            raise PayloadTooLarge(text, type_id=schema.type_id, name=schema.name)
        value = None if schema.match is None else getattr(message, schema.match)
        key = value if again.key is None else again.key
        if key is None:
            whose = f"@message(..., match=) of {schema.name}" if schema.match is None else f"its {schema.match}"
            raise ValueError(f"send(again=): {schema.name} should have a key to settle it by: Again(key=), or {whose}")
        ident = Ident(self._tables.claims[type(message)][0].name, node_id, encode_key(key))
        entry = Entry(
            ident,
            schema.type_id,
            len(payload),
            every=again.seconds,
            life=again.life,
            on_connect=again.on_connect,
            force=force,
            matched=_spelled(value),
            payload=payload,
        )
        await self.kept.keep(entry)

    async def settle(self, node_id: NodeId, key: Key, extension: Extension | str | None) -> bool:
        """Keep a message no longer; see `Peer.settle`."""
        raw = encode_key(key)
        await self._delivery.store.ready()
        owners = self.kept.owners(node_id, raw)
        if extension is not None:  # one that has kept something need not be loaded any more
            named = extension if extension in owners else self._tables.owner_of(extension).name
            owners = [name for name in owners if name == named]
        if len(owners) > 1:
            names = " and ".join(map(repr, owners))
            text = f"settle({key!r:.200}): {names} have each kept something for {node_id} under this key"
            raise LocalProtocolError(f"{text}; say whose is settled: settle(key, extension={owners[0]!r})")
        if not owners:
            return False
        await self.kept.settle(Ident(owners[0], node_id, raw))
        return True

    async def pending(self, node_id: NodeId) -> list[Pending]:
        """Return what waits for a peer, the oldest first; see `Peer.pending`."""
        await self._delivery.store.ready()
        found: list[tuple[float, Pending]] = []  # with the time it is from: ages are of when each was read
        for rows in self._delivery.outbox.kept(node_id):
            now = clocks.monotonic()
            found += [
                (now - age, Pending(extension=extension, message=self.message_of(payload), reliable=True, age=age))
                for extension, age, payload in rows
            ]
            await asyncio.sleep(0)
        peer = self.kept.peers.get(node_id)
        for number, entry in enumerate([] if peer is None else [*peer.entries.values()]):
            payload = self.kept.payload_of(entry)
            if payload is not None and entry.live:
                one = Pending(
                    extension=entry.ident.extension,
                    message=self.message_of(payload),
                    reliable=False,
                    age=self.kept.age_of(entry),
                    key=decode_key(entry.ident.key),
                    sent=entry.sent,
                    due=None if self._resender is None else self._resender.due_in(entry),
                )
                found.append((clocks.monotonic() - one.age, one))
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
        found.sort(key=lambda dated: dated[0])
        return [one for _, one in found]

    def message_of(self, payload: bytes) -> Message | None:
        """Return the message with these bytes; None if they cannot be decoded any more."""
        try:
            return self._tables.registry.decode(payload)
        except DecodeError:
            return None

    # For the application ----------------------------------------------------------------------------

    def start(self, core: Core, messenger: AppMessenger) -> None:
        """Send what is kept from now on."""
        self._with = core, messenger
        self.kept.added = lambda _: self._begin()
        if self.kept.entries:
            self._begin()

    def _begin(self) -> None:
        from oddwire.app.resending.resender import Resender  # few applications send anything again

        assert self._with is not None  # noqa: S101 - narrows the type for checkers
        core, messenger = self._with
        self._resender = core.resender = Resender(core, messenger, self.kept)

    def close(self) -> None:
        """Send nothing more; what is kept stays in the store."""
        if self._resender is not None:
            self._resender.close()
        self.kept.close()


_AT_ONCE = 256  # messages decoded before other tasks have their turn


def _spelled(value: object) -> bytes | None:
    """Return a match field's value as a key; None for one that is no key, which no answer is compared with."""
    try:
        return encode_key(value)
    except (TypeError, ValueOutOfRange):
        return None
