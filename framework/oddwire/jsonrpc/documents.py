"""JSON documents on a byte stream, as lightningd frames them: one after the other, with or without white space between.

No I/O. `JsonSplitter` receives bytes in any chunks and yields parsed documents, and an `Oversize` for one that is too
large; `encode` is the inverse.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

from oddwire.errors import DefinitionError, RemoteProtocolError

__all__ = [
    "MAX_DEPTH",
    "MAX_DOCUMENT",
    "MAX_DOCUMENT_VARIABLE",
    "JsonSplitter",
    "Oversize",
    "Shortcut",
    "encode",
    "max_document",
]

MAX_DOCUMENT: Final = 128 * 1024 * 1024
"""Default max bytes of a document.

Nearly four times the answer of ``listchannels`` on mainnet. A parsed document takes some ten times its size in memory.
"""
MAX_DOCUMENT_VARIABLE: Final = "ODDWIRE_MAX_DOCUMENT"
"""The environment variable that replaces `MAX_DOCUMENT`: bytes."""
MAX_DEPTH: Final = 100
"""Default max nesting depth of arrays and objects."""

Shortcut = Callable[[str, int], "tuple[Any, int] | None"]
"""A fast path for some documents: from text and a document's start, returns a replacement for it and its end.

It returns None for all others. It must recognize only whole valid documents, possibly after white space.
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
_KEY = re.compile(rb"\s*:\s*")
# The last members of an object, up to its end: an ``id`` may be there, after others that are as short
_LAST_ID = re.compile(
    rb"""[,{]\s*"id"\s*:\s*("(?:[^"\\]|\\.)*+"|-?\d+)\s*"""
    rb"""(?:,\s*"(?:jsonrpc|method)"\s*:\s*"[^"\\]*+"\s*)*+\}$""",
    re.DOTALL,
)
_DIGITS: Final = 18  # of a number of bytes
_KEPT: Final = 4096  # bytes kept of the beginning and of the end of a document that is too large: ids are there
# A whole string, or one byte that matters outside of strings; a string that has not ended matches neither
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]"]', re.DOTALL)
_IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


def encode(document: object) -> bytes:
    """Return one document in compact form, ended by two newlines, as lightningd writes it.

    UTF-8; lone surrogates, which UTF-8 cannot encode, are escaped. Raises `ValueError` or `TypeError` for values
    that JSON cannot express.
    """
    try:
        return _encode(document).encode() + b"\n\n"
    except UnicodeEncodeError:
        return _encode_ascii(document).encode() + b"\n\n"


def max_document() -> int:
    """Return the max bytes of a document: `MAX_DOCUMENT`, or the value of ODDWIRE_MAX_DOCUMENT.

    Raises `DefinitionError` if that is not a number of bytes.
    """
    text = os.environ.get(MAX_DOCUMENT_VARIABLE)
    if text is None:
        return MAX_DOCUMENT
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) > 0):
        raise DefinitionError(f"{MAX_DOCUMENT_VARIABLE} should be a number of bytes, not {text!r}")
    return int(text)


class Oversize:
    """Stands for a document that is too large, or nested too deep, to be parsed: it was read, but not kept.

    ``reason`` says how large or deep it is, and the limit. `member` finds some of its members.
    """

    __slots__ = ("_end", "_start", "reason", "size")

    def __init__(self, start: bytes, end: bytes, size: int, reason: str) -> None:
        self._start = start
        self._end = end
        self.size = size
        """Bytes received of it so far."""
        self.reason = reason

    def __repr__(self) -> str:
        return f"<Oversize {self.reason}>"

    def titled(self, what: str) -> str:
        """Return the reason after a title: ``request of 5000000 bytes, ...``, ``request nested 102 deep, ...``."""
        return f"{what} {self.reason}" if "nested" in self.reason else f"{what} of {self.reason}"

    def member(self, name: str) -> Any:
        """Return a string or number member of the outermost object; None if it is not seen.

        It is seen in the first 4 KB; an ``id`` also in the last.
        """
        depth, wanted = 0, f'"{name}"'.encode()
        for token in _TOKEN.finditer(self._start):
            text = token[0]
            if text == b'"':
                break  # a truncated string
            if text in b"{[":
                depth += 1
            elif text in b"}]":
                depth -= 1
            elif depth == 1 and text == wanted and (key := _KEY.match(self._start, token.end())):
                return _scalar(self._start[key.end() :])
        last = _LAST_ID.search(self._end) if name == "id" else None
        return None if last is None else _scalar(last[1])


def _scalar(data: bytes) -> Any:
    try:
        value, _ = _decoder.raw_decode(data.decode(errors="ignore"))
    except ValueError:
        return None
    return value if type(value) in (str, int) else None


