"""What `oddwire run` was told: its options, and what to run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from warnings import WarningMessage

from oddwire.app import Extension
from oddwire.cli.lnd_options import LndOptions
from oddwire.cli.settings import Settings
from oddwire.cli.shared_options import LogLines

__all__ = ["Program", "RunOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of `oddwire run`, but for the extensions' own. Without a ``data_dir`` nothing is kept."""

    listen: Sequence[str]
    connect: Sequence[str]
    data_dir: Path | None
    network: str
    proxy: str | None
    connect_timeout: float | None
    lnd: LndOptions
    settings: Settings
    show_config: bool
    reload: bool
    reload_dir: Sequence[str]
    metrics: str | None
    log_format: LogLines


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run: one extension, or those named in the arguments, which also have their options."""

    extension: Extension | None = None
    arguments: Sequence[str]
    own: Collection[str]
    warnings: Sequence[WarningMessage] = ()
    """Warnings of extensions that were loaded before."""
