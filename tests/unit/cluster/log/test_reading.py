"""Entries put together to what took effect."""

from __future__ import annotations

import pytest

from oddwire.cluster.log.entries import START, Kind, Link, encode
from oddwire.cluster.log.reading import LogReader
from oddwire.cluster.log.subject import Message
from oddwire.errors import StoreError


class Log:
    """Messages of a log, with sequences that others share."""

    def __init__(self) -> None:
        self.link = START
        self.messages: list[Message] = []

    def add(self, kind: Kind, body: bytes, *, term: int = 0, more: bool = False) -> Message:
        data, self.link = encode(kind, term, self.link, body, more=more)
        self.messages.append(Message(3 * len(self.messages) + 5, data))
        return self.messages[-1]


@pytest.fixture
def log() -> Log:
    return Log()


def test_parts_take_effect_with_the_last(log: Log) -> None:
    term = log.add(Kind.FENCE, b"one").sequence
    for body, more in ((b"a", True), (b"b", True), (b"c", False), (b"d", False)):
        log.add(Kind.COMMIT, body, term=term, more=more)
    reader = LogReader("log")
    found = [reader.take(message) for message in log.messages]
    assert [None if done is None else done.body for done in found] == [b"one", None, None, b"abc", b"d"]
    assert reader.first == START
    assert found[3] is not None
    assert (found[3].sequence, found[3].term, found[3].kind) == (log.messages[3].sequence, term, Kind.COMMIT)
    assert found[4] is not None
    assert found[4].link == log.link


def test_parts_whose_rest_never_came_did_not_take_effect(log: Log) -> None:
    first = log.add(Kind.FENCE, b"one").sequence
    log.add(Kind.COMMIT, b"a", term=first, more=True)
    second = log.add(Kind.FENCE, b"two").sequence
    log.add(Kind.COMMIT, b"b", term=second)
    reader = LogReader("log")
    found = [done for message in log.messages if (done := reader.take(message))]
    assert [(done.kind, done.body) for done in found] == [
        (Kind.FENCE, b"one"),
        (Kind.FENCE, b"two"),
        (Kind.COMMIT, b"b"),
    ]


def damaged(messages: list[Message], after: Link | None = None, term: int = 0) -> str:
    reader = LogReader("ow.log.x.1", after, term=term)
    with pytest.raises(StoreError) as caught:
        [reader.take(message) for message in messages]
    assert caught.value.reason == "corrupt"
    assert "the log is not believed any more" in str(caught.value)
    return str(caught.value)


def test_what_is_damaged_missing_or_another_is_named(log: Log) -> None:
    term = log.add(Kind.FENCE, b"one").sequence
    for number in range(4):
        log.add(Kind.COMMIT, b"%d" % number, term=term)
    whole = log.messages
    broken = whole[2]._replace(data=whole[2].data[:-1] + b"?")
    assert "message 11 of ow.log.x.1: it is damaged" in damaged([*whole[:2], broken, *whole[3:]])
    assert "message 14 of ow.log.x.1: it is entry 4, where entry 3 should be" in damaged([*whole[:2], *whole[3:]])
    other, _ = encode(Kind.COMMIT, term, Link(2, b"o" * 16), b"other")
    said = damaged([*whole[:2], whole[2]._replace(data=other), *whole[3:]])
    assert "entry 3 was written behind another entry 2" in said
    same, _ = encode(Kind.COMMIT, term, Link(2, whole[1].data[-16:]), b"other")
    assert "entry 4 was written behind another entry 3" in damaged(
        [*whole[:2], whole[2]._replace(data=same), *whole[3:]]
    )
    assert "entry 1, where entry 8 should be" in damaged(whole, Link(7, bytes(16)))


def test_terms_and_kinds_go_together(log: Log) -> None:
    term = log.add(Kind.FENCE, b"one").sequence
    log.add(Kind.COMMIT, b"a", term=term + 1)
    assert "it is of term 6, in term 5" in damaged(log.messages)
    assert "it is of term 6, in term 9" in damaged(log.messages[1:], term=9)
    log = Log()
    log.add(Kind.COMMIT, b"a", term=1, more=True)
    log.add(Kind.SNAPSHOT, b"b", term=1)
    assert "it is of kind SNAPSHOT, where COMMIT should go on" in damaged(log.messages)


def test_a_log_may_begin_anywhere_but_not_before_its_first_entry(log: Log) -> None:
    term = log.add(Kind.FENCE, b"one").sequence
    log.add(Kind.COMMIT, b"a", term=term)
    reader = LogReader("log")
    assert reader.take(log.messages[1]) is not None
    assert reader.first == Link(1, log.messages[0].data[-16:])
    data, _ = encode(Kind.COMMIT, 1, Link(0, b"o" * 16), b"first of another")
    assert "it should be the first, and names one before it" in damaged([Message(1, data)])
