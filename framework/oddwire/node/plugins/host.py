"""The plugin host: which plugins run, what they announced, and who hears of what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from oddwire.node.plugins.services import Services

__all__ = ["PluginHost"]


class PluginHost:
    """Runs plugins and hands them what happens.

    ``features`` are plugins' feature bits as hex by context (init, node, channel, invoice, ...), ``custommessages``
    the types any running plugin lists: both live.
    """

    features: dict[str, str]
    custommessages: frozenset[int]

    def __init__(self, services: Services) -> None:
        self.services = services

    async def load(
        self,
        paths: Sequence[Path],
        options: Sequence[tuple[str, str | None]] = (),
        *,
        directories: Sequence[Path] = (),
        disabled: Sequence[str] = (),
        important: Sequence[Path] = (),
    ) -> None:
        """Start plugins and read their manifests: afterwards `features`, `custommessages`, `options` are known.

        ``options`` are the command line's, name without dashes and value (None for ``--flag`` alone), in order; one
        that no plugin has raises `ExtensionError`. A plugin that fails is reported and left out.
        """
        raise NotImplementedError

    async def initialize(self) -> None:
        """Send every loaded plugin its ``init``; call it when JSON-RPC listens, for plugins call back at once."""
        raise NotImplementedError

    async def start(self, paths: Sequence[Path], options: Sequence[tuple[str, str | None]] = ()) -> None:
        """Do `load` and `initialize`."""
        raise NotImplementedError

    # The RPC method ``plugin``: results as it answers, `NodeRefused` as it fails

    async def plugin_start(self, path: str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        raise NotImplementedError

    async def plugin_stop(self, name: str) -> dict[str, Any]:
        raise NotImplementedError

    async def plugin_startdir(self, directory: str) -> dict[str, Any]:
        raise NotImplementedError

    async def plugin_rescan(self) -> dict[str, Any]:
        raise NotImplementedError

    def plugin_list(self) -> dict[str, Any]:
        raise NotImplementedError

    # Options

    def listconfigs(self, name: str | None = None) -> dict[str, dict[str, Any]]:
        """Give plugins' options as ``listconfigs`` shows them in ``configs``, by name."""
        raise NotImplementedError

    async def setconfig(self, name: str, value: str | None) -> dict[str, Any]:
        """Change a dynamic option in its plugin and give its entry of `listconfigs`; `NodeRefused` if it can't."""
        raise NotImplementedError

    # What happens

    def notify(self, topic: str, payload: Mapping[str, Any]) -> None:
        """Tell the subscribers of ``topic``: ``{"method": topic, "params": {topic: payload}}``. Returns at once."""
        raise NotImplementedError

    def custommsg(self, peer_id: str, payload: bytes, done: Callable[[], None]) -> bool:
        """Notify of a message and run the hook chain for it.

        True if nobody has to answer (``done`` is never called); else False, and ``done()`` is called once, later, on
        the loop, when the chain is through: `Transport.pause` the peer until then. No task is made.
        """
        raise NotImplementedError

    async def peer_connected(self, peer: Mapping[str, Any]) -> str | None:
        """Run the ``peer_connected`` hook with ``{"peer": peer}`` (id, direction, addr, features).

        None to continue; else the error message to disconnect with, empty if the plugin gave none.
        """
        raise NotImplementedError

    async def call_hook(self, name: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Run the chain of any hook and give the last answer: ``{"result": "continue"}`` or what ended the chain."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Send ``shutdown`` to its subscribers, wait a little, end every plugin. Idempotent."""
        raise NotImplementedError
