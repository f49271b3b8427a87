import asyncio
import contextlib
import time
from functools import partial

import pytest
from tests.support.waiting import until_answered

from oddwire import Application
from oddwire.errors import ExtensionError, StoreError
from oddwire.known.peer_storage import PeerStorage, PeerStorageRetrieval
from oddwire.proto import PrivateKey
from oddwire.transports import Bolt8Transport
from oddwire_extensions.peerstorage import MAX_BLOB, others, own
from oddwire_extensions.peerstorage.others import MINUTE

LARGEST = b"\x5a" * MAX_BLOB
DAY = 86_400

until = partial(until_answered, every=0)  # a clock may stand still


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Have peers return what they have at once."""
    monkeypatch.setattr(own, "SETTLE", 0.05)


async def come_back(app):
    """Wait until a blob has come back."""

    async def there():
        return [row for row in await app.call("peerstorage-returned") if row["blob"] is not None]

    return await until(there)


async def kept(app, number=1):
    async def enough():
        found = await app.call("peerstorage-list")
        return found if len(found) == number else None

    return await until(enough)


async def stored(app, peer, blob):
    """Wait until this blob of the peer's is in the table."""

    async def written():
        rows = await app.store("peerstorage").execute(
            "SELECT 1 FROM peerstorage_blobs WHERE peer = ? AND blob = ?", (str(peer.node_id), blob)
        )
        return bool(rows)

    await until(written)


async def waits(app, blob, monkeypatch=None):
    """Wait until this blob is the one that waits to be written."""

    async def there():
        [row] = await app.call("peerstorage-list")
        return row["newer_waits"]

    await until(there)


async def logged(caplog, text):
    return text in caplog.text


async def only_peer(app, peer):
    return [found.node_id for found in app.peers] == [peer.node_id]


@pytest.mark.parametrize("transport", ["memory", "bolt8"])
async def test_a_blob_is_given_back_at_each_reconnection_and_never_before(app_pair, transport) -> None:
    async with app_pair(("peerstorage",), ("peerstorage",), transport=transport) as (keeper, owner):
        assert await owner.call("peerstorage-put", LARGEST.hex()) == {"size": MAX_BLOB, "sent_to": 1}
        [row] = await kept(keeper)
        assert (row["node_id"], row["size"], row["stranger"]) == (str(owner.node_id), MAX_BLOB, True)
        [asked] = await owner.call("peerstorage-returned")
        assert (asked["node_id"], asked["blob"], asked["current"]) == (str(keeper.node_id), None, False)
        for _ in range(2):
            await owner.disconnect(keeper.node_id)
            await owner.connect(keeper.uris[0])
            [back] = await come_back(owner)
            assert (back["node_id"], back["blob"], back["current"]) == (str(keeper.node_id), LARGEST.hex(), True)


async def test_it_announces_the_feature_of_bolt_9(run_app) -> None:
    async with run_app("peerstorage") as app:
        assert 43 in app.manifest.features


@pytest.mark.parametrize("kill", [False, True], ids=["restart", "kill"])
async def test_blobs_outlive_the_program(run_app, raw_peer, kill) -> None:
    async with run_app("peerstorage") as app, raw_peer(app) as peer:
        await peer.send(PeerStorage(blob=b"first"))
        await stored(app, peer, b"first")
        await app.restart(kill=kill)
        await peer.connect()
        assert await peer.receive(PeerStorageRetrieval) == PeerStorageRetrieval(blob=b"first")


async def test_one_write_a_minute_and_the_last_blob_counts(run_app, raw_peer, clock) -> None:
    async with clock, run_app("peerstorage") as app, raw_peer(app) as peer:
        await peer.send(PeerStorage(blob=b"1"))
        await stored(app, peer, b"1")
        for blob in (b"2", b"3"):
            await peer.send(PeerStorage(blob=blob))
        await waits(app, b"3")
        await clock.advance(MINUTE - 1)
        await stored(app, peer, b"1")
        await app.disconnect(peer.node_id)
        await peer.closed()
        await peer.connect()  # what waits outlives the connection, and is what is given back
        assert await peer.receive(PeerStorageRetrieval) == PeerStorageRetrieval(blob=b"3")
        await clock.advance(1)
        await stored(app, peer, b"3")
        await clock.advance(MINUTE)
        await peer.send(PeerStorage(blob=b"4"))
        await stored(app, peer, b"4")


async def test_what_waits_is_written_at_the_end(run_app, raw_peer) -> None:
    async with run_app("peerstorage") as app, raw_peer(app) as peer:
        await peer.send(PeerStorage(blob=b"1"))
        await stored(app, peer, b"1")
        await peer.send(PeerStorage(blob=b"2"))
        await waits(app, b"2")
        await app.restart()
        await stored(app, peer, b"2")


