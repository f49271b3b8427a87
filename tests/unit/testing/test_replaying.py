"""Replays: recorded messages reach handlers again, at their times, from the peers that sent them."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.support.watched_program import ALICE, BOB

from oddwire import AppContext, Context, Extension, Message, Refuse, message
from oddwire.app import PluginManager
from oddwire.testing import Clock, Unreplayable, replay
from oddwire.testing.replay_script import script_of
from oddwire.testing.replaying import play


@message(0x8D91, codec="json")
class Ask(Message):
    what: str
    wait: float = 0.0


@message(0x8D93, codec="json")
class Answer(Message):
    text: str


@message(0x8D95, codec="json")
class Hello(Message):
    name: str


def line(event, time, peer=ALICE, **more):
    return {"event": event, "time": time, "peer": peer, **more}


def packed(made):
    number = {Ask: 0x8D91, Answer: 0x8D93, Hello: 0x8D95}[type(made)]
    fields = {name: getattr(made, name) for name in type(made).__annotations__}
    return number.to_bytes(2, "big").hex() + json.dumps(fields, separators=(",", ":")).encode().hex()


def received(time, made, peer=ALICE, **more):
    return line("received", time, peer, type=int(packed(made)[:4], 16), payload=packed(made), **more)


def sent(time, made, peer=ALICE, **more):
    return {**received(time, made, peer, **more), "event": "sent"}


@pytest.fixture
def record(tmp_path):
    def write(*lines):
        path = tmp_path / "talk.jsonl"
        path.write_text("".join(f"{json.dumps(each)}\n" for each in lines))
        return path

    return write


@pytest.fixture
def teller():
    extension = Extension("teller", version="1.0")
    extension.register(Hello)

    @extension.on(Ask)
    async def tell(context: Context, ask: Ask) -> Answer:
        await asyncio.sleep(ask.wait)
        if ask.what == "nonsense":
            raise ValueError("no sense")
        return Answer(text=f"{ask.what} for {str(context.peer.node_id)[:4]}")

    return extension


async def test_what_is_sent_as_it_was_is_no_difference(record, teller):
    recording = record(
        line("connected", 0.0),
        received(1.0, Ask(what="tea")),
        sent(1.0, Answer(text="tea for 0279")),
        line("connected", 2.0, BOB),
        received(2.5, Ask(what="cake", wait=3600.0), BOB),
        received(2.6, Ask(what="rum")),
        sent(2.6, Answer(text="rum for 0279")),
        sent(3602.5, Answer(text="cake for 02c6"), BOB),
        line("disconnected", 4000.0, reason="bye"),
    )
    found = await replay(teller, recording=recording)
    assert (found.received, found.sent, [*found.differences]) == (3, 3, [])


async def test_what_differs_is_an_assertion_error_with_line_and_field(record, teller):
    recording = record(received(1.0, Ask(what="tea")), sent(1.0, Answer(text="coffee for 0279")))
    with pytest.raises(AssertionError) as caught:
        await replay(teller, recording=recording)
    assert 'to 0279be66...1798: line 2: teller.Answer: text: "coffee for 0279", now "tea for 0279"' in str(caught.value)
    assert (await replay(teller, recording=recording, ignore=["text"])).sent == 1


async def test_what_is_not_sent_is_waited_for_only_a_while(record, teller):
    recording = record(
        received(1.0, Ask(what="tea")), sent(1.0, Answer(text="tea for 0279")), sent(1.1, Hello(name="x"))
    )
    with pytest.raises(AssertionError, match=r'line 3: teller.Hello {"name": "x"} is not sent'):
        await replay(teller, recording=recording)


async def test_a_handler_that_fails_now_is_a_difference_unless_it_did_then(record, teller):
    failed = "handler of Ask of 'teller' failed: ValueError: no sense"
    with pytest.raises(AssertionError, match=failed):
        await replay(teller, recording=record(received(1.0, Ask(what="nonsense"))))
    told = {"event": "error", "time": 1.0, "peer": ALICE, "message": failed}
    await replay(teller, recording=record(received(1.0, Ask(what="nonsense")), told))


async def test_a_reply_that_was_waited_for_comes_once_its_request_was_sent(record):
    extension = Extension("asker", version="1.0")
    extension.register(Ask)
    extension.register(Answer)
    answers = []

    @extension.on_connect
    async def ask(context: Context) -> None:
        answers.append(await context.peer.request(Ask(what="one"), Answer))
        answers.append(await context.peer.request(Ask(what="two"), Answer))
        await context.peer.send(Hello(name=answers[-1].text))

    extension.register(Hello)
    recording = record(
        line("connected", 0.0),
        sent(0.001, Ask(what="one")),
        received(0.002, Answer(text="1"), latency=0.001),
        sent(0.003, Ask(what="two")),
        received(0.004, Answer(text="2"), latency=0.001),
        sent(0.005, Hello(name="2")),
    )
    await replay(extension, recording=recording)
    assert [answer.text for answer in answers] == ["1", "2"]


async def test_what_greets_a_peer_that_was_there_is_not_compared(record):
    extension = Extension("greeter", version="1.0")
    extension.register(Hello)

    @extension.on_connect
    async def greet(context: Context) -> None:
        await context.peer.send(Hello(name="you"))

    @extension.on(Ask)
    async def tell(context: Context, ask: Ask) -> Answer:
        return Answer(text=ask.what)

    lines = [received(1.0, Ask(what="tea")), sent(1.0, Answer(text="tea"))]
    await replay(extension, recording=record(line("connected", 0.0, present=True), *lines))
    with pytest.raises(AssertionError, match=r"greeter.Hello .* is sent, and was not"):
        await replay(extension, recording=record(line("connected", 0.0), *lines))


async def test_jobs_options_and_things_are_those_of_the_test(record):
    extension = Extension("beacon", version="1.0")
    extension.register(Hello)

    @extension.option("beacon-name")
    def name(value: str = "nobody") -> str:
        return value

    @extension.every(600, at_start=False)
    async def beat(context: AppContext) -> None:
        for peer in context.app.peers:
            await peer.send(Hello(name=context.options["beacon-name"]))

    @extension.on(Ask)
    async def nothing(context: Context, ask: Ask) -> None: ...

    recording = record(
        line("connected", 0.0),
        received(1.0, Ask(what="x")),
        sent(600.0, Hello(name="light")),
        sent(1200.0, Hello(name="light")),
    )
    await replay(extension, recording=recording, options={"beacon-name": "light"})


async def test_refusals_are_no_messages(record):
    extension = Extension("no", version="1.0")

    @extension.on(Ask)
    async def refuse(context: Context, ask: Ask) -> Answer:
        raise Refuse("not today")

    found = await replay(extension, recording=record(received(1.0, Ask(what="x"))))
    assert found.sent == 0


async def test_reliable_handlers_take_what_came_reliably(record):
    extension = Extension("keeper", version="1.0")

    @extension.on(Ask, reliable=True)
    async def keep(context: Context, ask: Ask) -> Answer:
        await context.store.set("what", ask.what)
        return Answer(text=await context.store.get("what"))

    await replay(extension, recording=record(received(1.0, Ask(what="x")), sent(1.0, Answer(text="x"))))


async def test_a_clock_that_a_test_has_entered_is_used(record, teller):
    recording = record(received(1.0, Ask(what="tea", wait=50.0)), sent(51.0, Answer(text="tea for 0279")))
    async with Clock() as clock:
        await replay(teller, recording=recording)
        assert clock.elapsed >= 50


async def test_real_time_is_as_fast_as_it_is_told(record, teller):
    recording = record(received(1.0, Ask(what="tea", wait=0.01)), sent(3.0, Answer(text="tea for 0279")))
    plugins = PluginManager()
    plugins.add(teller)
    found = await play(script_of(recording), plugins, speed=1000.0)
    assert [*found.differences] == []


async def test_an_extension_may_be_named(record):
    recording = record(
        line("received", 1.0, type=0x8C01, payload="8c0182a474657874a26869a66e756d62657200"),
        line("sent", 1.0, type=0x8C03, payload="8c0382a474657874a26869a66e756d62657200"),
    )
    await replay("echo", recording=recording)


async def test_recordings_that_cannot_be_replayed_and_files_that_are_none(record, teller, tmp_path):
    with pytest.raises(Unreplayable, match="nothing to replay"):
        await replay(teller, recording=record(line("connected", 0.0)))
    with pytest.raises(FileNotFoundError):
        await replay(teller, recording=tmp_path / "none")
    (tmp_path / "wrong").write_text("x")
    with pytest.raises(ValueError, match="line 1: no JSON"):
        await replay(teller, recording=tmp_path / "wrong")
