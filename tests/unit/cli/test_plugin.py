from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import oddwire

EXTENSION = """
from oddwire import Context, Extension
extension = Extension("quote", version="1.0")
@extension.rpc("quote-ask")
async def ask(context: Context, asset: str): ...
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
    assert path.read_text().startswith(f"#!{sys.executable}\n")
    manifest = started(path, Path("/"))
    assert '"name":"chat-say"' in manifest
    assert '"name":"quote-ask"' in manifest
    assert '"name":"custommsg"' in manifest
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["market", "quote.py"]


async def test_it_may_ask_for_the_notification(oddwire, tmp_path: Path) -> None:
    code, _, _ = await oddwire("plugin", "echo", "-o", "market", "--receive", "notification")
    assert code == 0
    assert "run_hosted('echo', receive='notification')" in (tmp_path / "market").read_text()
    manifest = json.loads(started(tmp_path / "market", tmp_path).split("\n\n")[0])
    assert "custommsg" in manifest["result"]["subscriptions"]
    assert manifest["result"]["hooks"] == []


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
    assert "run_hosted('echo')" in (tmp_path / "market").read_text()
    assert [entry.name for entry in tmp_path.iterdir()] == ["market"]


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["nosuch", "-o", "market"], 2, "no extension is called 'nosuch'; there are: chat, courier, echo"),
        (["echo", "echo", "-o", "market"], 2, "plugin 'echo' is registered twice; it should be registered once"),
        (["echo", "-o", "nowhere/market"], 1, "nowhere/market cannot be written: No such file or directory"),
    ],
)
async def test_what_cannot_be_is_not_written(
    oddwire, tmp_path: Path, arguments: list[str], code: int, reason: str
) -> None:
    assert await oddwire("plugin", *arguments) == (code, "", f"oddwire: {reason}\n")
    assert list(tmp_path.iterdir()) == []


async def test_a_python_with_a_space_in_its_path_runs_it(tmp_path: Path) -> None:
    # What the kernel takes for a path ends at a space
    from oddwire.cli.plugin import _shebang, _text

    (tmp_path / "a python").symlink_to(sys.executable)
    text = _text(["echo"], "hook").replace(_shebang(sys.executable), _shebang(str(tmp_path / "a python")))
    path = tmp_path / "market"
    path.write_text(text)
    path.chmod(0o755)
    # The link is in no virtual environment: what is installed there has to be named
    places = [*sys.path, str(Path(oddwire.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": ":".join(places)}
    run = subprocess.run([path], capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 1
    assert "is a plugin: lightningd --plugin=" in run.stderr