async def test_strangers_are_limited_in_sum_and_others_still_find_room(run_app, raw_peer, caplog) -> None:
    async with contextlib.AsyncExitStack() as stack:
        app = await stack.enter_async_context(run_app("peerstorage", options={"peerstorage-strangers": 3}))
        peers = [await stack.enter_async_context(raw_peer(app)) for _ in range(5)]
        for peer in peers[:3]:
            await peer.send(PeerStorage(blob=LARGEST))
        await kept(app, 3)
        await peers[3].send(PeerStorage(blob=b"no room"))
        await until(lambda: logged(caplog, f"{peers[3].node_id}: not kept: peerstorage-strangers allows 3"))
        await app.call("peerstorage-know", str(peers[4].node_id))
        await peers[4].send(PeerStorage(blob=b"a friend"))
        assert [row["stranger"] for row in await kept(app, 4)] == [True, True, True, False]
        # One that is kept already may change its blob, and one that leaves makes room.
        await app.call("peerstorage-forget", str(peers[0].node_id))
        await peers[3].send(PeerStorage(blob=b"room"))
        await stored(app, peers[3], b"room")


async def test_all_blobs_are_limited_in_sum(run_app, raw_peer, caplog) -> None:
    options = {"peerstorage-peers": 1, "peerstorage-strangers": 0}
    async with run_app("peerstorage", options=options) as app, raw_peer(app) as peer, raw_peer(app) as other:
        await peer.send(PeerStorage(blob=b"x"))
        await until(lambda: logged(caplog, "not kept: peerstorage-strangers allows 0"))
        for one in (peer, other):
            await app.call("peerstorage-know", str(one.node_id))
            await one.send(PeerStorage(blob=b"x"))
        await until(lambda: logged(caplog, f"{other.node_id}: not kept: peerstorage-peers allows 1"))
        assert len(await app.call("peerstorage-list")) == 1


@pytest.mark.parametrize("days", [15, 10_000], ids=["15", "10000"])
async def test_no_change_of_the_clock_deletes_a_blob(run_app, raw_peer, monkeypatch, days) -> None:
    async with run_app("peerstorage") as app, raw_peer(app) as peer:
        await peer.send(PeerStorage(blob=b"x"))
        await stored(app, peer, b"x")
        await peer.leave()
        real = time.time
        for off in (days * DAY, -days * DAY):
            monkeypatch.setattr(time, "time", lambda off=off: real() + off)
            await app.restart()  # it cleans up at its start, too
            await app.call("peerstorage-list")
            await app.context("peerstorage").store.execute("SELECT 1")
        await asyncio.sleep(0.1)
        assert len(await app.call("peerstorage-list")) == 1


async def test_strangers_who_stay_away_while_we_run_are_forgotten(run_app, raw_peer, clock) -> None:
    async with (
        clock,
        run_app("peerstorage") as app,
        raw_peer(app) as gone,
        raw_peer(app) as known,
        raw_peer(app) as here,
    ):
        for peer in (gone, here, known):
            await peer.send(PeerStorage(blob=b"x"))
            await stored(app, peer, b"x")
        await app.call("peerstorage-know", str(known.node_id))
        for peer in (gone, known):
            await peer.leave()
        await until(lambda: only_peer(app, here))
        for days in (7, 6.9):
            await clock.advance(days * DAY)
            assert len(await app.call("peerstorage-list")) == 3
            await app.restart()  # it goes on counting
            await here.connect()
        await clock.advance(DAY / 4)
        left = {row["node_id"] for row in await app.call("peerstorage-list")}
        assert left == {str(here.node_id), str(known.node_id)}


async def returned(app, peer):
    """Return the row of a peer, None if there is none."""
    rows = await app.call("peerstorage-returned")
    return next((row for row in rows if row["node_id"] == str(peer.node_id)), None)


