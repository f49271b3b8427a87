"""Imports of extension files: each sees the modules of its own folder first, and no other folder's.

Python identifies a module by its name alone, in one table per process, ``sys.modules``. That has room for only one
``messages``, so two folders cannot both have theirs, and for no ``types`` but the library's. So a folder's modules get
names that are free: their own if nothing else has it, else one with a number appended. The names in a file's import
statements are mapped to these by an ``__import__`` in the ``__builtins__`` of its module, where import statements look
it up whenever they run. Nothing is patched, ``sys.path`` is unchanged, and imports by other code are not affected.

A folder is a `Root`. For a file inside packages it is the folder of the outermost package, as relative imports need.
"""

from __future__ import annotations

import builtins
import importlib
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import Any, Final

__all__ = ["Root", "file_of", "import_file", "root_of"]

_RESERVED: Final = frozenset(("__future__", "__main__", "builtins", "oddwire", "sys"))
"""Names that are never modules of a folder: a file called ``oddwire.py`` still has to import oddwire."""

_lock = threading.RLock()
_roots: dict[str, Root] = {}
_entries: dict[str, _FolderEntry] = {}


def import_file(path: str) -> ModuleType:
    """Import a source file, or a folder as a package, unless it is imported already; return the module.

    ``path`` is absolute and without symlinks. Raises whatever the import raises.
    """
    stem = os.path.splitext(os.path.basename(path))[0]
    if os.path.isdir(path):
        path, stem, folder = os.path.join(path, "__init__.py"), os.path.basename(path), os.path.dirname(path)
    else:
        folder = os.path.dirname(path)
        if stem == "__init__":
            stem, folder = os.path.basename(folder), os.path.dirname(folder)
    with _lock:
        name = _loaded(path)
    if name is None:
        packages: list[str] = []
        while os.path.isfile(os.path.join(folder, "__init__.py")) and os.path.dirname(folder) != folder:
            packages.insert(0, os.path.basename(folder))
            folder = os.path.dirname(folder)
        name = root_of(folder).claim_inside(packages, stem, path)
    return importlib.import_module(name)


def root_of(folder: str) -> Root:
    """Return the one root of a folder; the path is absolute and without symlinks."""
    with _lock:
        if _FINDER not in sys.meta_path:
            sys.meta_path.insert(0, _FINDER)
        root = _roots.get(folder)
        if root is None:
            root = _roots[folder] = Root(folder)
        else:
            root.refresh()
        return root


def file_of(module: str) -> str | None:
    """Return the file of a module that was imported here, None for others."""
    entry = _entries.get(module)
    return entry.path if entry is not None and entry.is_there(module) else None


