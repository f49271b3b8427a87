import json
from importlib.metadata import entry_points, version
from pathlib import Path

from oddwire.cli.main import main


async def test_without_arguments_it_tells_what_there_is(oddwire) -> None:
    code, out, err = await oddwire()
    assert code == 2
    assert all(command in out + err for command in ("run ", "send ", "demo "))


async def test_ctrl_c_while_it_loads_is_quiet(oddwire, tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")  # where the commands load it from
    assert await oddwire("run", "echo") == (130, "", "")


async def test_help_and_version(oddwire) -> None:
    assert (await oddwire("--version"))[:2] == (0, f"oddwire {version('oddwire')}\n")
    for arguments in (["--version", "--json"], ["--json", "--version"]):
        code, out, _ = await oddwire(*arguments)
        told = json.loads(out)
        assert (code, told["event"], told["value"]["oddwire"]) == (0, "result", version("oddwire"))
    for command in ([], ["run"], ["send"], ["demo"]):
        code, out, _ = await oddwire(*command, "--help")
        assert code == 0
        assert out.startswith("Usage: oddwire")
        assert "\x1b" not in out


async def test_the_options_are_those_promised(oddwire) -> None:
    _, out, _ = await oddwire("run", "--help")
    for option in ("--listen", "--connect", "--data-dir", "--network", "--proxy", "--json", "--uvloop", "--verbose"):
        assert option in out
    _, out, _ = await oddwire("send", "--help")
    for option in ("--wait", "--extension", "--force", "--data-dir", "--network", "--proxy", "--json"):
        assert option in out


async def test_an_unknown_command_or_option_is_named(oddwire) -> None:
    for arguments in (["walk"], ["demo", "--fast"], ["send"]):
        code, out, err = await oddwire(*arguments)
        assert (code, out) == (2, "")
        assert "Error: " in err


def test_the_console_script_is_main() -> None:
    (script,) = entry_points(group="console_scripts", name="oddwire")
    assert script.load() is main


async def test_a_version_that_cannot_be_written_is_a_failure(start, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        code, _, err = await (await start("--version", stdout=full.fileno())).end()
    assert (code, err) == (1, "oddwire: stdout: No space left on device\n")
