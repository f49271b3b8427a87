"""The curve operations of `oddwire.proto.keys`, on coincurve; imported when first needed."""

from __future__ import annotations

import coincurve
from coincurve.ecdsa import cdata_to_der, deserialize_compact

__all__ = ["EcdsaKey", "verify"]


class EcdsaKey(coincurve.PrivateKey):
    """A coincurve key without the x-only public key of BIP 340, which costs as much to compute as the other one."""

    def __init__(self, secret: bytes) -> None:
        self.public_key = coincurve.PublicKey.from_secret(secret)
        self.secret = secret
        self.context = coincurve.GLOBAL_CONTEXT


def verify(key: coincurve.PublicKey, signature: bytes, digest: bytes) -> bool:
    """Return whether a 64-byte compact signature of a 32-byte digest is valid."""
    try:
        der = cdata_to_der(deserialize_compact(signature))
        return key.verify(der, digest, hasher=None)
    except ValueError:
        return False
