"""``datastore``, ``listdatastore`` and ``deldatastore``: the data that plugins store in the node."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from oddwire.errors import NodeRefused, StoreError
from oddwire.jsonrpc.parameters import INVALID_PARAMS, LIGHTNINGD, Parameter, a_hex, a_string, text_of
from oddwire.node.commands import Command, RpcRequest
from oddwire.node.method_parameters import a_key, a_u64
from oddwire.node.node_database import DatastoreEntry

if TYPE_CHECKING:
    from oddwire.node.node import Node

__all__ = ["commands"]

# lightningd's codes
_DEL_DOES_NOT_EXIST: Final = 1200
_DEL_WRONG_GENERATION: Final = 1201
_ALREADY_EXISTS: Final = 1202
_DOES_NOT_EXIST: Final = 1203
_WRONG_GENERATION: Final = 1204
_HAS_CHILDREN: Final = 1205
_NO_CHILDREN: Final = 1206

_PATIENCE: Final = 5.0  # seconds that a call waits for another process that holds the database
_POLL: Final = 0.05

# By mode: whether the key must exist (True), must not (False) or may (None); and whether data is appended
_MODES: Final = {
    "must-create": (False, False),
    "must-replace": (True, False),
    "create-or-replace": (None, False),
    "must-append": (True, True),
    "create-or-append": (None, True),
}


def commands(node: Node) -> list[Command]:
    """Return the methods of this module for ``node``."""
    turns = _WriteOrder()

    def datastore(
        request: RpcRequest,
        key: tuple[str, ...],
        string: str | None,
        data: bytes | None,
        mode: str,
        generation: int | None,
    ) -> Any:
        store = node.store
        if string is not None:
            if data is not None:
                raise NodeRefused("Cannot have both hex and string", code=INVALID_PARAMS)
            data = string.encode()
        elif data is None:
            raise NodeRefused("Must have either hex or string", code=INVALID_PARAMS)
        must_exist, append = _MODES[mode]
        if generation is not None and not must_exist:
            raise NodeRefused("generation only valid with must-replace or must-append", code=INVALID_PARAMS)
        old = store.get(key)
        if old is None:
            if store.has_children(key):
                raise NodeRefused("Key has children already", code=_HAS_CHILDREN)
            for length in range(1, len(key)):
                if store.get(key[:length]) is not None:
                    raise NodeRefused(f"Parent key [{','.join(key[:length])}] exists", code=_NO_CHILDREN)
        if must_exist is False and old is not None:
            raise NodeRefused("Key already exists", code=_ALREADY_EXISTS)
        if must_exist and old is None:
            raise NodeRefused("Key does not exist", code=_DOES_NOT_EXIST)
        if generation is not None and old is not None and generation != old.generation:
            raise NodeRefused("generation is different", code=_WRONG_GENERATION)
        if request.checking:
            return None
        if old is None:
            new = DatastoreEntry(key, data, 0)
        else:
            new = DatastoreEntry(key, old.data + data if append else data, old.generation + 1)
        store.put(new)
        return _shown(new)

    def listdatastore(request: RpcRequest, key: tuple[str, ...]) -> Any:
        listed = []
        depth = len(key) + 1
        shown: tuple[str, ...] | None = None
        for entry in node.store.under(key):
            if len(entry.key) <= depth:
                listed.append(_shown(entry))
            elif entry.key[:depth] != shown:
                # Entries further below are shown by their ancestor at this depth alone
                shown = entry.key[:depth]
                listed.append({"key": list(shown)})
        return {"datastore": listed}

    def deldatastore(request: RpcRequest, key: tuple[str, ...], generation: int | None) -> Any:
        entry = node.store.get(key)
        if entry is None:
            raise NodeRefused("Key does not exist", code=_DEL_DOES_NOT_EXIST)
        if generation is not None and generation != entry.generation:
            raise NodeRefused("generation is different", code=_DEL_WRONG_GENERATION)
        if request.checking:
            return None
        node.store.delete(key)
        return _shown(entry)

    return [
        Command(
            name="datastore",
            handler=partial(turns.take, datastore),
            parameters=(
                Parameter("key", a_key),
                Parameter("string", _a_text, required=False),
                Parameter("hex", a_hex, required=False),
                Parameter("mode", _a_mode, required=False, default="must-create"),
                Parameter("generation", a_u64, required=False),
            ),
            description="Store bytes under a key",
            checks=True,
        ),
        Command(
            name="listdatastore",
            handler=partial(turns.take, listdatastore),
            parameters=(Parameter("key", a_key, required=False, default=()),),
            description="List stored bytes, all or those under a key",
        ),
        Command(
            name="deldatastore",
            handler=partial(turns.take, deldatastore),
            parameters=(Parameter("key", a_key), Parameter("generation", a_u64, required=False)),
            description="Remove a key",
            checks=True,
        ),
    ]


class _WriteOrder:
    """Runs each call at once if the database is free; else later, in the order of requests."""

    def __init__(self) -> None:
        self._waiting = 0
        self._turn = asyncio.Lock()

    def take(self, call: Callable[..., Any], *parameters: Any) -> Any:
        """Run a call. Return its result, or an awaitable of it. Raises `NodeRefused` for errors of the database."""
        if not self._waiting:
            try:
                return call(*parameters)
            except StoreError as error:
                if error.reason != "locked":
                    raise NodeRefused(str(error), code=LIGHTNINGD) from error
        self._waiting += 1
        return self._later(partial(call, *parameters))

    async def _later(self, call: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE
        try:
            async with self._turn:
                while True:
                    try:
                        return call()
                    except StoreError as error:
                        if error.reason != "locked" or loop.time() >= deadline:
                            raise NodeRefused(str(error), code=LIGHTNINGD) from error
                    await asyncio.sleep(_POLL)
        finally:
            self._waiting -= 1


def _a_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("should be a string (without \\u)")
    return a_string(value)


def _a_mode(value: Any) -> str:
    mode = text_of(value)
    if mode not in _MODES:
        *most, last = (f"'{name}'" for name in _MODES)
        raise ValueError(f"should be {', '.join(most)}, or {last}")
    return mode


def _shown(entry: DatastoreEntry) -> dict[str, Any]:
    shown: dict[str, Any] = {"key": list(entry.key), "generation": entry.generation, "hex": entry.data.hex()}
    if b"\0" not in entry.data:  # lightningd's strings cannot contain NUL
        with contextlib.suppress(UnicodeDecodeError):
            shown["string"] = entry.data.decode()
    return shown
