"""The line that bakes a macaroon, and what is said of one that there is."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.lnd.macaroons import ADMIN, READONLY, bake, uris
from typer.main import get_command

from oddwire.cli.lnd import program
from oddwire.transports.lnd.calls import CALLS, CONNECTING, NEEDED

Lnd = Callable[..., tuple[int, str, str]]
KEY = b"a" * 32


@pytest.fixture
def lnd(capsys: pytest.CaptureFixture[str]) -> Lnd:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        code = get_command(program).main(["macaroon", *map(str, arguments)], standalone_mode=False)
        out, err = capsys.readouterr()
        return code or 0, out, err

    return run


@pytest.fixture
def macaroon(tmp_path: Path) -> Path:
    return tmp_path / "it.macaroon"


def test_the_line_is_all_that_is_printed(lnd: Lnd) -> None:
    code, out, err = lnd()
    assert (code, err, out.count("\n")) == (0, "", 1)
    words = shlex.split(out)
    assert words[:4] == ["lncli", "bakemacaroon", "--save_to", "oddwire.macaroon"]
    assert words[4:] == [CALLS[name].uri for name in NEEDED]


def test_it_is_safe_to_hand_to_a_shell_and_tells_lncli_where_lnd_is(lnd: Lnd) -> None:
    options = ("--connect", "--save-to", "a file; rm", "--network", "bitcoin", "--lnd", "h:1", "--lnddir", "/$HOME")
    words = shlex.split(lnd(*options)[1])
    assert words[:4] == ["lncli", "--rpcserver=h:1", "--lnddir=/$HOME", "--network=mainnet"]
    assert words[4:7] == ["bakemacaroon", "--save_to", "a file; rm"]
    assert words[7:] == [CALLS[name].uri for name in (*NEEDED, *CONNECTING)]
    value = json.loads(lnd("--save-to", "x", "--json")[1])["value"]
    assert value == {"line": lnd("--save-to", "x")[1].rstrip("\n"), "file": "x"}


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["--network", "nope"], "--network nope: LND has mainnet, testnet, testnet4, signet, simnet, regtest"),
        (["--save-to", "a\nb"], "a name with control characters cannot be shown in a line: choose another one"),
        (["--check", "x", "--save-to", "y"], "--save-to is for the line that is printed without --check"),
        (["--check", "x", "--network", "regtest"], "--network is for the line that is printed without --check"),
        (["--check", "0201036c6e64" + "5a" * 60], "--check is the name of a file, not what is in it"),
    ],
)
def test_a_wrong_use_is_told(lnd: Lnd, arguments: list[str], wrong: str) -> None:
    code, out, err = lnd(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"oddwire: {wrong}")
    assert "5a" * 10 not in err


@pytest.mark.parametrize(("connect", "code"), [((), 0), (("--connect",), 1)])
def test_one_for_exactly_our_calls(lnd: Lnd, macaroon: Path, connect: tuple[str, ...], code: int) -> None:
    macaroon.write_bytes(bake(KEY, uris(*NEEDED), ["time-before 2027-01-01T00:00:00Z"]))
    found, out, err = lnd("--check", macaroon, *connect)
    assert (found, err) == (code, "")
    rows = [line.split("  ", 1) for line in out.splitlines()]
    limited = ["limited by", " time-before 2027-01-01T00:00:00Z"]
    if connect:
        lacks = [["lacks", f"      {name}"] for name in CONNECTING]
        assert [[head, rest.lstrip()] for head, rest in rows] == [
            ["permits", "not all that oddwire needs"],
            *([head, rest.lstrip()] for head, rest in lacks),
            [limited[0], limited[1].lstrip()],
        ]
    else:
        assert [head for head, _ in rows] == ["permits", "limited by"]


def test_what_one_permits_beyond_and_lacks(lnd: Lnd, macaroon: Path) -> None:
    macaroon.write_bytes(bake(KEY, ADMIN))
    code, out, err = lnd("--check", macaroon)
    assert (code, err) == (1, "")
    assert "permits      what oddwire needs, and connecting and disconnecting peers\n" in out
    assert "beyond that  offchain:write (pays)\n" in out
    macaroon.write_bytes(bake(KEY, READONLY))
    code, out, _ = lnd("--check", macaroon, "--json")
    value = json.loads(out)["value"]
    assert (code, value["file"], value["connects"], value["beyond"], value["limits"]) == (
        1,
        str(macaroon),
        False,
        [],
        [],
    )
    assert value["lacks"] == ["SendCustomMessage"]


def test_what_is_none(lnd: Lnd, tmp_path: Path) -> None:
    code, out, err = lnd("--check", tmp_path / "nosuch")
    assert (code, out, err) == (1, "", f"oddwire: {tmp_path}/nosuch: No such file or directory\n")
    (tmp_path / "text").write_text("hello")
    code, out, err = lnd("--check", tmp_path / "text")
    assert (code, out) == (2, "")
    assert err.startswith(f"oddwire: {tmp_path}/text is no macaroon of LND's: ")
    assert "oddwire lnd macaroon" in err
