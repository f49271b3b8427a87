from __future__ import annotations

import base64
import contextlib
import copy
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.lnd.macaroons import ADMIN, READONLY, bake, uris

from oddwire.transports.lnd.calls import CONNECTING, NEEDED
from oddwire.transports.lnd.macaroon import Macaroon, Permission, bake_line

VECTORS = Path(__file__).parents[3] / "vectors" / "lnd_macaroons.jsonl"
REAL = {row["case"]: bytes.fromhex(row["macaroon"]) for row in map(json.loads, VECTORS.read_text().splitlines())}
OURS = bake(b"key", uris(*NEEDED))


@pytest.mark.parametrize(
    ("case", "lacking", "excess"),
    [
        (
            "admin",
            [],
            [
                "address:write (makes addresses)",
                "info:write (stops LND, changes its configuration)",
                "invoices:write (makes invoices)",
                "macaroon:generate (makes macaroons of any power)",
                "macaroon:write (revokes macaroons)",
                "message:write (signs messages)",
                "offchain:write (pays)",
                "onchain:write (spends on chain, opens and closes channels)",
                "signer:generate (signs transactions with LND's keys)",
            ],
        ),
        ("readonly", ["SendCustomMessage"], []),
        (
            "invoice",
            ["SendCustomMessage", "SubscribeCustomMessages", "SubscribePeerEvents", "ListPeers", "GetInfo"],
            ["address:write (makes addresses)", "invoices:write (makes invoices)"],
        ),
        ("our calls", [], []),
        ("our calls and connecting", [], []),
        ("with a time limit", [], []),
        ("root key 7", [], ["offchain:write (pays)"]),
    ],
)
def test_what_lnds_own_permit(case, lacking, excess):
    macaroon = Macaroon.read(REAL[case])
    assert macaroon.lacking() == lacking
    assert macaroon.excess() == excess


def test_all_of_the_real_ones_were_looked_at():
    assert len(REAL) == 7


def test_connecting_peers_is_a_permission_of_its_own():
    assert Macaroon.read(REAL["our calls"]).lacking(CONNECTING) == list(CONNECTING)
    assert Macaroon.read(REAL["our calls and connecting"]).lacking(CONNECTING) == []
    assert Macaroon.read(REAL["admin"]).lacking(CONNECTING) == []
    assert Macaroon.read(bake(b"key", {"peers": ["write"]})).excess() == []


def test_a_single_call_that_is_not_ours_is_too_much():
    macaroon = Macaroon.read(bake(b"key", {"uri": ["/lnrpc.Lightning/SendPaymentSync", "/lnrpc.Lightning/GetInfo"]}))
    assert macaroon.excess() == ["uri:/lnrpc.Lightning/SendPaymentSync"]
    assert macaroon.permits("GetInfo")
    assert macaroon.permits("GetState")  # which needs none


def test_a_permission_of_a_later_version_is_shown_as_it_is():
    assert Macaroon.read(bake(b"key", {"swap": ["write"], "x\n": ["write"]})).excess() == ["swap:write", "x\\n:write"]


@pytest.mark.parametrize("text", [str.lower, str.upper, lambda text: f" {text}\n"])
def test_hex_is_read_as_well(text):
    macaroon = Macaroon.read(text(OURS.hex()).encode())
    assert macaroon.header == OURS.hex()
    assert macaroon.permissions[0] == Permission("uri", "/lnrpc.Lightning/SendCustomMessage")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "is empty; make one by the line that `oddwire lnd macaroon` prints"),
        (b" \n", "is empty"),
        (base64.b64encode(OURS), "is in base64; LND's files have it as bytes, and hex will do: base64 -d FILE"),
        (b"-----BEGIN CERTIFICATE-----\n", "is a certificate or key"),
        (b"password", "is no macaroon of LND's: it should begin with the byte 02"),
        (b"00ff", "is no macaroon of LND's: it should begin with the byte 02"),
        (OURS[:-1], "is no macaroon of LND's: its signature is damaged"),
        (OURS + b"\n", "is no macaroon of LND's: its signature is damaged"),
        (OURS[:20], "is no macaroon of LND's: it is damaged"),
        (b"\x02", "is no macaroon of LND's: ends within a number"),
        (b"\x02\x00\x06\x20" + bytes(32), "is no macaroon of LND's: its id is not of LND's version"),
        (OURS.replace(b"\x03\x0a\x10", b"\x02\x0a\x10"), "is no macaroon of LND's: its id is not of LND's version"),
    ],
)
def test_files_that_are_none(data, text):
    with pytest.raises(ValueError) as caught:
        Macaroon.read(data)
    assert str(caught.value).startswith(text)
    assert OURS[-32:].hex() not in str(caught.value)


@given(st.binary(max_size=80), st.integers(0, len(OURS)))
def test_any_bytes_are_a_macaroon_or_one_kind_of_error(tail, kept):
    with contextlib.suppress(ValueError):
        macaroon = Macaroon.read(OURS[:kept] + tail)
        assert all(map(str, (*macaroon.permissions, *macaroon.caveats, *macaroon.excess())))


def test_nothing_shows_it_but_its_header():
    macaroon = Macaroon.read(OURS)
    secret = OURS[-32:].hex()
    assert repr(macaroon) == "<Macaroon with 5 permissions>"
    for shown in (str(macaroon), f"{macaroon!r}", repr(macaroon.permissions), repr(macaroon.header), repr([macaroon])):
        assert secret not in shown
    assert secret in macaroon.header
    for leaking in (copy.copy, pickle.dumps):
        with pytest.raises(TypeError, match="a macaroon is not pickled"):
            leaking(macaroon)


def test_caveats_are_told():
    caveats = ["time-before 2027-01-01T00:00:00Z", "ipaddr 10.0.0.1"]
    assert Macaroon.read(bake(b"key", READONLY, caveats)).caveats == tuple(caveats)
    assert Macaroon.read(bake(b"key", ADMIN)).caveats == ()


def test_the_line_for_lncli():
    start = "lncli bakemacaroon"
    calls = [f"uri:/lnrpc.Lightning/{name}" for name in NEEDED]
    assert bake_line(connect=False) == " ".join([start, *calls])
    more = [f"uri:/lnrpc.Lightning/{name}" for name in ("ConnectPeer", "DisconnectPeer")]
    assert bake_line(save_to="/my files/o.macaroon") == " ".join(
        [start, "--save_to", "'/my files/o.macaroon'", *calls, *more]
    )
