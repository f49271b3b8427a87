"""The extension `peerstorage` with Core Lightning's own peer storage, its plugin chanbackup, at the other end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.waiting import until_answered

from oddwire import Application
from oddwire.proto import PrivateKey
from oddwire.transports import Bolt8Transport
from oddwire_extensions.peerstorage import extension

pytestmark = [pytest.mark.cln, pytest.mark.interop]

KEY = PrivateKey(b"\x07" * 32)
SCRIPT = "#!/usr/bin/env python3\nfrom oddwire_extensions.peerstorage import extension\n\nextension.run()\n"
BLOB = bytes(range(256)) * 255


def application(store: Path) -> Application:
    """Make our node: each time the same one, with the same store."""
    return Application(extension, transport=Bolt8Transport(KEY, network="regtest"), store=str(store))


async def blobs(app: Application) -> list[dict[str, object]]:
    """Wait until a blob is kept, and none waits to be written."""

    async def there() -> object:
        found = await app.call("peerstorage-list")
        return found if found and not found[0]["newer_waits"] else None

    return await until_answered(there)  # type: ignore[no-any-return]


async def test_we_keep_what_core_lightning_sends_and_it_gets_it_back(start, tmp_path) -> None:
    cln = start.lightningd()
    async with application(tmp_path / "store") as app:
        await app.connect(cln.uri)
        [blob] = await blobs(app)
        assert blob["node_id"] == cln.node_id
        assert blob["size"] > 17  # sealed: a nonce and a tag are that long alone
    assert not cln.log("Received peer_storage from peer")
    await cln.until_gone(str(app.node_id))
    async with application(tmp_path / "store") as app:  # after a restart
        await app.connect(cln.uri)
        await cln.logged("chanbackup", "Received peer_storage from peer")
        await asyncio.sleep(0.1)
    assert not cln.log("PeerStorageFailed")  # it could open what it got


async def test_core_lightning_keeps_ours(start, tmp_path) -> None:
    cln = start.lightningd()
    us = str(KEY.public_key().hex())
    # A peer gets a slot with its first channel. An operator may make one, which counts from the next start.
    await cln.call("datastore", key=["chanbackup", "peers", us], hex="")
    await cln.stop()
    cln.start()
    async with application(tmp_path / "store") as app:
        await app.connect(cln.uri)
        assert await app.call("peerstorage-put", BLOB.hex()) == {"size": len(BLOB), "sent_to": 1}

        async def kept() -> object:
            found = await cln.call("listdatastore", ["chanbackup", "peers", us])
            return found["datastore"][0]["hex"] == BLOB.hex()

        await until_answered(kept)
        await app.disconnect(cln.node_id)
        await cln.until_gone(us)
        await app.connect(cln.uri)

        async def returned() -> object:
            return [row for row in await app.call("peerstorage-returned") if row["blob"]]

        [answer] = await until_answered(returned)
        assert (answer["blob"], answer["current"], answer["node_id"]) == (BLOB.hex(), True, cln.node_id)


async def test_on_an_embedded_node(start, tmp_path) -> None:
    plugin = tmp_path / "peerstorage"
    plugin.write_text(SCRIPT)
    plugin.chmod(0o700)
    cln, node = start.lightningd(), start.node(plugin)
    await node.connect(cln.uri)
    await node.until(lambda found: found and found[0]["node_id"] == cln.node_id, "peerstorage-list")
    await node.call("disconnect", cln.node_id)
    await cln.until_gone(node.node_id)
    await node.connect(cln.uri)
    await cln.logged("chanbackup", "Received peer_storage from peer")
