from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.extensions import INSTALLED

import oddwire

EXTENSION = """
from oddwire import AppContext, Context, Extension
extension = Extension("quote", version="1.0")
@extension.rpc("quote-ask")
async def ask(context: AppContext, asset: str): ...
"""
GETMANIFEST = b'{"jsonrpc":"2.0","id":"cln:getmanifest#1","method":"getmanifest","params":{}}\n\n'


def started(path: Path, cwd: Path) -> str:
    """Run a plugin file as lightningd would, as far as its manifest."""
    environment = {**os.environ, "LIGHTNINGD_PLUGIN": "1", "LIGHTNINGD_VERSION": "v26.06"}
    run = subprocess.run([path], input=GETMANIFEST, capture_output=True, env=environment, cwd=cwd, check=False)
    return run.stdout.decode()


async def test_a_plugin_file_runs_several_extensions_from_anywhere(oddwire, tmp_path: Path) -> None:
    (tmp_path / "quote.py").write_text(EXTENSION)
    code, out, err = await oddwire("plugin", "chat", "quote.py", "-o", "market")
    assert (code, out) == (0, "")
    assert err == f"written; start it with: lightningd --plugin={tmp_path}/market\n"
    path = tmp_path / "market"
    assert stat.S_IMODE(path.stat().st_mode) & 0o700 == 0o700
    assert path.read_text().startswith(f"#!{sys.executable} -P\n")
    manifest = started(path, Path("/"))
    assert '"name":"chat-say"' in manifest
    assert '"name":"quote-ask"' in manifest
    assert '"subscriptions":["connect","disconnect","shutdown","custommsg"]' in manifest
    assert {entry.name for entry in tmp_path.iterdir()} - {"__pycache__"} == {"market", "quote.py"}


async def test_what_was_written_as_one_object(oddwire, tmp_path: Path) -> None:
    code, out, err = await oddwire("plugin", "chat", "courier", "-o", "market", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert (told["event"], told["method"]) == ("result", "plugin")
    assert told["value"] == {"file": str(tmp_path / "market"), "extensions": ["chat", "courier"]}
    code, out, _ = await oddwire("plugin", "chat", "-o", "market", "--json")
    assert (code, json.loads(out)["event"]) == (2, "error")


@pytest.mark.parametrize("receive", ["hook", "notification"])
async def test_it_may_ask_for_the_hook_or_the_notification(oddwire, tmp_path: Path, receive: str) -> None:
    code, _, _ = await oddwire("plugin", "echo", "-o", "market", "--receive", receive)
    assert code == 0
    assert f"run_plugin('echo', receive={receive!r})" in (tmp_path / "market").read_text()
    manifest = json.loads(started(tmp_path / "market", tmp_path).split("\n\n")[0])
    assert ("custommsg" in manifest["result"]["subscriptions"]) is (receive == "notification")
    assert len(manifest["result"]["hooks"]) == (receive == "hook")


async def test_handlers_of_reliable_messages_have_their_store_in_the_node(oddwire, tmp_path: Path) -> None:
    code, _, err = await oddwire("plugin", "courier", "-o", "market")
    assert code == 0, err
    assert '"name":"courier-send"' in started(tmp_path / "market", tmp_path)


async def test_a_file_is_replaced_only_by_force(oddwire, tmp_path: Path) -> None:
    (tmp_path / "market").write_text("precious")
    code, _, err = await oddwire("plugin", "echo", "-o", "market")
    assert (code, err) == (2, "oddwire: market is there already; --force replaces it\n")
    assert (tmp_path / "market").read_text() == "precious"
    code, _, _ = await oddwire("plugin", "echo", "-o", "market", "--force")
    assert code == 0
    assert "run_plugin('echo')" in (tmp_path / "market").read_text()
    assert [entry.name for entry in tmp_path.iterdir()] == ["market"]


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["nosuch", "-o", "market"], 2, f"no extension is called 'nosuch'; there are: {INSTALLED}"),
        (["echo", "echo", "-o", "market"], 2, "plugin 'echo' is registered twice; it should be registered once"),
        (["echo", "-o", "nowhere/market"], 1, "nowhere/market cannot be written: No such file or directory"),
    ],
)
async def test_what_cannot_be_is_not_written(
    oddwire, tmp_path: Path, arguments: list[str], code: int, reason: str
) -> None:
    assert await oddwire("plugin", *arguments) == (code, "", f"oddwire: {reason}\n")
    assert list(tmp_path.iterdir()) == []


NAMES = [
    "a python",
    "$(touch ran)",
    "`touch ran`",
    "it's",
    'say "hi"',
    '"""',
    "'\"'\"\"'",
    "$HOME",
    "a\nb",
    "a\tb",
    "#!",
    "é",
    "x" * 200,
]


