from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from oddwire.cli.command_map import GROUPS, commands
from oddwire.cli.lazy_commands import program


@pytest.fixture
def ask() -> Callable[..., tuple[int, str]]:
    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(program, arguments, prog_name="oddwire", terminal_width=80)
        return result.exit_code, result.output

    return run


def test_the_map_has_every_command_in_its_group(ask) -> None:
    code, out = ask("--help")
    assert code == 0
    at = 0
    for title, group in GROUPS.items():
        there = {name: entry for name, entry in group.items() if name in commands()}
        if there:
            at = out.index(f"\n{title}:\n", at)
        for name, entry in there.items():
            at = out.index(f"\n  {name} ", at)
            assert out[at + 1 :].partition("\n")[0].endswith(f"  {entry.summary}")


def test_alone_it_is_the_map_too(ask) -> None:
    assert ask()[0] == 2
    assert ask()[1] == ask("--help")[1]


def test_help_of_a_command_may_be_asked_for_either_way(ask) -> None:
    assert ask("help") == ask("--help")
    assert ask("help", "send") == ask("send", "--help")
    assert ask("help", "store", "show") == ask("store", "show", "--help")
    code, out = ask("help", "rum")
    assert code == 2
    assert "Did you mean 'run'?" in out


def test_a_command_is_loaded_once_and_alone() -> None:
    group = get_command(program)
    assert group.get_command(None, "types") is group.get_command(None, "types")
    assert group.get_command(None, "nonesuch") is None


async def test_the_map_imports_no_command(start, tmp_path: Path) -> None:
    script = tmp_path / "ask.py"
    modules = sorted(entry.module for entry in commands().values())
    script.write_text(f"""
import atexit, sys
sys.argv = ["oddwire", "--help"]
atexit.register(lambda: print([name for name in {modules!r} if name in sys.modules]))
from oddwire.cli.main import main
main()
""")
    code, out, _ = await (await start(program=script)).end()
    assert code == 0
    assert out.endswith("\n[]\n")
