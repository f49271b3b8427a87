"""JSON-RPC objects of peers: what comes is read as a request, its parameters, an answer, or refused as documented."""

# ruff: noqa: PT017 - a target is told what to raise by no one, so it looks at what was raised

from __future__ import annotations

import json
from typing import Annotated, Any

from oddwire import Context, as_text, schema_of, subtype, u64
from oddwire.app.declarations.peer_methods import PeerMethod, result_kind
from oddwire.app.declarations.rpc_documents import (
    RpcDocument,
    document_class,
    error_object,
    is_answer,
    read_answer,
    result_object,
    valid_id,
    wrong_request,
)
from oddwire.errors import MalformedMessage, RemoteRpcError, RpcError
from oddwire.schema.kinds import Anything

TYPE = 37913
DOCUMENT = document_class(TYPE)
CODEC = schema_of(DOCUMENT).own_codec
assert CODEC is not None
PLAN = CODEC.compile(schema_of(DOCUMENT))
PREFIX = TYPE.to_bytes(2, "big")


@subtype
class Part:
    name: str
    amount: Annotated[u64, as_text] = 0


async def method(context: Context, part: Part, parts: tuple[Part, ...] = (), what: Any = None) -> None: ...


FORM = PeerMethod(name="method", function=method, by_position=True).form()
KINDS = (Anything(), result_kind(Part), result_kind(tuple[Part, ...] | None), None)


def read_object(body: bytes) -> None:
    """Read a payload; what is read is written, and read again as the same."""
    try:
        message: RpcDocument = PLAN.decode(PREFIX + body)
    except MalformedMessage as error:
        assert error.type_id == TYPE
        return
    document = message.document
    assert PLAN.decode(PLAN.encode(message)) == message
    assert isinstance(valid_id(document), str | int | None)
    PLAN.encode(DOCUMENT(document=error_object(valid_id(document), -1, wrong_request(document))))
    if is_answer(document):
        read_result(document)
    if not wrong_request(document):
        assert isinstance(document["method"], str)
        read_params(document)


def read_params(document: dict[str, Any]) -> None:
    try:
        arguments = FORM.read(document.get("params", {}))
    except RpcError as error:
        assert error.code == -32602
        assert isinstance(error.data, dict)
        assert [*error.data] in (["unrecognized"], ["unrecognized", "property", "message"])
        PLAN.encode(DOCUMENT(document=error_object("1", error.code, error.text, error.data)))
    else:
        assert isinstance(arguments["part"], Part)


def read_result(document: dict[str, Any]) -> None:
    for kind in KINDS:
        try:
            read_answer(document, kind, DOCUMENT)
        except RemoteRpcError as error:
            assert isinstance(error.code, int)
            assert isinstance(error.text, str)
        except MalformedMessage as error:
            assert error.type_id == TYPE


REQUEST = {"jsonrpc": "2.0", "method": "method", "id": "1", "params": {"part": {"name": "x", "amount": "5"}}}
TARGETS = {
    "peer-rpc": (
        read_object,
        [
            json.dumps(document).encode()
            for document in (
                REQUEST,
                {**REQUEST, "params": [{"name": "x"}, [{"name": "y"}], None], "id": 7},
                {"jsonrpc": "2.0", "method": "note"},
                result_object("1", {"name": "x", "amount": "5"}),
                result_object("1", [{"name": "x"}]),
                result_object(None, None),
                error_object("1", -32602, "Invalid params", {"unrecognized": ["x"]}),
                [REQUEST],
            )
        ],
    ),
}
