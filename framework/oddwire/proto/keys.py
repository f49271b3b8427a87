"""Keys and identifiers: secp256k1 keys on coincurve, secrets, and short channel ids. Names as in pyln.proto.

coincurve, and hmac, which loads OpenSSL, are imported when a key is made or compared: programs that only tell nodes
apart start without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, SupportsBytes

if TYPE_CHECKING:
    import coincurve

__all__ = ["NodeId", "PrivateKey", "PublicKey", "Secret", "ShortChannelId"]


def _same(secret: bytes, other: bytes) -> bool:
    """Return whether two secrets are equal, in constant time."""
    import hmac

    return hmac.compare_digest(secret, other)


class NodeId(bytes):
    """A node's compressed public key, 33 bytes, as a cheap key for dicts and queues.

    Accepts bytes, 66 hex digits or a `PublicKey`. Only the form is checked (length and first byte), not that the
    point lies on the curve: `PublicKey` does that. Raises `ValueError` naming what was wrong.
    """

    __slots__ = ()

    def __new__(cls, value: bytes | str | SupportsBytes) -> NodeId:  # noqa: D102 - the class says it
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            try:
                raw = bytes.fromhex(value) if len(value) == 66 else b""  # fromhex would overlook spaces
            except ValueError:
                raw = b""
            if not raw:
                hint = ": NodeId(key) is that of a PublicKey" if value.startswith("PublicKey[") else ""
                raise ValueError(f"node id should be 66 hex digits, not {value!r}{hint}")
        else:
            given: object = value
            if not isinstance(given, (bytes, bytearray, memoryview, SupportsBytes)):
                hint = ": give its node_id" if isinstance(getattr(given, "node_id", None), NodeId) else ""
                raise TypeError(f"node id should be 33 bytes or 66 hex digits, not {given!r:.200}{hint}")
            raw = bytes(value)
        if len(raw) != 33 or raw[0] not in (2, 3):
            raise ValueError(f"node id should be 33 bytes starting with 02 or 03, not {raw.hex() or 'nothing'}")
        return super().__new__(cls, raw)

    def __str__(self) -> str:
        return self.hex()

    def __repr__(self) -> str:
        return f"NodeId({self.hex()!r})"


class PublicKey:
    """A point on secp256k1, from its 33 compressed bytes (or a coincurve key). Raises `ValueError` if invalid."""

    __slots__ = ("_raw", "key")

    def __init__(self, innerkey: bytes | coincurve.PublicKey) -> None:
        import coincurve

        if isinstance(innerkey, coincurve.PublicKey):
            self.key = innerkey
            raw = innerkey.format(compressed=True)
        elif isinstance(innerkey, (bytes, bytearray, memoryview)):
            raw = bytes(innerkey)
            if len(raw) != 33 or raw[0] not in (2, 3):
                raise ValueError(f"public key should be 33 bytes starting with 02 or 03, not {raw.hex() or 'nothing'}")
            try:
                self.key = coincurve.PublicKey(raw)
            except ValueError:
                raise ValueError(f"public key {raw.hex()} is not a point on secp256k1") from None
        else:
            raise TypeError(f"public key should be bytes or coincurve.PublicKey, not {type(innerkey).__name__}")
        self._raw: Final[bytes] = raw

    @classmethod
    def from_hex(cls, text: str) -> PublicKey:
        """Parse 66 hex digits. Raises `ValueError`."""
        return cls(NodeId(text))

    def serializeCompressed(self) -> bytes:  # noqa: N802 - pyln.proto's name
        """Return the 33 compressed bytes."""
        return self._raw

    to_bytes = serializeCompressed
    __bytes__ = serializeCompressed

    def hex(self) -> str:
        """Return the 66 hex digits."""
        return self._raw.hex()

    def verify(self, signature: bytes, digest: bytes) -> bool:
        """Return whether a 64-byte compact ECDSA signature of a 32-byte digest is valid; only low S is accepted."""
        if len(signature) != 64 or len(digest) != 32:
            return False
        from oddwire.proto.ecdsa import verify

        return verify(self.key, signature, digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self._raw == other._raw

    def __hash__(self) -> int:
        return hash(self._raw)

    def __str__(self) -> str:
        return f"PublicKey[0x{self._raw.hex()}]"

    def __repr__(self) -> str:
        return f"PublicKey({self._raw.hex()!r})"


class Secret:
    """32 bytes that must not be seen: compared in constant time, never printed."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        if len(data) != 32:
            raise ValueError(f"secret should be 32 bytes, not {len(data)}")
        self.data: Final[bytes] = bytes(data)

    def to_bytes(self) -> bytes:
        """Return the 32 bytes."""
        return self.data

    __bytes__ = to_bytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and _same(self.data, other.data)

    def __hash__(self) -> int:
        return hash(self.data)

    def __repr__(self) -> str:
        return "Secret[32 bytes]"


