"""Import of a plugin by its location: a file, a package, or an attribute of a module."""

from __future__ import annotations

import os
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

from oddwire.app.extension import Extension
from oddwire.app.plugins.sibling_imports import import_file, root_of
from oddwire.errors import DefinitionError, ExtensionError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["absolute", "place_nearby", "plugin_at"]

_NEVER = (bool, int, float, str, bytes, list, tuple, dict, set, frozenset, FunctionType)  # no plugin is such a thing


def plugin_at(spec: str) -> object:
    """Import the module that ``spec`` names, and return its plugin.

    ``spec`` is the path of a ``.py`` file or of a package's folder, or the name of a module in the current folder or an
    installed one, ``market.offers``. After a colon follows the plugin's attribute, ``./market.py:extension`` or
    ``market:shop.extension``, which is required for a module name; without it, the plugin is the attribute called
    ``extension``, the only `Extension` in the file, or the module itself. A file imports modules of its folder first;
    see `oddwire.app.plugins.sibling_imports`. Raises `ExtensionError`, or a `DefinitionError` of the imported code.
    """
    place, attribute = _parts(spec)
    module = _file(place) if _is_path(place) else _module(place)
    return _attribute(module, place, attribute) if attribute else _only(module, place)


def absolute(spec: str) -> str:
    """Return a text that names the same plugin in any working directory."""
    if not _is_path(spec) and ":" not in spec:
        return spec  # the name of an installed extension
    place, attribute = _parts(spec)
    if not _is_path(place):
        file = _file_in(_here(), place)
        if file is None:
            return spec
        place = file
    path = _real(place)
    return f"{path}:{attribute}" if attribute else path


def place_nearby(name: str) -> str | None:
    """Return the spec of a file or package of that name in the current folder, for a hint in errors; None if none."""
    if not name or "\0" in name:
        return None
    if not name.strip("."):  # this folder, or its parent
        return f"{name}/" if os.path.isfile(os.path.join(name, "__init__.py")) else None
    if "." in name and _is_dotted(name) and _file_in("", name) is not None:
        return f"{name}:extension"
    if os.path.isfile(f"{name}.py"):
        return f"./{name}.py"
    for folder in (name, f"src/oddwire_{name.replace('-', '_')}"):  # the second is that of `oddwire new`
        if os.path.isfile(os.path.join(folder, "__init__.py")):
            return f"./{folder}/"
    return None


def _is_path(spec: str) -> bool:
    return "/" in spec or spec.endswith(".py")


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _parts(spec: str) -> tuple[str, str]:
    """Split a spec at the colon before its attribute, if there is one. Raises `ExtensionError`."""
    if _is_path(spec) and os.path.exists(spec):
        return spec, ""
    place, colon, attribute = spec.rpartition(":")
    if not colon or "/" in attribute or attribute.endswith(".py"):
        return spec, ""
    if not _is_dotted(attribute) or not (_is_path(place) or _is_dotted(place)):
        raise _wrong(f"{spec!r} should be MODULE:NAME or FILE:NAME, market:extension for one")
    return place, attribute


def _file(place: str) -> ModuleType:
    if "\0" in place:
        raise _wrong(f"extension file {place} does not exist: no path has a NUL in it")
    path = _real(place)
    if os.path.isdir(path):
        if not os.path.isfile(os.path.join(path, "__init__.py")):
            hint = next((f"; name a file in it, {place.rstrip('/')}/{name}" for name in _sources(path)), "")
            raise _wrong(f"extension file {place} is a folder without __init__.py{hint}")
        if os.path.dirname(path) == path:
            raise _wrong(f"extension file {place} should be in a folder that has a name")
    elif not os.path.isfile(path):
        wrong = "should be a file" if os.path.exists(path) else "does not exist"
        raise _wrong(f"extension file {place} {wrong}")
    elif not path.endswith(".py"):
        raise _wrong(f"extension file {place} should be Python source, named *.py")
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    return _imported(f"extension file {place}", lambda: import_file(path), folder)


def _module(place: str) -> ModuleType:
    def load() -> ModuleType:
        try:
            return root_of(_here()).import_module(place)
        except ModuleNotFoundError as error:
            if error.name is not None and f"{place}.".startswith(f"{error.name}."):
                where = "is neither in the current folder nor installed"
                raise _wrong(f"there is no module {place}: {error.name} {where}") from None
            raise

    return _imported(f"module {place}", load, _here())


def _imported(what: str, load: Callable[[], ModuleType], folder: str) -> ModuleType:
    try:
        return load()
    except DefinitionError:
        raise
    except SystemExit as error:
        raise _wrong(f"{what} cannot be imported: it ends the program, by SystemExit({error.code!r})") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise _wrong(f"{what} cannot be imported: {reason}{_place_in(folder, error)}") from error


def _place_in(folder: str, error: Exception) -> str:
    """Return the line of the author's code at which an import failed, as a `SyntaxError`'s own text does."""
    place, traceback = "", error.__traceback__
    while traceback is not None and not isinstance(error, SyntaxError):
        file = traceback.tb_frame.f_code.co_filename
        if file.startswith(os.path.join(folder, "")) and "site-packages" not in file:
            place = f" ({os.path.basename(file)}, line {traceback.tb_lineno})"
        traceback = traceback.tb_next
    return place


def _only(module: ModuleType, place: str) -> object:
    named = getattr(module, "extension", None)
    if isinstance(named, Extension):
        return named
    found = {id(item): name for name, item in vars(module).items() if isinstance(item, Extension)}
    if len(found) > 1:
        names = ", ".join(sorted(getattr(module, name).name for name in found.values()))
        one = f"{place}:{next(iter(found.values()))}"
        text = f"{place} holds several extensions ({names}); one should be called 'extension', or be named: {one}"
        raise _wrong(text)
    return next((getattr(module, name) for name in found.values()), module)


def _attribute(module: ModuleType, place: str, attribute: str) -> object:
    found: object = module
    names = [name for name, item in vars(module).items() if isinstance(item, Extension)]
    there = f"; extensions there: {', '.join(names)}" if names else ""
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise _wrong(f"{place} has no {attribute!r}{there}")
        found = getattr(found, part)
    if found is None or isinstance(found, _NEVER):
        raise _wrong(f"{place}:{attribute} is no extension: it is {_kind(found)}{there}")
    return found


def _kind(found: object) -> str:
    return "None" if found is None else f"of type {type(found).__name__}"


def _wrong(text: str) -> ExtensionError:
    from oddwire.printable import printable  # imported late: only for errors

    return ExtensionError(printable(text))


def _here() -> str:
    return _real(".")


def _real(path: str) -> str:
    try:
        return os.path.realpath(path)
    except FileNotFoundError:
        raise _wrong(f"{path}: the current folder is gone") from None


def _file_in(folder: str, module: str) -> str | None:
    """Return the file of a dotted name below a folder."""
    path = os.path.join(folder, *module.split("."))
    return next((file for file in (os.path.join(path, "__init__.py"), f"{path}.py") if os.path.isfile(file)), None)


def _sources(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(".py"))
    except OSError:
        return []