@pytest.mark.parametrize("name", [*NAMES, os.fsdecode(b"caf\xe9"), os.fsdecode(b"caf\xe9 $(touch ran)")])
async def test_python_may_lie_at_any_path(tmp_path: Path, name: str) -> None:
    from oddwire.cli.plugin import _content, _head

    python = tmp_path / name / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    content = _content(["echo"], None)
    head = _head(sys.executable)
    assert content.startswith(head)
    path = tmp_path / "market"
    path.write_bytes(_head(str(python)) + content[len(head) :])
    path.chmod(0o755)
    # The link is in no virtual environment: what is installed there has to be named
    places = [*sys.path, str(Path(oddwire.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": ":".join(places)}
    run = subprocess.run([path], capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert run.stderr == f"{path} is a plugin: lightningd --plugin={path} runs it\n"
    assert run.returncode == 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(["market", name])


def test_a_path_that_no_plugin_can_name_is_refused() -> None:
    from oddwire.cli.exit import CommandFailure
    from oddwire.cli.plugin import _head

    with pytest.raises(CommandFailure, match="at a path without backslashes"):
        _head("/a b\\c/python")
    with pytest.raises(CommandFailure, match="does not know its own path"):
        _head("")


FILES = [
    "market.v2.py",
    "mar ket.py",
    "it's.py",
    'say "hi".py',
    "a\\nb.py",
    "a\nb.py",
    '""".py',
    "$(touch ran).py",
    "é\u202e.py",
]


@pytest.mark.parametrize("name", [*FILES, os.fsdecode(b"caf\xe9.py")])
async def test_an_extension_may_lie_in_any_file(oddwire, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(EXTENSION)
    code, out, err = await oddwire("plugin", name if name.startswith(".") else f"./{name}", "-o", "quote plugin")
    assert (code, out) == (0, "")
    assert err == f"written; start it with: lightningd --plugin='{tmp_path}/quote plugin'\n"
    assert '"name":"quote-ask"' in started(tmp_path / "quote plugin", Path("/"))


@pytest.mark.parametrize("name", ["plain", "a b", os.fsdecode(b"caf\xe9"), "x" * 250])
@pytest.mark.parametrize(
    ("umask", "mode"), [(0o000, 0o755), (0o022, 0o755), (0o077, 0o700), (0o777, 0o700), (0o002, 0o755)]
)
async def test_the_file_is_its_owners_to_run_and_to_write(tmp_path: Path, name: str, umask: int, mode: int) -> None:
    command = [sys.executable, "-m", "oddwire.cli.main", "plugin", "echo", "-o", name]
    run = subprocess.run(command, cwd=tmp_path, umask=umask, capture_output=True, check=False)
    assert (run.returncode, run.stdout) == (0, b"")
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode


async def test_what_is_in_the_way_is_named(oddwire, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "quote.py").write_text(EXTENSION)
    for output, reason in {
        "folder": "folder is a folder; -o should be the plugin's file",
        ".": ". is a folder; -o should be the plugin's file",
        "dangling": "dangling is there already; --force replaces it",
        "quote.py": "quote.py is an extension itself; the plugin should be another file",
        "quote.py/plugin": "quote.py/plugin cannot be written: Not a directory",
    }.items():
        code, _, err = await oddwire("plugin", "./quote.py", "-o", output)
        assert (code, err) == (2 if "cannot" not in reason else 1, f"oddwire: {reason}\n")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "null").symlink_to("/dev/null")
    for output in ("fifo", "null"):
        code, _, err = await oddwire("plugin", "./quote.py", "-o", output, "--force")
        assert (code, err) == (2, f"oddwire: {output} is no regular file; -o should be the plugin's file\n")
    code, _, err = await oddwire("plugin", "./quote.py:extension", "-o", "quote.py", "--force")
    assert (code, err) == (2, "oddwire: quote.py is an extension itself; the plugin should be another file\n")
    assert (tmp_path / "quote.py").read_text() == EXTENSION
    code, _, _ = await oddwire("plugin", "./quote.py", "-o", "dangling", "--force")
    assert code == 0
    assert not (tmp_path / "nowhere").exists()
    assert '"name":"quote-ask"' in started(tmp_path / "dangling", tmp_path)


MARKET = """
from oddwire import Extension
extension = Extension("market", version="1.0")
import handlers
"""
HANDLERS = """
from oddwire import AppContext, Context
from market import extension
@extension.rpc("market-ask")
async def ask(context: AppContext): ...
"""


def test_it_finds_modules_packages_and_neighbours_wherever_it_is_started(tmp_path: Path) -> None:
    oddwire = Path(sys.executable).with_name("oddwire")  # with -m, Python itself would look into this folder
    (tmp_path / "json.py").write_text("")  # beside the plugin, whose Python should not take it for its own
    (tmp_path / "market.py").write_text(MARKET)
    (tmp_path / "handlers.py").write_text(HANDLERS)
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").write_text("from .shop import extension")
    (tmp_path / "pack" / "shop.py").write_text(EXTENSION)
    for number, specs in enumerate([("market:extension", "pack/"), ("market.py", "pack.shop:extension")]):
        command = [oddwire, "plugin", *specs, "oddwire_extensions.echo:extension", "-o", f"plugin{number}"]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        manifest = started(tmp_path / f"plugin{number}", Path("/"))
        assert '"name":"market-ask"' in manifest
        assert '"name":"quote-ask"' in manifest


async def test_an_extension_that_does_nothing_is_told_of(oddwire, tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("from oddwire import Extension\nextension = Extension('empty', version='1')\n")
    code, _, err = await oddwire("plugin", "./empty.py", "-o", "plugin")
    assert code == 0
    assert err.startswith("warning: extension 'empty' (an extension of ")
    assert "does nothing: it has no handlers" in err
