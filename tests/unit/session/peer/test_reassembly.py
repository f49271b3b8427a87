from __future__ import annotations

import itertools
import random
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from oddwire.errors import MalformedMessage, QuotaExceeded
from oddwire.session.constants import SESSION_TYPE, SESSION_TYPE_BYTES
from oddwire.session.limits import Allowance, Limits
from oddwire.session.peer.reassembly import (
    MAX_PIECE,
    PIECE_WEIGHT,
    STANDSTILL,
    Reassembler,
    ReassemblyBudget,
    ReassemblyGroup,
    split,
)
from oddwire.session.wire.frame_types import MIN_PIECE, Fragment, Hello, Refusal, Spoken
from oddwire.session.wire.frames import (
    decode,
    encode,
    encode_ack,
    encode_data,
    encode_fragment,
    encode_reply,
    encode_request,
)

TYPE = b"\x8c\x01"
ROUTE = 0x2B2B2B2B1A1A1A1A
ADDRESSES = ROUTE.to_bytes(8, "big")
BIG = 1 << 40


def make_payload(size: int, seed: int = 0) -> bytes:
    return TYPE + random.Random(seed).randbytes(size - 2)


def make_pieces(payload: bytes, size: int = MIN_PIECE, transfer: int = 1) -> list[Fragment]:
    frames = [decode(frame) for frame in split(ROUTE, payload, size, transfer)]
    return [frame for frame in frames if isinstance(frame, Fragment)]


def make_assembler(
    *,
    max_size_of: Callable[[int], int] = lambda _: BIG,
    budget: ReassemblyBudget | None = None,
    limits: Limits | None = None,
    allowances: Mapping[int, Allowance] | None = None,
    evicted: Callable[[int, QuotaExceeded], object] = lambda *_: None,
    group: ReassemblyGroup | None = None,
) -> Reassembler:
    own = (allowances or {}).get
    return Reassembler(limits or Limits(), max_size_of, budget or ReassemblyBudget(BIG), own, evicted, group=group)


def push_all(assembler: Reassembler, pieces: list[Fragment]) -> list[bytes]:
    return [made for piece in pieces if (made := assembler.push(piece, 0.0, ADDRESSES)) is not None]


# Cutting -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1024, 1025, 2047, 2048, 2049, 10_000])
def test_pieces_have_the_size_asked_for_but_the_last(size: int) -> None:
    payload = make_payload(10_001)
    pieces = make_pieces(payload, size, 7)
    assert [len(piece.content) for piece in pieces[:-1]] == [size] * (len(pieces) - 1)
    assert 0 < len(pieces[-1].content) <= size
    assert b"".join(piece.content for piece in pieces) == payload
    assert [piece[:4] for piece in pieces] == [(7, 10_001, size, number) for number in range(len(pieces))]


def test_the_largest_piece_fills_a_message() -> None:
    first, last = split(ROUTE, make_payload(MAX_PIECE + 1), MAX_PIECE, 1)
    assert len(first) == 65535
    assert len(last) == 38


@pytest.mark.parametrize("size", [0, 1023, MAX_PIECE + 1, 100_000, 200_000])
def test_a_size_no_piece_can_have_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=rf"1024 to 65498 bytes, and fewer than the payload's 100000, not {size}$"):
        split(ROUTE, bytes(100_000), size, 1)


def test_a_payload_that_needs_no_cutting_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer than the payload's 2000, not 2000"):
        split(ROUTE, bytes(2000), 2000, 1)


def test_pieces_are_made_when_they_are_asked_for() -> None:
    payload = bytes(20_000_000)
    split(ROUTE, payload, 60_000, 1)  # the first takes memory, once
    tracemalloc.start()
    try:
        for _ in itertools.islice(split(ROUTE, payload, 60_000, 1), 100):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


# Putting together ----------------------------------------------------------------------------------------------------


