"""oddwire.cli.new."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from oddwire.cli.new import program

COMMAND: Any = typer.main.get_command(program)
TOOLS = Path(sys.executable).parent
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run ``oddwire new`` in this process, in a folder of the test: its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = COMMAND.main([*arguments], standalone_mode=False)
        return (code or 0, *capsys.readouterr())

    return call


def tool(folder: Path, *command: str) -> str:
    """Run a tool of the tests' environment in a project, as its author would; give what it says."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
    done = subprocess.run(
        [TOOLS / "python", "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout


EVEN = (
    "a feature should be an odd bit from 1 to 32767, not 518: peers that do not know an even one disconnect; did you "
    "mean 519?"
)
PROJECTS = {
    "tally": (),
    "my-tally": ("--codec", "bolt", "--plugin", "--feature", "3001"),
    "t" * 36: ("--codec", "json", "--plugin", "--type", "0x9a31"),
}


def test_every_project_passes_its_tests_and_its_checks(run: Run, tmp_path: Path) -> None:
    for name, options in PROJECTS.items():
        code, out, err = run(name, *options)
        assert (code, err) == (0, "")
        assert out.splitlines()[-4:] == [
            "next:",
            f"  cd {name}",
            "  python -m pytest",
            f"  oddwire run ./src/oddwire_{name.replace('-', '_')} --listen 127.0.0.1:9735",
        ]
    tool(tmp_path, "ruff", "check", ".")  # each by the settings of its own pyproject.toml
    tool(tmp_path, "ruff", "format", "--check", ".")
    for name, options in PROJECTS.items():
        # With one cache, oddwire itself is read once
        assert "no issues found" in tool(tmp_path / name, "mypy", "--cache-dir", str(tmp_path / "cache"))
        tests = 9 if "--plugin" in options else 6
        assert f"{tests} passed" in tool(tmp_path / name, "pytest", "-q", "-p", "no:cacheprovider")


async def test_it_runs_and_is_a_plugin_without_being_installed(oddwire: Any, start: Any, tmp_path: Path) -> None:
    assert (await oddwire("new", "tally"))[0] == 0
    place = "./tally/src/oddwire_tally"
    running = await start("run", place, "--listen", "127.0.0.1:0", "--json")
    uri = (await running.event("listening"))["uri"]
    code, out, _ = await oddwire("send", uri, "tally.Count", "text=two words", "--extension", place, "--wait", "10")
    assert code == 0
    assert "words=2 characters=9" in out
    await running.interrupt()
    code, _, err = await oddwire("plugin", place, "-o", "tally-plugin")
    assert (code, (tmp_path / "tally-plugin").exists()) == (0, True), err


def test_what_was_made_is_told_as_json(run: Run, tmp_path: Path) -> None:
    code, out, err = run(
        "tally", "--path", "here", "--json", "--codec", "bolt", "--type", "0x9a31", "--feature", "3001"
    )
    event = json.loads(out)
    assert (code, err, event["event"], event["method"]) == (0, "", "result", "new")
    value = event["value"]
    assert value == {
        "name": "tally",
        "folder": str(tmp_path / "here"),
        "package": "oddwire_tally",
        "distribution": "oddwire-tally",
        "codec": "bolt",
        "feature": 3001,
        "types": {"Count": 0x9A31, "Counted": 0x9A33},
        "files": value["files"],
        "next": ["cd here", "python -m pytest", "oddwire run ./src/oddwire_tally --listen 127.0.0.1:9735"],
    }
    made = [str(path.relative_to(tmp_path / "here")) for path in (tmp_path / "here").rglob("*") if path.is_file()]
    assert sorted(value["files"]) == sorted(made)


def test_a_folder_of_another_name_is_told_to_whom_reckless_matters(run: Run) -> None:
    code, _, err = run("tally", "--path", "elsewhere", "--plugin")
    assert (code, err) == (0, "note: reckless looks for a folder or repository called tally, not elsewhere\n")
    code, out, err = run("tally", "--path", "it's mine")
    assert (code, err) == (0, "")
    assert """  cd 'it'"'"'s mine'\n""" in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["Tally"], "an extension's name should be lower-case words joined by '-', not 'Tally'; did you mean 'tally'?"),
        (
            ["tally", "--codec", "msgpak"],
            "--codec should be msgpack, bolt or json, not 'msgpak'; did you mean msgpack?",
        ),
        (["tally", "--codec", "x\n"], r"--codec should be msgpack, bolt or json, not 'x\n'"),
        (["tally", "--feature", "many"], "--feature should be the number of an odd bit, 3001 say, not 'many'"),
        (
            ["tally", "--feature", "518"],
            EVEN,
        ),
        (["tally", "--type", "x"], "--type should be a number, 0x9001 or 36865 say, not 'x'"),
    ],
)
def test_what_will_not_do_is_refused_and_nothing_is_made(
    arguments: list[str], text: str, run: Run, tmp_path: Path
) -> None:
    assert run(*arguments) == (2, "", f"oddwire: {text}\n")
    assert [*tmp_path.iterdir()] == []


def test_a_folder_that_is_not_empty_is_left_as_it_is(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tally").mkdir()
    (tmp_path / "tally" / "README.md").write_text("mine")
    code, out, err = run("tally")
    assert (code, out) == (2, "")
    assert err == (
        "oddwire: tally is not empty, and nothing in it is overwritten: there is README.md; move that away, or "
        "--path DIR makes it elsewhere\n"
    )
    assert [path.name for path in (tmp_path / "tally").iterdir()] == ["README.md"]
