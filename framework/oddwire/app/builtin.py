"""The plugin that brings oddwire's own codecs and transports, by the door everyone uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from oddwire.app.hookspecs import hookimpl
from oddwire.codecs.base import Codec
from oddwire.codecs.registry import builtin_codecs
from oddwire.transports.base import Transport
from oddwire.transports.bolt8 import Bolt8Transport
from oddwire.transports.memory import MemoryTransport

__all__ = ["Builtins"]


class Builtins:
    """Codecs msgpack, bolt, json and raw; transports bolt8 and memory. Their options are their classes' parameters."""

    name = "oddwire"

    @hookimpl
    def register_codecs(self) -> Iterable[Codec]:
        """Give the four codecs."""
        return builtin_codecs()

    @hookimpl
    def register_transports(self) -> Mapping[str, Callable[..., Transport]]:
        """Give both transports."""
        return {"bolt8": Bolt8Transport, "memory": MemoryTransport}
