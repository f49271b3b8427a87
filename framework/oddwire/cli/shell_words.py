"""Parsing of typed text: words as in a shell, and arguments and lines in the encoding of the locale."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

__all__ = ["BLANKS", "Word", "as_typed", "decoded", "next_word", "split_words", "unquoted"]

BLANKS: Final = " \t"
"""The characters that separate words. A non-breaking space and the like are part of a word, as in a shell."""


class Word(NamedTuple):
    """One word: its text without quotes and escapes, and its position in the line."""

    text: str
    start: int
    end: int


def split_words(line: str) -> list[Word]:
    """Split a line as a POSIX shell does, with expansion only of ``~`` and ``~user`` at the start of a word.

    A backslash escapes the next character, between double quotes only a double quote or a backslash; between single
    quotes nothing is special. ``#``, ``$``, ``*``, ``;`` and the like are ordinary characters. Raises `ValueError` for
    a quote that is not closed, and for a backslash at the end.
    """
    words: list[Word] = []
    word = next_word(line, 0)
    while word is not None:
        words.append(word)
        word = next_word(line, word.end)
    return words


def next_word(line: str, at: int) -> Word | None:
    """Return the first word from ``at`` on, as in `split_words`; None if there is none. Raises `ValueError`."""
    while at < len(line) and line[at] in BLANKS:
        at += 1
    return _word(line, at) if at < len(line) else None


def unquoted(text: str) -> str:
    """Return a text without the one pair of quotes around all of it; unchanged if there is no such pair."""
    inner = text.rstrip(BLANKS)
    try:
        if inner[:1] == "'" and _closing(inner, 0) == len(inner) - 1:
            return inner[1:-1]
        if inner[:1] == '"':
            found, end = _double(inner, 0)
            return found if end == len(inner) else text
    except ValueError:  # the quote is not closed
        pass
    return text


def _word(line: str, start: int) -> Word:
    pieces: list[str] = []
    at = start
    while at < len(line) and line[at] not in BLANKS:
        match line[at]:
            case "'":
                end = _closing(line, at)
                pieces.append(line[at + 1 : end])
                at = end + 1
            case '"':
                piece, at = _double(line, at)
                pieces.append(piece)
            case "\\":
                if at + 1 == len(line):
                    raise ValueError("the backslash at the end escapes nothing; \\\\ is one that is meant")
                pieces.append(line[at + 1])
                at += 2
            case character:
                pieces.append(character)
                at += 1
    text = "".join(pieces)
    if line[start] == "~":
        home, slash, rest = text.partition("/")
        if line.startswith(home, start) and line[start + len(home) : at][:1] in ("", "/"):  # neither quoted nor escaped
            text = os.path.expanduser(home) + slash + rest  # noqa: PTH111 - pathlib raises for an unknown user
    return Word(text, start, at)


def _double(line: str, start: int) -> tuple[str, int]:
    pieces: list[str] = []
    at = start + 1
    while at < len(line):
        if line[at] == '"':
            return "".join(pieces), at + 1
        if line[at] == "\\" and line[at + 1 : at + 2] in ('"', "\\"):
            at += 1
        pieces.append(line[at])
        at += 1
    raise _unclosed(line, start)


def _closing(line: str, start: int) -> int:
    end = line.find("'", start + 1)
    if end < 0:
        raise _unclosed(line, start)
    return end


def _unclosed(line: str, start: int) -> ValueError:
    mark = line[start]
    return ValueError(
        f"the quote {mark} before {line[start + 1 : start + 21]!r} is not closed; \\{mark} is one that is meant"
    )


def decoded(line: bytes) -> str:
    """Decode a line of stdin from UTF-8, else from the locale's encoding; other bytes become lone surrogates."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return os.fsdecode(line)


def as_typed(argument: str) -> str:
    """Return an argument decoded again as UTF-8, if Python could not decode it in a locale without UTF-8."""
    try:
        return argument if argument.isascii() else _again(argument)
    except UnicodeError:
        return argument


def _again(argument: str) -> str:
    try:
        argument.encode()
    except UnicodeEncodeError:  # it has lone surrogates for bytes that Python could not decode
        return os.fsencode(argument).decode()
    return argument
