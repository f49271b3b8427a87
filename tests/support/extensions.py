"""The extensions that are installed here, as commands list them."""

from __future__ import annotations

from importlib.metadata import entry_points

__all__ = ["INSTALLED"]

INSTALLED = ", ".join(sorted({entry.name for entry in entry_points(group="oddwire.extensions")}))
