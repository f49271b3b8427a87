"""The options that say which node: of `oddwire node`, and of `oddwire call`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from oddwire.cli.exit import USAGE, CommandFailure

__all__ = ["DEFAULT_DIR", "LightningDir", "NodeNetwork", "expanded"]

DEFAULT_DIR = Path("~/.oddwire")

LightningDir = Annotated[
    Path, typer.Option("--lightning-dir", metavar="DIR", help="Where the node keeps its files, a folder a network.")
]
NodeNetwork = Annotated[str, typer.Option("--network", help="bitcoin, testnet, testnet4, signet or regtest.")]


def expanded(lightning_dir: Path) -> Path:
    """Return the directory's absolute path, with ``~`` expanded. Raises `CommandFailure` without a home directory."""
    try:
        return lightning_dir.expanduser().absolute()
    except FileNotFoundError:
        raise CommandFailure(f"{lightning_dir}: the current folder is gone; give a whole path", USAGE) from None
    except RuntimeError:
        text = f"{lightning_dir}: there is no home directory, as HOME is not set and user {os.getuid()} is in no passwd"
        raise CommandFailure(f"{text}; set HOME, or give --lightning-dir DIR", USAGE) from None