@given(st.data(), st.integers(MIN_PIECE + 1, 20_000), st.integers(MIN_PIECE, 5000))
def test_any_order_and_duplicates_give_the_payload_once(data: st.DataObject, total: int, size: int) -> None:
    payload = make_payload(total, total)
    pieces = make_pieces(payload, min(size, total - 1))
    order = data.draw(st.permutations(pieces))
    again = data.draw(st.lists(st.sampled_from(pieces), max_size=10))
    places = [data.draw(st.integers(0, len(order))) for _ in again]
    sent = list(order)
    for piece, place in zip(again, places, strict=True):
        sent.insert(place, piece)
    assembler = make_assembler()
    assert push_all(assembler, sent) == [payload]
    assert assembler.ignored == len(again)
    assert (len(assembler), assembler.held, assembler.promised, assembler.deadline) == (0, 0, 0, None)


def test_transfers_may_be_mixed() -> None:
    payloads = [make_payload(5000 + number, number) for number in range(10)]
    streams = [make_pieces(payload, transfer=10 + number) for number, payload in enumerate(payloads)]
    mixed = [piece for row in itertools.zip_longest(*streams) for piece in row if piece is not None]
    assert sorted(push_all(make_assembler(), mixed)) == sorted(payloads)


def test_the_first_of_two_different_pieces_counts() -> None:
    payload = make_payload(3000)
    first, second, third = make_pieces(payload)
    assembler = make_assembler()
    assert push_all(assembler, [first, second, second._replace(content=bytes(1024)), third]) == [payload]


def test_what_comes_after_the_end_is_ignored() -> None:
    assembler = make_assembler()
    pieces = make_pieces(make_payload(3000), transfer=5)
    assert len(push_all(assembler, pieces)) == 1
    assert push_all(assembler, pieces) == []
    assert push_all(assembler, make_pieces(make_payload(3000), transfer=4)) == []
    assert assembler.ignored == 6
    assert len(assembler) == 0
    assert len(push_all(assembler, make_pieces(make_payload(3000), transfer=6))) == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"total": 3001}, "should be of 3000 bytes in pieces of 1024, as before, not 3001 of 1024"),
        ({"size": 1025}, "should be of 3000 bytes in pieces of 1024, as before, not 3000 of 1025"),
        ({"piece": 3}, "piece 3 of transfer 1 is beyond the last of 3"),
        ({"piece": 0xFFFFFFFF}, "is beyond the last of 3"),
        ({"content": bytes(1023)}, "piece 1 of transfer 1 should have 1024 bytes, not 1023"),
        ({"content": bytes(1025)}, "should have 1024 bytes, not 1025"),
        ({"content": b""}, "should have 1024 bytes, not 0"),
        ({"piece": 2}, "piece 2 of transfer 1 should have 952 bytes, not 1024"),
    ],
)
def test_a_piece_that_does_not_fit_fails_its_transfer(change: dict[str, Any], text: str) -> None:
    assembler = make_assembler()
    first, second, third = make_pieces(make_payload(3000))
    assembler.push(first, 0.0, ADDRESSES)
    with pytest.raises(MalformedMessage, match=text) as caught:
        assembler.push(second._replace(**change), 0.0, ADDRESSES)
    assert caught.value.type_id == SESSION_TYPE
    assert push_all(assembler, [second, third, first]) == []
    assert (len(assembler), assembler.held, assembler.promised, assembler.ignored) == (0, 0, 0, 3)


@pytest.mark.parametrize(
    ("total", "size"), [(5000, 1023), (5000, 0), (5000, 5000), (5000, 5001), (0, 1024), (1024, 1024), (0, 0)]
)
def test_a_transfer_that_cannot_be_fails_at_once(total: int, size: int) -> None:
    assembler = make_assembler()
    with pytest.raises(MalformedMessage, match=f"1024 bytes or more, and fewer than the payload's {total}, not {size}"):
        assembler.push(Fragment(1, total, size, 0, bytes(size)), 0.0, ADDRESSES)
    assert push_all(assembler, make_pieces(make_payload(3000))) == []


def test_a_fragment_is_not_made_of_fragments() -> None:
    assembler = make_assembler()
    inner = encode_fragment(ROUTE, 9, 70_000, 5000, 0, bytes(5000))
    with pytest.raises(MalformedMessage, match="a fragment is made of fragments"):
        push_all(assembler, make_pieces(inner))


