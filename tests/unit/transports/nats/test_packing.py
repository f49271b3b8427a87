"""What gateways and owners say to each other."""

from __future__ import annotations

import contextlib
import hashlib

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwire.proto.keys import NodeId
from oddwire.transports.nats.packing import (
    Accepted,
    Batch,
    MalformedBatch,
    Outgoing,
    pack_control,
    unpack_control,
)
from oddwire.transports.nats.subjects import partition_of

PEER = NodeId(b"\x02" + bytes(31) + b"\x07")
NUMBER = st.integers(0, 2**63)
PACKED = st.recursive(st.one_of(NUMBER, st.text(), st.binary(), st.none()), st.lists).map(msgpack.packb)
ENTRY = st.one_of(
    st.tuples(st.just(0), st.just(5), st.text(), st.sampled_from(["in", "out"]), st.binary()).map(list),
    st.tuples(st.just(1), st.just(5), NUMBER, st.binary()).map(list),
    st.tuples(st.just(2), st.just(5), st.text()).map(list),
    st.tuples(st.just(3), NUMBER).map(list),
    st.tuples(st.just(4), st.just(5)).map(list),
)


@given(NUMBER, st.lists(ENTRY))
def test_batches(run: int, entries: list[list[object]]) -> None:
    batch = Batch(run, {5: PEER}, entries)
    assert Batch.unpack(batch.pack()) == batch


@given(NUMBER, NUMBER, NUMBER, NUMBER, st.lists(st.tuples(NUMBER, st.binary())))
def test_requests_to_send(k: int, term: int, run: int, number: int, payloads: list[tuple[int, bytes]]) -> None:
    assert Outgoing.unpack(Outgoing(k, term, run, number, payloads).pack()) == Outgoing(
        k,
        term,
        run,
        number,
        [list(one) for one in payloads],  # type: ignore[misc] # as msgpack has it
    )


@given(st.text(), st.text(), st.lists(st.tuples(NUMBER, st.text(), st.text())), st.lists(NUMBER))
def test_answers(status: str, text: str, refused: list[tuple[int, str, str]], full: list[int]) -> None:
    answer = Accepted(status, text, refused, full)
    assert Accepted.unpack(answer.pack()) == answer


@pytest.mark.parametrize("unpack", [Batch.unpack, Outgoing.unpack, Accepted.unpack, unpack_control])
@given(st.one_of(st.binary(), PACKED))
def test_whatever_comes_is_decoded_or_malformed(unpack: object, raw: bytes) -> None:
    with contextlib.suppress(MalformedBatch):
        unpack(raw)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (msgpack.packb([2, 1, {}, []]), "version 2; this program knows 1"),
        (msgpack.packb([1, 1, {}]), "has 4 parts, not 3"),
        (msgpack.packb([1, -1, {}, []]), "the run is a number from 0, not -1"),
        (msgpack.packb([1, True, {}, []]), "the run is a number"),
        (msgpack.packb([1, 1, {1: b"x"}, []]), "node id should be 33 bytes"),
        (msgpack.packb([1, 1, {}, [[1, 7, 1, b""]]]), "connection 7 is nobody's"),
        (msgpack.packb([1, 1, {}, [[9]]]), "not an entry of a batch"),
        (msgpack.packb([1, 1, {7: PEER}, [[1, 7, 1, "x"]]]), "other parts"),
        (msgpack.packb([1, 1, {7: PEER}, [[0, 7, "", "up", b""]]]), "in or out"),
        (b"\xc1", "not msgpack"),
    ],
)
def test_what_is_wrong_is_said(raw: bytes, said: str) -> None:
    with pytest.raises(MalformedBatch, match=said):
        Batch.unpack(raw)


def test_controls() -> None:
    assert unpack_control(pack_control({"do": "owner", "k": 3})) == {"do": "owner", "k": 3}
    with pytest.raises(MalformedBatch, match="a map by names"):
        unpack_control(msgpack.packb({1: 2}))


def test_the_partition_of_a_peer() -> None:
    assert partition_of(PEER, 16) == int.from_bytes(hashlib.sha256(PEER).digest()[:4], "big") % 16
    peers = [NodeId(b"\x03" + bytes(30) + number.to_bytes(2, "big")) for number in range(300)]
    assert {partition_of(peer, 16) for peer in peers} == set(range(16))