@pytest.mark.parametrize("put", [False, True], ids=["nothing put", "put before"])
@pytest.mark.parametrize("transport", ["memory", "bolt8"])
async def test_a_node_that_has_lost_its_store_gets_its_blob_back(
    run_app, tmp_path, monkeypatch, memory_network, transport, put
) -> None:
    monkeypatch.setattr(own, "SETTLE", 0.5)
    key = PrivateKey(b"\x07" * 32)

    def node():
        if transport == "memory":
            return memory_network.transport(key)
        return Bolt8Transport(key)

    listening = Bolt8Transport(PrivateKey(b"\x08" * 32), listen=["127.0.0.1:0"])
    async with Application(
        "peerstorage",
        transport=memory_network.transport() if transport == "memory" else listening,
        store=":memory:",
    ) as keeper:
        async with Application("peerstorage", transport=node(), store=tmp_path / "one") as mine:
            await mine.connect(keeper.uris[0])
            await mine.call("peerstorage-put", "c0ffee")
            await kept(keeper)
        async with Application("peerstorage", transport=node(), store=tmp_path / "two") as mine:
            if put:
                assert (await mine.call("peerstorage-put", "00"))["sent_to"] == 0
            await mine.connect(keeper.uris[0])
            [row] = await come_back(mine)
            assert (row["blob"], row["found"], row["current"]) == ("c0ffee", "c0ffee", False)
            await mine.call("peerstorage-put", "01")
            for _ in range(2):  # the keeper has the new one, and the one before is still shown
                await mine.disconnect(keeper.node_id)
                await mine.connect(keeper.uris[0])

                async def current():
                    [row] = await mine.call("peerstorage-returned")
                    return row["current"] and row

                row = await until(current)
                assert (row["blob"], row["found"]) == ("01", "c0ffee")
            await mine.call("peerstorage-forget", str(keeper.node_id))
            assert "c0ffee" not in {row["found"] for row in await mine.call("peerstorage-returned")}


async def test_nothing_is_sent_before_a_keeper_has_returned_what_it_has(run_app, raw_peer, clock, monkeypatch) -> None:
    monkeypatch.setattr(own, "SETTLE", 5.0)
    async with clock, run_app("peerstorage") as app, raw_peer(app, features=[43]) as peer:
        await peer.send(PeerStorage(blob=b"x"))
        await stored(app, peer, b"x")
        putting = asyncio.create_task(app.call("peerstorage-put", "01"))
        await clock.advance(4.9)
        assert not any(payload.startswith("0007") for payload in peer.received)
        await clock.advance(0.2)
        assert (await putting)["sent_to"] == 1
        assert await peer.receive(PeerStorage) == PeerStorage(blob=b"\1")
        await app.disconnect(peer.node_id)
        await peer.closed()
        await peer.connect()
        await peer.send(PeerStorageRetrieval(blob=b"before"))
        assert await peer.receive(PeerStorage) == PeerStorage(blob=b"\1")  # without more waiting
        assert (await returned(app, peer))["found"] == b"before".hex()


async def test_nothing_takes_the_place_of_what_could_not_be_saved_here(run_app, raw_peer, monkeypatch) -> None:
    async with run_app("peerstorage") as app, raw_peer(app, features=[43]) as peer:

        async def full(*_):
            raise StoreError("the disk is full", path="store", reason="full")

        monkeypatch.setattr(own, "_take", full)
        await peer.send(PeerStorageRetrieval(blob=b"precious"))
        await peer.send(PeerStorage(blob=b"x"))
        await stored(app, peer, b"x")
        assert (await app.call("peerstorage-put", "01"))["sent_to"] == 0


async def test_what_strangers_return_unasked_is_limited_and_pushes_out_nothing_else(
    run_app, raw_peer, monkeypatch
) -> None:
    monkeypatch.setattr(own, "MAX_FOUND", (1, 2))
    async with contextlib.AsyncExitStack() as stack:
        app = await stack.enter_async_context(run_app("peerstorage"))
        asked, known, *rest = [await stack.enter_async_context(raw_peer(app, features=[43])) for _ in range(6)]

        async def give(peer, blob):
            await peer.send(PeerStorageRetrieval(blob=blob))

            async def there():
                return await returned(app, peer)

            return await until(there)

        await app.call("peerstorage-know", str(known.node_id))
        await app.store("peerstorage").execute(
            "INSERT INTO peerstorage_keepers VALUES (?, 1, 0, NULL, NULL)", (str(asked.node_id),)
        )
        for number, peer in enumerate((asked, known, *rest)):
            await give(peer, b"%d" % number)
        found = {
            row["node_id"]: bytes.fromhex(row["found"])
            for row in await app.call("peerstorage-returned")
            if row["found"]
        }
        expected = {0: asked, 1: known, 4: rest[2], 5: rest[3]}
        assert found == {str(peer.node_id): b"%d" % number for number, peer in expected.items()}