FRAMES: list[Callable[[int], bytes]] = [
    lambda route: encode(Hello(0, 1, 1, 7, (Spoken("a", ("1",), (*range(3000),)),)), route),
    lambda route: encode_request(route, 1, 0, make_payload(5000)),
    lambda route: encode_reply(route, 1, 0, make_payload(5000)),
    lambda route: encode_data(route, 1, 1, 1, 1, make_payload(5000)),
    lambda route: encode_ack(route, 3, 0, 1, 1, 99, [Refusal(number, 4, "x" * 50) for number in range(1, 99)]),
    lambda route: SESSION_TYPE_BYTES + b"\x77" + route.to_bytes(8, "big") + bytes(5000),
]


@pytest.mark.parametrize("write", FRAMES, ids=["hello", "request", "reply", "data", "ack", "another kind"])
@pytest.mark.parametrize(
    "route", [ROUTE + 1, ROUTE + (1 << 32), ROUTE & 0xFFFFFFFF, (ROUTE & 0xFFFFFFFF) << 32 | ROUTE >> 32, 1]
)
def test_a_frame_has_the_addresses_of_its_fragments(write: Callable[[int], bytes], route: int) -> None:
    assembler = make_assembler()
    assert push_all(assembler, make_pieces(write(ROUTE), transfer=1)) == [write(ROUTE)]
    first, *rest = make_pieces(write(route), transfer=2)
    assert push_all(assembler, rest) == []
    told = f"other addresses than its fragments: {route:016x}, not {ROUTE:016x}"
    with pytest.raises(MalformedMessage, match=told) as caught:
        assembler.push(first, 0.0, ADDRESSES)
    assert caught.value.type_id == SESSION_TYPE
    assert (len(assembler), assembler.held) == (0, 0)
    assert push_all(assembler, make_pieces(write(route), transfer=2)) == []


def test_the_bytes_where_a_frame_has_its_addresses_may_be_any_in_another_message() -> None:
    payload = b"\xc0\xdf" + bytes(5000)
    assert push_all(make_assembler(), make_pieces(payload)) == [payload]


# Limits --------------------------------------------------------------------------------------------------------------


def test_no_more_transfers_than_allowed() -> None:
    assembler = make_assembler(limits=Limits(transfers=2))
    firsts = [make_pieces(make_payload(3000), transfer=number)[0] for number in range(3)]
    assert push_all(assembler, firsts[:2]) == []
    with pytest.raises(QuotaExceeded, match="more than 2 transfers at once") as caught:
        assembler.push(firsts[2], 0.0, ADDRESSES)
    assert caught.value.limit == "transfers"
    assert len(assembler) == 2
    assert len(push_all(assembler, make_pieces(make_payload(3000), transfer=0)[1:])) == 1
    assert push_all(assembler, make_pieces(make_payload(3000), transfer=2)) == [], "it has failed"
    assert len(push_all(assembler, make_pieces(make_payload(3000), transfer=3))) == 1


def test_no_more_bytes_are_promised_than_allowed() -> None:
    assembler = make_assembler(limits=Limits(reassembly_bytes=10_000))
    assembler.push(make_pieces(make_payload(6000), transfer=1)[0], 0.0, ADDRESSES)
    with pytest.raises(QuotaExceeded, match="5000 bytes beside 6000 under way; at most 10000 at once") as caught:
        assembler.push(make_pieces(make_payload(5000), transfer=2)[0], 0.0, ADDRESSES)
    assert caught.value.limit == "reassembly_bytes"
    assembler.push(make_pieces(make_payload(4000), transfer=3)[0], 0.0, ADDRESSES)
    assert assembler.promised == 10_000


def test_all_peers_together_hold_no_more_than_allowed() -> None:
    budget = ReassemblyBudget(3 * (1024 + PIECE_WEIGHT))
    one, two = make_assembler(budget=budget), make_assembler(budget=budget)
    pieces = make_pieces(make_payload(4000))
    assert push_all(one, pieces[:2]) == push_all(two, pieces[:1]) == []
    assert budget.held == budget.limit
    with pytest.raises(QuotaExceeded, match="bytes of all peers wait") as caught:
        two.push(pieces[1], 0.0, ADDRESSES)
    assert caught.value.limit == "total_reassembly_bytes"
    assert (one.held, two.held, budget.held) == (2 * (1024 + PIECE_WEIGHT), 0, 2 * (1024 + PIECE_WEIGHT))
    one.clear()
    assert budget.held == 0


