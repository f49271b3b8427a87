"""Several programs on one JavaScript peer (LDK), each in a session of its own with an application of ours.

The programs run the application of the vectors: "main" as the extension `vectors`, "second" as `second`, with types
that are so much higher.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil

import pytest

from oddwire import ConnectionClosed, Extension, Message, message
from oddwire.testing.conversations import play

from .test_session_ldk import DEADLINE, VECTORS, Both, LdkStage, body, kept_by_us

pytestmark = pytest.mark.interop

OFFSET = 0x100
LIMIT = 120  # seconds; reached only where a message gets lost


# With a peer that says what the test wants, of several programs -----------------------------------------


def hello(instance, flags=1):
    """A program of the peer says hello; its number is 2000 more than its instance, its store's 6000 more."""
    spoken = [{"name": "vectors", "versions": ["1.0"], "types": []}]
    fields = {"flags": flags, "lowest": 1, "highest": 1, "program": str(2000 + instance), "extensions": spoken}
    return {"peer": {"kind": "hello", "from": instance, **fields, "stores": [str(6000 + instance)]}}


def greeting(to, flags=0):
    known = dict.fromkeys(["lowest", "highest", "extensions", "assembles", "requests", "stores"], "*")
    return {"you": {"kind": "hello", "to": to, "flags": flags, "program": "$program", **known}}


def asked(instance, number):
    """A program of the peer asks, and is answered."""
    return [
        {"peer": {"kind": "request", "from": instance, "id": str(number), "credit": 0, "content": "8ca170"}},
        {"you": {"kind": "reply", "to": instance, "id": str(number), "flags": 0, "content": "8ca370"}},
    ]


def sent(instance, base, sequence, payload):
    """A reliable message comes to a program of the peer, which acknowledges it."""
    lane = {"lane": "$lane", "epoch": "$epoch"}
    ack = {"kind": "ack", "from": instance, "scope": 3, "flags": 0, "id": "$lane", "epoch": "$epoch", "failures": []}
    return [
        {"you": {"kind": "data", "to": instance, **lane, "base": base, "sequence": sequence, "content": payload}},
        {"peer": {**ack, "value": sequence}},
        {"delivered": payload},
    ]


CONVERSATIONS = [
    {
        "name": "a reliable message goes to another program when the one it knows stays away",
        "limits": {"successor_seconds": 0.2},
        "last": 1002,
        "steps": [
            {"do": "send reliably", "payload": "8caf0001"},
            *sent(1001, "1", "1", "8caf0001"),
            hello(1001, flags=2),
            hello(1002),
            greeting(1002),
            {"do": "send reliably", "payload": "8caf0002"},
            *asked(1002, 1),
            *sent(1002, "2", "2", "8caf0002"),
            # That is the one it knows from now on
            hello(1001),
            greeting(1001),
            {"do": "send reliably", "payload": "8caf0003"},
            *sent(1002, "3", "3", "8caf0003"),
        ],
    },
    {
        "name": "a reliable message that gets too old is given up, and the base passes it",
        "limits": {"message_seconds": 0.2},
        "steps": [
            {"do": "send reliably", "payload": "8caf0001"},
            {"you": {"kind": "data", "lane": "$lane", "epoch": "$epoch", "base": "1", "sequence": "1", "content": "*"}},
            {"failed": "8caf0001", "code": 10, "text": "*"},
            {"do": "send reliably", "payload": "8caf0002"},
            *sent(1001, "2", "2", "8caf0002"),
        ],
    },
    {
        "name": "of more programs than there is room for, the one that was silent for longest has to say hello again",
        "limits": {"sessions": 2},
        "steps": [
            hello(1002),
            greeting(1002),
            *asked(1001, 1),
            hello(1003),
            greeting(1003),
            *asked(1003, 1),
            *asked(1001, 2),
            {"peer": {"kind": "request", "from": 1002, "id": "1", "credit": 0, "content": "8cad01"}},
            greeting(1002, flags=1),
            hello(1002, flags=0),
            *asked(1002, 2),
            # None has been silent while it waits for something
            {"peer": {"kind": "request", "from": 1002, "id": "3", "credit": 0, "content": "8cad02"}},
            {"handled": "8cad02"},
            *asked(1001, 3),
            hello(1004),
            greeting(1004),
            *asked(1004, 1),
            {"peer": {"kind": "cancel", "from": 1002, "scope": 1, "id": "3"}},
            {"cancelled": "8cad02"},
            hello(1001),
            greeting(1001, flags=1),
            hello(1001, flags=0),
            *asked(1001, 4),
        ],
    },
]


