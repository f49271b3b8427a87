"""How many bytes bolt writes at the least, where it finds how many there are, and what takes all that is left."""

from enum import Enum
from typing import Annotated

import pytest
from tests.support.classes import made

from oddwire.codecs.bolt.reference_reading import read_message
from oddwire.errors import MalformedMessage
from oddwire.schema import (
    UnknownVariant,
    bigsize,
    counted,
    field,
    fixed,
    flag,
    point,
    rest,
    scalar,
    schema_of,
    sciddir_or_pubkey,
    sha256,
    sizes,
    subtype,
    tagged,
    tu64,
    u8,
    u16,
    u32,
    u64,
)
from oddwire.schema.annotations import kind_of
from oddwire.schema.sizes import count_of, least_size, takes_rest


class Colour(Enum):
    RED = 1


One = subtype(tag=1)(type("One", (), {"__annotations__": {}, "__module__": __name__}))
Two = subtype(tag=2)(type("Two", (), {"__annotations__": {"x": u16}, "__module__": __name__}))
Open = made("subtype", data=Annotated[bytes, rest])
Closed = made("subtype", number=u8)
Empty = made("subtype")
Records = made("subtype", value=(u8 | None, field(tlv=1, default=None)))
Truncated = made("subtype", number=u8, value=tu64)
Plain = made("subtype", number=int)
Other = made("subtype", number=u16)
LEAVES = Annotated[Closed | Other, tagged(u8, tags={Closed: 0, Other: 1})]


@pytest.mark.parametrize(
    ("annotation", "size"),
    [
        *[(u8, 1), (u16, 2), (u64, 8), (bigsize, 1), (tu64, 0), (bool, 1), (sha256, 32), (point, 33)],
        *[(bytes, 2), (Annotated[bytes, counted(bigsize)], 1), (Annotated[bytes, rest], 0), (str, 2)],
        *[(tuple[u64, ...], 2), (Annotated[tuple[u64, ...], fixed(3)], 24), (Annotated[Colour, u16], 2)],
        *[(Closed, 1), (Empty, 0), (Records, 0), (Truncated, 1)],
        *[(sciddir_or_pubkey, 9), (Annotated[u8 | None, flag(u16)], 2), (Annotated[Closed, counted(u32)], 5)],
        *[(Annotated[One | Two, tagged(u16)], 2), (Annotated[One | Two, tagged(u8, length=u8)], 2)],
        *[(Annotated[Two | UnknownVariant, tagged(bigsize)], 1), (Annotated[Two, tagged(u8)], 3)],
        *[(Annotated[u32, field(ge=1)], 4), (Annotated[int, scalar("x", python=int, size=3)], 3)],
    ],
)
def test_the_least_bytes_a_value_takes(annotation, size):
    assert least_size(kind_of(annotation)) == size


def unions_in_unions(levels):
    """Return a message whose union has two members, each of two fields of a union like it, and so on."""
    union = LEAVES
    for _ in range(levels):
        left, right = (branch(tag, x=union, y=union) for tag in (0, 1))
        union = Annotated[left | right, tagged(u8)]
    return made("bolt", rows=Annotated[tuple[Annotated[tuple[union, ...], counted(u8)], ...], rest])


def branch(tag, **annotations):
    return subtype(tag=tag)(type("Branch", (), {"__annotations__": annotations, "__module__": __name__}))


@pytest.fixture
def steps(monkeypatch):
    """A list that gets an element for each step in computing sizes."""
    taken, step = [], sizes._least
    monkeypatch.setattr(sizes, "_least", lambda *arguments: taken.append(1) or step(*arguments))
    return taken


def test_least_sizes_of_unions_in_unions_take_steps_by_their_number(steps):
    assert least_size(kind_of(LEAVES)) == 2
    unions_in_unions(4)
    few = len(steps)
    steps.clear()
    unions_in_unions(16)
    assert len(steps) < 24 * few  # quadratic at most: each level computes its own once; by paths it would be 2 ** 24


def test_a_least_size_is_computed_once(steps):
    kind = kind_of(Annotated[tuple[LEAVES, ...], fixed(3)])
    assert least_size(kind) == 6
    taken = len(steps)
    assert least_size(kind) == 6
    assert len(steps) == taken > 0


def test_reading_many_arrays_computes_each_size_once(steps):
    schema = schema_of(unions_in_unions(3))
    for rows in (10, 1000):
        with pytest.raises(MalformedMessage):
            read_message(schema, bytes(2 + rows) + b"\1")
    assert len(steps) < 500


def test_how_bytes_are_counted_where_nothing_is_said():
    kind = kind_of(bytes)
    assert count_of(kind) == kind_of(Annotated[bytes, counted(u16)]).count
    assert count_of(kind, is_record=True) == rest
    assert count_of(kind_of(Annotated[bytes, fixed(3)]), is_record=True) == fixed(3)


@pytest.mark.parametrize(
    ("annotation", "rests"),
    [
        (Annotated[Closed | None, flag(u8)], False),
        (Annotated[Open | None, flag(u8)], True),
        (Annotated[Open, counted(u8)], False),
        (Annotated[One | Two, tagged(u8)], False),
        (Annotated[One | Records, tagged(u8, tags={Records: 7})], True),
        (Annotated[One | Records, tagged(u8, length=u8, tags={Records: 7})], False),
        (Annotated[One | UnknownVariant, tagged(u8)], True),
        (Annotated[tuple[u8, ...], rest, field(length=(1, 2))], True),
    ],
)
def test_kinds_that_take_all_the_rest(annotation, rests):
    assert takes_rest(made("subtype", a=u8, b=annotation).__oddwire__) is rests


@pytest.mark.parametrize(("part", "rests"), [(Open, True), (Closed, False), (Empty, False), (Records, True)])
def test_what_takes_all_the_rest(part, rests):
    assert takes_rest(part.__oddwire__) is rests
    assert takes_rest(schema_of(made("bolt", a=u8, b=part))) is rests
