"""`Lexicon`: which messages there may be in a payload of each type."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, cast

from oddwire.codecs import Codec, Plan, Registry
from oddwire.errors import SchemaError
from oddwire.proto.type_numbers import BOLT_TYPES
from oddwire.records import FrozenRecord, replace
from oddwire.schema import Message, Schema, schema_of

if TYPE_CHECKING:
    from oddwire.known import Claim

__all__ = ["Entry", "Lexicon", "key_of"]

_BOLTS = "bolts"


class Entry(FrozenRecord, hidden=("claim",)):
    """A message that a type may be of: ``owner`` is an extension, or a module of `oddwire.known`.

    ``claim`` says more of one of a known protocol.
    """

    owner: str
    schema: Schema
    codec: Codec
    claim: Claim | None = None

    @property
    def name(self) -> str:
        """The name by which it is shown and asked for: ``chat.Say``, ``peerswap.SwapInRequest``, ``bolt1.Ping``."""
        return f"{self.owner}.{self.schema.name}"

    @property
    def plan(self) -> Plan:
        """Its plan, compiled when it is first needed, for errors that have its whole name."""
        known: Plan | None = vars(self).get("_plan")
        if known is None:
            known = vars(self)["_plan"] = self.codec.compile(replace(self.schema, owner=self.owner))
        return known


class Lexicon:
    """The messages of some extensions, and those of `oddwire.known`.

    ``known`` False leaves out the latter, the BOLTs' with them.
    """

    def __init__(self, *, known: bool = True) -> None:
        self._known = known
        self._entries: dict[int, list[Entry]] = {}
        self._claimed: dict[int, tuple[Entry, ...]] = {}
        self._codecs = Registry().codecs
        self._later: Callable[[Lexicon], object] | None = None

    def add(self, owner: str, messages: Iterable[type[Message]], codecs: Iterable[Codec] = ()) -> None:
        """Add an extension's messages; ``codecs`` are those besides the built-in ones that they name.

        Raises `SchemaError` for a codec that there is not. A message that is there already is not added again.
        """
        named = {**{codec.name: codec for codec in codecs}, **self._codecs}
        for message in messages:
            schema = schema_of(message)
            codec = schema.own_codec or named.get(schema.codec)
            if not isinstance(codec, Codec):
                raise SchemaError(f"{schema.qualified_name}: there is no codec {schema.codec!r}")
            there = self._entries.setdefault(schema.type_id, [])
            if all(entry.schema is not schema for entry in there):
                there.append(Entry(owner, schema, codec))

    def add_registry(self, registry: Registry) -> None:
        """Add all messages of an application's registry, `Application.registry`."""
        for name, schema in registry.by_name.items():
            codec = schema.own_codec or registry.codecs[schema.codec]
            there = self._entries.setdefault(schema.type_id, [])
            if isinstance(codec, Codec) and all(entry.schema is not schema for entry in there):
                there.append(Entry(name.rpartition(".")[0], schema, codec))

    def add_later(self, add: Callable[[Lexicon], object]) -> None:
        """Have a function add messages at the first look-up for which the BOLTs' own do not do: it may take long."""
        self._later = add

    def entries(self, type_id: int) -> tuple[Entry, ...]:
        """Return what messages a type may be of: those that were added first, then those of known protocols."""
        if type_id not in BOLT_TYPES:
            self._complete()
        added = self._entries.get(type_id, ())
        own = {entry.schema.cls for entry in added}
        return (*added, *(entry for entry in self._of_known(type_id) if entry.schema.cls not in own))

    def claims(self, type_id: int) -> tuple[Claim, ...]:
        """Return who is known to use a type, also with messages that are not known."""
        if not self._known:
            return ()
        from oddwire.known import owners

        return owners(type_id)

    def all_entries(self) -> Iterator[Entry]:
        """Yield all messages. The first call imports all known protocols."""
        self._complete()
        numbers = set(self._entries)
        if self._known:
            from oddwire.known.listing import claims

            numbers.update(claim.type_id for claim in claims())
        for type_id in sorted(numbers):
            yield from self.entries(type_id)

    def find(self, name: str) -> Entry | None:
        """Return the message of a name, ``chat.Say``: cases and underscores do not count, so ``bolt1.ping`` will do."""
        wanted = key_of(name)
        found = (entry for entries in self._entries.values() for entry in entries if key_of(entry.name) == wanted)
        entry = next(found, None)
        if entry is None and self._known:
            entry = next((entry for entry in self._of_owner(name) if key_of(entry.name) == wanted), None)
            if entry is not None:
                claimed = self._of_known(entry.schema.type_id)
                entry = next((one for one in claimed if one.schema is entry.schema), entry)
        if entry is None and self._later is not None:
            self._complete()
            return self.find(name)
        return entry

    def _complete(self) -> None:
        add, self._later = self._later, None
        if add is not None:
            add(self)

    def _of_owner(self, name: str) -> Iterator[Entry]:
        """Yield the messages of the known protocol that a message's name begins with."""
        from oddwire.known.listing import MODULES, modules

        owner = key_of(name.partition(".")[0])
        if owner.rstrip("0123456789") in ("bolt", _BOLTS):
            from oddwire.known import bolts

            for cls in bolts.NAMESPACE.messages.values():
                yield self._entry(_owner_of(_BOLTS, cls), cls)
                yield self._entry(_BOLTS, cls)
        for module in MODULES:
            if module != _BOLTS and key_of(module) == owner:
                for cls in modules()[module].messages:
                    yield self._entry(module, cls)

    def _of_known(self, type_id: int) -> tuple[Entry, ...]:
        if not self._known:
            return ()
        if type_id not in self._claimed:
            self._claimed[type_id] = tuple(
                self._entry(_module_of(claim.message), claim.message, claim)
                for claim in self.claims(type_id)
                if claim.message is not None
            )
        return self._claimed[type_id]

    def _entry(self, owner: str, cls: type[Message], claim: Claim | None = None) -> Entry:
        schema = schema_of(cls)
        codec = cast("Codec", schema.own_codec) or self._codecs[schema.codec]
        return Entry(owner, schema, codec, claim)


def key_of(name: str) -> str:
    """Return a message's name as it is compared: ``peerswap.swap_in_request`` is ``peerswap.SwapInRequest``."""
    return re.sub(r"[\s_-]", "", name).casefold()


def _module_of(cls: type[Message]) -> str:
    """Return the module of `oddwire.known` that a message is of, the BOLT for one of those."""
    return _owner_of(cls.__module__.split(".")[2], cls)


def _owner_of(module: str, cls: type[Message]) -> str:
    if module != _BOLTS:
        return module
    from oddwire.known import bolts

    return f"bolt{bolts.number_of(cls)}"