async def test_one_blob_is_taken_back_at_each_connection(run_app, raw_peer) -> None:
    async with run_app("peerstorage") as app, raw_peer(app, features=[43]) as peer:
        await app.call("peerstorage-put", "c0ffee")
        assert await peer.receive(PeerStorage) == PeerStorage(blob=bytes.fromhex("c0ffee"))
        await peer.send(PeerStorageRetrieval(blob=b"altered"))
        [row] = await come_back(app)
        assert (row["blob"], row["found"], row["current"]) == (b"altered".hex(), b"altered".hex(), False)
        await peer.send(PeerStorageRetrieval(blob=b"again"))
        await peer.send(PeerStorage(blob=b"y"))
        await stored(app, peer, b"y")
        [row] = await app.call("peerstorage-returned")
        assert row["blob"] == b"altered".hex()


async def test_peers_without_the_feature_are_not_asked(run_app, raw_peer) -> None:
    async with run_app("peerstorage") as app, raw_peer(app) as plain, raw_peer(app, features=[42]) as able:
        await able.send(PeerStorage(blob=b"x"))  # handled once our side is through with its connection
        await stored(app, able, b"x")
        assert await app.call("peerstorage-put", "00") == {"size": 1, "sent_to": 1}
        assert await able.receive(PeerStorage) == PeerStorage(blob=b"\0")
        await app.call("peerstorage-take")
        await app.disconnect(able.node_id)
        await able.closed()
        await able.connect()
        assert not any(payload.startswith("0007") for payload in plain.received)
        await app.call("peerstorage-put", "01")
        assert await able.receive(PeerStorage) == PeerStorage(blob=b"\1")


async def test_no_more_than_a_hundred_strangers_are_asked(run_app, raw_peer, monkeypatch) -> None:
    monkeypatch.setattr(own, "MAX_KEEPERS", 3)
    async with contextlib.AsyncExitStack() as stack:
        app = await stack.enter_async_context(run_app("peerstorage"))
        crowd = [await stack.enter_async_context(raw_peer(app, features=[43])) for _ in range(8)]
        assert (await app.call("peerstorage-put", "00"))["sent_to"] == 3  # at once, all the same
        asked = {row["node_id"] for row in await app.call("peerstorage-returned")}
        assert len(asked) == 3
        await app.call("peerstorage-know", next(str(one.node_id) for one in crowd if str(one.node_id) not in asked))
        assert (await app.call("peerstorage-put", "01"))["sent_to"] == 4
        # Who has left makes room for others, first who has never returned anything.
        leaving = [one for one in crowd if str(one.node_id) in asked][:2]
        await leaving[0].send(PeerStorageRetrieval(blob=b"\1"))
        await come_back(app)
        for one in leaving:
            await one.leave()
        await until(lambda: number_of_peers(app, 6))
        assert (await app.call("peerstorage-put", "02"))["sent_to"] == 4
        assert await returned(app, leaving[0]) is None
        assert await returned(app, leaving[1]) is None


async def number_of_peers(app, number):
    return len(app.peers) == number


async def test_one_stalled_peer_holds_up_no_other(run_app, raw_peer, monkeypatch, caplog) -> None:
    monkeypatch.setattr(own, "PATIENCE", 0.3)
    send = own.Peer.send
    async with (
        run_app("peerstorage") as app,
        raw_peer(app, features=[43]) as stalled,
        raw_peer(app, features=[43]) as two,
    ):
        reads = asyncio.Event()

        async def slow(self, message, **given):
            if self.node_id == stalled.node_id:
                await reads.wait()
            await send(self, message, **given)

        monkeypatch.setattr(own.Peer, "send", slow)
        for blob in ("00", "01"):
            assert (await app.call("peerstorage-put", blob))["sent_to"] == 1
            assert await two.receive(PeerStorage) == PeerStorage(blob=bytes.fromhex(blob))
        assert "1 peers have not taken the blob yet" in caplog.text
        reads.set()
        for blob in (b"\0", b"\1"):  # what came meanwhile follows
            assert await stalled.receive(PeerStorage) == PeerStorage(blob=blob)


async def test_a_blob_that_comes_while_one_is_written_is_written_too(run_app, raw_peer, clock, monkeypatch) -> None:
    write = others._write
    async with clock, run_app("peerstorage") as app, raw_peer(app) as peer:
        await peer.send(PeerStorage(blob=b"1"))
        await stored(app, peer, b"1")
        await peer.send(PeerStorage(blob=b"2"))
        await waits(app, b"2")
        slow = asyncio.Event()

        async def slowly(*given):
            done = await write(*given)
            await slow.wait()
            return done

        monkeypatch.setattr(others, "_write", slowly)
        await clock.advance(MINUTE)
        await stored(app, peer, b"2")
        await peer.send(PeerStorage(blob=b"3"))
        await peer.send(PeerStorageRetrieval(blob=b"handled after it"))
        await come_back(app)
        slow.set()
        await clock.advance(MINUTE)
        await stored(app, peer, b"3")
        [row] = await app.call("peerstorage-list")
        assert not row["newer_waits"]


