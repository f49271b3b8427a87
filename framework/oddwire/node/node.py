"""The embedded node: a BOLT 8 transport for custom messages, with lightningd's JSON-RPC and plugins."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from oddwire.errors import DefinitionError, TransportError
from oddwire.files import make_folder
from oddwire.jsonrpc.documents import MAX_DOCUMENT_VARIABLE, max_document
from oddwire.jsonrpc.server import MAX_REQUEST, JsonRpcServer
from oddwire.node.commands import NodeCommands
from oddwire.node.connected_peers import ConnectedPeers
from oddwire.node.directory_lock import DirectoryLock
from oddwire.node.insight import NodeInsight
from oddwire.node.methods.messages import shortcut
from oddwire.node.methods.table import install
from oddwire.node.node_database import NodeDatabase
from oddwire.node.node_log import LEVELS, Log, LogLine
from oddwire.node.peer_backlog import MAX_QUEUED
from oddwire.node.plugins.host import PluginHost
from oddwire.node.secret import NodeSecret, load_secret
from oddwire.proto.addresses import NodeUri, parse_listen, proxy_address, proxy_url
from oddwire.proto.bolt1 import CHAINS, DEFAULT_NETWORK, DEFAULT_PORTS
from oddwire.proto.features import ASSUMED_FEATURES, feature_bits, feature_bytes
from oddwire.proto.keys import NodeId
from oddwire.transports.base import Manifest
from oddwire.transports.bolt8.limits import Bolt8Limits
from oddwire.transports.bolt8.transport import Bolt8Transport
from oddwire.version import __version__

__all__ = ["COMPATIBLE_VERSION", "Node"]

COMPATIBLE_VERSION: Final = "v26.06.6"
"""The version of lightningd whose behaviour this node has; plugins see it as the node's version."""

_DATABASE: Final = "oddwire.sqlite3"
_RPC_FILE: Final = "lightning-rpc"
_CONTEXTS: Final = ("init", "node", "channel", "invoice", "bolt12_offer", "bolt12_invreq", "bolt12_invoice")

T = TypeVar("T")


