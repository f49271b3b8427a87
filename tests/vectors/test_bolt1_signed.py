"""BOLT 1, Appendix D: signed integers test vectors."""

import json
from pathlib import Path

import pytest

from oddwire.errors import ValueOutOfRange
from oddwire.proto.primitives import sint_decode, sint_encode

VECTORS = json.loads(Path(__file__).with_name("bolt1_signed.json").read_text())


def test_all_the_vectors_are_here():
    assert len(VECTORS) == 23


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["value"]))
def test_signed_integers_both_ways(vector):
    data = bytes.fromhex(vector["bytes"])
    assert sint_encode(vector["value"], len(data)) == data
    assert sint_decode(data, len(data)) == (vector["value"], len(data))


@pytest.mark.parametrize("vector", [v for v in VECTORS if len(v["bytes"]) > 2], ids=lambda vector: str(vector["value"]))
def test_each_needs_its_size(vector):
    with pytest.raises(ValueOutOfRange):
        sint_encode(vector["value"], len(vector["bytes"]) // 4)
