"""The model: fed by hand, asked for what a screen would show."""

from __future__ import annotations

import pytest
from tests.support.watched_program import ALICE

from oddwire.decoding import Lexicon
from oddwire.monitor.model import Model, View


def event(number, **more):
    return {
        "n": 100 + number,
        "event": "received",
        "time": float(number),
        "peer": ALICE,
        "type": 0x8C11,
        "payload": "8c11",
        "message": {"number": number},
        **more,
    }


def stats(count, **more):
    row = {"type": 0x8C11, "message": "chat.Say", "direction": "received", "outcome": "ok", "count": count, "bytes": 0}
    peer = {"id": ALICE, "connected": 1, "received": count, "sent": 0}
    return {
        "program": "talk",
        "kind": "run",
        "pid": 1,
        "uptime": 1.0 + count,
        "messages": [row],
        "peers": [peer],
        **more,
    }


def numbers(view, **how):
    return [event.fields["number"] for event in view.rows(**how)]


def test_rates_by_type_and_peer():
    model = Model()
    for second in range(4):
        model.take_stats(stats(3 * second), float(second))
    [line] = model.types
    assert line.rate_in == pytest.approx(3)
    assert line.rate_out == 0
    assert sum(line.series) == pytest.approx(9)
    assert model.peers[0].rate_in == pytest.approx(3)
    assert sum(model.series("received")) == pytest.approx(9)
    assert sum(model.series("sent")) == 0


def test_events_are_numbered_here_and_go_on_behind_a_restart():
    model = Model()
    model.take_stats(stats(5), 0.0)
    model.take_events([event(1), event(2)])
    model.take_stats(stats(0, pid=2), 1.0)
    model.take_events([event(1)])
    assert [each.number for each in model.events] == [1, 2, 3, 4]
    assert [each.event for each in model.events] == ["received", "received", "missed", "received"]
    assert model.restarts == 1
    assert model.types[0].rate_in == 0  # counters start anew


def test_missed_events_are_noted_where_they_are_missing():
    model = Model()
    model.take_events([event(9)], missed=5)
    first, _ = model.events
    assert (first.event, first.text, first.time) == ("missed", "5 events were forgotten before they were read", 9.0)
    assert model.missed == 5


def test_what_is_no_event_is_told_and_nothing_else_is_lost():
    model = Model()
    model.take_events([{"event": "received"}, event(2)], now=3.0)
    first, second = model.events
    assert first.event == "error"
    assert "type should be there in an event 'received'" in first.text
    assert second.fields == {"number": 2}


def test_numbers_with_which_nothing_can_be_computed_are_no_events():
    model = Model()
    for key in ("time", "size", "latency"):
        model.take_events([{**event(1), key: 10**400}], missed=1)
    assert [each.event for each in model.events] == ["missed", "error"] * 3


def test_what_is_kept_is_bounded_in_number_and_bytes():
    model = Model(kept=3)
    model.take_events([event(number) for number in range(10)])
    assert [each.fields["number"] for each in model.events] == [7, 8, 9]
    assert model.gone == 7
    assert model.event(1) is None
    assert model.event(8).fields == {"number": 7}
    assert model.event(11) is None
    large = Model(kept_bytes=10_000)
    large.take_events([event(number, payload="8c11" + "00" * 1000) for number in range(10)])
    assert 1 <= len([*large.events]) <= 3
    assert Model().event(1) is None


def test_a_filter_shows_what_passes_and_a_wrong_one_changes_nothing():
    model = Model()
    view = View(model)
    model.take_events([event(number) for number in range(6)])
    view.filter_by("number>3")
    assert numbers(view) == [4, 5]
    with pytest.raises(ValueError, match="quote"):
        view.filter_by("'")
    assert view.expression == "number>3"
    assert numbers(view) == [4, 5]
    view.filter_by(" ")
    assert numbers(view, most=2) == [4, 5]
    assert numbers(view, after=5) == [5]


def test_a_pause_gathers_and_keeps_what_is_shown():
    model = Model(kept=3)
    view = View(model)
    model.take_events([event(1), event(2)])
    view.pause()
    model.take_events([event(number) for number in range(3, 8)])
    view.pause()
    assert view.paused
    assert numbers(view) == [1, 2]
    assert view.behind == 5
    assert view.find(1).fields == {"number": 1}  # which the model has forgotten
    view.resume()
    assert numbers(view) == [5, 6, 7]
    assert view.behind == 0
    assert view.find(1) is None


def test_two_views_of_one_model():
    model = Model()
    one, other = View(model), View(model)
    one.filter_by("number=1")
    other.pause()
    model.take_events([event(1), event(2)])
    assert numbers(one) == [1]
    assert numbers(other) == []


def test_listeners_are_told_of_all_paused_or_not():
    model = Model()
    told = []
    end = model.listen(told.extend)
    model.take_events([event(1)], missed=1)
    end()
    model.take_events([event(2)])
    assert [each.event for each in told] == ["missed", "received"]


def test_messages_without_names_have_those_of_the_lexicon():
    lexicon = Lexicon()
    model = Model(lexicon=lexicon)
    row = {"type": 42069, "message": None, "direction": "received", "count": 1}
    model.take_stats(stats(0, messages=[row], kind="node"), 0.0)
    assert "peerswap.SwapInRequest" in model.types[0].name
    raw = {"event": "received", "time": 1.0, "peer": ALICE, "type": 18, "payload": "001200040000"}
    model.take_events([raw, {**raw, "payload": "0012"}, {**raw, "type": 0x8001, "payload": "8001"}])
    first, malformed, unknown = model.events
    assert first.title == "bolt1.ping"
    assert first.fields["num_pong_bytes"] == 4
    assert first.data == raw
    assert malformed.title == "0x0012"
    assert unknown.title == "0x8001"


def test_a_loss_is_shown_until_it_answers_again():
    model = Model()
    model.take_stats(stats(1), 0.0)
    version, states = model.version, []
    model.on_state = states.append
    model.lose("gone; trying again")
    model.lose("gone; trying again")
    assert (model.state, model.version) == ("gone; trying again", version + 1)
    model.take_stats(stats(2), 1.0)
    assert model.state == "connected"
    assert states == ["gone; trying again", "connected"]
