"""Fixtures that were not entered say how they are."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from tests.support.texts import Ask

from oddwire.app import Extension
from oddwire.errors import ExtensionError
from oddwire.testing import AppPair, RawPeers, RunApp


@pytest.fixture
def extension() -> Extension:
    extension = Extension("test", version="1.0")
    extension.register(Ask)
    return extension


async def test_what_was_not_entered_says_how_it_is(
    run_app: RunApp, app_pair: AppPair, raw_peer: RawPeers, extension: Extension
) -> None:
    app: Any = run_app(extension)
    hint = r"run_app\(...\) has to be entered first: 'async with run_app\(...\) as app:'"
    with pytest.raises(AttributeError, match=rf"^no 'restart' here: {hint}$"):
        await app.restart()
    with pytest.raises(TypeError, match=hint):
        await app
    with pytest.raises(TypeError, match=hint), app:
        pytest.fail("it is refused")
    assert "has to be entered first" in repr(app)
    assert not hasattr(app, "peers")
    pair: Any = app_pair(extension)
    hint = r"'async with app_pair\(...\) as \(server, client\):'$"
    with pytest.raises(TypeError, match=hint):
        _, _ = pair
    with pytest.raises(TypeError, match=hint):
        pair[0]
    peer: Any = raw_peer("nobody")
    with pytest.raises(AttributeError, match=r"^no 'send' here: .*'async with raw_peer\(app\) as peer:'$"):
        peer.send("8c01")


async def test_entered_it_is_as_ever(run_app: RunApp, extension: Extension) -> None:
    async with contextlib.AsyncExitStack() as stack:
        app = await stack.enter_async_context(run_app(extension))
        assert len(app.peers) == 0
    with pytest.raises(ValueError, match="mine"):
        async with run_app(extension):
            raise ValueError("mine")


async def test_keywords_are_checked(run_app: RunApp, app_pair: AppPair, extension: Extension) -> None:
    with pytest.raises(ExtensionError, match="session should be True or False, not 'no'"):
        await run_app(extension, session="no").__aenter__()  # type: ignore[arg-type]
    with pytest.raises(ExtensionError, match="session should be True or False, not 1"):
        await app_pair(extension, session=(True, 1)).__aenter__()
    with pytest.raises(ExtensionError, match="key should be a PrivateKey, not 'alice'"):
        await run_app(extension, key="alice").__aenter__()  # type: ignore[arg-type]