PIECE = 1024 + PIECE_WEIGHT


def holding(
    budget: ReassemblyBudget,
    pieces: int,
    told: list[int] | None = None,
    now: float = 0.0,
    group: ReassemblyGroup | None = None,
) -> Reassembler:
    """Make a peer, or one of its programs, that holds so many pieces, each of a transfer of its own."""
    assembler = make_assembler(
        budget=budget, evicted=lambda number, _: told is None or told.append(number), group=group
    )
    for number in range(pieces):
        assembler.push(make_pieces(make_payload(4000), transfer=number)[0], now + number / 10, ADDRESSES)
    return assembler


def test_who_has_little_takes_room_from_who_has_most() -> None:
    budget, told = ReassemblyBudget(6 * PIECE), [list[int](), list[int]()]
    large, larger = holding(budget, 2, told[0]), holding(budget, 4, told[1])
    new = holding(budget, 2)
    assert (large.held, larger.held, new.held) == (2 * PIECE, 2 * PIECE, 2 * PIECE)
    assert told == [[], [0, 1]]  # those that waited longest
    assert budget.held == budget.limit
    with pytest.raises(QuotaExceeded) as caught:  # all have the same now
        new.push(make_pieces(make_payload(4000), transfer=9)[0], 0.5, ADDRESSES)
    assert caught.value.limit == "total_reassembly_bytes"
    assert (large.held, larger.held) == (2 * PIECE, 2 * PIECE)


def test_a_peer_with_many_programs_has_no_more_than_one_with_one() -> None:
    budget, told, group = ReassemblyBudget(8 * PIECE), list[int](), ReassemblyGroup()
    many = [holding(budget, 1, told, group=group) for _ in range(6)]
    honest = holding(budget, 3)
    assert honest.held == 3 * PIECE
    assert sum(program.held for program in many) == 5 * PIECE
    assert told == [0]
    with pytest.raises(QuotaExceeded):  # what makes room for one of them is none of theirs
        many[-1].push(make_pieces(make_payload(4000), transfer=9)[0], 0.5, ADDRESSES)
    assert honest.held == 3 * PIECE


def test_what_an_extension_allows_is_for_all_programs_of_a_peer() -> None:
    allowances, group = {SHOP: Allowance("shop", Limits(transfers=2))}, ReassemblyGroup()
    one, other = (make_assembler(allowances=allowances, group=group) for _ in range(2))
    shop = SHOP.to_bytes(2, "big") + bytes(3000)
    for number in (1, 2):
        one.push(make_pieces(shop, transfer=number)[0], 0.0, ADDRESSES)
    with pytest.raises(QuotaExceeded) as caught:
        other.push(make_pieces(shop, transfer=1)[0], 0.0, ADDRESSES)
    assert (caught.value.limit, caught.value.extension) == ("transfers", "shop")
    one.clear()  # the program has ended
    other.push(make_pieces(shop, transfer=2)[0], 0.0, ADDRESSES)
    assert len(other) == 1


def test_many_who_stand_still_do_not_keep_out_who_goes_on() -> None:
    budget = ReassemblyBudget(4 * PIECE)
    told: list[int] = []
    still = [holding(budget, 1, told) for _ in range(4)]
    payload = make_payload(4000)
    pieces = make_pieces(payload)
    new = make_assembler(budget=budget)
    with pytest.raises(QuotaExceeded):
        new.push(pieces[0], STANDSTILL / 2, ADDRESSES)
    again = make_pieces(payload, transfer=2)
    made = [new.push(piece, STANDSTILL + number / 100, ADDRESSES) for number, piece in enumerate(again)]
    assert made[-1] == payload
    assert sum(one.held for one in still) == budget.held == PIECE
    assert told == [0, 0, 0]


