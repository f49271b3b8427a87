"""BOLT 8 and BOLT 1 on asyncio: pyln.proto's parts, rewritten. Usable without the rest of oddwire."""

from oddwire.proto.addresses import NodeUri
from oddwire.proto.keys import NodeId, PrivateKey, PublicKey, Secret, ShortChannelId
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