class PrivateKey:
    """A secp256k1 private key from its 32 bytes. Raises `ValueError` for zero or for the group order and above."""

    __slots__ = ("_public", "key", "rawkey")

    def __init__(self, rawkey: bytes) -> None:
        if not isinstance(rawkey, (bytes, bytearray, memoryview)):
            raise TypeError(f"private key should be bytes, not {type(rawkey).__name__}")
        raw = bytes(rawkey)
        if len(raw) != 32:
            raise ValueError(f"private key should be 32 bytes, not {len(raw)}")
        from oddwire.proto.ecdsa import EcdsaKey

        try:
            self.key: coincurve.PrivateKey = EcdsaKey(raw)
        except ValueError:
            raise ValueError("private key should be from 1 to the order of secp256k1, less one") from None
        self.rawkey: Final[bytes] = raw
        self._public: PublicKey | None = None

    def serializeCompressed(self) -> bytes:  # noqa: N802 - pyln.proto's name
        """Return the 32 bytes."""
        return self.rawkey

    to_bytes = serializeCompressed
    __bytes__ = serializeCompressed

    def public_key(self) -> PublicKey:
        """Return the public key; computed once."""
        if self._public is None:
            self._public = PublicKey(self.key.public_key)
        return self._public

    def ecdh(self, public_key: PublicKey) -> Secret:
        """Return the SHA-256 of the compressed shared point, 32 bytes (BOLT 8, Handshake State)."""
        # The point as libsecp256k1 holds it: parsing its bytes again would be an eighth of the work
        return Secret(self.key.ecdh(public_key.key.public_key))

    def sign(self, digest: bytes) -> bytes:
        """Return the signature of a 32-byte digest: 64 bytes, compact, low S, deterministic (RFC 6979).

        Raises `ValueError` for a digest of another length.
        """
        if len(digest) != 32:
            raise ValueError(f"digest should be 32 bytes, not {len(digest)}")
        return self.key.sign_recoverable(digest, hasher=None)[:64]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivateKey) and _same(self.rawkey, other.rawkey)

    def __hash__(self) -> int:
        return hash(self.public_key())

    def __repr__(self) -> str:
        return f"PrivateKey[of {self.public_key().hex()}]"


class ShortChannelId:
    """The position of a channel's funding output: block height, transaction index, output index (BOLT 7).

    ``block`` and ``txnum`` are 24 bits, ``outnum`` 16. Written ``539268x845x1``; eight bytes big endian on the wire.
    """

    __slots__ = ("_number",)

    def __init__(self, block: int, txnum: int, outnum: int) -> None:
        for name, value, bits in (("block", block, 24), ("txnum", txnum, 24), ("outnum", outnum, 16)):
            if not 0 <= value < 1 << bits:
                raise ValueError(f"short channel id: {name} should be 0 to {(1 << bits) - 1}, not {value}")
        self._number = block << 40 | txnum << 16 | outnum

    @property
    def block(self) -> int:
        """The height of the block the funding transaction is in."""
        return self._number >> 40

    @property
    def txnum(self) -> int:
        """The transaction's index in its block."""
        return self._number >> 16 & 0xFFFFFF

    @property
    def outnum(self) -> int:
        """The output's index in its transaction."""
        return self._number & 0xFFFF

    @classmethod
    def from_bytes(cls, data: bytes) -> ShortChannelId:
        """Parse eight bytes, big endian. Raises `ValueError`."""
        if len(data) != 8:
            raise ValueError(f"short channel id should be 8 bytes, not {len(data)}")
        made = cls.__new__(cls)
        made._number = int.from_bytes(data, "big")  # noqa: SLF001 - every 64-bit number is valid
        return made

    @classmethod
    def from_int(cls, number: int) -> ShortChannelId:
        """Return the id for a 64-bit number. Raises `ValueError`."""
        if not 0 <= number < 1 << 64:
            raise ValueError(f"short channel id should be a number of 64 bits, not {number}")
        return cls.from_bytes(number.to_bytes(8, "big"))

    @classmethod
    def from_str(cls, text: str) -> ShortChannelId:
        """Parse ``539268x845x1``. Raises `ValueError`."""
        parts = text.split("x")
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) <= 9 for part in parts):
            raise ValueError(f"short channel id should look like 539268x845x1, not {text!r}")
        return cls(*map(int, parts))

    def to_int(self) -> int:
        """Return the 64-bit number."""
        return self._number

    def to_bytes(self) -> bytes:
        """Return the eight bytes."""
        return self._number.to_bytes(8, "big")

    __bytes__ = to_bytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShortChannelId) and self._number == other._number

    def __lt__(self, other: object) -> bool:
        return self._number < other._number if isinstance(other, ShortChannelId) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._number)

    def __str__(self) -> str:
        return f"{self.block}x{self.txnum}x{self.outnum}"

    def __repr__(self) -> str:
        return f"ShortChannelId[{self}]"
