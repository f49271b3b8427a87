import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.extensions import INSTALLED


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["\x1b[2J\nERROR forged"], r"No such command '\x1b[2J\nERROR forged'."),
        (["send", "--wait", "\x9b\nx"], "Invalid value for '--wait': "),
        (["demo", "\u202ex"], r"Got unexpected extra argument(s) (\u202ex)"),
        (["send", "--\x9bx"], r"No such option: --\x9bx"),
        (["plugn"], "No such command 'plugn'. Did you mean 'plugin'?"),
        (["send", "--wiat"], "No such option: --wiat (Possible options: --limit, --wait)"),
    ],
)
async def test_a_mistake_is_shown_so_that_it_does_nothing(oddwire, arguments: list[str], told: str) -> None:
    code, out, err = await oddwire(*arguments)
    assert (code, out) == (2, "")
    usage, empty, error = err.rstrip("\n").rsplit("\n", 2)
    assert usage.startswith("Usage: oddwire")
    assert empty == ""
    assert error.startswith(f"Error: {told}")
    assert not set(err) & set("\x1b\x9b\u202e")


async def test_with_json_a_mistake_is_an_event_too(oddwire) -> None:
    code, out, err = await oddwire("send", "--json")
    assert code == 2
    assert out.startswith('{"event": "error", ')
    assert out.count("\n") == 1
    assert "Missing argument" in out
    assert "Missing argument" in err


@pytest.mark.parametrize("command", ["run", "plugin"])
async def test_without_an_extension_it_says_which_there_are(oddwire, command: str) -> None:
    text = f"{command} needs the names of extensions: 'oddwire {command} chat'; installed are {INSTALLED}"
    assert await oddwire(command) == (2, "", f"oddwire: {text}\n")
    if command == "run":
        code, out, err = await oddwire(command, "--json")
        assert (code, json.loads(out)["message"], err) == (2, text, f"oddwire: {text}\n")


def test_python_runs_the_package() -> None:
    done = subprocess.run([sys.executable, "-m", "oddwire", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("oddwire ")


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_a_full_disk_is_told_in_a_line(argument: str) -> None:
    command = [Path(sys.executable).with_name("oddwire"), argument]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "oddwire: stdout: No space left on device\n")


BROKEN = """
import typer
from oddwire.cli.command_line import run_program
program = typer.Typer()
@program.command()
def fail() -> None:
    raise ValueError("\x1b[2J\\nERROR forged")
run_program(program, "broken", [])
"""


def test_what_nobody_has_foreseen_is_told_so_that_it_does_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", BROKEN], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    first, second, *rest = done.stderr.splitlines()
    assert first == r"oddwire: internal error: ValueError: \x1b[2J\nERROR forged"
    assert second == "  Traceback (most recent call last):"
    assert all(line.startswith("  ") for line in rest)
    assert "\x1b" not in done.stderr
