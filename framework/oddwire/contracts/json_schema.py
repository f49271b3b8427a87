"""JSON Schema (draft 2020-12) of an extension's messages, as JSON has them.

That of a message with the json codec says what is on the wire; that of another what `oddwire send`, the events of
``--json`` and `to_dict` show. It says all that JSON Schema has words for: not what the functions of scalars and
validators accept.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any, Final

from oddwire.contracts.interface import Interface, Method
from oddwire.contracts.shown import is_object
from oddwire.contracts.types import default_of
from oddwire.schema import Field, Record, Schema, schema_of
from oddwire.schema.forms import JSON, PACKED, SHOWN, Form
from oddwire.schema.kinds import (
    Array,
    Boolean,
    Choice,
    Fixed,
    Float,
    Integer,
    Kind,
    Led,
    Maybe,
    Nested,
    Octets,
    Opaque,
    Sized,
    Table,
    Text,
)
from oddwire.schema.standard_scalars import DATETIME, DECIMAL
from oddwire.schema.union_kinds import Either, Tagged
from oddwire.schema.union_trees import body_key
from oddwire.schema.value_kinds import Limited, Limits, Scalar, carrier, unlimited

__all__ = ["DIALECT", "SchemaWriter", "json_schema", "text_of"]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_HEX: Final = "^(?:[0-9a-fA-F]{2})*$"
_PLACE: Final = "#/$defs/"
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9._-]+")  # of Page[Order]


def json_schema(interface: Interface) -> dict[str, Any]:
    """Return one document with a definition for each message, subtype, and the parameters and result of each method."""
    writer = SchemaWriter()
    messages = [writer.message(schema_of(cls)) for cls in interface.messages]
    for method in interface.methods:
        writer.definitions[f"{method.name}.params"] = writer.params(method)
        if not method.notification:
            writer.definitions[f"{method.name}.result"] = writer.result(method)
    made: dict[str, Any] = {"$schema": DIALECT, "title": f"{interface.name} {interface.version}"}
    if interface.text:
        made["description"] = interface.text.partition("\n")[0]
    if messages:
        made["anyOf"] = messages
    return {**made, "$defs": dict(sorted(writer.definitions.items()))}


class SchemaWriter:
    """Writes schemas; ``definitions`` has those of classes, to which others refer below ``place``."""

    def __init__(self, place: str = _PLACE) -> None:
        self.definitions: dict[str, Any] = {}
        self._place = place
        self._names: dict[tuple[type, str], str] = {}

    def message(self, schema: Schema) -> dict[str, Any]:
        """Return the reference to a message's definition."""
        form = {"json": JSON, "msgpack": PACKED}.get(schema.codec, SHOWN)
        if is_object(schema):
            self.definitions[schema.name] = self._described(schema) | self.kind(schema.fields[0].kind, form)
            return {"$ref": self._place + schema.name}
        return self.record(schema, form, by_name=schema.codec != "json")

    def record(self, record: Record, form: Form, *, by_name: bool = False) -> dict[str, Any]:
        """Return the reference to a class's definition; ``by_name``, not by key, as `to_dict` writes a message."""
        kind = f"{form.name} {form.bodies} {form.binary} {by_name}"
        name = self._names.get((record.cls, kind))
        if name is None:
            plain = _NOT_PLAIN.sub("_", record.name).strip("_")
            name, number = plain, 1
            while name in self.definitions:
                number += 1
                name = f"{plain}_{number}"
            self._names[record.cls, kind] = name
            self.definitions[name] = {}
            self.definitions[name] = self._described(record) | self.object(record.fields, form, by_name=by_name)
        return {"$ref": self._place + name}

    def params(self, method: Method) -> dict[str, Any]:
        """Return the schema of a method's parameters by name."""
        return self.object(method.params, JSON, is_open=not method.strict)

    def result(self, method: Method) -> dict[str, Any]:
        """Return the schema of a method's result."""
        if not method.typed:
            return {}
        return {"type": "null"} if method.result is None else self.kind(method.result, JSON)

    def _described(self, record: Record) -> dict[str, Any]:
        made = {"title": f"{record.name} {record.type_id:#06x}"} if isinstance(record, Schema) else {}
        return made | ({"description": text} if (text := text_of(record.cls)) else {})

    def object(
        self, fields: Iterable[Field], form: Form, *, by_name: bool = False, is_open: bool = True
    ) -> dict[str, Any]:
        """Return the schema of an object with these fields; unknown keys are ignored, unless it is not ``is_open``."""
        properties, required = {}, []
        for field in fields:
            key = field.name if by_name else field.key
            schema = self.kind(field.kind, form)
            if field.required and not (by_name and field.none_is_absent):
                required.append(key)
            elif not field.required:
                default = default_of(field)
                told = default is not None and not (
                    isinstance(default, dict) and default.keys() <= {"made by", "value"}
                )
                schema = schema | ({"default": default} if told else {})
            properties[key] = schema
        made: dict[str, Any] = {"type": "object", "properties": properties}
        if required:
            made["required"] = required
        return made if is_open else {**made, "additionalProperties": False}

    def kind(self, kind: Kind, form: Form) -> dict[str, Any]:
        """Return the schema of a kind's values."""
        match kind:
            case Integer(quoted=True):
                return {"type": "string", "pattern": "^(?:0|-?[1-9][0-9]{0,19})$"}
            case Integer():
                return {"type": "integer", "minimum": kind.low, "maximum": kind.high}
            case Boolean():
                return {"type": "boolean"}
            case Float():
                return {"type": "number"}
            case Octets():
                return _octets(kind)
            case Text():
                return {"type": "string"} | ({} if kind.max_length is None else {"maxLength": kind.max_length})
            case Opaque(name="short_channel_id"):
                return {"type": "string", "pattern": "^[0-9]+x[0-9]+x[0-9]+$"}
            case Opaque():
                return {"type": "string", "pattern": f"^[0-9a-fA-F]{{{2 * kind.size}}}$"}
            case Choice():
                return {"enum": [*kind.members]}
            case Maybe():
                return {"anyOf": [self.kind(kind.inner, form), {"type": "null"}]}
            case Sized():
                return self.kind(kind.inner, form)
            case Array():
                return {"type": "array", "items": self.kind(kind.element, form)} | _items(kind)
            case Table():
                most = {} if kind.max_length is None else {"maxProperties": kind.max_length}
                return {"type": "object", "additionalProperties": self.kind(kind.value, form)} | most
            case Nested():
                return self.record(kind.record, form)
            case Tagged():
                return self._tagged(kind, form)
            case Either():
                return {"anyOf": [self._option(kind, option, form) for option in kind.options]}
            case Scalar():
                return self._scalar(kind, form)
            case Limited():
                return _limited(self.kind(kind.inner, form), kind.limits, kind.inner)
        return {}

    def _tagged(self, kind: Tagged, form: Form) -> dict[str, Any]:
        def tag(schema: dict[str, Any]) -> dict[str, Any]:
            return {"type": "object", "properties": {kind.key: schema}, "required": [kind.key]}

        members = [{"allOf": [self.record(one.record, form), tag({"const": one.tag})]} for one in kind.variants]
        if kind.unknown:
            other: dict[str, Any] = tag({"not": {"enum": [*kind.by_tag]}})
            if form.bodies == "apart":
                other["properties"][body_key(kind)] = {"type": ["string", "object"]}
            members.append(other)
        return {"oneOf": members}

    def _option(self, kind: Either, option: Kind, form: Form) -> dict[str, Any]:
        schema = self.kind(option, form)
        if option in kind.wrapped.values():
            return {"type": "object", "properties": {option.label: schema}, "required": [option.label]}
        return schema

    def _scalar(self, kind: Scalar, form: Form) -> dict[str, Any]:
        if kind == DATETIME:
            return {"type": "string", "format": "date-time"}
        if kind == DECIMAL:
            return {"type": "string", "pattern": "^-?[0-9]+(?:\\.[0-9]+)?$"}
        inner = {"type": "string"} if kind.show is not None else self.kind(kind.inner, form)
        return {"title": kind.name, **inner} if kind.name != kind.inner.label else inner


