"""Noise_XK_secp256k1_ChaChaPoly_SHA256 as BOLT 8 uses it: the three acts, and cipher states that rotate. No I/O.

A handshake receives bytes in chunks of any size, and returns bytes to send::

    handshake = Handshake.initiator(local_key, remote_key, ephemeral)
    send(handshake.start())
    while not handshake.done:
        send(handshake.receive(read()))      # raises HandshakeFailed
    handshake.sending, handshake.receiving, handshake.remote_key, handshake.leftover

The caller passes the ephemeral key, so a handshake is a function of its inputs.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from oddwire.errors import AuthenticationFailed, HandshakeFailed, LocalProtocolError
from oddwire.proto.keys import PrivateKey, PublicKey

__all__ = ["ACT_SIZES", "NONCES", "ROTATE_AFTER", "CipherState", "Handshake"]

ACT_SIZES: Final = {1: 50, 2: 50, 3: 66}
"""Bytes in each act (BOLT 8, Handshake Exchange)."""

ROTATE_AFTER: Final = 1000
"""Uses of one key before it rotates: 500 messages of two packets (BOLT 8, Lightning Message Key Rotation)."""

# 32 zero bits, then a little-endian 64-bit counter. A key is dropped at 1000, so these are all there are.
NONCES: Final = tuple(bytes(4) + n.to_bytes(8, "little") for n in range(ROTATE_AFTER))

_PROTOCOL = sha256(b"Noise_XK_secp256k1_ChaChaPoly_SHA256").digest()
_PROLOGUE = sha256(_PROTOCOL + b"lightning").digest()
_VERSION = 0


def _hkdf(salt: bytes, ikm: bytes) -> tuple[bytes, bytes]:
    """Return two keys of 32 bytes (RFC 5869 with SHA-256 and no info)."""
    okm = HKDF(hashes.SHA256(), 64, salt, b"").derive(ikm)
    return okm[:32], okm[32:]


def _read_point(data: bytes, *, act: int) -> PublicKey:
    try:
        return PublicKey(data)
    except ValueError:
        raise HandshakeFailed(
            f"act {act}: public key {data.hex()} is not a compressed point on secp256k1",
            act=act,
            code=f"ACT{act}_BAD_PUBKEY",
        ) from None


class CipherState:
    """One direction of a connection: a key, its chaining key, and how often the key was used.

    ``encrypt(nonce, data, None)``, ``encrypt_into(nonce, data, None, room)`` and ``decrypt`` are the current key's own
    bound methods: one cipher object per key. The caller counts each use in `used` and calls `rotate` when it reaches
    `ROTATE_AFTER`.
    """

    __slots__ = ("_chaining_key", "_key", "decrypt", "encrypt", "encrypt_into", "used")

    def __init__(self, key: bytes, chaining_key: bytes) -> None:
        self._chaining_key = chaining_key
        self._set(key)

    def _set(self, key: bytes) -> None:
        self._key = key
        cipher = ChaCha20Poly1305(key)
        self.encrypt = cipher.encrypt
        self.encrypt_into = cipher.encrypt_into
        self.decrypt = cipher.decrypt
        self.used = 0

    def rotate(self) -> None:
        """Derive the next key and forget this one. BOLT 8, Lightning Message Key Rotation."""
        self._chaining_key, key = _hkdf(self._chaining_key, self._key)
        self._set(key)

    @property
    def key(self) -> bytes:
        """The current key, 32 bytes: to compare with test vectors, and to decrypt a capture later."""
        return self._key


class Handshake:
    """One side of BOLT 8's handshake. Made by `initiator` or `responder`."""

    __slots__ = (
        "_act",
        "_buffer",
        "_ck",
        "_ephemeral",
        "_h",
        "_local_key",
        "_temp_k2",
        "is_initiator",
        "receiving",
        "remote_key",
        "sending",
    )

    def __init__(self, local_key: PrivateKey, remote_key: PublicKey | None, ephemeral: PrivateKey) -> None:
        self.is_initiator = remote_key is not None
        self.remote_key = remote_key
        self.sending: CipherState | None = None
        self.receiving: CipherState | None = None
        self._local_key = local_key
        self._ephemeral = ephemeral
        self._temp_k2 = b""
        self._buffer = b""
        self._ck = _PROTOCOL
        # BOLT 8, Handshake State Initialization: both mix in the responder's static key
        self._h = _PROLOGUE
        self._mix((remote_key or local_key.public_key()).to_bytes())
        # The act awaited next; 0 before `start`, 4 when done
        self._act = 0 if self.is_initiator else 1

    @classmethod
    def initiator(cls, local_key: PrivateKey, remote_key: PublicKey, ephemeral: PrivateKey) -> Handshake:
        """Return the dialing side, which knows the remote key."""
        return cls(local_key, remote_key, ephemeral)

    @classmethod
    def responder(cls, local_key: PrivateKey, ephemeral: PrivateKey) -> Handshake:
        """Return the listening side, which learns the remote key in act three."""
        return cls(local_key, None, ephemeral)

    @property
    def done(self) -> bool:
        """Whether `sending`, `receiving` and `remote_key` are set."""
        return self._act == 4

    @property
    def missing(self) -> int:
        """Bytes of the next act that have not arrived yet; 0 if none is awaited."""
        return ACT_SIZES[self._act] - len(self._buffer) if self._act in ACT_SIZES else 0

    @property
    def gathered(self) -> bytes:
        """The bytes of the next act that have arrived."""
        return self._buffer

    @property
    def act(self) -> int:
        """The number of the act awaited next; 4 when done."""
        return self._act

    @property
    def leftover(self) -> bytes:
        """The bytes received after the last act: the start of the first message."""
        return self._buffer if self._act == 4 else b""

    def start(self) -> bytes:
        """Return act one, the initiator's first step."""
        if self._act != 0 or self.remote_key is None:
            raise LocalProtocolError("only an initiator starts a handshake, and only once")
        self._act = 2
        # BOLT 8, Act One
        ephemeral = self._ephemeral.public_key().to_bytes()
        self._mix(ephemeral)
        temp_k1 = self._mix_key(self._ephemeral, self.remote_key)
        return b"\0" + ephemeral + self._seal_empty(temp_k1)

    def receive(self, data: bytes | memoryview) -> bytes:
        """Receive the next bytes from the peer; return those to send in answer, or none.

        Raises `HandshakeFailed` (`AuthenticationFailed` for a MAC): the connection must then be closed
        without sending. After that, and once `done`, it raises `LocalProtocolError`.
        """
        if self._act not in ACT_SIZES:
            raise LocalProtocolError("this handshake is over, or has not been started")
        self._buffer += data
        answer = b""
        while self._act in ACT_SIZES and len(self._buffer) >= ACT_SIZES[self._act]:
            act, size = self._act, ACT_SIZES[self._act]
            packet, self._buffer = self._buffer[:size], self._buffer[size:]
            self._act = -1  # stays so if the act fails
            if packet[0] != _VERSION:
                raise HandshakeFailed(
                    f"act {act} has version {packet[0]}, should be {_VERSION}", act=act, code=f"ACT{act}_BAD_VERSION"
                )
            if act == 1:
                answer += self._act_one(packet)
            elif act == 2:
                answer += self._act_two(packet)
            else:
                self._act_three(packet)
        return answer

    def receive_eof(self) -> HandshakeFailed:
        """Return the error for a peer that closed before its act was whole."""
        act = max(self._act, 1)
        self._act = -1
        return HandshakeFailed(
            f"connection closed after {len(self._buffer)} of the {ACT_SIZES.get(act, 0)} bytes of act {act}",
            act=act,
            code=f"ACT{act}_READ_FAILED",
        )

    # The acts: those received, each with its answer -----------------------------------------------------

    def _act_one(self, packet: bytes) -> bytes:
        # BOLT 8, Act One, receiver
        remote_ephemeral = self._read_ephemeral(packet, act=1)
        self._open_empty(self._mix_key(self._local_key, remote_ephemeral), packet[34:], act=1)
        # BOLT 8, Act Two, sender
        ephemeral = self._ephemeral.public_key().to_bytes()
        self._mix(ephemeral)
        self._temp_k2 = self._mix_key(self._ephemeral, remote_ephemeral)
        self._act = 3
        return b"\0" + ephemeral + self._seal_empty(self._temp_k2)

    def _act_two(self, packet: bytes) -> bytes:
        # BOLT 8, Act Two, receiver
        remote_ephemeral = self._read_ephemeral(packet, act=2)
        temp_k2 = self._mix_key(self._ephemeral, remote_ephemeral)
        self._open_empty(temp_k2, packet[34:], act=2)
        # BOLT 8, Act Three, sender
        sealed = ChaCha20Poly1305(temp_k2).encrypt(NONCES[1], self._local_key.public_key().to_bytes(), self._h)
        self._mix(sealed)
        tag = self._seal_empty(self._mix_key(self._local_key, remote_ephemeral))
        sending, receiving = _hkdf(self._ck, b"")
        self._finish(sending, receiving)
        return b"\0" + sealed + tag

    def _act_three(self, packet: bytes) -> None:
        # BOLT 8, Act Three, receiver
        sealed = packet[1:50]
        try:
            static = ChaCha20Poly1305(self._temp_k2).decrypt(NONCES[1], sealed, self._h)
        except InvalidTag:
            raise AuthenticationFailed(
                "act 3: the peer's static key does not verify", act=3, code="ACT3_BAD_CIPHERTEXT"
            ) from None
        self._mix(sealed)
        remote_key = _read_point(static, act=3)
        self._open_empty(self._mix_key(self._ephemeral, remote_key), packet[50:], act=3)
        self.remote_key = remote_key
        receiving, sending = _hkdf(self._ck, b"")
        self._finish(sending, receiving)

    # Parts of the acts ----------------------------------------------------------------------------------

    def _mix(self, data: bytes) -> None:
        self._h = sha256(self._h + data).digest()

    def _mix_key(self, private: PrivateKey, public: PublicKey) -> bytes:
        self._ck, temp = _hkdf(self._ck, private.ecdh(public).data)
        return temp

    def _read_ephemeral(self, packet: bytes, *, act: int) -> PublicKey:
        self._mix(packet[1:34])
        return _read_point(packet[1:34], act=act)

    def _seal_empty(self, key: bytes) -> bytes:
        tag = ChaCha20Poly1305(key).encrypt(NONCES[0], b"", self._h)
        self._mix(tag)
        return tag

    def _open_empty(self, key: bytes, tag: bytes, *, act: int) -> None:
        try:
            ChaCha20Poly1305(key).decrypt(NONCES[0], tag, self._h)
        except InvalidTag:
            why = {
                1: "the peer dials another node id than ours",
                2: "the peer does not hold the key of the node id we dialed",
                3: "the peer does not hold the key it claims",
            }
            raise AuthenticationFailed(
                f"act {act}: the MAC does not verify: {why[act]}, or bytes were changed on the way",
                act=act,
                code=f"ACT{act}_BAD_TAG",
            ) from None
        self._mix(tag)

    def _finish(self, sending: bytes, receiving: bytes) -> None:
        # BOLT 8: both directions start from one chaining key and rotate each on its own from here
        self.sending = CipherState(sending, self._ck)
        self.receiving = CipherState(receiving, self._ck)
        self._temp_k2 = b""
        self._act = 4
