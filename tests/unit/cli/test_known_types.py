"""oddwire.cli.known_types."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import typer

from oddwire.cli.known_types import program
from oddwire.known.listing import claims

PEERSWAP = "https://github.com/ElementsProject/peerswap/blob/master/docs/peer-protocol.md"
COMMAND: Any = typer.main.get_command(program)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``oddwire types`` in this process: its exit code, stdout and stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = COMMAND.main([*arguments], standalone_mode=False)
        return (code or 0, *capsys.readouterr())

    return call


async def test_as_a_process(oddwire: Any) -> None:
    code, out, err = await oddwire("types", "42071")
    assert (code, out.split()[:4], err) == (0, ["42071", "0xa457", "PeerSwap", "swap_out_request"], "")
    assert (await oddwire("types", "40001"))[0] == 1


def test_all_types_are_listed(run: Run) -> None:
    code, out, err = run()
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == len(claims())
    numbers = [int(line.split()[0]) for line in lines]
    assert numbers == sorted(numbers)
    assert all(int(line.split()[1], 16) == number for line, number in zip(lines, numbers, strict=True))
    assert re.search(r"^42065  0xa451  PeerSwap Web +broadcast +Go gob +-$", out, re.MULTILINE)
    assert re.search(r"^19535  0x4c4f  commando +cmd_term +bolt +oddwire\.known\.commando\.CmdTerm$", out, re.MULTILINE)


@pytest.mark.parametrize("number", ["42069", "0xa455", "0xA455"])
def test_a_number_of_two_protocols(number: str, run: Run) -> None:
    code, out, err = run(number)
    assert (code, err) == (0, "")
    assert [line.strip() for line in out.splitlines()] == [
        "42069  0xa455  PeerSwap           swap_in_request  json  oddwire.known.peerswap.SwapInRequest",
        f"{PEERSWAP}, protocol version 7, commit 816a5bb, 2026-08-19",
        "42069  0xa455  LightningOS Light  balanced_open    json  oddwire.known.lightningos.BalancedOpen",
        "https://github.com/jvxis/brln-os-light, protocol version 1, commit f993795, 2026",
    ]


def test_a_number_that_nodes_handle(run: Run) -> None:
    code, out, _ = run("16")
    assert code == 0
    assert " init " in out
    assert "no extension can send it" in out


@pytest.mark.parametrize("name", ["lsps0", "lsps1", "LSPS5"])
async def test_methods_that_are_in_messages_of_another_protocol(name: str, oddwire: Any) -> None:
    code, out, _ = await oddwire("types", name)
    assert code == 0
    assert out.startswith("37913  0x9419  LSPS0  lsps0_message  json  oddwire.known.lsps0.Lsps0Message\n")


@pytest.mark.parametrize("name", ["peerswap", "PeerSwap", "peer-swap"])
def test_a_protocol(name: str, run: Run) -> None:
    code, out, _ = run(name)
    assert code == 0
    assert [int(line.split()[0]) for line in out.splitlines()] == [*range(42069, 42087, 2)]


def test_a_protocol_by_its_module_and_by_its_name(run: Run) -> None:
    assert run("hosted_channels") == run("hosted channels")
    code, out, _ = run("lightningos")
    assert (code, out.split()[:2]) == (0, ["42069", "0xa455"])


def test_a_message(run: Run) -> None:
    code, out, _ = run("swap_out_request")
    assert (code, out.split()[:3]) == (0, ["42071", "0xa457", "PeerSwap"])


def test_json(run: Run) -> None:
    code, out, _ = run("42065", "--json")
    event = json.loads(out)
    assert (code, event["event"], event["method"]) == (0, "result", "types")
    assert event["value"] == [
        {
            "type": 42065,
            "protocol": "PeerSwap Web",
            "message": "broadcast",
            "encoding": "Go gob",
            "schema": None,
            "source": "https://github.com/Impa10r/peerswap-web, cmd/psweb/ln/common.go",
        }
    ]


@pytest.mark.parametrize(
    ("wanted", "code", "text"),
    [
        ("40001", 1, "nobody is known to use type 40001 (0x9c41); any extension may"),
        ("3001", 1, "nobody is known to use type 3001 (0x0bb9); it is kept for the BOLTs"),
        ("65536", 2, "a message type should be 0 to 65535, not 65536"),
        ("0x10000", 2, "a message type should be 0 to 65535, not 0x10000"),
        ("peerswop", 2, "there is no known protocol or message 'peerswop'; did you mean 'PeerSwap'?"),
        ("a455", 2, "there is no known protocol or message 'a455'; did you mean 0xa455?"),
        ("A455", 2, "there is no known protocol or message 'A455'; did you mean 0xa455?"),
        ("\x1b[2J", 2, r"there is no known protocol or message '\x1b[2J'; 'oddwire types' lists them"),
    ],
)
def test_what_nobody_has(wanted: str, code: int, text: str, run: Run) -> None:
    assert run(wanted) == (code, "", f"oddwire: {text}\n")


def test_an_error_in_json(run: Run) -> None:
    code, out, _ = run("40001", "--json")
    assert (code, json.loads(out)["event"]) == (1, "error")
