import io
import sys
from typing import Any

import pytest
from tests.support.waiting import until

from oddwire import Application, Context, Extension, Message, message, u32
from oddwire.cli.events import Printer
from oddwire.cli.shell_reporter import CurrentStream, ShellReporter
from oddwire.transports import MemoryNetwork


@message(0x8E61)
class Ask(Message):
    number: u32


@message(0x8E63)
class Answer(Message):
    number: u32


async def test_what_peers_send_by_themselves_is_printed_and_gathered() -> None:
    server, client, scope = Extension("server", version="1.0"), Extension("server", version="1.0"), dict[str, Any]()

    @server.on(Ask)
    async def ask(context: Context, ask: Ask) -> Answer:
        await context.peer.send(Answer(number=100))
        await context.peer.send_raw(0x8E65, b"\1\2")
        return Answer(number=ask.number)

    client.register(Ask)
    client.register(Answer)
    out, network = io.StringIO(), MemoryNetwork()
    reporter = ShellReporter(Printer(stdout=out), scope)
    async with (
        Application(server, transport=network.transport()) as node,
        Application(reporter, client, transport=network.transport()) as app,
    ):
        peer = await app.connect(node.uris[0])
        assert await peer.request(Ask(number=5), Answer) == Answer(number=5)
        await until(lambda: len(reporter.received) == 2)
    assert [*reporter.received] == [Answer(number=100), b"\x8e\x65\1\2"]
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["connected", "<-", "<-", "disconnected"]
    assert scope["peer"] == peer  # the first that connected


def test_it_writes_to_the_stream_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = CurrentStream()
    before, after = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", before)
    stream.write("one")
    monkeypatch.setattr(sys, "stdout", after)
    Printer(stdout=stream).line("two")
    assert (before.getvalue(), after.getvalue(), stream.isatty()) == ("one", "two\n", False)
