"""The error tree of errors.py: drawn as it is, and every error is raised by something."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from oddwire import errors

FRAMEWORK = Path(__file__).parent.parent / "framework"

# Raised by a floor that is still to come.
LATER: set[str] = set()

CLASSES = {
    name: cls for name, cls in vars(errors).items() if isinstance(cls, type) and cls.__module__ == errors.__name__
}
DRAWN = re.compile(r"^ {4}(?P<indent>[│ ]*)(?:[├└]─ )?(?P<name>[A-Z]\w+)(?P<rest>.*)$")


def drawn() -> dict[str, tuple[str | None, set[str]]]:
    """Read the drawing: each name with its parent and its attributes."""
    found: dict[str, tuple[str | None, set[str]]] = {}
    way: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = DRAWN.match(line)
        if match is None or match["name"] not in errors.__all__:
            continue
        depth = line.index(match["name"])
        while way and way[-1][0] >= depth:
            way.pop()
        parent = way[-1][1] if way else None
        found[match["name"]] = (parent, set(re.findall(r"\s\.(\w+)", match["rest"])))
        way.append((depth, match["name"]))
    return found


def constructed() -> set[str]:
    """Find every error that some module of the framework makes."""
    found: set[str] = set()
    for path in FRAMEWORK.rglob("*.py"):
        if path.name == "errors.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            # Called, raised, or handed to a function that raises what it is given.
            if isinstance(node, ast.Call):
                candidates = [node.func, *node.args]
            elif isinstance(node, ast.Raise) and node.exc is not None:
                candidates = [node.exc]
            elif isinstance(node, ast.IfExp | ast.Dict | ast.Tuple):
                candidates = list(ast.iter_child_nodes(node)) if not isinstance(node, ast.Tuple) else []
            else:
                continue
            found |= {name.id for name in candidates if isinstance(name, ast.Name) and name.id in CLASSES}
    return found


def test_the_drawing_shows_every_class_and_no_other() -> None:
    assert set(drawn()) == set(CLASSES) == set(errors.__all__)


@pytest.mark.parametrize("name", CLASSES)
def test_the_drawing_is_right(name: str) -> None:
    parent, attributes = drawn()[name]
    ours = [base.__name__ for base in CLASSES[name].__bases__ if base.__name__ in CLASSES]
    assert ours == ([] if parent is None else [parent])
    assert parent is not None or name == "OddwireError"
    sources = "".join(inspect.getsource(cls) for cls in CLASSES[name].__mro__ if cls.__name__ in CLASSES)
    for attribute in attributes:
        assert f"self.{attribute} = " in sources


@pytest.mark.parametrize("name", CLASSES)
def test_every_attribute_of_its_own_is_drawn(name: str) -> None:
    own = CLASSES[name].__dict__.get("__init__")
    made = set(re.findall(r"self\.(\w+) = ", inspect.getsource(own))) if own else set()
    assert made - drawn()[name][1] <= {"code"}, "HandshakeFailed's code is told in its docstring"


def test_every_error_is_raised_by_something() -> None:
    made = constructed()
    unused = {
        name for name, cls in CLASSES.items() if name not in made and not any(issubclass(CLASSES[m], cls) for m in made)
    }
    assert unused == LATER
