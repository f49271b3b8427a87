"""Applications in memory, for tests: the implementation of the pytest fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from oddwire.app import Application
from oddwire.transports.memory import MemoryNetwork

__all__ = ["app_pair", "run_app"]


def run_app(network: MemoryNetwork) -> Callable[..., AbstractAsyncContextManager[Application]]:
    """Return a function that runs an application of extensions on ``network``, with a store in memory.

    Its keywords are those of `Application`: ``provide``, things by type that are used in place of what providers would
    make; ``options``, values by name; ``limits``, ``store``, ``session``, ``grace``.
    """

    @asynccontextmanager
    async def run(*extensions: object, **keywords: Any) -> AsyncIterator[Application]:
        async with Application(*extensions, transport=network.transport(), **{"store": ":memory:", **keywords}) as app:
            yield app

    return run


def app_pair(
    network: MemoryNetwork,
) -> Callable[..., AbstractAsyncContextManager[tuple[Application, Application]]]:
    """Return a function that runs two applications on ``network``, the second connected to the first.

    Its ``provide`` are things by type that are taken instead of what providers would make, the same for both; it is
    enough if one of them wants a type.
    """

    @asynccontextmanager
    async def run(
        left: object, right: object | None = None, *, provide: Mapping[Any, Any] | None = None
    ) -> AsyncIterator[tuple[Application, Application]]:
        both = [_listed(left), _listed(left if right is None else right)]
        given = [provide, provide] if not provide or right is None else _shared_out(both, provide)
        async with (
            Application(*both[0], transport=network.transport(), store=":memory:", provide=given[0]) as first,
            Application(*both[1], transport=network.transport(), store=":memory:", provide=given[1]) as second,
        ):
            await second.connect(first.uris[0])
            yield first, second

    return run


def _shared_out(both: Sequence[Sequence[object]], provide: Mapping[Any, Any]) -> list[dict[Any, Any]]:
    """Return what of ``provide`` each of two applications wants; what neither does goes to both, to be refused."""
    from oddwire.app.plugins.injection import Injector
    from oddwire.app.plugins.manager import PluginManager

    known = []
    for extensions in both:
        plugins = PluginManager()
        for extension in extensions:
            plugins.add(extension)
        injector = Injector(plugins.contributions, provide, strict=False)
        known.append({one for one in provide if injector.knows(one)})
    wanted = set().union(*known)
    return [{one: value for one, value in provide.items() if one in mine or one not in wanted} for mine in known]


def _listed(extensions: object) -> Sequence[object]:
    return extensions if isinstance(extensions, Sequence) and not isinstance(extensions, str) else (extensions,)
