"""JSON documents on a byte stream, as lightningd frames them: one after the other, with or without space between.

No I/O. `JsonSplitter` takes bytes split anywhere and gives parsed documents; `encode` is the way back.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

from oddwire.errors import RemoteProtocolError

__all__ = ["MAX_DEPTH", "MAX_DOCUMENT", "JsonSplitter", "Shortcut", "encode"]

MAX_DOCUMENT: Final = 16 * 1024 * 1024
"""Bytes of the largest document that is taken, unless a splitter is told otherwise."""
MAX_DEPTH: Final = 100
"""How deep arrays and objects may be nested, unless a splitter is told otherwise."""

Shortcut = Callable[[str, int], "tuple[Any, int] | None"]
"""Knows some documents at first sight: takes text and where a document starts, gives what stands for it and its end.

None for all others. What it knows must be one whole valid document, perhaps with white space before it.
"""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _read_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits[:40]} is too large")  # it could not be written again
    return number


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False).encode
_encode_ascii = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode
_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_read_float)

_SPACE = re.compile(r"[ \t\n\r]*")
_SPACE_BYTES = re.compile(rb"[ \t\n\r]*")
# A whole string, or one byte that matters outside of strings; a string that has not ended matches neither
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]"]', re.DOTALL)
_IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


def encode(document: object) -> bytes:
    """Write one document compactly, ended by two newlines, as lightningd does.

    UTF-8; a text that has none (a lone surrogate) is escaped. Raises `ValueError` or `TypeError` for what JSON
    cannot say.
    """
    try:
        return _encode(document).encode() + b"\n\n"
    except UnicodeEncodeError:
        return _encode_ascii(document).encode() + b"\n\n"


class JsonSplitter:
    """Splits a stream into JSON documents: objects or arrays.

    `feed` for all of them at once; or `push`, then iterate, to stop in between. What cannot be a document raises
    `RemoteProtocolError`, then and ever after: there is no telling where the next one starts. As lightningd does,
    garbage is judged once a ``}`` has come. A document larger than ``max_size`` bytes, or nested deeper than
    ``max_depth``, is refused before it has been read to its end.

    Where nearly all documents are alike, a ``shortcut`` spares parsing them: what it gives for one is given out as it
    is. What it does not know, or what came in pieces, is parsed.
    """

    __slots__ = (
        "_at",
        "_depth",
        "_error",
        "_in_string",
        "_known",
        "_max_depth",
        "_max_size",
        "_rest",
        "_scanned",
        "_shortcut",
        "_text",
    )

    def __init__(
        self, *, max_size: int = MAX_DOCUMENT, max_depth: int = MAX_DEPTH, shortcut: Shortcut | None = None
    ) -> None:
        self._max_size = max_size
        self._max_depth = max_depth
        self._shortcut = shortcut
        self._known: Shortcut | None = None  # the shortcut, where no document can be too large
        self._text = ""  # whole chunks are walked here, by the C scanner
        self._at = 0
        self._rest = bytearray()  # a document that is not whole is kept here, scanned as far as it goes
        self._scanned = 0
        self._depth = 0
        self._in_string = False
        self._error: str | None = None

    @property
    def rest(self) -> bytes:
        """What has been pushed and not given out yet."""
        return self._text[self._at :].encode() if self._text else bytes(self._rest)

    @property
    def is_partial(self) -> bool:
        """Whether, once it was iterated to its end, more than white space waits for the rest of a document."""
        return bool(self._rest) or self._at < len(self._text)

    def feed(self, data: bytes) -> list[Any]:
        """Take bytes; give every document that is whole now. Raises `RemoteProtocolError`."""
        self.push(data)
        return list(self)

    def push(self, data: bytes) -> None:
        """Take bytes, to be looked at when iterated."""
        if self._text:
            self._rest += self._text[self._at :].encode()
            self._text = ""
        if self._rest:
            self._rest += data
        else:
            self._walk(data)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """Give the next whole document. Raises `RemoteProtocolError`; `StopIteration` means: not now."""
        if self._error is not None:
            raise RemoteProtocolError(self._error)
        text = self._text
        if text:
            if self._known is not None:
                known = self._known(text, self._at)
                if known is not None:
                    document, self._at = known
                    return document
            at = _SPACE.match(text, self._at).end()  # type: ignore[union-attr]  # it matches nothing, too
            if at == len(text):
                self._text = ""
                raise StopIteration
            try:
                document, end = _decoder.raw_decode(text, at)
            except (ValueError, RecursionError):
                pass
            else:
                if type(document) in (dict, list) and self._is_modest(text, at, end):
                    self._at = end
                    return document
            self._rest += text[at:].encode()
            self._text = ""
        return self._next_scanned()

    def _is_modest(self, text: str, at: int, end: int) -> bool:
        # Cheap bounds; what exceeds them is measured exactly by the scan
        brackets = text.count("{", at, end) + text.count("[", at, end)
        return brackets <= self._max_depth and (end - at) * 4 <= self._max_size

    def _walk(self, data: bytes | bytearray) -> None:
        try:
            self._text = text = str(data, "utf-8")
            self._at = 0
            self._known = self._shortcut if len(text) * 4 <= self._max_size else None
        except UnicodeDecodeError:
            self._rest += data

    def _next_scanned(self) -> Any:
        rest = self._rest
        if not self._scanned:
            space = _SPACE_BYTES.match(rest)
            if space is not None and space.end():
                del rest[: space.end()]
        if not rest:
            raise StopIteration
        if rest[0] not in b"{[":
            if rest.find(b"}", self._scanned) >= 0:
                self._fail("a JSON document starts with { or [")
            self._scanned = len(rest)
            self._check_size(len(rest))
            raise StopIteration
        end = self._scan()
        if not end:
            self._check_size(len(rest))
            raise StopIteration
        self._check_size(end)
        try:
            document = _decoder.decode(str(rest[:end], "utf-8"))
        except (ValueError, RecursionError) as error:
            self._fail(str(error))
        tail = rest[end:]
        self._rest = bytearray()
        self._scanned = 0
        if tail:
            self._walk(tail)
        return document

    def _scan(self) -> int:
        """Go on looking for the document's end; give it, or 0 if it has not come."""
        rest, at, depth = self._rest, self._scanned, self._depth
        if self._in_string:
            at = _IN_STRING.match(rest, at).end()  # type: ignore[union-attr]  # it matches nothing, too
            if rest[at : at + 1] != b'"':
                self._scanned = at
                return 0
            at += 1
            self._in_string = False
        for token in _TOKEN.finditer(rest, at):
            byte = rest[token.start()]
            if byte == 0x22:
                if token.end() - token.start() == 1:
                    self._in_string = True
                    at = _IN_STRING.match(rest, token.end()).end()  # type: ignore[union-attr]
                    break
            elif byte in b"{[":
                depth += 1
                if depth > self._max_depth:
                    self._fail(f"nested deeper than {self._max_depth}")
            else:
                depth -= 1
                if not depth:
                    self._depth = 0
                    return token.end()
        else:
            at = len(rest)
        self._scanned, self._depth = at, depth
        return 0

    def _check_size(self, size: int) -> None:
        if size > self._max_size:
            self._fail(f"document of more than {self._max_size} bytes")

    def _fail(self, reason: str) -> NoReturn:
        self._error = reason
        raise RemoteProtocolError(reason)
