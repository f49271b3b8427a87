"""All known protocols, and all known uses of a type number."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Final

from oddwire.known.protocol import Claim, Protocol
from oddwire.proto.type_numbers import BOLT_TYPES, KNOWN
from oddwire.schema import schema_of

__all__ = ["MODULES", "WITHOUT_SCHEMA", "claims", "modules", "owners", "protocols"]

MODULES: Final = (
    "bolts",
    "peer_storage",
    "commando",
    "lsps0",
    "lsps1",
    "lsps2",
    "lsps5",
    "peerswap",
    "lightningos",
    "hosted_channels",
    "phoenix",
    "rgb",
    "lightning_box",
    "payment_splitting",
    "taproot_assets",
    "dlc",
)
"""The modules of `oddwire.known` that have a protocol, in the order of `protocols`. A new one needs its name here, and
vectors in ``tests/vectors/known``."""

WITHOUT_SCHEMA: Final = {
    "PeerSwap Web": ("Go gob", "https://github.com/Impa10r/peerswap-web, cmd/psweb/ln/common.go"),
}
"""Protocols that use type numbers and have no module here: how their messages are written, and who says so."""

_BOLTS: Final = "bolts"
_OWN: Final = (49373, "session", "session frames", "docs/session-protocol.md")
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@cache
def modules() -> dict[str, Protocol]:
    """Return all known protocols by the names of their modules. The first call imports them."""
    return {name: _protocol(name) for name in MODULES}


def protocols() -> tuple[Protocol, ...]:
    """Return all known protocols. The first call imports them."""
    return tuple(modules().values())


def claims() -> tuple[Claim, ...]:
    """Return every known use of every type number, by number. The first call imports all known protocols."""
    found = {**_bolt_claims(), **_claims()}
    return tuple(claim for type_id in sorted(found) for claim in found[type_id])


def owners(type_id: int) -> tuple[Claim, ...]:
    """Return every known use of a type number, those with schemas first; none for a number that nobody is known to use.

    The first call imports all known protocols; the BOLTs, which take 0.2 s, only for a number of theirs.
    """
    found = _claims().get(type_id, ())
    return _bolt_claims().get(type_id, ()) if not found and type_id in BOLT_TYPES else found


@cache
def _claims() -> dict[int, tuple[Claim, ...]]:
    """Return the claims on each number that a protocol other than the BOLTs uses, by number."""
    found: dict[int, dict[str, Claim]] = {}
    for claim in (*_of_modules(*_others()), *_of_tables()):
        found.setdefault(claim.type_id, {}).setdefault(claim.protocol, claim)
    return {type_id: tuple(claims.values()) for type_id, claims in found.items()}


@cache
def _bolt_claims() -> dict[int, tuple[Claim, ...]]:
    """Return the claims of the BOLTs by number; those on 7 and 9 are in `_claims`, as peer storage."""
    return {claim.type_id: (claim,) for claim in _of_modules(_protocol(_BOLTS)) if claim.type_id not in _claims()}


def _protocol(name: str) -> Protocol:
    protocol: Protocol = import_module(f"oddwire.known.{name}").PROTOCOL
    return protocol


def _others() -> Iterator[Protocol]:
    yield from (_protocol(name) for name in MODULES if name != _BOLTS)


def _of_modules(*known: Protocol) -> Iterator[Claim]:
    for protocol in known:
        for cls in protocol.messages:
            schema = schema_of(cls)
            yield Claim(
                type_id=schema.type_id,
                protocol=protocol.name,
                name=_WORDS.sub("_", schema.name).lower(),
                encoding=schema.codec,
                source=_source(protocol),
                message=cls,
            )


def _of_tables() -> Iterator[Claim]:
    """Yield what the tables of type numbers have: of protocols without schemas, and of all others once more."""
    told = dict(WITHOUT_SCHEMA)
    for known in _others():
        if known.messages:
            told[known.name] = (schema_of(known.messages[0]).codec, _source(known))
    for type_id, claims in KNOWN.items():
        for protocol, name in claims:
            encoding, source = told[protocol]
            yield Claim(type_id=type_id, protocol=protocol, name=name, encoding=encoding, source=source)
    type_id, name, encoding, source = _OWN
    yield Claim(type_id=type_id, protocol="oddwire", name=name, encoding=encoding, source=source)


def _source(protocol: Protocol) -> str:
    return f"{protocol.document}, {protocol.version}"
