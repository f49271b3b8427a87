"""JSON-RPC 2.0 objects as messages: one class per message type, and what requests, answers and errors hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from oddwire.codecs.base import with_type
from oddwire.codecs.json_object import JsonObjectCodec
from oddwire.errors import MalformedMessage, RemoteRpcError
from oddwire.schema import Message, schema_of
from oddwire.schema.kinds import Kind
from oddwire.schema.message import declare
from oddwire.schema.tree import JSON, load

__all__ = [
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "LSPS0",
    "METHOD_NOT_FOUND",
    "NOT_ALLOWED",
    "PARSE_ERROR",
    "REFUSED",
    "RpcDocument",
    "document_class",
    "error_object",
    "is_answer",
    "read_answer",
    "request_object",
    "result_object",
    "valid_id",
    "wrong_request",
]

# JSON-RPC 2.0, Error object; those of implementations are -32000 to -32099
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
REFUSED: Final = -32000
NOT_ALLOWED: Final = -32001

LSPS0: Final = 37913
"""The type of bLIP-50, which has rules of its own for what is no request."""

_LONGEST_ID: Final = 1000  # characters, as it goes back with the answer
_SHOWN: Final = 40


class RpcDocument(Message):
    """One JSON-RPC object: a request, notification or answer. Each type has a subclass, of `document_class`."""

    document: dict[str, Any]

    @property
    def _method(self) -> str:
        """Its method, for logs."""
        method = self.document.get("method")
        return f"JSON-RPC method {method!r:.100}" if isinstance(method, str) else "JSON-RPC"


_CODEC: Final = JsonObjectCodec()
_classes: dict[int, type[RpcDocument]] = {}


def document_class(type_id: int) -> type[RpcDocument]:
    """Return the message class of a type, one in the process, whoever uses it."""
    found = _classes.get(type_id)
    if found is None:

        class Document(RpcDocument): ...

        Document.__doc__ = f"A JSON-RPC object of type {type_id}."
        # As of a specification, so that it is never sent in fragments: others do not know them
        found = _classes[type_id] = declare(Document, type_id, codec=_CODEC, spec=True, name=f"JsonRpc{type_id}")
    return found


def request_object(method: str, params: object, identity: str | None) -> dict[str, Any]:
    """Return a request, or, without an id, a notification."""
    found = {"jsonrpc": "2.0", "method": method, "params": params}
    return found if identity is None else {**found, "id": identity}


def result_object(identity: object, result: object) -> dict[str, Any]:
    """Return the answer to a request."""
    return {"jsonrpc": "2.0", "id": identity, "result": result}


def error_object(identity: object, code: int, text: str, data: object = None) -> dict[str, Any]:
    """Return an error as the answer to a request."""
    error: dict[str, Any] = {"code": code, "message": text}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": identity, "error": error}


def is_answer(document: Mapping[str, Any]) -> bool:
    """Return whether an object is an answer, right or wrong: those are never answered in turn."""
    return "method" not in document and ("result" in document or "error" in document)


def wrong_request(document: Mapping[str, Any]) -> str:
    """Return why an object is neither a request nor a notification; empty if it is one."""
    if document.get("jsonrpc") != "2.0":
        return f"jsonrpc should be '2.0', not {document.get('jsonrpc')!r:.{_SHOWN}}"
    if type(document.get("method")) is not str:
        return f"method should be a string, not {document.get('method')!r:.{_SHOWN}}"
    return "" if "id" not in document else _wrong_id(document["id"])


def _wrong_id(identity: object) -> str:
    # JSON-RPC discourages null and fractions, which others read as other values
    if type(identity) not in (str, int):
        return f"id should be a string or an integer, not {identity!r:.{_SHOWN}}"
    if isinstance(identity, str) and len(identity) > _LONGEST_ID:
        return f"id should have {_LONGEST_ID} characters at most, not {len(identity)}"
    return ""


def valid_id(document: Mapping[str, Any]) -> object:
    """Return the id for an answer to what may be no request: None if it has none."""
    identity = document.get("id")
    return None if _wrong_id(identity) else identity


def read_answer(document: Mapping[str, Any], kind: Kind | None, message: type[Message]) -> Any:
    """Return the result in an answer; ``kind`` is that of its type, None for null.

    Raises `RemoteRpcError` for an error, `MalformedMessage` for anything that is not an answer, or of another kind.
    """
    try:
        if document.get("jsonrpc") != "2.0":
            raise MalformedMessage(f"should be '2.0', not {document.get('jsonrpc')!r:.{_SHOWN}}", path="$.jsonrpc")
        error = document.get("error")
        if error is None and "result" in document:
            return _load_result(kind, document["result"])
        if type(error) is not dict:
            raise MalformedMessage(f"should be an object, not {error!r:.{_SHOWN}}", path="$.error")
        if "result" in document and document["result"] is not None:
            raise MalformedMessage("has both a result and an error")
        code, text = error.get("code"), error.get("message")
        if type(code) is not int:
            raise MalformedMessage(f"should be an integer, not {code!r:.{_SHOWN}}", path="$.error.code")
        if type(text) is not str:
            raise MalformedMessage(f"should be a string, not {text!r:.{_SHOWN}}", path="$.error.message")
    except MalformedMessage as wrong:
        raise with_type(wrong, schema_of(message))  # noqa: B904 - the same error
    raise RemoteRpcError(text, code=code, data=error.get("data"))


def _load_result(kind: Kind | None, result: object) -> Any:
    if kind is not None:
        return load(kind, result, JSON, "$.result")
    if result is not None:
        raise MalformedMessage(f"should be null, not {result!r:.{_SHOWN}}", path="$.result")
    return None
