import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from oddwire import (
    AppContext,
    Application,
    Context,
    Extension,
    Message,
    NodeId,
    Refuse,
    RemoteFailure,
    hookimpl,
    message,
)
from oddwire.app import TraceEvent
from oddwire.cli.events import Printer
from oddwire.cli.reporter import Reporter, log_to
from oddwire.transports import MemoryNetwork


@message(0x9201)
class Ask(Message):
    text: str


@message(0x9203)
class Answer(Message):
    text: str


def answering() -> Extension:
    extension = Extension("oracle", version="1")

    @extension.on(Ask)
    async def answer(context: Context, ask: Ask) -> Answer:
        if ask.text == "fail":
            raise LookupError("no oracle today")
        return Answer(text=ask.text)

    return extension


class Watched:
    """An application that answers, with what its reporter printed."""

    def __init__(self, network: MemoryNetwork) -> None:
        self.out = io.StringIO()
        self.app = Application(Reporter(Printer(True, stdout=self.out)), answering(), transport=network.transport())

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.getvalue().splitlines()]


async def test_tells_of_a_failure_without_a_peer() -> None:
    extension, out = Extension("worker", version="1"), io.StringIO()

    @extension.task(restart=False)
    async def work(context: AppContext) -> None:
        raise LookupError("no work today")

    async with Application(Reporter(Printer(True, stdout=out)), extension, transport=MemoryNetwork().transport()):
        await asyncio.sleep(0.01)
    (event,) = [json.loads(line) for line in out.getvalue().splitlines()]
    assert event["message"] == "@task work of 'worker' failed: LookupError: no work today"
    assert "peer" not in event


async def test_tells_of_a_connection_its_messages_and_its_end() -> None:
    network = MemoryNetwork()
    watched = Watched(network)
    async with watched.app, Application(answering(), transport=network.transport()) as other:
        peer = await other.connect(watched.app.uris[0])
        assert await peer.request(Ask(text="hi"), Answer) == Answer(text="hi")
        me = str(other.node_id)
    connected, received, sent, disconnected = watched.events
    assert (connected["event"], connected["peer"], "uri" in connected) == ("connected", me, False)
    assert (received["event"], received["peer"], received["type"]) == ("received", me, 0x9201)
    assert (received["schema"], received["message"]) == ("oracle.Ask", {"text": "hi"})
    assert received["payload"].startswith("9201")
    assert (sent["event"], sent["schema"], sent["message"]) == ("sent", "oracle.Answer", {"text": "hi"})
    assert sent["latency"] > 0
    assert received["time"] <= sent["time"]
    assert (disconnected["event"], disconnected["peer"]) == ("disconnected", me)
    assert disconnected["reason"]


async def test_who_dialed_is_told_the_uri() -> None:
    network = MemoryNetwork()
    watched = Watched(network)
    async with Application(answering(), transport=network.transport()) as other, watched.app:
        await watched.app.connect(other.uris[0])
        await watched.app.peers[0].send(Ask(text="hi"))
    assert watched.events[0]["event"] == "connected"
    assert watched.events[0]["uri"] == other.node_id.hex() + "@memory"


@pytest.mark.parametrize(("body", "events"), [(b"\x80", ["received", "error"]), (b"\xff", ["received", "error"])])
async def test_a_malformed_message_is_received_and_an_error(body: bytes, events: list[str]) -> None:
    network = MemoryNetwork()
    watched = Watched(network)
    async with watched.app, Application(answering(), transport=network.transport()) as other:
        peer = await other.connect(watched.app.uris[0])
        await other.transport.send(peer.node_id, b"\x92\x01" + body)
        await peer.request(Ask(text="still there?"), Answer)
    bad = watched.events[1:3]
    assert [event["event"] for event in bad] == events
    assert "message" not in bad[0]
    assert bad[1]["payload"] == bad[0]["payload"] == (b"\x92\x01" + body).hex()
    assert bad[1]["type"] == 0x9201
    assert "0x9201" in bad[1]["message"]


async def test_an_unknown_type_is_received_without_message() -> None:
    network = MemoryNetwork()
    watched = Watched(network)
    async with watched.app, Application(answering(), transport=network.transport()) as other:
        peer = await other.connect(watched.app.uris[0])
        await other.transport.send(peer.node_id, b"\xfe\xffxyz")
        await peer.request(Ask(text="still there?"), Answer)
    received = watched.events[1]
    assert (received["type"], received["payload"]) == (0xFEFF, "feff78797a")
    assert not {"message", "schema"} & received.keys()


async def test_a_failed_handler_is_an_error() -> None:
    network = MemoryNetwork()
    watched = Watched(network)
    async with watched.app, Application(answering(), transport=network.transport()) as other:
        peer = await other.connect(watched.app.uris[0])
        await peer.send(Ask(text="fail"))
        await peer.request(Ask(text="still there?"), Answer)
    errors = [event for event in watched.events if event["event"] == "error"]
    assert [error["message"] for error in errors] == ["handler of Ask of 'oracle' failed: LookupError: no oracle today"]
    assert errors[0]["peer"] == str(other.node_id)


async def test_a_message_before_the_greeting_is_told_after_the_connection() -> None:
    network = MemoryNetwork()
    watched = Watched(network)

    class Eager:
        @hookimpl
        async def peer_connected(self, app: Application, peer: Any) -> None:
            await app.transport.send(peer.node_id, b"\xfe\xff")

    async with watched.app, Application(Eager(), transport=network.transport()) as other:
        await other.connect(watched.app.uris[0])
        reporter = next(c.plugin for c in watched.app.plugins.contributions if c.name == "oddwire.cli")
        early = TraceEvent(
            direction="received", peer=NodeId(other.node_id), type_id=0xFEFD, payload=b"\xfe\xfd", time=0.0
        )
        reporter.message_traced(watched.app, early)
    kinds = [event["event"] for event in watched.events]
    assert kinds[:2] == ["connected", "received"]
    assert kinds.count("connected") == 1


