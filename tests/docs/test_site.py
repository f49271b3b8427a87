"""The site of `make site`, without building it: its navigation, links, anchors, and its reference of public names."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.docs.test_docs import FENCE, anchors
from tests.docs.test_reference import INTERNAL

import oddwire

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
SITE = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]
LISTED = re.compile(r"^::: (oddwire[\w.]*)\n((?:    .*\n)*)", re.MULTILINE)
REFERENCE = {page.name: dict(LISTED.findall(page.read_text())) for page in sorted((DOCS / "reference").glob("*.md"))}
PACKAGES = ["oddwire", *re.findall(r'^            "(oddwire\.\w+)",$', inspect.getsource(oddwire), re.MULTILINE)]
PACKAGES.append("oddwire.jsonrpc")


# Navigation -----------------------------------------------------------------------------------------------------------


def entries(nav: list[Any]) -> Iterator[str]:
    for entry in nav:
        [target] = entry.values()
        if isinstance(target, list):
            yield from entries(target)
        else:
            yield target


def test_every_page_has_its_place() -> None:
    there = [page.relative_to(DOCS).as_posix() for page in PAGES]
    listed = list(entries(SITE["nav"]))
    assert {*there} - {*listed} == set(), "pages that `nav` of zensical.toml lacks"
    assert {*listed} - {*there} == set(), "entries of `nav` in zensical.toml without a page"
    assert len(listed) == len({*listed}), "a page is there twice"


def test_every_page_has_one_title_and_no_two_headings_of_one_anchor() -> None:
    """A second heading of an anchor is `name-1` on GitHub and `name_1` on the site: no link could lead to both."""
    for page in PAGES:
        headings = re.findall(r"^(#+) +(.+?) *$", FENCE.sub("", page.read_text()), re.MULTILINE)
        assert [level for level, _ in headings].count("#") == 1, page
        found = [name for name in anchors(page) if re.search(r"-\d+$", name)]
        assert [name for name in found if re.sub(r"-\d+$", "", name) in anchors(page)] == [], page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_links_stay_on_the_site_and_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^]]+\]: *(\S+)", text, re.MULTILINE)
    for target in targets:
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.is_relative_to(DOCS), f"{page.name} links to {target}, which is not on the site"
        assert there.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(there), f"{page.name} links to {target}; there are {anchors(there)}"


def test_nothing_is_loaded_from_elsewhere() -> None:
    assert SITE["theme"]["font"] is False
    assert "repo_url" not in SITE
    assert "edit_uri" not in SITE
    assert SITE["plugins"]["mkdocstrings"]["handlers"]["python"]["inventories"] == []
    for each in SITE["extra"]["polyfills"]:
        assert (DOCS / each["path"]).exists()


# The reference --------------------------------------------------------------------------------------------------------


def value_of(path: str) -> Any:
    """Return what a path of the reference names: a module, or a name of one."""
    module, _, name = path.rpartition(".")
    if not module:
        return importlib.import_module(path)
    return getattr(importlib.import_module(module), name)


def homes(name: str, value: Any) -> set[str]:
    """Return all paths under which packages offer this."""
    offered = {package: importlib.import_module(package) for package in PACKAGES}
    return {
        f"{at}.{name}" for at, module in offered.items() if name in module.__all__ and getattr(module, name) is value
    }


def public_names() -> dict[frozenset[str], Any]:
    found = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            if not name.startswith("__"):
                value = getattr(module, name)
                found[frozenset(homes(name, value))] = value
    return found


PUBLIC = public_names()


def test_every_public_name_is_on_exactly_one_page() -> None:
    pages = [(path, page) for page, paths in REFERENCE.items() for path in paths]
    for paths in PUBLIC:
        found = [(path, page) for path, page in pages if path in paths]
        assert len(found) == 1, f"{min(paths, key=len)} should be on one page of docs/reference: {found}"
    everything = {"oddwire.known", *(path for paths in PUBLIC for path in paths)}
    assert {path for path, _ in pages} - everything == set(), "on a page, and not public"


def documented(home: str, name: str) -> bool:
    """Return whether a string stands behind the assignment of a name in its module."""
    body = ast.parse(inspect.getsource(importlib.import_module(home))).body
    for statement, behind in itertools.pairwise(body):
        match statement:
            case ast.Assign(targets=[ast.Name(id=found)]) | ast.AnnAssign(target=ast.Name(id=found)) if found == name:
                return isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant)
    return False


def test_every_public_name_has_a_docstring() -> None:
    without = []
    for paths, value in PUBLIC.items():
        package, _, name = min(paths, key=len).rpartition(".")
        if inspect.ismodule(value) or inspect.isclass(value) or inspect.isroutine(value):
            if not (value.__doc__ or "").strip():
                without.append(name)
            continue
        # Of a value, Python does not know the module: it is where the package imports it from
        tree = ast.parse(inspect.getsource(importlib.import_module(package)))
        [home] = {
            node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}
        }
        defining = next(
            at for at in (home, *source_modules(home or "", name)) if re.search(rf"^{name}\b", source(at), re.MULTILINE)
        )
        if not documented(defining, name):
            without.append(f"{defining}.{name}")
    assert without == []


def source(module: str) -> str:
    return inspect.getsource(importlib.import_module(module))


def source_modules(package: str, name: str) -> Iterator[str]:
    """Return where a package has a name from, and so on to where it is defined."""
    for node in ast.walk(ast.parse(source(package))):
        if isinstance(node, ast.ImportFrom) and node.module and name in {alias.name for alias in node.names}:
            yield node.module
            yield from source_modules(node.module, name)


METHODS_OF_ASYNCIO = {"buffer_updated", "connection_lost", "connection_made", "eof_received", "get_buffer"}
METHODS_OF_ASYNCIO |= {"pause_writing", "resume_writing"}


def members(cls: type) -> Iterator[tuple[str, Any]]:
    for name in vars(cls):
        if not name.startswith("_"):
            yield name, inspect.getattr_static(cls, name)


def test_every_method_of_a_public_class_has_a_docstring_or_inherits_one() -> None:
    without = []
    for paths, cls in PUBLIC.items():
        if not inspect.isclass(cls):
            continue
        for name, member in members(cls):
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if not inspect.isroutine(function) or name in METHODS_OF_ASYNCIO or name.startswith("test_"):
                continue
            if not any(getattr(vars(base).get(name), "__doc__", None) for base in cls.__mro__):
                without.append(f"{min(paths, key=len)}.{name}")
    assert without == []


def test_what_is_not_for_authors_is_left_out() -> None:
    """Methods that oddwire's own modules call are not shown, those that authors call are."""
    shown = {path: options for paths in REFERENCE.values() for path, options in paths.items()}
    for cls, names in INTERNAL.items():
        options = shown[f"oddwire.{cls.__name__}"]
        [hidden] = re.findall(r'"!\^\(([\w|]+)\)\$"', options)
        assert {*hidden.split("|")} == {name for name in names if not name.startswith("_")}, cls
    for path in ("oddwire.proto.LightningConnection", "oddwire.jsonrpc.RpcConnection"):
        [hidden] = re.findall(r'"!\^\(([\w|]+)\)\$"', shown[path])
        assert {*hidden.split("|")} == METHODS_OF_ASYNCIO


def test_every_extra_is_in_the_docs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (DOCS / "install.md").read_text()
    assert {extra for extra in project["optional-dependencies"] if f"| `{extra}` |" not in page} == set()
