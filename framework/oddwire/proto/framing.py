"""Whole messages to encrypted frames and back (BOLT 8, Lightning Message Specification). No I/O.

A frame is two packets: the length, sealed in 18 bytes, and the message, sealed in its length plus 16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag

from oddwire.errors import PayloadTooLarge, RemoteProtocolError
from oddwire.proto.noise import NONCES, ROTATE_AFTER, CipherState
from oddwire.proto.primitives import MAX_MESSAGE

__all__ = ["HEADER_SIZE", "MAX_FRAME", "FrameReceiver", "FrameSender"]

HEADER_SIZE: Final = 2 + 16
MAX_FRAME: Final = HEADER_SIZE + MAX_MESSAGE + 16

_LARGE: Final = 4096  # bytes of a message from which on copying it is dearer than slicing a view
_NONCE_PAIRS: Final = tuple(zip(NONCES[::2], NONCES[1::2], strict=True))
_PAIRS_A_KEY: Final = len(_NONCE_PAIRS)
_LENGTHS: Final = tuple(n.to_bytes(2, "big") for n in range(2048))


class FrameSender:
    """Seals messages, in the order they are to be sent."""

    __slots__ = ("_cipher",)

    def __init__(self, cipher: CipherState) -> None:
        self._cipher = cipher

    def seal(self, message: bytes, out: list[bytes]) -> int:
        """Append the frame of ``message`` (0 to 65535 bytes) to ``out`` as two packets; give its size in bytes.

        Raises `PayloadTooLarge`, having sealed nothing.
        """
        size = len(message)
        if size > MAX_MESSAGE:
            raise _too_large(size)
        cipher = self._cipher
        used = cipher.used
        encrypt = cipher.encrypt
        header_nonce, message_nonce = _NONCE_PAIRS[used >> 1]
        out.append(encrypt(header_nonce, _LENGTHS[size] if size < 2048 else size.to_bytes(2, "big"), None))
        out.append(encrypt(message_nonce, message, None))
        cipher.used = used = used + 2
        if used == ROTATE_AFTER:
            cipher.rotate()
        return size + 34

    def seal_into(self, message: bytes, room: memoryview) -> int:
        """Do what `seal` does, but write the frame to the front of ``room``: for large messages, one copy less.

        ``room`` is a writable view of bytes that has space for the frame, which `MAX_FRAME` always is.
        """
        size = len(message)
        if size > MAX_MESSAGE:
            raise _too_large(size)
        cipher = self._cipher
        header_nonce, message_nonce = _NONCE_PAIRS[cipher.used >> 1]
        cipher.encrypt_into(header_nonce, size.to_bytes(2, "big"), None, room[:HEADER_SIZE])
        cipher.encrypt_into(message_nonce, message, None, room[HEADER_SIZE : size + 34])
        cipher.used += 2
        if cipher.used == ROTATE_AFTER:
            cipher.rotate()
        return size + 34

    def frame(self, message: bytes) -> bytes:
        """Give the frame of ``message`` in one piece."""
        out: list[bytes] = []
        self.seal(message, out)
        return b"".join(out)


def _too_large(size: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"message of {size} bytes; BOLT 8 allows at most {MAX_MESSAGE}")


class FrameReceiver:
    """Opens frames from bytes that come in any portions.

    `feed` hands each whole message to ``deliver`` before it opens the next, so a chunk is parsed without a task
    switch and ``deliver`` may call `hold` to stop right there. What is not yet whole, or held, stays in `rest`.
    """

    __slots__ = ("_cipher", "_held", "_large", "_need", "deliver", "rest")

    def __init__(self, cipher: CipherState, deliver: Callable[[bytes], object]) -> None:
        self._cipher = cipher
        self._need = 0  # bytes of the second packet, once the first is open
        self._held = False
        self._large = False
        self.deliver = deliver
        self.rest = b""

    @property
    def held(self) -> bool:
        """Whether `hold` is in force."""
        return self._held

    def hold(self) -> None:
        """Deliver nothing more until `release`, not even from the chunk being parsed."""
        self._held = True

    def release(self) -> None:
        """Undo `hold`; the caller then feeds ``b""`` to deliver what was held back."""
        self._held = False

    def feed(self, data: bytes | memoryview) -> None:
        """Open every whole frame in `rest` and ``data`` and deliver its message.

        ``data`` is used only during the call. Raises `RemoteProtocolError` when a MAC does not verify, and at every
        later call: the connection must be closed. Exceptions of ``deliver`` pass through and lose nothing but the
        message it was given.
        """
        if self.rest:
            data = b"".join((self.rest, data))
            self.rest = b""
        if not self._large:
            # A slice of bytes costs less than one of a memoryview; copying large messages twice costs more
            data = bytes(data)
        end = len(data)
        position = 0
        need = self._need
        cipher = self._cipher
        decrypt = cipher.decrypt
        pair = cipher.used >> 1
        message = b""
        try:
            while not self._held:
                header_nonce, message_nonce = _NONCE_PAIRS[pair]
                if not need:
                    start = position + HEADER_SIZE
                    if start > end:
                        break
                    header = decrypt(header_nonce, data[position:start], None)
                    position = start
                    need = (header[0] << 8 | header[1]) + 16
                stop = position + need
                if stop > end:
                    break
                message = decrypt(message_nonce, data[position:stop], None)
                position = stop
                need = 0
                pair += 1
                if pair == _PAIRS_A_KEY:
                    cipher.rotate()
                    decrypt = cipher.decrypt
                    pair = 0
                self.deliver(message)  # read anew each time: it may have been replaced by the call before
        except InvalidTag:
            # What failed stays first in `rest`, and fails again
            raise RemoteProtocolError(
                "a frame's MAC does not verify: bytes were changed, lost or repeated on the way"
            ) from None
        finally:
            cipher.used = pair * 2
            self._need = need
            self._large = need >= _LARGE or len(message) >= _LARGE
            if position < end:
                self.rest = bytes(data[position:])
