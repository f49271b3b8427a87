"""Parsing lightningd's bytes: the items received, and the answers to hook calls. No I/O.

Every ``custommsg`` hook call is answered ``{"result": "continue"}`` here, before its payload is looked at: any other
answer, or an error, stops the node.
"""

from __future__ import annotations

from binascii import unhexlify
from typing import Any, Final, Literal

from oddwire.errors import DefinitionError
from oddwire.jsonrpc.documents import MAX_DOCUMENT, MAX_DOCUMENT_VARIABLE, JsonSplitter, Oversize, encode, max_document
from oddwire.proto.keys import NodeId

__all__ = ["Batch", "HostReader", "Item", "Receive"]

Receive = Literal["hook", "notification"]
Item = tuple[NodeId, bytes] | dict[str, Any] | str
"""A peer and its payload, any other JSON-RPC document, or the reason why nothing follows."""

_CONTINUE: Final = {"result": "continue"}
# As lightningd writes them, byte for byte; other spellings of the same take the slow path
_HEAD: Final = b'{"jsonrpc":"2.0","id":"'
_PLAIN: Final = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))  # the bytes of strings without escapes
_MIDDLE: Final = b'","method":"custommsg","params":{"payload":"'
_TAIL: Final = b'","peer_id":"%b"}}'
_TAIL_SIZE: Final = len(_TAIL % bytes(66))
_ANSWER: Final = b'","result":{"result":"continue"}}\n\n'
_NOTIFICATION: Final = b'{"jsonrpc":"2.0","method":"custommsg","params":{"custommsg":{"peer_id":"%b","payload":"'
_NOTIFICATION_SIZE: Final = len(_NOTIFICATION % bytes(66))
_NOTIFICATION_END: Final = b'"}}}'
_INVALID_REQUEST: Final = -32600  # JSON-RPC 2.0, Error object
_MOST_PEERS: Final = 4096  # max cached node ids, by their bytes on the wire
_LONG: Final = 1 << 18  # bytes of a partial document from which on the splitter keeps it, which scans it only once


class Batch:
    """The content of a chunk of bytes: ``items`` in order of arrival.

    ``answers`` are those to the hook calls among them, to be written at once; ``size`` is the payloads' bytes,
    ``shutdown`` whether the node wants us to end, ``remarks`` are texts about malformed items.
    """

    __slots__ = ("answers", "items", "remarks", "shutdown", "size")

    def __init__(self) -> None:
        self.answers = b""
        self.items: list[Item] = []
        self.size = 0
        self.shutdown = False
        self.remarks: list[str] = []


