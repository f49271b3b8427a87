"""`contract_of`: the protocol of an extension as one plain object, for a file beside its code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from oddwire.contracts.interface import Interface, Method
from oddwire.contracts.types import TypeWriter
from oddwire.schema import Message, schema_of

__all__ = ["FORMAT", "contract_of", "write_contract"]

FORMAT: Final = 1
"""The version of the format, a contract's ``contract``."""


def contract_of(interface: Interface, *, oddwire: str) -> dict[str, Any]:
    """Return the contract of an extension: an object that JSON can hold, in an order that depends on nothing else.

    ``oddwire`` is the version of oddwire that it says. It has all that is on the wire, and nothing of documentation: a
    change in it is a change of the protocol.
    """
    types = TypeWriter()
    made: dict[str, Any] = {
        "contract": FORMAT,
        "oddwire": oddwire,
        "extension": interface.name,
        "version": interface.version,
        "versions": list(interface.versions),
    }
    if interface.feature is not None:
        made["feature"] = interface.feature
    if interface.peer_feature is not None:
        made["peer_feature"] = interface.peer_feature
    messages = sorted(interface.messages, key=lambda cls: (schema_of(cls).type_id, schema_of(cls).name))
    made["messages"] = [_message(cls, interface, types) for cls in messages]
    made["methods"] = [
        _method(one, types) for one in sorted(interface.methods, key=lambda one: (one.type_id, one.name))
    ]
    made["subtypes"] = dict(sorted(types.subtypes.items()))
    return made


def write_contract(contract: Mapping[str, Any]) -> str:
    """Return the text of a contract's file: JSON, in which what is short has a line of its own."""
    return _text(contract, "") + "\n"


def _message(cls: type[Message], interface: Interface, types: TypeWriter) -> dict[str, Any]:
    schema = schema_of(cls)
    made: dict[str, Any] = {"type": schema.type_id, "name": schema.name, "codec": schema.codec}
    if schema.own_codec is not None:
        made["codec_settings"] = _settings(schema.own_codec)
    made["max_size"] = schema.max_size
    if schema.even is not None:
        made["even"] = schema.even
    if cls in interface.reliable:
        made["reliable"] = True
    if cls in interface.streams:
        made["stream"] = True
    if answers := schema.replies or interface.answers.get(cls, ()):
        made["replies"] = sorted(schema_of(answer).type_id for answer in answers)
    if schema.match is not None:
        made["match"] = schema.match
    return made | types.record(schema)


def _method(method: Method, types: TypeWriter) -> dict[str, Any]:
    made: dict[str, Any] = {"name": method.name, "type": method.type_id}
    if method.notification:
        made["notification"] = True
    if method.by_position:
        made["by_position"] = True
    if not method.strict:
        made["lenient"] = True
    made["params"] = types.fields(method.params)
    if method.record is not None and method.record.validators:
        made["validators"] = sorted(validator.name for validator in method.record.validators)
    if not method.notification:
        made["result"] = _result(method, types)
    return made


def _result(method: Method, types: TypeWriter) -> dict[str, Any]:
    if not method.typed:
        return {"type": "any"}
    return {"type": "null"} if method.result is None else types.type(method.result)


def _settings(codec: object) -> dict[str, Any]:
    """Return the class of a codec, and what it was made with: it is on the wire."""
    cls = type(codec)
    found = {name.strip("_"): _setting(value) for name, value in sorted(vars(codec).items())}
    return {"class": f"{cls.__module__}.{cls.__qualname__}", **found}


def _setting(value: object) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): _setting(inner) for key, inner in sorted(value.items(), key=lambda item: str(item[0]))}
    if isinstance(value, list | tuple):
        return [_setting(inner) for inner in value]
    if hasattr(value, "compile"):
        return _settings(value)
    return repr(value) if " at 0x" not in repr(value) else type(value).__qualname__


_WIDTH: Final = 110


def _text(value: Any, indent: str) -> str:
    """Return JSON text: an object or list on one line if it fits and is not wide, else one item a line."""
    flat = json.dumps(value, ensure_ascii=True)
    if not isinstance(value, Mapping | list) or not value:
        return flat
    if indent and len(flat) + len(indent) <= _WIDTH and not _is_wide(value):
        return flat
    deeper = indent + "  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(deeper + _text(inner, deeper) for inner in value) + f"\n{indent}]"
    items = (f"{deeper}{json.dumps(key)}: {_text(inner, deeper)}" for key, inner in value.items())
    return "{\n" + ",\n".join(items) + f"\n{indent}}}"


def _is_wide(value: Any) -> bool:
    """Return whether fields, messages or types are listed in a value: each of them has a line of its own."""
    lists = [value] if isinstance(value, list) else [one for one in value.values() if isinstance(one, list)]
    return any(isinstance(one, Mapping) and "type" in one for each in lists for one in each)
