"""The plugin host: starts and stops plugins, and calls their hooks, methods and notifications."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from oddwire.errors import ExtensionError, NodeRefused
from oddwire.jsonrpc.parameters import INVALID_PARAMS
from oddwire.node.plugins.hook_table import names_plugin
from oddwire.node.plugins.locate import checksum, is_program, program, programs_below, programs_in, resolved
from oddwire.node.plugins.log_text import id_prefix, plain
from oddwire.node.plugins.message_calls import MessageCalls, call_peer_connected
from oddwire.node.plugins.node_services import NodeServices
from oddwire.node.plugins.plugin import PLUGIN_ERROR, Plugin, PluginState
from oddwire.node.plugins.plugin_manifest import FEATURE_CONTEXTS, parse_manifest
from oddwire.node.plugins.plugin_options import OptionSpec
from oddwire.node.plugins.plugin_registry import PluginRegistry
from oddwire.node.plugins.process import PluginLimits

__all__ = ["PluginHost"]


class PluginHost:
    """Runs plugins, and passes events and messages to them.

    A plugin that answers wrongly, writes invalid JSON, does not answer in time or dies is ended, and logged with name
    and reason. Nothing else stops (lightningd does, for wrong answers to hooks), unless the plugin was started as
    important. ``reserved_options`` are the node's own options, which no plugin may have; ``plugin_dir`` is where
    ``rescan`` looks and ``start`` finds relative names, by default ``plugins`` beside the network's folder.
    """

    def __init__(
        self,
        node_services: NodeServices,
        *,
        limits: PluginLimits | None = None,
        reserved_options: Collection[str] = (),
        plugin_dir: Path | None = None,
    ) -> None:
        self._node_services = node_services
        self._limits = limits or PluginLimits()
        self._plugin_dir = plugin_dir or node_services.lightning_dir.parent / "plugins"
        self._registry = PluginRegistry(node_services, reserved_options)
        self.message_calls = MessageCalls(self._registry.hooks, self._registry.subscriptions, self._limits)
        """The messages under way to plugins."""
        self._disabled: tuple[str, ...] = ()
        self._startup = True
        self._closing = False
        self._ids = itertools.count(1)
        self._indexes = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: set[Plugin] = set()  # ended, and not yet reaped

    # What plugins announced --------------------------------------------------------------------------

    @property
    def features(self) -> dict[str, str]:
        """Plugins' feature bits: hex by context (init, node, ...), for contexts with any bits."""
        return self._registry.features()

    @property
    def custommessages(self) -> frozenset[int]:
        """The message types that active plugins list: even ones among them are not refused."""
        return self._registry.custommessages

    @property
    def options(self) -> Sequence[tuple[str, OptionSpec]]:
        """The options of all plugins, each with the plugin's path, for ``--help``."""
        return self._registry.options.specs

    def listconfigs(self, name: str | None = None) -> dict[str, dict[str, Any]]:
        """Return plugins' options, by name, as in ``configs`` of ``listconfigs``; with ``name``, only that one."""
        return self._registry.options.listconfigs(name)

    # Events ------------------------------------------------------------------------------------------

    def wants(self, topic: str) -> bool:
        """Return whether ``topic`` has subscribers. If not, the caller need not make a payload."""
        return bool(self._registry.subscriptions.of(topic))

    def has_receivers(self, type_id: int) -> bool:
        """Return whether any plugin has a subscription or hook for messages of this type."""
        return bool(self._registry.subscriptions.of("custommsg") or self._registry.hooks.chain("custommsg", type_id))

    def notify(self, topic: str, payload: Mapping[str, Any], *, peer: str | None = None) -> None:
        """Send the subscribers of ``topic`` the notification ``{"method": topic, "params": {topic: payload}}``.

        Returns without waiting. ``peer`` is the node id, in hex, of the peer that it is about; after ``disconnect``, no
        more messages of the peer's connection follow.
        """
        self._registry.notify(topic, {topic: payload}, peer=peer)
        if topic == "disconnect" and peer is not None:
            self.message_calls.peer_gone(peer)

    def custommsg(self, peer_id: str, payload: bytes, done: Callable[[], None]) -> bool:
        """Send a message to its subscribers, and along its hook chain. ``peer_id`` is hex.

        Return True if the peer's next message may be passed at once; ``done`` is not called then. Else return False:
        `Transport.pause` the peer until ``done()`` is called, once, on the event loop. It is not called if the peer has
        disconnected meanwhile.
        """
        return self._closing or self.message_calls.start(peer_id, payload, done)

    @property
    def left_out(self) -> dict[str, dict[str, int]]:
        """Notifications that running plugins did not get because they did not read: counts by plugin path and topic."""
        return {plugin.path: dict(plugin.backlog.left_out) for plugin in self._registry.plugins}

    async def peer_connected(self, peer: Mapping[str, Any], *, command_id: Any = None) -> str | None:
        """Run the ``peer_connected`` hook with ``{"peer": peer}`` (id, direction, addr, features).

        ``command_id`` is the id of the ``connect`` request that caused the connection. Return None to continue; else
        disconnect: the result is the text of a warning to send before, empty for none. Cancelled, no further plugin is
        called.
        """
        chain = () if self._closing else self._registry.hooks.chain("peer_connected")
        return await call_peer_connected(chain, peer, command_id)

    # Start and end of the node -----------------------------------------------------------------------

    async def load(
        self,
        paths: Sequence[str | Path],
        options: Sequence[tuple[str, str | None]] = (),
        *,
        directories: Sequence[str | Path] = (),
        important: Sequence[str | Path] = (),
        disabled: Sequence[str] = (),
    ) -> None:
        """Start plugins and read their manifests: afterwards `features` and `options` are known.

        Plugins are also started from ``directories``, from ``plugin_dir`` and from its folders; ``disabled`` are names
        or paths not to start. ``options`` are those of the command line in order: pairs of name, without dashes, and
        value, None for ``--flag`` alone.

        A plugin that fails is logged and ended. Raises `ExtensionError` for mistakes of the operator: a path that is
        not executable, an option that no plugin has.
        """
        self._disabled = tuple(disabled)
        found = [(path, False) for path in programs_below(self._plugin_dir)]
        found += [(path, False) for directory in directories for path in programs_in(directory)]
        found += [(program(path), True) for path in important]
        found += [(program(path), False) for path in paths]
        for path, is_important in found:
            if not self._is_disabled(path):
                plugin = self._registry.find(path) or self._add(path)
                plugin.important |= is_important
        await self._read_manifests(list(self._registry.plugins))
        self._registry.options.set_from_command_line(options)

    async def initialize(self) -> None:
        """Send ``init`` to every loaded plugin. JSON-RPC has to listen before, as plugins call it during ``init``.

        Afterwards the plugins are active, and `custommessages` is known.
        """
        await asyncio.gather(*map(self._initialize, self._registry.plugins))
        self._startup = False

    async def start(self, paths: Sequence[str | Path], options: Sequence[tuple[str, str | None]] = ()) -> None:
        """Call `load` and `initialize`."""
        await self.load(paths, options)
        await self.initialize()

    async def aclose(self) -> None:
        """Send ``shutdown`` to its subscribers, wait up to `PluginLimits.shutdown`, end all plugins. Idempotent."""
        self._closing = True
        await asyncio.gather(*(self._end(plugin, "the node stops") for plugin in list(self._registry.plugins)))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(plugin.reaped() for plugin in self._ended))

    def everyone(self) -> list[Plugin]:
        """Return all plugins, including those that have ended and are not reaped yet."""
        return [*self._registry.plugins, *self._ended]

    # The RPC methods plugin and setconfig ------------------------------------------------------------

    async def plugin_start(
        self, path: str, options: Mapping[str, Any] | None = None, *, command_id: Any = None
    ) -> dict[str, Any]:
        """Start one plugin, with values for its options. Return the list of all; raises `NodeRefused`.

        If it is cancelled, the start goes on.
        """
        path = self.find_program(path)
        self._end_if_changed(path)
        if self._registry.find(path) is not None:
            raise NodeRefused(f"{path}: already registered", code=INVALID_PARAMS)
        plugin = self._add(path)
        await self._finish(self._bring_up([plugin], options or {}, id_prefix(command_id)))
        if not plugin.active:
            raise NodeRefused(f"{path}: {plugin.end_reason}", code=PLUGIN_ERROR)
        return self._listed("start")

    def find_program(self, path: str) -> str:
        """Return the absolute path of the program that ``plugin start`` would start. Raises `NodeRefused`."""
        found = next((p for p in (path, self._plugin_dir / path) if is_program(p)), None)
        if found is None:
            where = self._plugin_dir / path
            problem = "No such file or directory" if not where.exists() else "Permission denied"
            raise NodeRefused(f"{where} is not executable: {problem}", code=INVALID_PARAMS)
        return resolved(found)

    async def plugin_stop(self, name: str) -> dict[str, Any]:
        """Stop a dynamic plugin, by file name or path, after ``shutdown`` if it subscribes. Raises `NodeRefused`."""
        wanted = resolved(name) if "/" in name else name
        plugin = next((plugin for plugin in self._registry.plugins if names_plugin(wanted, plugin.path)), None)
        if plugin is None:
            raise NodeRefused(f"Could not find plugin {name}", code=INVALID_PARAMS)
        if not plugin.manifest.dynamic:
            raise NodeRefused(f"{name} cannot be managed when lightningd is up", code=INVALID_PARAMS)
        plugin.important = False
        await self._finish(self._end(plugin, "stopped by lightningd via RPC"))
        return {"command": "stop", "result": f"Successfully stopped {plugin.name}."}

    async def plugin_startdir(self, directory: str, *, command_id: Any = None) -> dict[str, Any]:
        """Start every plugin in a directory. Return the list of all plugins, once each has started or failed."""
        return await self._start_found("startdir", self.find_programs(directory), command_id)

    def find_programs(self, directory: str) -> Iterable[str]:
        """Return the paths of the programs that ``plugin startdir`` would start. Raises `NodeRefused`."""
        try:
            return programs_in(directory)
        except ExtensionError:
            raise NodeRefused(f"Could not open {directory}", code=INVALID_PARAMS) from None

    async def plugin_rescan(self, *, command_id: Any = None) -> dict[str, Any]:
        """Start new plugins in the plugin directory and its folders. Return the list of all plugins."""
        return await self._start_found("rescan", programs_below(self._plugin_dir), command_id)

    def plugin_list(self) -> dict[str, Any]:
        """Return the list of all plugins, as ``plugin list`` does."""
        return self._listed("list")

    def is_dynamic(self, name: str) -> bool | None:
        """Return whether `setconfig` can change this option; None if no plugin has it."""
        return self._registry.options.is_dynamic(name)

    async def setconfig(self, name: str, value: str | None) -> dict[str, Any]:
        """Change a dynamic option until the node ends, if its plugin accepts that.

        Return the content of ``config`` in the result of ``setconfig``. Raises `NodeRefused`.
        """
        options = self._registry.options
        plugin = self._registry.find(options.dynamic(name, value))
        if plugin is not None:
            await plugin.request("setconfig", {"config": name} if value is None else {"config": name, "val": value})
            options.set_transient(name, value)
        return {"config": name, **options.listconfigs(name)[name]}

    def _listed(self, command: str) -> dict[str, Any]:
        rows = [
            {"name": plugin.path, "active": plugin.active, "dynamic": plugin.manifest.dynamic}
            for plugin in self._registry.plugins
        ]
        return {"command": command, "plugins": rows}

    async def _start_found(self, command: str, paths: Iterable[str], command_id: Any) -> dict[str, Any]:
        new = []
        for path in paths:
            self._end_if_changed(path)
            if self._registry.find(path) is None and not self._is_disabled(path):
                new.append(self._add(path))
        await self._finish(self._bring_up(new, {}, id_prefix(command_id)))
        return self._listed(command)

    # From start to end -------------------------------------------------------------------------------

    def _is_disabled(self, path: str) -> bool:
        if any(names_plugin(name, path) for name in self._disabled):
            self._node_services.log("info", f"{path}: disabled via disable-plugin", "plugin-manager")
            return True
        return False

    def _end_if_changed(self, path: str) -> None:
        plugin = self._registry.find(path)
        if plugin is not None and not plugin.important and plugin.checksum != checksum(path):
            plugin.kill("Plugin changed, needs restart.", "info")

    def _add(self, path: str) -> Plugin:
        index = next(self._indexes)
        plugin = Plugin(
            path, index=index, node_services=self._node_services, owner=self, limits=self._limits, ids=self._ids
        )
        plugin.checksum = checksum(path)
        self._registry.plugins.append(plugin)
        return plugin

    async def _bring_up(self, plugins: Sequence[Plugin], options: Mapping[str, Any], prefix: str | None) -> None:
        await self._read_manifests(plugins, prefix)
        for plugin in plugins:
            if plugin.state is PluginState.LOADED:
                try:
                    self._registry.options.set_from_start(plugin.path, options)
                except ExtensionError as error:
                    plugin.kill(str(error))
        await asyncio.gather(*map(self._initialize, plugins))

    async def _read_manifests(self, plugins: Sequence[Plugin], prefix: str | None = None) -> None:
        answers = await asyncio.gather(*(self._get_manifest(plugin, prefix) for plugin in plugins))
        for plugin, answer in zip(plugins, answers, strict=True):
            if plugin.state is PluginState.MANIFEST:
                self._take_manifest(plugin, answer)
        self._registry.order_hooks(plugins)
        for plugin in plugins:
            if plugin.state is PluginState.LOADED:
                self._registry.remark(plugin)

    async def _get_manifest(self, plugin: Plugin, prefix: str | None) -> Any:
        environment = {**os.environ, "LIGHTNINGD_PLUGIN": "1", "LIGHTNINGD_VERSION": self._node_services.version}
        params = {"allow-deprecated-apis": False}
        try:
            plugin.spawn(environment)
            return await plugin.request("getmanifest", params, prefix=prefix, seconds=self._limits.manifest)
        except ExtensionError as error:
            plugin.kill(str(error))
        except NodeRefused as error:
            plugin.kill(f"answered getmanifest with an error: {error}")
        return None

    def _take_manifest(self, plugin: Plugin, answer: Any) -> None:
        try:
            manifest = parse_manifest(answer)
            if manifest.disable is not None:
                plugin.important = False
                plugin.kill(f"disabled itself: {manifest.disable}", "info")
            elif not self._startup and not manifest.dynamic:
                plugin.kill("Not a dynamic plugin", "info")
            else:
                self._registry.register(plugin, manifest)
        except ExtensionError as error:
            plugin.kill(str(error))

    async def _initialize(self, plugin: Plugin) -> None:
        if plugin.state is not PluginState.LOADED:
            return
        plugin.state = PluginState.INIT
        try:
            answer = await plugin.request("init", self._init_params(plugin), seconds=self._limits.init)
        except NodeRefused as error:
            answer = None
            if plugin.state is PluginState.INIT:
                # As lightningd: the plugin goes on, it may work
                plugin.log("unusual", f"answered init with an error: {error}")
        if isinstance(answer, dict) and "disable" in answer:
            plugin.important = False
            plugin.kill(f"disabled itself at init: {plain(answer['disable'])}", "debug")
        elif plugin.state is PluginState.INIT:
            self._registry.activate(plugin)

    def _init_params(self, plugin: Plugin) -> dict[str, Any]:
        node_services = self._node_services
        configuration: dict[str, Any] = {
            "lightning-dir": str(node_services.lightning_dir),
            "rpc-file": node_services.rpc_file,
            "startup": self._startup,
            "network": node_services.network,
        }
        if node_services.proxy is not None:
            host, _, port = node_services.proxy.rpartition(":")
            host = host.strip("[]")
            kind = "ipv6" if ":" in host else "ipv4" if host.replace(".", "").isdigit() else "dns"
            configuration["proxy"] = {"type": kind, "address": host, "port": int(port)}
            configuration["torv3-enabled"] = configuration["always_use_proxy"] = True
        features = node_services.feature_set()
        configuration["feature_set"] = {context: features.get(context, "") for context in FEATURE_CONTEXTS}
        return {"options": self._registry.options.values_for(plugin.path), "configuration": configuration}

    async def _end(self, plugin: Plugin, reason: str) -> None:
        if plugin.active and plugin in self._registry.subscriptions.of("shutdown"):
            plugin.shutdown()
            try:
                async with asyncio.timeout(self._limits.shutdown):
                    await asyncio.shield(plugin.ended)
            except TimeoutError:
                plugin.log("unusual", "Timeout on shutdown: killing anyway")
        plugin.kill(reason, "info")
        await plugin.reaped()

    async def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        """Await ``work`` in a task of its own, which goes on if the client disconnects and the caller is cancelled."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    # As `PluginOwner` --------------------------------------------------------------------------------

    def plugin_ended(self, plugin: Plugin, reason: str, level: str) -> None:
        """Remove everything that an ended plugin had registered, then log why it ended."""
        self._registry.remove(plugin)
        self._ended.add(plugin)
        plugin.when_reaped(self._ended.discard)
        plugin.log("debug" if self._closing else level, f"Killing plugin: {reason}")
        if plugin.important and not self._closing:
            plugin.log("broken", "Plugin marked as important, shutting down lightningd!")
            self._node_services.stop(f"important plugin {plugin.name} ended: {reason}")

    def plugin_notified(self, plugin: Plugin, topic: str, params: Any) -> None:
        """Send a plugin's notification to the subscribers of its topic."""
        self._registry.notify(topic, params, origin=plugin.name)
