"""`oddwire lock`, `check` and `describe` as an author uses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from oddwire.cli import check, describe, lock

SOURCE = """
from oddwire import Context, Extension, Message, message, u16, u32

extension = Extension("quote", version="1.0")

@message(0x8C81)
class Ask(Message):
    asset: str
    {fields}

@extension.on(Ask)
async def ask(context: Context, ask: Ask) -> None:
    "Answer with a price."
"""
count = 0


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write the extension with more fields, each time as another file, which Python has not imported yet."""
    monkeypatch.chdir(tmp_path)

    def put(fields: str = "number: u16 = 0") -> str:
        global count
        count += 1
        path = tmp_path / f"quote{count}.py"
        path.write_text(SOURCE.format(fields=fields))
        return str(path)

    return put


def run(module: Any, *arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(module.program, [*arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit | typer.Exit), done.exception
    return done.exit_code, done.stdout, done.stderr


def test_a_contract_is_written_and_the_code_is_held_to_it(write: Any, tmp_path: Path) -> None:
    assert run(lock, write()) == (0, "", "quote.contract.json written: quote 1.0, 1 message\n")
    assert json.loads((tmp_path / "quote.contract.json").read_text())["messages"][0]["name"] == "Ask"
    assert run(lock, write()) == (0, "", "quote.contract.json is as it should be\n")
    assert run(check, write()) == (0, "", "quote speaks what quote.contract.json says\n")
    code, said, _ = run(check, write("number: u16 = 0\n    note: str | None = None"))
    assert (code, said) == (0, "ok      FIELD_ADDED  Ask 0x8c81  $.note  none -> str or None\n")
    code, said, error = run(check, write("number: u32 = 0"))
    assert code == 1
    assert said.splitlines() == [
        "BREAKS  FIELD_WIDENED  Ask 0x8c81  $.number  u16 -> u32",
        "        new peers' messages fail at old ones: MalformedMessage: should be at least 0, at most 65535",
        "        instead: send such values only to peers whose hello lists the new version, and then ignore the rule",
    ]
    assert error == "1 of 1 change breaks old peers\n"


def test_a_rule_is_ignored_for_all_or_for_one(write: Any) -> None:
    run(lock, write())
    wider = write("number: u32 = 0")
    assert run(check, wider, "--ignore", "FIELD_WIDENED")[0] == 0
    code, said, _ = run(check, wider, "--ignore", "FIELD_WIDENED:Ask")
    assert (code, said) == (0, "ignored FIELD_WIDENED  Ask 0x8c81  $.number  u16 -> u32\n")
    assert run(check, wider, "--ignore", "FIELD_WIDENED:Other")[0] == 1
    code, _, error = run(check, wider, "--ignore", "FIELD_WIDEND")
    assert (code, error) == (2, "oddwire: there is no rule 'FIELD_WIDEND'; did you mean FIELD_WIDENED?\n")


def test_lock_leaves_a_contract_that_old_peers_would_break_by(write: Any, tmp_path: Path) -> None:
    run(lock, write())
    before = (tmp_path / "quote.contract.json").read_text()
    code, _, error = run(lock, write("other: str"))
    assert code == 1
    assert "BREAKS  FIELD_ADDED_REQUIRED  Ask 0x8c81  $.other" in error
    assert "is left as it is: old peers break by what has changed (FIELD_ADDED_REQUIRED); --force replaces it" in error
    assert (tmp_path / "quote.contract.json").read_text() == before
    code, _, error = run(lock, write("other: str"), "--force")
    assert code == 0
    assert "BREAKS  FIELD_ADDED_REQUIRED" in error
    assert run(check, write("other: str"))[0] == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "quote.contract.json: is not JSON"),
        ('{"contract": 2, "oddwire": "9.0"}', "is of format 2, written by oddwire '9.0'"),
        ("\udcff", "is no contract: it is not UTF-8"),
    ],
)
def test_a_file_that_is_no_contract(write: Any, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "quote.contract.json").write_bytes(text.encode(errors="surrogateescape"))
    for module in (check, lock):
        code, _, error = run(module, write())
        assert code == 2
        assert said in error


