"""The names and numbers of a new project: checked, and chosen where none are given."""

from __future__ import annotations

import hashlib
import keyword
import re
import sys
from typing import Final

from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.printable import quoted
from oddwire.proto.features import FEATURES, OTHER_FEATURES
from oddwire.proto.type_numbers import CUSTOM_TYPES, KNOWN, known_owner

__all__ = [
    "BLOCK",
    "block_of",
    "check_feature",
    "check_name",
    "check_types",
    "distribution_of",
    "last_of",
    "package_of",
]

BLOCK: Final = 16
"""A project's own type numbers are the odd ones of so many; the first two are used at once."""

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST: Final = 36  # characters; the lines of the generated code, in which it is, end at 120
_PREFIX: Final = "oddwire"
_SAMPLES: Final = range(0x8C00, 0x8E00)
"""The numbers of the extensions that come with oddwire, and of its documentation."""
_SESSION: Final = 0xC0DD
_LAST_FEATURE: Final = 32767
_NUMBER: Final = re.compile(r"-?[0-9]{1,9}|0[xX][0-9a-fA-F]{1,8}", re.ASCII)


def package_of(name: str) -> str:
    """Return the import package of an extension: with a prefix, as all installed packages share one place."""
    return f"{_PREFIX}_{name.replace('-', '_')}"


def distribution_of(name: str) -> str:
    """Return the name under which an extension is installed."""
    return f"{_PREFIX}-{name}"


def check_name(name: str) -> None:
    """Check the name of a new extension. Raises `CommandFailure` that names a better one."""
    if not _NAME.fullmatch(name):
        hint = f"; did you mean {better!r}?" if (better := _repaired(name)) else ""
        raise CommandFailure(
            f"an extension's name should be lower-case words joined by '-', not {quoted(name)}{hint}", USAGE
        )
    if len(name) > _LONGEST:
        raise CommandFailure(f"an extension's name should have {_LONGEST} characters at most, not {len(name)}", USAGE)
    if name.split("-")[0] == _PREFIX:
        rest = name[len(_PREFIX) + 1 :]
        hint = f"'oddwire new {rest}'" if _NAME.fullmatch(rest) else "choose another name, 'mine' say"
        raise CommandFailure(
            f"{name!r} begins with the name of oddwire itself, which the package gets anyway: {hint}", USAGE
        )
    if keyword.iskeyword(name):
        raise CommandFailure(
            f"{name!r} is a keyword of Python, so no module can be called that; {name}-peer can, say", USAGE
        )
    if name in sys.stdlib_module_names:
        raise CommandFailure(
            f"{name!r} is a module of Python's own, which a plugin file {name}.py would hide; {name}-peer is free, say",
            USAGE,
        )
    _check_installed(name)


def _check_installed(name: str) -> None:
    from importlib.metadata import entry_points

    from oddwire.app.plugins.manager import EXTENSIONS

    for entry in entry_points(group=EXTENSIONS):
        if entry.name.replace("_", "-") == name:
            owner = f"{entry.value} of {entry.dist.name}" if entry.dist else entry.value
            raise CommandFailure(
                f"an extension called {entry.name!r} is installed already ({owner}); choose another name, "
                f"'my-{name}' say, or uninstall it first",
                USAGE,
            )


def _repaired(name: str) -> str:
    """Return the nearest name of the right form; an empty text if there is none."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name)
    better = "-".join(re.findall(r"[a-z0-9]+", spaced.lower(), re.ASCII)).lstrip("0123456789-")
    return better if _NAME.fullmatch(better) and len(better) <= _LONGEST else ""


def check_feature(bit: int | None) -> None:
    """Check a feature bit to announce. Raises `CommandFailure` for one that is even, or somebody else's."""
    if bit is None:
        return
    if not 0 < bit <= _LAST_FEATURE or bit % 2 == 0:
        hint = f"; did you mean {bit + 1}?" if 0 <= bit < _LAST_FEATURE else ""
        raise CommandFailure(
            f"a feature should be an odd bit from 1 to {_LAST_FEATURE}, not {bit}: peers that do not know an even one "
            f"disconnect{hint}",
            USAGE,
        )
    other = FEATURES.get(bit & ~1) or OTHER_FEATURES.get(bit & ~1)
    if other:
        raise CommandFailure(
            f"feature bit {bit} is {other}; one from 3001 up, say, is nobody's as far as is known", USAGE
        )


def block_of(name: str) -> int:
    """Return the first of a block of type numbers, chosen by the name: odd ones that nobody is known to use."""
    blocks = len(CUSTOM_TYPES) // BLOCK
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    for step in range(blocks):
        first = CUSTOM_TYPES.start + (start + step) % blocks * BLOCK + 1
        if not any(_is_taken(number) for number in range(first - 1, first - 1 + BLOCK)):
            return first
    raise AssertionError("no block of type numbers is free")


def last_of(first: int) -> int:
    """Return the last of a project's odd type numbers: up to `BLOCK` on, as far as nobody is known to use them."""
    last = first
    while last + 2 < min(first + BLOCK, CUSTOM_TYPES.stop) and not _is_taken(last + 2):
        last += 2
    return last


def _is_taken(number: int) -> bool:
    return number in KNOWN or number in _SAMPLES or number == _SESSION


def check_types(text: str, name: str) -> int:
    """Return the first type number that is asked for. Raises `CommandFailure` for one that will not do."""
    if not _NUMBER.fullmatch(text):
        raise CommandFailure(f"--type should be a number, 0x9001 or 36865 say, not {quoted(text)}", USAGE)
    first = int(text, 16 if "x" in text.lower() else 10)
    hint = f"leave --type out, and it is {block_of(name):#06x}"
    last = CUSTOM_TYPES.stop - 3
    if not CUSTOM_TYPES.start <= first <= last:
        raise CommandFailure(
            f"--type should be {CUSTOM_TYPES.start} to {last}, as others are kept for the BOLTs, not {text}; {hint}",
            USAGE,
        )
    if first % 2 == 0:
        raise CommandFailure(
            f"--type should be odd, not {text}: peers that do not know an even type disconnect (BOLT 1); did you mean "
            f"{first + 1:#06x}?",
            USAGE,
        )
    for number in (first, first + 2):
        owner = known_owner(number) or (_is_taken(number) and "oddwire") or None
        if owner:
            raise CommandFailure(f"type {number} ({number:#06x}) is in use by {owner}; {hint}", USAGE)
    return first
