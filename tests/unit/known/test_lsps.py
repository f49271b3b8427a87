"""oddwire.known.lsps2 and lsps5: what both sides compute."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from oddwire import replace, schema_of
from oddwire.known import lsps0, lsps1, lsps2, lsps5
from oddwire.known.lsps2 import opening_fee, payment_sizes

VECTORS = Path(__file__).parents[2] / "vectors" / "known"
PARAMS = lsps2.OpeningFeeParams(
    min_fee_msat=546_000,
    proportional=1200,
    valid_until="2023-02-23T08:47:30.511Z",
    min_lifetime=1008,
    max_client_to_self_delay=2016,
    min_payment_size_msat=1000,
    max_payment_size_msat=1_000_000,
    promise="abcdefghijklmnopqrstuvwxyz",
)
LARGEST = (2**64 - 1_000_000) // 1200  # whose product and 999999 are in 64 bits


@pytest.mark.parametrize(
    ("size", "fee"),
    [(0, 546_000), (455_000_000, 546_000), (455_000_001, 546_001), (456_000_000, 547_200), (LARGEST, 18446744073709)],
)
def test_the_opening_fee_is_rounded_up(size: int, fee: int) -> None:
    assert opening_fee(PARAMS, size) == fee


def test_what_64_bits_do_not_hold_has_no_fee() -> None:
    for size in (LARGEST + 1, 2**64 - 1):
        with pytest.raises(OverflowError, match=f"the fee of 1200 millionths of {size} msat exceeds 64 bits"):
            opening_fee(PARAMS, size)
    assert opening_fee(replace(PARAMS, proportional=0), 2**64 - 1) == 546_000


@pytest.mark.parametrize(
    ("changes", "sizes"),
    [
        ({"max_payment_size_msat": 10**12}, (546_001, 10**12)),
        ({"min_payment_size_msat": 10**6, "max_payment_size_msat": 2**64 - 1}, (10**6, LARGEST)),
        ({"proportional": 0, "max_payment_size_msat": 2**64 - 1}, (546_001, 2**64 - 1)),
        ({"min_fee_msat": 0, "min_payment_size_msat": 0, "proportional": 999_999}, (1_000_000, 1_000_000)),
        ({"min_fee_msat": 0, "min_payment_size_msat": 0, "proportional": 500_000}, (2, 1_000_000)),
    ],
)
def test_the_sizes_of_payments(changes: dict[str, int], sizes: tuple[int, int]) -> None:
    params = replace(PARAMS, **changes)
    assert payment_sizes(params) == sizes
    least, most = sizes
    assert opening_fee(params, least) < least
    assert opening_fee(params, most) < most
    if least > params.min_payment_size_msat:
        assert opening_fee(params, least - 1) >= least - 1


@pytest.mark.parametrize(
    "changes",
    [
        {"proportional": 1_000_000},
        {"proportional": 2**32 - 1},
        {"min_fee_msat": 2**64 - 1},
        {"max_payment_size_msat": 546_000},
        {"min_payment_size_msat": 7, "max_payment_size_msat": 5},
        {"min_payment_size_msat": LARGEST + 1, "max_payment_size_msat": 2**64 - 1},
    ],
)
def test_parameters_by_which_nobody_can_pay(changes: dict[str, int]) -> None:
    least, most = payment_sizes(replace(PARAMS, **changes))
    assert least > most


@pytest.mark.parametrize(
    "rate", [0, 1, 3, 333_333, 500_000, 666_667, 900_000, 999_000, 1_000_000, 1_000_001, 3_000_000]
)
@pytest.mark.parametrize("fee", [0, 1, 5, 40])
def test_the_sizes_are_all_those_that_exceed_their_fee(rate: int, fee: int) -> None:
    params = replace(PARAMS, proportional=rate, min_fee_msat=fee, min_payment_size_msat=0, max_payment_size_msat=1200)
    least, most = payment_sizes(params)
    assert [*range(least, most + 1)] == [size for size in range(1201) if opening_fee(params, size) < size]


def test_the_example_in_blip_52_is_to_be_refused() -> None:
    [example] = [
        one for one in json.loads((VECTORS / "lsps2.json").read_text()) if one.get("procedure") == "lsps2.buy"
    ][:1]
    wish = lsps2.BUY.load_params(json.loads(example["text"]))
    assert wish.opening_fee_params == PARAMS
    assert wish.payment_size_msat == 42_000
    assert opening_fee(PARAMS, 42_000) >= 42_000


DUMP = """
00000000: 4c53 5053 353a 2044 4f20 4e4f 5420 5349  LSPS5: DO NOT SI
00000010: 474e 2054 4849 5320 4d45 5353 4147 4520  GN THIS MESSAGE
00000020: 4d41 4e55 414c 4c59 3a20 4c53 503a 2041  MANUALLY: LSP: A
00000030: 7420 3230 3233 2d30 352d 3034 5431 303a  t 2023-05-04T10:
00000040: 3532 3a35 382e 3339 355a 2049 206e 6f74  52:58.395Z I not
00000050: 6966 7920 7b22 6a73 6f6e 7270 6322 3a22  ify {"jsonrpc":"
00000060: 322e 3022 2c22 6d65 7468 6f64 223a 226c  2.0","method":"l
00000070: 7370 7335 2e67 6f6f 6462 7965 222c 2270  sps5.goodbye","p
00000080: 6172 616d 7322 3a7b 7d7d                 arams":{}}
"""


def test_what_is_signed_for_a_webhook_is_as_in_blip_55() -> None:
    expected = bytes.fromhex("".join(re.findall(r"(?<=: )[0-9a-f ]+?(?=  )", DUMP)))
    body = '{"jsonrpc":"2.0","method":"lsps5.goodbye","params":{}}'
    assert lsps5.text_to_sign("2023-05-04T10:52:58.395Z", body).encode() == expected


def test_methods_are_named_by_their_protocol() -> None:
    for number, module in ((0, lsps0), (1, lsps1), (2, lsps2), (5, lsps5)):
        assert all(one.name.startswith(f"lsps{number}.") for one in module.PROTOCOL.procedures)
    assert {one.name for one in lsps5.NOTIFICATIONS if one.record is not None} == {"lsps5.expiry_soon"}
    assert schema_of(lsps0.Lsps0Message).type_id == 37913
