import asyncio
import contextlib
import errno
import os
import time
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
from oddwire_extensions.courier import files as courier_files
from oddwire_extensions.courier import shelves

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
        with pytest.raises(ValueError, match="has 1048576 bytes, more than 1000"):
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


@pytest.mark.parametrize(
    ("listed", "sent", "error"),
    [
        (3000, 2000, "sent 2000 of 3000 bytes, as it lists 'x', which may have changed: try again"),
        (3000, 4000, "sent more than 3000 bytes, as it lists 'x'"),
        (0, 1000, "sent more than 0 bytes, as it lists 'x'"),
        (None, 11_000, "sent more than 10000 bytes: a higher limit may be given"),
        (2**64 - 1, 1000, "'x' has 18446744073709551615 bytes, more than 10000: a higher limit may be given"),
        (3000, 3000, None),
        (None, 3000, None),
    ],
)
async def test_what_comes_is_as_long_as_was_listed(pair, tmp_path, listed, sent, error) -> None:
    other = Extension("courier", version="1.0")

    @other.on(courier.Contents)
    async def contents(context: Context, request: courier.Contents) -> courier.Listing:
        files = [courier.File(name="y", size=1)] + [courier.File(name="x", size=listed)] * (listed is not None)
        return courier.Listing(files=tuple(files))

    @other.on(courier.Fetch)
    async def fetch(context: Context, request: courier.Fetch) -> AsyncIterator[courier.Chunk]:
        for _ in range(sent // 1000):
            yield courier.Chunk(data=bytes(1000))

    target = tmp_path / "target"
    async with pair((other,), ("courier",)) as (listener, dialer):
        fetching = dialer.call("courier-fetch", str(listener.node_id), "x", str(target), 10_000)
        if error is None:
            assert (await fetching)["size"] == target.stat().st_size == sent
            return
        with pytest.raises(ValueError, match=error):
            await fetching
        assert list(tmp_path.iterdir()) == []


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


async def test_parcels_of_many_node_ids_are_bounded_in_sum(monkeypatch) -> None:
    monkeypatch.setattr(courier, "ROOM_OF_ONE", 3 * 2048)
    monkeypatch.setattr(courier, "ROOM_OF_STRANGERS", 10 * 2048)
    parcel = courier.Parcel(name="x", data=bytes(1024))
    network = MemoryNetwork()
    async with Application("courier", transport=network.transport(), store=":memory:") as keeper:
        kept = 0
        for _ in range(8):
            async with Application("courier", transport=network.transport(), store=":memory:") as stranger:
                peer = await stranger.connect(keeper.uris[0])
                for _ in range(4):
                    receipt = await peer.deliver(parcel)
                    try:
                        await receipt.delivered()
                        kept += 1
                    except RemoteFailure:
                        pass
        assert kept == 10
        assert len(await keeper.call("courier-inbox")) == 10
        assert await keeper.store("courier").get("room of strangers") == 10 * 2048
        for number in range(1, 11):
            await keeper.call("courier-drop", number)
        assert await keeper.store("courier").items("room") == []  # nothing is kept for each that has been here


async def test_files_are_read_for_so_many_peers_at_once(shelf, monkeypatch) -> None:
    monkeypatch.setattr(shelves, "FETCHES", 3)
    monkeypatch.setattr(shelves, "PATIENCE", 0.2)
    network = MemoryNetwork()
    given = {"courier-folder": str(shelf)}
    async with contextlib.AsyncExitStack() as stack:
        keeper = Application("courier", transport=network.transport(), store=":memory:", options=given)
        await stack.enter_async_context(keeper)
        streams = []
        for _ in range(5):
            app = Application("courier", transport=network.transport(), store=":memory:")
            peer = await (await stack.enter_async_context(app)).connect(keeper.uris[0])
            streams.append(peer.stream(courier.Fetch(name="map.bin"), courier.Chunk, credit=1))
        for stream in streams[:3]:
            assert len((await anext(stream)).data) == courier.CHUNK
        for stream in streams[3:]:
            with pytest.raises(RemoteFailure, match="all places are taken"):
                await anext(stream)
        await streams[0].aclose()
        async with asyncio.timeout(30):
            while True:
                try:
                    assert await anext(peer.stream(courier.Fetch(name="map.bin"), courier.Chunk))
                    break
                except RemoteFailure:
                    await asyncio.sleep(0.01)
        for stream in streams[1:3]:
            await stream.aclose()


async def test_the_folder_is_listed_for_all_at_once(pair, shelf, monkeypatch) -> None:
    listed, files = [], shelves._files

    def count(path: Path) -> list[courier.File]:
        listed.append(path)
        return files(path)

    monkeypatch.setattr(shelves, "_files", count)
    async with pair(("courier",), ("courier",), {"courier-folder": str(shelf)}) as (_, dialer):
        peer = dialer.peers[0]
        answers = await asyncio.gather(*(peer.request(courier.Contents(), courier.Listing) for _ in range(4)))
        assert {len(answer.files) for answer in answers} == {2}
        assert listed == [shelf]
        monkeypatch.setattr(shelves, "FRESH", 0.0)
        monkeypatch.setattr(shelves, "IDLE", 0.0)
        (shelf / "new").touch()
        async with asyncio.timeout(30):
            while len((await peer.request(courier.Contents(), courier.Listing)).files) != 3:
                await asyncio.sleep(0.1)


async def test_a_listing_that_takes_long_is_kept_for_longer(pair, shelf, monkeypatch) -> None:
    listed, files = [], shelves._files

    def slow(path: Path) -> list[courier.File]:
        listed.append(path)
        time.sleep(0.3)
        return files(path)

    monkeypatch.setattr(shelves, "_files", slow)
    monkeypatch.setattr(shelves, "FRESH", 0.1)
    async with pair(("courier",), ("courier",), {"courier-folder": str(shelf)}) as (_, dialer):
        for _ in range(3):
            await dialer.peers[0].request(courier.Contents(), courier.Listing)
            await asyncio.sleep(0.2)
        assert len(listed) == 1


async def test_a_folder_that_has_gone_is_said_so_without_a_traceback(pair, shelf, tmp_path, caplog) -> None:
    async with pair(("courier",), ("courier",), {"courier-folder": str(shelf)}) as (listener, dialer):
        shelf.rename(tmp_path / "gone")
        with pytest.raises(RemoteFailure, match="the folder cannot be listed now"):
            await dialer.call("courier-list", str(listener.node_id))
        assert "Traceback" not in caplog.text
        assert listener.counters.failed == {}


async def test_a_file_that_cannot_be_opened_is_no_traceback(pair, shelf, tmp_path, monkeypatch) -> None:
    async with pair(("courier",), ("courier",), {"courier-folder": str(shelf)}) as (listener, dialer):
        monkeypatch.setattr(courier, "is_file", lambda path: True)  # and gone right behind that
        with pytest.raises(RemoteFailure, match="'away' cannot be read: No such file"):
            await dialer.call("courier-fetch", str(listener.node_id), "away", str(tmp_path / "target"))
        assert listener.counters.failed == {}


async def drain(stream: AsyncIterator[courier.Chunk]) -> None:
    async for _ in stream:
        pass


async def test_slow_readers_lose_their_places_to_those_who_wait(shelf, monkeypatch) -> None:
    monkeypatch.setattr(shelves, "FETCHES", 4)
    monkeypatch.setattr(shelves, "TURN", 0.2)
    network = MemoryNetwork()
    given = {"courier-folder": str(shelf)}
    async with contextlib.AsyncExitStack() as stack:
        keeper = Application("courier", transport=network.transport(), store=":memory:", options=given)
        await stack.enter_async_context(keeper)
        apps = [Application("courier", transport=network.transport(), store=":memory:") for _ in range(2)]
        slow, quick = [await (await stack.enter_async_context(app)).connect(keeper.uris[0]) for app in apps]
        streams = [slow.stream(courier.Fetch(name="map.bin"), courier.Chunk, credit=1) for _ in range(4)]
        for stream in streams:
            await anext(stream)
        async with asyncio.timeout(10):
            got = [chunk async for chunk in quick.stream(courier.Fetch(name="map.bin"), courier.Chunk)]
        assert sum(len(chunk.data) for chunk in got) == 1 << 20
        ends = await asyncio.gather(*map(drain, streams), return_exceptions=True)
        [lost] = [end for end in ends if end is not None]
        assert "others wait for this place" in str(lost)


@pytest.mark.parametrize("change", ["cut", "written to"])
async def test_a_file_that_changes_while_it_is_fetched_does_not_arrive(pair, shelf, tmp_path, change) -> None:
    big = shelf / "big"
    big.write_bytes(bytes(100 * courier.CHUNK))
    async with pair(("courier",), ("courier",), {"courier-folder": str(shelf)}) as (_, dialer):
        stream = dialer.peers[0].stream(courier.Fetch(name="big"), courier.Chunk, credit=1)
        await anext(stream)
        if change == "cut":
            os.truncate(big, 2 * courier.CHUNK)
        else:
            with big.open("r+b") as file:
                file.write(b"other")
        with pytest.raises(RemoteFailure, match="'big' cannot be read: it was changed while it was read"):
            await drain(stream)


async def test_half_a_file_never_has_its_name(tmp_path, monkeypatch) -> None:
    path, synced = tmp_path / "got", []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(path.exists()), fsync(file)))
    async with courier_files.new_file(path) as file:
        file.write(b"half")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"half"
    assert synced == [False, True]  # the file before it has its name, the folder after that
    with pytest.raises(KeyError):
        async with courier_files.new_file(tmp_path / "other"):
            raise KeyError
    assert os.listdir(tmp_path) == ["got"]  # noqa: PTH208


