"""A message by `LndClient`, awaited."""

from __future__ import annotations

import asyncio

from oddwire.proto.keys import NodeId
from oddwire.transports.lnd.client import LndClient

__all__ = ["send"]


async def send(client: LndClient, peer: NodeId, type_id: int, data: bytes) -> None:
    """Send a message, and return when LND has written it to the peer's socket. Raises the client's errors."""
    sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ended(error: Exception | None) -> None:
        if error is None:
            sent.set_result(None)
        else:
            sent.set_exception(error)

    client.post_custom_message(peer, type_id, data, ended)
    await sent
