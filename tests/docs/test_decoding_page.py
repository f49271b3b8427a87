"""What docs/decoding.md shows of commands that do not end with 0, or need a log, is what they print."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.docs.test_docs import ROOT, blocks_of

from oddwire.cli.decode import program

PAGE = ROOT / "docs" / "decoding.md"
SHOWN = [block for block in blocks_of(PAGE) if block.text.startswith("$ oddwire decode ")]
COMMAND: Any = typer.main.get_command(program)


@pytest.mark.parametrize("block", SHOWN, ids=str)
def test_it_is_printed(block: Any, capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for log in (ROOT / "tests" / "vectors" / "logs").glob("*.log"):
        shutil.copy(log, tmp_path)
    monkeypatch.chdir(tmp_path)
    line, _, expected = block.text.partition("\n")
    COMMAND.main(shlex.split(line)[3:], standalone_mode=False)
    assert capsys.readouterr().out.splitlines() == expected.splitlines()


def test_there_are_some() -> None:
    assert len(SHOWN) >= 4
