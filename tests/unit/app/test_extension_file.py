from __future__ import annotations

import sys
from pathlib import Path

import pytest

from oddwire.app import PluginManager
from oddwire.errors import ExtensionError

EXTENSION = """
from oddwire.app import Context, Extension
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
        ("syntax error", "cannot be imported: SyntaxError: invalid syntax"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("import not_there_at_all", "cannot be imported: ModuleNotFoundError: No module named 'not_there_at_all'"),
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
