"""NATS JetStream: an application on a worker, for a partition of the peers of a node elsewhere.

Each name is imported when it is first used: the client needs nats-py, the extra ``oddwire[cluster]``.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oddwire.transports.nats.address import BrokerAddress as BrokerAddress
    from oddwire.transports.nats.connection import BrokerConnection as BrokerConnection
    from oddwire.transports.nats.transport import NatsTransport as NatsTransport
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()
