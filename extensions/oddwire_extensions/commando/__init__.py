"""commando: runs commands on nodes that check a rune, and takes such commands, as Core Lightning's commando does.

::

    CmdContinues    19533  0x4c4d  bolt   idnum, json     a command, of which more comes
    CmdTerm         19535  0x4c4f  bolt   idnum, json     its end
    ReplyContinues  22859  0x594b  bolt   idnum, json     the answer, of which more comes
    ReplyTerm       22861  0x594d  bolt   idnum, json     its end

Run a command on a node that is connected, with a rune that it has made::

    commando-call NODE_ID getinfo {} RUNE

Take commands of others, and say what they may do::

    oddwire run commando --listen ws://127.0.0.1:9736 --data-dir home
    commando-createrune '' readonly
    commando-showrunes
    commando-blacklistrune 0

Inside Core Lightning, which takes commands by itself, this is a client, unless ``--commando-serve=always`` is given.
docs/commando.md has the rest.
"""

from __future__ import annotations

import json
import time
from typing import Any, Final

from oddwire import AppContext, Context, Extension, NodeId, RpcError
from oddwire.errors import RemoteRpcError
from oddwire.known.commando import CmdContinues, CmdTerm, ReplyContinues, ReplyTerm
from oddwire_extensions.commando.client import call
from oddwire_extensions.commando.server import Server

__all__ = ["call", "extension"]

INVALID_PARAMS: Final = -32602

extension = Extension("commando", version="1.0")
extension.register(ReplyContinues)
extension.register(ReplyTerm)


@extension.option("commando-serve")
def serve(value: str = "auto") -> str:
    """Take commands of peers: auto, unless the node has a commando of its own; always; or never."""
    if value not in ("auto", "always", "never"):
        raise ValueError(f"should be auto, always or never, not {value!r}")
    return value


@extension.option("commando-command-bytes")
def command_bytes(value: int = 1 << 20) -> int:
    """Take commands of so many bytes, parameters included."""
    return _positive(value)


@extension.option("commando-incomplete")
def incomplete(value: int = 64) -> int:
    """Keep the pieces of so many commands that are not whole yet, of all peers."""
    return _positive(value)


@extension.option("commando-incomplete-bytes")
def incomplete_bytes(value: int = 8 << 20) -> int:
    """Keep so many bytes of commands that are not whole yet, of all peers."""
    return _positive(value)


def _positive(value: int) -> int:
    if value < 1:
        raise ValueError(f"should be 1 or more, not {value}")
    return value


# Commands of peers ------------------------------------------------------------------------------------


@extension.provide
def make_server(context: AppContext) -> Server:
    """Make the server of an application."""
    return Server(context)


@extension.on_ready
async def begin(context: AppContext, server: Server) -> None:
    """Find out which runes count, now that the host node can be asked."""
    await server.open(context)


@extension.on(CmdContinues)
async def piece(context: Context, part: CmdContinues, server: Server) -> None:
    """Keep a piece of a command."""
    await server.piece(context, part.idnum, part.json)


@extension.on(CmdTerm)
async def last_piece(context: Context, part: CmdTerm, server: Server) -> None:
    """Run a command that is whole."""
    await server.last_piece(context, part.idnum, part.json)


@extension.on_disconnect
async def forget(context: Context, reason: str, server: Server) -> None:
    """Forget what a peer has not finished."""
    server.leave(context.peer.node_id)


@extension.every(10)
async def sweep(context: AppContext, server: Server) -> None:
    """Forget what nobody has finished in time."""
    server.incomplete.expire(time.monotonic())


# Our commands -----------------------------------------------------------------------------------------


@extension.rpc("commando-call")
async def call_peer(
    context: AppContext,
    peer_id: NodeId,
    method: str,
    params: Any = None,
    rune: str | None = None,
    filter: Any = None,  # noqa: A002 - lightningd's name
    timeout: float = 60.0,  # noqa: ASYNC109 - it is a parameter of the method
) -> Any:
    """Run a command on a peer, with a rune that it has made; its error is ours."""
    try:
        return await call(
            context.app.peer(peer_id),
            method,
            _json(params, "params", "an object or an array", dict, list),
            rune=rune or None,
            filter=_json(filter, "filter", "an object", dict),
            timeout=timeout,
        )
    except RemoteRpcError as error:
        if not -(1 << 31) <= (error.code or 0) < 1 << 31:
            raise ValueError(f"the peer answered by an error whose code is {error.code}: {error}") from error
        raise RpcError(error.code or 0, str(error), error.data) from error


def _json(value: Any, name: str, wanted: str, *kinds: type) -> Any:
    """Return a parameter that may be JSON in a text, as command lines have it. Raises `RpcError`."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise RpcError(INVALID_PARAMS, f"{name}: should be JSON: {error}") from None
    if value is not None and not isinstance(value, kinds):
        raise RpcError(INVALID_PARAMS, f"{name}: should be {wanted}, not {value!r:.200}")
    return value


# Runes ------------------------------------------------------------------------------------------------


@extension.rpc("commando-createrune")
async def create_rune(
    context: AppContext, server: Server, rune: str | None = None, restrictions: Any = None
) -> dict[str, Any]:
    """Make a rune, or add restrictions to one: [["method=getinfo", "method^list"], ["rate=60"]], or readonly.

    An empty rune is none, for command lines where parameters have no names.
    """
    if isinstance(restrictions, str) and restrictions != "readonly":
        restrictions = _json(restrictions, "restrictions", "an array", list)
    return await server.runes().create(rune or None, restrictions)


@extension.rpc("commando-showrunes")
async def show_runes(context: AppContext, server: Server, rune: str | None = None) -> dict[str, Any]:
    """Show the runes that were made here, or one, in words."""
    return await server.runes().show(rune)


@extension.rpc("commando-blacklistrune")
async def blacklist_rune(
    context: AppContext, server: Server, start: int | None = None, end: int | None = None, relist: bool = False
) -> dict[str, Any]:
    """Take back runes by their ids, or give them back; shows all that are taken back."""
    return await server.runes().take_back(start, end, relist)


@extension.rpc("commando-checkrune")
async def check_rune(
    context: AppContext,
    server: Server,
    rune: str,
    nodeid: NodeId | None = None,
    method: str | None = None,
    params: Any = None,
) -> dict[str, Any]:
    """Say whether a rune allows a command; to be used for it, as its rate counts this."""
    await server.runes().check(rune, nodeid, method, _json(params, "params", "an object or an array", dict, list))
    return {"valid": True}


if __name__ == "__main__":
    extension.run()