def test_a_transfer_that_made_room_is_over() -> None:
    budget = ReassemblyBudget(2 * PIECE)
    one, _ = holding(budget, 2), holding(budget, 1)
    pieces = make_pieces(make_payload(4000), transfer=0)
    assert [one.push(piece, 1.0, ADDRESSES) for piece in pieces] == [None] * len(pieces)
    assert (len(one), one.ignored, one.promised) == (1, len(pieces), 4000)


def test_no_transfer_begins_where_there_is_no_room_for_what_it_brings() -> None:
    crowded = [True]
    assembler = Reassembler(Limits(), lambda _: BIG, ReassemblyBudget(BIG), crowded=lambda: crowded[0])
    pieces = make_pieces(make_payload(4000))
    with pytest.raises(QuotaExceeded, match="no room for more messages of this peer") as caught:
        assembler.push(pieces[0], 0.0, ADDRESSES)
    assert caught.value.limit == "total_message_bytes"
    crowded[0] = False
    again = make_pieces(make_payload(4000), transfer=2)
    assembler.push(again[0], 0.0, ADDRESSES)
    crowded[0] = True
    assert len(push_all(assembler, again[1:])) == 1  # what has begun may end


def test_the_last_piece_needs_no_room() -> None:
    budget = ReassemblyBudget(1024 + PIECE_WEIGHT)
    assert len(push_all(make_assembler(budget=budget), make_pieces(make_payload(2048)))) == 1


wrapped = pytest.mark.parametrize(
    "wrap",
    [
        lambda payload: payload,
        lambda payload: encode_request(ROUTE, 1, 0, payload),
        lambda payload: encode_request(ROUTE, 1, 0, payload, 5000),
        lambda payload: encode_reply(ROUTE, 1, 0, payload),
        lambda payload: encode_data(ROUTE, 1, 1, 1, 1, payload),
    ],
    ids=["plain", "request", "request with records", "reply", "data"],
)


@wrapped
def test_a_payload_too_long_for_its_type_fails_with_its_first_piece(wrap: Callable[[bytes], bytes]) -> None:
    sizes = {0x8C01: 10_000}
    assembler = make_assembler(max_size_of=lambda type_id: sizes.get(type_id, 0))
    assert push_all(assembler, make_pieces(wrap(make_payload(10_000)), transfer=1)) == [wrap(make_payload(10_000))]
    first, second, *_ = make_pieces(wrap(make_payload(11_100)), transfer=2)
    assembler.push(second, 0.0, ADDRESSES)
    with pytest.raises(QuotaExceeded, match="type 0x8c01 has at most 10000 bytes") as caught:
        assembler.push(first, 0.0, ADDRESSES)
    assert caught.value.limit == "max_size"
    assert assembler.held == 0
    stranger = wrap(b"\x8c\x03" + bytes(5000))
    with pytest.raises(QuotaExceeded, match="no extension handles type 0x8c03"):
        assembler.push(make_pieces(stranger, transfer=3)[0], 0.0, ADDRESSES)


def test_other_frames_are_for_their_decoder_to_judge() -> None:
    ack = encode_ack(ROUTE, 3, 0, 1, 1, 1) + bytes(5000)
    assert push_all(make_assembler(max_size_of=lambda _: 0), make_pieces(ack)) == [ack]


def test_a_transfer_of_which_nothing_new_comes_is_given_up() -> None:
    assembler = make_assembler(limits=Limits(transfer_seconds=60))
    slow, fast = make_pieces(make_payload(5000), transfer=1), make_pieces(make_payload(5000), transfer=2)
    assembler.push(slow[0], 100.0, ADDRESSES)
    assembler.push(fast[0], 100.0, ADDRESSES)
    assert assembler.deadline == 160.0
    assembler.push(fast[1], 130.0, ADDRESSES)
    assembler.push(slow[0], 140.0, ADDRESSES)  # nothing new
    assert assembler.expire(159.0) == []
    [(number, error)] = assembler.expire(160.0)
    assert (number, error.limit, str(error)) == (1, "transfer_seconds", "no new piece for 60 s")
    assert assembler.deadline == 190.0
    assert assembler.push(slow[1], 161.0, ADDRESSES) is None
    assert len(assembler) == 1
    assert [number for number, _ in assembler.expire(1000.0)] == [2]
    assert (assembler.held, assembler.promised) == (0, 0)
    assert assembler.deadline is None


