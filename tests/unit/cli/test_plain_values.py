"""Values of the command line are what typer makes of them, though it is not asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.core import TyperCommand

from oddwire.cli.plain_values import Command, Group


def read(cls: type[TyperCommand], arguments: list[str]) -> dict[str, Any] | str:
    """Return what a command of this class gets, or the text of the error."""
    program = typer.Typer(add_completion=False, rich_markup_mode=None)
    got: dict[str, Any] = {}

    @program.command(cls=cls)
    def command(
        word: Annotated[str, typer.Argument()],
        words: Annotated[list[str] | None, typer.Argument()] = None,
        text: Annotated[str, typer.Option()] = "default",
        maybe: Annotated[str | None, typer.Option()] = None,
        many: Annotated[list[str] | None, typer.Option()] = None,
        numbers: Annotated[list[int] | None, typer.Option()] = None,
        path: Annotated[Path, typer.Option()] = Path("~/x"),
        no_path: Annotated[Path | None, typer.Option()] = None,
        there: Annotated[Path | None, typer.Option(exists=True)] = None,
        seconds: Annotated[float, typer.Option(min=0.5, max=100)] = 1.0,
        timeout: Annotated[float | None, typer.Option()] = None,
        count: Annotated[int, typer.Option()] = 5,
        parsed: Annotated[Path | None, typer.Option(parser=lambda text: Path("parsed", text))] = None,
        choice: Annotated[Literal["a", "b"] | None, typer.Option()] = None,
        flag: Annotated[bool, typer.Option("--flag")] = False,
    ) -> None:
        got.update(locals())

    try:
        typer.main.get_command(program).main(arguments, prog_name="x", standalone_mode=False)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    del got["got"]
    return got


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["w"],
        ["w", "", "x", " "],
        ["é\n", "--text", "", "--maybe="],
        ["w", "--many", "a", "--many", "b"],
        ["w", "--many", ""],
        ["w", "--numbers", "1", "--numbers", "x"],
        ["w", "--numbers", "1"],
        ["w", "--path", "", "--no-path", "a//b/../c"],
        ["w", "--path", "/", "--no-path", "/dev/null"],
        ["w", "--path", "-"],
        ["w", "--there", "/nowhere"],
        ["w", "--there", "/"],
        ["w", "--seconds", "0.5", "--timeout", "7"],
        ["w", "--seconds", "0.4"],
        ["w", "--seconds", "100.5"],
        ["w", "--timeout", "-1"],
        ["w", "--timeout", "1e3"],
        ["w", "--timeout", "x"],
        ["w", "--timeout", ""],
        ["w", "--timeout", "٣"],
        ["w", "--timeout", "9" * 400],
        ["w", "--count", "7"],
        ["w", "--count", "7.5"],
        ["w", "--parsed", "x"],
        ["w", "--choice", "a"],
        ["w", "--choice", "c"],
        ["w", "--flag"],
        ["w", "--flag=1"],
        ["w", "--nosuch"],
    ],
)
def test_a_value_is_what_typer_makes_of_it(arguments: list[str]) -> None:
    expected = read(TyperCommand, arguments)
    assert read(Command, arguments) == expected
    assert isinstance(expected, str) or expected["word"] == arguments[0]


def test_a_path_that_may_not_be_read_is_typers_to_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may read everything
    arguments = ["w", "--path", str(tmp_path)]
    assert read(Command, arguments) == read(TyperCommand, arguments)
    assert "is not readable" in read(Command, arguments)


def test_a_groups_own_options_are_read_plainly() -> None:
    program = typer.Typer(cls=Group, add_completion=False, rich_markup_mode=None)
    got = []

    @program.callback()
    def options(text: Annotated[str, typer.Option()] = "default") -> None:
        got.append(text)

    @program.command()
    def command() -> None:
        got.append("run")

    for arguments in (["command"], ["--text", "x", "command"]):
        typer.main.get_command(program).main(arguments, prog_name="x", standalone_mode=False)
    assert got == ["default", "run", "x", "run"]


def test_a_groups_help_has_the_whole_first_paragraph_of_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    program = typer.Typer(cls=Group, add_completion=False, rich_markup_mode=None)
    words = " ".join(f"word{number}" for number in range(40))

    @program.callback()
    def group() -> None: ...

    @program.command(help=f"{words}.\n\nMore, which is for its own help.")
    def first() -> None: ...

    @program.command(hidden=True, help="Secret.")
    def second() -> None: ...

    typer.main.get_command(program).main(["--help"], prog_name="x", standalone_mode=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"first {words}." in shown
    assert not {"More", "Secret."} & {*shown.split()}


LOADED = """
import sys
from oddwire.cli.main import main
try:
    main()
finally:
    print(*sorted({"pydantic", "python_socks", "rich", *OTHERS} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("arguments", "others"),
    [
        (["--version"], "oddwire.app.application asyncio"),
        (
            ["call", "--lightning-dir", "/nowhere", "--timeout", "5", "getinfo"],
            "oddwire.app.application oddwire.schema",
        ),
        (
            ["run", "nosuch", "--listen", "127.0.0.1:0", "--data-dir", "keys"],
            "oddwire.node.node oddwire.transports.lnd grpc",
        ),
        (["send", "x", "y", "--wait", "2"], "oddwire.node.node"),
        (["node", "--network", "nosuch", "--plugin", "x"], "oddwire.app.application"),
        (["plugin", "nosuch", "-o", "x"], "oddwire.node.node"),
        (["store", "show", "nosuch"], "oddwire.node.node"),
        (["lnd", "macaroon", "--check", "nosuch"], "oddwire.app.application oddwire.transports.lnd.client grpc"),
    ],
)
def test_a_command_loads_what_it_needs(arguments: list[str], others: str, tmp_path: Path) -> None:
    program = LOADED.replace("OTHERS", repr(others.split()))
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stdout.splitlines()[-1] == "", done.stderr
