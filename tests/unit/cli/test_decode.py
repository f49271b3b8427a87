"""oddwire.cli.decode."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from oddwire.cli.decode import program

COMMAND: Any = typer.main.get_command(program)
Run = Callable[..., tuple[int, str, str]]
LOGS = Path(__file__).parents[2] / "vectors" / "logs"
MINE = """
from oddwire import Extension, Message, message
extension = Extension("mine", version="1.0")
@message(0xA45F, spec=True)
class Note(Message):
    text: str
extension.register(Note)
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``oddwire decode`` in this process: its exit code, stdout and stderr."""

    def call(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = COMMAND.main([*arguments], standalone_mode=False)
        return (code or 0, *capsys.readouterr())

    return call


async def test_as_a_process(oddwire: Any) -> None:
    code, out, err = await oddwire("decode", "0012 0004 0002 abcd")
    assert (code, out.splitlines()[0], err) == (0, "bolt1.ping 0x0012  BOLTs, bolt, 8 bytes", "")
    assert (await oddwire("decode", "9c41"))[0] == 1


def test_one_payload_in_several_words(run: Run) -> None:
    code, out, err = run("0x0012", "00:04", "0002", "ABCD")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "   4  4  0002 abcd  ignored         abcd  (bytes)"


def test_each_line_of_stdin_is_a_payload(run: Run) -> None:
    code, out, _ = run(stdin=b"001200040002abcd\n\n0x00 13 00 01 ff\r\n")
    assert (code, [line.split()[0] for line in out.split("\n\n")]) == (0, ["bolt1.ping", "bolt1.pong"])
    assert run("-", stdin=b"9c41")[0] == 1
    assert run(stdin=b"\xef\xbb\xbf001200040002abcd\r\n")[0] == 0  # from an editor that marks UTF-8


def test_stdin_as_bytes(run: Run) -> None:
    assert run("--binary", stdin=b"\0\x13\0\1\n")[:2] == (0, run("001300010a")[1])


def test_what_has_no_end_is_not_read_for_ever(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oddwire.cli.decode._LONGEST", 17)
    assert run(stdin=b"001200040002abcd\n" * 2)[0] == 0
    assert run(stdin=b"9c41\n" + b"0" * 18)[::2] == (2, "oddwire: line 2: should have 17 characters at most\n")
    assert run("--binary", stdin=b"\0\x12" + b"\0" * 15)[0] == 1
    assert run("--binary", stdin=b"\0" * 18) == (2, "", "oddwire: a payload on stdin should have 17 bytes at most\n")


@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        (["001z"], b"", "should be hex digits, not 'z' at character 4"),
        ([], b"00x\n", "line 1: should be hex digits, not 'x' at character 3"),
        ([], b"\n", "there is nothing to decode"),
        ([], b"00130000\nxyz\n", "line 2: should be hex digits, not 'x' at character 1"),
        ([], b"\xff", r"not '\udcff' at character 1"),
        (["--follow"], b"", "--follow is for logs"),
        (["--peer", "02"], b"", "--peer is for logs"),
        (["0012", "--log", "x"], b"", "either a payload or --log FILE"),
        (["0012", "--binary"], b"", "--binary takes the payload from stdin"),
        (["0012", "--type", "1", "--as", "bolt1.ping"], b"", "--type is not needed beside it"),
        (["0012", "--type", "65536"], b"", "--type should be 0 to 65535"),
        (["0012", "--type", "ping"], b"", "--type should be a number"),
        (["0012", "--as", "bolt1.pingg"], b"", "did you mean bolt1.ping"),
        (["0012", "--as", "ping"], b"", "did you mean bolt1.ping?"),
        (["0012", "--extension", "./nowhere.py"], b"", "nowhere.py"),
        (["--log", "/nowhere/at/all"], b"", "there is no file"),
    ],
)
def test_wrong_uses_are_told(run: Run, arguments: list[str], stdin: bytes, told: str) -> None:
    code, _, err = run(*arguments, stdin=stdin)
    assert code == 2
    assert told in err


def test_a_payload_without_its_type(run: Run) -> None:
    assert run("--type", "18", "00040002abcd")[1] == run("001200040002abcd")[1]
    assert run("--type", "0x12", "00040002abcd")[1] == run("--type", "bolt1.Ping", "00040002abcd")[1]


def test_a_payload_as_a_message_of_another_number(run: Run) -> None:
    code, out, _ = run("--as", "bolt1.pong", "9c410001ff")
    assert (code, out.splitlines()[0].split()[:2]) == (0, ["bolt1.pong", "0x9c41"])


def test_messages_of_an_extension(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine_to_decode.py").write_text(MINE)
    code, out, _ = run("a45f81a474657874a26869", "--extension", str(tmp_path / "mine_to_decode.py"))
    assert (code, out.split()[0]) == (0, "mine.Note")
    assert "not peerswap.Cancel" in out
    assert "echo.Request" in run("8c0182a474657874a26869a66e756d62657200")[1]  # an installed one


def test_json(run: Run) -> None:
    code, out, _ = run("--json", stdin=b"001200040002abcd\n00120004\n9c40\n")
    fine, short, unknown = map(json.loads, out.splitlines())
    assert code == 1
    assert (fine["event"], fine["decoded"], fine["schema"], fine["type"]) == ("decoded", True, "bolt1.ping", 18)
    assert fine["message"] == {"num_pong_bytes": 4, "ignored": "abcd"}
    assert fine["fields"][1] == {"path": "$.ignored", "offset": 4, "length": 4, "kind": "bytes", "value": "abcd"}
    assert short["error"] == {"text": "u16 needs 2 bytes, 0 remain", "path": "$.ignored", "offset": 4, "bytes": [4, 0]}
    assert ("message" in short, short["decoded"], short["payload"]) == (False, False, "00120004")
    assert "schema" not in unknown


def test_json_of_a_message_in_another(run: Run) -> None:
    request = "c0dd0b2b2b2b2b1a1a1a1a0000000000000007000000000000000700130003abcdef"
    told = json.loads(run("--json", request)[1])
    assert told["inside"][0]["schema"] == "bolt1.pong"
    assert told["message"] == {"id": 7, "credit": 0, "wait_ms": None, "urgent": False}


def test_what_is_right_before_a_wrong_line_is_shown(run: Run) -> None:
    code, out, err = run(stdin=b"001200040000\n00x\n")
    assert (code, out.split()[0]) == (2, "bolt1.ping")
    assert "line 2" in err


def test_a_log(run: Run) -> None:
    code, out, err = run("--log", str(LOGS / "lightningd.log"), "--type", "0x8c11")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == (
        "2026-12-01T10:00:32.666Z -> 03359ae2...23a8  chat.Say 0x8c11 [22 bytes] text='hello' number=1"
    )
    assert len(out.splitlines()) == 3
