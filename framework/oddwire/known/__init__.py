"""Schemas of protocols in the wild: for decoding, inspecting, and building on.

Each protocol is a module, ``oddwire.known.peerswap`` say: its message classes, and `Protocol`, which names the document
that they were written from. `protocols` returns all of them, `owners` who uses a type number, `decode` what a payload
says to each of these. No module is imported before it is asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oddwire.known import (
        bolts as bolts,
        commando as commando,
        dlc as dlc,
        hosted_channels as hosted_channels,
        lightning_box as lightning_box,
        lightningos as lightningos,
        lsps0 as lsps0,
        lsps1 as lsps1,
        lsps2 as lsps2,
        lsps5 as lsps5,
        payment_splitting as payment_splitting,
        peer_storage as peer_storage,
        peerswap as peerswap,
        phoenix as phoenix,
        rgb as rgb,
        taproot_assets as taproot_assets,
    )
    from oddwire.known.listing import (
        owners as owners,
        protocols as protocols,
    )
    from oddwire.known.protocol import (
        Claim as Claim,
        Protocol as Protocol,
    )
    from oddwire.known.reading import (
        Reading as Reading,
        decode as decode,
    )
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()
