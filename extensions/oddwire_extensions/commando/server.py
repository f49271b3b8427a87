"""The server's side: a command is parsed, its rune checked, then it is run, and answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from oddwire import AppContext, Context, NodeId, OddwireError, Peer, RpcError, TransportError
from oddwire.errors import NodeRefused
from oddwire.known.commando import ReplyContinues, ReplyTerm
from oddwire_extensions.commando import own_methods
from oddwire_extensions.commando.pieces import MAX_PIECE, Collector, TooLong, split
from oddwire_extensions.commando.select import check_filter, select

if TYPE_CHECKING:
    from oddwire_extensions.commando.rune_book import RuneBook

__all__ = ["Server"]

FAILED, NOT_ALLOWED, INTERNAL = 0x4C50, 0x4C51, -32603  # commando.c, and JSON-RPC 2.0
AT_ONCE: Final = 16
"""Commands of one peer that run at a time."""
AT_ONCE_OF_ALL: Final = 128
"""And of all peers."""
REFUSED_SECONDS: Final = 0.01
"""Seconds for each refused command, and each that takes another's room, of all peers together: who sent it waits."""
CHECK_SECONDS: Final = 30.0
"""Seconds in which the host node has to check a rune."""
SECONDS: Final = 30.0
"""Seconds after which a command of which pieces are missing is forgotten."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command as it was sent; ``id`` is any JSON."""

    method: str
    params: Mapping[str, Any] | list[Any]
    rune: str
    id: Any
    filter: Any

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Command:
        """Return the command of a JSON object. Raises `RpcError` with what is wrong, in lightningd's words."""
        method, params, rune = found.get("method"), found.get("params", {}), found.get("rune")
        if not isinstance(method, str):
            raise RpcError(FAILED, "No method")
        if not isinstance(params, dict | list):
            raise RpcError(FAILED, "Params must be object or array")
        if not isinstance(rune, str):
            raise RpcError(FAILED, "Missing rune")
        wanted = found.get("filter")
        if wanted is not None:
            try:
                check_filter(wanted)
            except (ValueError, RecursionError) as error:
                raise RpcError(FAILED, str(error)) from None
        return cls(method, params, rune, found.get("id"), wanted)


