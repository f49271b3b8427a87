"""The code generated for arrays, bytes and text: each way to count them, few elements and many."""

from __future__ import annotations

from typing import Annotated

import pytest
from tests.support.generated_source import HANDED_ON, generated

from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.codecs.bolt.struct_runs import FEW
from oddwire.schema import (
    Message,
    bigsize,
    counted,
    field,
    fixed,
    max_length,
    message,
    rest,
    s16,
    schema_of,
    sciddir_or_pubkey,
    sha256,
    subtype,
    u8,
    u16,
)


@message(0x8C09, codec="bolt")
class Arrays(Message):
    counted: tuple[sha256, ...]
    listed: list[sha256]
    fixed: tuple[sha256, ...] = field(count=17)
    last: tuple[sha256, ...] = field(count=rest)


@pytest.mark.parametrize("number", [0, 1, FEW - 1, FEW, 40])
def test_few_elements_and_many(number):
    encode, decode, _ = generated(schema_of(Arrays))
    digests = [bytes([i]) * 32 for i in range(1, number + 1)]
    sample = Arrays(counted=tuple(digests), listed=digests, fixed=(bytes(32),) * 17, last=tuple(digests))
    payload = encode(sample)
    assert decode(payload) == sample
    assert BoltCodec().compile(schema_of(Arrays)).decode(payload) == sample
    with pytest.raises(HANDED_ON):
        decode(payload + b"?")
    for wrong in (bytearray(32), bytes(31), None):
        with pytest.raises(HANDED_ON):
            encode(Arrays(counted=(*digests, wrong), listed=[], fixed=sample.fixed, last=()))


@subtype
class Leaf:
    name: str
    leaves: tuple[Leaf, ...] = ()


@message(0x8C0B, codec="bolt")
class Counts(Message):
    number: u8
    numbers: tuple[u8, ...] = field(count="number")
    signed: list[s16] = field(count=bigsize)
    texts: list[Annotated[str, max_length(3)]]
    code: Annotated[str, fixed(3)]
    place: sciddir_or_pubkey
    pairs: tuple[tuple[u16, ...], ...] = field(max_length=2)
    leaves: tuple[Leaf, ...]
    lasts: tuple[Annotated[bytes, counted(u8)], ...] = field(count=rest)


COUNTS = Counts(
    number=2,
    numbers=(1, 2),
    signed=[-1, 2],
    texts=["abc", ""],
    code="eur",
    place=b"\1" + bytes(8),
    pairs=((1, 2), ()),
    leaves=(Leaf(name="a", leaves=(Leaf(name="b"),)),),
    lasts=(b"x", b""),
)
ENCODED = (
    "8c0b 02 0102 02ffff0002 0002 0003616263 0000 657572 01 0000000000000000"
    "0002 0002 00010002 0000 0001 000161 0001 000162 0000 0178 00"
)
ENCODE, DECODE, _ = generated(schema_of(Counts))


def test_each_way_to_count():
    assert ENCODE(COUNTS) == bytes.fromhex(ENCODED)
    assert DECODE(bytes.fromhex(ENCODED)) == COUNTS
    assert BoltCodec().compile(schema_of(Counts)).decode(bytes.fromhex(ENCODED)) == COUNTS


@pytest.mark.parametrize(
    "change",
    [
        {"number": 3},
        {"numbers": (1, True)},
        {"signed": [1 << 15]},
        {"signed": (1,)},
        {"texts": ["abcd"]},
        {"code": "euro"},
        {"place": b"\1" + bytes(32)},
        {"place": b"\4" + bytes(8)},
        {"place": b""},
        {"pairs": ((), (), ())},
        {"leaves": (None,)},
        {"lasts": (bytes(256),)},
        {"lasts": ("x",)},
    ],
)
def test_other_counts_are_handed_on(change):
    values = {f.name: getattr(COUNTS, f.name) for f in schema_of(Counts).fields} | change
    with pytest.raises(HANDED_ON):
        ENCODE(Counts(**values))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0003616263", "000461626364"),  # a text too long
        ("657572", "ffffff"),  # which is not UTF-8
        ("01 0000000000000000", "04 0000000000000000"),
        ("0002 0002 00010002 0000", "0003 0000 0000 0000"),  # one pair too many
        ("0002 0002 00010002 0000", "ffff 0002 00010002 0000"),  # more than there are bytes for
        ("0178 00", "0278 00 01"),
    ],
)
def test_payloads_with_other_counts_are_handed_on(old, new):
    assert old in ENCODED
    with pytest.raises(HANDED_ON):
        DECODE(bytes.fromhex(ENCODED.replace(old, new)))
