"""The registry of plugins and of everything that they announce: added with the manifest, removed at the end."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from oddwire.errors import ExtensionError
from oddwire.jsonrpc.documents import encode
from oddwire.node.plugins.hook_table import HOOKS, HookTable
from oddwire.node.plugins.node_services import NodeServices, PluginMethod
from oddwire.node.plugins.plugin import Plugin, PluginState
from oddwire.node.plugins.plugin_manifest import FEATURE_CONTEXTS, PluginManifest
from oddwire.node.plugins.plugin_options import OptionTable
from oddwire.node.plugins.subscriptions import NATIVE_TOPICS, Subscriptions

__all__ = ["PluginRegistry"]

_EVEN: Final = int.from_bytes(b"\x55" * 8192, "big")


class PluginRegistry:
    """All plugins from start to end, with tables to look up their hooks, subscriptions and options."""

    def __init__(self, node_services: NodeServices, reserved_options: Collection[str] = ()) -> None:
        self.plugins: list[Plugin] = []
        """The plugins in load order."""
        self.hooks = HookTable()
        self.subscriptions: Subscriptions[Plugin] = Subscriptions()
        self.options = OptionTable(reserved_options)
        self.custommessages: frozenset[int] = frozenset()
        """The union of the message types that active plugins list."""
        self._node_services = node_services
        self._announced: dict[str, int] = {}  # of all plugins that were active: peers have seen them

    def find(self, path: str) -> Plugin | None:
        """Return the plugin at this resolved path, None if there is none."""
        return next((plugin for plugin in self.plugins if plugin.path == path), None)

    def register(self, plugin: Plugin, manifest: PluginManifest) -> None:
        """Register everything in a manifest. Raises `ExtensionError` for names or bits that are taken."""
        self._check_features(plugin, manifest.features)
        self.options.add(plugin.path, manifest.options)
        commands = self._node_services.commands
        for method in manifest.methods:
            if (owner := commands.owner_of(method.name)) is not None:
                raise ExtensionError(
                    f'Could not register method "{method.name}", a method with that name is already registered'
                    f" by {'the node itself' if owner == 'lightningd' else f'plugin {owner}'}"
                )
            commands.register_plugin_method(
                PluginMethod(
                    name=method.name,
                    usage=method.usage,
                    description=method.description,
                    long_description=method.long_description,
                    category=method.category,
                    deprecated=method.deprecated,
                    owner=plugin.path,
                    call=plugin.call,
                )
            )
        plugin.manifest = manifest
        plugin.state = PluginState.LOADED
        self.hooks.add(plugin, manifest.hooks)
        self.subscriptions.add(plugin, manifest.subscriptions)

    def order_hooks(self, new: Collection[Plugin]) -> None:
        """Order the hook chains; of plugins whose constraints contradict each other, the ``new`` ones are killed."""
        while stuck := [(plugin, hook) for plugin, hook in self.hooks.reorder() if plugin in new]:
            for plugin, hook in stuck:
                plugin.kill(f'hook {hook}: its "before" and "after" contradict those of other plugins')

    def remark(self, plugin: Plugin) -> None:
        """Log the parts of a plugin's manifest that have no effect. Call it after all plugins of a start registered."""
        for topic in plugin.manifest.subscriptions:
            if topic != "*" and topic not in NATIVE_TOPICS and not self._is_declared(topic):
                plugin.log("unusual", f"topic '{topic}' is not a known notification topic")
        for hook, wish in self.hooks.unknown(plugin):
            plugin.log("debug", f"hook {hook}: there is no plugin {wish} to be before or after")
        for claim in plugin.manifest.hooks:
            if not HOOKS[claim.name].called:
                plugin.log("debug", f"hook {claim.name} is never called by this node")

    def activate(self, plugin: Plugin) -> None:
        """Make a plugin active after its answer to ``init``, and notify subscribers of that."""
        plugin.state = PluginState.ACTIVE
        for context, bits in plugin.manifest.features.items():
            self._announced[context] = self._announced.get(context, 0) | bits
        self._unite()
        self._notify_of("plugin_started", plugin)

    def remove(self, plugin: Plugin) -> None:
        """Remove everything that an ended plugin had registered, and notify subscribers of that."""
        self.plugins.remove(plugin)
        self.hooks.remove(plugin)
        self.subscriptions.remove(plugin)
        self.options.remove(plugin.path)
        self._node_services.commands.unregister(plugin.path)
        self._unite()
        self._notify_of("plugin_stopped", plugin)

    def notify(self, topic: str, params: Any, *, origin: str | None = None, peer: str | None = None) -> None:
        """Send a notification to the subscribers of its topic. ``origin`` is the sending plugin, None for the node.

        ``peer`` is the peer that it is about. A subscriber that does not read gets it later, or not at all: see
        `Backlog`.
        """
        if subscribers := self.subscriptions.of(topic):
            sender = {} if origin is None else {"origin": origin}
            data = encode({"jsonrpc": "2.0", "method": topic, **sender, "params": params})
            for plugin in subscribers:
                if plugin.active:
                    plugin.backlog.notify(topic, data, peer=peer, foreign=origin is not None)

    def features(self) -> dict[str, str]:
        """Return the plugins' feature bits: hex by context, for contexts with any bits.

        The bits of a plugin that was active and has ended stay, as with lightningd: the node still announces them.
        """
        merged = dict(self._announced)
        for plugin in self.plugins:
            for context, bits in plugin.manifest.features.items():
                merged[context] = merged.get(context, 0) | bits
        return {
            context: merged[context].to_bytes((merged[context].bit_length() + 7) // 8, "big").hex()
            for context in FEATURE_CONTEXTS
            if context in merged
        }

    def _check_features(self, plugin: Plugin, features: Mapping[str, int]) -> None:
        present = self._node_services.feature_set()
        for context, bits in features.items():
            if both := bits & int(present.get(context) or "0", 16):
                raise ExtensionError(f"featurebits.{context}: bit {_lowest(both)} is already present")
            if even := bits & _EVEN:
                plugin.log(
                    "unusual",
                    f"featurebits.{context}: bit {_lowest(even)} is even, so a peer that does not know it refuses to"
                    f" connect; for a feature that peers may lack, {_lowest(even) + 1} would be right",
                )

    def _is_declared(self, topic: str) -> bool:
        return any(topic in plugin.manifest.notifications for plugin in self.plugins)

    def _notify_of(self, topic: str, plugin: Plugin) -> None:
        methods = [method.name for method in plugin.manifest.methods]
        self.notify(topic, {topic: {"plugin_name": plugin.name, "plugin_path": plugin.path, "methods": methods}})

    def _unite(self) -> None:
        self.custommessages = frozenset().union(*(p.manifest.custommessages for p in self.plugins if p.active))


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1
