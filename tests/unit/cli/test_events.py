import io
import json
import os
import queue

import pytest

from oddwire import Message, NodeId, PrivateKey, message
from oddwire.cli.events import Event, Printer, short_id

PEER = NodeId(PrivateKey(bytes(31) + b"\1").public_key())


@message(0x9101)
class Line(Message):
    text: str


MESSAGE = Event(
    event="received",
    time=1.5,
    peer=PEER,
    type_id=0x9101,
    schema="talk.Line",
    message=Line(text="hi"),
    payload=b"\x91\x01\x81",
    latency=0.001234,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_json_has_the_keys_that_apply() -> None:
    assert json.loads(MESSAGE.to_json()) == {
        "event": "received",
        "time": 1.5,
        "peer": str(PEER),
        "type": 0x9101,
        "schema": "talk.Line",
        "message": {"text": "hi"},
        "payload": "910181",
        "latency": 0.001234,
    }
    assert json.loads(Event(event="listening", time=0.0, uri="u").to_json()) == {
        "event": "listening",
        "time": 0.0,
        "uri": "u",
    }


def test_json_gives_a_reason_for_a_disconnection_and_a_message_for_an_error() -> None:
    assert json.loads(Event(event="disconnected", peer=PEER, text="bye").to_json())["reason"] == "bye"
    assert json.loads(Event(event="error", text="oh").to_json())["message"] == "oh"


def test_json_is_one_line_of_ascii() -> None:
    written = Event(event="error", text="a\nb ⚡ \x1b[2J \x7f\ud800").to_json()
    assert written.isascii()
    assert written.isprintable()


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (MESSAGE, f"<- {short_id(PEER)}  talk.Line 0x9101 [3 bytes] text='hi'  1.23 ms"),
        (
            Event(event="sent", peer=PEER, type_id=0x9103, payload=b"\x91\x03" + bytes(40)),
            f"-> {short_id(PEER)}  0x9103 [42 bytes] {'00' * 32}...",
        ),
        (Event(event="listening", uri="02ab@127.0.0.1:1"), "listening     02ab@127.0.0.1:1"),
        (Event(event="ready", node_id=PEER, address="h:1"), f"ready         {PEER}  beside the node at h:1"),
        (Event(event="connected", peer=PEER, address="1.2.3.4:5"), f"connected     {short_id(PEER)}  1.2.3.4:5"),
        (Event(event="disconnected", peer=PEER, text="bye"), f"disconnected  {short_id(PEER)}  bye"),
        (Event(event="error", text="oh"), "error         oh"),
    ],
)
def test_text_is_one_line_without_escapes(event: Event, text: str) -> None:
    assert event.to_text() == text


FOREIGN = "\x1b[2J\nERROR forged \x9b\u202e\ud800 東京\u3000\U0001f469\u200d\U0001f680"
SHOWN = "\\x1b[2J\\nERROR forged \\x9b\\u202e\\ud800 東京\u3000\U0001f469\u200d\U0001f680"


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Event(event="listening", uri=FOREIGN), f"listening     {SHOWN}"),
        (Event(event="ready", node_id=PEER, address=FOREIGN), f"ready         {PEER}  beside the node at {SHOWN}"),
        (Event(event="connected", peer=PEER, address=FOREIGN), f"connected     {short_id(PEER)}  {SHOWN}"),
        (Event(event="disconnected", peer=PEER, text=FOREIGN), f"disconnected  {short_id(PEER)}  {SHOWN}"),
        (Event(event="error", peer=PEER, text=FOREIGN), f"error         {short_id(PEER)}  {SHOWN}"),
        (
            Event(event="sent", peer=PEER, type_id=0x9101, schema="talk.Line", message=Line(text=FOREIGN), payload=b""),
            f"-> {short_id(PEER)}  talk.Line 0x9101 [0 bytes] text='{SHOWN}'",
        ),
    ],
)
def test_what_others_say_is_printable(event: Event, text: str) -> None:
    assert event.to_text() == text
    assert event.to_text(colour=True).count("\x1b") % 2 == 0  # our own
    assert json.loads(event.to_json())  # and there it is as it came
    assert FOREIGN in json.loads(event.to_json()).values() or event.message is not None


def test_a_result_is_there_though_it_is_nothing() -> None:
    assert json.loads(Event(event="result", time=1.0, method="say").to_json()) == {
        "event": "result",
        "time": 1.0,
        "method": "say",
        "value": None,
    }


def test_what_goes_to_stderr_is_printable_and_never_fails() -> None:
    err = io.StringIO()
    Printer(stderr=err).remark(FOREIGN)
    Printer(stderr=err).failure(FOREIGN)
    assert err.getvalue() == f"{SHOWN}\noddwire: {SHOWN}\n"
    Printer(stderr=Gone()).remark("nobody reads this")
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    Printer(stderr=narrow).remark("東")
    assert narrow.buffer.getvalue() == b"\\u6771\n"  # type: ignore[attr-defined]
    closed = io.StringIO()
    closed.close()
    Printer(stderr=closed).remark("nor this")


def test_what_a_peer_sends_cannot_move_the_cursor() -> None:
    event = Event(event="received", peer=PEER, type_id=0x9101, message=Line(text="\x1b[2J\r\n"), payload=b"\x91\x01")
    assert event.to_text().isprintable()


def test_colours_are_for_terminals_and_for_those_who_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    piped, terminal = io.StringIO(), Terminal()
    Printer(stdout=piped).event(MESSAGE)
    Printer(stdout=terminal).event(MESSAGE)
    assert "\x1b" not in piped.getvalue()
    assert "\x1b[36m<-\x1b[0m" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    refused = Terminal()
    Printer(stdout=refused).event(MESSAGE)
    Printer(True, stdout=refused).event(MESSAGE)
    assert "\x1b" not in refused.getvalue()


def test_a_failure_goes_to_stderr_and_as_json_to_stdout_too() -> None:
    out, err = io.StringIO(), io.StringIO()
    Printer(stdout=out, stderr=err).failure("port in use")
    assert (out.getvalue(), err.getvalue()) == ("", "oddwire: port in use\n")
    Printer(True, stdout=out, stderr=err).failure("port in use")
    assert json.loads(out.getvalue())["message"] == "port in use"


def test_a_reader_that_leaves_is_told_of_once() -> None:
    reading, writing = os.pipe()
    told: queue.Queue[bool] = queue.Queue()
    with os.fdopen(writing, "w") as stdout:
        printer = Printer(stdout=stdout)
        printer.on_broken = lambda: told.put(True)
        os.close(reading)
        for _ in range(3):
            printer.line("anyone?")
        assert told.get(timeout=30)
        printer.line("anyone?")
        printer.close()
        assert told.empty()


def test_what_the_terminal_cannot_show_is_spelled(tmp_path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as stdout:
        printer = Printer(stdout=stdout)
        printer.line("señor")
        printer.close()
    assert (tmp_path / "out").read_bytes() == b"se\\xf1or\n"