def test_a_cancelled_transfer_is_forgotten() -> None:
    assembler = make_assembler()
    pieces = make_pieces(make_payload(3000))
    assembler.push(pieces[0], 0.0, ADDRESSES)
    assert assembler.cancel(1)
    assert not assembler.cancel(1)
    assert assembler.held == 0
    assert push_all(assembler, pieces) == []


def test_a_fragment_that_cannot_be_read_fails_its_transfer_once() -> None:
    payload = make_payload(3000)
    assembler = make_assembler()
    pieces = make_pieces(payload, transfer=5)
    push_all(assembler, pieces[:2])
    assert assembler.fail(5)
    assert not assembler.fail(5)
    assert (len(assembler), assembler.held, assembler.promised) == (0, 0, 0)
    assert push_all(assembler, pieces) == []


def test_a_transfer_can_fail_before_it_begins() -> None:
    payload = make_payload(3000)
    assembler = make_assembler()
    assert assembler.fail(5)
    assert not assembler.fail(4)
    assert push_all(assembler, make_pieces(payload, transfer=5)) == []
    assert push_all(assembler, make_pieces(payload, transfer=6)) == [payload]


def test_after_clear_ids_start_again() -> None:
    assembler = make_assembler()
    push_all(assembler, make_pieces(make_payload(3000), transfer=9)[:2])
    assembler.clear()
    assert (len(assembler), assembler.held, assembler.promised) == (0, 0, 0)
    assert len(push_all(assembler, make_pieces(make_payload(3000), transfer=1))) == 1


def test_memory_is_spent_on_what_has_come() -> None:
    assembler = make_assembler(limits=Limits(reassembly_bytes=1 << 34))
    tracemalloc.start()
    try:
        for number in range(16):
            assembler.push(Fragment(number, 1 << 30, MIN_PIECE, 1_000_000, bytes(1024)), 0.0, ADDRESSES)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 100_000


def test_held_counts_about_what_is_held() -> None:
    frames = list(split(ROUTE, make_payload(4_000_000), MIN_PIECE, 1))
    random.Random(1).shuffle(frames)
    assembler = make_assembler()
    tracemalloc.start()
    try:
        for frame in frames[:3900]:
            piece = decode(frame)
            assert isinstance(piece, Fragment)
            assembler.push(piece, 0.0, ADDRESSES)
        del piece
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < assembler.held * 1.1


# Limits of extensions ------------------------------------------------------------------------------------------------

SHOP, CHAT = 0x8C01, 0x8C03


def begin(assembler: Reassembler, transfer: int, size: int = 3000, type_id: int = SHOP) -> list[Fragment]:
    """Push the first piece of a payload; give the others."""
    pieces = make_pieces(type_id.to_bytes(2, "big") + bytes(size - 2), transfer=transfer)
    assert assembler.push(pieces[0], 0.0, ADDRESSES) is None
    return pieces[1:]


@wrapped
def test_an_extension_has_no_more_transfers_than_it_allows(wrap: Callable[[bytes], bytes]) -> None:
    assembler = make_assembler(allowances={SHOP: Allowance("shop", Limits(transfers=2))})
    for transfer in (1, 2):
        begin(assembler, transfer)
    first, second, *rest = make_pieces(wrap(make_payload(3000)), transfer=3)
    assert assembler.push(second, 0.0, ADDRESSES) is None, "nobody knows yet whose it is"
    with pytest.raises(QuotaExceeded, match=r"^extension 'shop': more than 2 transfers at once$") as caught:
        assembler.push(first, 0.0, ADDRESSES)
    assert (caught.value.limit, caught.value.extension) == ("transfers", "shop")
    assert len(assembler) == 2
    assert push_all(assembler, rest) == [], "it has failed"
    begin(assembler, 4, type_id=CHAT)  # that is another's


