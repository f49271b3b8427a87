"""oddwire.proto.ecdsa. What `PublicKey.verify` and `PrivateKey` make of it is in test_keys."""

import coincurve
import pytest

from oddwire.proto.ecdsa import EcdsaKey, verify

ONE = bytes(31) + b"\1"
DIGEST = b"d" * 32


def test_a_key_is_coincurves_but_for_the_x_only_one() -> None:
    key, whole = EcdsaKey(ONE), coincurve.PrivateKey(ONE)
    assert key.public_key == whole.public_key
    assert key.secret == whole.secret
    assert not hasattr(key, "public_key_xonly")


def test_verifies_compact_signatures() -> None:
    key = EcdsaKey(ONE)
    compact = key.sign_recoverable(DIGEST, hasher=None)[:64]
    assert verify(key.public_key, compact, DIGEST)
    assert not verify(key.public_key, compact, b"e" * 32)
    assert not verify(EcdsaKey(bytes(31) + b"\2").public_key, compact, DIGEST)
    assert not verify(key.public_key, b"\xff" * 64, DIGEST)


def test_zero_is_no_key() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        EcdsaKey(bytes(32))