@pytest.mark.parametrize("when", ["at once", "later"])
async def test_a_blob_that_cannot_be_written_is_tried_again(
    run_app, raw_peer, clock, monkeypatch, when, caplog
) -> None:
    write = others._write

    async def full(*_):
        raise StoreError("the disk is full", path="store", reason="full")

    async with clock, run_app("peerstorage") as app, raw_peer(app) as peer:
        if when == "later":
            await peer.send(PeerStorage(blob=b"1"))
            await stored(app, peer, b"1")
        monkeypatch.setattr(others, "_write", full)
        await peer.send(PeerStorage(blob=b"2"))
        await peer.send(PeerStorageRetrieval(blob=b"handled after it"))
        await come_back(app)
        if when == "later":
            await clock.advance(MINUTE)
        await until(lambda: logged(caplog, "not written yet: the disk is full"))
        monkeypatch.setattr(others, "_write", write)
        await clock.advance(MINUTE)
        await stored(app, peer, b"2")


async def test_no_crowd_takes_the_place_where_a_kept_blob_waits(run_app, raw_peer, clock, monkeypatch, caplog) -> None:
    monkeypatch.setattr(others, "MAX_WAITING", 2)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(clock)
        app = await stack.enter_async_context(run_app("peerstorage"))
        *crowd, honest, late = [await stack.enter_async_context(raw_peer(app)) for _ in range(5)]
        for peer in (*crowd, honest):
            await peer.send(PeerStorage(blob=b"1"))
            await stored(app, peer, b"1")
            await peer.send(PeerStorage(blob=b"2"))
            await peer.send(PeerStorageRetrieval(blob=b"handled after it"))
            await until(partial(returned, app, peer))
        assert all(row["newer_waits"] for row in await app.call("peerstorage-list"))
        write = others._write

        async def full(*_):
            raise StoreError("the disk is full", path="store", reason="full")

        monkeypatch.setattr(others, "_write", full)  # one of whom nothing is kept has no place of its own
        await late.send(PeerStorage(blob=b"1"))
        await until(lambda: logged(caplog, f"{late.node_id}: not kept: 2 blobs"))
        monkeypatch.setattr(others, "_write", write)
        await clock.advance(MINUTE)
        for peer in (*crowd, honest):
            await stored(app, peer, b"2")


async def test_who_is_forgotten_within_the_minute_may_come_again_at_once(run_app, raw_peer, clock) -> None:
    async with clock, run_app("peerstorage") as app, raw_peer(app) as peer:
        for blobs in ([b"1"], [b"2", b"3"]):
            for blob in blobs:
                await peer.send(PeerStorage(blob=blob))
            await stored(app, peer, blobs[0])
            if len(blobs) > 1:
                await waits(app, blobs[-1])
            await app.call("peerstorage-forget", str(peer.node_id))
        await peer.send(PeerStorage(blob=b"4"))
        await stored(app, peer, b"4")
        await clock.advance(2 * MINUTE)
        await stored(app, peer, b"4")


@pytest.mark.parametrize(
    ("blob", "error"),
    [("xyz", "blob should be hex digits, two for each byte, not xyz"), ("", "blob should be 1 to 65531 bytes, not 0"),
     ("00" * (MAX_BLOB + 1), "blob should be 1 to 65531 bytes, not 65532")],
)  # fmt: skip
async def test_a_blob_that_cannot_be_sent_is_refused(run_app, blob, error) -> None:
    async with run_app("peerstorage") as app:
        with pytest.raises(ValueError, match=error):
            await app.call("peerstorage-put", blob)


async def test_who_is_not_kept_cannot_be_forgotten(run_app, raw_peer) -> None:
    async with run_app("peerstorage") as app, raw_peer(app) as peer:
        with pytest.raises(ValueError, match=r"has no blob here and is not known; peerstorage-list, "):
            await app.call("peerstorage-forget", str(peer.node_id))
        assert await app.call("peerstorage-know") == []
        assert await app.call("peerstorage-know", str(peer.node_id)) == [str(peer.node_id)]
        assert not (await app.call("peerstorage-forget", str(peer.node_id)))["deleted"]
        assert await app.call("peerstorage-know") == []


async def test_limits_are_numbers_from_0(run_app) -> None:
    with pytest.raises(ExtensionError, match=r"peerstorage-days.*should be a number from 0, not -1"):
        async with run_app("peerstorage", options={"peerstorage-days": -1}):
            pass