class Root:
    """The folder of extension files, and the names of its modules in ``sys.modules``. Created by `root_of`."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.builtins = {**vars(builtins), "__import__": self._import}
        self._names: dict[str, str] = {}
        self._finder = self.finder(folder)
        self._importlib = _Importlib(self)

    def loader(self, name: str, path: str) -> SourceFileLoader:
        """Return the loader for a source file of this folder."""
        return _SiblingLoader(name, path, self.builtins)

    def finder(self, folder: str) -> FileFinder:
        """Return the finder for modules in a folder, this one or one below it."""
        by_suffix: list[tuple[Any, list[str]]] = [
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (self.loader, SOURCE_SUFFIXES),
            (SourcelessFileLoader, BYTECODE_SUFFIXES),
        ]
        return FileFinder(folder, *by_suffix)

    def refresh(self) -> None:
        """Invalidate the cached list of the folder's files, because there may be new ones."""
        self._finder.invalidate_caches()

    def import_module(self, name: str, package: str | None = None) -> ModuleType:
        """Import and return a module by name, as ``importlib.import_module`` would in a file of this folder."""
        if name.startswith("."):
            return importlib.import_module(name, None if package is None else self._known_as(package))
        return importlib.import_module(self._known_as(name))

    def claim_inside(self, packages: Sequence[str], stem: str, path: str) -> str:
        """Assign a name to the module of a new file, and return it; ``packages`` are the folders above it."""
        is_package = os.path.basename(path) == "__init__.py"
        if not packages:
            return self._claim(stem, path, [os.path.dirname(path)] if is_package else None, is_new=True)
        top = os.path.join(self.folder, packages[0])
        above = ".".join([self._claim(packages[0], os.path.join(top, "__init__.py"), [top]), *packages[1:]])
        name = f"{above}.{stem}"
        if not is_package and _identifier(stem) != stem:  # no import statement could name it, so no finder finds it
            name = f"{above}.{_identifier(stem)}"
            while os.path.exists(os.path.join(os.path.dirname(path), f"{name.rpartition('.')[2]}.py")):
                name += "_"
            _entries[name] = _FolderEntry(self, path, None)
        return name

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - the names are those of the builtin
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Replace the builtin ``__import__`` in the modules of this folder."""
        # C code that imports by itself, such as datetime's, uses the calling frame's __import__, with an empty list;
        # import statements pass a tuple or None. Such code means Python's modules.
        if level or (type(fromlist) is list and not fromlist):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        top, dot, rest = name.partition(".")
        own = self._own(top, name, globals or {})
        if own is None:
            module = builtins.__import__(name, globals, locals, fromlist or ())
            return self._importlib if module is importlib else module
        module = builtins.__import__(own + dot + rest, globals, locals, fromlist or ())
        return module if fromlist else sys.modules[own]

    def _known_as(self, name: str) -> str:
        top, dot, rest = name.partition(".")
        return (self._own(top, name, {}) or top) + dot + rest

    def _own(self, top: str, name: str, importer: Mapping[str, Any]) -> str | None:
        """Return the ``sys.modules`` name for ``top`` in a file of this folder; None if Python should find it."""
        own = self._names.get(top)
        module = None if own is None else sys.modules.get(own)
        if module is None or own == importer.get("__name__") or not self._loaded_it(module):
            own = self._look_up(top, name, importer)
        return own

    def _loaded_it(self, module: ModuleType) -> bool:
        return getattr(module, "__builtins__", None) is self.builtins

    def _look_up(self, top: str, name: str, importer: Mapping[str, Any]) -> str | None:
        if top in _RESERVED or "/" in top:
            return None
        spec = self._finder.find_spec(top)
        if spec is None and top not in sys.modules:
            self.refresh()  # the folder's modification time may not show a new file yet
            spec = self._finder.find_spec(top)
        folders = None if spec is None else spec.submodule_search_locations
        if spec is not None and spec.origin is not None and spec.loader is not None:
            own = self._claim(top, spec.origin, folders)
            # A module that imports its own name means another one: a json.py that extends the library's json
            itself = own == importer.get("__name__") and folders is None
            return None if itself and _ordinary(top, unlike=spec.origin) else own
        is_others = _is_entry_of_another(top, self)
        if (top in sys.modules and not is_others) or _ordinary(top):
            return None
        if folders is not None:  # a namespace package comes last, as in Python
            return self._claim(top, None, folders)
        beside = self._beside(top, importer)
        if beside is None and is_others:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return beside

    def _beside(self, top: str, importer: Mapping[str, Any]) -> str | None:
        """Return the name of a module beside the importing file in a package, where a relative import is meant."""
        package, file = importer.get("__package__"), importer.get("__file__")
        if not package or not isinstance(file, str):
            return None
        spec = self.finder(os.path.dirname(file)).find_spec(top)
        return None if spec is None or spec.loader is None else f"{package}.{top}"

    def _claim(self, top: str, path: str | None, folders: Sequence[str] | None, *, is_new: bool = False) -> str:
        """Return the name of the module at ``path``: a free one if it is not loaded yet, or with ``is_new``."""
        with _lock:
            name = self._names.get(top)
            if name is not None and (_is_of(name, self, path) or _is_free(name, path)):
                return name
            name = None if path is None or is_new else _loaded(path)
            if name is None:
                base = _identifier(top)
                numbered = itertools.chain([base], (f"{base}_{number}" for number in itertools.count(2)))
                name = next(name for name in numbered if _is_free(name, path))
                _entries[name] = _FolderEntry(self, path, folders)
            self._names[top] = name
            return name


class _FolderEntry:
    """A module to be loaded: of a file, or with ``path`` None of a folder without ``__init__.py``."""

    def __init__(self, root: Root, path: str | None, folders: Sequence[str] | None) -> None:
        self.root = root
        self.path = path
        self.begun = False
        self._folders = folders
        self._spec: ModuleSpec | None = None

    def spec(self, name: str) -> ModuleSpec | None:
        if self.path is None:
            self._spec = ModuleSpec(name, None, is_package=True)
            self._spec.submodule_search_locations = [*(self._folders or ())]
        else:
            loader = self.root.loader(name, self.path) if self.path.endswith((*SOURCE_SUFFIXES,)) else None
            folders = None if self._folders is None else [*self._folders]
            self._spec = spec_from_file_location(name, self.path, loader=loader, submodule_search_locations=folders)
        self.begun = True
        return self._spec

    def is_there(self, name: str) -> bool:
        """Return whether the module of that name was loaded from this entry."""
        spec = getattr(sys.modules.get(name), "__spec__", None)
        return spec is not None and spec is self._spec


class _SiblingLoader(SourceFileLoader):
    """Loads a source file with the builtins of its root."""

    def __init__(self, name: str, path: str, its_builtins: dict[str, Any]) -> None:
        super().__init__(name, path)
        self._builtins = its_builtins

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self._builtins
        super().exec_module(module)


class _Again(SourceFileLoader):
    """Loads a file that was loaded before under another name, by returning that module."""

    def __init__(self, name: str, path: str, before: ModuleType) -> None:
        super().__init__(name, path)
        self._before = before

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = self._before


class _Finder:
    """Finds the modules for which a root has claimed a name, and their submodules."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        entry = _entries.get(name)
        if entry is not None and (path is not None or not _ordinary(name, unlike=entry.path)):
            return entry.spec(name)
        top = name.partition(".")[0]
        above = _entries.get(top)
        if above is None or path is None or not above.is_there(top):
            return None
        for folder in path:
            spec = above.root.finder(folder).find_spec(name)
            if spec is not None and spec.loader is not None:
                before = None if spec.origin is None else _loaded(spec.origin)
                if spec.origin is not None and before is not None:
                    spec.loader = _Again(name, spec.origin, sys.modules[before])
                return spec
        return None


