"""Names that are imported when they are first used."""

from __future__ import annotations

import sys
import types

import pytest

from oddwire.lazy import lazy


@pytest.fixture
def package():
    package = types.ModuleType("a_lazy_package")
    sys.modules[package.__name__] = package
    homes = {"sqrt": "math", "JsonSplitter": "oddwire.jsonrpc.documents"}
    package.__getattr__, package.__dir__ = lazy(package.__name__, homes)
    yield package
    del sys.modules[package.__name__]


def test_a_name_is_its_homes_and_the_packages_own_once_it_was_used(package) -> None:
    assert "sqrt" not in vars(package)
    assert package.sqrt(9) == 3
    assert "sqrt" in vars(package)
    assert package.JsonSplitter.__module__ == "oddwire.jsonrpc.documents"


def test_all_names_are_listed_before_they_are_used(package) -> None:
    assert {"sqrt", "JsonSplitter", "__name__"} <= set(dir(package))
    assert "sqrt" not in vars(package)


def test_any_other_name_is_missing(package) -> None:
    with pytest.raises(AttributeError, match="module 'a_lazy_package' has no attribute 'cube'"):
        package.cube  # noqa: B018


def test_a_home_may_be_within_the_package() -> None:
    find, _ = lazy("oddwire.app", {"Peer": ".context"})
    assert find("Peer").__module__ == "oddwire.app.context"
