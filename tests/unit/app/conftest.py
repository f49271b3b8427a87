from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oddwire.app import PluginManager


@pytest.fixture
def plugins() -> PluginManager:
    return PluginManager()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for extension files; what they leave in the interpreter is taken away again."""
    path = list(sys.path)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        if any(str(place).startswith(str(tmp_path)) for place in places):
            del sys.modules[name]
    sys.path[:] = path
