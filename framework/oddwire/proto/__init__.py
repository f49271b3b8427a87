"""BOLT 8 and BOLT 1 on asyncio: pyln.proto's parts, rewritten. Usable without the rest of oddwire.

The asyncio shell, and the cryptography it needs, is imported when one of its names is first used: a program that only
wants keys or feature bits loads no more than that.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oddwire.proto.addresses import NodeUri as NodeUri
    from oddwire.proto.connection import LightningConnection as LightningConnection
    from oddwire.proto.keys import (
        NodeId as NodeId,
        PrivateKey as PrivateKey,
        PublicKey as PublicKey,
        Secret as Secret,
        ShortChannelId as ShortChannelId,
    )
    from oddwire.proto.serving import LightningServer as LightningServer, serve as serve
    from oddwire.proto.wire import connect as connect
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()
