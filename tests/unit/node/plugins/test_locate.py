from __future__ import annotations

from pathlib import Path

import pytest

from oddwire.errors import ExtensionError
from oddwire.node.plugins.locate import checksum, is_program, program, programs_below, programs_in, resolved


def write(path: Path, *, runs: bool = True) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755 if runs else 0o644)
    return str(path.resolve())


def test_programs_of_a_directory(tmp_path: Path) -> None:
    b = write(tmp_path / "b.py")
    a = write(tmp_path / "a-_1")
    accented = write(tmp_path / "é")
    for name in ("README.md", "back~up", "with space", "b.py,v"):
        write(tmp_path / name)
    write(tmp_path / "text", runs=False)
    inner = write(tmp_path / "folder" / "inner")
    (tmp_path / "folder" / "deeper").mkdir()
    write(tmp_path / "folder" / "deeper" / "too-deep")
    assert programs_in(tmp_path) == [a, b, accented]
    assert programs_below(tmp_path) == [a, b, accented, inner]


def test_no_directory() -> None:
    for directory in ("", "/nowhere"):
        with pytest.raises(ExtensionError, match="plugin directory"):
            programs_in(directory)


def test_a_link_is_what_it_points_to(tmp_path: Path) -> None:
    real = write(tmp_path / "real" / "plugin.py")
    links = tmp_path / "links"
    links.mkdir()
    (links / "linked.py").symlink_to(real)
    assert programs_in(links) == [real]
    assert resolved(links / "linked.py") == real


def test_directories_that_are_not_there(tmp_path: Path) -> None:
    assert programs_below(tmp_path / "none") == []
    with pytest.raises(ExtensionError, match="none could not be read: No such file"):
        programs_in(tmp_path / "none")


def test_what_the_operator_names_has_to_run(tmp_path: Path) -> None:
    path = write(tmp_path / "plugin")
    assert program(path) == path
    assert is_program(path)
    text = write(tmp_path / "a text", runs=False)
    hints = {
        tmp_path: "it is not one",
        tmp_path / "none": "it does not exist",
        text: f"chmod \\+x '{text}' makes it one",
    }
    for wrong, hint in hints.items():
        assert not is_program(wrong)
        with pytest.raises(ExtensionError, match=f"should be an executable file; {hint}"):
            program(wrong)


def test_a_checksum_is_of_the_contents(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one"), write(tmp_path / "two")
    assert checksum(one) == checksum(two) != 0
    Path(two).write_text("else")
    assert checksum(one) != checksum(two)
    assert checksum(str(tmp_path / "none")) == 0