def test_an_extension_has_no_more_bytes_than_it_allows() -> None:
    assembler = make_assembler(allowances={SHOP: Allowance("shop", Limits(reassembly_bytes=10_000))})
    begin(assembler, 1, 6000)
    text = r"^extension 'shop': 5000 bytes beside 6000 under way; at most 10000 at once$"
    with pytest.raises(QuotaExceeded, match=text) as caught:
        begin(assembler, 2, 5000)
    assert (caught.value.limit, caught.value.extension) == ("reassembly_bytes", "shop")
    assert assembler.promised == 6000
    begin(assembler, 3, 4000)
    begin(assembler, 4, 5000, CHAT)
    assert assembler.promised == 15_000


def test_extensions_count_apart_and_their_types_together() -> None:
    shop, chat = Allowance("shop", Limits(transfers=1)), Allowance("chat", Limits(transfers=1))
    assembler = make_assembler(allowances={SHOP: shop, 0x8C05: shop, CHAT: chat})
    begin(assembler, 1)
    begin(assembler, 2, type_id=CHAT)
    with pytest.raises(QuotaExceeded, match="'shop'"):
        begin(assembler, 3, type_id=0x8C05)


def test_the_application_s_limits_hold_for_extensions_that_allow_more() -> None:
    assembler = make_assembler(
        limits=Limits(transfers=1, transfer_seconds=5), allowances={SHOP: Allowance("shop", Limits(transfers=9))}
    )
    begin(assembler, 1)
    with pytest.raises(QuotaExceeded, match=r"^more than 1 transfers at once$") as caught:
        begin(assembler, 2)
    assert caught.value.extension is None
    [(_, error)] = assembler.expire(5.0)
    assert error.extension is None


def test_a_first_piece_that_comes_last_is_counted_too() -> None:
    assembler = make_assembler(allowances={SHOP: Allowance("shop", Limits(reassembly_bytes=5000))})
    first, second, third = make_pieces(make_payload(3000), transfer=1)
    begin(assembler, 2)
    push_all(assembler, [second, third])  # ignored: an older transfer's
    first, second, third = make_pieces(make_payload(3000), transfer=3)
    assert push_all(assembler, [third, second]) == []
    with pytest.raises(QuotaExceeded, match="3000 bytes beside 3000"):
        assembler.push(first, 0.0, ADDRESSES)


def test_what_ends_makes_room_in_its_extension_however_it_ends() -> None:
    assembler = make_assembler(allowances={SHOP: Allowance("shop", Limits(transfers=1, reassembly_bytes=3000))})
    assert len(push_all(assembler, begin(assembler, 1))) == 1
    begin(assembler, 2)
    assembler.cancel(2)
    begin(assembler, 3)
    assembler.fail(3)
    rest = begin(assembler, 4)
    with pytest.raises(MalformedMessage):
        assembler.push(rest[0]._replace(total=5000), 0.0, ADDRESSES)
    begin(assembler, 5)
    assert [number for number, _ in assembler.expire(60.0)] == [5]
    begin(assembler, 6)
    assembler.clear()
    begin(assembler, 7)
    with pytest.raises(QuotaExceeded):
        begin(assembler, 8)


def test_an_extension_may_have_less_patience() -> None:
    assembler = make_assembler(
        limits=Limits(transfer_seconds=60), allowances={SHOP: Allowance("shop", Limits(transfer_seconds=5))}
    )
    assert assembler.patience == 60
    begin(assembler, 1, type_id=CHAT)
    second = make_pieces(make_payload(3000), transfer=2)[1]
    assembler.push(second, 0.0, ADDRESSES)
    assert (assembler.patience, assembler.deadline) == (60, 60)
    begin(assembler, 3)
    assert (assembler.patience, assembler.deadline) == (5, 5)
    [(number, error)] = assembler.expire(5.0)
    assert (number, error.limit, error.extension) == (3, "transfer_seconds", "shop")
    assert str(error) == "extension 'shop': no new piece for 5 s"
    assert [number for number, _ in assembler.expire(60.0)] == [1, 2]


def test_a_stranger_s_types_leave_no_trace() -> None:
    assembler = make_assembler(allowances={SHOP: Allowance("shop", Limits(transfers=1))})
    for number in range(300):
        begin(assembler, number, type_id=0x9001 + 2 * number)
        assembler.cancel(number)
    assert assembler.group.tallies == {}


