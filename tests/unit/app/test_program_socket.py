"""Where a program's socket is, and what happens where it cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oddwire import AppContext, Application, Extension
from oddwire.app.program_socket import PluginSocket, RunSocket
from oddwire.jsonrpc import JsonRpcClient
from oddwire.transports.memory import MemoryTransport


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "oddwire"


def app(socket: object, *names: str) -> Application:
    extensions = []
    for name in names:
        extension = Extension(name, version="1.0")

        @extension.rpc(f"{name}-hi")
        async def hi(context: AppContext) -> str:
            return context.extension

        extensions.append(extension)
    return Application(socket, *extensions, transport=MemoryTransport())


async def who(path: Path) -> tuple[str, str]:
    async with JsonRpcClient(path) as client:
        told = await client.call("oddwire-program", [])
    return told["kind"], told["program"]


async def test_that_of_a_run_is_in_the_users_folder(folder: Path) -> None:
    path = folder / f"{os.getpid()}.rpc"
    async with app(RunSocket(None), "one", "two"):
        assert await who(path) == ("run", "one+two")
        assert not path.is_symlink()
    assert [*folder.iterdir()] == []


async def test_that_of_a_run_with_a_data_directory_is_there_and_found_by_a_link(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    folder.mkdir(0o700)
    link = folder / f"{os.getpid()}.rpc"
    link.symlink_to("left over")
    async with app(RunSocket(home), "one"):
        assert await who(home / "oddwire-rpc") == ("run", "one")
        assert link.resolve() == home / "oddwire-rpc"
    assert [*folder.iterdir(), *home.iterdir()] == []


async def test_a_run_goes_on_where_it_cannot_have_one(folder: Path, tmp_path: Path, caplog) -> None:
    folder.mkdir(0o755)
    folder.chmod(0o755)
    async with app(RunSocket(None), "one") as running:
        assert await running.call("one-hi") == "one"
    assert f"'oddwire call' does not reach this program: {folder} has mode 0755" in caplog.text
    assert f"chmod 700 {folder}" in caplog.text
    async with app(RunSocket(tmp_path), "one"):
        assert await who(tmp_path / "oddwire-rpc") == ("run", "one")  # it only lacks the link


async def test_that_of_a_plugin_is_beside_its_claim(tmp_path: Path) -> None:
    async with app(PluginSocket(str(tmp_path), "/plugins/talk.py"), "one", "two"):
        assert await who(tmp_path / "oddwire.programs" / "talk.rpc") == ("plugin", "talk")
    assert [*(tmp_path / "oddwire.programs").iterdir()] == []


async def test_a_plugin_goes_on_where_it_cannot_have_one(tmp_path: Path, caplog) -> None:
    (tmp_path / "oddwire.programs").write_text("")
    async with app(PluginSocket(str(tmp_path), "/plugins/talk.py"), "one") as running:
        assert await running.call("one-hi") == "one"
    assert "'oddwire call' does not reach this program" in caplog.text