class HostReader:
    """Parses the bytes that a node writes to its plugin's stdin.

    ``receive`` is the source of payloads, the ``custommsg`` hook or the notification of that name; only types in
    ``type_ids`` are accepted (it may be set at any time; older nodes have no filters). Documents need not end with
    white space. `feed` raises `RemoteProtocolError` for bytes that are not JSON, then and at every later call.
    """

    def __init__(self, receive: Receive = "hook") -> None:
        self._wanted: frozenset[bytes] = frozenset()
        self._by_hook = receive == "hook"
        raise_with = f" ({MAX_DOCUMENT_VARIABLE} in the node's environment allows more)"
        try:
            largest = max_document()
        except DefinitionError:  # the application is refused with it, once the node has its manifest
            largest = MAX_DOCUMENT
        self._splitter = JsonSplitter(max_size=largest, raise_with=raise_with)
        self._scanning = False  # the splitter holds the start of a document
        self._rest = b""
        self._known: dict[bytes, NodeId] = {}

    @property
    def type_ids(self) -> frozenset[int]:
        """The accepted types."""
        return frozenset(int.from_bytes(wanted, "big") for wanted in self._wanted)

    @type_ids.setter
    def type_ids(self, type_ids: frozenset[int]) -> None:
        self._wanted = frozenset(type_id.to_bytes(2, "big") for type_id in type_ids)

    @property
    def is_between_documents(self) -> bool:
        """Whether all documents received so far are complete."""
        return not self._scanning and not self._rest.strip()

    def feed(self, data: bytes) -> Batch:
        """Receive bytes in any chunks; return the items that are whole now. Raises `RemoteProtocolError`."""
        batch = Batch()
        answers: list[bytes] = []
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if self._scanning:
            self._scan(data, batch, answers)
        else:
            self._skim(data, batch, answers)
        batch.answers = b"".join(answers)
        return batch

    def _skim(self, data: bytes, batch: Batch, answers: list[bytes]) -> None:
        pieces = data.split(b"\n\n")
        rest = pieces.pop()
        quick = self._hook_call if self._by_hook else self._notification
        for index, piece in enumerate(pieces):
            if not quick(piece, batch, answers) and piece:
                self._scan(piece + b"\n\n", batch, answers)
                if self._scanning:
                    # An empty line within a document
                    self._scan(b"\n\n".join([*pieces[index + 1 :], rest]), batch, answers)
                    return
        if len(rest) > _LONG or rest.rstrip().endswith(b"}"):
            self._scan(rest, batch, answers)
        else:
            self._rest = rest

    def _hook_call(self, piece: bytes, batch: Batch, answers: list[bytes]) -> bool:
        head, middle, rest = piece.partition(_MIDDLE)
        if not middle:
            return False
        peer = self._known.get(rest[-_TAIL_SIZE:])
        if peer is None or not head.startswith(_HEAD) or head[len(_HEAD) :].translate(None, _PLAIN):
            return False
        try:
            payload = unhexlify(rest[:-_TAIL_SIZE])
        except ValueError:
            return False
        answers += (head, _ANSWER)
        if payload[:2] in self._wanted:
            batch.items.append((peer, payload))
            batch.size += len(payload)
        return True

    def _notification(self, piece: bytes, batch: Batch, answers: list[bytes]) -> bool:
        peer = self._known.get(piece[:_NOTIFICATION_SIZE])
        if peer is None or not piece.endswith(_NOTIFICATION_END):
            return False
        try:
            payload = unhexlify(piece[_NOTIFICATION_SIZE : -len(_NOTIFICATION_END)])
        except ValueError:
            return False
        if payload[:2] in self._wanted:
            batch.items.append((peer, payload))
            batch.size += len(payload)
        return True

    def _scan(self, data: bytes, batch: Batch, answers: list[bytes]) -> None:
        splitter = self._splitter
        splitter.push(data)
        for document in splitter:
            if type(document) is Oversize:
                self._oversize(document, batch, answers)
            elif type(document) is not dict:
                batch.remarks.append(f"an array came where an object should: {str(document)[:200]}")
            elif document.get("method") == "custommsg":
                self._custommsg(document, batch, answers)
            else:
                batch.items.append(document)
                if document.get("method") == "shutdown" and "id" not in document:
                    batch.shutdown = True
        self._scanning = splitter.is_partial

    def _oversize(self, document: Oversize, batch: Batch, answers: list[bytes]) -> None:
        key, method = document.member("id"), document.member("method")
        if key is not None and method == "custommsg":
            answers.append(encode({"jsonrpc": "2.0", "id": key, "result": _CONTINUE}))
        elif key is not None:
            error = {"code": _INVALID_REQUEST, "message": document.titled("request")}
            answers.append(encode({"jsonrpc": "2.0", "id": key, "error": error}))
        what = "a document" if method is None else f"{str(method)[:100]!r}"
        batch.remarks.append(f"{what} of the node is dropped, it is too large: {document.reason}")

    def _custommsg(self, document: dict[str, Any], batch: Batch, answers: list[bytes]) -> None:
        is_call = "id" in document
        if is_call:
            answers.append(encode({"jsonrpc": "2.0", "id": document["id"], "result": _CONTINUE}))
        if is_call is not self._by_hook:
            return
        params: Any = document.get("params")
        if isinstance(params, dict):
            params = params.get("custommsg", params)  # the parameters of notifications are nested
        try:
            peer = NodeId(_text(params["peer_id"]))
            payload = unhexlify(_text(params["payload"]))
        except (KeyError, TypeError, ValueError) as error:
            batch.remarks.append(f"a custommsg call without peer_id or payload: {error!s:.200}: {params!s:.200}")
            return
        if payload[:2] in self._wanted:
            batch.items.append((peer, payload))
            batch.size += len(payload)
        if peer.hex() == params["peer_id"]:
            if len(self._known) >= _MOST_PEERS:
                self._known.clear()
            self._known[(_TAIL if self._by_hook else _NOTIFICATION) % params["peer_id"].encode()] = peer


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:80]} is not a string")
    return value