class JsonSplitter:
    """Splits a stream into JSON documents: objects or arrays.

    `feed` returns all whole documents at once; or `push`, then iterate, to stop in between. Invalid bytes raise
    `RemoteProtocolError`, then and at every later call, as the start of the next document is unknown. As in lightningd,
    they are detected once a ``}`` has arrived. Of a document larger than ``max_size`` bytes, or nested deeper than
    ``max_depth``, no more than that is kept, and at its end an `Oversize` is yielded; later documents are read as
    usual. ``raise_with`` is a text for errors on how to raise the limit.

    Where nearly all documents are alike, a ``shortcut`` saves parsing them: what it returns is yielded in their place.
    Documents that it does not recognize, or that arrived in pieces, are parsed.
    """

    __slots__ = (
        "_at",
        "_deepest",
        "_depth",
        "_end",
        "_error",
        "_in_string",
        "_known",
        "_max_depth",
        "_max_size",
        "_raise_with",
        "_rest",
        "_scanned",
        "_shortcut",
        "_skipped",
        "_start",
        "_text",
    )

    def __init__(
        self,
        *,
        max_size: int = MAX_DOCUMENT,
        max_depth: int = MAX_DEPTH,
        shortcut: Shortcut | None = None,
        raise_with: str = "",
    ) -> None:
        self._max_size = max_size
        self._max_depth = max_depth
        self._raise_with = raise_with
        self._shortcut = shortcut
        self._known: Shortcut | None = None  # the shortcut, while no document can be too large
        self._text = ""  # whole chunks, parsed by the C scanner
        self._at = 0
        self._rest = bytearray()  # a document that is not whole, scanned as far as received
        self._scanned = 0
        self._depth = 0
        self._deepest = 0
        self._in_string = False
        self._start = b""  # of a document that is too large; ``_rest`` then holds only unscanned bytes
        self._end = b""
        self._skipped = 0
        self._error: str | None = None

    @property
    def rest(self) -> bytes:
        """The bytes pushed and not consumed yet."""
        return self._text[self._at :].encode() if self._text else bytes(self._rest)

    @property
    def is_partial(self) -> bool:
        """Whether, after iteration to the end, part of a document is kept, not just white space."""
        return bool(self._rest) or self._at < len(self._text) or self._skipped > 0

    @property
    def oversize(self) -> Oversize | None:
        """A document that is too large or too deep and has not ended; None if there is none."""
        if self._skipped:
            return self._oversize(self._skipped + len(self._rest), self._end, "so far ")
        if self._deepest > self._max_depth:
            return self._oversize(len(self._rest), b"", "so far ")
        return None

    def feed(self, data: bytes) -> list[Any]:
        """Receive bytes; return every document that is whole now. Raises `RemoteProtocolError`."""
        self.push(data)
        return list(self)

    def push(self, data: bytes) -> None:
        """Receive bytes, to be parsed by iteration."""
        if self._text:
            self._rest += self._text[self._at :].encode()
            self._text = ""
        if self._rest or self._skipped:
            self._rest += data
        else:
            self._walk(data)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """Return the next whole document. Raises `RemoteProtocolError`; `StopIteration` if none is whole yet."""
        if self._error is not None:
            raise RemoteProtocolError(self._error)
        text = self._text
        if text:
            if self._known is not None:
                known = self._known(text, self._at)
                if known is not None:
                    document, self._at = known
                    return document
            at = _SPACE.match(text, self._at).end()  # type: ignore[union-attr]  # it always matches, if only nothing
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
        # Cheap bounds; documents beyond them are measured exactly by the scan
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
        if not self._scanned and not self._skipped:
            space = _SPACE_BYTES.match(rest)
            if space is not None and space.end():
                del rest[: space.end()]
        if not rest:
            raise StopIteration
        if not self._skipped and rest[0] not in b"{[":
            if rest.find(b"}", self._scanned) >= 0:
                self._fail("a JSON document starts with { or [")
            self._scanned = len(rest)
            if len(rest) > self._max_size:
                self._fail(f"more than {self._max_size} bytes that are no JSON document")
            raise StopIteration
        end = self._scan()
        if not end:
            if self._skipped or len(rest) > self._max_size:
                self._skip()
            raise StopIteration
        size = self._skipped + end
        document: Any
        if size > self._max_size or self._deepest > self._max_depth:
            document = self._oversize(size, self._end + rest[max(0, end - _KEPT) : end])
        else:
            try:
                document = _decoder.decode(str(rest[:end], "utf-8"))
            except (ValueError, RecursionError) as error:
                self._fail(str(error))
        tail = rest[end:]
        self._rest = bytearray()
        self._scanned = self._skipped = self._deepest = 0
        self._start = self._end = b""
        if tail:
            self._walk(tail)
        return document

    def _scan(self) -> int:
        """Continue the scan for the document's end; return its offset, or 0 if it has not arrived."""
        rest, at, depth = self._rest, self._scanned, self._depth
        if self._in_string:
            at = _IN_STRING.match(rest, at).end()  # type: ignore[union-attr]  # it always matches, if only nothing
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
                if depth > self._deepest:
                    self._deepest = depth
            else:
                depth -= 1
                if not depth:
                    self._depth = 0
                    return token.end()
        else:
            at = len(rest)
        self._scanned, self._depth = at, depth
        return 0

    def _skip(self) -> None:
        """Drop the scanned bytes of a document that is too large."""
        rest, scanned = self._rest, self._scanned
        if not self._skipped:
            self._start = bytes(rest[:_KEPT])
        self._end = (self._end + rest[max(0, scanned - _KEPT) : scanned])[-_KEPT:]
        self._skipped += scanned
        del rest[:scanned]
        self._scanned = 0

    def _oversize(self, size: int, end: bytes | bytearray, so_far: str = "") -> Oversize:
        start = self._start or bytes(self._rest[:_KEPT])
        if size > self._max_size:
            reason = f"{so_far}{size} bytes, of at most {self._max_size}"
        else:
            reason = f"{so_far}nested {self._deepest} deep, of at most {self._max_depth}"
        raise_with = self._raise_with if size > self._max_size else ""
        return Oversize(start, bytes(end[-_KEPT:]), size, f"{reason}{raise_with}")

    def _fail(self, reason: str) -> NoReturn:
        self._error = reason
        raise RemoteProtocolError(reason)
