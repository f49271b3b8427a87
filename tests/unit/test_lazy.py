"""Names that are imported when they are first used, from the one list that type checkers read as well."""

from __future__ import annotations

import marshal
import pickle
import sys
import types
import zipfile
from pathlib import Path

import pytest

SOURCE = """
from typing import TYPE_CHECKING

import collections.abc
import importlib.machinery as _machinery

from oddwire.durations import check_seconds as check_seconds

if TYPE_CHECKING:
    from math import sqrt as sqrt, floor as down
    from oddwire.jsonrpc.documents import JsonSplitter as JsonSplitter
    from oddwire.version import __version__ as __version__
    from collections import OrderedDict as _Hidden
    from a_lazy_package import inside as inside
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names(elsewhere=("oddwire.transports", "oddwire.proto"))
"""


def run(code: types.CodeType) -> types.ModuleType:
    package = types.ModuleType("a_lazy_package")
    sys.modules[package.__name__] = package
    exec(code, vars(package))
    return package


@pytest.fixture
def package():
    sys.modules["a_lazy_package.inside"] = types.ModuleType("a_lazy_package.inside")
    yield run(compile(SOURCE, "there is no such file", "exec"))
    del sys.modules["a_lazy_package"], sys.modules["a_lazy_package.inside"]


def test_a_module_of_the_package_may_be_listed_too(package) -> None:
    assert "inside" not in vars(package)
    assert package.inside is sys.modules["a_lazy_package.inside"]
    assert "inside" in vars(package)


def test_a_name_is_its_homes_and_the_packages_own_once_it_was_used(package) -> None:
    assert "sqrt" not in vars(package)
    assert package.sqrt(9) == 3
    assert "sqrt" in vars(package)
    assert package.JsonSplitter.__module__ == "oddwire.jsonrpc.documents"
    assert pickle.loads(pickle.dumps(package.JsonSplitter)) is package.JsonSplitter


def test_a_name_may_have_another_one_at_home(package) -> None:
    assert package.down(1.5) == 1


def test_all_names_are_listed_before_they_are_used(package) -> None:
    assert package.__all__ == ["JsonSplitter", "check_seconds", "down", "inside", "sqrt"]
    assert {"sqrt", "JsonSplitter", "__name__", "__version__"} <= set(dir(package))
    assert "sqrt" not in vars(package)


def test_a_list_may_be_imported_as_a_whole(package) -> None:
    names: dict[str, object] = {}
    exec("from a_lazy_package import *", names)
    assert set(package.__all__) == set(names) - {"__builtins__"}


@pytest.mark.parametrize("name", ["cube", "OrderedDict", "_Hidden", "__path__", "_cube"])
def test_any_other_name_is_missing(package, name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'a_lazy_package' has no attribute '{name}'"):
        getattr(package, name)
    assert not hasattr(package, name)


def test_a_name_that_another_package_has_is_told_of(package) -> None:
    with pytest.raises(AttributeError, match=r"^a_lazy_package has no Sink: from oddwire\.transports import Sink$"):
        package.Sink  # noqa: B018
    assert not hasattr(package, "Sink")


def test_the_list_needs_no_source(package) -> None:
    code = marshal.loads(marshal.dumps(compile(SOURCE, "", "exec", optimize=2)))
    assert run(code).__all__ == package.__all__


def test_a_package_in_a_zip_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as file:
        file.writestr("a_zipped_package/__init__.py", SOURCE)
    monkeypatch.syspath_prepend(tmp_path / "all.zip")
    with pytest.raises(ImportError, match=r"^a_zipped_package has no Sink: from oddwire\.transports import Sink$"):
        from a_zipped_package import Sink  # noqa: F401
    with pytest.raises(ImportError, match="cannot import name 'Cube' from 'a_zipped_package'"):
        from a_zipped_package import Cube  # noqa: F401
    from a_zipped_package import sqrt

    assert sqrt(9) == 3
    del sys.modules["a_zipped_package"]


def test_a_relative_import_is_refused() -> None:
    code = compile(SOURCE.replace("oddwire.version", ".version"), "", "exec")
    with pytest.raises(ImportError, match="a_lazy_package should list its public names with the whole names"):
        run(code).sqrt  # noqa: B018
    del sys.modules["a_lazy_package"]
