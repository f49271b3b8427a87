"""Finding the plugin in a Python file."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType

from oddwire.app.extension import Extension
from oddwire.errors import DefinitionError, ExtensionError

__all__ = ["plugin_of_file"]


def plugin_of_file(path: str) -> object:
    """Import the file; give its ``extension``, its only `Extension`, or the module itself.

    The file's folder is added to the end of ``sys.path``. Raises `ExtensionError`, or the `DefinitionError` of what
    the file defines.
    """
    module = _import_file(Path(path))
    named = getattr(module, "extension", None)
    if isinstance(named, Extension):
        return named
    found = {id(item): item for item in vars(module).values() if isinstance(item, Extension)}
    if len(found) > 1:
        names = ", ".join(sorted(item.name for item in found.values()))
        raise ExtensionError(f"{path} holds several extensions ({names}); one should be called 'extension'")
    return next(iter(found.values()), module)


def _import_file(path: Path) -> ModuleType:
    """Import a file as a module named after it, or nearly so where another module has that name."""
    path = path.resolve()
    if not path.is_file():
        wrong = "should be a file" if path.exists() else "does not exist"
        raise ExtensionError(f"extension file {path} {wrong}")
    for module in sys.modules.values():
        if getattr(module, "__oddwire_file__", None) == path:
            return module
    names = itertools.chain([path.stem], (f"{path.stem}_{number}" for number in itertools.count(2)))
    name = next(name for name in names if _is_free(name, path))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ExtensionError(f"extension file {path} should be Python source, named *.py")
    module = importlib.util.module_from_spec(spec)
    module.__dict__["__oddwire_file__"] = path
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, Exception) and not isinstance(error, DefinitionError):
            told = f"{type(error).__name__}: {error}"
            raise ExtensionError(f"extension file {path} cannot be imported: {told}") from error
        raise
    return module


def _is_free(name: str, path: Path) -> bool:
    if name in sys.modules:
        return False
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is None or spec.origin == str(path)
