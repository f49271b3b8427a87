"""Which options go with --lnd, and which do not: a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.lnd_options import LndOptions, is_macaroon, lnd_network

IN_HEX = "0201036c6e6402f801030a10" + "5a" * 100
IN_BASE64 = "AgEDbG5kAvgBAwoQ" + "Wlpa" * 30


@pytest.mark.parametrize(
    ("options", "is_wanted"),
    [
        ({}, False),
        ({"network": "regtest", "chosen": True}, False),
        ({"address": "127.0.0.1:10009"}, True),
        ({"lnddir": Path("/home/bob/.lnd")}, True),
        ({"address": "h:1", "tlscert": Path("tls.cert"), "macaroon": Path("it.macaroon")}, True),
        ({"address": "h:1", "tlscert": Path("tls.cert")}, True),  # for a LND that asks for no macaroon
        ({"lnddir": Path(".lnd"), "macaroon": Path("it.macaroon"), "network": "simnet"}, True),
    ],
)
def test_what_goes_together(options: dict[str, Any], is_wanted: bool) -> None:
    found = LndOptions(**options)
    found.check()
    assert found.is_wanted is is_wanted


LND = {"address": "127.0.0.1:10009"}


@pytest.mark.parametrize(
    ("options", "others", "wrong"),
    [
        (
            {"tlscert": Path("a.cert")},
            {},
            "--tlscert a.cert is for an LND: --lnd HOST:PORT, or --lnddir DIR, says which",
        ),
        ({"macaroon": Path("it")}, {}, "--macaroon it is for an LND: --lnd HOST:PORT, or --lnddir DIR, says which"),
        (LND, {"listen": ["[::]:9735"]}, r"--listen \[::\]:9735 does not go with --lnd: LND listens, .* lnd.conf"),
        (LND, {"proxy": "127.0.0.1:9050"}, "--proxy 127.0.0.1:9050 does not go with --lnd: LND dials, .*tor.socks"),
        (LND, {"connect_timeout": 5.0}, "--connect-timeout 5 does not go with --lnd: .*connectiontimeout="),
        ({"lnddir": Path("d")}, {"listen": ["a:1", "b:2"]}, "--listen a:1 does not go with --lnddir"),
        ({"address": ""}, {}, "--lnd is empty; it should be HOST:PORT"),
    ],
)
def test_what_does_not_go_together_is_told_with_what_would(
    options: dict[str, Any], others: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(CommandFailure, match=wrong) as failed:
        LndOptions(**options).check(**others)
    assert failed.value.code == USAGE


@pytest.mark.parametrize("text", [IN_HEX, IN_HEX.upper(), f"{IN_HEX}\n", IN_BASE64])
@pytest.mark.parametrize("options", [{}, LND])
def test_a_macaroon_in_place_of_its_file_is_refused_and_not_shown(options: dict[str, Any], text: str) -> None:
    assert is_macaroon(text)
    with pytest.raises(CommandFailure, match="is the name of a file, not what is in it") as failed:
        LndOptions(**options, macaroon=Path(text)).check()
    assert text.strip()[20:40] not in str(failed.value)


@pytest.mark.parametrize(
    "text", ["", "oddwire.macaroon", "0201", "/home/bob/.lnd/data/chain/bitcoin/mainnet/admin.macaroon", "a" * 200]
)
def test_the_name_of_a_file_is_none(text: str) -> None:
    assert not is_macaroon(text)


def test_lnd_has_a_word_of_its_own_for_the_main_network() -> None:
    assert [lnd_network(name) for name in ("bitcoin", "mainnet", "regtest", "nope")] == [
        *("mainnet", "mainnet", "regtest", "nope")
    ]


def test_a_folder_of_another_network_is_told_of(tmp_path: Path) -> None:
    assert LndOptions(lnddir=tmp_path).elsewhere == ""
    for network in ("regtest", "signet"):
        (tmp_path / "data" / "chain" / "bitcoin" / network).mkdir(parents=True)
        (tmp_path / "data" / "chain" / "bitcoin" / network / "admin.macaroon").touch()
    assert LndOptions(lnddir=tmp_path).elsewhere == "; there is one of --network regtest and of signet"
    assert LndOptions(lnddir=tmp_path, network="signet").elsewhere == ""
    assert LndOptions(lnddir=tmp_path, macaroon=Path("it")).elsewhere == ""
    assert LndOptions(address="h:1").elsewhere == ""
