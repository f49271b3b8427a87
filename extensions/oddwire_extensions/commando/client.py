"""The client's side: one call, from the command to the answer."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final
from weakref import WeakValueDictionary

from oddwire import MalformedMessage, Peer
from oddwire.errors import RemoteRpcError, ReplyTimeout
from oddwire.known.commando import CmdContinues, CmdTerm, ReplyContinues, ReplyTerm
from oddwire_extensions.commando.pieces import split

__all__ = ["MAX_ANSWER", "call"]

MAX_ANSWER: Final = 64 << 20
"""Bytes of an answer, unless a call says otherwise."""
_REPLY: Final = 22861

# One at a time: of a command in pieces, lightningd forgets what has come when another of the same peer begins
_sending: WeakValueDictionary[tuple[int, bytes], asyncio.Lock] = WeakValueDictionary()


async def call(
    peer: Peer,
    method: str,
    params: Mapping[str, Any] | Sequence[Any] | None = None,
    *,
    rune: str | None = None,
    filter: Mapping[str, Any] | None = None,  # noqa: A002 - lightningd's name
    timeout: float | None = 60.0,  # noqa: ASYNC109 - the error tells of the call
    max_bytes: int = MAX_ANSWER,
) -> Any:
    """Run a command on a peer's node and return its result, a value that JSON can hold.

    ``params`` are by name or by position; ``rune`` is one that the peer's node has made; ``filter`` selects fields of
    the result, as lightningd's does. ``timeout`` is in seconds, None waits for ever; ``max_bytes`` are those of the
    answer. Calls at the same time are told apart by their ids. Cancelled, the command may run on at the peer.

    Raises `RemoteRpcError` with the node's code, text and data; `ReplyTimeout`; `MalformedMessage` for an answer that
    is none, or is too long; `PeerNotConnected`, and `ConnectionClosed` if the peer disconnects; `TypeError` or
    `ValueError` for parameters that JSON cannot hold.
    """
    idnum = secrets.randbits(64)
    key = f"oddwire:{method}#{idnum:x}"
    command = {"method": method, "id": key, "params": {} if params is None else params}
    if rune is not None:
        command["rune"] = rune
    if filter is not None:
        command["filter"] = filter
    pieces = split(json.dumps(command, separators=(",", ":"), allow_nan=False).encode())
    sent, answer = False, bytearray()
    try:
        async with (
            asyncio.timeout(timeout),
            peer.messages(ReplyContinues | ReplyTerm, lambda reply: reply.idnum == idnum) as replies,
        ):
            await _send(peer, idnum, pieces)
            sent = True
            async for reply in replies:
                answer += reply.json
                if len(answer) > max_bytes:
                    raise _wrong(method, f"has more than {max_bytes} bytes; max_bytes= allows more")
                if isinstance(reply, ReplyTerm):
                    break
    except TimeoutError:
        text = f"no answer to {method} within {timeout:g} s, {len(answer)} bytes of it have come"
        raise ReplyTimeout(text, timeout=timeout or 0.0, sent=sent) from None
    return _read(method, bytes(answer), key)


async def _send(peer: Peer, idnum: int, pieces: list[bytes]) -> None:
    if len(pieces) == 1:
        await peer.send(CmdTerm(idnum=idnum, json=pieces[0]))
        return
    key = (id(asyncio.get_running_loop()), bytes(peer.node_id))
    lock = _sending.setdefault(key, asyncio.Lock())
    async with lock:
        for piece in pieces[:-1]:
            await peer.send(CmdContinues(idnum=idnum, json=piece))
        await peer.send(CmdTerm(idnum=idnum, json=pieces[-1]))


def _read(method: str, answer: bytes, key: str) -> Any:
    """Return the result that an answer holds. Raises as `call` does."""
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise _wrong(method, f"is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise _wrong(method, f"should be an object, not {type(found).__name__}")
    if found.get("id") not in (None, key):  # errors of lightningd's commando have none
        raise _wrong(method, f"should have the id {key!r}, not {found['id']!r:.200}")
    if "error" in found:
        told = found["error"] if isinstance(found["error"], dict) else {}
        if not isinstance(told.get("message"), str) or type(told.get("code")) is not int:
            raise _wrong(method, f"has an error without code and message: {found['error']!r:.200}")
        raise RemoteRpcError(told["message"], code=told["code"], data=told.get("data"))
    if "result" not in found:
        raise _wrong(method, "has neither a result nor an error")
    return found["result"]


def _wrong(method: str, text: str) -> MalformedMessage:
    return MalformedMessage(f"the answer to {method} {text}", type_id=_REPLY)
