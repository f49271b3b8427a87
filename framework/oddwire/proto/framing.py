"""Messages to encrypted frames and back (BOLT 8, Lightning Message Specification). No I/O.

A frame is two packets: the length, sealed in 18 bytes, and the message, sealed in its length plus 16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

from cryptography.exceptions import InvalidTag

from oddwire.errors import ConnectionClosed, PayloadTooLarge, RemoteProtocolError
from oddwire.proto.noise import NONCES, ROTATE_AFTER, CipherState
from oddwire.proto.primitives import MAX_MESSAGE

__all__ = ["HEADER_SIZE", "LOOK_AFTER", "MAX_FRAME", "FrameReceiver", "FrameSender", "WatchedSender"]

HEADER_SIZE: Final = 2 + 16
MAX_FRAME: Final = HEADER_SIZE + MAX_MESSAGE + 16

LOOK_AFTER: Final = 2048
"""Bytes of frames opened between two looks at the clock."""
_LARGE: Final = 4096  # min bytes of a message for which slicing a view is cheaper than a copy
_NONCE_PAIRS: Final = tuple(zip(NONCES[::2], NONCES[1::2], strict=True))
_PAIRS_A_KEY: Final = len(_NONCE_PAIRS)
_LENGTHS: Final = tuple(n.to_bytes(2, "big") for n in range(2048))


class FrameSender:
    """Seals messages, in the order they are to be sent.

    A message is sealed whole or not at all. If sealing fails half-way (out of memory, for example), nothing can be
    sealed any more: the peer would miss what was lost, and to seal it again would use a nonce twice. Every later call
    raises `ConnectionClosed`, and the connection has to end.
    """

    __slots__ = ("_cipher",)

    def __init__(self, cipher: CipherState) -> None:
        self._cipher = cipher

    @property
    def broken(self) -> bool:
        """Whether sealing has failed half-way, so that nothing can be sealed any more."""
        return self._cipher.encrypt is _refuse

    def seal(self, message: bytes, out: list[bytes]) -> int:
        """Append the frame of ``message`` (0 to 65535 bytes) to ``out`` as two packets; return its size in bytes.

        Raises `PayloadTooLarge`, or `TypeError` for anything but bytes (or a view of them), having sealed nothing.
        """
        if type(message) is not bytes:
            message = _plain(message)
        size = len(message)
        if size > MAX_MESSAGE:
            raise _too_large(size)
        cipher = self._cipher
        used = cipher.used
        encrypt = cipher.encrypt
        try:
            header_nonce, message_nonce = _NONCE_PAIRS[used >> 1]
            cipher.used = used = used + 2  # first, so that no failure from here on lets the nonces be used again
            header = encrypt(header_nonce, _LENGTHS[size] if size < 2048 else size.to_bytes(2, "big"), None)
            out += (header, encrypt(message_nonce, message, None))
            if used == ROTATE_AFTER:
                cipher.rotate()
        except BaseException:
            self._break()
            raise
        return size + 34

    def seal_into(self, message: bytes, room: memoryview) -> int:
        """Seal as `seal` does, but write the frame to the front of ``room``: for large messages, one copy less.

        ``room`` is a writable view of bytes with space for the frame, at most `MAX_FRAME`; otherwise `ValueError`
        is raised, having sealed nothing.
        """
        if type(message) is not bytes:
            message = _plain(message)
        size = len(message)
        if size > MAX_MESSAGE:
            raise _too_large(size)
        if len(room) < size + 34:
            raise ValueError(f"room of {len(room)} bytes; the frame of {size} takes {size + 34}")
        cipher = self._cipher
        used = cipher.used
        try:
            header_nonce, message_nonce = _NONCE_PAIRS[used >> 1]
            cipher.used = used = used + 2
            cipher.encrypt_into(header_nonce, size.to_bytes(2, "big"), None, room[:HEADER_SIZE])
            cipher.encrypt_into(message_nonce, message, None, room[HEADER_SIZE : size + 34])
            if used == ROTATE_AFTER:
                cipher.rotate()
        except BaseException:
            self._break()
            raise
        return size + 34

    def frame(self, message: bytes) -> bytes:
        """Return the frame of ``message`` in one piece."""
        out: list[bytes] = []
        self.seal(message, out)
        return b"".join(out)

    def _break(self) -> None:
        # Takes the place of the cipher, so that the fast path needs no check. No nonce is used any more
        refuse: Any = _refuse
        self._cipher.encrypt = self._cipher.encrypt_into = refuse
        self._cipher.used = 0


def _refuse(*_: Any) -> NoReturn:
    raise ConnectionClosed("a message could not be sealed: nothing can follow it")


def _plain(message: Any) -> bytes:
    """Return the bytes of a bytes-like message. Raises `TypeError`."""
    if isinstance(message, bytes | bytearray):
        return bytes(message)
    if isinstance(message, memoryview) and message.format == "B" and message.ndim == 1:
        return message.tobytes()
    of = f" of format {message.format!r} in {message.ndim} dimensions" if isinstance(message, memoryview) else ""
    raise TypeError(f"message should be bytes, not {type(message).__name__}{of}")


def _too_large(size: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"message of {size} bytes; BOLT 8 allows at most {MAX_MESSAGE}")


class WatchedSender(FrameSender):
    """A sender that takes the place of another, and calls ``seen`` with each message that it has sealed."""

    __slots__ = ("_seen",)

    def __init__(self, sender: FrameSender, seen: Callable[[bytes], object]) -> None:
        super().__init__(sender._cipher)  # noqa: SLF001 - its own class
        self._seen = seen

    def seal(self, message: bytes, out: list[bytes]) -> int:  # noqa: D102
        size = super().seal(message, out)
        self._seen(message)
        return size

    def seal_into(self, message: bytes, room: memoryview) -> int:  # noqa: D102
        size = super().seal_into(message, room)
        self._seen(message)
        return size


class FrameReceiver:
    """Opens frames from bytes that arrive in chunks of any size.

    `feed` passes each whole message to ``deliver`` before it opens the next, so a chunk is parsed without a task
    switch and ``deliver`` may call `hold` to stop right there. Bytes that are not whole yet, held, or left for a later
    call are kept.
    """

    __slots__ = ("_at", "_cipher", "_held", "_large", "deliver", "kept", "need", "opened", "size")

    def __init__(self, cipher: CipherState, deliver: Callable[[bytes], object]) -> None:
        self._cipher = cipher
        self.need = 0
        """Bytes of the second packet, once the first is open; 0 before. With fewer, nothing more can be opened."""
        self._held = False
        self._large = False
        self.kept = b""
        """The buffer that holds the `rest`; empty if there is none."""
        self._at = 0  # where in ``kept`` the rest begins
        self.deliver = deliver
        self.opened = 0
        """Messages opened since the caller last set this to 0."""
        self.size = 0
        """Bytes of frames opened since the caller last set this to 0."""

    @property
    def held(self) -> bool:
        """Whether `hold` is in force."""
        return self._held

    @property
    def rest(self) -> bytes:
        """The bytes fed and not opened yet."""
        if self._at:
            self.kept, self._at = self.kept[self._at :], 0
        return self.kept

    @rest.setter
    def rest(self, data: bytes) -> None:
        self.kept, self._at = data, 0

    def hold(self) -> None:
        """Stop delivering until `release`, even within the chunk being parsed."""
        self._held = True

    def release(self) -> None:
        """Undo `hold`; the caller then feeds ``b""`` to deliver what was held back."""
        self._held = False

    def feed(self, data: bytes | memoryview, clock: Callable[[], float] | None = None, until: float = 0.0) -> bool:
        """Open every whole frame in `rest` and ``data`` and deliver its message.

        ``clock`` is read after each `LOOK_AFTER` bytes; from ``until`` on, the remaining bytes wait in `rest` for
        a later call, which may bring no data. Return whether that happened.

        ``data`` is used only during the call. Raises `RemoteProtocolError` when a MAC does not verify, and at every
        later call: the connection must be closed. Exceptions of ``deliver`` propagate, and lose only the
        message that it was called with.
        """
        position = begun = 0
        if self.kept:
            if data:
                data = b"".join((self.rest, data))
            else:
                data, position = self.kept, self._at
                begun = position
            self.kept, self._at = b"", 0
        if not self._large:
            # A slice of bytes costs less than one of a memoryview; copying large messages twice costs more
            data = bytes(data)
        end = len(data)
        look = position + LOOK_AFTER if clock is not None else end + 1
        stopped = False
        need = self.need
        cipher = self._cipher
        decrypt = cipher.decrypt
        pair = first = cipher.used >> 1
        message = b""
        try:
            while not self._held:
                if position >= look:
                    if clock is not None and clock() >= until:
                        stopped = position < end
                        break
                    look = position + LOOK_AFTER
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
                    first -= _PAIRS_A_KEY
                self.deliver(message)  # looked up each time: the call before may have replaced it
        except InvalidTag:
            # The frame that failed stays first in `rest`, and fails again
            raise RemoteProtocolError(
                "a frame's MAC does not verify: bytes were changed, lost or repeated on the way"
            ) from None
        finally:
            cipher.used = pair * 2
            self.need = need
            self._large = need >= _LARGE or len(message) >= _LARGE
            self.opened += pair - first
            self.size += position - begun
            if position < end:
                if stopped and type(data) is bytes:
                    self.kept, self._at = data, position  # copying the rest each time would cost more than opening it
                else:
                    self.kept = bytes(data[position:])
        return stopped
