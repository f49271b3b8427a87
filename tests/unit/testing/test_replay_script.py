"""What is replayed of a recording, in which order and at which times; and what is refused, with its line."""

from __future__ import annotations

import json

import pytest
from tests.support.watched_program import ALICE, BOB

from oddwire.testing.replay_script import Unreplayable, script_of


def line(event, time, peer=ALICE, **more):
    return {"event": event, "time": time, "peer": peer, **more}


def received(time, payload="8c11ff", peer=ALICE, **more):
    return line("received", time, peer, type=int(payload[:4], 16), payload=payload, **more)


def sent(time, payload="8c13ff", peer=ALICE, **more):
    return {**received(time, payload, peer, **more), "event": "sent"}


@pytest.fixture
def script(tmp_path):
    def make(*lines, **how):
        path = tmp_path / "talk.jsonl"
        path.write_text("".join(f"{json.dumps(each)}\n" for each in lines))
        return script_of(path, **how)

    return make


def test_steps_are_in_order_with_the_time_between_them(script):
    made = script(
        {"event": "recording", "time": 9.0, "format": 1, "node_id": BOB},
        line("connected", 10.0, present=True, direction="out", address="host:1"),
        received(11.5),
        sent(11.75),
        line("connected", 12.0, BOB, uri="x"),
        received(12.5, "8c15", latency=0.75),
        line("disconnected", 13.0, reason="bye"),
        line("error", 13.5, message="it failed"),
    )
    assert [(step.kind, step.line, step.after) for step in made.steps] == [
        ("connect", 2, 0.0),
        ("receive", 3, 1.5),
        ("connect", 5, 0.5),
        ("receive", 6, 0.5),
        ("disconnect", 7, 0.5),
    ]
    first, _, second, reply, last = made.steps
    assert (first.present, first.direction, first.address) == (True, "out", "host:1")
    assert (second.present, second.direction) == (False, "out")
    assert (reply.answers, reply.sent) == (True, 1)
    assert last.reason == "bye"
    assert made.rest == pytest.approx(0.5)
    assert str(made.node_id) == BOB
    assert [event.number for event in made.sent[first.peer]] == [4]
    assert made.failures == {"it failed"}


def test_a_peer_that_was_never_connected_was_there_before(script):
    made = script(received(1.0), line("connected", 2.0), received(3.0))
    assert [(step.kind, step.present) for step in made.steps] == [
        ("connect", True),
        ("receive", False),
        ("receive", False),
    ]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([sent(1.0)], "no message was received, so there is nothing to replay"),
        (
            [received(1.0), {"event": "missed", "time": 2, "reason": "7 events"}],
            "line 2: events are missing here (7 events)",
        ),
        ([received(1.0, size=70000)], "line 1: only 3 of 70000 bytes were recorded"),
        ([received(1.0), sent(2.0, "8c13" + "00" * 65534)], "line 2: a message of 65536 bytes was sent"),
        ([received(1.0, "c0dd00")], "line 1: a frame of the session"),
        ([received(1.0, peer="bob")], "line 1: peer should be a node id, 66 hex digits, not 'bob'"),
        ([received(5.0, latency=1.0), received(6.0, latency=4.0)], "line 2: this reply overtook that to an earlier"),
    ],
)
def test_what_cannot_be_replayed_is_refused(script, lines, says):
    with pytest.raises(Unreplayable) as caught:
        script(*lines)
    assert says in str(caught.value)


def test_missing_events_may_be_passed_over(script):
    made = script(received(1.0), {"event": "missed", "time": 2, "reason": "7 events"}, missing_ok=True)
    assert len(made.steps) == 2


def test_the_end_of_a_full_recording_is_no_event_that_is_missing(script):
    assert script(received(1.0), {"event": "full", "time": 2, "reason": "it is full"}).rest == 0


def test_replies_in_the_order_of_their_requests_are_fine(script):
    made = script(
        received(5.0, latency=1.0), received(6.0, latency=1.5), received(7.0, "8c15ff", latency=6.0), received(8.0)
    )
    assert len(made.steps) == 5
