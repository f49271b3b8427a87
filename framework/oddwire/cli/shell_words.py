"""Text that people type, as it was meant: words as a shell reads them, and arguments in whatever the locale is."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

__all__ = ["BLANKS", "Word", "as_typed", "decoded", "next_word", "split_words", "unquoted"]

BLANKS: Final = " \t"
"""What separates words. A non-breaking space and its like belong to a word, as in a shell."""


class Word(NamedTuple):
    """One word: its text without quotes and escapes, and where in the line it lies."""

    text: str
    start: int
    end: int


def split_words(line: str) -> list[Word]:
    """Split a line as a POSIX shell does, expansions left out but for ``~`` and ``~user`` at the start of a word.

    A backslash takes the next character as it is, between double quotes only before a double quote or a backslash;
    between single quotes all is as it is. ``#``, ``$``, ``*``, ``;`` and their like are characters as any other. Raises
    `ValueError` for a quote without its other half, and for a backslash with nothing after it.
    """
    words: list[Word] = []
    word = next_word(line, 0)
    while word is not None:
        words.append(word)
        word = next_word(line, word.end)
    return words


def next_word(line: str, at: int) -> Word | None:
    """Return the first word from ``at`` on, as `split_words` reads it; None if there is none. Raises `ValueError`."""
    while at < len(line) and line[at] in BLANKS:
        at += 1
    return _word(line, at) if at < len(line) else None


def unquoted(text: str) -> str:
    """Return what is between the quotes, if one pair of them is around a whole text; else the text as it is."""
    inner = text.rstrip(BLANKS)
    try:
        if inner[:1] == "'" and _closing(inner, 0) == len(inner) - 1:
            return inner[1:-1]
        if inner[:1] == '"':
            found, end = _double(inner, 0)
            return found if end == len(inner) else text
    except ValueError:  # only one half of a pair
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
        if line.startswith(home, start) and line[start + len(home) : at][:1] in ("", "/"):  # no quote, no backslash
            text = os.path.expanduser(home) + slash + rest  # noqa: PTH111 - pathlib has it raise for who is unknown
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
    """Read a line of stdin: UTF-8, or what the locale has if it is none. What is neither is kept, as in file names."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return os.fsdecode(line)


def as_typed(argument: str) -> str:
    """Read an argument again that Python, in a locale without UTF-8, could not: as UTF-8, if it is that."""
    try:
        return argument if argument.isascii() else _again(argument)
    except UnicodeError:
        return argument


def _again(argument: str) -> str:
    try:
        argument.encode()
    except UnicodeEncodeError:  # Python has kept bytes as lone surrogates
        return os.fsencode(argument).decode()
    return argument
