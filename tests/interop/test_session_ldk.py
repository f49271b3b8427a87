"""The session protocol in JavaScript on LDK: written from the document alone, judged by its test vectors.

It keeps on a disk of its own what the document says, is killed, and goes on.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from pathlib import Path

import pytest

from oddwire import Application, RemoteFailure
from oddwire.proto import NodeId, PrivateKey
from oddwire.testing.conversations import Stage, expand, judge, payload_from_json, play
from oddwire.transports.bolt8.transport import Bolt8Transport

pytestmark = pytest.mark.interop

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "session.json").read_text())
DEADLINE = 30  # seconds; reached only by a peer that says nothing


# The vectors ------------------------------------------------------------------------------------------


class LdkStage(Stage):
    """The JavaScript peer plays its part; ours is a bare transport."""

    def __init__(self, ldk, transport, sink):
        self.ldk = ldk
        self.transport = transport
        self.sink = sink
        self.us = str(transport.node_id)
        self.peer = NodeId(ldk.node_id)

    async def connect(self):
        await self.transport.connect(self.ldk.uri, keep=False)
        await self.sink.connected.get()
        await self.ldk.event("connected", peer=self.us)

    async def disconnect(self):
        await self.transport.disconnect(self.peer)
        await self.sink.disconnected.get()
        await self.ldk.event("disconnected", peer=self.us)

    async def send(self, payload):
        await self.transport.send(self.peer, payload)

    async def receive(self):
        async with asyncio.timeout(DEADLINE):
            _, payload = await self.sink.payloads.get()
        return payload

    async def begin(self, what, payload, step):
        options = {name: value for name, value in step.items() if name in ("credit", "used")}
        await self.ldk.command(what.replace(" ", "_"), peer=self.us, payload=payload.hex(), **options)

    async def result(self):
        return await self.ldk.command("result")

    async def happened(self, what, payload):
        event = await self.ldk.event(what, payload=payload.hex())
        return {name: event[name] for name in ("code", "text") if name in event}

    async def unexpected(self):
        await self.ldk.command("give_up")  # what it told before that is read by now
        return [event for what in ("handled", "delivered", "failed") for event in self.ldk.waiting(what)]


async def test_javascript_plays_every_conversation(start_ldk_session, start_ours):
    ldk = await start_ldk_session()
    await ldk.listen()
    for talk in VECTORS["conversations"]:
        await ldk.command("limit", **talk.get("limits", {}))
        transport, sink = await start_ours()
        await play(talk, VECTORS["preamble"], VECTORS["closing"], LdkStage(ldk, transport, sink))
        await transport.aclose()


async def test_javascript_reads_and_writes_every_frame(start_ldk_session):
    ldk = await start_ldk_session()
    found = await ldk.command("decode", payloads=[vector["bytes"] for vector in VECTORS["frames"]])
    for vector, read in zip(VECTORS["frames"], found, strict=True):
        assert read["frame"] == vector["frame"], vector["name"]
        if vector.get("same", True):
            assert read["bytes"] == vector["bytes"], vector["name"]
        assert await ldk.command("encode", frame=vector["frame"]) == read["bytes"], vector["name"]


async def test_javascript_refuses_every_frame_that_is_wrong_for_the_same_reason(start_ldk_session):
    ldk = await start_ldk_session()
    found = await ldk.command("decode", payloads=[vector["bytes"] for vector in VECTORS["refused"]])
    for vector, read in zip(VECTORS["refused"], found, strict=True):
        wanted = {name: vector[name] for name in ("reason", "subject") if name in vector}
        assert read == wanted, vector["name"]


def changed(dice, payload):
    """Change a frame here and there, but for its type."""
    data = bytearray(payload)
    for _ in range(dice.choice((1, 1, 2, 4))):
        at = dice.randrange(2, len(data) + 1)
        match dice.randrange(4):
            case 0 if at < len(data):
                data[at] ^= 1 << dice.randrange(8)
            case 1 if at < len(data):
                data[at] = dice.choice((0, 1, 2, 3, 0x2E, 0x30, 0xC0, 0xFD, 0xFE, 0xFF))
            case 2:
                data[at:at] = dice.randbytes(dice.choice((1, 2, 8)))
            case 3:
                del data[at : at + dice.choice((1, 1, 4, 100))]
    return bytes(data)


def read_by_us(payload):
    """What `decode` of the JavaScript peer gives, by ours."""
    found = judge(payload)
    return found | ({"bytes": payload_from_json(found["frame"]).hex()} if "frame" in found else {})


async def test_javascript_and_python_agree_on_whatever_comes(start_ldk_session):
    ldk = await start_ldk_session()
    dice = random.Random("agree")
    seeds = [bytes.fromhex(vector["bytes"]) for part in ("frames", "refused") for vector in VECTORS[part]]
    seeds = [seed for seed in seeds if len(seed) < 300]
    outcomes = set()
    for _ in range(40):
        payloads = [changed(dice, dice.choice(seeds)) for _ in range(250)]
        found = await ldk.command("decode", payloads=[payload.hex() for payload in payloads])
        for payload, theirs in zip(payloads, found, strict=True):
            ours = read_by_us(payload)
            assert ours == theirs, payload.hex()
            outcomes.add((ours.get("reason", "frame"), payload[2:3]))
    assert len(outcomes) > 25  # every kind, as a frame and as none


async def test_javascript_finds_what_hellos_have_in_common(start_ldk_session):
    ldk = await start_ldk_session()
    for vector in VECTORS["pairs"]:
        wanted = (
            None if vector["version"] is None else {"version": vector["version"], "extensions": vector["extensions"]}
        )
        assert await ldk.command("in_common", hellos=vector["hellos"]) == wanted
        assert await ldk.command("in_common", hellos=vector["hellos"][::-1]) == wanted
    for lower, higher in VECTORS["versions"]:
        assert await ldk.command("compare", versions=[lower, higher]) == -1
        assert await ldk.command("compare", versions=[higher, lower]) == 1
        assert await ldk.command("compare", versions=[higher, higher]) == 0


# With an application of ours --------------------------------------------------------------------------


class Both:
    """The JavaScript peer and an application of ours; both may be started again."""

    def __init__(self, start_ldk, ldk, vectors, path):
        self._start_ldk = start_ldk
        self.ldk = ldk
        self.vectors = vectors
        self.key = PrivateKey(os.urandom(32))
        self.path = path
        self.app = None
        self.us = str(NodeId(self.key.public_key()))
        self.ldk_id = NodeId(ldk.node_id)

    async def start(self):
        transport = Bolt8Transport(self.key, listen=["127.0.0.1:0"], network="regtest")
        self.app = Application(*self.vectors.extensions, transport=transport, store=self.path, grace=0)
        await self.app.start()
        self.vectors.app = self.app

    async def connect(self):
        await self.ldk.connect(self.app.uris[0])
        await self.ldk.event("connected", peer=self.us)

    async def reconnect(self):
        await self.ldk.disconnect(self.us)
        await self.ldk.event("disconnected", peer=self.us)
        await self.connect()

    async def start_ldk(self):
        self.ldk = await self._start_ldk()
        assert self.ldk.node_id == str(self.ldk_id)

    async def restart(self):
        await self.app.aclose()
        await self.ldk.event("disconnected", peer=self.us)
        await self.start()
        await self.connect()

    @property
    def peer(self):
        return self.app.peer(self.ldk_id)

    async def until_spoken(self, extension, *, spoken=True):
        """Wait until we know that somebody there speaks an extension, or that nobody does."""
        async with asyncio.timeout(DEADLINE):
            while self.peer.supports(extension) != spoken:
                await asyncio.sleep(0.01)


@pytest.fixture
def start_both(start_ldk_session, make_vector_application, peers, tmp_path):
    async def start(on_note=None):
        ldk, vectors = await start_ldk_session(), make_vector_application(on_note)
        both = Both(start_ldk_session, ldk, vectors, tmp_path / "ours.sqlite")
        await both.start()
        peers.push_async_callback(lambda: both.app.aclose())
        await both.connect()
        await both.until_spoken("vectors")
        return both

    return start


def body(number, size=4):
    return expand(f"{number:08x}*{size}")


async def test_both_know_what_the_other_speaks(start_both):
    both = await start_both()
    assert both.peer.extensions == {"vectors": ("1.0",)}
    assert both.peer.version_of("vectors") == "1.0"
    assert both.peer.supports("vectors")


async def test_requests_cross_in_both_directions(start_both):
    both = await start_both()
    vectors = both.vectors

    async def ask(number):
        answer = await both.peer.request(vectors.Ask(data=body(number)), vectors.Answer, timeout=DEADLINE)
        return answer.data

    numbers = range(200)
    payloads = ["8ca1" + body(number).hex() for number in numbers]
    ours, theirs = await asyncio.gather(
        asyncio.gather(*map(ask, numbers)),
        both.ldk.command("requests", peer=both.us, payloads=payloads[:16]),
    )
    assert ours == [body(number) for number in numbers]
    assert theirs == ["8ca3" + body(number).hex() for number in numbers[:16]]


async def test_requests_and_replies_of_any_length_cross_in_both_directions(start_both):
    both = await start_both()
    vectors = both.vectors
    large = body(7, 3_000_000)
    ours, theirs = await asyncio.gather(
        both.peer.request(vectors.Ask(data=large), vectors.Answer, timeout=DEADLINE),
        both.ldk.command("requests", peer=both.us, payloads=["8ca1" + large[:400_000].hex()]),
    )
    assert ours.data == large
    assert theirs == ["8ca3" + large[:400_000].hex()]


async def test_refusals_cross_in_both_directions(start_both):
    both = await start_both()
    vectors = both.vectors
    with pytest.raises(RemoteFailure) as caught:
        await both.peer.request(vectors.RefuseMe(data=b""), vectors.Answer, timeout=DEADLINE)
    assert (caught.value.code, caught.value.text) == (1000, "not today")
    await both.ldk.command("request", peer=both.us, payload="8ca9")
    assert await both.ldk.command("result") == {"code": 1000, "text": "not today"}


async def test_who_gives_up_cancels_the_others_handler(start_both):
    both = await start_both()
    vectors = both.vectors
    asking = asyncio.create_task(both.peer.request(vectors.Hang(data=b"a"), vectors.Answer, timeout=DEADLINE))
    await both.ldk.event("handled", payload="8cad61")
    asking.cancel()
    await both.ldk.event("cancelled", payload="8cad61")
    await both.ldk.command("request", peer=both.us, payload="8cad62")
    await vectors.happened("handled", b"\x8c\xadb")
    await both.ldk.command("give_up")
    await vectors.happened("cancelled", b"\x8c\xadb")


async def test_streams_cross_in_both_directions(start_both):
    both = await start_both()
    vectors = both.vectors
    count = 1000
    numbers = [number.to_bytes(2, "big") for number in range(count)]

    async def read():
        stream = both.peer.stream(vectors.Count(data=count.to_bytes(2, "big")), vectors.Number, timeout=DEADLINE)
        return [part.data async for part in stream]

    await both.ldk.command("stream", peer=both.us, payload="8ca5" + count.to_bytes(2, "big").hex(), credit=7)
    ours, theirs = await asyncio.gather(read(), both.ldk.command("result"))
    assert ours == numbers
    assert theirs == {"parts": ["8ca7" + number.hex() for number in numbers]}


@pytest.fixture
def start_keeping(start_both):
    """Start both; our side keeps the notes it takes, as the other one does: ``await kept_by_us(both)``."""

    async def keep(context, data):
        await context.store.execute("INSERT INTO vectors_notes (data) VALUES (?)", (data,))

    async def start():
        both = await start_both(keep)
        await both.app.store("vectors").execute("CREATE TABLE vectors_notes (number INTEGER PRIMARY KEY, data BLOB)")
        return both

    return start


async def kept_by_us(both):
    rows = await both.app.store("vectors").execute("SELECT data FROM vectors_notes ORDER BY number")
    return [data for (data,) in rows]


async def kept_by_them(both):
    return [bytes.fromhex(note)[2:] for note in await both.ldk.command("notes")]


async def test_reliable_messages_take_effect_once_whatever_gets_lost(start_keeping):
    """Frames are lost and doubled, connections break, our side starts again: in order, once, nothing missing."""
    both = await start_keeping()
    vectors = both.vectors
    await both.ldk.command("disturb", lost=0.1, twice=0.1)
    count, rounds = 300, 10
    refused = 150
    expected = [body(number) for number in range(count)]
    for start in range(0, count, count // rounds):
        for number in range(start, start + count // rounds):
            message = vectors.RefuseMe if number == refused else vectors.Note
            await both.peer.deliver(message(data=body(number)))
            await both.ldk.command("send_reliably", peer=both.us, payload="8caf" + body(number).hex())
        await (both.restart() if start == count // 2 else both.reconnect())
    counts = await both.ldk.command("disturb")
    assert min(counts.values()) > 50
    await both.reconnect()
    last = await both.peer.deliver(vectors.Note(data=b"last"))
    await both.ldk.command("send_reliably", peer=both.us, payload="8caf" + b"last".hex())

    for number in range(count):
        await both.ldk.event("delivered", payload="8caf" + body(number).hex())
    await both.ldk.event("delivered", payload="8caf" + b"last".hex())
    assert await kept_by_us(both) == [*expected, b"last"]

    await last.delivered()
    handled = [bytes.fromhex(event["payload"])[2:] for event in both.ldk.waiting("handled")]
    assert handled == await kept_by_them(both) == [*expected[:refused], *expected[refused + 1 :], b"last"]


async def test_reliable_messages_take_effect_once_though_both_sides_are_killed_or_started_again(start_keeping):
    """It is killed while messages go both ways, and while it is away our side may start again."""
    both = await start_keeping()
    vectors = both.vectors
    batch, at_once, dice = 60, 20, random.Random("killed")
    ours, theirs, doubtful = [], [], set()
    interrupted = {"ours": 0, "theirs": 0}

    async def we_send(bodies):
        for data in bodies:
            await both.peer.deliver(vectors.Note(data=data))
            ours.append(data)

    async def they_send(bodies):
        for start in range(0, batch, at_once):
            some = bodies[start : start + at_once]
            theirs.extend(some)
            try:
                await both.ldk.command("send_reliably", peer=both.us, payloads=["8caf" + data.hex() for data in some])
            except both.ldk.Ended:
                doubtful.update(some)  # they may have been accepted
                return

    for turn in range(3):
        bodies = [body(turn * batch + index) for index in range(batch)]
        async with asyncio.TaskGroup() as group:
            group.create_task(we_send(bodies))
            group.create_task(they_send(bodies))
            await vectors.happened("handled", b"\x8c\xaf" + bodies[dice.randrange(batch // 2)])
            await both.ldk.kill()
        if turn % 2:
            await both.app.aclose()
            await both.start()
        await both.start_ldk()
        interrupted["ours"] += len(await kept_by_them(both)) < len(ours)
        interrupted["theirs"] += await both.ldk.command("unsettled") > 0
        await both.connect()
    assert min(interrupted.values()) > 0
    receipt = await both.peer.deliver(vectors.Note(data=b"last"))
    await both.ldk.command("send_reliably", peer=both.us, payload="8caf" + b"last".hex())
    await receipt.delivered()
    await vectors.happened("handled", b"\x8c\xaflast")

    assert await kept_by_them(both) == [*ours, b"last"]
    kept = await kept_by_us(both)
    assert kept == [data for data in [*theirs, b"last"] if data not in doubtful or data in kept]


@pytest.mark.long
@pytest.mark.parametrize("when", ["before", "midst", "after"])
async def test_a_kill_around_any_write_to_the_disk_loses_and_doubles_nothing(start_keeping, when):
    """It dies before, in the midst of or after what it writes: a message handled, one accepted, to whom it goes, and
    that it was settled.
    """
    both = await start_keeping()
    vectors = both.vectors

    async def again():
        await both.ldk.killed()
        await both.start_ldk()

    await both.ldk.command("die", count=2, when=when)
    receipts = [await both.peer.deliver(vectors.Note(data=body(number))) for number in range(3)]
    await again()
    assert await kept_by_them(both) == [body(number) for number in range(2 if when == "after" else 1)]
    await both.connect()
    await asyncio.gather(*(receipt.delivered() for receipt in receipts))
    assert await kept_by_them(both) == [body(number) for number in range(3)]

    await both.ldk.command("die", count=1, when=when)
    with pytest.raises(both.ldk.Ended):
        await both.ldk.command("send_reliably", peer=both.us, payload="8caf" + b"accepted".hex())
    await again()
    await both.ldk.command("send_reliably", peer=both.us, payload="8caf" + b"settled".hex())
    for count in (1, 1 if when == "after" else 2):  # whom it goes to; and, that being on the disk, that it was settled
        await both.ldk.command("die", count=count, when=when)
        await both.connect()
        await again()
    await both.connect()
    await both.ldk.command("send_reliably", peer=both.us, payload="8caf" + b"last".hex())
    await vectors.happened("handled", b"\x8c\xaflast")
    accepted = [b"accepted"] if when == "after" else []
    assert await kept_by_us(both) == [*accepted, b"settled", b"last"]


async def test_large_reliable_messages_cross_in_both_directions(start_both):
    both = await start_both()
    vectors = both.vectors
    large = body(9, 300_000)
    receipt = await both.peer.deliver(vectors.Note(data=large))
    await both.ldk.command("send_reliably", peer=both.us, payload="8caf" + large.hex())
    await both.ldk.event("delivered", payload="8caf" + large.hex())
    await vectors.happened("handled", b"\x8c\xaf" + large)
    await receipt.delivered()
    await both.ldk.event("handled", payload="8caf" + large.hex())


async def test_a_refused_reliable_message_is_told(start_both):
    both = await start_both()
    vectors = both.vectors
    receipt = await both.peer.deliver(vectors.RefuseMe(data=b"x"))
    with pytest.raises(RemoteFailure) as caught:
        await receipt.delivered()
    assert (caught.value.code, caught.value.text) == (1000, "not today")
    await both.ldk.command("send_reliably", peer=both.us, payload="8ca978")
    assert (await both.ldk.event("failed", payload="8ca978", code=1000))["text"] == "not today"
