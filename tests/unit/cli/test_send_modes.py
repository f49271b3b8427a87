import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import until

from oddwire import Application, Context, Extension, Message, Refuse, message, u32
from oddwire.app import PluginManager
from oddwire.cli.events import Printer
from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.reporter import Reporter
from oddwire.cli.send import _mode, _Options
from oddwire.cli.send_modes import PlainSend, Request, Stream
from oddwire.cli.vocabulary import Vocabulary
from oddwire.errors import NotSupported
from oddwire.transports import MemoryNetwork


@message(0x8D71)
class Ask(Message):
    number: u32


@message(0x8D73)
class Answer(Message):
    number: u32


class Counter(Extension):
    """Answers, counts, and takes note of what is cancelled."""

    def __init__(self) -> None:
        super().__init__("counter", version="1.0")
        self.cancelled: list[int] = []
        self.told = 0


def counter() -> Counter:
    extension = Counter()

    @extension.on(Ask)
    async def ask(context: Context, ask: Ask) -> Answer:
        if ask.number == 13:
            raise Refuse("thirteen", code=1400)
        if ask.number == 14:
            await asyncio.Event().wait()
        return Answer(number=ask.number + 1)

    return extension


def streamer() -> Counter:
    extension = Counter()

    @extension.on(Ask)
    async def ask(context: Context, ask: Ask) -> AsyncIterator[Answer]:
        try:
            for number in range(ask.number):
                if number == 13:
                    raise Refuse("thirteen")
                yield Answer(number=number)
            if ask.number == 1:
                await asyncio.Event().wait()
        finally:
            extension.cancelled.append(ask.number)

    return extension


def vocabulary_of(extension: Extension) -> Vocabulary:
    plugins = PluginManager()
    plugins.register(extension)
    return Vocabulary(plugins.contributions[-1])


class Side:
    """The side that sends, and what it has printed."""

    def __init__(self, server: Extension, *, session: bool = True, as_json: bool = False) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.printer = Printer(as_json, stdout=self.out, stderr=self.err)
        self.vocabulary = vocabulary_of(server)
        network = MemoryNetwork()
        self.server = Application(server, transport=network.transport(), session=session, grace=0.1)
        self.app = Application(Reporter(self.printer, takes_all=True), self.vocabulary, transport=network.transport())

    async def run(self, mode: Any) -> int:
        async with self.server, self.app:
            return await mode.run(await self.app.connect(self.server.uris[0]), self.printer)


def request(number: int, **values: Any) -> Request:
    options = {"timeout": 5.0, "plain": False, "force": False, **values}
    return Request(message=Ask(number=number), name="counter.Ask", replies=(Answer,), **options)


def stream(number: int, limit: int | None = None, **values: Any) -> Stream:
    options = {"timeout": 5.0, "force": False, **values}
    return Stream(message=Ask(number=number), name="counter.Ask", replies=(Answer,), limit=limit, **options)


@pytest.mark.parametrize("session", [True, False])
@pytest.mark.parametrize("plain", [True, False])
async def test_the_reply_is_shown_with_its_latency(session: bool, plain: bool) -> None:
    side = Side(counter(), session=session, as_json=True)
    assert await side.run(request(7, plain=plain)) == 0
    reply = next(event for event in map(json.loads, side.out.getvalue().splitlines()) if event["event"] == "received")
    assert reply["schema"] == "counter.Answer"
    assert reply["message"] == {"number": 8}
    assert reply["latency"] > 0


async def test_a_refusal_is_its_code_and_text() -> None:
    side = Side(counter(), as_json=True)
    assert await side.run(request(13)) == 1
    assert side.err.getvalue() == "oddwire: counter.Ask: thirteen (code 1400)\n"
    error = json.loads(side.out.getvalue().splitlines()[2])
    assert (error["event"], error["code"], error["message"]) == ("error", 1400, "counter.Ask: thirteen (code 1400)")


async def test_no_reply_in_time_says_whether_there_is_a_session() -> None:
    side = Side(counter())
    assert await side.run(request(14, timeout=0.2)) == 1
    assert side.err.getvalue().startswith("oddwire: no Answer from 0")
    assert "session" not in side.err.getvalue()
    side = Side(counter(), session=False)
    assert await side.run(request(14, timeout=1.2)) == 1
    assert "it has no session, so this went as a plain message" in side.err.getvalue()


async def test_a_stream_is_shown_to_its_end() -> None:
    server = streamer()
    side = Side(server)
    assert await side.run(stream(3)) == 0
    assert side.out.getvalue().count("<- ") == 3
    assert "the stream ended after 3 parts" in side.err.getvalue()
    assert server.cancelled == [3]


