"""What running.md shows of other programs' files: they name options and variables that there are."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path

from tests.docs.test_docs import ROOT, blocks_of
from typer.main import get_command

from oddwire.app import PluginManager
from oddwire.cli import run
from oddwire.cli.config_file import read_config
from oddwire.cli.extension_options import option_names
from oddwire.cli.variables import long_name, variable

PAGE = ROOT / "docs" / "running.md"
COMMAND = get_command(run.program)


def block(language: str) -> str:
    (found,) = [each.text for each in blocks_of(PAGE) if each.language == language]
    return found


def variables() -> set[str]:
    return {"ODDWIRE_EXTENSIONS", *(variable(long_name(each)) for each in COMMAND.params if long_name(each))}


def test_the_unit_of_systemd() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block("ini"))
    words = shlex.split(unit["Service"]["ExecStart"])
    assert words[1:3] == ["run", "--config"]
    assert {long_name(each) for each in COMMAND.params} >= {
        word.removeprefix("--") for word in words if word[:2] == "--"
    }
    assert unit["Service"]["Environment"].partition("=")[0] in variables()


def test_the_dockerfile() -> None:
    assert {*re.findall(r"\b(ODDWIRE_\w+)=", block("dockerfile"))} <= variables()


def test_the_file_of_options(tmp_path: Path) -> None:
    (text,) = [each.text for each in blocks_of(PAGE) if each.name == "node.toml"]
    (tmp_path / "node.toml").write_text(text)
    found = read_config(tmp_path / "node.toml", COMMAND.params)
    plugins = PluginManager()
    for name in found.own["extensions"]:
        plugins.load(name)
    assert {f"{table}-{key}" for table, keys in found.tables.items() for key in keys} <= {*option_names(plugins)}


def test_what_the_page_of_lnd_shows_of_other_programs_files() -> None:
    page = ROOT / "docs" / "lnd.md"
    (ini,) = [each.text for each in blocks_of(page) if each.language == "ini"]
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(ini)
    words = shlex.split(unit["Service"]["ExecStart"])
    options = {long_name(each) for each in COMMAND.params}
    assert options >= {word.removeprefix("--") for word in words if word.startswith("--")}
    assert unit["Service"]["Environment"].partition("=")[0] in variables()
    text = page.read_text()
    assert {*re.findall(r"\b(ODDWIRE_[A-Z]\w+)\b", text)} <= variables()
    table = text[text.index("| `--lnd HOST:PORT` |") : text.index("All other options are")]
    assert {*re.findall(r"^\| `--([\w-]+)", table, re.MULTILINE)} <= options
