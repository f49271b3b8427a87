"""Whole payloads to peers and back: the base class of transports, and the built-in ones.

`bolt8` is a node of our own, `memory` joins nodes in one process, `cln` runs inside Core Lightning,
`lnd` beside LND, `nats` on a worker of a cluster.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oddwire.transports.base import (
        MAX_PAYLOAD as MAX_PAYLOAD,
        MIN_PAYLOAD as MIN_PAYLOAD,
        DropCounts as DropCounts,
        HostMethod as HostMethod,
        HostOption as HostOption,
        Manifest as Manifest,
        PeerInfo as PeerInfo,
        Sink as Sink,
        Transport as Transport,
        fast_send as fast_send,
        not_connected as not_connected,
        wrong_length as wrong_length,
    )
    from oddwire.transports.bolt8.limits import Bolt8Limits as Bolt8Limits
    from oddwire.transports.bolt8.transport import Bolt8Transport as Bolt8Transport
    from oddwire.transports.host import HostTransport as HostTransport
    from oddwire.transports.lnd.limits import LndLimits as LndLimits
    from oddwire.transports.lnd.transport import LndTransport as LndTransport
    from oddwire.transports.memory import (
        MemoryNetwork as MemoryNetwork,
        MemoryTransport as MemoryTransport,
    )
    from oddwire.transports.nats.address import BrokerAddress as BrokerAddress
    from oddwire.transports.nats.connection import BrokerConnection as BrokerConnection
    from oddwire.transports.nats.transport import NatsTransport as NatsTransport
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()
