"""Filters: what each term takes, and what is said of those that make no sense."""

from __future__ import annotations

import pytest
from tests.support.watched_program import ALICE, BOB

from oddwire.monitor.filters import HELP, read_filter
from oddwire.monitor.watched import Watched


def say(**more):
    data = {
        "event": "received",
        "time": 1.0,
        "peer": ALICE,
        "type": 0x8C11,
        "schema": "chat.Say",
        "message": {
            "text": "Hello World",
            "number": 17,
            "flag": True,
            "order": {"items": [{"id": "a1"}, {"id": "b2"}]},
        },
        "payload": "8c11" + "00" * 40,
    }
    return Watched.of({**data, **more})


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "hello",
        "HELLO world",
        "chat.say",
        "Chat.* hello",
        ALICE[:6],
        "name=chat.Say",
        "name=chat.*",
        "name~SAY",
        "type=35857",
        "type=0x8c11",
        "type>=0x8c11",
        "peer=0279",
        f"peer={ALICE}",
        "peer=0279be66...1798",
        "peer~1798",
        "direction=in",
        "direction=received",
        "event=received",
        "size=42",
        "size>41 size<43",
        "text~hello",
        "text='Hello World'",
        'text="Hello*"',
        "number=17",
        "number=0x11",
        "number>16.5",
        "flag=true",
        "order.items.id=b2",
        "order.items.id~A1",
        "-number=18",
        "!number=18",
        "number!=18",
        "nothing or hello",
        "hello number=1 or hello number=17",
        "'Hello World'",
        "order",
    ],
)
def test_takes(expression):
    assert read_filter(expression)(say())


@pytest.mark.parametrize(
    "expression",
    [
        "goodbye",
        "hat.*",
        "name=Say",
        "name!=chat.*",
        "type=0x8c13",
        "type<0x8c11",
        "peer=79be",
        "direction=out",
        "event=error",
        "size>42",
        "latency<1",
        "text=hello",
        "text~x*",
        "number=1",
        "number>17",
        "text>5",
        "missing=1",
        "order.id=a1",
        "flag=1",
        "-hello",
        "hello goodbye",
        "'hello  world'",
    ],
)
def test_leaves(expression):
    assert not read_filter(expression)(say())


def test_other_events_are_found_by_their_text_and_keys():
    error = Watched.of({"event": "error", "time": 1, "message": "handler of Ask failed", "code": 7, "peer": BOB})
    assert read_filter("event=error failed code=7 peer=02c6")(error)
    assert not read_filter("size<100")(error)
    assert not read_filter("direction=in")(error)


def test_latency_is_compared_where_it_is_known():
    assert read_filter("latency>0.2")(say(latency=0.25))
    assert not read_filter("latency>0.3")(say(latency=0.25))


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("type=chat", "type should be a number, 35857 or 0x8c11, not 'chat'"),
        ("size>big", "size should be a number"),
        ("type~8", "~ looks for a text"),
        ("direction=inn", "direction=inn is none; did you mean in?"),
        ("event=zzz", "event=zzz is none; there are listening, connected"),
        ("direction~in", "direction is compared by = or !=, not by ~"),
        ("latency=soon", "latency should be seconds"),
        ("number>big", "'big' behind > should be a number"),
        ("text~", "text~ needs a value behind ~"),
        ("'open", "the quote ' is not closed"),
        ("or a", "'or' should stand between two terms"),
        ("a or", "'or' should stand between two terms"),
        ("event=\x1b[2J", "event=\\x1b"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(expression, says):
    with pytest.raises(ValueError) as caught:
        read_filter(expression)
    assert says in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_or_is_a_word_in_quotes():
    assert read_filter('"or"')(say(message={"text": "this or that"}))


def test_the_help_shows_filters_that_are_ones():
    for term, _ in HELP:
        read_filter(term)