async def test_one_that_is_not_connected_is_not_said_to_be() -> None:
    network = MemoryNetwork()
    watched = Watched(network)
    async with watched.app, Application(answering(), transport=network.transport()) as other:
        reporter = next(c.plugin for c in watched.app.plugins.contributions if c.name == "oddwire.cli")
        waiting = TraceEvent(
            direction="sent", peer=NodeId(other.node_id), type_id=0xFEFD, payload=b"\xfe\xfd", time=0.0
        )
        reporter.message_traced(watched.app, waiting)
        assert [event["event"] for event in watched.events] == ["sent"]
        await other.connect(watched.app.uris[0])
    assert [event["event"] for event in watched.events] == ["sent", "connected", "disconnected"]


@pytest.fixture
def quiet_loggers() -> Iterator[None]:
    last_resort = logging.lastResort
    names = ("oddwire", "oddwire.transports")
    kept = {name: (logging.getLogger(name).level, list(logging.getLogger(name).handlers)) for name in names}
    yield
    for name, (level, handlers) in kept.items():
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).handlers = handlers
    logging.getLogger("oddwire").propagate = True
    logging.lastResort = last_resort


@pytest.mark.usefixtures("quiet_loggers")
def test_the_log_goes_to_stderr_and_a_transports_troubles_to_json_too() -> None:
    out, err = io.StringIO(), io.StringIO()
    log_to(Printer(True, stdout=out, stderr=err))
    logging.getLogger("oddwire.transports.bolt8").info("no answer")
    logging.getLogger("oddwire.app").warning("handler failed")
    logging.getLogger("oddwire.app").debug("details")
    assert err.getvalue() == "INFO oddwire.transports.bolt8: no answer\nWARNING oddwire.app: handler failed\n"
    logging.getLogger("oddwire.transports.lnd").info("LND is back")
    logging.getLogger("oddwire.transports.lnd").warning("LND is gone")
    assert [json.loads(line)["message"] for line in out.getvalue().splitlines()] == ["no answer", "LND is gone"]


@pytest.mark.usefixtures("quiet_loggers")
def test_people_find_the_log_on_stderr_only() -> None:
    out, err = io.StringIO(), io.StringIO()
    log_to(Printer(stdout=out, stderr=err), logging.DEBUG)
    logging.getLogger("oddwire.transports.bolt8").debug("dialing")
    assert (out.getvalue(), err.getvalue()) == ("", "DEBUG oddwire.transports.bolt8: dialing\n")


async def test_tells_what_nobody_handles_what_is_refused_and_what_is_lost() -> None:
    network, out = MemoryNetwork(), io.StringIO()
    shy = Extension("shy", version="1.0")
    shy.register(Answer)

    @shy.on(Ask, reliable=True)
    async def ask(context: Context, request: Ask) -> None:
        raise Refuse("not\nnow", code=1001)

    plain = Extension("shy", version="1.0")
    plain.register(Ask)
    plain.register(Answer)
    app = Application(Reporter(Printer(True, stdout=out)), shy, transport=network.transport(), store=":memory:")
    async with app, Application(plain, transport=network.transport()) as other:
        peer = await other.connect(app.uris[0])
        await peer.wait_for_hello()
        await peer.send(Answer(text="hi"))
        await peer.send(Ask(text="hi"))
        receipt = await app.peers[0].deliver(Answer(text="kept"))
        with pytest.raises(RemoteFailure):
            await receipt.delivered()
        while "not delivered" not in out.getvalue():
            await asyncio.sleep(0)
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    received = {event["schema"]: event.get("reason") for event in events if event["event"] == "received"}
    assert received == {"shy.Answer": "no extension here handles it", "shy.Ask": None}
    assert [event["message"] for event in events if event["event"] == "error"] == [
        "shy.Ask 0x9201 refused: not\nnow",
        "shy.Answer 0x9203 was not delivered: no reliable messages are accepted here",
    ]


@pytest.mark.usefixtures("quiet_loggers")
def test_nothing_in_the_log_passes_for_another_line() -> None:
    out, err = io.StringIO(), io.StringIO()
    log_to(Printer(True, stdout=out, stderr=err))
    forged = "\x1b[2J\nERROR oddwire.node: forged \x9b\u202e\ud800"
    logging.getLogger("oddwire.transports.bolt8").warning("a peer sent %s", forged)
    try:
        raise ValueError(forged)
    except ValueError:
        logging.getLogger("oddwire.app").exception("failed")
    lines = err.getvalue().splitlines()
    said = r"a peer sent \x1b[2J\nERROR oddwire.node: forged \x9b\u202e\ud800"
    assert lines[0] == f"WARNING oddwire.transports.bolt8: {said}"
    assert [line for line in lines if not line.startswith("  ")] == [lines[0], "ERROR oddwire.app: failed"]
    assert "\x1b" not in err.getvalue()
    assert json.loads(out.getvalue())["message"] == f"a peer sent {forged}"


@pytest.mark.usefixtures("quiet_loggers")
def test_who_has_no_handler_logs_to_stderr_all_the_same() -> None:
    err = io.StringIO()
    log_to(Printer(stderr=err))
    assert logging.lastResort is not None
    record = logging.LogRecord("library", logging.WARNING, "", 0, "odd\n%s", ("\x1b",), None)
    logging.lastResort.handle(record)
    assert err.getvalue() == "WARNING library: odd\\n\\x1b\n"
    assert logging.lastResort.level == logging.WARNING