def text_of(cls: type) -> str:
    """Return the docstring of a class, without that of its bases."""
    return inspect.cleandoc(vars(cls).get("__doc__") or "")


def _octets(kind: Octets) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "string", "pattern": _HEX}
    match kind.count:
        case Fixed(size):
            made |= {"minLength": 2 * size, "maxLength": 2 * size}
        case Led(sizes):
            made |= {"minLength": 2 * min(sizes), "maxLength": 2 * max(sizes)}
        case _ if kind.max_length is not None:
            made["maxLength"] = 2 * kind.max_length
    return made


def _items(kind: Array) -> dict[str, Any]:
    if isinstance(kind.count, Fixed):
        return {"minItems": kind.count.size, "maxItems": kind.count.size}
    return {} if kind.max_length is None else {"maxItems": kind.max_length}


_BOUNDS: Final = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_LENGTHS: Final[dict[type, tuple[str, int]]] = {
    Array: ("Items", 1),
    Octets: ("Length", 2),
    Table: ("Properties", 1),
    Text: ("Length", 1),
}


def _limited(schema: dict[str, Any], limits: Limits, kind: Kind) -> dict[str, Any]:
    made: dict[str, Any] = {}
    bare = carrier(kind)
    for name, bound in limits.bounds.items():
        if isinstance(unlimited(kind), Integer | Float) and not getattr(bare, "quoted", False):
            made[_BOUNDS[name]] = bound
    if limits.length is not None:
        what, times = _LENGTHS[type(unlimited(kind))]
        made |= {f"min{what}": times * limits.length[0], f"max{what}": times * limits.length[1]}
    if limits.pattern is not None:
        made["pattern"] = f"^(?:{limits.pattern})$"
    if any(key in schema and schema[key] != value and key not in ("minimum", "maximum") for key, value in made.items()):
        return {"allOf": [schema, made]}
    return {**schema, **made}
