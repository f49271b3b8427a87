"""The page on the architecture names modules that exist, and every package."""

from __future__ import annotations

import re

import pytest
from tests.test_floors import FRAMEWORK, ROOT

SOURCE = FRAMEWORK / "oddwire"
TEXT = (ROOT / "docs" / "architecture.md").read_text()
MODULES = {str(path.relative_to(SOURCE).with_suffix("")) for path in SOURCE.rglob("*.py")}
PACKAGES = {str(path.parent.relative_to(SOURCE)) for path in SOURCE.rglob("__init__.py")} - {"."}
ELSEWHERE = ("benchmarks/", "docs/", "extensions/", "tests/")


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`([a-z0-9_]+(?:/[a-z0-9_]+)+)(?:\.py)?`", TEXT))))
def test_what_it_names_is_there(named: str) -> None:
    if named.startswith(ELSEWHERE):
        assert (ROOT / named).exists() or (ROOT / named).with_suffix(".py").exists()
    else:  # from the top, or from the part that is spoken of
        assert any(f"/{there}".endswith(f"/{named}") for there in MODULES | PACKAGES)


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_every_package_is_named(package: str) -> None:
    assert re.search(rf"\b{package.rpartition('/')[2]}\b", TEXT)