class Server:
    """Commands of peers. Until `open` has returned, none is taken.

    ``serves`` says whose runes count: ``own``, those of ``book``; ``host``, those of the node, which has checkrune;
    or ``nothing``, and ``why``.
    """

    def __init__(self, context: AppContext) -> None:
        options = context.options
        self.serves: Literal["own", "host", "nothing"] = "nothing"
        self.why = "the application is still starting"
        self.book: RuneBook | None = None
        self._hosted = False
        self._opened = asyncio.Event()
        self.incomplete = Collector(
            longest=options["commando-command-bytes"],
            most=options["commando-incomplete"],
            most_bytes=options["commando-incomplete-bytes"],
            seconds=SECONDS,
        )
        self._refusing = asyncio.Lock()
        self._slots = asyncio.Semaphore(AT_ONCE_OF_ALL)
        self._of_peers: dict[NodeId, asyncio.Semaphore] = {}

    async def open(self, context: AppContext) -> None:
        """Find out whose runes count, and read what is kept. Raises nothing: ``why`` says what is missing."""
        try:
            await self._find_out(context)
        except OddwireError as error:
            self.why = str(error)
        finally:
            self._opened.set()
        if self.serves == "nothing":
            context.logger.info("commando takes no commands: %s", self.why)

    async def _find_out(self, context: AppContext) -> None:
        self._hosted, has_commando = await _host_has(context, "commando")
        has_runes = self._hosted and (await _host_has(context, "checkrune"))[1]
        if not has_runes:
            try:
                from oddwire_extensions.commando.rune_book import RuneBook  # what it needs is an extra
            except ImportError:
                self.why = "runes are checked by the package runes: pip install 'oddwire[commando]'"
                return
            self.book = RuneBook(context, await self._secret(context))
            await self.book.load()
        wanted = context.options["commando-serve"]
        if wanted == "never":
            self.why = "--commando-serve is never"
        elif wanted == "auto" and has_commando:
            self.why = (
                "this node has a commando of its own, which answers them; --commando-serve=always answers as well"
            )
        else:
            self.serves = "host" if has_runes else "own"

    async def _secret(self, context: AppContext) -> bytes:
        if self._hosted:
            with contextlib.suppress(NodeRefused):  # lightningd's runes have the same
                return bytes.fromhex((await context.node.call("makesecret", string="commando"))["secret"])
        secret = await context.store.get("secret", b"")
        if not secret:
            import secrets  # once in a lifetime

            secret = secrets.token_bytes(32)
            await context.store.set("secret", secret)
        return secret

    def runes(self) -> RuneBook:
        """Return the runes that operators' methods are about. Raises `RpcError` where there are none."""
        if self.book is None:
            raise RpcError(-1, self.why if self.serves == "nothing" and not self._hosted else _NODES_OWN)
        return self.book

    # Pieces -------------------------------------------------------------------------------------------

    async def piece(self, context: Context, idnum: int, piece: bytes) -> None:
        """Keep a piece of a command of which more come."""
        if await self._takes() and not self.incomplete.add(context.peer.node_id, idnum, piece, time.monotonic()):
            await self._wait_for_turn()

    async def last_piece(self, context: Context, idnum: int, piece: bytes) -> None:
        """Run a command that is whole: its end is not waited for, unless too many run already."""
        if not await self._takes():
            return
        peer = context.peer
        key = None
        try:
            raw = self.incomplete.finish(peer.node_id, idnum, piece, time.monotonic())
            if len(raw) > MAX_PIECE and self.book is not None and not self.book.is_in(raw):
                raise RpcError(NOT_ALLOWED, "Invalid rune: there is none of this node's in a command of this length")
            found = _parse(raw)
            key = found.get("id")
            command = Command.of(found)
            number = await self._check(context, command)
        except TooLong as error:
            await self._refuse(peer, idnum, _error(key, RpcError(FAILED, str(error))))
            return
        except RpcError as error:
            await self._refuse(peer, idnum, _error(key, error))
            return
        context.logger.info("%s runs %.100s, by the rune %s", peer, command.method, number)
        own = self._of_peers.setdefault(peer.node_id, asyncio.Semaphore(AT_ONCE))
        await own.acquire()
        try:
            await self._slots.acquire()
            try:
                task = context.spawn(self._run(context, idnum, command), name=f"commando {command.method:.50}")
            except BaseException:
                self._slots.release()
                raise
        except BaseException:
            own.release()
            raise

        def ended(_: object) -> None:
            own.release()
            self._slots.release()

        task.add_done_callback(ended)

    async def _refuse(self, peer: Peer, idnum: int, data: bytes) -> None:
        await _answer(peer, idnum, data)
        await self._wait_for_turn()

    async def _wait_for_turn(self) -> None:
        """Have a peer wait that has sent what was of no use, so that strangers have us look at little in all."""
        async with self._refusing:
            await asyncio.sleep(REFUSED_SECONDS)

    def leave(self, node_id: NodeId) -> None:
        """Forget a peer that has disconnected; what it has running was cancelled."""
        self.incomplete.leave(node_id)
        self._of_peers.pop(node_id, None)

    async def _takes(self) -> bool:
        if not self._opened.is_set():
            await self._opened.wait()
        return self.serves != "nothing"

    # Whole commands -----------------------------------------------------------------------------------

    async def _check(self, context: Context, command: Command) -> str:
        """Return the id of the command's rune. Raises `RpcError` if it does not allow the command."""
        node_id, method, params = context.peer.node_id, command.method, command.params
        try:
            if self.book is not None:
                return await self.book.check(command.rune, node_id, method, params)
            asked = {"rune": command.rune, "nodeid": str(node_id), "method": method, "params": params}
            found = await context.node.call("checkrune", asked, timeout=CHECK_SECONDS)
        except (RpcError, NodeRefused) as error:
            raise RpcError(NOT_ALLOWED, f"Invalid rune: {error}") from None
        except (OddwireError, TimeoutError) as error:
            raise RpcError(FAILED, f"the rune cannot be checked: {error or 'the node is busy'}") from error
        if found.get("valid") is not True:
            raise RpcError(NOT_ALLOWED, "Invalid rune")
        return "of the node"

    async def _run(self, context: Context, idnum: int, command: Command) -> None:
        try:
            if self._hosted:
                result = await context.node.call(command.method, command.params)
            else:
                result = await own_methods.run(context, command.method, command.params)
            document = {"jsonrpc": "2.0", "id": command.id, "result": {} if result is None else result}
            if command.filter is not None:
                document["result"] = select(json.loads(_dump(document["result"])), command.filter)
            data = _dump(document)
        except RpcError as error:
            data = _error(command.id, error)
        except NodeRefused as error:
            data = _dump({"jsonrpc": "2.0", "id": command.id, "error": error.to_json()})
        except TransportError as error:
            data = _error(command.id, RpcError(FAILED, str(error)))
        except (TypeError, ValueError, OddwireError):
            context.logger.exception("what %s has returned is no JSON", command.method)
            data = _error(command.id, RpcError(INTERNAL, f"{command.method}: internal error (see logs)"))
        await _answer(context.peer, idnum, data)


_NODES_OWN: Final = (
    "this node has runes of its own: createrune, showrunes, blacklistrune and checkrune are their methods"
)


async def _host_has(context: AppContext, method: str) -> tuple[bool, bool]:
    """Return whether there is a host node, and whether it has a method of this name."""
    try:
        await context.node.call("help", [method], timeout=CHECK_SECONDS)
    except NodeRefused:
        return True, False
    except TransportError:
        return False, False
    return True, True


def _parse(raw: bytes) -> dict[str, Any]:
    """Parse a JSON object. Raises `RpcError`."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        raise RpcError(FAILED, "Invalid JSON") from None
    if not isinstance(found, dict):
        raise RpcError(FAILED, "Not a JSON object")
    return found


def _dump(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), allow_nan=False, default=own_methods.plain).encode()


def _error(key: Any, error: RpcError) -> bytes:
    shown = {"code": error.code, "message": error.text, **({} if error.data is None else {"data": error.data})}
    return _dump({"jsonrpc": "2.0", "id": key, "error": shown})


async def _answer(peer: Peer, idnum: int, data: bytes) -> None:
    """Send an answer; a peer that has gone needs none."""
    *first, last = split(data)
    with contextlib.suppress(TransportError):
        for piece in first:
            await peer.send(ReplyContinues(idnum=idnum, json=piece))
        await peer.send(ReplyTerm(idnum=idnum, json=last))
