"""oddwire.decoding.transfers."""

from __future__ import annotations

from oddwire.decoding.transfers import Transfers
from oddwire.session.wire.frames import encode_fragment

ROUTE = 1 << 32 | 7
WHOLE = bytes.fromhex("8c21") + bytes(range(256)) * 10
SIZE = 1024
PIECES = [WHOLE[at : at + SIZE] for at in range(0, len(WHOLE), SIZE)]


def fragment(number: int, transfer: int = 1, route: int = ROUTE, total: int = len(WHOLE)) -> bytes:
    return encode_fragment(route, transfer, total, SIZE, number, PIECES[number])


def test_the_last_piece_gives_the_whole() -> None:
    transfers = Transfers()
    assert [transfers.add("a", fragment(number)) for number in range(3)] == [None, None, WHOLE]
    assert transfers.add("a", fragment(2)) is None  # it is over


def test_pieces_come_in_any_order_and_twice() -> None:
    transfers = Transfers()
    assert [transfers.add("a", fragment(number)) for number in (2, 0, 0, 2, 1)] == [None, None, None, None, WHOLE]


def test_transfers_are_told_apart_by_way_sender_and_number() -> None:
    transfers = Transfers()
    others = [("b", 1, ROUTE), ("a", 2, ROUTE), ("a", 1, ROUTE + 1)]
    for number in (0, 1):
        assert transfers.add("a", fragment(number)) is None
    for way, transfer, route in others:
        assert transfers.add(way, fragment(2, transfer, route)) is None
    assert transfers.add("a", fragment(2)) == WHOLE


def test_another_transfer_of_the_same_number_begins_anew() -> None:
    transfers = Transfers()
    assert transfers.add("a", fragment(0)) is None
    assert transfers.add("a", fragment(1, total=SIZE * 2)) is None
    assert transfers.add("a", fragment(2, total=len(WHOLE))) is None


def test_what_is_no_fragment_gives_nothing() -> None:
    transfers = Transfers()
    for payload in (b"", b"\x8c\x01\n", b"\xc0\xdd", b"\xc0\xdd\x0a", fragment(0)[:30]):
        assert transfers.add("a", payload) is None


def test_what_is_never_completed_makes_room() -> None:
    transfers = Transfers()
    piece = bytes(60000)
    for transfer in range(2000):
        payload = encode_fragment(ROUTE, transfer, 2 * len(piece), len(piece), 0, piece)
        assert transfers.add("a", payload) is None
    assert transfers.size <= 64 << 20
    assert transfers.add("a", encode_fragment(ROUTE, 1999, 2 * len(piece), len(piece), 1, piece)) is not None
    assert transfers.add("a", encode_fragment(ROUTE, 0, 2 * len(piece), len(piece), 1, piece)) is None


def test_a_total_beyond_all_bounds_is_not_begun() -> None:
    transfers = Transfers()
    assert transfers.add("a", encode_fragment(ROUTE, 1, 1 << 40, SIZE, 0, PIECES[0])) is None
    assert transfers.size == 0
