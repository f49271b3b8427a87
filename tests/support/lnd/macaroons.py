"""Macaroons as LND bakes and checks them: HMACs over an id that lists permissions."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from oddwire.transports.lnd.calls import CALLS
from oddwire.transports.lnd.fields import varint

ADMIN = {
    "address": ("read", "write"),
    "info": ("read", "write"),
    "invoices": ("read", "write"),
    "macaroon": ("generate", "read", "write"),
    "message": ("read", "write"),
    "offchain": ("read", "write"),
    "onchain": ("read", "write"),
    "peers": ("read", "write"),
    "signer": ("generate", "read"),
}
READONLY = {name: ("read",) for name in ADMIN if name != "signer"}


def uris(*calls: str) -> dict[str, tuple[str, ...]]:
    """Return the permissions for these calls alone."""
    return {"uri": tuple(CALLS[call].path for call in calls)}


def bake(root_key: bytes, permissions: Mapping[str, Sequence[str]], caveats: Sequence[str] = ()) -> bytes:
    """Return a macaroon."""
    ops = b"".join(
        _piece(3, _piece(1, entity.encode()) + b"".join(_piece(2, action.encode()) for action in actions))
        for entity, actions in permissions.items()
    )
    name = b"\x03" + _piece(1, bytes(16)) + _piece(2, b"0") + ops
    signature = _sign(root_key, name, [caveat.encode() for caveat in caveats])
    body = b"\x02" + _section(1, b"lnd") + _section(2, name) + b"\x00"
    for caveat in caveats:
        body += _section(2, caveat.encode()) + b"\x00"
    return body + b"\x00" + _section(6, signature)


def is_signed(root_key: bytes, macaroon: bytes) -> bool:
    """Return whether a macaroon without caveats was made with this root key."""
    body, signature = macaroon[:-32], macaroon[-32:]
    name = body[body.index(b"\x03lnd\x02") + 5 :]
    size, skipped = name[0], 1
    if size & 0x80:
        size, skipped = size & 0x7F | name[1] << 7, 2
    return hmac.compare_digest(_sign(root_key, name[skipped : skipped + size], ()), signature)


def _sign(root_key: bytes, name: bytes, caveats: Sequence[bytes]) -> bytes:
    key = hmac.digest(b"macaroons-key-generator".ljust(32, b"\0"), root_key, hashlib.sha256)
    signature = hmac.digest(key, name, hashlib.sha256)
    for caveat in caveats:
        signature = hmac.digest(signature, caveat, hashlib.sha256)
    return signature


def _piece(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def _section(kind: int, value: bytes) -> bytes:
    return varint(kind) + varint(len(value)) + value
