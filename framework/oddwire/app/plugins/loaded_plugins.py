"""The plugins of an application, combined and checked before it runs. Needs neither an event loop nor asyncio."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from oddwire.app.declarations.declared import LATE, Declared, spelled_declaration, takes_effect
from oddwire.app.declarations.options import Options
from oddwire.app.dispatch.rpc_calls import Methods
from oddwire.app.plugins.manager import PluginManager
from oddwire.app.plugins.tables import Tables, build_tables
from oddwire.errors import ExtensionError
from oddwire.records import replace
from oddwire.session.constants import MAX_EXTENSIONS, MAX_HELLO, SESSION_TYPE

__all__ = ["LoadedPlugins"]


class LoadedPlugins:
    """The parts of an `Application`, and ``manifest``, its description for a host node.

    ``plugins`` is frozen from now on. ``options`` are values of the plugins' options by name. With ``session``,
    messages of the session layer are received, too. ``provide`` maps types to things that are used in place of what
    providers would make. For one application. Raises a `DefinitionError` that names both sides of a conflict.
    """

    def __init__(
        self,
        plugins: PluginManager,
        options: Mapping[str, Any] | None = None,
        session: bool = True,
        provide: Mapping[Any, Any] | None = None,
    ) -> None:
        self.plugins = plugins
        self.session = session
        self._held = False
        self.tables = build_tables(plugins, provide)
        if session:
            _check_hello(self.tables)
        plugins.freeze()
        parts = (owner.plugin for owner in plugins.contributions)
        self._declared = [(part, part.everything()) for part in parts if isinstance(part, Declared)]
        self.methods = Methods(self.tables.rpc_methods)
        self.options = Options(self.tables.settings, options or {})
        manifest = self.tables.manifest
        self.manifest = replace(
            manifest,
            type_ids=manifest.type_ids | {SESSION_TYPE} if session else manifest.type_ids,
            rpc_methods=self.methods.for_host(),
            options=self.options.for_host(),
        )

    def hold(self) -> None:
        """Have the extensions refuse declarations until `release`. Raises `ExtensionError` for one made since."""
        for extension, known in self._declared:
            kept = {*map(id, known)}
            late = [one for one in extension.everything() if id(one) not in kept and not takes_effect(one)]
            if late:
                raise ExtensionError(f"{extension!r}: {spelled_declaration(late[0])} {LATE.format('made')}")
        for extension, _ in self._declared:
            extension.hold(1)
        self._held = True

    def release(self) -> None:
        """Let the extensions declare more, for the next application."""
        if self._held:
            self._held = False
            for extension, _ in self._declared:
                extension.hold(-1)


def _check_hello(tables: Tables) -> None:
    """Raise an error for more extensions than a hello holds; the encoder of hellos is only loaded with peers."""
    types = Counter(owner.name for claimants in tables.claims.values() for owner in claimants)
    spoken = [owner for owner in tables.owners if owner.versions]
    advice = "spread them over several applications, or do without sessions: Application(session=False)"
    if len(spoken) > MAX_EXTENSIONS:
        text = f"a hello lists {MAX_EXTENSIONS} extensions at most (session protocol, Hello)"
        raise ExtensionError(f"{text}, and these are {len(spoken)}: {advice}")
    # Name and versions each with a length prefix, two numbers, and 2 bytes per type
    sizes = {
        owner.name: 4 + len(owner.name) + sum(1 + len(version) for version in owner.versions) + 2 * types[owner.name]
        for owner in spoken
    }
    size = sum(sizes.values())
    if size > MAX_HELLO:
        most = max(sizes, key=sizes.__getitem__)
        text = f"the extensions of a hello take {MAX_HELLO} bytes at most (session protocol, Hello)"
        whose = f"{most!r} takes {sizes[most]} of them, 2 for each of its {types[most]} message types"
        raise ExtensionError(f"{text}, and this would be {size}; {whose}: {advice}")
