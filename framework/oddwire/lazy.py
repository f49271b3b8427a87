"""Lazy packages: each public name is imported when it is first used (PEP 562).

A package lists its public names once, for type checkers, editors and Python alike::

    if TYPE_CHECKING:
        from package.module import Name as Name
    else:
        from oddwire.lazy import public_names as _public_names

        __getattr__, __dir__ = _public_names()

``Name as Name`` marks a re-export (PEP 484); ``from package import module as module`` lists a module, so that
``package.module`` is there without an import of it. Python gets the same list by running the package's code once more,
at the first look-up of a name, with ``TYPE_CHECKING`` true and an ``__import__`` that imports nothing and takes notes.
So the language itself defines the list, and no source file is needed: it works in a zip file, a frozen program, or
where only compiled files are installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import CodeType
from typing import Any, Final

__all__ = ["public_names"]

_IMPORT_OF_MANY: Final = "_handle_fromlist"  # importlib's, which looks up the names of ``from package import names``


class _Noted:
    """Returned by ``__import__`` while notes are taken: it has every attribute, each a note of its module."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str = "") -> None:
        self.module = module
        self.name = name

    def __getattr__(self, name: str) -> _Noted:
        return _Noted(self.module, name)


def public_names(elsewhere: Sequence[str] = ()) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for the calling package, as the last statement of its code.

    A name becomes an attribute of the package once it was imported. ``__all__`` is made when it is looked up.
    For a name that the package does not have, the error says which of the packages ``elsewhere`` has it.
    """
    frame = sys._getframe(1)  # noqa: SLF001 - the caller's code and names
    code, own = frame.f_code, frame.f_globals
    package: str = own["__name__"]
    listed: dict[str, _Noted] = {}

    def find(name: str) -> Any:
        if not listed:
            listed.update(_noted(code, package))
        if name in listed:
            source = listed[name]
            if source.module == package:  # from package import module as module
                value = import_module(f"{package}.{source.name}")
            else:
                value = getattr(import_module(source.module), source.name)
            own[name] = value
            return value
        if name == "__all__":
            return sorted(name for name in listed if not name.startswith("_"))
        text = f"module {package!r} has no attribute {name!r}"
        if not name.startswith("_"):
            for other in elsewhere:
                if name in import_module(other).__all__:
                    text = f"{package} has no {name}: from {other} import {name}"
                    if sys._getframe(1).f_code.co_name == _IMPORT_OF_MANY:  # noqa: SLF001
                        raise ImportError(text, name=package)  # otherwise the text would be just "cannot import name"
        raise AttributeError(text, name=name)

    def names() -> list[str]:
        return sorted({*own, *find("__all__"), *listed})

    return find, names


def _noted(code: CodeType, package: str) -> dict[str, _Noted]:
    """Return the names that a package's code imports for type checkers by ``from module import name``."""

    def take_note(name: str, _globals: object, _locals: object, names: object, level: int) -> _Noted:
        if level:
            raise ImportError(
                f"{package} should list its public names with the whole names of their modules", name=package
            )
        return _Noted(name if names else "")

    noted: dict[str, Any] = {"__name__": package, "__builtins__": {"__import__": take_note}}
    exec(code, noted)  # noqa: S102 - the package's own code
    return {
        name: source
        for name, source in noted.items()
        if type(source) is _Noted and source.module not in ("", "typing") and (name[0] != "_" or name[:2] == "__")
    }
