from __future__ import annotations

from enum import Enum

from oddwire.app.resending.answers import Answers
from oddwire.app.resending.entries import Entry, Ident
from oddwire.app.resending.keys import encode_key
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message

ALICE, BOB = NodeId("02" + "aa" * 32), NodeId("03" + "bb" * 32)


class Kind(Enum):
    ONE = "one"


@message(0x8E01)
class Yes(Message):
    swap_id: str


@message(0x8E03)
class No(Message):
    swap_id: str
    why: str = ""


@message(0x8E05, replies=(Yes, No), match="swap_id")
class Ask(Message):
    swap_id: str


@message(0x8E07, replies=No, match="swap_id")
class Offer(Message):
    swap_id: str


@message(0x8E09, replies=Yes)
class Loose(Message):
    swap_id: str


@message(0x8E0B)
class Flag(Message):
    kind: Kind
    on: bool = False


@message(0x8E0D, replies=Flag, match="kind")
class SetFlag(Message):
    kind: Kind


def entry(type_id: int, matched: object = None, node_id: NodeId = ALICE, key: bytes = b"k") -> Entry:
    return Entry(Ident("x", node_id, key), type_id, 2, matched=None if matched is None else encode_key(matched))


def test_an_answer_is_of_a_declared_class_with_the_same_value() -> None:
    answers = Answers([Ask, Offer, Loose, Yes, No])
    asked, offered = entry(0x8E05, "s1"), entry(0x8E07, "s1", key=b"other")
    assert answers.add(asked)
    assert not answers.add(offered), "the second of the peer"
    assert answers.find(ALICE, Yes(swap_id="s1")) == (asked,)
    assert answers.find(ALICE, No(swap_id="s1")) == (asked, offered)
    assert answers.find(ALICE, No(swap_id="s2")) == ()
    assert answers.find(ALICE, Ask(swap_id="s1")) == ()
    assert answers.find(BOB, Yes(swap_id="s1")) == ()


def test_those_without_a_match_have_no_answer() -> None:
    answers = Answers([Ask, Loose, Yes, No])
    assert not answers.add(entry(0x8E09, "s1"))
    assert not answers.add(entry(0x8E05)), "its value is no key"
    assert not answers.has(ALICE)
    assert answers.find(ALICE, Yes(swap_id="s1")) == ()


def test_two_with_one_value_are_both_answered() -> None:
    answers = Answers([Ask, Yes, No])
    one, two = entry(0x8E05, "s1", key=b"1"), entry(0x8E05, "s1", key=b"2")
    answers.add(one)
    answers.add(two)
    assert answers.find(ALICE, Yes(swap_id="s1")) == (one, two)
    assert not answers.remove(one)
    assert answers.find(ALICE, Yes(swap_id="s1")) == (two,)
    assert answers.remove(two), "the last"
    assert not answers.remove(two)
    assert not answers.has(ALICE)


def test_one_that_was_replaced_is_not_removed_with_the_old_one() -> None:
    answers = Answers([Ask, Yes, No])
    old, new = entry(0x8E05, "s1"), entry(0x8E05, "s1")
    answers.add(old)
    answers.add(new)
    assert not answers.remove(old)
    assert answers.find(ALICE, Yes(swap_id="s1")) == (new,)


def test_members_of_enums_are_compared_by_their_values() -> None:
    answers = Answers([SetFlag, Flag])
    flagged = entry(0x8E0D, Kind.ONE)
    assert answers.add(flagged)
    assert answers.find(ALICE, Flag(kind=Kind.ONE)) == (flagged,)