async def test_a_limit_ends_the_stream_at_the_peer_too() -> None:
    server = streamer()
    side = Side(server)
    assert await side.run(stream(1, limit=1)) == 0
    assert side.out.getvalue().count("<- ") == 1
    assert "the stream was cancelled at --limit after 1 part" in side.err.getvalue()
    assert server.cancelled == [1]


async def test_a_cancelled_command_cancels_the_stream() -> None:
    server = streamer()
    side = Side(server)
    running = asyncio.ensure_future(side.run(stream(1)))
    await until(lambda: "<- " in side.out.getvalue())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert server.cancelled == [1]


async def test_a_stream_that_fails_says_after_how_much() -> None:
    side = Side(streamer())
    assert await side.run(stream(20)) == 1
    assert side.err.getvalue() == "oddwire: counter.Ask, after 13 parts: thirteen (code 4 (REFUSED))\n"
    side = Side(streamer())
    assert await side.run(stream(1, timeout=0.2)) == 1
    assert side.err.getvalue().endswith("--timeout is for each part\n")


async def test_a_stream_needs_a_session_and_says_what_helps() -> None:
    side = Side(streamer(), session=False)
    assert await side.run(stream(1)) == 1
    assert "has no session: streams need one: the peer should run the extension with oddwire" in side.err.getvalue()
    assert "--request --plain" in side.err.getvalue()


async def test_a_plain_message_is_sent() -> None:
    side = Side(counter())
    assert await side.run(PlainSend(message=Ask(number=1), force=False)) == 0
    assert "-> " in side.out.getvalue()


# Which way it is sent ---------------------------------------------------------------------------------


def options(**values: Any) -> _Options:
    given: dict[str, Any] = {
        **dict.fromkeys(("request", "reliable", "stream", "plain", "force"), False),
        "reply": (),
        **dict.fromkeys(("timeout", "limit", "wait", "data_dir")),
        "uri": "URI",
    }
    return _Options(**{**given, **values})


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"request": True, "stream": True}, "--request and --stream are different ways to send it; choose one"),
        ({"plain": True}, "--plain is for --request, not for a plain send"),
        ({"plain": True, "stream": True}, "--plain is for --request, not for --stream"),
        ({"reply": ("x.Y",)}, "--reply is for --request or --stream, not for a plain send"),
        ({"limit": 1, "request": True}, "--limit is for --stream, not for --request"),
        ({"limit": 0, "stream": True}, "--limit should be a number of parts, 1 or more, not 0"),
        ({"force": True, "reliable": True}, "--force is for --request or --stream, not for --reliable"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(CommandFailure) as failure:
        options(**given).check()
    assert (failure.value.code, str(failure.value)) == (USAGE, reason)


def test_the_options_choose_the_mode() -> None:
    vocabularies = [vocabulary_of(counter())]

    def mode(**given: Any) -> Any:
        return _mode(options(**given), vocabularies, "counter.Ask", ["number=5"])[0]

    assert mode() == PlainSend(message=Ask(number=5), force=False)
    assert mode(request=True, plain=True) == request(5, plain=True)  # the handler says what answers
    assert mode(stream=True, limit=2, timeout=1.0) == stream(5, limit=2, timeout=1.0)
    assert mode(request=True, reply=("counter.Ask",)).replies == [Ask]
    delivery = mode(reliable=True, data_dir=Path("mine"))
    assert (delivery.extension, delivery.store) == ("counter", Path("mine/oddwire.sqlite3"))
    assert delivery.command == "oddwire run counter --connect URI --data-dir mine"


@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("counter.Answer", {"request": True}, "counter.Answer: what answers it is not known"),
        ("counter.Ask", {"timeout": 1.0}, "--timeout is for --request"),
        ("counter.Ask", {"request": True, "reply": ("counter.Reply",)}, "has no message 'Reply'"),
        ("counter.Ask", {"request": True, "reply": ("other.Reply",)}, "extension 'other' is not loaded"),
    ],
)
def test_a_mode_that_is_not_possible_says_what_helps(name: str, given: dict[str, Any], reason: str) -> None:
    with pytest.raises(CommandFailure, match=reason):
        _mode(options(**given), [vocabulary_of(counter())], name, ["number=5"])


async def test_an_even_type_is_kept_from_a_peer_in_every_mode() -> None:
    @message(0x8D72, replies=Answer)
    class Must(Message): ...

    even, odd = Extension("even", version="1.0"), Extension("odd", version="1.0")
    even.register(Must)

    @odd.on(Answer)
    async def answer(context: Context, answer: Answer) -> None: ...

    side = Side(odd)
    side.app = Application(vocabulary_of(even), transport=side.app.transport)
    mode = Request(message=Must(), name="even.Must", replies=(Answer,), timeout=5.0, plain=False, force=False)
    with pytest.raises(NotSupported, match="even"):
        await side.run(mode)
