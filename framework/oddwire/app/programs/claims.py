"""The claims of a node's programs, and conflicts between two of them. No I/O."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from oddwire.records import FrozenRecord

__all__ = ["LARGEST", "Claim", "Shared", "in_common", "is_copy", "program_number"]

LARGEST: Final = 1 << 20
"""Maximum size of a claim in bytes; the largest that fits into a hello has a third of that."""

_LISTED: Final = 8  # things of each kind that a warning names


def program_number(node_id: str, path: str | os.PathLike[str]) -> int:
    """Return the number, u64, by which peers recognise a node's program after a restart; ``path`` is absolute."""
    return int.from_bytes(hashlib.sha256(node_id.encode() + os.fsencode(path)).digest()[:8], "big")


class Claim(FrozenRecord, kw_only=True):
    """One program's description of itself for the other programs of its node.

    ``file`` is the path of its plugin file, ``process`` its process id, ``program`` its number. ``store`` is the path
    of its store, whether or not that exists; ``inode`` identifies the store's file under any path, empty while there
    is none. ``stores`` are the store's numbers, its own first, ``renewed`` those it has given up because another store
    has them. ``types`` are those of the messages it handles.
    """

    file: str
    process: int
    program: int
    store: str = ""
    inode: str = ""
    stores: tuple[int, ...] = ()
    renewed: tuple[int, ...] = ()
    extensions: tuple[str, ...] = ()
    types: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """Return the claim as JSON, with one field per line to be readable."""
        fields = {
            "file": self.file,
            "process": self.process,
            "program": _hex(self.program),
            "store": self.store,
            "inode": self.inode,
            "stores": [*map(_hex, self.stores)],
            "renewed": [*map(_hex, self.renewed)],
            "extensions": [*self.extensions],
            "types": [*self.types],
        }
        lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items())
        return f"{{\n{lines}\n}}\n".encode()

    @classmethod
    def decode(cls, content: bytes) -> Claim:
        """Parse a claim, which any version may have written. Raises `ValueError`."""
        if len(content) > LARGEST:
            raise ValueError(f"should be at most {LARGEST} bytes")
        try:
            found: Any = json.loads(content)
        except (RecursionError, UnicodeDecodeError) as error:
            raise ValueError(str(error)) from None
        if not isinstance(found, dict) or not isinstance(found.get("file"), str) or not found["file"]:
            raise ValueError("should be an object with the path of a plugin file")
        return cls(
            file=found["file"],
            process=_number(found.get("process"), 10),
            program=_number(found.get("program"), 16),
            store=_text(found.get("store", "")),
            inode=_text(found.get("inode", "")),
            stores=tuple(_number(each, 16) for each in _list(found.get("stores", []))),
            renewed=tuple(_number(each, 16) for each in _list(found.get("renewed", []))),
            extensions=tuple(map(_text, _list(found.get("extensions", [])))),
            types=tuple(_number(each, 10) for each in _list(found.get("types", []))),
        )


def _hex(number: int) -> str:
    return f"{number:016x}"


def _number(value: Any, base: int) -> int:
    """Parse a u64, given as a number or as text in hexadecimal. Raises `ValueError`."""
    number = int(value, 16) if base == 16 and isinstance(value, str) else value
    if type(number) is not int or not 0 <= number < 1 << 64:
        raise ValueError(f"should be a number from 0 to 2**64 - 1, not {value!r:.100}")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"should be text, not {value!r:.100}")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"should be a list, not {value!r:.100}")
    return value


class Shared(NamedTuple):
    """A conflict of two programs: the ``things`` of a ``kind`` that both have; ``text`` is the warning to log."""

    kind: str
    things: frozenset[object]
    text: str


def in_common(earlier: Claim, later: Claim) -> list[Shared]:
    """Return the conflicts of two running programs, with their warnings for the log."""
    both = f"plugin files {earlier.file} and {later.file}"
    found = []
    if extensions := sorted({*earlier.extensions} & {*later.extensions}):
        words = _words("the extension", "the extensions", map(repr, extensions))
        text = (
            f"{both} both have {words}: peers send the requests and reliable messages of an extension to one of the "
            "two, which is not chosen here; load it in one plugin file, and move what the other has kept with "
            "'oddwire store move'"
        )
        found.append(Shared("extension", frozenset(extensions), text))
    if types := sorted({*earlier.types} & {*later.types}):
        words = _words("type", "types", (f"{type_id:#06x}" for type_id in types))
        text = f"{both} both take messages of {words}: each plain one is handled by both; one of the two should take it"
        found.append(Shared("type", frozenset(types), text))
    if earlier.program == later.program and earlier.file != later.file:
        text = (
            f"{both} have one program number, {_hex(later.program)}: peers may treat each as a restart of the other, "
            "and end their sessions with it; give one of them another path"
        )
        found.append(Shared("program", frozenset([later.program]), text))
    if earlier.store and earlier.store == later.store and earlier.file != later.file:
        text = (
            f"{both} have one name, and so one store, {later.store}: the one that opens it later fails; "
            "give one of them another name"
        )
        found.append(Shared("file name", frozenset([later.store]), text))
    return found + _copies(earlier, later)


def _copies(earlier: Claim, later: Claim) -> list[Shared]:
    for original, copy in ((earlier, later), (later, earlier)):
        if renewed := {*copy.renewed} & {*original.stores}:
            text = (
                f"plugin file {copy.file} has a store, {copy.store}, that was copied from that of {original.file}, "
                f"{original.store}, which runs: the copy has new numbers now; what waited in both to be sent is sent "
                "by both"
            )
            return [Shared("store", frozenset(renewed), text)]
    if is_copy(later, earlier):
        text = (
            f"plugin files {earlier.file} and {later.file} use two copies of one store, {earlier.store} and "
            f"{later.store}: reliable messages are lost that both number alike; stop both, and start one after the "
            "other"
        )
        return [Shared("store", frozenset(later.stores[:1]), text)]
    return []


def is_copy(claim: Claim, other: Claim) -> bool:
    """Return whether two stores are copies of one. The same path is the same store, which the other has closed."""
    return claim.stores[:1] == other.stores[:1] != () and claim.store != other.store


def _words(one: str, several: str, things: Iterable[str]) -> str:
    named = [*things]
    text = ", ".join(named[:_LISTED])
    more = len(named) - _LISTED
    return f"{one if len(named) == 1 else several} {text}" + (f" and {more} more" if more > 0 else "")
