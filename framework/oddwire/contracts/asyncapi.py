"""An AsyncAPI 3.0 document of an extension: a channel for each type number, its messages, and what is answered.

The schemas of payloads are those of `json_schema`: of messages that are no JSON on the wire, they describe the JSON
that oddwire shows. The summary of an example is its payload in hex.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from oddwire.contracts.examples import examples
from oddwire.contracts.interface import Interface, Method
from oddwire.contracts.json_schema import SchemaWriter, text_of
from oddwire.contracts.shown import shown_json
from oddwire.schema import Message, schema_of

__all__ = ["VERSION", "asyncapi"]

VERSION: Final = "3.0.0"
_CONTENT: Final = {"json": "application/json", "msgpack": "application/vnd.msgpack"}
_SCHEMAS: Final = "#/components/schemas/"


def asyncapi(interface: Interface) -> dict[str, Any]:
    """Return the document. Operations are those of who runs the extension: what it handles it receives."""
    return _Document(interface).whole()


class _Document:
    def __init__(self, interface: Interface) -> None:
        self._interface = interface
        self._schemas = SchemaWriter(_SCHEMAS)
        self._messages: dict[str, Any] = {}
        self._channels: dict[str, Any] = {}
        self._operations: dict[str, Any] = {}

    def whole(self) -> dict[str, Any]:
        interface = self._interface
        for cls in interface.messages:
            self._message(cls)
        for cls in interface.messages:
            self._operation(cls)
        for method in interface.methods:
            self._method(method)
        info: dict[str, Any] = {"title": interface.name, "version": interface.version}
        if interface.text:
            info["description"] = interface.text
        if interface.feature is not None:
            info["x-feature-bit"] = interface.feature
        schemas = dict(sorted(self._schemas.definitions.items()))
        return {
            "asyncapi": VERSION,
            "info": info,
            "channels": self._channels,
            "operations": self._operations,
            "components": {"messages": self._messages, "schemas": schemas},
        }

    def _message(self, cls: type[Message]) -> None:
        schema = schema_of(cls)
        reference = self._schemas.message(schema)
        made: dict[str, Any] = {
            "name": schema.name,
            "title": f"{schema.name} {schema.type_id:#06x}",
            "contentType": _CONTENT.get(schema.codec, "application/octet-stream"),
            "payload": reference,
            "x-type": schema.type_id,
            "x-codec": schema.codec,
        }
        if text := text_of(cls):
            made["description"] = text
        if found := [{"summary": payload.hex(), "payload": shown_json(one)} for one, payload in examples(cls)]:
            made["examples"] = found
        key = self._key(cls)
        self._messages[key] = made
        self._channels[key] = {
            "address": f"{schema.type_id:#06x}",
            "title": f"message type {schema.type_id}",
            "messages": {key: {"$ref": f"#/components/messages/{key}"}},
        }

    def _key(self, cls: type[Message]) -> str:
        return str(self._schemas.message(schema_of(cls))["$ref"]).removeprefix(_SCHEMAS)

    def _operation(self, cls: type[Message]) -> None:
        interface, key, schema = self._interface, self._key(cls), schema_of(cls)
        handled = cls in interface.handlers or not interface.handlers
        made: dict[str, Any] = {
            "action": "receive" if handled else "send",
            "channel": {"$ref": f"#/channels/{key}"},
            "messages": [{"$ref": f"#/channels/{key}/messages/{key}"}],
        }
        if text := interface.handlers.get(cls, ""):
            made["description"] = text
        if cls in interface.reliable:
            made["x-reliable"] = True
        if cls in interface.streams:
            made["x-stream"] = True
        answers = [self._key(one) for one in schema.replies or interface.answers.get(cls, ())]
        if len(answers) == 1:  # a reply is in one channel: several have an extension
            made["reply"] = _reply(answers[0], answers[0])
        elif answers:
            made["x-replies"] = [{"$ref": f"#/channels/{answer}"} for answer in answers]
        self._operations[f"{made['action']}{key}"] = made

    def _method(self, method: Method) -> None:
        channel = next((key for key, one in self._messages.items() if one.get("x-type") == method.type_id), "JsonRpc")
        address = {"address": f"{method.type_id:#06x}", "messages": {}}
        messages = self._channels.setdefault(channel, address)["messages"]
        for key, payload in _documents(method, self._schemas):
            self._messages[key] = {
                "name": key,
                "contentType": "application/json",
                "payload": payload,
                **({"description": method.text} if method.text else {}),
            }
            messages[key] = {"$ref": f"#/components/messages/{key}"}
        made: dict[str, Any] = {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": [{"$ref": f"#/channels/{channel}/messages/{method.name}.request"}],
        }
        if not method.notification:
            made["reply"] = _reply(channel, f"{method.name}.answer")
        self._operations[method.name] = made


def _reply(channel: str, message: str) -> dict[str, Any]:
    return {
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
    }


def _documents(method: Method, schemas: SchemaWriter) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the JSON-RPC objects of a method, with their names."""
    version, identity = {"const": "2.0"}, {"type": ["string", "integer"]}
    request = {"jsonrpc": version, "method": {"const": method.name}, "params": schemas.params(method)}
    if not method.notification:
        request["id"] = identity
    yield f"{method.name}.request", {"type": "object", "properties": request, "required": [*request]}
    if not method.notification:
        answer = {"jsonrpc": version, "id": identity, "result": schemas.result(method), "error": {"type": "object"}}
        yield f"{method.name}.answer", {"type": "object", "properties": answer, "required": ["jsonrpc", "id"]}
