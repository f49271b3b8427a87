"""Kinds as the plain objects of a contract: each has a ``type``, and what else of it is on the wire.

| ``type`` | has |
|---|---|
| ``u16``, ``s8``, ``tu64``, ``bigsize``, ``int`` | ``class``: a scalar's name, ``quoted``: digits in a string in JSON |
| ``bool``, ``bool8``, ``float``, ``any`` | |
| ``bytes``, ``str`` | ``class``, ``count``, ``max_length`` |
| ``opaque`` | ``class``, ``size``: a point, a short channel id |
| ``enum`` | ``class``, ``of``: an integer or ``str``, ``values`` by wire value |
| ``optional`` | ``of``, ``flag`` |
| ``sized`` | ``of``, ``size`` |
| ``array`` | ``of``, ``count``, ``max_length`` |
| ``map`` | ``of``, ``max_length`` |
| ``subtype`` | ``class``, under which the contract has its fields |
| ``union`` | ``tag``, ``length``, ``tag_key``, ``open``, ``members``: each a ``tag`` and a ``subtype`` |
| ``either`` | ``options`` |
| ``scalar`` | ``class``, ``of``, ``text``: whether it has a text of its own in JSON |

All may have ``limits``, a list.
"""

from __future__ import annotations

from typing import Any

from oddwire.errors import CodecError
from oddwire.schema import Field, Record
from oddwire.schema.forms import MSGPACK, SHOWN
from oddwire.schema.kinds import (
    Anything,
    Array,
    Boolean,
    Choice,
    Count,
    Fixed,
    Float,
    Integer,
    Kind,
    Led,
    Maybe,
    Named,
    Nested,
    Octets,
    Opaque,
    Prefixed,
    Sized,
    Table,
    Text,
    unboxed,
)
from oddwire.schema.tree import dump
from oddwire.schema.union_kinds import Either, Tagged
from oddwire.schema.value_kinds import Limited, Limits, Scalar, unlimited

__all__ = ["TypeWriter", "default_of", "integer_name"]


class TypeWriter:
    """Writes kinds as plain objects; ``subtypes`` has the fields of all classes that they name, by that name."""

    def __init__(self) -> None:
        self.subtypes: dict[str, dict[str, Any]] = {}
        self._names: dict[type, str] = {}

    def fields(self, fields: tuple[Field, ...]) -> list[dict[str, Any]]:
        """Return fields, in their order."""
        return [self.field(field) for field in fields]

    def field(self, field: Field) -> dict[str, Any]:
        """Return one field."""
        made: dict[str, Any] = {"name": field.name}
        if field.key != field.name:
            made["key"] = field.key
        if field.tlv is not None:
            made["tlv"] = field.tlv
        made |= self.type(field.kind)
        if not field.required:
            made["default"] = default_of(field)
        return made

    def type(self, kind: Kind) -> dict[str, Any]:
        """Return a kind."""
        match kind:
            case Limited():
                return _limited(self.type(kind.inner), _limits(kind.limits, unlimited(unboxed(kind.inner))))
            case Integer():
                name = integer_name(kind)
                made: dict[str, Any] = {"type": name} | ({} if name == kind.name else {"class": kind.name})
                return made | ({"quoted": True} if kind.quoted else {})
            case Boolean():
                return {"type": kind.name}
            case Float():
                return {"type": "float"}
            case Anything():
                return {"type": "any"}
            case Octets():
                name_ = {} if kind.name == "bytes" else {"class": kind.name}
                return {"type": "bytes"} | name_ | _sizes(kind.count, kind.max_length)
            case Text():
                return {"type": "str"} | _sizes(kind.count, kind.max_length)
            case Opaque():
                return {"type": "opaque", "class": kind.name, "size": kind.size}
            case Choice():
                return {"type": "enum", "class": kind.name, "of": self.type(kind.base), "values": _values(kind)}
            case Maybe():
                flag = {} if kind.flag is None else {"flag": self.type(kind.flag)["type"]}
                return {"type": "optional", "of": self.type(kind.inner)} | flag
            case Sized():
                return {"type": "sized", "size": integer_name(kind.integer), "of": self.type(kind.inner)}
            case Array():
                return {"type": "array", "of": self.type(kind.element)} | _sizes(kind.count, kind.max_length)
            case Table():
                return {"type": "map", "of": self.type(kind.value)} | _sizes(None, kind.max_length)
            case Nested():
                return {"type": "subtype", "class": self._subtype(kind.record)}
            case Tagged():
                return self._union(kind)
            case Either():
                return {"type": "either", "options": [self.type(option) for option in kind.options]}
            case Scalar():
                text = {"text": True} if kind.show is not None else {}
                return {"type": "scalar", "class": kind.name, "of": self.type(kind.inner)} | text
        raise NotImplementedError(kind)

    def _subtype(self, record: Record) -> str:
        name = self._names.get(record.cls)
        if name is None:
            name, number = record.name, 1
            while name in self.subtypes:
                number += 1
                name = f"{record.name}_{number}"
            self._names[record.cls] = name
            made = self.subtypes[name] = {}  # known before its fields, which may name it
            made |= self.record(record)
        return name

    def record(self, record: Record) -> dict[str, Any]:
        """Return what is on the wire of a class: its fields and the names of its validators."""
        made: dict[str, Any] = {"fields": self.fields(record.fields)}
        if record.validators:
            made["validators"] = sorted(validator.name for validator in record.validators)
        return made

    def _union(self, kind: Tagged) -> dict[str, Any]:
        made: dict[str, Any] = {"type": "union", "tag_key": kind.key}
        if kind.integer is not None:
            made["tag"] = integer_name(kind.integer)
        if kind.length is not None:
            made["length"] = integer_name(kind.length)
        if kind.unknown:
            made["open"] = True
        members = sorted(kind.variants, key=lambda variant: (str(type(variant.tag)), variant.tag))
        made["members"] = [{"tag": one.tag, "subtype": self._subtype(one.record)} for one in members]
        return made


