"""Who is a stranger: whom we neither dialed nor know, and with whom we have no channel."""

from __future__ import annotations

from oddwire import AppContext, OddwireError, Peer

__all__ = ["is_stranger"]


async def is_stranger(context: AppContext, peer: Peer) -> bool:
    """Return whether we neither dialed a peer, nor know it, nor have a channel with it."""
    if (peer.info is not None and peer.info.direction == "out") or await context.store.get(f"known {peer}"):
        return False
    try:
        found = await context.node.call("listpeerchannels", {"id": str(peer)})
    except OddwireError:  # there is no host node, or it knows no channels
        return True
    return not any(channel["state"] == "CHANNELD_NORMAL" for channel in found.get("channels", ()))