@pytest.mark.parametrize("fails", [False, True])
async def test_file_systems_without_hard_links(tmp_path, monkeypatch, fails) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    def replace(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", link)
    if fails:
        monkeypatch.setattr(Path, "replace", replace)
        with pytest.raises(ValueError, match="cannot be written: Input/output error"):
            async with courier_files.new_file(tmp_path / "got") as file:
                file.write(b"data")
        assert not list(tmp_path.iterdir())
        return
    async with courier_files.new_file(tmp_path / "got") as file:
        file.write(b"data")
    assert (tmp_path / "got").read_bytes() == b"data"
    with pytest.raises(ValueError, match="exists already"):
        async with courier_files.new_file(tmp_path / "new") as file:
            (tmp_path / "new").touch()  # meanwhile, by another program
    assert sorted(os.listdir(tmp_path)) == ["got", "new"]  # noqa: PTH208


async def test_one_parcel_is_saved_once_and_kept_until_it_is_on_the_disk(pair, tmp_path, monkeypatch) -> None:
    async with pair(("courier",), ("courier",)) as (listener, dialer):
        await (await dialer.peers[0].deliver(courier.Parcel(name="x", data=b"data"))).delivered()
        synced, fsync = [], os.fsync
        monkeypatch.setattr(os, "fsync", lambda file: (synced.append(file), fsync(file)))
        saves = [listener.call("courier-save", 1, str(tmp_path / name)) for name in "ab"]
        results = await asyncio.gather(*saves, listener.call("courier-drop", 1), return_exceptions=True)
        assert results[0] == {"path": str(tmp_path / "a"), "size": 4}
        assert all("parcel 1 is being saved, or dropped, already" in str(error) for error in results[1:])
        assert (tmp_path / "a").read_bytes() == b"data"
        assert not (tmp_path / "b").exists()
        assert len(synced) >= 2
        assert await listener.call("courier-inbox") == []


def test_a_folder_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="should be a folder, not '/nowhere'"):
        courier.folder("/nowhere")


def test_its_types_are_odd() -> None:
    assert {schema_of(message).type_id % 2 for message in courier.extension.messages} == {1}
