"""BOLT 1, Appendix B: TLV stream test vectors, through the bolt codec and messages loaded from the BOLT's own CSV."""

import itertools
import json
from pathlib import Path

import pytest
from pyln.spec import bolt1

from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.errors import MalformedMessage, NotMinimal, OutOfOrder, TrailingBytes, Truncated, UnknownRequiredRecord
from oddwire.proto.primitives import parse_tlv_stream
from oddwire.schema import schema_of
from oddwire.schema.bolt_csv import load_csv

VECTORS = json.loads(Path(__file__).with_name("bolt1_tlv.json").read_text())
CASES = [(namespace, vector) for vector in VECTORS for namespace in vector["namespaces"]]
INVALID = [case for case in CASES if not case[1]["valid"]]
VALID = [case for case in CASES if case[1]["valid"]]

ERRORS = {
    "type truncated": Truncated,
    "missing length": Truncated,
    "length truncated": Truncated,
    "missing value": Truncated,
    "value truncated": Truncated,
    "less than encoding length for n1s tlv2": Truncated,
    "less than encoding length for n1s tlv3": Truncated,
    "less than encoding length for n1s tlv4": Truncated,
    "not minimally encoded type": NotMinimal,
    "not minimally encoded length": NotMinimal,
    "encoding for n1s tlv1s amount_msat is not minimal": NotMinimal,
    "greater than encoding length for n1s tlv1": TrailingBytes,
    "greater than encoding length for n1s tlv2": TrailingBytes,
    "greater than encoding length for n1s tlv3": TrailingBytes,
    "greater than encoding length for n1s tlv4": TrailingBytes,
    "n1s node_id is not a valid point": MalformedMessage,
    "unknown even type": UnknownRequiredRecord,
    "unknown even field for n1s namespace": UnknownRequiredRecord,
    "valid TLV records but invalid ordering": OutOfOrder,
    "valid (ignored) TLV records but invalid ordering": OutOfOrder,
    "duplicate TLV type": OutOfOrder,
    "duplicate TLV type (ignored)": OutOfOrder,
}

# A stream travels in a message: one for each namespace, with nothing else in it.
TYPES = {"n1": 0x8001, "n2": 0x8003}
LOADED = load_csv(
    [*bolt1.csv]
    + [f"msgtype,in_{namespace},{number}" for namespace, number in TYPES.items()]
    + [f"msgdata,in_{namespace},stream,{namespace}," for namespace in TYPES]
)
PLANS = {namespace: BoltCodec().compile(schema_of(LOADED.messages[f"in_{namespace}"])) for namespace in TYPES}


def decode(namespace, stream):
    return PLANS[namespace].decode(TYPES[namespace].to_bytes(2, "big") + bytes.fromhex(stream))


def values(message):
    """The records that are there: ``{record: {field: value}}``, values as the vectors write them."""
    records = {field.name: getattr(message.stream, field.name) for field in type(message.stream).__oddwire__.fields}
    return {
        name: {field.name: plain(getattr(record, field.name)) for field in type(record).__oddwire__.fields}
        for name, record in records.items()
        if record is not None
    }


def plain(value):
    if isinstance(value, int):
        return value
    return value.hex() if hasattr(value, "hex") else str(value)


def name(case):
    return f"{case[0]}:{case[1]['bytes'][:24]}"


def test_all_the_vectors_are_here():
    assert len(VECTORS) == 57


@pytest.mark.parametrize("case", INVALID, ids=name)
def test_invalid_streams_raise_the_error_of_their_reason(case):
    namespace, vector = case
    with pytest.raises(MalformedMessage) as caught:
        decode(namespace, vector["bytes"])
    assert type(caught.value) is ERRORS[vector["reason"]]
    assert caught.value.type_id == TYPES[namespace]


@pytest.mark.parametrize("case", VALID, ids=name)
def test_valid_streams_give_their_values(case):
    namespace, vector = case
    message = decode(namespace, vector["bytes"])
    assert values(message) == vector["values"]
    if vector["values"] or not vector["bytes"]:
        assert PLANS[namespace].encode(message)[2:].hex() == vector["bytes"]


@pytest.mark.parametrize("namespace", TYPES)
def test_an_invalid_stream_after_a_valid_one_is_invalid(namespace):
    tried = 0
    for (valid_in, valid), (invalid_in, invalid) in itertools.product(VALID, INVALID):
        if valid_in == invalid_in == namespace:
            with pytest.raises(MalformedMessage):
                decode(namespace, valid["bytes"] + invalid["bytes"])
            tried += 1
    assert tried >= 90


@pytest.mark.parametrize("namespace", TYPES)
def test_valid_streams_in_ascending_order_are_a_valid_stream(namespace):
    tried = 0
    for (lower_in, lower), (higher_in, higher) in itertools.product(VALID, VALID):
        if lower_in == higher_in == namespace and 0 <= last_type(lower) < last_type(higher):
            message = decode(namespace, lower["bytes"] + higher["bytes"])
            assert values(message) == lower["values"] | higher["values"]
            tried += 1
    assert tried >= 15


def last_type(vector):
    records = parse_tlv_stream(bytes.fromhex(vector["bytes"]))
    return records[-1][0] if records else -1
