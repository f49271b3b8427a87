"""BOLT 1, Appendix A: BigSize test vectors."""

import json
from pathlib import Path

import pytest

from oddwire.errors import NotMinimal, Truncated
from oddwire.proto.primitives import bigsize_decode, bigsize_encode

VECTORS = json.loads(Path(__file__).with_name("bolt1_bigsize.json").read_text())
ERRORS = {"decoded bigsize is not canonical": NotMinimal, "unexpected EOF": Truncated, "EOF": Truncated}


def test_all_the_vectors_are_here():
    assert (len(VECTORS["decoding"]), len(VECTORS["encoding"])) == (18, 8)


@pytest.mark.parametrize("vector", VECTORS["decoding"], ids=lambda vector: vector["name"])
def test_decoding(vector):
    data = bytes.fromhex(vector["bytes"])
    if "exp_error" in vector:
        with pytest.raises(ERRORS[vector["exp_error"]]) as caught:
            bigsize_decode(data)
        assert caught.value.offset == 0
    else:
        assert bigsize_decode(data) == (vector["value"], len(data))


@pytest.mark.parametrize("vector", VECTORS["encoding"], ids=lambda vector: vector["name"])
def test_encoding(vector):
    assert bigsize_encode(vector["value"]).hex() == vector["bytes"]
