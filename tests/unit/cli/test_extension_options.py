from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oddwire.app import Extension, PluginManager
from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.extension_options import describe_options, own_options, read_extras
from oddwire.errors import ExtensionError


@pytest.fixture
def plugins() -> PluginManager:
    extension = Extension("quote", version="1.0")

    @extension.option("quote-asset")
    def asset(value: str = "eur") -> str:
        """What to quote."""
        return value

    @extension.option("quote-peers")
    def peers(value: list[str]) -> list[str]:
        return value

    @extension.option("quote-levels")
    def levels(value: list[int] = [1, 2]) -> list[int]:  # noqa: B006
        """How many."""
        return value

    @extension.option("quote-loud")
    def loud(value: bool = False) -> bool:
        """Say more."""
        return value

    @extension.option("quote-fast")
    def fast(value: bool = True) -> bool:
        return value

    plugins = PluginManager()
    plugins.register(extension)
    return plugins


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ([], {}),
        (["--quote-asset=usd"], {"quote-asset": "usd"}),
        (["--quote-asset", "usd", "--quote-loud"], {"quote-asset": "usd", "quote-loud": True}),
        (["--quote-loud", "--quote-asset", "--quote-loud"], {"quote-loud": True, "quote-asset": "--quote-loud"}),
        (["--quote-asset="], {"quote-asset": ""}),
        (["--quote-peers=a", "--quote-peers", "b=c"], {"quote-peers": ["a", "b=c"]}),
        (["--quote-fast", "false"], {"quote-fast": "false"}),
    ],
)
def test_gives_the_values_by_name(plugins: PluginManager, arguments: list[str], given: dict[str, Any]) -> None:
    assert read_extras(arguments, plugins, ()) == given


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--quote-aset=usd"], "no such option: --quote-aset; did you mean --quote-asset?"),
        (["--lisen", "x"], "no such option: --lisen; did you mean --listen?"),
        (["-q"], "no such option: -q; those of the extensions loaded so far: --quote-asset, --quote-peers, "),
        (["--"], "no such option: --; those of the extensions loaded so far: --quote-asset, "),
        (["--quote-asset"], "--quote-asset should have a value: --quote-asset=VALUE"),
        (["--quote-loud=yes"], "--quote-loud is a flag and takes no value; not 'yes'"),
        (["--quote-asset=a", "--quote-asset=b"], "--quote-asset is given twice; once would do"),
    ],
)
def test_says_what_is_wrong(plugins: PluginManager, arguments: list[str], told: str) -> None:
    with pytest.raises(CommandFailure) as caught:
        read_extras(arguments, plugins, {"listen"})
    assert str(caught.value).startswith(told)
    assert caught.value.code == USAGE


def test_loads_extensions_and_then_knows_their_options(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "from oddwire import Extension\nextension = Extension('loud', version='1')\n"
        "@extension.option('volume')\ndef volume(value: int): return value\n"
    )
    plugins = PluginManager()
    given = read_extras(["echo", str(tmp_path / "loud.py"), "--volume", "7", "chat"], plugins, {"listen"})
    assert given == {"volume": "7"}
    assert [owner.name for owner in plugins.contributions] == ["oddwire", "echo", "loud", "chat"]
    with pytest.raises(ExtensionError, match=r"no extension is called 'ecco'; did you mean 'echo'\?"):
        read_extras(["ecco"], PluginManager(), ())
    with pytest.raises(CommandFailure, match="no such option: --volume; those of the extensions loaded so far: none"):
        read_extras(["--volume", "7", str(tmp_path / "loud.py")], PluginManager(), ())


def test_of_a_script_there_are_options_only(plugins: PluginManager) -> None:
    with pytest.raises(CommandFailure, match="unexpected argument 'echo'; there are options only"):
        read_extras(["echo"], plugins, (), loads=False)


def test_an_option_that_the_command_has_itself_is_refused() -> None:
    extension = Extension("quote", version="1.0")

    @extension.option("listen")
    def listen(value: str) -> str:
        return value

    plugins = PluginManager()
    plugins.register(extension)
    with pytest.raises(CommandFailure, match="option --listen of 'quote' is one that this command has itself"):
        read_extras([], plugins, {"listen"})


def test_help_has_a_line_for_each(plugins: PluginManager) -> None:
    assert describe_options(plugins).splitlines() == [
        "\b",
        "Options of the extension:",
        "  --quote-asset TEXT      What to quote.  [default: eur]",
        "  --quote-peers TEXT        [may be repeated]",
        "  --quote-levels INTEGER  How many.  [may be repeated; default: 1, 2]",
        "  --quote-loud            Say more.",
        "  --quote-fast BOOLEAN      [default: True]",
    ]
    assert describe_options(PluginManager()) == ""


def test_own_options_are_the_long_ones() -> None:
    class Parameter:
        def __init__(self, *opts: str) -> None:
            self.opts = [*opts]
            self.secondary_opts = ["--no-verbose"] if "-v" in opts else []

    assert own_options([Parameter("--listen"), Parameter("-v", "--verbose"), Parameter("extensions")]) == {
        "help",
        "listen",
        "verbose",
        "no-verbose",
    }
