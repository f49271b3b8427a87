from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.support.extensions import INSTALLED

from oddwire.app import Application, PluginManager
from oddwire.app.plugins.extension_file import absolute
from oddwire.app.plugins.loaded_plugins import LoadedPlugins
from oddwire.errors import ExtensionError
from oddwire.schema import schema_of
from oddwire.transports.memory import MemoryTransport

EXTENSION = """
from oddwire.app import AppContext, Context, Extension
from oddwire.schema import Message, message

{name} = Extension("quote", version="1.0")

@message(0x8C01)
class Ask(Message):
    text: str

@{name}.on(Ask)
async def ask(context: Context, request: Ask) -> None: ...
"""


@pytest.mark.parametrize("name", ["extension", "something_else"])
def test_loads_a_file_with_one_extension(plugins: PluginManager, folder: Path, name: str) -> None:
    file = folder / "my_quote_file.py"
    file.write_text(EXTENSION.format(name=name))
    assert plugins.load(str(file)) == "quote"
    [found] = plugins.contributions[1].messages
    assert found.__module__ == "my_quote_file"
    assert sys.modules["my_quote_file"].Ask is found


def test_loads_a_file_that_is_a_plugin_itself(plugins: PluginManager, folder: Path) -> None:
    file = folder / "plain_plugin.py"
    file.write_text("from oddwire.app import hookimpl\n@hookimpl\ndef startup(): pass\n")
    assert plugins.load(str(file)) == "plain_plugin"


def test_a_file_can_import_its_neighbours(plugins: PluginManager, folder: Path) -> None:
    (folder / "quote_names.py").write_text("NAME = 'from-next-door'\n")
    (folder / "quote_main.py").write_text(
        "from oddwire.app import Extension\nfrom quote_names import NAME\nextension = Extension(NAME, version='1')\n"
    )
    assert plugins.load(str(folder / "quote_main.py")) == "from-next-door"


def test_two_files_of_one_folder_keep_their_names(plugins: PluginManager, folder: Path) -> None:
    for stem in ("first_file", "second_file"):
        (folder / f"{stem}.py").write_text(
            f"from oddwire.app import Extension\nextension = Extension('{stem}', version='1')\n"
        )
    for stem in ("first_file", "second_file"):
        plugins.load(str(folder / f"{stem}.py"))
        assert stem in sys.modules


def test_a_file_named_like_an_installed_module_does_not_take_its_place(plugins: PluginManager, folder: Path) -> None:
    import json

    file = folder / "json.py"
    file.write_text("from oddwire.app import Extension\nextension = Extension('mine', version='1')\n")
    assert plugins.load(str(file)) == "mine"
    assert sys.modules["json"] is json
    assert sys.modules["json_2"].__file__ == str(file)


def test_the_same_file_is_one_module(folder: Path) -> None:
    file = folder / "once.py"
    file.write_text("from oddwire.app import Extension\nextension = Extension('once', version='1')\n")
    first, second = PluginManager(), PluginManager()
    first.load(str(file))
    second.load(str(folder / "." / "once.py"))
    assert first.contributions[1].plugin is second.contributions[1].plugin


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("syntax error", "cannot be imported: SyntaxError: invalid syntax (faulty_file.py, line 1)"),
        ("\n1 / 0", "cannot be imported: ZeroDivisionError: division by zero (faulty_file.py, line 2)"),
        ("import json\njson.loads('')", "Expecting value: line 1 column 1 (char 0) (faulty_file.py, line 2)"),
        (
            "import not_there_at_all",
            "ModuleNotFoundError: No module named 'not_there_at_all' (faulty_file.py, line 1)",
        ),
        ("import sys\nsys.exit(3)", "cannot be imported: it ends the program, by SystemExit(3)"),
        ("x = 1", "should have an Extension, or functions marked @hookimpl; it has none"),
        (
            "from oddwire.app import Extension\na = Extension('a', version='1')\nb = Extension('b', version='1')",
            "holds several extensions (a, b); one should be called 'extension'",
        ),
        (
            "from oddwire.app import Extension\nextension = Extension('A', version='1')",
            "name should be lower-case words",
        ),
    ],
)
def test_says_what_is_wrong_with_a_file(plugins: PluginManager, folder: Path, text: str, told: str) -> None:
    file = folder / "faulty_file.py"
    file.write_text(text)
    with pytest.raises(ExtensionError) as caught:
        plugins.load(str(file))
    assert told in str(caught.value)
    assert "faulty_file" in str(caught.value)
    assert [contribution.name for contribution in plugins.contributions] == ["oddwire"]


