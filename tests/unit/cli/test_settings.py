"""Command line before environment before file before default; and where each value is from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from oddwire import Extension
from oddwire.app import PluginManager
from oddwire.cli import run
from oddwire.cli.exit import CommandFailure
from oddwire.cli.settings import InForce, Settings


@pytest.fixture
def plugins() -> PluginManager:
    extension = Extension("shop", version="1.0")

    @extension.option("shop-name")
    def name(value: str = "corner") -> str:
        return value

    @extension.option("shop-shelves")
    def shelves(value: list[int] = [1]) -> list[int]:  # noqa: B006
        return value

    @extension.option("shop-open")
    def is_open(value: bool = False) -> bool:
        return value

    @extension.option("till-token")
    def token(value: str = "") -> str:
        return value

    plugins = PluginManager()
    plugins.register(extension)
    return plugins


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(*arguments: str, file: str = "", **environment: str) -> Settings:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "it.toml").write_text(file)
        given = [*arguments, *(["--config", str(tmp_path / "it.toml")] if file else [])]
        return Settings(get_command(run.program).make_context("run", given), os.environ)

    return make


def row(settings: Settings, option: str) -> tuple[Any, str]:
    (found,) = [each for each in settings.rows if each.option == option]
    return found.value, found.source


def test_the_command_line_comes_first(settings, tmp_path: Path) -> None:
    file = "listen = ['f:1']\nconnect = ['f@1']\nproxy = 'f:3'"
    found = settings("--listen", "c:1", file=file, ODDWIRE_LISTEN="e:1 e:2", ODDWIRE_CONNECT="e@1 e@2")
    assert row(found, "listen") == (["c:1"], "command line")
    assert row(found, "connect") == (["e@1", "e@2"], "ODDWIRE_CONNECT")
    assert row(found, "proxy") == ("f:3", str(tmp_path / "it.toml"))
    assert row(found, "network") == ("bitcoin", "default")
    assert row(found, "log-format") == ("text", "default")  # as it is typed
    assert row(settings(ODDWIRE_LOG_FORMAT="json"), "log-format") == ("json", "ODDWIRE_LOG_FORMAT")


def test_and_so_it_is_with_options_of_extensions(settings, plugins: PluginManager, tmp_path: Path) -> None:
    file = "[shop]\nname = 'file'\nshelves = [2, 3]\nopen = true\ntill-token = '../x'"
    assert settings(file=file).fill({}, plugins) == {
        "shop-name": "file",
        "shop-shelves": [2, 3],
        "shop-open": True,
        "till-token": f"{tmp_path}/../x",
    }
    found = settings(file=file, ODDWIRE_SHOP_NAME="variable", ODDWIRE_SHOP_SHELVES="4 5", ODDWIRE_SHOP_OPEN="no")
    assert found.fill({"shop-shelves": ["6"]}, plugins) == {
        "shop-name": "variable",
        "shop-shelves": ["6"],
        "till-token": f"{tmp_path}/../x",
    }
    assert row(found, "shop-name") == ("variable", "ODDWIRE_SHOP_NAME")
    assert row(found, "shop-shelves") == (["6"], "command line")
    assert settings().fill({}, plugins) == {"shop-name": "variable", "shop-shelves": ["4", "5"]}


@pytest.mark.parametrize(
    ("file", "wrong"),
    [
        ("[shup]", "there is no extension 'shup' for [shup]; did you mean [shop]?"),
        ("[other]", "there is no extension 'other' for [other]; it should be one that runs"),
        ("[shop]\nnam = 'x'", "[shop]: nam: 'shop' has no such option; did you mean name?"),
        ("[shop]\nzzz = 'x'", "[shop]: zzz: 'shop' has no such option; there are: name, shelves, open, till-token"),
        ("[shop]\nname = 5", "[shop]: name: should be a text, not 5"),
        ("[shop]\nshelves = ['x']", "[shop]: shelves: should be a whole number, or a list of such, not 'x'"),
        ("[shop]\nshelves = [true]", "[shop]: shelves: should be a whole number, or a list of such, not True"),
        ("[shop]\nopen = 'x'", "[shop]: open: should be true or false, not 'x'"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(settings, plugins: PluginManager, file: str, wrong: str) -> None:
    with pytest.raises(CommandFailure) as caught:
        settings(file=file).fill({}, plugins)
    assert str(caught.value).endswith(wrong)
    assert caught.value.code == 2


def test_a_flags_variable_says_yes_or_no(settings, plugins: PluginManager) -> None:
    with pytest.raises(CommandFailure, match="ODDWIRE_SHOP_OPEN='maybe' should be true or false"):
        settings(ODDWIRE_SHOP_OPEN="maybe").fill({}, plugins)


def test_an_error_names_where_its_value_is_from(settings, plugins: PluginManager, tmp_path: Path) -> None:
    found = settings("--connect", "c@1", file="proxy = 'f:3'\n[shop]\nname = 'file'", ODDWIRE_LISTEN="nope:1 b:2")
    found.fill({}, plugins)
    assert found.explain("cannot listen at nope:1") == "cannot listen at nope:1 (listen is from ODDWIRE_LISTEN)"
    assert found.explain("cannot reach c@1") == "cannot reach c@1"
    text = "option 'shop-name' of 'shop' cannot be 'file': too short"
    assert found.explain(text) == f"{text} (shop-name is from {tmp_path / 'it.toml'}, [shop])"
    with pytest.raises(CommandFailure) as caught, found.explaining():
        raise CommandFailure(text, 2)
    assert (str(caught.value), caught.value.code) == (found.explain(text), 2)


def test_a_variable_that_is_nearly_one_is_told(settings, plugins: PluginManager) -> None:
    found = settings(
        ODDWIRE_LITSEN="a", ODDWIRE_SHOP_NAM="b", ODDWIRE_MAX_DOCUMENT="5", ODDWIRE_OTHER="c", ODDWIRE_SHOW_CONFIG="1"
    )
    found.fill({}, plugins)
    assert found.unread() == [
        "ODDWIRE_LITSEN in the environment is not read; did you mean ODDWIRE_LISTEN?",
        "ODDWIRE_SHOP_NAM in the environment is not read; did you mean ODDWIRE_SHOP_NAME?",
    ]


def test_secrets_are_not_shown() -> None:
    assert InForce("till-token", "abc", "default").shown == "********"
    assert InForce("till-token", None, "default").shown is None
    assert InForce("proxy", "socks5://me:pw@h:1", "default").shown == "socks5://********@h:1"
    assert InForce("listen", ["ws://me@h:1"], "default").shown == ["ws://********@h:1"]
    assert InForce("wait", 1.5, "default").shown == 1.5
    assert InForce("macaroon", Path("/etc/oddwire.macaroon"), "default").shown == "/etc/oddwire.macaroon"
    assert InForce("macaroon", Path("0201036c6e64" + "ab" * 40), "default").shown == "********"
    assert InForce("macaroon", Path("AgEDbG5k" + "Ab/+" * 20), "default").shown == "********"


def test_options_of_a_nodes_plugins_are_theirs_to_check(settings) -> None:
    found = settings(file="[chat]\ngreeting = 'ahoy'\nloud = true\nrooms = ['a', 2]\n[other]\nname = 'x'")
    assert found.of_plugins([("other-name", "y"), ("flag", None)]) == [
        *[("other-name", "y"), ("flag", None)],
        *[("chat-greeting", "ahoy"), ("chat-loud", "true"), ("chat-rooms", "a"), ("chat-rooms", "2")],
    ]
    with pytest.raises(CommandFailure, match="greeting: should be a text, a number, true, false or a list of such"):
        settings(file="[chat.greeting]\na = 1").of_plugins([])


def test_options_of_lnd_are_from_wherever_they_are_said(settings, tmp_path: Path) -> None:
    found = settings(file="macaroon = 'm.macaroon'\nlnddir = 'lnd'", ODDWIRE_LND="h:1")
    file = str(tmp_path / "it.toml")
    assert row(found, "lnd") == ("h:1", "ODDWIRE_LND")
    assert row(found, "macaroon") == (tmp_path / "m.macaroon", file)
    assert row(found, "lnddir") == (tmp_path / "lnd", file)
    assert row(found, "tlscert") == (None, "default")
    pasted = settings(ODDWIRE_MACAROON="0201036c6e64" + "5a" * 60)
    assert [each.shown for each in pasted.rows if each.option == "macaroon"] == ["********"]


async def test_a_run_shows_what_is_in_force_and_does_nothing(oddwire, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "it.toml").write_text('extensions = ["chat"]\ndata-dir = "state"\n[chat]\ngreeting = "ahoy"\n')
    monkeypatch.setenv("ODDWIRE_NETWORK", "regtest")
    code, out, err = await oddwire("run", "--config", "it.toml", "--show-config", "--json")
    assert (code, err) == (0, "")
    shown = {each["option"]: (each["value"], each["source"]) for each in json.loads(out)["value"]}
    assert shown["extensions"] == (["chat"], "it.toml")
    assert shown["network"] == ("regtest", "ODDWIRE_NETWORK")
    assert shown["log-format"] == ("text", "default")
    assert shown["chat-greeting"] == ("ahoy", "it.toml, [chat]")
    assert not (tmp_path / "state").exists()
    code, out, err = await oddwire("run", "echo", "--connect-timeout", "x")
    assert (code, "from the" in err) == (2, False)
    monkeypatch.setenv("ODDWIRE_CONNECT_TIMEOUT", "x")
    code, out, err = await oddwire("run", "echo")
    assert (code, out) == (2, "")
    assert "(from the environment, ODDWIRE_CONNECT_TIMEOUT)" in err
