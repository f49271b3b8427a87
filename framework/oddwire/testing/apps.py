"""Applications in memory, for tests: what the pytest fixtures hand out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from oddwire.app import Application
from oddwire.transports.memory import MemoryNetwork

__all__ = ["app_pair", "run_app"]


def run_app(network: MemoryNetwork) -> Callable[..., AbstractAsyncContextManager[Application]]:
    """Return a function that runs an application of extensions on ``network``."""

    @asynccontextmanager
    async def run(*extensions: object) -> AsyncIterator[Application]:
        async with Application(*extensions, transport=network.transport(), store=":memory:") as app:
            yield app

    return run


def app_pair(
    network: MemoryNetwork,
) -> Callable[..., AbstractAsyncContextManager[tuple[Application, Application]]]:
    """Return a function that runs two applications on ``network``, the second connected to the first."""

    @asynccontextmanager
    async def run(left: object, right: object | None = None) -> AsyncIterator[tuple[Application, Application]]:
        both = [_listed(left), _listed(left if right is None else right)]
        async with (
            Application(*both[0], transport=network.transport(), store=":memory:") as first,
            Application(*both[1], transport=network.transport(), store=":memory:") as second,
        ):
            await second.connect(first.uris[0])
            yield first, second

    return run


def _listed(extensions: object) -> Sequence[object]:
    return extensions if isinstance(extensions, Sequence) and not isinstance(extensions, str) else (extensions,)