@pytest.mark.parametrize("talk", CONVERSATIONS, ids=lambda talk: talk["name"])
async def test_a_conversation_with_several_programs(talk, start_ldk_session, start_ours):
    ldk = await start_ldk_session()
    await ldk.listen()
    await ldk.command("limit", **talk["limits"])
    transport, sink = await start_ours()
    await play(talk, VECTORS["preamble"], VECTORS["closing"], LdkStage(ldk, transport, sink))


# Two programs behind each of two nodes ------------------------------------------------------------------


async def test_programs_behind_both_nodes_find_their_counterparts(start_ldk_session, tmp_path):
    """On one connection, which breaks; frames are lost and doubled, programs and a whole node die and start again."""
    programs = {"main": 0x8CAF, "second": 0x8DAF}
    nodes = {}

    async def start_second(name):
        disk = str(tmp_path / f"{name}_second")
        await nodes[name].command("start_program", program="second", disk=disk, extension="second", offset=OFFSET)

    async def start(name):
        nodes[name] = await start_ldk_session(name)
        await start_second(name)

    async def connect():
        await nodes["b"].listen()
        await nodes["a"].connect(nodes["b"].uri)
        await nodes["a"].event("connected")
        await nodes["b"].event("connected")

    async def disturb(**shares):
        return [await node.command("disturb", **shares) for node in nodes.values()]

    async def send(*bodies):
        for name, program in itertools.product(nodes, programs):
            payloads = [f"{programs[program]:04x}" + data.hex() for data in bodies]
            other = nodes["b" if name == "a" else "a"].node_id
            await nodes[name].command("send_reliably", program=program, peer=other, payloads=payloads)

    await start("a")
    await start("b")
    await connect()
    await disturb(lost=0.1, twice=0.1)
    count, rounds = 80, 8
    expected = [body(number) for number in range(count)]
    for turn in range(rounds):
        await send(*expected[turn * count // rounds : (turn + 1) * count // rounds])
        match turn % 4:
            case 0 | 2:
                name = "ab"[turn // 4]
                await nodes[name].command("end_program", program="second", leaving=turn % 4 == 0)
                await start_second(name)
            case 1:
                await nodes["a"].disconnect(nodes["b"].node_id)
                for node in nodes.values():
                    await node.event("disconnected")
                await connect()
            case 3:
                await nodes["b"].kill()
                await nodes["a"].event("disconnected")
                await start("b")
                await connect()
                await disturb(lost=0.1, twice=0.1)
    counts, _ = await disturb()
    assert min(counts.values()) > 10  # of a, which was never killed
    await nodes["a"].disconnect(nodes["b"].node_id)
    for node in nodes.values():
        await node.event("disconnected")
    await connect()
    await send(b"last")
    for name, program in itertools.product(nodes, programs):
        of = {"program": program} if program == "second" else {}
        await nodes[name].event("delivered", payload=f"{programs[program]:04x}" + b"last".hex(), **of)
    for name, program in itertools.product(nodes, programs):
        notes = await nodes[name].command("notes", program=program)
        assert [bytes.fromhex(note)[2:] for note in notes] == [*expected, b"last"]


# With an application of ours --------------------------------------------------------------------------


@message(0x8DA1, codec="raw")
class Ask(Message):
    data: bytes


@message(0x8DA3, codec="raw")
class Answer(Message):
    data: bytes


@message(0x8DAD, codec="raw")
class Hang(Message):
    data: bytes


@message(0x8DAF, codec="raw")
class Note(Message):
    data: bytes


def second_extension():
    """What the second program speaks, on our side; its store keeps the notes it takes."""
    extension = Extension("second", version="1.0")

    @extension.on(Ask)
    async def answer(context, message: Ask) -> Answer:
        return Answer(data=message.data)

    @extension.on(Hang)
    async def hang(context, message: Hang) -> None:
        await asyncio.Event().wait()

    @extension.on(Note, reliable=True)
    async def take(context, message: Note) -> None:
        await context.store.execute("INSERT INTO second_notes (data) VALUES (?)", (message.data,))

    return extension


async def all_delivered(receipts):
    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*(receipt.delivered() for receipt in receipts))


class Several(Both):
    """The JavaScript peer with its programs, and an application of ours."""

    disks = None  # where the programs' disks are

    async def start_second(self, program="second", *, disk="second", extension="second"):
        path = str(self.disks / disk)
        return await self.ldk.command("start_program", program=program, disk=path, extension=extension, offset=OFFSET)

    async def end_second(self, program="second", *, leaving):
        await self.ldk.command("end_program", program=program, leaving=leaving)

    async def start_ldk(self):
        await super().start_ldk()
        await self.start_second()

    async def ask_second(self, data):
        return (await self.peer.request(Ask(data=data), Answer, timeout=DEADLINE)).data

    async def noted(self, program="second"):
        """The notes that a program of the JavaScript peer has taken."""
        return [bytes.fromhex(note)[2:] for note in await self.ldk.command("notes", program=program)]

    async def noted_by_us(self):
        rows = await self.app.store("second").execute("SELECT data FROM second_notes ORDER BY number")
        return [data for (data,) in rows]

    async def send_second(self, *bodies):
        return [await self.peer.deliver(Note(data=data)) for data in bodies]

    async def have_sent(self, *bodies, program="second"):
        payloads = ["8daf" + data.hex() for data in bodies]
        await self.ldk.command("send_reliably", program=program, peer=self.us, payloads=payloads)


@pytest.fixture
def start_several(start_ldk_session, make_vector_application, peers, tmp_path):
    """Start two programs and our side, which keeps the notes it takes, and connect them."""

    async def keep(context, data):
        await context.store.execute("INSERT INTO vectors_notes (data) VALUES (?)", (data,))

    async def start():
        vectors = make_vector_application(keep)
        vectors.extensions = (*vectors.extensions, second_extension())
        several = Several(start_ldk_session, await start_ldk_session(), vectors, tmp_path / "ours.sqlite")
        several.disks = tmp_path
        await several.start_second()
        await several.start()
        peers.push_async_callback(lambda: several.app.aclose())
        for name in ("vectors", "second"):
            await several.app.store(name).execute(f"CREATE TABLE {name}_notes (number INTEGER PRIMARY KEY, data BLOB)")
        await several.connect()
        await several.until_spoken("second")
        return several

    return start


async def test_each_program_is_asked_for_what_it_speaks(start_several):
    several = await start_several()
    vectors = several.vectors
    assert several.peer.extensions == {"vectors": ("1.0",), "second": ("1.0",)}

    async def ask_main(data):
        return (await several.peer.request(vectors.Ask(data=data), vectors.Answer, timeout=DEADLINE)).data

    numbers = [body(number) for number in range(50)]
    large = body(7, 300_000)
    bodies = [*numbers, large]
    asked = await asyncio.gather(*map(ask_main, bodies), *map(several.ask_second, bodies))
    assert asked == [*bodies, *bodies]
    asked = await asyncio.gather(
        several.ldk.command("requests", peer=several.us, payloads=["8ca1" + data.hex() for data in numbers[:16]]),
        several.ldk.command(
            "requests", program="second", peer=several.us, payloads=["8da1" + data.hex() for data in numbers[:16]]
        ),
    )
    assert asked == [[kind + data.hex() for data in numbers[:16]] for kind in ("8ca3", "8da3")]


async def test_what_one_program_does_ends_nothing_of_the_others(start_several):
    """One program dies and starts again, then leaves: what is under way with the other one goes on."""
    several = await start_several()
    vectors, ldk = several.vectors, several.ldk

    async def hang():
        first = asyncio.create_task(several.peer.request(vectors.Hang(data=b"main"), vectors.Answer, timeout=DEADLINE))
        await ldk.event("handled", payload="8cad" + b"main".hex())
        return first

    async def hang_second():
        asking = asyncio.create_task(several.peer.request(Hang(data=b"second"), Answer, timeout=DEADLINE))
        await ldk.event("handled", payload="8dad" + b"second".hex(), program="second")
        return asking

    main, second = await hang(), await hang_second()
    await ldk.command("request", peer=several.us, payload="8cad61")
    await vectors.happened("handled", b"\x8c\xada")

    before = (await ldk.command("programs"))["second"]
    await several.end_second(leaving=False)  # nobody notices
    after = await several.start_second()
    assert {name for name in after if after[name] != before[name]} == {"instance"}
    with pytest.raises(ConnectionClosed):
        await second
    assert await several.ask_second(b"again") == b"again"
    second = await hang_second()
    await several.end_second(leaving=True)
    with pytest.raises(ConnectionClosed):
        await second
    await several.until_spoken("second", spoken=False)

    assert not main.done()
    assert several.peer.extensions == {"vectors": ("1.0",)}
    main.cancel()
    await ldk.event("cancelled", payload="8cad" + b"main".hex())
    await ldk.command("give_up")
    await vectors.happened("cancelled", b"\x8c\xada")


async def test_reliable_messages_take_effect_once_whichever_program_starts_again(start_several):
    """Frames are lost and doubled, connections break, programs and our side start again, nobody is told of it."""
    several = await start_several()
    vectors = several.vectors
    await several.ldk.command("disturb", lost=0.1, twice=0.1)
    count, rounds = 150, 10
    expected = [body(number) for number in range(count)]
    for turn in range(rounds):
        for data in expected[turn * count // rounds : (turn + 1) * count // rounds]:
            await several.peer.deliver(vectors.Note(data=data))
            await several.send_second(data)
            await several.ldk.command("send_reliably", peer=several.us, payload="8caf" + data.hex())
            await several.have_sent(data)
        match turn % 4:
            case 0 | 2:
                await several.end_second(leaving=turn % 4 == 0)
                await several.start_second()
            case 1:
                await several.reconnect()
            case 3:
                await several.restart()
    counts = await several.ldk.command("disturb")
    assert min(counts.values()) > 50
    await several.reconnect()
    receipts = [await several.peer.deliver(vectors.Note(data=b"last")), *await several.send_second(b"last")]
    await several.have_sent(b"last")
    await several.ldk.command("send_reliably", peer=several.us, payload="8caf" + b"last".hex())
    await all_delivered(receipts)
    await several.ldk.event("delivered", payload="8caf" + b"last".hex())
    await several.ldk.event("delivered", payload="8daf" + b"last".hex(), program="second")
    kept = [await several.noted("main"), await several.noted(), await kept_by_us(several), await several.noted_by_us()]
    assert kept == [[*expected, b"last"]] * 4


@pytest.mark.long
@pytest.mark.parametrize("when", ["before", "midst", "after"])
async def test_a_kill_around_any_write_of_a_second_program_loses_and_doubles_nothing(start_several, when):
    """All programs die when one does so before, in the midst of or after what it writes."""
    several = await start_several()

    async def again():
        await several.ldk.killed()
        await several.start_ldk()

    await several.ldk.command("die", program="second", count=2, when=when)
    receipts = await several.send_second(*map(body, range(3)))
    main = await several.peer.deliver(several.vectors.Note(data=b"main"))
    await again()
    assert await several.noted() == [body(number) for number in range(2 if when == "after" else 1)]
    await several.connect()
    await all_delivered([main, *receipts])
    assert await several.noted() == [body(number) for number in range(3)]
    assert await several.noted("main") == [b"main"]

    await several.ldk.command("die", program="second", count=1, when=when)
    with pytest.raises(several.ldk.Ended):
        await several.have_sent(b"accepted")
    await again()
    await several.have_sent(b"sent")
    for count in (1, 1 if when == "after" else 2):  # whom it goes to; and, that being on the disk, that it was settled
        await several.ldk.command("die", program="second", count=count, when=when)
        await several.connect()
        await again()
    await several.connect()
    await several.have_sent(b"last")
    await several.ldk.event("delivered", payload="8daf" + b"last".hex(), program="second")
    accepted = [b"accepted"] if when == "after" else []
    assert await several.noted_by_us() == [*accepted, b"sent", b"last"]


async def test_a_store_is_found_again_behind_another_program(start_several):
    """The store moves to a program of another name: what waits goes there, and nothing is handled twice."""
    several = await start_several()
    await several.ldk.command("disturb", lost=0.3)  # some was handled and not acknowledged
    receipts = await several.send_second(*map(body, range(20)))
    await several.have_sent(*map(body, range(20)))
    await several.end_second(leaving=True)
    receipts += await several.send_second(*map(body, range(20, 40)))
    await several.ldk.command("disturb")
    moved = await several.start_second("moved")
    assert moved["program"] != str((await several.ldk.command("programs"))["main"]["program"])
    receipts += await several.send_second(*map(body, range(40, 60)))
    await several.have_sent(*map(body, range(20, 40)), program="moved")
    await all_delivered(receipts)
    await several.ldk.event("delivered", payload="8daf" + body(39).hex(), program="moved")
    assert await several.noted("moved") == [body(number) for number in range(60)]
    assert await several.noted_by_us() == [body(number) for number in range(40)]


async def test_a_copied_store_becomes_another_one(start_several):
    """Both programs send what waited in it, each in lanes of its own; neither stands in the other's way."""
    several = await start_several()
    await several.ldk.disconnect(several.us)
    await several.ldk.event("disconnected", peer=several.us)
    waiting = [body(number) for number in range(5)]
    await several.have_sent(*waiting)
    shutil.copy(several.disks / "second", several.disks / "copy")
    copy = await several.start_second("copy", disk="copy")
    await several.ldk.event("warning", program="copy")
    programs = await several.ldk.command("programs")
    assert not set(copy["stores"]) & set(programs["second"]["stores"])
    await several.have_sent(b"of the copy", program="copy")
    await several.have_sent(b"of the first")
    await several.connect()
    for data, program in [(b"of the copy", "copy"), (b"of the first", "second")]:
        await several.ldk.event("delivered", payload="8daf" + data.hex(), program=program)
    assert sorted(await several.noted_by_us()) == sorted([*waiting, *waiting, b"of the copy", b"of the first"])
