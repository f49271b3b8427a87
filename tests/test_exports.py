"""What a module offers is what its ``__all__`` says: sorted, complete, and really there; a package has one list."""

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


@pytest.mark.parametrize("module", [name for name, path in MODULES.items() if path.name != "__init__.py"])
def test_all_is_sorted_complete_and_there(module: str) -> None:
    offered = list(getattr(importlib.import_module(module), "__all__", ()))
    assert offered == sorted(set(offered), key=order), f"{module}: __all__ should be sorted"
    for name in offered:
        assert hasattr(importlib.import_module(module), name), f"{module}: __all__ names {name}, which is not there"
    assert defined(MODULES[module]) <= set(offered), f"{module}: __all__ should name every public thing it defines"


PACKAGES = [name for name, path in MODULES.items() if path.name == "__init__.py"]
LISTING = [name for name in PACKAGES if "import" in MODULES[name].read_text()]


@pytest.mark.parametrize("module", LISTING)
def test_a_package_has_one_list_and_offers_all_of_it(module: str) -> None:
    """``from home import Name as Name``, sorted: what passes a name on for type checkers is what Python reads."""
    tree = ast.parse(MODULES[module].read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    homes = [node for node in imports if node.module not in ("typing", "oddwire.lazy")]
    names = [[alias.name for alias in node.names] for node in homes]
    assert all(alias.asname == alias.name for node in homes for alias in node.names), "Name as Name"
    assert names == [sorted(each, key=order) for each in names], "names should be sorted"
    is_eager = [node in tree.body for node in homes]
    modules = [(not eager, node.module) for eager, node in zip(is_eager, homes, strict=True)]
    assert modules == sorted(set(modules)), "modules should be sorted, each there once"
    package = importlib.import_module(module)
    assert package.__all__ == sorted(name for each in names for name in each if not name.startswith("_"))
    assert "__all__" not in vars(package)
    for node in homes:
        for alias in node.names:
            home = importlib.import_module(node.module or "")
            assert getattr(package, alias.name) is getattr(home, alias.name)
            assert alias.name in home.__all__


@pytest.mark.parametrize("module", [name for name in PACKAGES if name not in LISTING])
def test_a_package_without_a_list_offers_nothing(module: str) -> None:
    assert len(ast.parse(MODULES[module].read_text()).body) == 1  # its docstring


def test_no_name_of_oddwire_itself_is_two_things() -> None:
    """What `oddwire` and its packages both offer is the same, so that it does not matter where it is imported from."""
    oddwire = importlib.import_module("oddwire")
    for module in LISTING:
        package = importlib.import_module(module)
        for name in {*package.__all__} & {*oddwire.__all__}:
            assert getattr(package, name) is getattr(oddwire, name), f"{module}.{name}"


def test_every_error_is_where_all_errors_are() -> None:
    oddwire, errors = importlib.import_module("oddwire"), importlib.import_module("oddwire.errors")
    raised = {name for name in oddwire.__all__ if isinstance(getattr(oddwire, name), type)}
    assert {name for name in raised if issubclass(getattr(oddwire, name), Exception)} <= set(errors.__all__)
