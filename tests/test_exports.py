"""What a module offers is what its ``__all__`` says: sorted, complete, and really there."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

FRAMEWORK = Path(__file__).parent.parent / "framework"
MODULES = {
    ".".join(path.relative_to(FRAMEWORK).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(FRAMEWORK.rglob("*.py"))
    if not any(part.startswith("_") and part != "__init__" for part in path.with_suffix("").parts)
}


def order(name: str) -> tuple[object, ...]:
    """Sort as ruff does (RUF022): CONSTANTS, Classes, functions, each with numbers in their natural order."""
    group = 0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2
    return group, [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def defined(path: Path) -> set[str]:
    """Return the public classes, functions and constants a file defines at its top."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=value)
            ):
                is_type_variable = isinstance(value, ast.Call) and ast.unparse(value.func) in ("TypeVar", "ParamSpec")
                if not is_type_variable and name != "logger":
                    found.add(name)
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize("module", MODULES)
def test_all_is_sorted_complete_and_there(module: str) -> None:
    offered = list(getattr(importlib.import_module(module), "__all__", ()))
    assert offered == sorted(set(offered), key=order), f"{module}: __all__ should be sorted"
    for name in offered:
        assert hasattr(importlib.import_module(module), name), f"{module}: __all__ names {name}, which is not there"
    assert defined(MODULES[module]) <= set(offered), f"{module}: __all__ should name every public thing it defines"


@pytest.mark.parametrize("module", [name for name, path in MODULES.items() if path.name == "__init__.py"])
def test_a_package_offers_all_that_it_imports(module: str) -> None:
    imported = {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(MODULES[module].read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("oddwire")
        for alias in node.names
    }
    assert imported <= set(getattr(importlib.import_module(module), "__all__", ()))


def test_oddwire_itself_tells_type_checkers_what_it_gives() -> None:
    told = {
        alias.name
        for node in ast.walk(ast.parse(MODULES["oddwire"].read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("oddwire.")
        for alias in node.names
    }
    assert told == set(importlib.import_module("oddwire").__all__)


def test_oddwire_itself_has_every_error() -> None:
    oddwire, errors = importlib.import_module("oddwire"), importlib.import_module("oddwire.errors")
    assert set(errors.__all__) <= set(oddwire.__all__)
