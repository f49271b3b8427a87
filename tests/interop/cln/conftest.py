"""Core Lightning itself; `../conftest.py` starts it."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def lightningd(starter: Any) -> Any:
    """One Core Lightning node with the plugin `collector`, for every test whose other end is new each time."""
    return starter.lightningd("collector")
