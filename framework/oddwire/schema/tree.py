"""Field values to and from trees of plain objects (dict, list, str, int, ...), which msgpack and JSON carry.

``dump`` and its inverse ``load`` are the reference path: slow, with errors that name exactly what was wrong. ``dump``
raises `EncodeError` or `ValueOutOfRange`, ``load`` `MalformedMessage`, each with the path. Neither knows the message's
type number; codecs add it.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import index
from typing import Any

from oddwire.errors import EncodeError, MalformedMessage, ValueOutOfRange
from oddwire.printable import represented
from oddwire.schema.class_records import Record
from oddwire.schema.forms import JSON, MSGPACK, Form
from oddwire.schema.kinds import (
    Anything,
    Array,
    Boolean,
    Choice,
    Float,
    Integer,
    Kind,
    Maybe,
    Nested,
    Octets,
    Opaque,
    Sized,
    Table,
    Text,
)
from oddwire.schema.nesting import TOO_DEEP
from oddwire.schema.tree_values import (
    badly_led,
    check_anything,
    check_array,
    check_choice,
    check_fit,
    check_length,
    check_surrogates,
    dump_float,
    dump_text,
    load_choice,
    load_float,
    load_opaque,
    malformed,
    name_of,
    path_of_key,
    spelled,
    unhex,
    unquote,
    unspelled,
    wrong,
)
from oddwire.schema.union_kinds import Either, Tagged
from oddwire.schema.value_kinds import Limited, Scalar

__all__ = ["JSON", "MSGPACK", "Form", "dump", "dump_record", "load", "load_record"]

# A whole record ------------------------------------------------------------------------------------------------------


def dump_record(record: Record, instance: object, form: Form, path: str = "$") -> dict[str, Any]:
    """Return the map for ``instance``.

    Fields that are None by default are left out when they are None. The others are in the order of their declaration;
    with msgpack those that may be left out come last, as its generated code writes them.
    """
    if type(instance) is not record.cls:
        raise EncodeError(f"should be {record.name}, not {name_of(instance)}", path=path)
    if record.recursive:
        deeper = form.deeper()
        if deeper is None:
            raise EncodeError(TOO_DEEP, path=path)
        form = deeper
    made = {}
    fields = record.fields if form.hexed else sorted(record.fields, key=lambda field: field.omitted_if_none)
    for field in fields:
        try:
            value = getattr(instance, field.name)
        except AttributeError:
            raise EncodeError("has no value", path=f"{path}.{field.name}") from None
        if value is None and field.omitted_if_none:
            continue
        made[field.key] = dump(field.kind, value, form, f"{path}.{field.name}")
    for validator in record.validators:
        validator.check_sent(instance, path)
    return made


def load_record(record: Record, plain: object, form: Form, path: str = "$") -> Any:
    """Return the instance for a map. Unknown keys are ignored; missing fields take their defaults."""
    if type(plain) is not dict:
        raise MalformedMessage(f"should be a map, not {name_of(plain)}", path=path)
    if record.recursive:
        deeper = form.deeper()
        if deeper is None:
            raise MalformedMessage(TOO_DEEP, path=path)
        form = deeper
    values = {}
    for field in record.fields:
        if field.key in plain:
            values[field.name] = load(field.kind, plain[field.key], form, f"{path}.{field.name}")
        elif field.required:
            raise MalformedMessage("is missing and has no default", path=f"{path}.{field.name}")
        else:
            values[field.name] = field.make_default()
    made = record.build(values)
    for validator in record.validators:
        validator.check_received(made, path)
    return made


# One value to send ---------------------------------------------------------------------------------------------------


def dump(kind: Kind, value: Any, form: Form, path: str = "$") -> Any:
    """Check a value and return the plain object for it."""
    match kind:
        case Integer():
            try:
                number = index(value)
            except TypeError:
                wrong(kind, value, path)
            if isinstance(value, bool):
                wrong(kind, value, path)
            if not kind.low <= number <= kind.high:
                raise ValueOutOfRange(
                    f"{kind.name} should be {kind.low} to {kind.high}, not {represented(number)}", path=path
                )
            return str(number) if kind.quoted and form.hexed else number
        case Text():
            return dump_text(kind, value, path)
        case Octets():
            if not isinstance(value, bytes | bytearray):
                wrong(kind, value, path)
            check_length(kind, len(value), path)
            if reason := badly_led(kind, value):
                raise ValueOutOfRange(reason, path=path)
            if form.hexed:
                return value.hex()
            return value if type(value) is bytes else bytes(memoryview(value))
        case Nested():
            return dump_record(kind.record, value, form, path)
        case Array():
            check_array(kind, value, path)
            check_length(kind, len(value), path)
            return [dump(kind.element, element, form, f"{path}[{i}]") for i, element in enumerate(value)]
        case Boolean():
            if not isinstance(value, bool):
                wrong(kind, value, path)
            return value
        case Float():
            return dump_float(kind, value, path)
        case Opaque():
            if not isinstance(value, kind.python):
                wrong(kind, value, path)
            return kind.show(value) if form.hexed else kind.dump(value)
        case Choice():
            return dump(kind.base, check_choice(kind, value, path), form, path)
        case Maybe():
            return None if value is None else dump(kind.inner, value, form, path)
        case Sized():
            return dump(kind.inner, value, form, path)
        case Table():
            return _dump_table(kind, value, form, path)
        case Tagged() | Either():
            return _dump_union(kind, value, form, path)
        case Anything():
            reason = check_anything(value, form)
            if reason:
                raise EncodeError(reason, path=path)
            return spelled(value) if form.binary else value
        case Scalar():
            if form.hexed and kind.show is not None:
                return dump_text(Text(), kind.to_text(value, path), path)
            return dump(kind.inner, kind.to_wire(value, path), form, path)
        case Limited():
            made = dump(kind.inner, value, form, path)
            kind.check_sent(value, path)
            return made
    raise NotImplementedError(kind)


def _dump_table(kind: Table, value: Any, form: Form, path: str) -> dict[str, Any]:
    if not isinstance(value, dict | Mapping):
        wrong(kind, value, path)
    check_length(kind, len(value), path)
    made = {}
    for key, inner in value.items():
        where = path_of_key(path, key)
        made[dump_text(Text(), key, where)] = dump(kind.value, inner, form, where)
    return made


def _dump_union(kind: Tagged | Either, value: Any, form: Form, path: str) -> Any:
    from oddwire.schema.union_trees import dump_either, dump_tagged  # imported late: few need it

    if isinstance(kind, Tagged):
        return dump_tagged(kind, value, form, path, dump, check_anything)
    return dump_either(kind, value, form, path, dump)


# One value received --------------------------------------------------------------------------------------------------


def load(kind: Kind, plain: Any, form: Form, path: str = "$") -> Any:
    """Check a plain object and return the value for it."""
    match kind:
        case Integer():
            if kind.quoted and form.hexed:
                plain = unquote(kind, plain, path)
            if type(plain) is not int:
                malformed(kind, plain, path)
            if not kind.low <= plain <= kind.high:
                raise MalformedMessage(f"{kind.name} should be {kind.low} to {kind.high}, not {plain}", path=path)
            return plain
        case Text():
            if type(plain) is not str:
                malformed(kind, plain, path)
            check_surrogates(plain, form, path)
            check_fit(kind, len(plain), path)
            return plain
        case Octets():
            data = unhex(kind, plain, path) if form.hexed else plain
            if type(data) is not bytes:
                malformed(kind, plain, path)
            check_fit(kind, len(data), path)
            if reason := badly_led(kind, data):
                raise MalformedMessage(reason, path=path)
            return data
        case Nested():
            return load_record(kind.record, plain, form, path)
        case Array():
            if type(plain) is not list:
                malformed(kind, plain, path)
            check_fit(kind, len(plain), path)
            return kind.python([load(kind.element, inner, form, f"{path}[{i}]") for i, inner in enumerate(plain)])
        case Boolean():
            return plain if type(plain) is bool else malformed(kind, plain, path)
        case Float():
            return load_float(kind, plain, path)
        case Opaque():
            return load_opaque(kind, plain, form, path)
        case Choice():
            return load_choice(kind, load(kind.base, plain, form, path), path)
        case Maybe():
            return None if plain is None else load(kind.inner, plain, form, path)
        case Sized():
            return load(kind.inner, plain, form, path)
        case Table():
            return _load_table(kind, plain, form, path)
        case Tagged() | Either():
            return _load_union(kind, plain, form, path)
        case Anything():
            reason = check_anything(plain, form)
            if reason:
                raise MalformedMessage(reason, path=path)
            return unspelled(plain, path) if form.binary else plain
        case Scalar():
            if form.hexed and kind.parse is not None:
                return kind.from_text(load(Text(), plain, form, path), path)
            return kind.from_wire(load(kind.inner, plain, form, path), path)
        case Limited():
            value = load(kind.inner, plain, form, path)
            kind.check_received(value, path)
            return value
    raise NotImplementedError(kind)


def _load_union(kind: Tagged | Either, plain: Any, form: Form, path: str) -> Any:
    from oddwire.schema.union_trees import load_either, load_tagged  # imported late: few need it

    if isinstance(kind, Tagged):
        return load_tagged(kind, plain, form, path, load, check_anything)
    return load_either(kind, plain, form, path, load)


def _load_table(kind: Table, plain: Any, form: Form, path: str) -> dict[str, Any]:
    if type(plain) is not dict:
        malformed(kind, plain, path)
    check_fit(kind, len(plain), path)
    for key in plain:
        if type(key) is not str:
            raise MalformedMessage(f"keys should be str, not {name_of(key)}", path=path)
        check_surrogates(key, form, path)
    return {key: load(kind.value, inner, form, path_of_key(path, key)) for key, inner in plain.items()}
