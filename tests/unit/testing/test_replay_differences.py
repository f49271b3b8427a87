"""Differences between what was sent and what is sent now: aligned, field by field, without what is ignored."""

from __future__ import annotations

import pytest

from oddwire import Message, message
from oddwire.codecs import Registry
from oddwire.testing.replay_differences import Ignored, Outgoing, differences


@message(0x8D81, codec="json")
class Say(Message):
    text: str
    number: int = 0
    tags: tuple[str, ...] = ()


@message(0x8D83, codec="json")
class Heard(Message):
    number: int


@pytest.fixture
def compare():
    registry = Registry()
    registry.register(Say, owner="chat")
    registry.register(Heard, owner="chat")

    def run(recorded, now, *ignore, **how):
        ignored = Ignored(ignore)

        def all_of(messages, first):
            made = [each if isinstance(each, bytes) else registry.encode(each) for each in messages]
            found = [Outgoing.of(payload, registry, ignored, first and first + at) for at, payload in enumerate(made)]
            return [each for each in found if each is not None]

        return [*differences(all_of(recorded, 1), all_of(now, 0), **how)], ignored.unused

    return run


def test_what_is_the_same_differs_in_nothing(compare):
    assert compare([Say(text="a"), Heard(number=1)], [Say(text="a"), Heard(number=1)]) == ([], [])


def test_fields_that_differ_are_named_with_both_values(compare):
    found, _ = compare([Say(text="a", number=1, tags=("x", "y"))], [Say(text="b", number=1, tags=("x", "z"))])
    assert found == ['line 1: chat.Say: text: "a", now "b"', 'line 1: chat.Say: tags[1]: "y", now "z"']


def test_messages_that_are_missing_or_more_are_named_and_the_others_found(compare):
    recorded = [Say(text="a"), Heard(number=1), Say(text="c")]
    now = [Say(text="a"), Say(text="c"), Heard(number=9)]
    found, _ = compare(recorded, now)
    assert found == [
        'line 2: chat.Heard {"number": 1} is not sent',
        'chat.Heard {"number": 9} is sent, and was not',
    ]


def test_another_message_in_its_place(compare):
    found, _ = compare([Heard(number=1)], [Say(text="a")])
    assert found[0] == 'line 1: chat.Heard {"number": 1} is not sent'
    assert found[1].endswith("is sent, and was not")
    found, _ = compare([Heard(number=1)], [Say(text="a"), Heard(number=2)])
    assert found[0].startswith("before line 1: chat.Say")
    assert found[1] == "line 1: chat.Heard: number: 1, now 2"


def test_order_matters_unless_it_does_not(compare):
    recorded, now = [Say(text="a"), Heard(number=1)], [Heard(number=1), Say(text="a")]
    assert compare(recorded, now)[0]
    assert compare(recorded, now, any_order=True)[0] == []
    assert compare(recorded, [Heard(number=2), Say(text="a")], any_order=True)[0] == [
        "line 2: chat.Heard: number: 1, now 2"
    ]


@pytest.mark.parametrize("name", ["number", "chat.Say.number"])
def test_a_field_may_be_ignored(compare, name):
    assert compare([Say(text="a", number=1)], [Say(text="a", number=2)], name) == ([], [])
    assert compare([Say(text="a", number=1)], [Say(text="b", number=2)], name)[0] == [
        'line 1: chat.Say: text: "a", now "b"'
    ]


@pytest.mark.parametrize("name", ["chat.Heard", "0x8d83"])
def test_a_message_may_be_ignored(compare, name):
    assert compare([Say(text="a"), Heard(number=1)], [Say(text="a")], name) == ([], [])


def test_what_nothing_was_ignored_for_is_told(compare):
    assert compare([Heard(number=1)], [Heard(number=1)], "numbr", "chat.Hear") == ([], ["chat.Hear", "numbr"])


def test_types_that_nobody_knows_are_compared_as_bytes(compare):
    found, _ = compare([bytes.fromhex("8d8501")], [bytes.fromhex("8d8502")])
    assert found == ["line 1: 0x8d85: 8d8501, now 8d8502"]
    found, _ = compare([bytes.fromhex("8d81ff")], [bytes.fromhex("8d81fe")])
    assert any("(payload)" in each for each in found)


def test_long_values_and_controls_are_shown_in_short(compare):
    [found] = compare([Say(text="\x1b" + "x" * 5000)], [Say(text="y")])[0]
    assert len(found) < 400
    assert "\x1b" not in found
