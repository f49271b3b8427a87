"""A message opened: fields with their bytes, and what is wrong with one that does not decode."""

from __future__ import annotations

from tests.support.watched_program import ALICE

from oddwire.decoding import Lexicon
from oddwire.monitor.explained import hex_rows, named, open_event
from oddwire.monitor.watched import Watched


def received(payload, **more):
    data = {"event": "received", "time": 1.0, "peer": ALICE, "type": int(payload[:4], 16), "payload": payload}
    return Watched.of({**data, **more})


def test_fields_have_the_bytes_they_are_read_from():
    # BOLT 1's ping: num_pong_bytes, byteslen, ignored
    event = received("0012" + "0004" + "0002" + "0000")
    opened = open_event(event)
    assert opened.title.endswith("0x0012")
    assert opened.remark == ""
    marks = {mark.path.strip(): mark for mark in opened.marks}
    assert (marks["num_pong_bytes"].offset, marks["num_pong_bytes"].length) == (2, 2)
    assert marks["num_pong_bytes"].value.startswith("4")
    covered = {at for mark in opened.marks for at in range(mark.offset, mark.offset + mark.length)}
    assert covered == set(range(8))


def test_what_is_wrong_with_a_message_is_marked():
    opened = open_event(received("0012" + "00", reason="a remark"))
    assert any(mark.wrong for mark in opened.marks)
    assert "a remark" in opened.remark
    assert "2 bytes" in opened.remark or "byte" in opened.remark


def test_a_message_of_a_class_that_is_not_known_shows_what_was_told():
    opened = open_event(received("8001ff", schema="mine.Own", message={"a": {"b": [1, "\x1b"]}, "c": None}))
    assert [(mark.path, mark.value, mark.length) for mark in opened.marks] == [
        ("a.b", '[1, "\\u001b"]', 0),
        ("c", "null", 0),
    ]
    assert "--extension EXT" in opened.remark


def test_a_cut_message_says_so():
    opened = open_event(received("8001ff", size=70000, message={"a": 1}))
    assert "the first 3 of 70000 bytes" in opened.remark


def test_other_events_show_what_they_have():
    opened = open_event(Watched.of({"event": "error", "time": 1.0, "message": "bad\x1b", "code": 7}))
    assert {(mark.path, mark.value) for mark in opened.marks} >= {("message", "bad\\x1b"), ("code", "7")}


def test_rows_of_hex():
    first, second = hex_rows(bytes(range(60, 77)))
    assert (first.offset, first.text, second.offset, second.data) == (0, "<=>?@ABCDEFGHIJK", 16, b"L")
    assert hex_rows(b"") == []


def test_names_are_given_to_messages_without():
    lexicon = Lexicon()
    ping = named(received("0012" + "0004" + "0000"), lexicon)
    assert ping.name == "bolt1.ping"
    assert ping.fields["num_pong_bytes"] == 4
    for same in (received("8001"), received("0012"), received("8c11", schema="chat.Say"), received("0012", size=9)):
        assert named(same, lexicon) is same


def test_frames_of_the_session_have_names_too():
    hello = (
        "c0dd090000000047aed5330101018eee2bcec5bdea6200000014046563686f01"
        "03312e3000048c018c038c058c0701040200000003014005"
    )
    frame = named(received(f"{hello}081fa42e3dcb20a6be"), Lexicon())
    assert frame.title == "session.hello"
    assert frame.fields["from"] == "1202640179"
