"""Nodes with several plugins; `../conftest.py` starts them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.interop.programs.scene import Workshop


@pytest.fixture(scope="module", params=["node", pytest.param("lightningd", marks=pytest.mark.cln)])
def kind(request: pytest.FixtureRequest) -> str:
    """Which node it is."""
    return str(request.param)


@pytest.fixture
def launch(kind: str, start: Any) -> Callable[..., Any]:
    """Start a node for one test."""
    return getattr(start, kind)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Where plugins are made."""
    return Workshop(tmp_path_factory.mktemp("plugins"))
