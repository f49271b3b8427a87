"""BOLT 1, Appendix C: extensions of ``init``, through the bolt codec and a message loaded from the BOLT's own CSV."""

import json
from pathlib import Path

import pytest
from pyln.spec import bolt1

from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.errors import OutOfOrder, Truncated, UnknownRequiredRecord
from oddwire.schema import schema_of
from oddwire.schema.bolt_csv import load_csv

VECTORS = json.loads(Path(__file__).with_name("bolt1_init.json").read_text())
ERRORS = {
    "the extension is present but truncated": Truncated,
    "the extension contains unknown even TLV records (assuming that TLV type 0xca is unknown)": UnknownRequiredRecord,
    "the extension TLV stream is invalid (duplicate TLV record type 0xc9)": OutOfOrder,
}
INIT = load_csv(bolt1.csv).messages["init"]
PLAN = BoltCodec().compile(schema_of(INIT))


def test_all_the_vectors_are_here():
    assert [vector["valid"] for vector in VECTORS] == [True, True, False, False, False]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["bytes"])
def test_extensions_of_init(vector):
    payload = bytes.fromhex(vector["bytes"])
    if vector["valid"]:
        assert PLAN.decode(payload) == INIT(globalfeatures=b"", features=b"")
    else:
        with pytest.raises(ERRORS[vector["reason"]]):
            PLAN.decode(payload)