# A hostile peer ------------------------------------------------------------------------------------------------------

LIMITS = Limits(transfers=3, reassembly_bytes=20_000, transfer_seconds=10)
OWN = Limits(transfers=2, reassembly_bytes=11_000, transfer_seconds=5)
numbers = st.sampled_from([0, 1, 2, 3, 4, 5, 1 << 63, (1 << 64) - 1])


@dataclass
class Sending:
    payload: bytes
    pieces: list[Fragment]
    came: set[int] = field(default_factory=set)


class HostilePeer(RuleBasedStateMachine):
    """Whatever comes between, honest transfers give their own bytes or fail, and memory stays within the limits."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = ReassemblyBudget(12_000)
        self.assembler = make_assembler(
            budget=self.budget, limits=LIMITS, allowances={SHOP: Allowance("shop", OWN), 0: Allowance("zero", OWN)}
        )
        self.sending: dict[int, Sending] = {}
        self.next = 0
        self.now = 0.0

    def push(self, piece: Fragment) -> None:
        entry = self.sending.get(piece.transfer)
        try:
            made = self.assembler.push(piece, self.now, ADDRESSES)
        except (MalformedMessage, QuotaExceeded):
            self.sending.pop(piece.transfer, None)
            return
        if made is not None and entry is not None:
            assert made == entry.payload
            del self.sending[piece.transfer]

    @rule(total=st.integers(MIN_PIECE + 1, 9000), size=st.integers(MIN_PIECE, 3000), skip=st.integers(1, 3))
    def begin(self, total: int, size: int, skip: int) -> None:
        self.next += skip
        payload = make_payload(total, self.next)
        self.sending[self.next] = Sending(payload, make_pieces(payload, min(size, total - 1), self.next))

    @precondition(lambda self: self.sending)
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        entry = self.sending[data.draw(st.sampled_from(sorted(self.sending)))]
        self.push(data.draw(st.sampled_from(entry.pieces)))

    @precondition(lambda self: self.sending)
    @rule(data=st.data(), total=numbers, size=numbers, piece=numbers)
    def lie_about_an_honest_transfer(self, data: st.DataObject, total: int, size: int, piece: int) -> None:
        number = data.draw(st.sampled_from(sorted(self.sending)))
        true = data.draw(st.sampled_from(self.sending[number].pieces))
        false = data.draw(
            st.sampled_from([true._replace(total=total), true._replace(size=size), true._replace(piece=piece)])
        )
        if false.piece != true.piece and false.piece < len(self.sending[number].pieces):
            return  # that is a true piece in a false place: nobody can tell
        self.push(false)

    @rule(total=numbers, size=numbers, piece=numbers, length=st.integers(0, 3000))
    def make_one_up(self, total: int, size: int, piece: int, length: int) -> None:
        self.next += 1
        self.push(Fragment(self.next, total, size, piece, bytes(length)))

    @rule(seconds=st.floats(0, 11))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for number, _ in self.assembler.expire(self.now):
            self.sending.pop(number, None)
        deadline = self.assembler.deadline
        assert deadline is None or deadline > self.now

    @precondition(lambda self: self.sending)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.sending)))
        self.assembler.cancel(number)
        del self.sending[number]

    @invariant()
    def within_the_limits(self) -> None:
        assert len(self.assembler) <= LIMITS.transfers
        assert self.assembler.promised <= LIMITS.reassembly_bytes
        assert 0 <= self.assembler.held == self.budget.held <= self.budget.limit
        assert (len(self.assembler) == 0) is (self.assembler.promised == 0)
        tallies = self.assembler.group.tallies
        assert tallies.keys() <= {"shop", "zero"}
        for tally in tallies.values():
            assert 0 <= tally.transfers <= OWN.transfers
            assert 0 <= tally.promised <= OWN.reassembly_bytes
            assert (tally.transfers == 0) is (tally.promised == 0)
        assert sum(tally.transfers for tally in tallies.values()) <= len(self.assembler)


TestHostilePeer = HostilePeer.TestCase
TestHostilePeer.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
