"""BOLT 8 and BOLT 1 on asyncio: pyln.proto's parts, rewritten. Usable without the rest of oddwire.

The asyncio shell, and the cryptography it needs, is imported when one of its names is first used: a program that only
wants keys or feature bits loads no more than that.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from oddwire.proto.addresses import NodeUri
from oddwire.proto.keys import NodeId, PrivateKey, PublicKey, Secret, ShortChannelId

if TYPE_CHECKING:
    from oddwire.proto.wire import LightningConnection, LightningServer, connect, serve

__all__ = [
    "LightningConnection",
    "LightningServer",
    "NodeId",
    "NodeUri",
    "PrivateKey",
    "PublicKey",
    "Secret",
    "ShortChannelId",
    "connect",
    "serve",
]

_OF_WIRE = ("LightningConnection", "LightningServer", "connect", "serve")


def __getattr__(name: str) -> object:
    if name not in _OF_WIRE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module("oddwire.proto.wire"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