def _limited(type_: dict[str, Any], limits: dict[str, Any]) -> dict[str, Any]:
    if type_["type"] in ("optional", "sized"):
        return {**type_, "of": _limited(type_["of"], limits)}
    return {**type_, "limits": [*type_.get("limits", ()), limits]}


def integer_name(kind: Integer) -> str:
    """Return the type of an integer, whatever a scalar calls it: ``u24``."""
    if kind.form == "plain":
        return "int"
    if kind.form == "bigsize":
        return "bigsize"
    return f"{'tu' if kind.form == 'truncated' else 's' if kind.signed else 'u'}{kind.bits}"


def default_of(field: Field) -> Any:
    """Return a field's default as JSON has it: what one of `list` and the like makes, or the maker's name."""
    made = field.default_factory
    if made is not None and made not in (list, dict, tuple, bytes, str, int, float, bool):
        return {"made by": getattr(made, "__qualname__", None) or type(made).__name__}
    try:
        return dump(field.kind, field.make_default(), SHOWN)
    except CodecError:
        return {"value": repr(field.make_default())}  # no value that could be sent


def _sizes(count: Count | None, max_length: int | None) -> dict[str, Any]:
    made: dict[str, Any] = {}
    match count:
        case Fixed(size):
            made["count"] = size
        case Prefixed(integer):
            made["count"] = integer_name(integer)
        case Named(name):
            made["count"] = {"field": name}
        case Led(sizes):
            made["count"] = {"first byte": list(sizes)}
        case None:
            pass
        case _:
            made["count"] = "rest"
    return made if max_length is None else {**made, "max_length": max_length}


def _values(kind: Choice) -> list[dict[str, Any]]:
    found = [{"value": wire, "name": str(getattr(member, "name", wire))} for wire, member in kind.members.items()]
    return sorted(found, key=lambda one: (str(type(one["value"])), one["value"]))


def _limits(limits: Limits, kind: Kind) -> dict[str, Any]:
    made: dict[str, Any] = {name: dump(kind, bound, MSGPACK) for name, bound in limits.bounds.items()}
    if limits.length is not None:
        made["length"] = list(limits.length)
    if limits.pattern is not None:
        made["pattern"] = limits.pattern
    return made
