"""What the shells are told, asked as they ask."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from oddwire.cli.completions import extension_names
from oddwire.cli.lazy_commands import program


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch) -> Any:
    def ask(line: str) -> list[str]:
        words = [*shlex.split(line), *([""] if line.endswith(" ") else [])]
        with monkeypatch.context() as asked:
            asked.setenv("_ODDWIRE_COMPLETE", "complete_bash")
            asked.setenv("COMP_WORDS", line)
            asked.setenv("COMP_CWORD", str(len(words) - 1))
            return CliRunner().invoke(program, [], prog_name="oddwire").output.split()

    return ask


def test_commands_and_options(complete) -> None:
    assert complete("oddwire ru") == ["run"]
    assert {"run", "send", "types"} <= {*complete("oddwire ")}
    assert complete("oddwire run --li") == ["--listen"]
    assert complete("oddwire store m") == ["move"]


def test_extensions_and_their_options(complete) -> None:
    assert complete("oddwire run ") == extension_names()
    assert complete("oddwire run chat ec") == ["echo"]
    assert complete("oddwire run chat --chat-g") == ["--chat-greeting"]
    assert complete("oddwire run --chat-g") == []
    assert complete("oddwire run ./quo") == []  # which the shell completes itself


def test_messages(complete) -> None:
    assert {"chat.", "courier."} <= {*complete("oddwire send URI c")}
    assert complete("oddwire send URI chat") == complete("oddwire send URI chat.") == ["chat.Heard", "chat.Say"]
    assert complete("oddwire send URI chat.S") == ["chat.Say"]
    assert complete("oddwire send URI none.") == []


async def test_methods_of_what_runs(start, complete, runtime: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert await asyncio.to_thread(complete, "oddwire call cha") == []
    node = await start("run", "chat", "--listen", "127.0.0.1:0", "--json", "--data-dir", "mine")
    await node.event("listening")
    assert await asyncio.to_thread(complete, "oddwire call cha") == ["chat-say"]
    assert await asyncio.to_thread(complete, f"oddwire call --data-dir {tmp_path}/mine cha") == ["chat-say"]
    await node.interrupt()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_ODDWIRE_COMPLETE", f"source_{shell}")
    script = CliRunner().invoke(program, [], prog_name="oddwire").output
    assert f"_ODDWIRE_COMPLETE=complete_{shell}" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_a_word(tmp_path: Path) -> None:
    script = f"""
eval "$({shlex.quote(str(Path(sys.executable).parent / "oddwire"))} --show-completion bash)"
COMP_WORDS=(oddwire run chat --chat-gr) COMP_CWORD=3
_oddwire_completion {shlex.quote(str(Path(sys.executable).parent / "oddwire"))}
echo "${{COMPREPLY[@]}}"
complete -p oddwire
"""
    found = subprocess.run(["bash", "--norc"], input=script, text=True, capture_output=True, check=True)
    assert found.stdout == "--chat-greeting\ncomplete -o default -F _oddwire_completion oddwire\n"
