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
    written = Event(event="error", text="a\nb ⚡ \x1b[2J").to_json()
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
        (Event(event="connected", peer=PEER, address="1.2.3.4:5"), f"connected     {short_id(PEER)}  1.2.3.4:5"),
        (Event(event="disconnected", peer=PEER, text="bye"), f"disconnected  {short_id(PEER)}  bye"),
        (Event(event="error", text="oh"), "error         oh"),
    ],
)
def test_text_is_one_line_without_escapes(event: Event, text: str) -> None:
    assert event.to_text() == text


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