class Node:
    """A node in ``lightning_dir``, with lightningd's layout: the network's folder holds key, database and socket.

    ``listen`` are addresses for peers (``host:port`` or ``ws://host:port``, port 0 for any), ``connect`` URIs of nodes
    to stay connected to. ``plugins`` are paths, ``plugin_dirs`` folders of plugins, ``important_plugins`` paths of
    those whose end stops the node, ``disabled_plugins`` names or paths not to start, ``plugin_options`` pairs of name,
    without dashes, and value, None for a flag.

    ``proxy`` is a SOCKS5 proxy for every dial: ``host[:port]``, or a URL, whose password is not shown anywhere.
    ``limits`` are the transport's, ``max_queued`` is the max number of bytes that wait for one peer.

    Use it as an async context manager, or call `start` and `aclose`. `run_until_stopped` waits for `stop`, or for the
    RPC method of that name. Raises `ValueError` for an invalid address, URI or network.
    """

    def __init__(
        self,
        lightning_dir: Path,
        *,
        network: str = DEFAULT_NETWORK,
        listen: Sequence[str] = (),
        connect: Sequence[str] = (),
        alias: str | None = None,
        plugins: Sequence[str | Path] = (),
        plugin_dirs: Sequence[str | Path] = (),
        important_plugins: Sequence[str | Path] = (),
        disabled_plugins: Sequence[str] = (),
        plugin_options: Sequence[tuple[str, str | None]] = (),
        proxy: str | None = None,
        log: Log | None = None,
        limits: Bolt8Limits | None = None,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        if network not in CHAINS:
            raise ValueError(f"network should be one of {', '.join(CHAINS)}, not {network!r}")
        self.base_dir = lightning_dir.absolute()
        self.lightning_dir = self.base_dir / network
        self.network = network
        self.rpc_file = _RPC_FILE
        self.version = f"{COMPATIBLE_VERSION}-oddwire-{__version__}"
        self._proxy = None if proxy is None else proxy_url(proxy)
        self.proxy = None if self._proxy is None else proxy_address(self._proxy)
        self.log = log or Log()
        self.log.on_line = self._notify_log
        self.commands = NodeCommands(self.log)
        self.options: Mapping[str, object] = {
            "lightning-dir": str(self.base_dir),
            "network": network,
            "rpc-file": _RPC_FILE,
            "addr": list(listen),
            "connect": list(connect),
            "alias": alias,
            "proxy": self.proxy,
            "plugin": [str(path) for path in plugins],
            "plugin-dir": [str(path) for path in plugin_dirs],
            "important-plugin": [str(path) for path in important_plugins],
            "disable-plugin": list(disabled_plugins),
            "log-level": LEVELS[self.log.level],
        }
        """The node's options, by lightningd's names, for ``listconfigs``."""
        self.plugins = PluginHost(self, reserved_options=[*self.options, "log-file", "json", "uvloop", "help"])
        self._alias = alias
        self._listen = listen
        for address in listen:
            parse_listen(address, default_port=DEFAULT_PORTS[network])  # raise here rather than during the start
        self._connect = [NodeUri.parse(uri, default_port=DEFAULT_PORTS[network]) for uri in connect]
        self._plugin_options = plugin_options
        self._limits = limits
        self._max_queued = max_queued
        self._stopped = asyncio.Event()
        self._ended = asyncio.Event()
        self._lock: DirectoryLock | None = None
        self._secret: NodeSecret | None = None
        self._store: NodeDatabase | None = None
        self._transport: Bolt8Transport | None = None
        self._peers: ConnectedPeers | None = None
        self._rpc: JsonRpcServer | None = None
        self.insight = NodeInsight(self)
        """What the node tells of itself."""

    # Parts that the start creates; before, these raise `TransportError`

    @property
    def secret(self) -> NodeSecret:
        """The node's key, and what is derived from it."""
        return _started(self._secret)

    @property
    def store(self) -> NodeDatabase:
        """The node's database."""
        return _started(self._store)

    @property
    def transport(self) -> Bolt8Transport:
        """The connections to peers."""
        return _started(self._transport)

    @property
    def peers(self) -> ConnectedPeers:
        """The connected peers, and the connecting and disconnecting of others."""
        return _started(self._peers)

    @property
    def rpc(self) -> JsonRpcServer:
        """The server of the JSON-RPC socket."""
        return _started(self._rpc)

    # Properties for plugins and RPC methods

    @property
    def node_id(self) -> str:
        """The node's public key in hex."""
        return self.secret.node_key.public_key().hex()

    @property
    def alias(self) -> str:
        """The node's name for people; by default it is derived from the node id."""
        return self._alias or f"oddwire-{self.node_id[2:10]}"

    @property
    def rpc_path(self) -> Path:
        """The path of the JSON-RPC socket."""
        return self.lightning_dir / self.rpc_file

    @property
    def uris(self) -> list[str]:
        """The URIs at which other nodes can connect."""
        return list(self.transport.uris)

    def feature_set(self) -> dict[str, str]:
        """Return the feature bits in hex by context, plugins' bits included."""
        own = feature_bytes(ASSUMED_FEATURES)  # as `Bolt1` announces them
        maps = {context: own if context in ("init", "node") else b"" for context in _CONTEXTS}
        for context, bits in self.plugins.features.items():
            merged = feature_bits(maps.get(context, b"")) | feature_bits(bytes.fromhex(bits))
            maps[context] = feature_bytes(merged)
        return {context: bits.hex() for context, bits in maps.items()}

    # Its life

    async def start(self) -> None:
        """Start plugins, JSON-RPC and the transport. The node is ready when it returns.

        Raises `TransportError` if the directory or an address is in use or cannot be opened, `DefinitionError` for an
        invalid key file, database or plugin option. After an error, or a cancellation, nothing is left running.
        """
        try:
            await self._start()
        except BaseException:
            await self.aclose()
            raise

    async def _start(self) -> None:
        try:
            make_folder(self.base_dir)
            make_folder(self.lightning_dir)
            self._lock = DirectoryLock(self.base_dir, self.network)
            self._secret = load_secret(self.lightning_dir)
        except OSError as error:
            raise TransportError(f"{error.filename or self.lightning_dir}: {error.strerror}") from error
        self._store = NodeDatabase(self.lightning_dir / _DATABASE)
        self.commands.install()
        install(self)
        await self.plugins.load(
            self._option_values("plugin"),
            self._plugin_options,
            directories=self._option_values("plugin-dir"),
            important=self._option_values("important-plugin"),
            disabled=self._option_values("disable-plugin"),
        )
        try:
            self._transport = Bolt8Transport(
                self.secret.node_key,
                listen=self._listen,
                connect=[str(uri) for uri in self._connect],
                network=self.network,
                proxy=self._proxy,
                limits=self._limits,
                known=self._is_known,
            )
        except ValueError as error:
            raise DefinitionError(str(error)) from error
        if self.log.shows_messages:
            self.transport.look = self.log.message
        self._peers = ConnectedPeers(self.transport, self.plugins, self.store, self.log, self._max_queued)
        self.peers.kept.update(uri.node_id for uri in self._connect)
        # Plugins call RPC methods during their init; peers connect after all are initialized
        self._rpc = JsonRpcServer(
            self.rpc_path,
            self.commands.dispatch,
            max_document=max(MAX_REQUEST, max_document()) if MAX_DOCUMENT_VARIABLE in os.environ else MAX_REQUEST,
            shortcut=shortcut(self),
            on_work=self.transport.want,
        )
        await self.rpc.start()
        await self.plugins.initialize()
        await self.transport.open(Manifest(features=self._plugin_features()), self.peers)
        self.log("info", f"Server started with public key {self.node_id}, alias {self.alias}")

    def _option_values(self, option: str) -> list[str]:
        values = self.options[option]
        return values if isinstance(values, list) else []

    def _is_known(self, node_id: NodeId) -> bool:
        return node_id in self.peers.kept or self.store.address(node_id) is not None

    def _plugin_features(self) -> frozenset[int]:
        return frozenset(feature_bits(bytes.fromhex(self.plugins.features.get("init", ""))))

    async def run_until_stopped(self) -> None:
        """Wait until `stop` is called; meanwhile, write summaries of log lines left out. Cancellation stops nothing."""
        while True:
            try:
                async with asyncio.timeout(self.log.limiter.limits.period):
                    await self._stopped.wait()
                return
            except TimeoutError:
                self.log.flush()  # a limited source may log nothing more, which would write its summary

    def stop(self, reason: str) -> None:
        """Make `run_until_stopped` return; its caller then closes the node. Idempotent."""
        if not self._stopped.is_set():
            self.log("unusual", reason)
            self._stopped.set()

    async def wait_ended(self) -> None:
        """Wait until the node is stopped, everything is on disk, and the directory is free for another node."""
        await self._ended.wait()

    async def aclose(self) -> None:
        """Stop the node: end plugins, disconnect peers, close the database, release the directory. Idempotent."""
        self._stopped.set()
        self.commands.closing = True
        if self._rpc is not None:
            self._rpc.stop_listening()
        await self.plugins.aclose()
        self.insight.close()
        if self._peers is not None:
            await self._peers.aclose()
        if self._transport is not None:
            await self._transport.aclose()
        if self._store is not None:
            self._store.close()
        if self._lock is not None:
            self._lock.release()
        self._ended.set()
        if self._rpc is not None:
            await self._rpc.aclose()

    def abandon(self) -> None:
        """Kill all plugins without waiting: the process is about to end without `aclose`. Callable from any thread."""
        for plugin in self.plugins.everyone():
            plugin.abandon()
        if self._lock is not None and self._rpc is not None:
            self.rpc_path.unlink(missing_ok=True)

    def holdups(self) -> list[str]:
        """Return descriptions of the plugins that the start or end waits for. Callable from any thread."""
        return [text for plugin in self.plugins.everyone() if (text := plugin.holdup()) is not None]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _notify_log(self, line: LogLine) -> None:
        important = line.level in ("unusual", "broken")
        if not self.plugins.wants("log") and not (important and self.plugins.wants("warning")):
            return
        entry = {
            "level": line.level,
            "time": f"{line.time:.9f}",
            "timestamp": line.timestamp,
            "source": line.source,
            "log": line.text,
        }
        self.plugins.notify("log", entry)
        if important:
            self.plugins.notify("warning", {**entry, "level": "error" if line.level == "broken" else "warn"})


def _started(part: T | None) -> T:
    if part is None:
        raise TransportError("the node is not started: 'async with node:' or 'await node.start()' starts it")
    return part
