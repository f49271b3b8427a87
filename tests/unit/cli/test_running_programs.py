"""Which program is meant, by its sockets."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from oddwire.cli.exit import CommandFailure
from oddwire.cli.running_programs import RunningProgram, find_program, running_programs
from oddwire.jsonrpc import JsonRpcServer, RpcConnection, encode

ID = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "oddwire").mkdir(0o700)
    return tmp_path


class Sockets:
    """Programs that tell what they are."""

    def __init__(self, home: Path, stack: contextlib.AsyncExitStack) -> None:
        self.home = home
        self._stack = stack

    async def serve(self, path: Path, answer: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)

        def handle(document: Any, connection: RpcConnection) -> bytes:
            return encode({"jsonrpc": "2.0", "id": document["id"], "result": answer})

        server = JsonRpcServer(path, handle)
        await server.start()
        self._stack.push_async_callback(server.aclose)
        return path

    async def run(self, pid: int, *extensions: str) -> Path:
        named = [{"name": name, "version": "1"} for name in extensions]
        told = {"program": "+".join(extensions), "kind": "run", "pid": pid, "node_id": ID, "extensions": named}
        return await self.serve(self.home / "oddwire" / f"{pid}.rpc", told)

    async def plugin(self, name: str, *, folder: str = ".oddwire/bitcoin") -> Path:
        told = {"program": name, "kind": "plugin", "pid": 5, "node_id": ID, "extensions": []}
        return await self.serve(self.home / folder / "oddwire.programs" / f"{name}.rpc", told)

    async def node(self, network: str = "bitcoin") -> Path:
        return await self.serve(self.home / ".oddwire" / network / "lightning-rpc", {"id": ID, "alias": "mine"})


@pytest.fixture
async def sockets(home: Path) -> AsyncIterator[Sockets]:
    async with contextlib.AsyncExitStack() as stack:
        yield Sockets(home, stack)


async def refusal(**options: Any) -> tuple[int, str]:
    with pytest.raises(CommandFailure) as caught:
        await find_program(**options)
    return caught.value.code, str(caught.value)


async def test_all_are_listed(sockets: Sockets) -> None:
    run, node = await sockets.run(7, "chat", "echo"), await sockets.node()
    talk, other = await sockets.plugin("talk"), await sockets.plugin("other", folder=".lightning/regtest")
    (node.parent / "lightningd-bitcoin.pid").write_text("99\n")
    found = await running_programs()
    assert sorted(found) == sorted(
        [
            RunningProgram("run", "chat+echo", 7, run, ID, ("chat", "echo")),
            RunningProgram("plugin", "talk", 5, talk, ID, ()),
            RunningProgram("plugin", "other", 5, other, ID, ()),
            RunningProgram("node", "mine", 99, node, ID, ()),
        ]
    )
    there = await running_programs(lightning_dir=sockets.home / ".lightning")
    assert [each.name for each in there] == ["chat+echo", "other"]
    assert [each.name for each in await running_programs(network="signet")] == ["chat+echo"]


async def test_one_that_does_not_tell_is_listed_all_the_same(sockets: Sockets) -> None:
    path = await sockets.serve(sockets.home / "oddwire" / "7.rpc", "what?")
    assert await running_programs() == [RunningProgram("run", "", 7, path)]
    assert str(RunningProgram("run", "", 7, path)) == "does not answer (--program 7)"


async def test_without_options_it_is_the_one_there_is(sockets: Sockets) -> None:
    default = sockets.home / ".oddwire" / "bitcoin" / "lightning-rpc"
    assert await find_program() == default
    run = await sockets.run(7, "chat")
    assert await find_program() == run
    await sockets.node()
    code, text = await refusal()
    assert code == 2
    assert text.startswith("several programs are running, and one should be named: chat (--program 7); a node (")
    assert text.endswith(f"(--lightning-dir {sockets.home / '.oddwire'} --network bitcoin)")


async def test_what_a_killed_one_left_is_removed(sockets: Sockets) -> None:
    left = sockets.home / "oddwire" / f"{1 << 22}.rpc"
    left.symlink_to("nothing")
    run = await sockets.run(7, "chat")
    assert await find_program() == run
    assert not left.is_symlink()


async def test_a_folder_that_is_not_ours_alone_is_not_looked_at(sockets: Sockets) -> None:
    await sockets.run(7, "chat")
    (sockets.home / "oddwire").chmod(0o777)
    assert await running_programs() == []


async def test_a_program_by_its_name_its_extension_or_its_process(sockets: Sockets) -> None:
    first, second = await sockets.run(7, "chat", "echo"), await sockets.run(8, "chat")
    talk = await sockets.plugin("talk")
    for name, path in [("7", first), ("chat+echo", first), ("echo", first), ("8", second), ("chat", second)]:
        assert await find_program(program=name) == path
    assert await find_program(program="talk") == talk
    code, text = await refusal(program="tolk")
    assert code == 1
    assert text.startswith("no program 'tolk' is running; did you mean talk?; there are: chat+echo (--program 7); ")
    await sockets.run(9, "chat")
    assert (await refusal(program="chat"))[1] == (
        "several programs are called 'chat', and one should be named: chat (--program 8); chat (--program 9)"
    )


async def test_a_data_directory_and_a_nodes_folder(home: Path) -> None:
    assert await find_program(lightning_dir=home / "x") == home / "x" / "bitcoin" / "lightning-rpc"
    assert await find_program(network="regtest") == home / ".oddwire" / "regtest" / "lightning-rpc"
    assert await find_program(rpc_file="/a/socket") == Path("/a/socket")
    code, text = await refusal(data_dir=home / "x")
    assert (code, text) == (
        1,
        f"no 'oddwire run' with --data-dir {home / 'x'} is running: there is no {home / 'x' / 'oddwire-rpc'}",
    )
    (home / "oddwire-rpc").touch()
    assert await find_program(data_dir=home) == home / "oddwire-rpc"


async def test_a_run_is_called_until_it_is_killed(start, oddwire, tmp_path: Path, runtime: Path) -> None:
    first = await start("run", "echo", "chat", "--listen", "127.0.0.1:0", "--json")
    await first.event("listening")
    second = await start("run", "courier", "--listen", "127.0.0.1:0", "--json", "--data-dir", "mine")
    await second.event("listening")
    code, out, err = await oddwire("call", "--program", "chat", "chat-say", "hello")
    assert (code, json.loads(out)) == (0, {"number": 1, "peers": 0})
    assert (await oddwire("call", "--data-dir", "mine", "courier-inbox"))[:2] == (0, "[]\n")
    assert (await oddwire("call", "help"))[0] == 2
    second.process.kill()
    await second.end()
    assert (tmp_path / "mine" / "oddwire-rpc").is_socket()
    code, out, err = await oddwire("call", "chat-say", "text=again")
    assert (code, json.loads(out)) == (0, {"number": 2, "peers": 0})
    again = await start("run", "courier", "--listen", "127.0.0.1:0", "--json", "--data-dir", "mine")
    await again.event("listening")
    assert (await oddwire("call", "--program", "courier", "courier-inbox"))[:2] == (0, "[]\n")
    for program in (first, again):
        assert (await program.interrupt())[0] == 0
    assert [*(runtime / "oddwire").iterdir()] == []
    code, out, err = await oddwire("call", "help")
    assert code == 1
    assert err.endswith("; and no 'oddwire run' of yours is running\n")
