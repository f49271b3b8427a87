"""Names in docstrings as links: `` `Peer` `` leads to where docs/reference has it. An extension of griffe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
_LISTED = re.compile(r"^::: (oddwire[\w.]*)$", re.MULTILINE)
_NAME = re.compile(r"(?<![`\[\w])`(?:oddwire\.[\w.]*?)?([A-Z]\w*)(?:\.([a-z]\w*))?`(?![`\]])")


def listed() -> dict[str, str]:
    """Return what the pages list, by its last name: ``Peer`` is ``oddwire.Peer``."""
    pages = "\n".join(page.read_text() for page in sorted(REFERENCE.glob("*.md")))
    return {path.rpartition(".")[2]: path for path in _LISTED.findall(pages)}


class Links(griffe.Extension):
    """Turns each name of a class that has its place in the reference into a link there."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **_: Any) -> None:
        """Change all docstrings of the package."""
        paths = listed()
        for path in paths.values():
            _prefer_names(path, pkg)

        def link(match: re.Match[str]) -> str:
            name, member = match.groups()
            path = paths.get(name)
            if path is None:
                return match[0]
            if member is None:
                return f"[`{name}`][{path}]"
            # What has no docstring has no place on the page
            there = loader.modules_collection[path].all_members.get(member)
            shown = path if there is None or there.docstring is None else f"{path}.{member}"
            return f"[`{name}.{member}`][{shown}]"

        for each in _objects(pkg):
            if each.docstring is not None:
                each.docstring.value = _NAME.sub(link, each.docstring.value)


def _prefer_names(path: str, pkg: griffe.Module) -> None:
    """Have ``oddwire.message`` be the function, as for Python, and not the module that it is defined in."""
    if path == pkg.path:
        return
    package, _, name = path.removeprefix(f"{pkg.path}.").rpartition(".")
    within = pkg[package] if package else pkg
    found = within.members[name]
    target = found.final_target if isinstance(found, griffe.Alias) else found
    if target.is_module and name in target.members:
        within.members[name] = griffe.Alias(name, target.members[name], parent=within)


def _objects(within: griffe.Object) -> Iterator[griffe.Object]:
    yield within
    for member in within.members.values():
        if isinstance(member, griffe.Object):
            yield from _objects(member)
