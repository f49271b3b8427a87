"""oddwire.known.dlc: what its vectors do not say."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from coincurve import PublicKeyXOnly

from oddwire import MalformedMessage, Message, schema_of
from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.known import dlc
from oddwire.known.dlc import AcceptDlc, CloseDlc, OfferDlc, SegmentChunk, SegmentStart, joined, segments_of
from oddwire.proto.primitives import bigsize_encode
from oddwire.schema import from_dict, replace

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "known" / "dlc.json").read_text())


def vector(cls: type[Message], source: str) -> Any:
    return next(v for v in VECTORS if v["message"] == cls.__name__ and source in v["source"])


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def plan_of(cls: type[Message]) -> Any:
    return BoltCodec().compile(schema_of(cls))


def accept(signatures: int) -> AcceptDlc:
    small = from_dict(AcceptDlc, vector(AcceptDlc, "enum_single_oracle")["fields"])
    return replace(small, cet_adaptor_signatures=tuple(bytes([n % 251]) * 162 for n in range(signatures)))


def test_a_long_message_is_cut_into_segments_and_joined():
    message = accept(720)  # as many as in dlcspecs' enum_and_numerical_with_diff_3_of_5_test.json
    payload = plan_of(AcceptDlc).encode(message)
    assert len(payload) == 117041
    start, chunks = segments_of(payload)
    sent = [plan_of(SegmentStart).encode(start), *map(plan_of(SegmentChunk).encode, chunks)]
    assert [len(segment) for segment in sent] == [65532, 51519]
    assert sent[0][:8].hex() == "a7940002fff6a71c"
    assert sent[1][:4].hex() == "a796c93b"
    received = joined(plan_of(SegmentStart).decode(sent[0]), [plan_of(SegmentChunk).decode(sent[1])])
    assert received == payload
    assert plan_of(AcceptDlc).decode(received) == message


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        (65536, [65526, 10]),
        (65526 + 65528, [65526, 65528]),
        (65526 + 2 * 65528 + 1236, [65526, 65528, 65528, 1236]),  # rust-dlc's test_get_segments
    ],
)
def test_segments_are_as_long_as_there_is_room(size, sizes):
    payload = bytes(range(256)) * (size // 256 + 1)
    start, chunks = segments_of(payload[:size])
    assert [len(start.data), *(len(chunk.data) for chunk in chunks)] == sizes
    assert start.nb_segments == len(sizes)
    assert joined(start, chunks) == payload[:size]


@pytest.mark.parametrize("size", [0, 2, 65535, (1 << 24) + 1])
def test_what_is_not_cut(size):
    with pytest.raises(ValueError, match=f"should be more than 65535 bytes, at most 16777216, not {size}"):
        segments_of(bytes(size))


def test_segments_that_are_missing():
    start, chunks = segments_of(bytes(70000))
    with pytest.raises(ValueError, match="should be 2 segments, not 1"):
        joined(start, [])
    with pytest.raises(ValueError, match="should be 2 segments, not 3"):
        joined(start, [*chunks, *chunks])


def test_a_message_that_fits_is_no_longer_than_a_payload():
    assert schema_of(SegmentStart).max_size == schema_of(dlc.SettleOffer).max_size == 65535
    assert schema_of(OfferDlc).max_size == dlc.MAX_SIZE


def test_types_that_nobody_knows_in_the_middle_of_an_offer():
    payload = bytes.fromhex(vector(OfferDlc, "enum_single_oracle")["hex"])
    assert payload[71] == 0
    with pytest.raises(MalformedMessage) as caught:
        plan_of(OfferDlc).decode(payload[:71] + b"\x02" + payload[72:])
    assert (caught.value.path, caught.value.offset) == ("$.contract_info", 71)
    at = payload.index(bytes.fromhex("fdd806"))  # the event descriptor
    with pytest.raises(MalformedMessage) as caught:
        plan_of(OfferDlc).decode(payload[:at] + bytes.fromhex("fdd807") + payload[at + 3 :])
    path = "$.contract_info.oracle_info.oracle_announcement.oracle_event.event_descriptor"
    assert (caught.value.path, caught.value.offset) == (path, at)


def test_an_announcement_that_is_shorter_than_it_says():
    payload = bytes.fromhex(vector(OfferDlc, "enum_single_oracle")["hex"])
    at = payload.index(bytes.fromhex("fdd822"))  # the oracle event
    with pytest.raises(MalformedMessage) as caught:
        plan_of(OfferDlc).decode(payload[: at + 3] + bytes([payload[at + 3] - 1]) + payload[at + 4 :])
    assert caught.value.path is not None
    assert caught.value.path.startswith("$.contract_info.oracle_info.oracle_announcement.oracle_event")


def test_negotiation_fields_nest_so_deep_and_no_deeper():
    fields = vector(AcceptDlc, "enum_single_oracle")["fields"]
    payload = plan_of(AcceptDlc).encode(from_dict(AcceptDlc, fields))
    assert payload[-1:] == b"\0"
    innermost = b"\0\0"  # a single one, of no intervals
    decode = plan_of(AcceptDlc).decode
    found = decode(payload[:-1] + b"\1" + b"\1\1" * 32 + innermost).negotiation_fields
    for _ in range(32):
        assert isinstance(found, dlc.DisjointNegotiationFields)
        [found] = found.negotiation_fields
    assert found == dlc.SingleNegotiationFields(rounding_intervals=())
    with pytest.raises(MalformedMessage, match="32 levels"):
        decode(payload[:-1] + b"\1" + b"\1\1" * 33 + innermost)


def test_a_close_without_its_type_once_more_is_malformed():
    payload = bytes.fromhex(vector(CloseDlc, "dlcdevkit")["hex"])
    assert payload[:4].hex() == "a720a720"
    with pytest.raises(MalformedMessage) as caught:
        plan_of(CloseDlc).decode(payload[:2] + payload[4:])
    assert caught.value.path == "$.repeated_type"


def announcements(message: Any) -> list[dlc.OracleAnnouncement]:
    if isinstance(message, dlc.OracleAnnouncement):
        return [message]
    info = message.contract_info
    found = []
    for part in [info] if isinstance(info, dlc.SingleContractInfo) else info.events:
        single = isinstance(part.oracle_info, dlc.SingleOracleInfo)
        found += [part.oracle_info.oracle_announcement] if single else part.oracle_info.oracle_announcements
    return found


SIGNED = [v for v in VECTORS if v["message"] in ("OfferDlc", "OracleAnnouncement")]


@pytest.mark.parametrize("vector", SIGNED, ids=lambda v: v["source"][-50:])
def test_oracles_have_signed_the_bytes_that_events_are_encoded_to(vector):
    message = plan_of(getattr(dlc, vector["message"])).decode(bytes.fromhex(vector["hex"]))
    for announcement in announcements(message):
        event = plan_of(dlc.OracleEvent).encode(announcement.oracle_event)[2:]
        if "dlcspecs" in vector["source"]:  # as rust-dlc 0.8.0 does
            signed = sha256(event)
        else:  # Oracle.md, "Signing Algorithm"
            tag = sha256(b"DLC/oracle/announcement/v0")
            signed = sha256(tag + tag + bigsize_encode(55330) + bigsize_encode(len(event)) + event)
        key = PublicKeyXOnly(announcement.oracle_public_key)
        assert key.verify(announcement.announcement_signature, signed)
