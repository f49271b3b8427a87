"""oddwire.cli.encode."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from oddwire.cli.encode import program
from oddwire.known import peerswap
from oddwire.known.reading import decode

COMMAND: Any = typer.main.get_command(program)
Run = Callable[..., tuple[int, str, str]]
SWAP = "ab" * 32
MINE = """
from oddwire import Extension, Message, message, u8
extension = Extension("mine", version="1.0")
@message(0x8C01)
class Note(Message):
    text: str
    number: u8 = 0
extension.register(Note)
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``oddwire encode`` in this process: its exit code, stdout and stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        code = COMMAND.main([*arguments], standalone_mode=False)
        return (code or 0, *capsys.readouterr())

    return call


async def test_as_a_process(oddwire: Any) -> None:
    assert await oddwire("encode", "bolt1.ping", "num_pong_bytes=1", "ignored=00") == (0, "00120001000100\n", "")


def test_a_known_message(run: Run) -> None:
    for name in ("peerswap.Cancel", "peerswap.cancel", "PeerSwap.Cancel"):
        code, out, err = run(name, f"swap_id={SWAP}", "message=too late")
        assert (code, err) == (0, "")
        [reading] = decode(bytes.fromhex(out))
        assert reading.message == peerswap.Cancel(swap_id=bytes.fromhex(SWAP), message="too late")


def test_a_message_of_an_extension(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine_to_encode.py").write_text(MINE)
    code, out, _ = run("mine.Note", "text=hi", "number=0x10", "--extension", str(tmp_path / "mine_to_encode.py"))
    assert (code, out) == (0, "8c0182a474657874a26869a66e756d62657210\n")
    assert run("echo.Request", "text=hi")[1] == "8c0182a474657874a26869a66e756d62657200\n"


def test_explained(run: Run) -> None:
    _, out, _ = run("bolt1.ping", "num_pong_bytes=1", "ignored=00", "--explain")
    assert out.splitlines()[:2] == ["00120001000100", "bolt1.ping 0x0012  BOLTs, bolt, 7 bytes"]


def test_json(run: Run) -> None:
    told = json.loads(run("bolt1.ping", "num_pong_bytes=1", "ignored=00", "--json")[1])
    assert (told["event"], told["schema"], told["payload"]) == ("encoded", "bolt1.ping", "00120001000100")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["ping"], "did you mean bolt1.ping?"),
        (["peerswap.Cancle"], "did you mean peerswap.Cancel"),
        (["nobody.Message"], "there is no message 'nobody.Message'"),
        (["peerswap.Whatever"], "peerswap has peerswap.Cancel"),
        (["bolt1.ping"], "num_pong_bytes and ignored should be given; its fields are: num_pong_bytes: u16"),
        (["bolt1.ping", "num_pong_bytes=70000", "ignored=00"], "u16 should be 0 to 65535, not 70000"),
        (["bolt1.ping", "pong=1"], "there is no field 'pong'"),
        (["bolt1.pong", "ignored=" + "00" * 65533], "65537 bytes"),
    ],
)
def test_wrong_uses_are_told(run: Run, arguments: list[str], told: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert told in err