def test_a_pipe_or_device_is_neither_waited_for_nor_replaced(write: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        assert run(check, write(), name)[0] == 2
        assert run(lock, write(), "-o", name)[0] == 2
        for module, more in ((lock, "--force"), (describe, "--json")):
            code, _, error = run(module, write(), more, "-o", name)
            assert (code, error) == (2, f"oddwire: {name} is no regular file; the output should be one\n")
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_to_a_contract_stays_one(write: Any, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "quote.contract.json").symlink_to("shared/quote.json")
    assert run(lock, write())[0] == 0
    assert (tmp_path / "quote.contract.json").is_symlink()
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["quote.json"]
    assert run(check, write())[0] == 0
    (tmp_path / "round").symlink_to("round")
    code, _, error = run(describe, write(), "-o", "round")
    assert (code, error.startswith("oddwire: round cannot be written: ")) == (1, True)


def test_a_contract_that_was_edited_elsewhere(write: Any, tmp_path: Path) -> None:
    path = tmp_path / "quote.contract.json"
    assert run(lock, write())[0] == 0
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert run(check, write())[0] == 0


def test_wrong_uses(write: Any, tmp_path: Path) -> None:
    assert "there is no quote.contract.json: 'oddwire lock' writes it" in run(check, write())[2]
    run(lock, write())
    (tmp_path / "chat.contract.json").write_text((tmp_path / "quote.contract.json").read_text())
    code, _, error = run(check, "chat")
    assert (code, error) == (2, "oddwire: chat.contract.json: is the contract of 'quote', not of 'chat'\n")
    for arguments in (["known:peerswap"], ["chat", "echo", "-o", "x"], ["nothing-of-that-name"]):
        assert run(lock, *arguments)[0] == 2
    assert run(check, write(), "--against", "-x")[0] == 2
    assert run(check, write(), "missing.json")[0] == 2
    assert run(describe, "known:peerswp")[2] == (
        "oddwire: no known protocol is called 'peerswp'; did you mean known:peerswap?\n"
    )
    assert run(describe, "rates", "-f", "csv")[0] == 1


def test_a_revision_of_git_is_compared_with(write: Any, tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    run(lock, write())
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    run(lock, write("other: str"), "--force")
    assert run(check, write("other: str"))[0] == 0
    assert run(check, write("other: str"), "--against", "HEAD")[0] == 1
    code, _, error = run(check, write(), "--against", "nowhere")
    assert code == 2
    assert "git has no nowhere:quote.contract.json" in error


def test_documents_go_to_a_file_or_out(write: Any, tmp_path: Path) -> None:
    code, said, _ = run(describe, write())
    assert code == 0
    assert "### The `ask` Message" in said
    assert "Answer with a price." in said
    for form in ("json-schema", "asyncapi", "contract"):
        assert json.loads(run(describe, write(), "--format", form)[1])
    assert run(describe, "echo", "--format", "csv", "-o", str(tmp_path / "echo.csv"))[0] == 0
    assert (tmp_path / "echo.csv").read_text().startswith("msgtype,bolt_request,35845\n")
    code, said, _ = run(describe, "known:peerswap", "-f", "json-schema")
    assert "SwapInRequest" in json.loads(said)["$defs"]


def test_json_has_the_findings(write: Any) -> None:
    run(lock, write())
    wider = write("number: u32 = 0")
    command = [sys.executable, "-m", "oddwire", "check", wider, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    (event,) = map(json.loads, done.stdout.splitlines())
    assert (event["event"], event["method"]) == ("result", "check")
    assert event["value"]["compatible"] is False
    (finding,) = event["value"]["findings"]
    assert (finding["rule"], finding["path"], finding["ignored"]) == ("FIELD_WIDENED", "$.number", False)
    assert [(one["sender"], one["receiver"]) for one in finding["failures"]] == [("new", "old")]
