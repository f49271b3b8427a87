"""filedrop between two applications, honest and not. What is on disk alone is in test_filedrop_files.py."""

import asyncio
import errno
import hashlib
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import until_answered

from oddwire import (
    Application,
    Context,
    Extension,
    Limits,
    NodeId,
    NodeRefused,
    PrivateKey,
    RemoteFailure,
    StoreError,
    clocks,
    hookimpl,
    schema_of,
)
from oddwire.app import TraceEvent
from oddwire.transports import MemoryNetwork
from oddwire_extensions import filedrop
from oddwire_extensions.filedrop import CHUNK, book, files, messages, options, reading, sweeping, transfers

SIZE = 5 * CHUNK + 17
KEY = b"k" * 16


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have transfers tried again soon, and the disk waited for often."""
    monkeypatch.setattr(transfers, "PAUSE", 0.05)
    monkeypatch.setattr(transfers, "SYNC", CHUNK)
    monkeypatch.setattr(transfers, "RESERVE", 0)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def emptied(folder: Path) -> None:
    """Wait until the quarantine has no part any more: it goes right after the transfer's end is on the disk."""

    async def empty() -> bool:
        return not names(folder / ".quarantine")

    await until_answered(empty)


async def offered(app: Any, count: int = 1) -> list[dict[str, Any]]:
    """Wait until so many files are offered to an application."""

    async def enough() -> Any:
        found = await app.call("filedrop-offers")
        return found if len(found) >= count else None

    return await until_answered(enough)


async def state(app: Any, number: int = 1) -> dict[str, Any]:
    return (await app.call("filedrop-status", number))[0]


async def until_state(app: Any, wanted: str, number: int = 1) -> dict[str, Any]:
    async def there() -> Any:
        found = await state(app, number)
        return found if found["state"] == wanted else None

    return await until_answered(there)


def inbox(tmp_path: Path, **more: str) -> dict[str, str]:
    named = {f"filedrop-{name.replace('_', '-')}": text for name, text in more.items()}
    return {"filedrop-dir": str(tmp_path / "in"), **named}


# What it is for ------------------------------------------------------------------------------------------


