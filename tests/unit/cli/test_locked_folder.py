"""oddwire.cli.locked_folder: one program at a time, and what the others are told."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from oddwire.cli.exit import FAILED, USAGE, CommandFailure
from oddwire.cli.locked_folder import locked_folder


def use(folder: Path, code: int = FAILED):
    return locked_folder(folder, "it.lock", "--cache", user="worker", other="folder", code=code)


def test_a_folder_that_is_missing_is_made_and_free_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with use(tmp_path / "a" / "b"):
            assert (tmp_path / "a" / "b" / "it.lock").exists()


def test_of_two_the_second_is_told_whose_it_is(tmp_path: Path) -> None:
    said = f"--cache {tmp_path} is in use by another worker, process {os.getpid()}; stop that, or choose another folder"
    with use(tmp_path):
        with pytest.raises(CommandFailure, match=re.escape(said)) as caught, use(tmp_path):
            pass
        assert caught.value.code == FAILED


@pytest.mark.parametrize("code", [FAILED, USAGE])
def test_a_file_is_none(tmp_path: Path, code: int) -> None:
    (tmp_path / "f").write_text("")
    said = re.escape(f"--cache {tmp_path / 'f'} should be a folder; it is a file")
    with pytest.raises(CommandFailure, match=said) as caught, use(tmp_path / "f", code):
        pass
    assert caught.value.code == code
