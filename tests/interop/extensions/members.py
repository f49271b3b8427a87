#!/usr/bin/env python3
"""An extension for peers with a channel; what it tells of a peer that has none is the failure's code."""

from oddwire import AppContext, Context, Extension, Message, NodeId, RemoteFailure, message, u64

extension = Extension("members", version="1.0", allow="channels")


@message(0x8C11)
class Knock(Message):
    nonce: u64


@message(0x8C13)
class Welcome(Message):
    nonce: u64


@extension.on(Knock)
async def welcome(context: Context, knock: Knock) -> Welcome:
    return Welcome(nonce=knock.nonce)


@extension.rpc("members-knock")
async def knock(context: AppContext, node_id: NodeId) -> dict[str, u64 | int]:
    """Knock at a peer."""
    peer = context.app.peer(node_id)
    await peer.wait_for_hello()
    try:
        answer = await peer.request(Knock(nonce=7), Welcome)
    except RemoteFailure as error:
        return {"refused": error.code}
    return {"welcome": answer.nonce}


if __name__ == "__main__":
    extension.run()
