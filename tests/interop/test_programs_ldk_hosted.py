"""Two programs on the JavaScript peer (LDK) and two plugin files on one node: each with its counterpart."""

from __future__ import annotations

import os
import signal

import pytest
from tests.support.waiting import until_answered

pytestmark = pytest.mark.interop

PROGRAMS = {"main": ("vectors", 0), "second": ("second", 0x100)}
"""What each of the JavaScript peer's programs speaks, and how much higher its types are than those of the vectors."""
ASK, ANSWER, NOTE = 0x8CA1, 0x8CA3, 0x8CAF

TEXT = """\
#!/usr/bin/env python3
import os

from oddwire import AppContext, Context, Extension, Message, NodeId, message

extension = Extension("{extension}", version="1.0")


@message({ask:#06x}, codec="raw")
class Ask(Message):
    data: bytes


@message({answer:#06x}, codec="raw")
class Answer(Message):
    data: bytes


@message({note:#06x}, codec="raw")
class Note(Message):
    data: bytes


@extension.on(Ask)
async def answer(context: Context, message: Ask) -> Answer:
    return Answer(data=message.data)


@extension.on(Note, reliable=True)
async def take(context: Context, message: Note) -> None:
    await make(context)
    await context.store.execute("INSERT INTO {extension}_notes (data) VALUES (?)", (message.data,))


async def make(context: Context) -> None:
    await context.store.execute("CREATE TABLE IF NOT EXISTS {extension}_notes (number INTEGER PRIMARY KEY, data BLOB)")


@extension.rpc("{extension}-process")
async def process(context: AppContext) -> int:
    return os.getpid()


@extension.rpc("{extension}-ask")
async def ask(context: AppContext, node_id: NodeId, data: str) -> str:
    return (await context.app.peer(node_id).request(Ask(data=bytes.fromhex(data)), Answer)).data.hex()


@extension.rpc("{extension}-send")
async def send(context: AppContext, node_id: NodeId, notes: list[str]) -> None:
    for note in notes:
        await context.app.peer(node_id).deliver(Note(data=bytes.fromhex(note)))


@extension.rpc("{extension}-notes")
async def notes(context: AppContext) -> list[str]:
    await make(context)
    return [data.hex() for (data,) in await context.store.execute("SELECT data FROM {extension}_notes ORDER BY number")]


extension.run()
"""


@pytest.fixture(params=["node", pytest.param("lightningd", marks=pytest.mark.cln)])
def launch(request, start):
    """Start a node for one test."""
    return getattr(start, request.param)


@pytest.fixture
def plugins(tmp_path):
    """The plugin files, by the names of their counterparts."""
    files = {}
    for name, (extension, offset) in PROGRAMS.items():
        files[name] = path = tmp_path / f"plugin-{extension}"
        path.write_text(TEXT.format(extension=extension, ask=ASK + offset, answer=ANSWER + offset, note=NOTE + offset))
        path.chmod(0o755)
    return files


@pytest.fixture
async def ldk(start_ldk_session, tmp_path):
    """The JavaScript peer with both its programs."""
    peer = await start_ldk_session()
    extension, offset = PROGRAMS["second"]
    await peer.command(
        "start_program", program="second", disk=str(tmp_path / "second"), extension=extension, offset=offset
    )
    return peer


async def kill(daemon, extension, path):
    """Kill a plugin, wait until the node knows, and start it again."""
    os.kill(await daemon.call(f"{extension}-process"), signal.SIGKILL)

    async def gone():
        return path.name not in [
            plugin["name"].split("/")[-1] for plugin in (await daemon.call("plugin", "list"))["plugins"]
        ]

    await until_answered(gone)
    await daemon.call("plugin", "start", str(path))


async def test_programs_and_plugins_speak_with_their_counterparts(launch, plugins, ldk):
    """Also while plugins are killed and started again, and programs, on one connection that stays."""
    daemon = launch(*plugins.values())
    await ldk.connect(daemon.uri)
    await ldk.event("connected")

    async def ask(program):
        """Both ways, once each knows the other."""
        extension, offset = PROGRAMS[program]

        async def answered():
            await ldk.command(
                "request", program=program, peer=daemon.node_id, payload=f"{ASK + offset:04x}6f64", extension=extension
            )
            return await ldk.command("result") == {"reply": f"{ANSWER + offset:04x}6f64"}

        await until_answered(answered)
        assert await daemon.call(f"{extension}-ask", ldk.node_id, "6464") == "6464"

    async def send(notes):
        for program, (extension, offset) in PROGRAMS.items():
            payloads = [f"{NOTE + offset:04x}{note}" for note in notes]
            await ldk.command("send_reliably", program=program, peer=daemon.node_id, payloads=payloads)
            await daemon.call(f"{extension}-send", ldk.node_id, notes)

    for program in PROGRAMS:
        await ask(program)
    notes = [f"{number:08x}" for number in range(60)]
    for turn in range(0, 60, 10):
        await send(notes[turn : turn + 10])
        match turn // 10:
            case 1:
                await kill(daemon, "second", plugins["second"])
            case 2 | 3:
                await ldk.command("end_program", program="second", leaving=turn == 20)
                extension, offset = PROGRAMS["second"]
                disk = str(plugins["second"].parent / "second")
                await ldk.command("start_program", program="second", disk=disk, extension=extension, offset=offset)
            case 4:
                await kill(daemon, "vectors", plugins["main"])

    for program, (extension, _) in PROGRAMS.items():

        async def all_there(extension=extension):
            return len(await daemon.call(f"{extension}-notes")) >= len(notes)

        async def all_here(program=program):
            return len(await ldk.command("notes", program=program)) >= len(notes)

        await until_answered(all_there)
        await until_answered(all_here)
    for program in PROGRAMS:
        await ask(program)  # what came twice would have come by now
    for program, (extension, offset) in PROGRAMS.items():
        assert await daemon.call(f"{extension}-notes") == notes
        assert await ldk.command("notes", program=program) == [f"{NOTE + offset:04x}{note}" for note in notes]
