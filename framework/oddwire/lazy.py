"""Packages that show names without importing them: each is imported when it is first used (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module

__all__ = ["lazy"]


def lazy(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return a package's ``__getattr__`` and ``__dir__``.

    ``homes`` tells in which module each name is defined: in full, or, with a dot before it, within the package. A name
    that was imported once is the package's own from then on.
    """
    own = vars(sys.modules[package])

    def find(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = own[name] = getattr(import_module(homes[name], package), name)
        return value

    def names() -> list[str]:
        return sorted({*own, *homes})

    return find, names