def test_a_file_that_failed_can_be_mended_and_loaded(plugins: PluginManager, folder: Path) -> None:
    file = folder / "mended.py"
    file.write_text("1 / 0\n")
    with pytest.raises(ExtensionError):
        plugins.load(str(file))
    assert "mended" not in sys.modules
    file.write_text("from oddwire.app import Extension\nextension = Extension('mended-now', version='1.0')\n")
    assert plugins.load(str(file)) == "mended-now"


def test_says_that_a_file_is_missing(plugins: PluginManager, tmp_path: Path) -> None:
    for spec in (str(tmp_path / "none.py"), f"{tmp_path}/quote"):
        with pytest.raises(ExtensionError, match=r"extension file .* does not exist"):
            plugins.load(spec)


MESSAGES = "from oddwire import Message, message\n@message({number})\nclass Ping(Message):\n    text: str = ''\n"
HANDLER = """
from oddwire import AppContext, Context, Extension
from messages import Ping
extension = Extension("{name}", version="1.0")
@extension.on(Ping)
async def ping(context: Context, message: Ping) -> None: ...
"""


def two_folders(folder: Path) -> None:
    for name, number in (("a", "0x8C41"), ("b", "0x8C43")):
        (folder / name).mkdir()
        (folder / name / "messages.py").write_text(MESSAGES.format(number=number))
        (folder / name / "ext.py").write_text(HANDLER.format(name=name))


def test_files_of_two_folders_have_their_own_neighbours(plugins: PluginManager, folder: Path) -> None:
    two_folders(folder)
    assert [plugins.load(str(folder / name / "ext.py")) for name in "ab"] == ["a", "b"]
    _, a, b = plugins.contributions
    assert [[schema_of(message).type_id for message in item.messages] for item in (a, b)] == [[0x8C41], [0x8C43]]
    LoadedPlugins(plugins)


