"""What `oddwire.contracts.compare` says is what the codecs do, over many pairs of schemas.

A direction without a break: all payloads of the sender decode, with equal values in what both have. A break: some
payload does not, or reads as something else. Both are looked at with the same payloads, those of the ends of each type.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.changes import TYPES, Slot, build, one_field
from tests.support.schema_pairs import Fields, broken, check, findings, made, misread, misreads, plan, sample

from oddwire import SchemaError, field, u8, u16, u32
from oddwire.testing.strategies import messages

STRIDE = {"msgpack": 11, "json": 11, "bolt": 61}
"""All pairs take two minutes; `STRIDE` 1 runs them."""


@pytest.mark.parametrize("codec", STRIDE)
def test_each_type_against_each_other(codec: str) -> None:
    classes = [*one_field(codec)]
    assert all(sample(cls) for cls in classes)
    seen: Counter[bool] = Counter()
    for old, new in itertools.islice(itertools.combinations(classes, 2), 0, None, STRIDE[codec]):
        seen[any(one.breaks for one in check(old, new))] += 1
    assert seen[True] > seen[False] > 0, seen


NAMES = "abcdef"


class Changes:
    """Random messages, and random changes of them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.codec = self.random.choice(["bolt", "bolt", "json", "msgpack"])

    def message(self) -> list[Slot]:
        slots: list[Slot] = []
        for name in NAMES[: self.random.randint(1, 4)]:
            slots.append(self.slot(name, slots))
        return slots

    def slot(self, name: str, others: list[Slot]) -> Slot:
        taken = {slot.tlv for slot in others}
        free = [number for number in range(1, 12) if number not in taken]
        tlv = self.random.choice([None, self.random.choice(free)]) if self.codec == "bolt" else None
        return self.filled(Slot(name, self.random.choice(TYPES), tlv=tlv))

    def filled(self, slot: Slot) -> Slot:
        """Return a field with some default."""
        choice = {str: ["", "t", ...], u8: [5, 6, ...]}.get(slot.type, [...])
        return slot._replace(default=self.random.choice([None, None, ...] if "None" in str(slot.type) else choice))

    def changed(self, slots: list[Slot]) -> list[Slot]:
        slots, pick = [*slots], self.random.choice
        place = self.random.randrange(len(slots)) if slots else 0
        match (
            pick(["add", "default", "key", "optional", "remove", "rename", "retype", "swap", "tlv"]) if slots else "add"
        ):
            case "add":
                slots.insert(self.random.randint(0, len(slots)), self.slot(pick(NAMES), slots))
            case "remove":
                slots.pop(place)
            case "retype":
                slots[place] = self.filled(slots[place]._replace(type=pick(TYPES)))
            case "rename":
                slots[place] = slots[place]._replace(name=pick(NAMES))
            case "swap":
                other = self.random.randrange(len(slots))
                slots[place], slots[other] = slots[other], slots[place]
            case "default":
                slots[place] = self.filled(slots[place])
            case "tlv":
                slots[place] = slots[place]._replace(tlv=pick([None, 1, 2, 3, 4, 5]))
            case "key":
                slots[place] = slots[place]._replace(key=pick([None, "k", "a"]))
            case _:
                slots[place] = slots[place]._replace(type=slots[place].type | None, default=pick([None, ...]))
        return slots


@pytest.mark.parametrize("seed", range(8))
def test_changes_of_whole_messages(seed: int) -> None:
    for number in itertools.count(1000 * seed):
        changes = Changes(number)
        before = changes.message()
        after = changes.changed(before)
        if changes.random.random() < 0.5:
            after = changes.changed(after)
        try:
            old, new = build(changes.codec, before), build(changes.codec, after)
        except (SchemaError, ValueError, TypeError):
            continue  # no message that could be declared
        if sample(old) and sample(new):
            check(old, new)
        if number > 1000 * seed + 30:
            break


GROWN = [
    (codec, {"x": u16, "s": str}, {"x": u16, "s": str, "n": (u8 | None, field(default=None, **tlv))})
    for codec, tlv in (("bolt", {"tlv": 1}), ("msgpack", {}), ("json", {}))
]


@pytest.mark.parametrize(("codec", "old", "new"), GROWN, ids=[codec for codec, *_ in GROWN])
@settings(max_examples=25)
@given(data=st.data())
def test_any_message_passes_between_versions_that_are_compatible(
    codec: str, old: Fields, new: Fields, data: st.DataObject
) -> None:
    before, after = made(codec, old), made(codec, new)
    assert not any(one.breaks for one in findings(before, after))
    for sender, receiver in ((before, after), (after, before)):
        sent = data.draw(messages(sender))
        payload = plan(sender).encode(sent)
        assert [*misread(sent, payload, receiver)] == []


def test_one_side_may_understand_the_other_alone() -> None:
    """What is narrowed breaks old senders, what is widened new ones; the harness tells them apart."""
    old, new = made("msgpack", {"x": u32}), made("msgpack", {"x": u16})
    found = check(old, new)
    assert broken(found, "old")
    assert not broken(found, "new")
    assert [*misreads(old, new)]
    assert not [*misreads(new, old)]
