"""Recordings: written as `run --json` writes, bounded, read back with the number of each line."""

from __future__ import annotations

import json
import stat

import pytest
from tests.support.watched_program import ALICE, BOB

from oddwire.monitor.recording import FORMAT, Recorder, header, read_recording
from oddwire.monitor.snapshot import PeerLine, Program
from oddwire.monitor.watched import Watched

TALK = Program(name="talk", kind="run", node_id=BOB, extensions=("chat 1.0",))


def event(number, **more):
    data = {"event": "received", "time": float(number), "peer": ALICE, "type": 0x8C11, "payload": "8c11", **more}
    return Watched.of({**data, "n": number})


def test_a_recording_is_what_was_seen(tmp_path):
    path = tmp_path / "talk.jsonl"
    with Recorder(path, TALK, [PeerLine(id=ALICE, address="127.0.0.1:1", direction="in")], now=5.0) as recorder:
        recorder.take([event(6, message={"text": "\x7f\x1b\u2028"}, schema="chat.Say")])
        recorder.note("missed", "3 events were missed")
        assert path.read_bytes().count(b"\n") == 4  # each at once
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {**header(TALK, now=5.0)}
    assert lines[0]["format"] == FORMAT
    assert lines[1] == {
        "event": "connected",
        "time": 5.0,
        "peer": ALICE,
        "present": True,
        "address": "127.0.0.1:1",
        "direction": "in",
    }
    assert lines[2]["message"] == {"text": "\x7f\x1b\u2028"}
    assert path.read_text().isascii()
    assert "\x7f" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    read = read_recording(path)
    assert (read.program, read.node_id, read.missed) == ("talk", BOB, 1)
    assert [each.number for each in read.events] == [2, 3, 4]
    assert recorder.events == 1


def test_a_file_that_is_there_is_kept(tmp_path):
    path = tmp_path / "talk.jsonl"
    path.write_text("precious")
    with pytest.raises(FileExistsError):
        Recorder(path, TALK)
    assert path.read_text() == "precious"
    Recorder(path, TALK, replace=True).close()
    assert "precious" not in path.read_text()


def test_a_recording_has_an_end(tmp_path):
    path = tmp_path / "talk.jsonl"
    with Recorder(path, TALK, max_bytes=4096) as recorder:
        recorder.take([event(number) for number in range(1000)])
        recorder.take([event(1)])
        recorder.note("missed", "not any more")
    assert recorder.full
    assert path.stat().st_size <= 4096
    last = read_recording(path).events[-1]
    assert last.event == "full"
    assert "4096 bytes" in last.text
    assert len(read_recording(path).events) == recorder.events + 1


def test_the_output_of_run_is_a_recording_too(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text(
        '\N{BYTE ORDER MARK}{"event": "listening", "time": 1.0, "uri": "x"}\n\n'
        '{"event": "connected", "time": 2, "peer": "p"}\n'
    )
    read = read_recording(path)
    assert (read.program, [each.number for each in read.events]) == ("", [1, 3])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "has no events: 'oddwire monitor --record FILE'"),
        ("import x\x1b\n", "line 1: no JSON: import x\\x1b"),
        ("[1]\n", "line 1: should be an object with 'event' and 'time', not \\[1\\]"),
        ('{"event": "sent", "time": 1, "type": "x"}\n', "line 1: type should be a whole number"),
        ('{"event": "recording", "time": 1, "format": 99}\n', "is a recording of format 99, not 1"),
        ("[" * 100_000, "line 1: no JSON"),
    ],
)
def test_what_is_no_recording_is_refused_with_its_line(tmp_path, content, says):
    path = tmp_path / "wrong.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError, match=says.replace("\\x1b", "\\\\x1b")):
        read_recording(path)
