"""How ``oddwire node`` reads options that are plugins'; what it does is tested as a process in tests/interop."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.node import _log, read_plugin_options


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], []),
        (["--flag"], [("flag", None)]),
        (["--name=value"], [("name", "value")]),
        (["--name="], [("name", "")]),
        (["--name=a=b"], [("name", "a=b")]),
        (["--name", "value", "--flag", "--x=1"], [("name", "value"), ("flag", None), ("x", "1")]),
        (["--name", "-5"], [("name", "-5")]),
        (["--name=--x"], [("name", "--x")]),
        (["--name= a=\n'"], [("name", " a=\n'")]),
        (["--name", "se\udcc3\udcb1or"], [("name", "señor")]),
        (["--multi=1", "--multi=2"], [("multi", "1"), ("multi", "2")]),
    ],
)
def test_options(arguments: list[str], options: list[tuple[str, str | None]]) -> None:
    assert read_plugin_options(arguments) == options


@pytest.mark.parametrize("arguments", [["stray"], ["-x"], ["--"], ["--=1"], ["--a=1", "stray"]])
def test_what_is_no_option(arguments: list[str]) -> None:
    with pytest.raises(CommandFailure, match="should look like --name=value") as caught:
        read_plugin_options(arguments)
    assert caught.value.code == USAGE


async def test_a_misspelt_option_of_its_own_is_asked_after(oddwire, tmp_path) -> None:
    code, out, err = await oddwire("node", "--lightning-dir", tmp_path, "--plugn", "x", "--json", "--log-level=broken")
    assert code == 2
    assert err == "oddwire: unrecognized option --plugn: no plugin that runs has it; did you mean --plugin?\n"
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["error"]


def test_the_log_has_what_libraries_warn_of(tmp_path) -> None:
    before = logging.lastResort
    with _log("info", tmp_path / "log"):
        logger = logging.Logger("library")  # noqa: LOG001 - one without handlers, whatever the test's are
        logger.warning("odd\n%s", "\x1b東\ud800")
        logger.info("nobody wants to know")
    assert logging.lastResort is before
    assert (tmp_path / "log").read_text(encoding="utf-8").split(" ", 1)[
        1
    ] == r"UNUSUAL library: odd\n\x1b東\ud800" + "\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
async def test_no_line_of_the_log_is_lost(start, oddwire, tmp_path, monkeypatch, encoding: str) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    plugin = tmp_path / "odd\udcff\n"
    plugin.write_text(f"#!{sys.executable}\nimport os\nos.write(2, b'\\xff\\x1b \\xe6\\x9d\\xb1\\xc2\\x9b\\n')\n")
    plugin.chmod(0o755)
    node = await start("node", "--lightning-dir", tmp_path / "d\udcff", "--plugin", plugin, "--log-level=debug")
    await node.line()  # its id: it runs
    code, _, err = await node.interrupt()
    assert "plugin-odd\\udcff\\n: \\xff\\x1b " in err
    assert f"{'東' if encoding == 'utf-8' else chr(92) + 'u6771'}\\x9b\n" in err
    assert code == 0
