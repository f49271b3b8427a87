"""What the plugin host asks of the node that it runs in: a protocol, so that the host can be tested without a node."""

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
    """The client's id; a string of it becomes the first part of the id that the plugin sees."""
    method: str
    params: Any
    """The client's ``params``, a list or a dict, untouched: those of ``check`` itself if that was called."""
    checking: bool = False
    """True if the client called ``check``: the plugin is asked only whether it would accept these parameters."""
    notify: Callable[[str, dict[str, Any]], None] | None = None
    """Takes ``message`` and ``progress`` notifications for this request; None if the client did not ask for them."""


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
    """Gives the result; raises `NodeRefused` with the plugin's code, text and data."""


class CommandTable(Protocol):
    """The node's table of JSON-RPC methods, as far as plugins see it."""

    def owner_of(self, name: str) -> str | None:
        """Say who answers ``name``: a plugin's path, ``lightningd`` for a built-in one, None if nobody does."""
        raise NotImplementedError

    def register_plugin_method(self, method: PluginMethod) -> None:
        """Add a method; its parameters are not parsed. Raises `ExtensionError` if the name is taken."""

    def unregister(self, owner: str) -> None:
        """Remove every method of this plugin; there may be none."""


class NodeServices(Protocol):
    """The node as its plugins' host sees it."""

    @property
    def lightning_dir(self) -> Path:
        """The network's folder: plugins run in it, and `init` names it."""
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
        """What plugins read in LIGHTNINGD_VERSION."""
        raise NotImplementedError

    @property
    def node_id(self) -> str:
        """The node's public key in hex."""
        raise NotImplementedError

    @property
    def proxy(self) -> str | None:
        """``host:port`` of the SOCKS5 proxy, if there is one."""
        raise NotImplementedError

    @property
    def commands(self) -> CommandTable:
        """Where plugins' methods go."""
        raise NotImplementedError

    def log(self, level: str, text: str, source: str) -> None:
        """Write one line: ``level`` is io, trace, debug, info, unusual or broken."""

    def feature_set(self) -> Mapping[str, str]:
        """Return the node's feature maps as hex by context (init, node, ...), plugins' bits included."""
        raise NotImplementedError

    def stop(self, reason: str) -> None:
        """End the node: an important plugin is gone."""
