"""What an LDK node says, read by `oddwire.known.bolts`; and what that writes, understood by LDK."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from oddwire.known import bolts
from oddwire.proto import PrivateKey, PublicKey, connect
from oddwire.proto.bolt1 import CHAINS

pytestmark = pytest.mark.interop

FEATURES = bytes.fromhex("08a0000a0aa222")  # LDK's own


async def test_init_ping_and_an_error(start_ldk: Any) -> None:
    ldk = await start_ldk()
    await ldk.listen()
    node_id, _, address = ldk.uri.partition("@")
    host, _, port = address.rpartition(":")
    key = PrivateKey(os.urandom(32))
    connection = await connect(key, PublicKey(bytes.fromhex(node_id)), host, int(port))

    async def hear() -> Any:
        async with asyncio.timeout(30):
            payload = await connection.read_message()
        message = bolts.decode(payload)
        assert bolts.encode(message) == payload
        return message

    networks = bolts.InitTlvsNetworks(chains=(CHAINS["regtest"],))
    init = bolts.Init(globalfeatures=b"", features=FEATURES, tlvs=bolts.InitTlvs(networks=networks))
    await connection.send_message(bolts.encode(init))
    theirs = await hear()
    assert type(theirs) is bolts.Init
    assert (theirs.globalfeatures, theirs.features) == (b"\x22\x22", FEATURES)
    assert theirs.tlvs == bolts.InitTlvs()
    await ldk.event("connected", peer=bytes(key.public_key()).hex())

    await connection.send_message(bolts.encode(bolts.Ping(num_pong_bytes=5, ignored=b"")))
    while type(message := await hear()) is not bolts.Pong:
        assert type(message) is bolts.GossipTimestampFilter
    assert message == bolts.Pong(ignored=bytes(5))
    await ldk.tick()
    while type(message := await hear()) is not bolts.Ping:
        pass
    await connection.send_message(bolts.encode(bolts.Pong(ignored=bytes(message.num_pong_bytes))))

    await connection.send_message(bolts.encode(bolts.Warning(channel_id=bytes(32), data=b"a warning of ours")))
    assert await ldk.logged("a warning of ours")
    connection.close()
