"""Contracts on disk: ``NAME.contract.json``, for `lock` and `check`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.contracts import read_contract
from oddwire.errors import ContractError
from oddwire.printable import printable

__all__ = ["default_file", "read_file", "write_whole"]


def default_file(name: str) -> Path:
    """Return the file of an extension's contract, in the current folder."""
    return Path(f"{name}.contract.json")


def read_file(path: Path, name: str) -> dict[str, Any] | None:
    """Return the contract in a file, None if there is no file. Raises `CommandFailure`."""
    shown = printable(str(path))
    try:
        text = path.read_text(encoding="utf-8")
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
    """Write a file, complete or not at all. Raises `CommandFailure`."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise CommandFailure(f"{printable(str(path))} cannot be written: {error.strerror}") from None
