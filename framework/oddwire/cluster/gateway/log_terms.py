"""The term of a partition's owner, as its log has it."""

from __future__ import annotations

from oddwire.cluster.log.entries import ChainBroken, Kind, follow
from oddwire.errors import TransportError
from oddwire.proto.keys import NodeId
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.subjects import log_stream, log_subject

__all__ = ["term_in_log"]


async def term_in_log(connection: BrokerConnection, node: NodeId, partition: int) -> int:
    """Return the term of the last owner of a partition; 0 if it never had one.

    Raises `TransportError` for a log that cannot be read; else as `BrokerConnection` does.
    """
    last = await connection.last_of(log_stream(node), log_subject(node, partition))
    if last is None:
        return 0
    try:
        entry = follow(None, last.data)
    except ChainBroken as error:
        raise TransportError(f"the log of partition {partition} cannot be read: {error}") from error
    return last.sequence if entry.kind is Kind.FENCE else entry.term
