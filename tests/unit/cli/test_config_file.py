from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from oddwire.cli import node, run
from oddwire.cli.config_file import ConfigFile, read_config

RUN = get_command(run.program).params
NODE = get_command(node.program).params


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc" / "oddwire.toml"


def read(file: Path, text: str, parameters: Any = RUN) -> ConfigFile:
    file.write_text(text)
    return read_config(file, parameters)


def test_options_are_there_by_their_names(file: Path) -> None:
    found = read(
        file,
        """
        extensions = ["chat", "./quote.py", "market:second", "shop/it.py:two"]
        listen = "127.0.0.1:9735"
        connect = ["a@b", "c@d"]
        data-dir = "state"
        connect-timeout = 5
        json = true
        [chat]
        greeting = "ahoy"
        """,
    )
    folder = file.parent
    assert found.own == {
        "extensions": ["chat", f"{folder}/quote.py", "market:second", f"{folder}/shop/it.py:two"],
        "listen": ["127.0.0.1:9735"],
        "connect": ["a@b", "c@d"],
        "data_dir": f"{folder}/state",
        "connect_timeout": 5.0,
        "json": True,
    }
    assert found.tables == {"chat": {"greeting": "ahoy"}}
    assert (found.source(), found.source("chat")) == (str(file), f"{file}, [chat]")


def test_paths_are_beside_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    found = read(file, 'plugin = ["talk"]\nlog-file = "/var/log/it"\nlightning-dir = "~/.node"\nalias = "a/b"', NODE)
    assert found.own == {
        "plugin": [f"{file.parent}/talk"],
        "log_file": "/var/log/it",
        "lightning_dir": "/home/me/.node",
        "alias": "a/b",
    }
    assert [found.text(each) for each in ("a/b", "./a", "../a")] == ["a/b", f"{file.parent}/a", f"{file.parent}/../a"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("lisen = []", "lisen: there is no such option; did you mean listen?"),
        ("data_dir = 'a'", "data_dir: there is no such option; did you mean data-dir?"),
        ("config = 'other.toml'", "config: there is no such option"),
        ("listen = 5", "listen: should be a text, or a list of texts, not 5"),
        ("listen = ['a', 5]", "listen: should be a text, or a list of texts, not \\['a', 5\\]"),
        ("json = 'yes'", "json: should be true or false, not 'yes'"),
        ("network = true", "network: should be a text, not true"),
        ("connect-timeout = true", "connect-timeout: should be a number, not true"),
        ("[network]", "network: should be a text, not a table"),
        ("listen = = 5", "is not TOML: Invalid value"),
        (f"listen = {'[' * 20_000}", "is nested too deep"),
    ],
)
def test_what_is_wrong_is_named(file: Path, text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=f"^{wrong}"):
        read(file, text)


def test_an_option_of_two_names_is_said_once(file: Path) -> None:
    assert read(file, "listen = 'a'", NODE).own == read(file, "addr = 'a'", NODE).own == {"addr": ["a"]}
    with pytest.raises(ValueError, match="is said twice, under two names"):
        read(file, "listen = 'a'\naddr = 'b'", NODE)


def test_what_is_no_text_is_refused(file: Path) -> None:
    file.write_bytes(b"alias = '\xff'")
    with pytest.raises(ValueError, match="should be UTF-8"):
        read_config(file, NODE)
    with pytest.raises(ValueError, match="should be at most 1048576 bytes"):
        read(file, "#" * (1 << 20) + "#")
    with pytest.raises(IsADirectoryError):
        read_config(file.parent, RUN)
