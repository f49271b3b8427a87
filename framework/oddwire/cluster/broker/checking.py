"""Whether a broker will do for a cluster."""

from __future__ import annotations

from typing import Final

from oddwire.cluster.broker.executable import is_too_old, too_old
from oddwire.errors import TransportError
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerFailure

__all__ = ["LEAST_PAYLOAD", "check_broker"]

LEAST_PAYLOAD: Final = 1 << 20
"""Bytes of a message that the broker has to take, which is what nats-server takes unless it is told otherwise."""


async def check_broker(connection: BrokerConnection) -> None:
    """Raise `TransportError` for a broker that is too old, takes too small messages, or has no JetStream for us."""
    where = f"the broker at {connection.address.shown}"
    version = str(connection.client.connected_server_version)
    if is_too_old(version):
        raise TransportError(f"{where} is {too_old(version)}")
    if connection.max_payload < LEAST_PAYLOAD:
        raise TransportError(
            f"{where} takes messages of at most {connection.max_payload} bytes, and a cluster needs {LEAST_PAYLOAD}: "
            "raise max_payload in its configuration, to 8MB say"
        )
    try:
        await connection.api("INFO")
    except BrokerFailure as failure:
        raise TransportError(
            f"{where} has no JetStream for us ({failure.reason}): its configuration needs 'jetstream', and our "
            "user what 'oddwire broker permissions' prints"
        ) from failure
