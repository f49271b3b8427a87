"""The services of the node that the plugin host uses, as protocols, so that the host can be tested without a node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

__all__ = ["CommandTable", "MethodCall", "NodeServices", "PluginMethod"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodCall:
    """One JSON-RPC request for a plugin's method, as the client sent it."""

    id: Any
    """The client's id; it becomes the first part of the id that the plugin sees."""
    method: str
    params: Any
    """The client's ``params``, a list or a dict, as they came: those of ``check`` itself if that was called."""
    checking: bool = False
    """Whether the client called ``check``: the plugin only checks whether it would accept these parameters."""
    notify: Callable[[str, dict[str, Any]], None] | None = None
    """Sends the client ``message`` and ``progress`` notifications of this request; None if it has not enabled them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginMethod:
    """A method that a plugin adds to the node's JSON-RPC."""

    name: str
    usage: str
    description: str
    long_description: str
    category: str
    deprecated: bool
    owner: str
    """The plugin's path."""
    call: Callable[[MethodCall], Awaitable[Any]]
    """Returns the result; raises `NodeRefused` with the plugin's code, text and data."""


class CommandTable(Protocol):
    """The node's table of JSON-RPC methods, as the plugin host uses it."""

    def owner_of(self, name: str) -> str | None:
        """Return the owner of a method: a plugin's path, ``lightningd`` for the node's own, None if there is none."""
        raise NotImplementedError

    def register_plugin_method(self, method: PluginMethod) -> None:
        """Add a method; its parameters are not parsed. Raises `ExtensionError` if the name is taken."""

    def unregister(self, owner: str) -> None:
        """Remove all methods of a plugin; there may be none."""


class NodeServices(Protocol):
    """The node, as the plugin host uses it."""

    @property
    def lightning_dir(self) -> Path:
        """The network's folder: the working directory of plugins, and named in ``init``."""
        raise NotImplementedError

    @property
    def rpc_file(self) -> str:
        """The JSON-RPC socket's name, relative to `lightning_dir`."""
        raise NotImplementedError

    @property
    def network(self) -> str:
        """``regtest``, ``bitcoin``, ..."""
        raise NotImplementedError

    @property
    def version(self) -> str:
        """The version for the environment variable LIGHTNINGD_VERSION of plugins."""
        raise NotImplementedError

    @property
    def node_id(self) -> str:
        """The node's public key in hex."""
        raise NotImplementedError

    @property
    def proxy(self) -> str | None:
        """``host:port`` of the SOCKS5 proxy, None if there is none."""
        raise NotImplementedError

    @property
    def commands(self) -> CommandTable:
        """The table for plugins' methods."""
        raise NotImplementedError

    def log(self, level: str, text: str, source: str) -> None:
        """Log one line: ``level`` is io, trace, debug, info, unusual or broken."""

    def feature_set(self) -> Mapping[str, str]:
        """Return the node's feature bits in hex by context (init, node, ...), plugins' bits included."""
        raise NotImplementedError

    def stop(self, reason: str) -> None:
        """Stop the node: an important plugin has ended."""
