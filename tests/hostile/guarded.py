"""Another extension of the attacked node, which asks of each peer whether it may."""

from __future__ import annotations

from oddwire import Context, Extension, Message, Peer, message, u64


def _anybody(peer: Peer) -> bool:
    return True


extension = Extension("guarded", version="1.0", allow=_anybody)


@message(0x9131)
class Guarded(Message):
    number: u64
    note: str


@extension.on(Guarded)
async def guarded(context: Context, guarded: Guarded) -> Guarded:
    return guarded
