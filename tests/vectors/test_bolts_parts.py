"""The BOLTs' TLV streams, subtypes and failure messages, byte for byte: published, or made by hand from the BOLTs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oddwire.codecs import decode_subtype, encode_subtype
from oddwire.known import bolts
from oddwire.schema import to_dict

VECTORS = json.loads(Path(__file__).with_name("bolts_parts.json").read_text())
FAILURES = {cls.__name__ for cls in bolts.FAILURES.values()}


def functions(name: str) -> tuple[type, Callable[[bytes], Any], Callable[[Any], bytes]]:
    cls = getattr(bolts, name)
    if name in FAILURES:
        return cls, bolts.decode_failure, bolts.encode
    return cls, lambda data: decode_subtype(cls, data), encode_subtype


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_a_vector(vector: dict[str, Any]) -> None:
    cls, decode, encode = functions(vector["name"])
    data = bytes.fromhex(vector["hex"])
    value = decode(data)
    assert type(value) is cls
    assert {name: part for name, part in to_dict(value).items() if part is not None} == vector["fields"]
    encoded = bytes.fromhex(vector["encoded"]["hex"]) if "encoded" in vector else data
    assert encode(value).hex() == encoded.hex()
    assert decode(encoded) == value


def test_each_failure_message_and_each_stream_that_is_no_messages_has_a_vector() -> None:
    inside = {name for name in bolts.NAMESPACE.tlv_streams if name.endswith("_tlvs")}
    streams = {bolts.NAMESPACE.tlv_streams[name].__name__ for name in {*bolts.NAMESPACE.tlv_streams} - inside}
    assert {vector["name"] for vector in VECTORS} == {*FAILURES, *streams - {"Offer"}, "BlindedPath"}
    assert "Offer" in streams, "its vectors are in bolt12_offers.json"
