"""Finding what runs: programs of `oddwire run`, plugins of nodes, and nodes, by their sockets."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from oddwire.cli.exit import FAILED, USAGE, CommandFailure
from oddwire.cli.node_options import DEFAULT_DIR, expanded
from oddwire.errors import OddwireError
from oddwire.jsonrpc import JsonRpcClient
from oddwire.jsonrpc.program_folder import (
    DATA_DIR_SOCKET,
    SUFFIX,
    check_folder,
    is_alive,
    process_of,
    program_folder,
    remove_stale,
)
from oddwire.proto.bolt1 import DEFAULT_NETWORK

__all__ = ["RPC_FILE", "RunningProgram", "find_program", "running_programs"]

RPC_FILE: Final = "lightning-rpc"
"""The name of a node's socket, in its folder for a network."""

_PROGRAMS: Final = "oddwire.programs"  # where plugin files of a node have theirs
_MOMENT: Final = 1.0  # seconds that a program may take to tell what it is
_LIGHTNINGD: Final = Path("~/.lightning")


class RunningProgram(NamedTuple):
    """Something that runs and has a socket. ``name`` and ``node_id`` are empty if it does not tell them in time."""

    kind: Literal["run", "plugin", "node"]
    name: str
    pid: int | None
    path: Path
    """Its socket."""
    node_id: str = ""
    extensions: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Describe it for people, with the option of ``oddwire call`` that means it."""
        if self.kind == "node":
            return f"a node (--lightning-dir {self.path.parent.parent} --network {self.path.parent.name})"
        known = self.name or "does not answer"
        which = "" if self.pid is None else f"--program {self.pid}"
        return f"{known} ({which or f'--rpc-file {self.path}'})"


async def running_programs(
    *, lightning_dir: Path | None = None, network: str | None = None, nodes: bool = True
) -> list[RunningProgram]:
    """Return what runs of this user, each asked what it is, for a second at most.

    These are programs of `oddwire run`, plugins of nodes in ``~/.oddwire`` and ``~/.lightning``, and, if ``nodes``, the
    nodes in ``~/.oddwire``. With ``lightning_dir``, or a ``network``, plugins and nodes are those there.
    """
    asked = [_ask_program("run", path) for path in _runs()]
    for folder in _node_folders(lightning_dir, network):
        asked += [_ask_program("plugin", path) for path in sorted((folder / _PROGRAMS).glob(f"*{SUFFIX}"))]
        of_oddwire = lightning_dir is not None or folder.parent == expanded(DEFAULT_DIR)
        if nodes and of_oddwire and is_alive(folder / RPC_FILE):
            asked.append(_ask_node(folder / RPC_FILE))
    found = await asyncio.gather(*asked)
    return [program for program in found if program is not None]


async def find_program(
    *,
    data_dir: Path | None = None,
    program: str | None = None,
    lightning_dir: Path | None = None,
    network: str | None = None,
    rpc_file: str | None = None,
) -> Path:
    """Return the socket that options mean; without any, that of the one program or node there is.

    Raises `CommandFailure` if there is none of that name, or several could be meant: then it lists them.
    """
    if data_dir is not None:
        path = expanded(data_dir) / DATA_DIR_SOCKET
        if not path.exists():
            raise CommandFailure(f"no 'oddwire run' with --data-dir {data_dir} is running: there is no {path}", FAILED)
        return path
    if program is not None:
        return await _named(program, lightning_dir, network)
    node = expanded(lightning_dir or DEFAULT_DIR) / (network or DEFAULT_NETWORK) / (rpc_file or RPC_FILE)
    if lightning_dir is not None or network is not None or rpc_file is not None:
        return node  # an absolute rpc_file stands for itself
    found = [*_runs(), *([node] if is_alive(node) else [])]
    if len(found) > 1:
        programs = await running_programs(network=DEFAULT_NETWORK)
        listed = "; ".join(str(each) for each in programs if each.kind != "plugin")
        raise CommandFailure(f"several programs are running, and one should be named: {listed}", USAGE)
    return found[0] if found else node


async def _named(wanted: str, lightning_dir: Path | None, network: str | None) -> Path:
    programs = await running_programs(lightning_dir=lightning_dir, network=network, nodes=False)
    found = [each for each in programs if wanted in (each.name, str(each.pid))]
    found = found or [each for each in programs if wanted in each.extensions]
    if len(found) == 1:
        return found[0].path
    if found:
        listed = "; ".join(map(str, found))
        raise CommandFailure(f"several programs are called {wanted!r}, and one should be named: {listed}", USAGE)
    names = sorted({name for each in programs for name in (each.name, *each.extensions) if name})
    close = difflib.get_close_matches(wanted, names, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    listed = "; ".join(map(str, programs)) or "none"
    raise CommandFailure(f"no program {wanted!r} is running{hint}; there are: {listed}", FAILED)


def _runs() -> Iterator[Path]:
    """Yield the sockets of running `oddwire run`s of this user, and remove those that are left of killed ones."""
    folder = program_folder()
    with contextlib.suppress(OSError):
        check_folder(folder)
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if process_of(path) is not None and not remove_stale(path) and is_alive(path):
                yield path.resolve()


def _node_folders(lightning_dir: Path | None, network: str | None) -> Iterable[Path]:
    """Yield the folders of nodes for their networks."""
    for place in (DEFAULT_DIR, _LIGHTNINGD) if lightning_dir is None else (lightning_dir,):
        with contextlib.suppress(OSError, CommandFailure):
            folder = expanded(place)
            yield from (
                [folder / network]
                if network is not None
                else sorted(entry for entry in folder.iterdir() if entry.is_dir())
            )


async def _ask_program(kind: Literal["run", "plugin"], path: Path) -> RunningProgram | None:
    """Ask a program what it is. None if nobody listens."""
    if not is_alive(path):
        return None
    name = path.name.removesuffix(SUFFIX) if kind == "plugin" else ""
    answer = await _ask(path, "oddwire-program")
    if answer is None:
        return RunningProgram(kind, name, process_of(path), path)
    with contextlib.suppress(KeyError, TypeError, ValueError):
        extensions = tuple(str(extension["name"]) for extension in answer["extensions"])
        node_id = str(answer["node_id"] or "")
        return RunningProgram(kind, str(answer["program"]), int(answer["pid"]), path, node_id, extensions)
    return RunningProgram(kind, name, process_of(path), path)


async def _ask_node(path: Path) -> RunningProgram:
    answer = await _ask(path, "getinfo") or {}
    pid = None
    with contextlib.suppress(OSError, ValueError):
        pid = int((path.parent / f"lightningd-{path.parent.name}.pid").read_text())
    return RunningProgram("node", str(answer.get("alias", "")), pid, path, str(answer.get("id", "")))


async def _ask(path: Path, method: str) -> dict[str, Any] | None:
    try:
        async with JsonRpcClient(path) as client:
            answer = await client.call(method, [], timeout=_MOMENT)
    except (OddwireError, TimeoutError, OSError):
        return None
    return answer if isinstance(answer, dict) else None
