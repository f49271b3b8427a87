"""Contracts on disk: ``NAME.contract.json``, for `lock` and `check`."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, Final

from oddwire import files
from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.contracts import read_contract
from oddwire.errors import ContractError
from oddwire.printable import printable

__all__ = ["default_file", "read_file", "write_whole"]

_MOST: Final = 64 << 20  # bytes of a contract; one of a thousand messages has a few hundred thousand


def default_file(name: str) -> Path:
    """Return the file of an extension's contract, in the current folder."""
    return Path(f"{name}.contract.json")


def read_file(path: Path, name: str) -> dict[str, Any] | None:
    """Return the contract in a file, None if there is no file. Raises `CommandFailure`."""
    shown = printable(str(path))
    try:
        text = files.read_file(path, _MOST).decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise CommandFailure(f"{shown} is no contract: it is not UTF-8: {error.reason}", USAGE) from None
    except OSError as error:
        raise CommandFailure(f"{shown} cannot be read: {error.strerror}", USAGE) from None
    try:
        return read_contract(text, extension=name)
    except ContractError as error:
        raise CommandFailure(f"{shown}: {error}", USAGE) from None


def write_whole(path: Path, text: str) -> None:
    """Write a file, complete or not at all; of a symbolic link, what it points to. Raises `CommandFailure`.

    What is no regular file is refused, as ``/dev/null`` would be one afterwards.
    """
    shown = printable(str(path))
    try:
        if path.exists() and not path.is_file():
            raise CommandFailure(f"{shown} is no regular file; the output should be one", USAGE)
        file = path.resolve()
        if file.is_symlink():  # links in a circle, by Python 3.13
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        beside = file.with_name(f".{file.name}.{os.getpid()}.part")
        try:
            beside.write_text(text, encoding="utf-8")
            beside.replace(file)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # the latter for the same, by earlier ones
        raise CommandFailure(f"{shown} cannot be written: {getattr(error, 'strerror', None) or error}") from None
