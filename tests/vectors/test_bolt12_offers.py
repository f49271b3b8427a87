"""BOLT 12's published offers: the valid ones are written in the same bytes; what is no such stream is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from oddwire.codecs import decode_subtype, encode_subtype
from oddwire.errors import MalformedMessage, OutOfOrder, Truncated, UnknownRequiredRecord
from oddwire.known.bolts import Offer
from oddwire.schema import to_dict

VECTORS = json.loads(Path(__file__).with_name("bolt12_offers.json").read_text())
NAMES = {field.tlv: field.name for field in Offer.__oddwire__.fields}
ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"  # BIP 173; an offer has no checksum
INVALID = {
    "Malformed: fields out of order": OutOfOrder,
    "Malformed: unknown even TLV type 78": UnknownRequiredRecord,
    "Malformed: truncated at type": Truncated,
    "Malformed: truncated in length": Truncated,
    "Malformed: truncated after length": Truncated,
    "Malformed: truncated in description": Truncated,
    "Malformed: invalid offer_chains length": Truncated,
    "Malformed: truncated currency UTF-8": MalformedMessage,
    "Malformed: invalid currency UTF-8": MalformedMessage,
    "Malformed: truncated description UTF-8": MalformedMessage,
    "Malformed: invalid description UTF-8": MalformedMessage,
    "Malformed: truncated offer_paths": Truncated,
    "Malformed: zero num_hops in blinded_path": MalformedMessage,
    "Malformed: truncated onionmsg_hop in blinded_path": MalformedMessage,
    "Malformed: bad first_node_id in blinded_path": MalformedMessage,
    "Malformed: bad path_key in blinded_path": MalformedMessage,
    "Malformed: bad blinded_node_id in onionmsg_hop": MalformedMessage,
    "Malformed: truncated issuer UTF-8": MalformedMessage,
    "Malformed: invalid issuer UTF-8": MalformedMessage,
    "Malformed: invalid offer_issuer_id": MalformedMessage,
    "Contains type >= 80": UnknownRequiredRecord,
    "Contains type > 1999999999": MalformedMessage,
    "Contains unknown even type (1000000002)": MalformedMessage,
}
# Well-formed streams, whose records an offer may not have, or not so: for the reader to judge.
WELL_FORMED = {
    "Malformed: empty",
    "Contains unknown feature 122",
    "Missing offer_description, but has offer_amount",
    "Missing offer_amount with offer_currency",
    "Invalid: zero offer_amount",
    "Invalid: zero offer_amount with currency",
    "Missing offer_issuer_id and no offer_path",
    "Second offer_path is empty",
    "offer_chains with zero entries",
    "Bech32 padding exceeds 4-bit limit",
}
VALID = [vector for vector in VECTORS if vector["valid"]]
REFUSED = [vector for vector in VECTORS if not vector["valid"] and vector["description"] not in WELL_FORMED]


def contents(bolt12: str) -> bytes:
    digits = [ALPHABET.index(letter) for letter in bolt12.lower().partition("1")[2]]
    bits = "".join(f"{digit:05b}" for digit in digits)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8))


def described(vector: dict[str, Any]) -> str:
    return str(vector["description"])


@pytest.mark.parametrize("vector", VALID, ids=described)
def test_a_valid_offer(vector: dict[str, Any]) -> None:
    data = contents(vector["bolt12"])
    offer = decode_subtype(Offer, data)
    present = {name for name in NAMES.values() if getattr(offer, name) is not None}
    assert present == {NAMES[record["type"]] for record in vector["fields"] if record["type"] in NAMES}
    for record in vector["fields"]:
        if record["type"] in NAMES:
            value = getattr(offer, NAMES[record["type"]])
            assert encode_subtype(value).hex() == record["hex"]
            assert decode_subtype(type(value), bytes.fromhex(record["hex"])) == value
    if len(present) == len(vector["fields"]):
        assert encode_subtype(offer) == data
    else:  # an unknown record
        assert len(encode_subtype(offer)) < len(data)
    assert decode_subtype(Offer, encode_subtype(offer)) == offer


@pytest.mark.parametrize("vector", REFUSED, ids=described)
def test_an_offer_that_is_no_stream_of_the_kind(vector: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode_subtype(Offer, contents(vector["bolt12"]))
    assert isinstance(caught.value, INVALID[vector["description"]])
    assert caught.value.type_id is None


def test_all_vectors_are_judged() -> None:
    invalid = {vector["description"] for vector in VECTORS if not vector["valid"]}
    assert invalid == {*INVALID, *WELL_FORMED}
    assert (len(VALID), len(invalid)) == (20, 33)


def test_fields_of_offers() -> None:
    offers = {vector["description"]: decode_subtype(Offer, contents(vector["bolt12"])) for vector in VALID}
    dollars = to_dict(offers["with currency"])
    assert (dollars["offer_currency"], dollars["offer_amount"]) == ({"iso4217": "USD"}, {"amount": 10000})
    assert offers["with issuer"].offer_issuer.issuer == "https://bolt12.org BOLT12 industries"
    assert offers["with expiry"].offer_absolute_expiry.seconds_from_epoch == 2051184600
    assert offers["with unlimited (or unknown) quantity"].offer_quantity_max.max == 0
    [path] = offers["same, with blinded path first_node_id using sciddir"].offer_paths.paths
    assert path.first_node_id.hex() == "00000000000000002a"  # side 0 of channel 0x0x42
    assert [len(hop.encrypted_recipient_data) for hop in path.path] == [16, 8]
