"""oddwire.cli.new_files."""

from __future__ import annotations

import json
import re
import stat
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from oddwire.cli.exit import CommandFailure
from oddwire.cli.new_files import CODECS, Project, render, write

PROJECT = Project(name="my-tally", codec="msgpack", first=0x9A31, oddwire="0.1.0")
PLUGIN = PROJECT._replace(plugin=True, feature=3001)


def test_every_template_is_used_and_filled() -> None:
    templates = {path.name for path in (files("oddwire.cli") / "templates").iterdir()}
    made = {text for project in (PROJECT, PLUGIN) for text in render(project).values()}
    assert len(templates) == 13
    assert (
        len(render(PLUGIN)) == len(templates) - 2 + 1
    )  # without the parts of the README; and py.typed, which is empty
    assert not [text for text in made if "$name" in text or "$package" in text]
    assert "${{ matrix.python-version }}" in render(PROJECT)[".github/workflows/ci.yml"]


@pytest.mark.parametrize("codec", CODECS)
def test_text_is_laid_out_whatever_it_is_filled_with(codec: str) -> None:
    for path, text in render(PLUGIN._replace(codec=codec)).items():
        assert not text or text.endswith("\n"), path
        assert "\n\n\n\n" not in text, path
        assert all(line == line.rstrip() for line in text.splitlines()), path


def test_what_reckless_reads() -> None:
    made = render(PLUGIN)
    assert made["my-tally.py"].startswith("#!/usr/bin/env python3\n")
    assert made["requirements.txt"] == "oddwire>=0.1.0\n"
    manifest = json.loads(made["manifest.json"])
    assert {*manifest} == {"name", "short_description", "long_description", "entrypoint", "requirements"}
    assert manifest["entrypoint"] in made
    assert "has the bit 3001, and is refused while the node runs" in made["README.md"]
    assert "bit" not in render(PROJECT._replace(plugin=True))["README.md"]


def test_the_readme_names_files_that_are_there() -> None:
    for project in (PROJECT, PLUGIN):
        made = render(project)
        named = re.findall(r"\b(src/[\w/.]+|[\w-]+\.(?:py|txt|json)\b)", made["README.md"])
        assert len({*named}) >= 3
        assert all(any(path == name or path.startswith(f"{name}/") for path in made) for name in named), named


def test_what_is_said_of_it_for_installers() -> None:
    project = tomllib.loads(render(PROJECT)["pyproject.toml"])["project"]
    assert (project["name"], project["dependencies"]) == ("oddwire-my-tally", ["oddwire>=0.1.0"])
    assert project["entry-points"]["oddwire.extensions"] == {"my-tally": "oddwire_my_tally:extension"}
    unknown = tomllib.loads(render(PROJECT._replace(oddwire="unknown"))["pyproject.toml"])["project"]
    assert unknown["dependencies"] == ["oddwire"]


def test_an_executable_file_is_one_for_who_may_read_it(tmp_path: Path) -> None:
    write(tmp_path / "new" / "deep", {"plugin.py": "#!/usr/bin/env python3\n", "a/b": "text"})
    mode = stat.S_IMODE((tmp_path / "new" / "deep" / "plugin.py").stat().st_mode)
    assert mode & 0o100
    assert (mode & 0o444) >> 2 == mode & 0o111
    assert not stat.S_IMODE((tmp_path / "new" / "deep" / "a" / "b").stat().st_mode) & 0o111


def test_a_repository_without_files_is_a_place_for_it(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    write(tmp_path, {"a": "text"})
    assert (tmp_path / "a").read_text() == "text"


@pytest.mark.parametrize(
    ("there", "named"),
    [
        (["b"], "there is b;"),
        ([".git", "x\x1b[2J"], r"there is x\x1b[2J;"),
        ([f"f{number}" for number in range(7)], "there is f0, f1, f2, f3, f4 and 2 more;"),
    ],
)
def test_what_is_in_the_way_is_named(there: list[str], named: str, tmp_path: Path) -> None:
    for name in there:
        (tmp_path / name).write_text("mine")
    with pytest.raises(CommandFailure) as caught:
        write(tmp_path, {"a": "text"})
    assert named in str(caught.value)
    assert caught.value.code == 2
    assert {path.name for path in tmp_path.iterdir()} == {*there}


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "tally").write_text("mine")
    with pytest.raises(CommandFailure, match="tally is there already, and no folder; --path DIR"):
        write(tmp_path / "tally", {"a": "text"})
    with pytest.raises(CommandFailure, match="cannot be written: Not a directory"):
        write(tmp_path / "tally" / "deeper", {"a": "text"})
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CommandFailure, match="link is there already"):
        write(tmp_path / "link", {"a": "text"})


def test_of_what_cannot_be_written_whole_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(CommandFailure, match="cannot be written: File name too long") as caught:
        write(tmp_path / "new" / "tally", {"a": "text", "b/c": "text", "b/" + "d" * 300: "text"})
    assert caught.value.code == 1
    assert [*tmp_path.iterdir()] == []
