"""Events as a watch answers them and as recordings have them: read with care, shown on a line."""

from __future__ import annotations

import pytest
from tests.support.watched_program import ALICE

from oddwire.monitor.watched import Watched

SAY = {
    "event": "received",
    "time": 1763820000.25,
    "peer": ALICE,
    "type": 0x8C11,
    "schema": "chat.Say",
    "message": {"text": "hi there", "number": 1},
    "payload": "8c1182a474657874a26869a66e756d62657201",
}


def test_a_message_is_read_whole():
    event = Watched.of({**SAY, "n": 7, "latency": 0.5, "reason": "no extension here handles it"})
    assert (event.number, event.type_id, event.size, event.peer, event.latency) == (7, 0x8C11, 19, ALICE, 0.5)
    assert event.title == "chat.Say"
    assert event.line == "text='hi there' number=1  (no extension here handles it)"
    assert event.is_message
    assert not event.is_cut
    assert "n" not in event.data


def test_the_type_is_that_of_the_payload_if_it_is_not_told():
    event = Watched.of({"event": "sent", "time": 1, "payload": "8c13ff"})
    assert (event.title, event.line) == ("0x8c13", "ff")


def test_a_cut_payload_is_known_as_such():
    event = Watched.of({**SAY, "size": 70000})
    assert event.is_cut
    assert event.size == 70000


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"event": "connected", "address": "127.0.0.1:1"}, "127.0.0.1:1"),
        ({"event": "disconnected", "reason": "bye\x1b[2J"}, "bye\\x1b[2J"),
        ({"event": "error", "message": "handler failed"}, "handler failed"),
        ({"event": "result", "value": 3}, ""),
    ],
)
def test_other_events_say_what_they_have(event, line):
    assert Watched.of({"time": 0, **event}).line == line


def test_text_of_others_does_nothing_to_a_terminal():
    event = Watched.of({**SAY, "schema": "a\n\x1b]0;b", "message": {"text": "\x1b[31m\u202e\n", "[bold]": 1}})
    assert event.title == "a\\n\\x1b]0;b"
    assert "\x1b" not in event.line
    assert "\u202e" not in event.line
    assert "\n" not in event.line


def test_a_line_has_an_end():
    assert len(Watched.of({**SAY, "message": {"text": "x" * 100_000}}).line) < 500


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"event": None}, "event should be a text, but is missing"),
        ({"time": "now"}, "time should be a number, but is 'now'"),
        ({"time": True}, "time should be a number, but is True"),
        ({"type": "x"}, "type should be a whole number, but is 'x'"),
        ({"type": 70000}, "type should be from 0 to 65535, not 70000"),
        ({"payload": "8c1"}, "payload should be hex, not '8c1'"),
        ({"type": None, "payload": None}, "type should be there in an event 'received'"),
    ],
)
def test_what_is_no_event_is_refused_by_name(wrong, says):
    with pytest.raises(ValueError, match="^" + says.replace("[", "\\[") + "$"):
        Watched.of({**SAY, **wrong})