async def test_a_file_is_offered_accepted_and_arrives(pair, source, tmp_path) -> None:
    async with pair(("filedrop",), ("filedrop",), inbox(tmp_path)) as (receiver, sender):
        sent = await sender.call("filedrop-send", str(receiver.node_id), str(source))
        assert (sent["state"], sent["size"], sent["name"]) == ("offered", SIZE, "data.bin")
        [offer] = await offered(receiver)
        assert offer["peer"] == str(sender.node_id)
        assert offer["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
        assert not (tmp_path / "in").exists()  # nothing is fetched that nobody has accepted
        await receiver.call("filedrop-accept", 1)
        done = await receiver.call("filedrop-wait", 1)
        assert (done["state"], done["done"], done["path"]) == ("received", SIZE, str(tmp_path / "in" / "data.bin"))
        assert (tmp_path / "in" / "data.bin").read_bytes() == source.read_bytes()
        assert (tmp_path / "in" / "data.bin").stat().st_mode & 0o777 == 0o600
        await emptied(tmp_path / "in")
        await until_state(sender, "received")
        assert await receiver.call("filedrop-offers") == []


async def test_an_empty_file_arrives(pair, tmp_path) -> None:
    (tmp_path / "empty").touch()
    async with pair(("filedrop",), ("filedrop",), inbox(tmp_path)) as (receiver, sender):
        sending = asyncio.create_task(
            sender.call("filedrop-send", str(receiver.node_id), str(tmp_path / "empty"), True)
        )
        await offered(receiver)
        await receiver.call("filedrop-accept", 1)
        assert (await sending)["state"] == "received"
        assert (tmp_path / "in" / "empty").read_bytes() == b""


async def test_what_known_nodes_send_is_accepted_up_to_a_size(pair, source, tmp_path) -> None:
    small = tmp_path / "small"
    small.write_bytes(b"x" * 1000)
    known = str(NodeId(PrivateKey(b"\7" * 32).public_key()))
    network = MemoryNetwork()
    configured = inbox(tmp_path, accept_size="1KB") | {"filedrop-accept-from": [known]}
    async with (
        Application("filedrop", transport=network.transport(), options=configured, store=":memory:") as receiver,
        Application("filedrop", transport=network.transport(PrivateKey(b"\7" * 32)), store=":memory:") as friend,
        Application("filedrop", transport=network.transport(), store=":memory:") as stranger,
    ):
        for sender in (friend, stranger):
            await sender.connect(receiver.uris[0])
            await sender.call("filedrop-send", str(receiver.node_id), str(small))
            await sender.call("filedrop-send", str(receiver.node_id), str(source))
        assert (await friend.call("filedrop-wait", 1))["state"] == "received"
        waiting = await offered(receiver, 3)
        assert {(drop["peer"], drop["size"]) for drop in waiting} == {
            (known, SIZE),
            (str(stranger.node_id), 1000),
            (str(stranger.node_id), SIZE),
        }


async def test_an_offer_waits_for_its_peer_and_for_restarts_of_both(source, tmp_path) -> None:
    network = MemoryNetwork()
    keys = {name: PrivateKey(name.encode() * 32) for name in "rs"}

    def app(name: str) -> Application:
        given = inbox(tmp_path) if name == "r" else {}
        return Application("filedrop", transport=network.transport(keys[name]), store=tmp_path / name, options=given)

    async with app("s") as sender:
        await sender.call("filedrop-send", str(NodeId(keys["r"].public_key())), str(source))
    async with app("r") as receiver, app("s") as sender:
        await sender.connect(receiver.uris[0])
        await offered(receiver)
    async with app("r") as receiver:
        await receiver.call("filedrop-accept", 1)
    async with app("r") as receiver, app("s") as sender:
        await sender.connect(receiver.uris[0])
        assert (await receiver.call("filedrop-wait", 1))["state"] == "received"


class Seen:
    """A plugin that has the sizes of the chunks that were sent."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    @hookimpl
    def message_traced(self, event: TraceEvent) -> None:
        if event.direction == "sent" and isinstance(event.message, filedrop.Chunk):
            self.sizes.append(len(event.message.data))


class Stopping(Seen):
    """One that lets some chunks pass; then nothing arrives any more, until the network has no delay again."""

    def __init__(self, network: MemoryNetwork) -> None:
        super().__init__()
        self.network = network
        self.left = 1  # chunks

    @hookimpl
    def message_traced(self, event: TraceEvent) -> None:
        before = len(self.sizes)
        super().message_traced(event)
        self.left -= len(self.sizes) - before
        if self.left <= 0:
            self.network.delay = 3600


async def test_a_cut_transfer_goes_on_where_it_was(app_pair, memory_network, source, tmp_path) -> None:
    seen = Stopping(memory_network)
    async with app_pair("filedrop", ["filedrop", seen], options=(inbox(tmp_path), None)) as (receiver, sender):
        await sender.call("filedrop-send", str(receiver.node_id), str(source))
        await offered(receiver)
        await receiver.call("filedrop-accept", 1)

        async def some() -> bool:
            return (await state(receiver))["done"] >= CHUNK

        await until_answered(some)
        memory_network.drop(receiver.node_id, sender.node_id)
        before, done = sum(seen.sizes), (await state(receiver))["done"]
        seen.left = 1 << 30
        memory_network.delay = 0.0
        await sender.connect(receiver.uris[0])
        assert (await receiver.call("filedrop-wait", 1))["state"] == "received"
        assert (tmp_path / "in" / "data.bin").read_bytes() == source.read_bytes()
        assert 0 < sum(seen.sizes) - before <= SIZE - done


async def test_both_killed_in_the_middle(app_pair, memory_network, source, tmp_path) -> None:
    source.write_bytes(os.urandom(24 * CHUNK))  # some pass before a kill
    seen = Stopping(memory_network)
    async with app_pair("filedrop", ["filedrop", seen], options=(inbox(tmp_path), None)) as (receiver, sender):
        await sender.call("filedrop-send", str(receiver.node_id), str(source))
        await offered(receiver)
        for killed, share in ((receiver, 1), (sender, 2), (receiver, 3)):
            if share == 1:
                await receiver.call("filedrop-accept", 1)

            async def so_far(share: int = share) -> bool:
                return (await state(receiver))["done"] >= share * CHUNK

            await until_answered(so_far)
            seen.left = 1 << 30
            memory_network.delay = 0.0
            await killed.restart(kill=True)
            seen.left = 1 if share < 3 else 1 << 30
            if share == 3:
                part = tmp_path / "in" / ".quarantine"
                assert sum(path.stat().st_size for path in part.iterdir()) >= 2 * CHUNK
            await sender.connect(receiver.uris[0])
        assert (await receiver.call("filedrop-wait", 1))["state"] == "received"
        assert (tmp_path / "in" / "data.bin").read_bytes() == source.read_bytes()
        await until_state(sender, "received")


async def test_nothing_is_ever_replaced(pair, source, tmp_path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "data.bin").write_text("mine")
    (tmp_path / "in" / "data (2).bin").symlink_to(tmp_path / "nowhere")
    async with pair(("filedrop",), ("filedrop",), inbox(tmp_path)) as (receiver, sender):
        await sender.call("filedrop-send", str(receiver.node_id), str(source))
        await offered(receiver)
        await receiver.call("filedrop-accept", 1)
        assert (await receiver.call("filedrop-wait", 1))["path"] == str(tmp_path / "in" / "data (3).bin")
    assert (tmp_path / "in" / "data.bin").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


async def test_refused_and_withdrawn(pair, source, tmp_path) -> None:
    async with pair(("filedrop",), ("filedrop",), inbox(tmp_path)) as (receiver, sender):
        for _ in range(2):
            await sender.call("filedrop-send", str(receiver.node_id), str(source))
        await offered(receiver, 2)
        await receiver.call("filedrop-refuse", 1, "not\nthat one")
        assert (await until_state(sender, "refused"))["reason"] == "not\nthat one"
        assert (await sender.call("filedrop-refuse", 2))["state"] == "withdrawn"

        async def gone() -> bool:
            return not await receiver.call("filedrop-offers")

        await until_answered(gone)
        with pytest.raises(ValueError, match="there is no file 2: filedrop-status shows"):
            await receiver.call("filedrop-accept", 2)
        with pytest.raises(ValueError, match="file 1 is not offered to us: filedrop-offers shows"):
            await receiver.call("filedrop-accept", 1)
        with pytest.raises(ValueError, match="file 1 has ended before: refused"):
            await receiver.call("filedrop-refuse", 1)
        await sender.call("filedrop-send", str(receiver.node_id), str(source))
        assert [offer["number"] for offer in await offered(receiver)] == [3]  # a number means one file for ever


async def test_an_accepted_file_is_refused_on_its_way(app_pair, memory_network, source, tmp_path) -> None:
    async with app_pair("filedrop", "filedrop", options=(inbox(tmp_path), None)) as (receiver, sender):
        await sender.call("filedrop-send", str(receiver.node_id), str(source))
        await offered(receiver)
        memory_network.delay = 0.2
        await receiver.call("filedrop-accept", 1)

        async def begun() -> bool:
            return (await state(receiver))["done"] > 0

        await until_answered(begun)
        await receiver.call("filedrop-refuse", 1)
        assert (await until_state(sender, "refused"))["state"] == "refused"
        assert names(tmp_path / "in") == [".quarantine"]
        await emptied(tmp_path / "in")
        assert (await state(receiver))["state"] == "refused"


@pytest.mark.parametrize("who", ["receiver", "sender"])
async def test_what_is_refused_in_the_moment_of_placing_does_not_stay(pair, source, tmp_path, monkeypatch, who) -> None:
    place, path = files.Part.place, tmp_path / "in" / "data.bin"
    placed, go_on = threading.Event(), threading.Event()

    def slow(part: files.Part, name: str) -> Path:
        found = place(part, name)
        placed.set()
        assert go_on.wait(20)
        return found

    monkeypatch.setattr(files.Part, "place", slow)
    async with pair(("filedrop",), ("filedrop",), inbox(tmp_path)) as (receiver, sender):
        await sender.call("filedrop-send", str(receiver.node_id), str(source))
        await offered(receiver)
        await receiver.call("filedrop-accept", 1)
        await asyncio.to_thread(placed.wait, 20)
        assert path.exists()
        await (receiver if who == "receiver" else sender).call("filedrop-refuse", 1)
        await until_state(receiver, "refused" if who == "receiver" else "withdrawn")
        go_on.set()

        async def gone() -> bool:
            return not path.exists() and names(tmp_path / "in" / ".quarantine") == []

        await until_answered(gone)


async def test_without_hard_links_what_is_placed_is_not_fetched_again(pair, source, tmp_path, monkeypatch) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    change, failures = book.Book.change, 3

    async def fail(kept: book.Book, drop: book.Drop, state: str, *rest: Any, **named: Any) -> bool:
        nonlocal failures
        if state == "received" and drop.way == "in" and failures:
            failures -= 1
            raise StoreError("the disk is full", path=":memory:", reason="full")
        return await change(kept, drop, state, *rest, **named)

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(book.Book, "change", fail)
    seen = Seen()
    async with pair(("filedrop",), ("filedrop", seen), inbox(tmp_path)) as (receiver, sender):
        await sender.call("filedrop-send", str(receiver.node_id), str(source))
        await offered(receiver)
        await receiver.call("filedrop-accept", 1)
        await receiver.call("filedrop-wait", 1)
        assert failures == 0
        assert sorted(names(tmp_path / "in")) == [".quarantine", "data.bin"]
        await emptied(tmp_path / "in")
        assert sum(seen.sizes) == SIZE


async def test_how_far_it_is_is_shown(pair, source, tmp_path, monkeypatch) -> None:
    from oddwire.transports.base import PROGRESS

    shown: list[tuple[int, int]] = []
    async with pair(("filedrop",), ("filedrop",), inbox(tmp_path)) as (receiver, sender):
        PROGRESS.set(lambda done, total: shown.append((done, total)))
        await sender.call("filedrop-send", str(receiver.node_id), str(source))
        assert shown == [(SIZE, SIZE)]  # that it was hashed
        await offered(receiver)
        await receiver.call("filedrop-accept", 1)
        await receiver.call("filedrop-wait", 1)
        assert all(total == SIZE for _, total in shown)


# A sender that is wrong ----------------------------------------------------------------------------------


async def test_a_changed_file_is_noticed(pair, source, tmp_path) -> None:
    async with pair(("filedrop",), ("filedrop",), inbox(tmp_path)) as (receiver, sender):
        await sender.call("filedrop-send", str(receiver.node_id), str(source))
        await offered(receiver)
        with source.open("r+b") as file:
            file.write(b"other")
        await receiver.call("filedrop-accept", 1)
        assert (await receiver.call("filedrop-wait", 1))["reason"] == reading.CHANGED
        assert (await state(sender))["reason"] == reading.CHANGED
        await emptied(tmp_path / "in")


async def test_a_file_that_is_away_for_a_while_is_tried_again(pair, source, tmp_path) -> None:
    away = tmp_path / "away"
    async with pair(("filedrop",), ("filedrop",), inbox(tmp_path)) as (receiver, sender):
        await sender.call("filedrop-send", str(receiver.node_id), str(source))
        await offered(receiver)
        source.rename(away)
        await receiver.call("filedrop-accept", 1)

        async def noticed() -> bool:
            return "cannot be read now" in (await state(receiver)).get("reason", "")

        await until_answered(noticed)
        assert "No such file" in (await state(sender))["reason"]
        away.rename(source)
        assert (await receiver.call("filedrop-wait", 1))["state"] == "received"


def lying(answer: Callable[[filedrop.Fetch], AsyncIterator[filedrop.Chunk]]) -> Extension:
    """Make a filedrop that answers fetches as it likes."""
    extension = Extension("filedrop", version="1.0")
    extension.outcomes = asyncio.Queue()

    @extension.on(filedrop.Offer, reliable=True)
    async def offer(context: Context, offer: filedrop.Offer) -> None: ...

    @extension.on(filedrop.Withdraw, reliable=True)
    async def withdraw(context: Context, message: filedrop.Withdraw) -> None: ...

    @extension.on(filedrop.Fetch)
    async def fetch(context: Context, request: filedrop.Fetch) -> AsyncIterator[filedrop.Chunk]:
        async for chunk in answer(request):
            yield chunk

    @extension.on(filedrop.Outcome, reliable=True)
    async def outcome(context: Context, outcome: filedrop.Outcome) -> None:
        extension.outcomes.put_nowait(outcome)

    return extension


DATA = bytes(range(256)) * 3072  # three chunks


async def chunks(*pieces: tuple[int, bytes]) -> AsyncIterator[filedrop.Chunk]:
    for offset, data in pieces:
        yield filedrop.Chunk(offset=offset, data=data)


def piece(index: int) -> tuple[int, bytes]:
    return index * CHUNK, DATA[index * CHUNK : (index + 1) * CHUNK]


LIES = {
    "out of order": ((piece(0), piece(2), piece(1)), "were sent in place of"),
    "twice": ((piece(0), piece(0)), "were sent in place of"),
    "more than offered": (
        (piece(0), piece(1), (2 * CHUNK, DATA[2 * CHUNK :] + b"more")),
        "in place of 262144 from 524288 on",
    ),
    "little by little": (((0, DATA[:1]), (1, DATA[1:2])), "1 bytes from 0 on were sent in place of 262144"),
    "nothing, for ever": (((0, b""),) * 100, "0 bytes from 0 on were sent"),
    "something else": ((piece(0), piece(1), (2 * CHUNK, bytes(CHUNK))), "has another SHA-256"),
}


@pytest.mark.parametrize("how", LIES)
async def test_what_is_not_what_was_offered_does_not_arrive(pair, tmp_path, how) -> None:
    pieces, reason = LIES[how]
    liar = lying(lambda request: chunks(*pieces))
    async with pair(("filedrop",), (liar,), inbox(tmp_path)) as (receiver, sender):
        digest = hashlib.sha256(DATA).digest()
        await sender.peers[0].deliver(filedrop.Offer(key=KEY, name="x", size=len(DATA), digest=digest))
        await offered(receiver)
        await receiver.call("filedrop-accept", 1)
        failed = await receiver.call("filedrop-wait", 1)
        assert failed["state"] == "failed"
        assert reason in failed["reason"]
        assert names(tmp_path / "in") == [".quarantine"]
        await emptied(tmp_path / "in")
        outcome = await liar.outcomes.get()
        assert (outcome.outcome, outcome.key) == ("failed", KEY)


async def test_more_chunks_than_offered_are_not_read(pair, tmp_path) -> None:
    async def endless(request: filedrop.Fetch) -> AsyncIterator[filedrop.Chunk]:
        index = 0
        while True:
            yield filedrop.Chunk(offset=index * CHUNK, data=DATA[:CHUNK])
            index += 1

    async with pair(("filedrop",), (lying(endless),), inbox(tmp_path)) as (receiver, sender):
        digest = hashlib.sha256(DATA[:CHUNK] * 2).digest()
        await sender.peers[0].deliver(filedrop.Offer(key=KEY, name="x", size=2 * CHUNK, digest=digest))
        await offered(receiver)
        await receiver.call("filedrop-accept", 1)
        assert (await receiver.call("filedrop-wait", 1))["state"] == "received"
        assert (tmp_path / "in" / "x").read_bytes() == DATA[:CHUNK] * 2


async def test_silence_is_not_waited_for_for_ever(pair, tmp_path, source, monkeypatch) -> None:
    monkeypatch.setattr(transfers, "SILENCE", 0.05)

    async def silent(request: filedrop.Fetch) -> AsyncIterator[filedrop.Chunk]:
        if request.offset == 0:
            yield filedrop.Chunk(offset=0, data=DATA[:CHUNK])
        await asyncio.sleep(3600)

    configured = inbox(tmp_path, transfers="1")
    async with pair(("filedrop",), (lying(silent),), configured) as (receiver, sender):
        digest = hashlib.sha256(DATA).digest()
        await sender.peers[0].deliver(filedrop.Offer(key=KEY, name="x", size=len(DATA), digest=digest))
        await offered(receiver)
        await receiver.call("filedrop-accept", 1)

        async def noted() -> bool:
            return bool((await state(receiver)).get("reason"))

        await until_answered(noted)
        found = await state(receiver)
        assert (found["state"], found["done"]) == ("accepted", CHUNK)  # kept, and tried again
        store = receiver.store("filedrop")
        await store.execute("UPDATE filedrop_files SET touched = ?", (int(time.time()) - 8 * 86400,))
        await clean(receiver)
        kept = book.Book(store)
        await kept.note(await kept.find("in", sender.node_id, KEY), "too late")
        found = await state(receiver)
        assert (found["state"], found["reason"]) == ("expired", "nothing has gone on for 7 days")
        await emptied(tmp_path / "in")


async def clean(app: Any) -> None:
    """Do now what is done every ten minutes."""
    context = app.context("filedrop")
    await filedrop.clean_up(context, filedrop.Desk(context))


async def test_two_who_choose_one_key_get_into_each_others_way_in_nothing(tmp_path) -> None:
    """Else one writes to the file of the other once that is verified."""
    network = MemoryNetwork()
    receiver = Application("filedrop", transport=network.transport(), options=inbox(tmp_path), store=":memory:")
    liars = [
        lying(lambda request, fill=fill: chunks((0, fill * CHUNK), (CHUNK, fill * CHUNK))) for fill in (b"a", b"b")
    ]
    apps = [Application(liar, transport=network.transport(), store=":memory:") for liar in liars]
    async with receiver, apps[0], apps[1]:
        for app, fill in zip(apps, (b"a", b"b"), strict=True):
            digest = hashlib.sha256(fill * 2 * CHUNK).digest()
            peer = await app.connect(receiver.uris[0])
            await peer.deliver(filedrop.Offer(key=KEY, name="x", size=2 * CHUNK, digest=digest))
        await offered(receiver, 2)
        for number in (1, 2):
            await receiver.call("filedrop-accept", number)
        for number in (1, 2):
            assert (await receiver.call("filedrop-wait", number))["state"] == "received"
        assert {path.read_bytes()[:1] for path in (tmp_path / "in").iterdir() if path.is_file()} == {b"a", b"b"}


async def test_what_a_crash_has_left_behind_is_removed_once_it_is_old(pair, tmp_path, monkeypatch) -> None:
    """Old by one look at the wall clock is not enough: that may be wrong."""
    async with pair(("filedrop",), ("filedrop",), inbox(tmp_path)) as (receiver, _):
        for name, days in (("old", 8), ("new", 6)):
            part = files.Part(tmp_path / "in", name)
            part.open(0)
            part.close()
            then = time.time() - days * 86400
            os.utime(tmp_path / "in" / ".quarantine" / f"{name}.part", (then, then))
        desk = filedrop.Desk(receiver.context("filedrop"))
        await filedrop.clean_up(receiver.context("filedrop"), desk)
        await filedrop.clean_up(receiver.context("filedrop"), desk)
        assert sorted(names(tmp_path / "in" / ".quarantine")) == ["new.part", "old.part"]
        monkeypatch.setattr(sweeping, "APART", 0.0)
        await filedrop.clean_up(receiver.context("filedrop"), desk)
        assert names(tmp_path / "in" / ".quarantine") == ["new.part"]


async def test_a_clock_that_jumps_drops_nothing(source, tmp_path, monkeypatch) -> None:
    network = MemoryNetwork()
    keys = {name: PrivateKey(name.encode() * 32) for name in "rs"}

    def app(name: str) -> Application:
        given = inbox(tmp_path) if name == "r" else {}
        return Application("filedrop", transport=network.transport(keys[name]), store=tmp_path / name, options=given)

    async with app("r") as receiver, app("s") as sender:
        await sender.connect(receiver.uris[0])
        for _ in range(2):
            await sender.call("filedrop-send", str(receiver.node_id), str(source))
        await offered(receiver, 2)
        await sender.disconnect(receiver.node_id)
        await receiver.call("filedrop-accept", 1)
    real = time.time
    for days in (40, -40, 0):
        monkeypatch.setattr(clocks, "wall", lambda days=days: real() + days * 86400)
        monkeypatch.setattr(time, "time", lambda days=days: real() + days * 86400)
        async with app("r") as receiver:
            await clean(receiver)
            found = await receiver.call("filedrop-status")
            assert [drop["state"] for drop in found] == ["accepted", "offered"]
        async with app("s") as sender:
            await clean(sender)
            assert [drop["state"] for drop in await sender.call("filedrop-status")] == ["offered", "offered"]


async def test_a_part_left_in_another_folder_by_a_crash_is_removed(pair, source, tmp_path, monkeypatch) -> None:
    (tmp_path / "A").mkdir()
    monkeypatch.setattr(transfers, "remove_part", lambda *_: None)
    async with pair(("filedrop",), ("filedrop",), inbox(tmp_path)) as (receiver, sender):
        await sender.call("filedrop-send", str(receiver.node_id), str(source))
        await offered(receiver)
        await receiver.call("filedrop-accept", 1, str(tmp_path / "A"))
        assert (await receiver.call("filedrop-wait", 1))["state"] == "received"
        assert len(names(tmp_path / "A" / ".quarantine")) == 1
        await clean(receiver)
        await emptied(tmp_path / "A")
        assert (tmp_path / "A" / "data.bin").read_bytes() == source.read_bytes()
        store = receiver.store("filedrop")
        assert await store.items("folder ") == [(f"folder {tmp_path / 'A'}", 1)]
        await clean(receiver)
        assert await store.items("folder ") == []


async def test_what_fails_here_is_not_tried_again_and_again(pair, tmp_path, source, monkeypatch) -> None:
    tried = []

    def broken(part: files.Part, *_: object) -> None:
        tried.append(part)
        raise RuntimeError("a mistake")

    monkeypatch.setattr(files.Part, "open", broken)
    async with pair(("filedrop",), ("filedrop",), inbox(tmp_path)) as (receiver, sender):
        await sender.call("filedrop-send", str(receiver.node_id), str(source))
        await offered(receiver)
        await receiver.call("filedrop-accept", 1)

        async def failed() -> bool:
            return receiver.counters.failed == {"filedrop": 1}

        await until_answered(failed)
        await receiver.call("filedrop-status")
        await asyncio.sleep(0.2)
        assert len(tried) == 1


@pytest.mark.parametrize("size", [(1 << 63), (1 << 64) - 1])
async def test_sizes_that_no_file_has_are_refused(pair, size) -> None:
    async with pair(("filedrop",), (lying(lambda request: chunks()),)) as (_, sender):
        receipt = await sender.peers[0].deliver(filedrop.Offer(key=KEY, name="x", size=size, digest=bytes(32)))
        with pytest.raises(RemoteFailure, match="no file has"):
            await receipt.delivered()


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "", "..", ".bashrc", "a\0b", "\u202etxt.exe", "x" * 255]
)
async def test_names_lead_nowhere(pair, tmp_path, name) -> None:
    liar = lying(lambda request: chunks())
    async with pair(("filedrop",), (liar,), inbox(tmp_path)) as (receiver, sender):
        digest = hashlib.sha256(b"").digest()
        await sender.peers[0].deliver(filedrop.Offer(key=KEY, name=name, size=0, digest=digest))
        await offered(receiver)
        await receiver.call("filedrop-accept", 1)
        path = Path((await receiver.call("filedrop-wait", 1))["path"])
        assert path.parent == tmp_path / "in"
        assert path.is_file()
        assert path.name.isprintable()
        assert path.name[0] not in ".-~ "


# A receiver that is wrong --------------------------------------------------------------------------------


async def test_only_what_was_offered_to_a_peer_is_read_for_it(pair, source) -> None:
    thief = lying(lambda request: chunks())
    async with pair(("filedrop",), (thief,)) as (sender, receiver):
        peer = receiver.peers[0]
        for key, offset, reason in ((KEY, 0, "not offered to you"), (None, SIZE + 1, f"has {SIZE} bytes")):
            if key is None:
                await sender.call("filedrop-send", str(receiver.node_id), str(source))
                rows = await sender.store("filedrop").execute("SELECT key FROM filedrop_files")
                key = rows[0][0]
            with pytest.raises(RemoteFailure, match=reason) as caught:
                async for _ in peer.stream(filedrop.Fetch(key=key, offset=offset), filedrop.Chunk):
                    pass
            assert caught.value.code == messages.FINAL


async def test_files_are_read_for_so_many_at_once_and_one_for_each_peer(source, monkeypatch) -> None:
    """A peer that holds its place while it reads nothing loses it to one that waits."""
    monkeypatch.setattr(reading, "TURN", 0.3)
    monkeypatch.setattr(reading, "PATIENCE", 0.6)
    network, given = MemoryNetwork(), {"filedrop-transfers": "2"}
    thieves = [lying(lambda request: chunks()) for _ in range(3)]
    apps = [Application(thief, transport=network.transport(), store=":memory:") for thief in thieves]
    async with (
        Application("filedrop", transport=network.transport(), store=":memory:", options=given) as sender,
        apps[0],
        apps[1],
        apps[2],
    ):
        peers = [await app.connect(sender.uris[0]) for app in apps]
        for app in (apps[0], *apps):
            await sender.call("filedrop-send", str(app.node_id), str(source))
        keys = [key for (key,) in await sender.store("filedrop").execute("SELECT key FROM filedrop_files ORDER BY 1")]
        rows = await sender.store("filedrop").execute("SELECT peer, key FROM filedrop_files ORDER BY number")

        def stream(index: int, key: bytes) -> AsyncIterator[filedrop.Chunk]:
            return peers[index].stream(filedrop.Fetch(key=key, offset=0), filedrop.Chunk, credit=1)

        first, second, third, fourth = (key for _, key in rows)
        assert len(keys) == 4
        slow = stream(0, first)
        assert (await anext(slow)).offset == 0
        with pytest.raises(RemoteFailure, match="one peer has 1 places at most") as caught:
            await anext(stream(0, second))
        assert caught.value.code == messages.BUSY
        held = stream(1, third)
        assert [chunk.offset async for chunk in stream(2, fourth)][-1] == 5 * CHUNK  # the last place
        await anext(held)
        waiting = stream(2, fourth)
        assert (await anext(waiting)).offset == 0
        lost = await asyncio.gather(*map(drain, (slow, held)), return_exceptions=True)
        assert [type(end) for end in lost].count(RemoteFailure) == 1
        [failure] = [end for end in lost if end is not None]
        assert (failure.code, failure.text) == (messages.BUSY, "others wait for their turn")
        await waiting.aclose()


async def test_who_was_offered_nothing_waits_for_no_place(pair, source, monkeypatch) -> None:
    thief = lying(lambda request: chunks())
    async with pair(("filedrop",), (thief,), {"filedrop-transfers": "1"}) as (sender, receiver):
        await sender.call("filedrop-send", str(receiver.node_id), str(source))
        [(key,)] = await sender.store("filedrop").execute("SELECT key FROM filedrop_files")
        peer = receiver.peers[0]
        held = peer.stream(filedrop.Fetch(key=key, offset=0), filedrop.Chunk, credit=1)
        await anext(held)
        for wrong in (filedrop.Fetch(key=KEY, offset=0), filedrop.Fetch(key=key, offset=2**64 - 1)):
            with pytest.raises(RemoteFailure) as caught:  # at once: a crowd of such would keep others out of the line
                await drain(peer.stream(wrong, filedrop.Chunk))
            assert caught.value.code == messages.FINAL
        await held.aclose()


async def test_for_who_was_offered_nothing_the_store_is_left_alone(pair, monkeypatch) -> None:
    asked: list[object] = []
    find = book.Book.find

    async def count(*given: Any) -> Any:
        asked.append(given)
        return await find(*given)

    monkeypatch.setattr(book.Book, "find", count)
    thief = lying(lambda request: chunks())
    async with pair(("filedrop",), (thief,)) as (_, receiver):
        with pytest.raises(RemoteFailure, match="not offered to you"):
            await drain(receiver.peers[0].stream(filedrop.Fetch(key=KEY, offset=0), filedrop.Chunk))
        assert asked == []


async def drain(stream: AsyncIterator[filedrop.Chunk]) -> None:
    async for _ in stream:
        pass


async def test_a_full_store_of_the_senders_is_no_traceback(pair, source, monkeypatch) -> None:
    thief = lying(lambda request: chunks())
    async with pair(("filedrop",), (thief,)) as (sender, receiver):
        await sender.call("filedrop-send", str(receiver.node_id), str(source))
        [(key,)] = await sender.store("filedrop").execute("SELECT key FROM filedrop_files")

        async def full(*_: object, **__: object) -> bool:
            raise StoreError("the disk is full", path=":memory:", reason="full")

        monkeypatch.setattr(book.Book, "change", full)
        with pytest.raises(RemoteFailure, match="the file cannot be read now") as caught:
            await drain(receiver.peers[0].stream(filedrop.Fetch(key=key, offset=0), filedrop.Chunk))
        assert caught.value.code == messages.BUSY
        assert sender.counters.failed == {}


async def test_slow_senders_lose_their_places_to_files_that_wait(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(transfers, "TURN", 0.3)
    data = os.urandom(2 * CHUNK)

    async def trickle(request: filedrop.Fetch) -> AsyncIterator[filedrop.Chunk]:
        yield filedrop.Chunk(offset=request.offset, data=bytes(CHUNK))
        await asyncio.sleep(3600)

    network, configured = MemoryNetwork(), inbox(tmp_path, transfers="2")
    liars = [lying(trickle), lying(trickle), lying(lambda request: chunks((0, data[:CHUNK]), (CHUNK, data[CHUNK:])))]
    apps = [Application(liar, transport=network.transport(), store=":memory:") for liar in liars]
    receiver = Application("filedrop", transport=network.transport(), store=":memory:", options=configured)
    async with receiver, apps[0], apps[1], apps[2]:
        for number, app in enumerate(apps, 1):
            peer = await app.connect(receiver.uris[0])
            digest, size = hashlib.sha256(data).digest(), 2 * CHUNK if number == 3 else 1000 * CHUNK
            await peer.deliver(filedrop.Offer(key=KEY, name="x", size=size, digest=digest))
            await offered(receiver)
            await receiver.call("filedrop-accept", number)
        assert (await until_state(receiver, "received", 3))["done"] == 2 * CHUNK
        assert [(await state(receiver, number))["state"] for number in (1, 2)] == ["accepted", "accepted"]

        async def again() -> bool:
            return sum([(await state(receiver, number))["done"] for number in (1, 2)]) >= 2 * CHUNK

        await until_answered(again)  # what came in their turns is kept


async def test_outcomes_of_what_was_not_offered_change_nothing(pair, source) -> None:
    async with pair(("filedrop",), (lying(lambda request: chunks()),)) as (sender, receiver):
        await sender.call("filedrop-send", str(receiver.node_id), str(source))
        for message in (filedrop.Outcome(key=KEY, outcome="received"), filedrop.Withdraw(key=KEY)):
            await (await receiver.peers[0].deliver(message)).delivered()
        assert (await state(sender))["state"] == "offered"


# In sum --------------------------------------------------------------------------------------------------


async def test_offers_of_many_node_ids_are_bounded_in_sum(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(book, "OFFERS", 12)
    monkeypatch.setattr(book, "OFFERS_OF_STRANGERS", 8)
    monkeypatch.setattr(book, "OFFERS_OF_ONE", 3)
    network = MemoryNetwork()
    async with Application("filedrop", transport=network.transport(), store=":memory:") as receiver:
        kept = refused = 0
        reasons = set()
        for number in range(10):
            stranger = lying(lambda request: chunks())
            async with Application(stranger, transport=network.transport(), store=":memory:") as sender:
                peer = await sender.connect(receiver.uris[0])
                for index in range(4):
                    offer = filedrop.Offer(key=bytes([number, index]) * 8, name="x", size=1 << 40, digest=bytes(32))
                    try:
                        await (await peer.deliver(offer)).delivered()
                        kept += 1
                    except RemoteFailure as error:
                        reasons.add(str(error))
                        refused += 1
        assert (kept, refused) == (8, 32)
        assert reasons == {"too many offers are waiting here", "3 offers of yours are waiting already"}
        friend = lying(lambda request: chunks())
        async with Application(friend, transport=network.transport(), store=":memory:") as sender:
            await receiver.connect(sender.uris[0])  # whom we dial is no stranger
            peer = sender.peer(receiver.node_id)
            for index in range(3):
                offer = filedrop.Offer(key=bytes([99, index]) * 8, name="x", size=1, digest=bytes(32))
                await (await peer.deliver(offer)).delivered()
        assert len(await receiver.call("filedrop-offers")) == 11
        await receiver.store("filedrop").execute("UPDATE filedrop_files SET touched = 0")
        await clean(receiver)
        assert await receiver.call("filedrop-status") == []


async def test_the_quarantine_holds_so_much_of_all_peers(pair, source, tmp_path) -> None:
    configured = inbox(tmp_path, quarantine=str(2 * SIZE))
    liar = lying(lambda request: chunks())
    async with pair(("filedrop",), (liar,), configured) as (receiver, sender):
        for index in range(3):
            offer = filedrop.Offer(key=bytes([index]) * 16, name="x", size=SIZE, digest=bytes(32))
            await sender.peers[0].deliver(offer)
        await offered(receiver, 3)
        await receiver.call("filedrop-accept", 1)
        await receiver.call("filedrop-accept", 2)
        with pytest.raises(
            ValueError, match=f"has {SIZE} bytes, and --filedrop-quarantine={2 * SIZE} leaves room for 0"
        ):
            await receiver.call("filedrop-accept", 3)
        await receiver.call("filedrop-refuse", 1)
        await receiver.call("filedrop-accept", 3)


async def test_acceptances_at_once_find_no_room_twice(pair, tmp_path) -> None:
    configured = inbox(tmp_path, quarantine=str(2 * SIZE))
    async with pair(("filedrop",), (lying(lambda request: silence()),), configured) as (receiver, sender):
        for index in range(6):
            offer = filedrop.Offer(key=bytes([index]) * 16, name="x", size=SIZE, digest=bytes(32))
            await sender.peers[0].deliver(offer)
        await offered(receiver, 6)
        calls = [receiver.call("filedrop-accept", number) for number in range(1, 7)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(result, dict) for result in results) == 2
        assert sum("leaves room for 0" in str(result) for result in results) == 4


async def silence() -> AsyncIterator[filedrop.Chunk]:
    await asyncio.sleep(3600)
    yield filedrop.Chunk(offset=0, data=b"")


async def test_one_file_is_accepted_once(pair, tmp_path) -> None:
    for name in "AB":
        (tmp_path / name).mkdir()
    async with pair(("filedrop",), (lying(lambda request: silence()),), inbox(tmp_path)) as (receiver, sender):
        await sender.peers[0].deliver(filedrop.Offer(key=KEY, name="x", size=SIZE, digest=bytes(32)))
        await offered(receiver)
        calls = [receiver.call("filedrop-accept", 1, str(tmp_path / name)) for name in "AB"]
        results = await asyncio.gather(*calls, return_exceptions=True)
        [accepted] = [result for result in results if isinstance(result, dict)]
        [refused] = [result for result in results if not isinstance(result, dict)]
        assert accepted["path"] in (str(tmp_path / "A"), str(tmp_path / "B"))
        assert f"it was accepted before, for {accepted['path']}" in str(refused)


async def test_an_acceptance_whose_caller_has_gone_is_fetched(pair, source, tmp_path, monkeypatch) -> None:
    know = book.Book.know

    async def slow(kept: book.Book, peer: NodeId) -> None:
        await know(kept, peer)
        if accepting is not None:
            asyncio.get_running_loop().call_soon(accepting.cancel)

    accepting = None
    async with pair(("filedrop",), ("filedrop",), inbox(tmp_path)) as (receiver, sender):
        monkeypatch.setattr(transfers, "LOOK", 0.1)
        await receiver.call("filedrop-status")
        await sender.call("filedrop-send", str(receiver.node_id), str(source))
        await offered(receiver)
        monkeypatch.setattr(book.Book, "know", slow)
        accepting = asyncio.create_task(receiver.call("filedrop-accept", 1))
        await asyncio.gather(accepting, return_exceptions=True)
        if (await state(receiver))["state"] != "offered":  # it was on its way to the disk
            await until_state(receiver, "received")


async def test_a_disk_without_room_is_noticed_before(pair, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(transfers, "RESERVE", 1 << 60)
    async with pair(("filedrop",), (lying(lambda request: chunks()),), inbox(tmp_path)) as (receiver, sender):
        await sender.peers[0].deliver(filedrop.Offer(key=KEY, name="x", size=1, digest=bytes(32)))
        await offered(receiver)
        with pytest.raises(ValueError, match=r"the disk of .* has 0 to spare"):
            await receiver.call("filedrop-accept", 1)


async def test_a_full_disk_is_waited_for(pair, source, tmp_path, monkeypatch) -> None:
    write, calls = files.Part.write, 0

    def full(part: files.Part, data: bytes) -> None:
        nonlocal calls
        calls += 1
        if 2 <= calls <= 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(part, data)

    monkeypatch.setattr(files.Part, "write", full)
    async with pair(("filedrop",), ("filedrop",), inbox(tmp_path)) as (receiver, sender):
        await sender.call("filedrop-send", str(receiver.node_id), str(source))
        await offered(receiver)
        await receiver.call("filedrop-accept", 1)

        async def noticed() -> bool:
            found = await state(receiver)
            return found.get("reason") == "the disk is full" or found["state"] == "received"

        await until_answered(noticed)
        assert (await receiver.call("filedrop-wait", 1))["state"] == "received"
        assert calls >= 5
        assert (tmp_path / "in" / "data.bin").read_bytes() == source.read_bytes()


async def test_ended_ones_are_kept_for_a_while(pair, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(book, "ENDED", 2)
    async with pair(("filedrop",), (lying(lambda request: chunks()),), inbox(tmp_path)) as (receiver, sender):
        for index in range(4):
            await sender.peers[0].deliver(filedrop.Offer(key=bytes([index]) * 16, name="x", size=1, digest=bytes(32)))
        await offered(receiver, 4)
        for number in range(1, 5):
            await receiver.call("filedrop-refuse", number)
        assert [drop["number"] for drop in await receiver.call("filedrop-status")] == [3, 4]


# Options and parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("64KiB", 65536), ("1.5GB", 1_500_000_000), ("2 T", 2 * 10**12), ("7b", 7), ("0", 0)],
)
def test_sizes(text, size) -> None:
    assert options.read_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1 elephant", "GiB", "1e9", "1KiBB"])
def test_what_is_no_size(text) -> None:
    with pytest.raises(ValueError, match=r"should be a number of bytes such as 1000, 64KiB or 1\.5GB"):
        options.read_size(text)


def test_options_that_make_no_sense(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="should be a folder"):
        options.folder(tmp_path / "file")
    with pytest.raises(ValueError, match="should be 1 to 64, not 0"):
        options.transfers(0)
    with pytest.raises(ValueError, match="should be a number of days"):
        options.days(0)
    with pytest.raises(ValueError):
        options.accept_from(["nobody"])


async def test_what_cannot_be_sent(pair, tmp_path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    async with pair(("filedrop",), ("filedrop",)) as (receiver, sender):
        for name, reason in (("none", "No such file"), ("folder", "should be a file"), ("pipe", "should be a file")):
            with pytest.raises(ValueError, match=reason):
                await sender.call("filedrop-send", str(receiver.node_id), str(tmp_path / name))
        assert await sender.call("filedrop-status") == []
        with pytest.raises(NodeRefused):
            await sender.call("filedrop-send", "nobody", str(tmp_path / "none"))


async def test_a_folder_of_ones_own(pair, source, tmp_path) -> None:
    (tmp_path / "here").mkdir()
    async with pair(("filedrop",), ("filedrop",), inbox(tmp_path)) as (receiver, sender):
        await sender.call("filedrop-send", str(receiver.node_id), str(source))
        await offered(receiver)
        with pytest.raises(ValueError, match="should be a folder that is there"):
            await receiver.call("filedrop-accept", 1, str(tmp_path / "there"))
        await receiver.call("filedrop-accept", 1, str(tmp_path / "here"))
        assert (await receiver.call("filedrop-wait", 1))["path"] == str(tmp_path / "here" / "data.bin")
        assert not (tmp_path / "in").exists()


def test_its_types_are_odd() -> None:
    assert {schema_of(message).type_id % 2 for message in filedrop.extension.messages} == {1}
    assert isinstance(filedrop.extension.limits, Limits)