class _Importlib(ModuleType):
    """The module importlib for the files of one root: ``import_module`` resolves names as import statements do."""

    def __init__(self, root: Root) -> None:
        super().__init__("importlib", importlib.__doc__)
        self.import_module: Callable[..., ModuleType] = root.import_module

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib, name)


_FINDER: Final = _Finder()


def _loaded(path: str) -> str | None:
    """Return the name of a module that was loaded from this file, by this or other code; None if there is none."""
    end = os.sep + os.path.basename(path)
    for name, module in [*sys.modules.items()]:
        try:
            file = module.__dict__.get("__file__")
        except AttributeError:  # ``sys.modules`` may hold any object
            continue
        if file is not None and (file == path or (str(file).endswith(end) and _same(file, path))):
            return name
    return None


def _is_of(name: str, root: Root, path: str | None) -> bool:
    """Return whether the module of that name is loaded from the file ``path``, or the folder that ``root`` claimed."""
    entry = _entries.get(name)
    if entry is not None and entry.is_there(name):
        return entry.root is root and entry.path == path
    file = getattr(sys.modules.get(name), "__file__", None)
    return isinstance(file, str) and path is not None and _same(file, path)


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def _is_free(name: str, path: str | None) -> bool:
    entry = _entries.get(name)
    waiting = entry is not None and not entry.begun and entry.path != path
    return not waiting and name not in sys.modules and name not in _RESERVED and not _ordinary(name, unlike=path)


def _is_entry_of_another(name: str, root: Root) -> bool:
    entry = _entries.get(name)
    return entry is not None and entry.root is not root and entry.is_there(name)


def _ordinary(name: str, unlike: str | None = None) -> bool:
    """Return whether Python itself finds a module of that name in another file than ``unlike``."""
    for spec in _ordinary_specs(name):
        return unlike is None or spec.origin is None or not (spec.origin == unlike or _same(spec.origin, unlike))
    return False


def _ordinary_specs(name: str) -> Iterator[ModuleSpec]:
    for finder in sys.meta_path:
        if finder is not _FINDER:
            try:
                spec = finder.find_spec(name, None)
            except (ImportError, ValueError, AttributeError):
                continue
            if spec is not None:
                yield spec


def _identifier(stem: str) -> str:
    """Return an identifier for a file's name: a dot in it would make it a module in a package."""
    return "".join(character if character.isalnum() else "_" for character in stem) or "_"
