"""BOLT 1, Appendix C: extensions of ``init``, through the rules of a connection."""

import json
from pathlib import Path

import pytest

from oddwire.errors import OutOfOrder, Truncated, UnknownRequiredRecord
from oddwire.proto.bolt1 import Bolt1, Init, Notice

VECTORS = json.loads(Path(__file__).with_name("bolt1_init.json").read_text())
ERRORS = {
    "the extension is present but truncated": Truncated,
    "the extension contains unknown even TLV records (assuming that TLV type 0xca is unknown)": UnknownRequiredRecord,
    "the extension TLV stream is invalid (duplicate TLV record type 0xc9)": OutOfOrder,
}


def test_all_the_vectors_are_here():
    assert [vector["valid"] for vector in VECTORS] == [True, True, False, False, False]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["bytes"])
def test_extensions_of_init(vector):
    payload = bytes.fromhex(vector["bytes"])
    if vector["valid"]:
        assert Init.decode(payload) == Init()
    else:
        with pytest.raises(ERRORS[vector["reason"]]):
            Init.decode(payload)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["bytes"])
def test_a_bad_extension_closes_the_connection_with_a_warning(vector):
    rules = Bolt1(now=0.0)
    event = rules.receive(bytes.fromhex(vector["bytes"]), 0.0)
    if vector["valid"]:
        assert (event, rules.closed, rules.outgoing()) == (Init(), None, [])
    else:
        assert event is None
        assert rules.closed
        (warning,) = rules.outgoing()
        assert Notice.decode(warning) == Notice("warning", rules.closed)
