"""Plugins put together, and checked: what an application is, before it runs. Needs no loop, and not even asyncio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oddwire.app.methods import Methods
from oddwire.app.options import Options
from oddwire.app.plugins import PluginManager
from oddwire.app.router import build_router
from oddwire.session.basics import SESSION_TYPE
from oddwire.values import replace

__all__ = ["Assembly"]


class Assembly:
    """What an `Application` is made of, and ``manifest``, what a host node is told of it.

    ``plugins`` takes no more plugins from now on. ``options`` are values of their options by name. With ``session``,
    messages of the session layer are received, too. For one application. Raises the `DefinitionError` that names both
    sides.
    """

    def __init__(self, plugins: PluginManager, options: Mapping[str, Any] | None = None, session: bool = True) -> None:
        self.plugins = plugins
        self.session = session
        self.router = build_router(plugins)
        plugins.freeze()
        self.methods = Methods(self.router.rpc_methods)
        self.options = Options(self.router.settings, options or {})
        manifest = self.router.manifest
        self.manifest = replace(
            manifest,
            type_ids=manifest.type_ids | {SESSION_TYPE} if session else manifest.type_ids,
            rpc_methods=self.methods.for_host(),
            options=self.options.for_host(),
        )
