"""How ``oddwire call`` reads its parameters; what it does is tested on real nodes in tests/interop."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from oddwire.cli.call import _answer, _call, read_parameters, read_value
from oddwire.cli.exit import CommandFailure
from oddwire.jsonrpc.documents import encode
from oddwire.jsonrpc.server import JsonRpcServer

ID = "02" + "1" * 64


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("0", 0),
        ("1.5", 1.5),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ('{"a": [1]}', {"a": [1]}),
        ("[1, 2]", [1, 2]),
        ('"5"', "5"),
        ("", ""),
        ("text", "text"),
        ("77770012", 77770012),
        ("0012", "0012"),  # hex, not a number
        ("-5", "-5"),  # as lightning-cli
        ("1" * 19, "1" * 19),
        (ID, ID),
        ("1.2.3", "1.2.3"),
        (".", "."),
        (".5", ".5"),
        ("5.", "5."),
        ("00.5", "00.5"),
        ("1.50", "1.50"),  # a text may want it as it was typed
        ("0.12345678901234567", "0.12345678901234567"),
        (" 5", " 5"),
        ("1e3", "1e3"),
        ("--x", "--x"),
        ("@x", "@x"),
        ("\\n", "\\n"),
        ("٣", "٣"),
        ("{", "{"),
        ('"', '"'),
        ("a=b", "a=b"),
    ],
)
def test_values(text: str, value: Any) -> None:
    read = read_value(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", ["{x}", "[1,]", '"a"b"', "[NaN]", "[" * 100_000 + "]" * 100_000])
def test_what_looks_like_json_and_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r'is not JSON: .*; as a text it is written "'):
        read_value(text)


def test_parameters() -> None:
    assert read_parameters(["a=1", "2"], by_name=False) == ["a=1", 2]
    assert read_parameters(["a=1", "b=x=y", "c="], by_name=True) == {"a": 1, "b": "x=y", "c": ""}
    with pytest.raises(ValueError, match="expected name=value, not 'b'"):
        read_parameters(["a=1", "b"], by_name=True)


FOREIGN = "\x1b[2J\n\x9b\u202e\x7f\ud800 東京\u3000\U0001f680"
METHODS = [{"command": "echo-ask [text]"}, {"command": "help [command]"}]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[str]:
    """A node that gives back what it is asked, and refuses what it does not know."""

    def handle(request: Any, _: object) -> bytes:
        refused = {"code": -32601, "message": f"Unknown command '{request['method']}'"}
        known = {"echo-ask": {"result": {"asked": request["params"], FOREIGN: FOREIGN}}, "help": {"help": METHODS}}
        known["help"] = {"result": known["help"]}
        return encode({"jsonrpc": "2.0", "id": request["id"], **known.get(request["method"], {"error": refused})})

    server = JsonRpcServer(tmp_path / "rpc", handle)
    await server.start()
    yield str(server.path)
    await server.aclose()


@pytest.mark.parametrize("raw", [[], ["--raw"], ["--json"]])
async def test_a_result_does_nothing_to_a_terminal(oddwire, node: str, raw: list[str]) -> None:
    code, out, err = await oddwire("call", "--rpc-file", node, *raw, "echo-ask", FOREIGN.replace("\ud800", "\udcff"))
    assert (code, err) == (0, "")
    assert json.loads(out)[FOREIGN] == FOREIGN
    assert not set(out) & set("\x1b\x9b\u202e\x7f\ud800")
    assert "東京\u3000\U0001f680" in out


async def test_an_error_does_nothing_to_a_terminal(oddwire, node: str) -> None:
    code, out, err = await oddwire("call", "--rpc-file", node, FOREIGN.replace("\ud800", ""))
    assert (code, err) == (1, "")
    assert json.loads(out)["message"] == f"Unknown command '{FOREIGN.replace(chr(0xD800), '')}'"
    assert not set(out) & set("\x1b\x9b\u202e\x7f")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
async def test_a_result_is_json_on_every_terminal(
    oddwire, node: str, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    code, out, _ = await oddwire("call", "--rpc-file", node, "echo-ask", "señor 東京")
    assert code == 0
    assert json.loads(out)["asked"] == ["señor 東京"]


async def test_parameters_are_what_was_typed(oddwire, node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["-5", "--x", "-okay", "@x", " a ", "", "007", "1e3", "1.50", "a=b", "[1", "a\\'", "a\nb", "--timeoutx=1"]
    _, out, _ = await oddwire("call", "--rpc-file", node, "echo-ask", *typed)
    assert json.loads(out)["asked"] == typed
    _, out, _ = await oddwire("call", "-R", "echo-ask", "--rpc-file", node, "-o", "--", "a=b", "-R", "--raw", "--")
    assert json.loads(out)["asked"] == ["a=b", "-R", "--raw", "--"]
    assert out.count("\n") == 1
    # In a locale without UTF-8 arguments are bytes that Python cannot read
    for name, value in {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}.items():
        monkeypatch.setenv(name, value)
    _, out, _ = await oddwire("call", "--rpc-file", node, "echo-ask", "señor")
    assert json.loads(out)["asked"] == ["señor"]


@pytest.mark.parametrize("is_terminal", [True, False])
async def test_at_a_terminal_a_node_that_notifies_of_nothing_is_called_all_the_same(
    node: str, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", shown)
    assert (await _call(Path(node), "echo-ask", ["x"], 20))["asked"] == ["x"]
    assert shown.getvalue() == ""


async def test_a_name_that_is_nearly_right_is_asked_after(oddwire, node: str) -> None:
    code, out, err = await oddwire("call", "--rpc-file", node, "ehco-ask")
    assert (code, err) == (1, "oddwire: did you mean echo-ask?\n")
    assert json.loads(out)["message"] == "Unknown command 'ehco-ask'"
    found = await oddwire("call", "--timout", "3", "echo-ask")
    assert found == (2, "", "oddwire: no such option: --timout; did you mean --timeout?\n")
    assert (await oddwire("call", "-x"))[2] == "oddwire: no such option: -x; METHOD should come first\n"


@pytest.mark.parametrize("seconds", ["0", "-1", "inf", "nan"])
async def test_a_time_that_nobody_can_wait_is_a_wrong_use(oddwire, node: str, seconds: str) -> None:
    code, out, err = await oddwire("call", "--rpc-file", node, f"--timeout={seconds}", "echo-ask")
    assert (code, out) == (2, "")
    assert f"should be a number of seconds above 0, not {seconds}" in err


async def test_a_node_on_another_network_is_told_of(oddwire, tmp_path: Path) -> None:
    (tmp_path / "bitcoin").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "bitcoin" / "lightning-rpc"))
        code, _, err = await oddwire("call", "--lightning-dir", str(tmp_path), "--network", "regtest", "getinfo")
    assert code == 1
    assert err.endswith("lightning-rpc: No such file or directory; there is one of --network bitcoin\n")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does not tell who listens")
async def test_a_program_that_is_stopped_is_not_waited_for_without_end(tmp_path: Path) -> None:
    program = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind('rpc'); s.listen()"
    program += "; print(flush=True); sys.stdin.read()"
    stopped = await asyncio.create_subprocess_exec(
        *(sys.executable, "-IS", "-c", program),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=tmp_path,
    )
    assert stopped.stdout is not None
    await stopped.stdout.readline()
    stopped.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
    with pytest.raises(CommandFailure, match=f"process {stopped.pid} does not answer: it is stopped, .*'kill -CONT"):
        await _answer(tmp_path / "rpc", asyncio.sleep(3600), look=0.01)
    assert await _answer(tmp_path / "rpc", asyncio.sleep(0, "answered"), look=0.01) == "answered"
    stopped.kill()
    await stopped.communicate()


async def test_a_program_that_is_gone_is_a_failure_and_no_wrong_use(oddwire, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "oddwire-rpc"))
    code, _, err = await oddwire("call", "help", "--data-dir", tmp_path)
    assert (code, err) == (1, f"oddwire: no node answers at {tmp_path}/oddwire-rpc: Connection refused\n")
