import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from oddwire import (
    Application,
    Context,
    Extension,
    ExtensionStore,
    NodeId,
    PrivateKey,
    RemoteFailure,
    schema_of,
)
from oddwire.transports import MemoryNetwork
from oddwire_extensions import courier

PARCEL = 0x8C21


@pytest.fixture
def shelf(tmp_path):
    """A folder to be fetched from, with things in it that must not be."""
    (tmp_path / "secret.txt").write_text("not yours")
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "map.bin").write_bytes(bytes(range(256)) * 4096)
    (folder / "empty").touch()
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "a\nb").touch()
    Path(os.fsdecode(bytes(folder) + b"/\xff")).touch()  # a name that is no text
    (folder / "deeper").mkdir()
    (folder / "deeper" / "file.txt").write_text("deep")
    return folder


async def test_a_parcel_arrives_and_is_saved(pair, tmp_path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("it's OK to be odd")
    async with pair(("courier",), ("courier",)) as (listener, dialer):
        sent = await dialer.call("courier-send", str(listener.node_id), str(letter), "true")
        assert sent == {"name": "letter.txt", "size": 17}
        inbox = await listener.call("courier-inbox")
        assert inbox == [{"number": 1, "from": str(dialer.node_id), "name": "letter.txt", "size": 17}]
        saved = tmp_path / "saved.txt"
        with pytest.raises(ValueError, match="exists already; it should be a new file"):
            await listener.call("courier-save", 1, str(letter))
        await listener.call("courier-save", 1, str(saved))
        assert saved.read_text() == "it's OK to be odd"
        assert await listener.call("courier-inbox") == []
        with pytest.raises(ValueError, match="there is no parcel 1; courier-inbox shows"):
            await listener.call("courier-save", 1, str(tmp_path / "again.txt"))


async def test_a_parcel_of_many_fragments(pair, tmp_path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(courier.MAX_PARCEL))
    async with pair(("courier",), ("courier",)) as (listener, dialer):
        await dialer.call("courier-send", str(listener.node_id), str(large), True)
        await listener.call("courier-save", 1, str(tmp_path / "saved.bin"))
        assert (tmp_path / "saved.bin").read_bytes() == large.read_bytes()
        large.write_bytes(bytes(courier.MAX_PARCEL + 1))
        with pytest.raises(ValueError, match="courier-fetch has no such limit"):
            await dialer.call("courier-send", str(listener.node_id), str(large))


async def test_a_parcel_waits_for_its_peer_and_survives_both(tmp_path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("late")
    network = MemoryNetwork()
    keeper, sender = PrivateKey(b"\1" * 32), PrivateKey(b"\2" * 32)
    keeper_id = str(NodeId(keeper.public_key()))

    def app(key, name):
        return Application("courier", transport=network.transport(key), store=tmp_path / name)

    async with app(sender, "sender") as dialer:
        await dialer.call("courier-send", keeper_id, str(letter))
    async with app(keeper, "keeper") as listener, app(sender, "sender") as dialer:
        assert await listener.call("courier-inbox") == []
        await dialer.connect(listener.uris[0])
        async with asyncio.timeout(30):
            while not await listener.call("courier-inbox"):
                await asyncio.sleep(0.01)
    async with app(keeper, "keeper") as listener, app(sender, "sender") as dialer:
        await dialer.connect(listener.uris[0])
        await dialer.call("courier-send", keeper_id, str(letter), True)  # behind whatever would come again
        assert [parcel["number"] for parcel in await listener.call("courier-inbox")] == [1, 2]


@pytest.mark.parametrize("name", ["", "..", "a/b", "..\\b", "a\nb", "\x7f"])
async def test_names_that_lead_elsewhere_are_refused(pair, name: str) -> None:
    async with pair(("courier",), ("courier",)) as (_, dialer):
        receipt = await dialer.peers[0].deliver(courier.Parcel(name=name, data=b""))
        with pytest.raises(RemoteFailure, match="is not a file name"):
            await receipt.delivered()


async def test_one_sender_has_so_much_room_and_no_more(pair, tmp_path) -> None:
    async with pair(("courier",), ("courier",)) as (listener, dialer):
        peer, used = dialer.peers[0], courier.ROOM_OF_ONE - 2 * courier.OVERHEAD - 1
        await listener.store("courier").set(f"room of {dialer.node_id}", used)
        await (await peer.deliver(courier.Parcel(name="x", data=b""))).delivered()  # it takes room, too
        await (await peer.deliver(courier.Parcel(name="y", data=b"y"))).delivered()
        receipt = await peer.deliver(courier.Parcel(name="z", data=b""))
        with pytest.raises(RemoteFailure, match="the inbox is full"):
            await receipt.delivered()
        assert [parcel["name"] for parcel in await listener.call("courier-inbox")] == ["x", "y"]
        assert await listener.call("courier-drop", 1) == {"from": str(dialer.node_id), "name": "x", "size": 0}
        await (await peer.deliver(courier.Parcel(name="z", data=b""))).delivered()


async def test_strangers_leave_room_for_those_we_know(pair, tmp_path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("hello")
    async with pair(("courier",), ("courier",)) as (listener, dialer):
        store, peer = listener.store("courier"), dialer.peers[0]
        await store.set("room of strangers", courier.ROOM_OF_STRANGERS)
        receipt = await peer.deliver(courier.Parcel(name="x", data=b""))
        with pytest.raises(RemoteFailure, match="the inbox is full"):
            await receipt.delivered()
        await listener.call("courier-send", str(dialer.node_id), str(letter))  # that makes an acquaintance
        await (await peer.deliver(courier.Parcel(name="x", data=b""))).delivered()
        back = listener.peers[0]
        await (await back.deliver(courier.Parcel(name="x", data=b""))).delivered()  # whom it dialed
        assert await store.get("room") == courier.OVERHEAD
        await store.set("room", courier.ROOM)
        receipt = await peer.deliver(courier.Parcel(name="x", data=b""))
        with pytest.raises(RemoteFailure, match="the inbox is full"):
            await receipt.delivered()


async def test_what_is_dropped_is_gone_and_counted_or_neither(pair, monkeypatch) -> None:
    async with pair(("courier",), ("courier",)) as (listener, dialer):
        store, peer = listener.store("courier"), dialer.peers[0]
        for name in "xyz":
            await (await peer.deliver(courier.Parcel(name=name, data=b"abc"))).delivered()
        size = courier.OVERHEAD + 3
        rooms = {"room", "room of strangers", f"room of {dialer.node_id}"}
        assert dict(await store.items("room")) == dict.fromkeys(rooms, 3 * size)
        with monkeypatch.context() as patch:
            patch.setattr(ExtensionStore, "set", fail)
            with pytest.raises(OSError, match="the disk is full"):
                await listener.call("courier-drop", 1)
        assert len(await listener.call("courier-inbox")) == 3
        await asyncio.gather(listener.call("courier-drop", 1), listener.call("courier-drop", 2))
        assert dict(await store.items("room")) == dict.fromkeys(rooms, size)
        await listener.call("courier-drop", 3)
        assert await store.items("room") == []


async def fail(*_: object) -> None:
    raise OSError("the disk is full")


async def test_which_file_was_not_delivered_is_logged(pair, tmp_path, caplog) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("hello")
    async with pair(("courier",), ("courier",)) as (listener, dialer):
        await listener.store("courier").set("room", courier.ROOM)
        with pytest.raises(RemoteFailure, match="the inbox is full"):
            await dialer.call("courier-send", str(listener.node_id), str(letter), True)
        async with asyncio.timeout(30):
            while "letter.txt was not delivered" not in caplog.text:
                await asyncio.sleep(0.01)
        assert f"{str(listener.node_id)[:8]}: the inbox is full" in caplog.text


async def test_a_file_without_end_is_not_fetched(pair, shelf, tmp_path) -> None:
    async with pair(("courier",), ("courier",), {"courier-folder": str(shelf)}) as (listener, dialer):
        target = tmp_path / "target"
        with pytest.raises(ValueError, match="sent more than 1000 bytes: a higher limit may be given"):
            await dialer.call("courier-fetch", str(listener.node_id), "map.bin", str(target), 1000)
        assert not target.exists()
        await dialer.call("courier-fetch", str(listener.node_id), "map.bin", str(target), 1 << 20)


async def test_empty_chunks_without_end_are_not_waited_for(pair, tmp_path) -> None:
    hostile = Extension("courier", version="1.0")

    @hostile.on(courier.Fetch)
    async def fetch(context: Context, request: courier.Fetch) -> AsyncIterator[courier.Chunk]:
        while True:
            yield courier.Chunk(data=b"")

    async with pair((hostile,), ("courier",)) as (listener, dialer):
        with pytest.raises(ValueError, match="sent an empty chunk"):
            await dialer.call("courier-fetch", str(listener.node_id), "x", str(tmp_path / "target"))


async def test_files_are_listed_and_fetched(pair, shelf, tmp_path) -> None:
    async with pair(("courier",), ("courier",), {"courier-folder": str(shelf)}) as (listener, dialer):
        node_id = str(listener.node_id)
        listed = await dialer.call("courier-list", node_id)
        assert listed == [{"name": "empty", "size": 0}, {"name": "map.bin", "size": 1 << 20}]
        for file in listed:
            path = tmp_path / file["name"]
            fetched = await dialer.call("courier-fetch", node_id, file["name"], str(path))
            assert fetched == {"path": str(path), "size": file["size"]}
            assert path.read_bytes() == (shelf / file["name"]).read_bytes()
        with pytest.raises(ValueError, match="exists already; it should be a new file"):
            await dialer.call("courier-fetch", node_id, "map.bin", str(tmp_path / "map.bin"))


@pytest.mark.parametrize(
    "name", ["../secret.txt", "link.txt", "deeper", "deeper/file.txt", "..", "", "none", "a\0b", "a\nb"]
)
async def test_nothing_else_is_fetched(pair, shelf, tmp_path, name: str) -> None:
    async with pair(("courier",), ("courier",), {"courier-folder": str(shelf)}) as (listener, dialer):
        target = tmp_path / "target"
        with pytest.raises(RemoteFailure, match="there is no file"):
            await dialer.call("courier-fetch", str(listener.node_id), name, str(target))
        assert not target.exists()


async def test_without_a_folder_there_is_nothing(pair) -> None:
    async with pair(("courier",), ("courier",)) as (listener, dialer):
        assert await dialer.call("courier-list", str(listener.node_id)) == []
        with pytest.raises(RemoteFailure, match="there is no file"):
            await dialer.call("courier-fetch", str(listener.node_id), "map.bin", "map.bin")


async def test_a_peer_without_courier_says_so(pair, tmp_path) -> None:
    async with pair(("chat",), ("courier",)) as (listener, dialer):
        with pytest.raises(RemoteFailure, match="is not handled here"):
            await dialer.call("courier-list", str(listener.node_id))


def test_a_folder_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="should be a folder, not '/nowhere'"):
        courier.folder("/nowhere")


def test_its_types_are_odd() -> None:
    assert {schema_of(message).type_id % 2 for message in courier.extension.messages} == {1}