def test_an_application_takes_paths_and_modules(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_folders(folder)
    (folder / "pack").mkdir()
    (folder / "pack" / "__init__.py").write_text(EXTENSION.format(name="inner") + "from types import SimpleNamespace\n")
    with (folder / "pack" / "__init__.py").open("a") as file:
        file.write("shop = SimpleNamespace(quote=inner)\n")
    monkeypatch.chdir(folder)
    for places in (["a/ext.py", "b/ext.py"], [Path("a/ext.py"), "./b/ext.py:extension"]):
        app = Application(*places, transport=MemoryTransport())
        assert [item.name for item in app.plugins.contributions] == ["oddwire", "a", "b"]
    for place in (
        "pack/",
        "./pack",
        "pack/__init__.py",
        "pack:inner",
        "pack:shop.quote",
        "./pack/:inner",
        Path("pack"),
    ):
        app = Application(place, transport=MemoryTransport())
        assert [item.name for item in app.plugins.contributions] == ["oddwire", "quote"], place
    app = Application("oddwire_extensions.echo:extension", transport=MemoryTransport())
    assert [item.name for item in app.plugins.contributions] == ["oddwire", "echo"]
    assert str(folder) not in sys.path


def test_what_makes_two_extensions_of_one_name_is_told_by_file(plugins: PluginManager, folder: Path) -> None:
    for name in "ab":
        (folder / name).mkdir()
        (folder / name / "ext.py").write_text(EXTENSION.format(name="extension"))
    plugins.load(str(folder / "a" / "ext.py"))
    with pytest.raises(ExtensionError) as caught:
        plugins.load(str(folder / "b" / "ext.py"))
    for name in "ab":
        assert str(folder / name / "ext.py") in str(caught.value)


def test_an_extension_in_two_files_is_one_from_whichever_it_is_loaded(folder: Path) -> None:
    (folder / "market.py").write_text(
        "from oddwire import Extension\nextension = Extension('market', version='1.0')\nimport handlers\n"
    )
    (folder / "handlers.py").write_text(
        "from market import extension\nfrom oddwire import AppContext, Context\n"
        "@extension.rpc('market-ask')\nasync def ask(context: AppContext): ...\n"
    )
    for name in ("market.py", "handlers.py"):
        plugins = PluginManager()
        assert plugins.load(str(folder / name)) == "market"
        assert [method.name for method in plugins.contributions[1].rpc_methods] == ["market-ask"]
        assert plugins.warnings() == []


TWO = "from oddwire.app import Extension\na = Extension('a', version='1')\nb = Extension('b', version='1')\n"


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            "./two.py",
            "two.py holds several extensions (a, b); one should be called 'extension', or be named: ./two.py:a",
        ),
        ("./two.py:c", "./two.py has no 'c'; extensions there: a, b"),
        ("two:a.name", "two:a.name is no extension: it is of type str; extensions there: a, b"),
        ("./two.py:__annotations__", "two.py:__annotations__ is no extension: it is of type dict"),
        ("two:c.d", "two has no 'c.d'; extensions there: a, b"),
        ("two:", "'two:' should be MODULE:NAME or FILE:NAME, market:extension for one"),
        (":a", "':a' should be MODULE:NAME or FILE:NAME"),
        ("two:a b", "should be MODULE:NAME or FILE:NAME"),
        ("2two:a", "should be MODULE:NAME or FILE:NAME"),
        ("nosuch:a", "there is no module nosuch: nosuch is neither in the current folder nor installed"),
        ("two.nosuch:a", "there is no module two.nosuch: two.nosuch is neither in the current folder nor installed"),
        ("wants:a", "module wants cannot be imported: ModuleNotFoundError: No module named 'nosuch'"),
        ("./none.py:a", "extension file ./none.py does not exist"),
        ("folder/", "extension file folder/ is a folder without __init__.py; name a file in it, folder/inner.py"),
        ("empty/", "extension file empty/ is a folder without __init__.py"),
        ("./text", "extension file ./text should be Python source, named *.py"),
        ("./a\0.py", "does not exist: no path has a NUL in it"),
        ("./\x1b[2J.py", "extension file ./\\x1b[2J.py does not exist"),
        ("two", "no extension is called 'two'; did you mean ./two.py?"),
        (".", f"no extension is called '.'; there are: {INSTALLED}"),
        ("pack", "no extension is called 'pack'; did you mean ./pack/?"),
        ("pack-two", "no extension is called 'pack-two'; did you mean ./src/oddwire_pack_two/?"),
        ("pack.inner", "no extension is called 'pack.inner'; did you mean pack.inner:extension?"),
    ],
)
def test_says_what_is_wrong_with_a_place(
    plugins: PluginManager, folder: Path, monkeypatch: pytest.MonkeyPatch, spec: str, told: str
) -> None:
    for name in ("folder", "empty", "pack"):
        (folder / name).mkdir()
    for name, text in {"two.py": TWO, "wants.py": "import nosuch", "folder/inner.py": "", "text": ""}.items():
        (folder / name).write_text(text)
    for name in ("__init__.py", "inner.py"):
        (folder / "pack" / name).write_text("")
    (folder / "src" / "oddwire_pack_two").mkdir(parents=True)
    (folder / "src" / "oddwire_pack_two" / "__init__.py").write_text("")
    monkeypatch.chdir(folder)
    with pytest.raises(ExtensionError) as caught:
        plugins.load(spec)
    assert told in str(caught.value)


def test_a_current_folder_that_is_gone_is_named(
    plugins: PluginManager, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    (folder / "gone").rmdir()
    for spec in ("./quote.py", "quote:extension"):
        with pytest.raises(ExtensionError, match="the current folder is gone"):
            plugins.load(spec)
    with pytest.raises(ExtensionError, match="no extension is called 'quote'"):
        plugins.load("quote")


def test_a_text_is_made_good_for_any_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "pack").mkdir()
    (folder / "pack" / "__init__.py").write_text("")
    (folder / "pack" / "in.ner.py").write_text("")
    (folder / "quote.py").write_text("")
    (folder / "odd:name.py").write_text("")
    monkeypatch.chdir(folder)
    for spec, expected in {
        "echo": "echo",
        "json:loads": "json:loads",
        "quote.py": f"{folder}/quote.py",
        "./quote.py:a.b": f"{folder}/quote.py:a.b",
        "quote:a": f"{folder}/quote.py:a",
        "pack:a": f"{folder}/pack/__init__.py:a",
        "pack/": f"{folder}/pack",
        "./odd:name.py": f"{folder}/odd:name.py",
        "./odd:name.py:a": f"{folder}/odd:name.py:a",
    }.items():
        assert absolute(spec) == expected


def test_asks_after_the_current_folder_where_it_is_a_package(
    plugins: PluginManager, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "__init__.py").write_text(
        "from oddwire.app import Extension\nextension = Extension('here', version='1')\n"
    )
    monkeypatch.chdir(folder)
    with pytest.raises(ExtensionError, match=r"no extension is called '\.'; did you mean \./\?"):
        plugins.load(".")
    plugins.load("./")
    assert plugins.contributions[1].name == "here"
