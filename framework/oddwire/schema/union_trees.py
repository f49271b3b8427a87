"""Values of unions to and from trees, for `oddwire.schema.tree`, which does the others. Imported by the first union.

``dump``, ``load`` and ``refuse`` are the functions of that module: the last says why a plain object cannot be carried.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oddwire.errors import EncodeError, MalformedMessage, ValueOutOfRange
from oddwire.printable import represented
from oddwire.schema.class_records import Record
from oddwire.schema.forms import JSON, MSGPACK, Form
from oddwire.schema.kinds import Kind, Nested, Octets
from oddwire.schema.tree_values import check_anything, has_surrogates, spelled, unspelled
from oddwire.schema.union_kinds import Either, Tagged, UnknownVariant

__all__ = [
    "body_key",
    "carried_by",
    "check_unknown",
    "dump_either",
    "dump_tagged",
    "load_either",
    "load_tagged",
    "unknown_tag",
]

_Convert = Callable[[Kind, Any, Form, str], Any]
_Refuse = Callable[[object, Form], str]


# Tagged --------------------------------------------------------------------------------------------------------------


def dump_tagged(kind: Tagged, value: Any, form: Form, path: str, dump: _Convert, refuse: _Refuse) -> dict[str, Any]:
    """Check a value and return the map for it, the tag first."""
    variant = kind.by_class.get(type(value))
    if variant is not None:
        return {kind.key: variant.tag, **dump(Nested(variant.record), value, form, path)}
    check_unknown(kind, value, path)
    if form.bodies == "apart":
        if isinstance(value.body, bytes):
            return {kind.key: value.tag, body_key(kind): value.body.hex() if form.hexed else value.body}
        beside = {body_key(kind): value.body}
    else:
        beside = value.body
    if type(value.body) is not dict:
        text = f"of UnknownVariant should be a dict with {form.name}, not {type(value.body).__name__}"
        raise EncodeError(f"the body {text}", path=path)
    if kind.key in value.body:
        raise EncodeError(f"the body of UnknownVariant should have no key {kind.key!r}, the tag's", path=path)
    if reason := refuse(value.body, form):
        raise EncodeError(reason, path=path)
    if form.binary:
        shown = {key: spelled(inner) for key, inner in value.body.items()}
        beside = {body_key(kind): shown} if form.bodies == "apart" else shown
    return {kind.key: value.tag, **beside}


def load_tagged(kind: Tagged, plain: Any, form: Form, path: str, load: _Convert, refuse: _Refuse) -> Any:
    """Check a map and return the value for it."""
    if type(plain) is not dict:
        raise MalformedMessage(f"should be a map, not {_name(plain)}", path=path)
    where = f"{path}.{kind.key}"
    if kind.key not in plain:
        raise MalformedMessage(f"the tag is missing: {_expected(kind)}", path=where)
    tag = plain[kind.key]
    if type(tag) is not kind.tag_class and not (kind.tag_class is None and type(tag) in (int, str)):
        raise MalformedMessage(f"the tag {_expected(kind)}, not {_name(tag)}", path=where)
    variant = kind.by_tag.get(tag)
    if variant is not None:
        return load(Nested(variant.record), plain, form, path)
    if not kind.unknown:
        raise MalformedMessage(unknown_tag(kind, tag), path=where)
    if reason := _bad_tag(kind, tag):
        raise MalformedMessage(reason, path=where)
    body: Any = {key: inner for key, inner in plain.items() if key != kind.key}
    if form.bodies == "apart":
        body = body.get(body_key(kind))
        if type(body) is not dict:
            return UnknownVariant(tag, load(Octets(), body, form, f"{path}.{body_key(kind)}"))
    if reason := refuse(body, form):
        raise MalformedMessage(reason, path=path)
    if form.binary:
        body = {key: unspelled(inner, path) for key, inner in body.items()}
    return UnknownVariant(tag, body)


def check_unknown(kind: Tagged, value: Any, path: str) -> None:
    """Check that a value to send is an `UnknownVariant` that the union may have. Its body remains to be checked."""
    if type(value) is not UnknownVariant or not kind.unknown:
        raise EncodeError(f"should be {kind.label}, not {_name(value)}", path=path)
    tag: Any = value.tag
    if type(tag) is not kind.tag_class and not (kind.tag_class is None and type(tag) in (int, str)):
        should = "str" if kind.tag_class is str else "int" if kind.tag_class is int else "int or str"
        raise EncodeError(f"the tag of UnknownVariant should be {should}, not {_name(tag)}", path=path)
    if tag in kind.by_tag:
        name = kind.by_tag[tag].record.name
        raise ValueOutOfRange(
            f"UnknownVariant has the tag {represented(tag)}, which is that of {name}: send one", path=path
        )
    if reason := _bad_tag(kind, tag):
        raise ValueOutOfRange(reason, path=path)


def carried_by(codec: str, value: object) -> str:
    """Return why a built-in codec cannot carry an `UnknownVariant` in a value; the empty string if it can."""
    if type(value) is UnknownVariant:
        if codec == "bolt":
            return "" if type(value.body) is bytes else _wrong_body(value, "bytes", codec)
        if type(value.body) is not dict:
            return _wrong_body(value, "a dict", codec)
        return check_anything(value.body, JSON if codec == "json" else MSGPACK)
    record = getattr(type(value), "__oddwire__", None)
    if isinstance(record, Record):
        inner = [getattr(value, field.name) for field in record.fields]
    elif isinstance(value, dict):
        inner = [*value.values()]
    else:
        inner = [*value] if isinstance(value, list | tuple) else []
    return next(filter(None, (carried_by(codec, one) for one in inner)), "")


def _wrong_body(value: UnknownVariant, should: str, codec: str) -> str:
    return f"the body of UnknownVariant should be {should} with {codec}, not {type(value.body).__name__}"


def unknown_tag(kind: Tagged, tag: int | str) -> str:
    """Return the text of the error for a tag that no member has."""
    return f"the tag {_expected(kind)}, not {represented(tag)}"


def body_key(kind: Tagged) -> str:
    """Return the key of the whole body of an `UnknownVariant`, where trees have it apart."""
    return "body" if kind.key != "body" else "data"


def _expected(kind: Tagged) -> str:
    if kind.variants:
        return f"should be {kind.tags}" + (", or another" if kind.unknown else "")
    return "should be an integer" if kind.tag_class is int else "should be an integer or a text"


def _bad_tag(kind: Tagged, tag: int | str) -> str:
    integer = kind.number
    if isinstance(tag, str):
        return "the tag holds a lone surrogate" if has_surrogates(tag) else ""
    if integer.low <= tag <= integer.high:
        return ""
    return f"the tag should be {integer.low} to {integer.high}, as {integer.name} holds it, not {represented(tag)}"


# Either --------------------------------------------------------------------------------------------------------------


def dump_either(kind: Either, value: Any, form: Form, path: str, dump: _Convert) -> Any:
    """Check a value and return the plain object for it."""
    option = kind.option_for(value)
    if option is None:
        raise EncodeError(f"should be {kind.label}, not {_name(value)}", path=path)
    plain = dump(option, value, form, path)
    if form.hexed and (option in kind.wrapped.values() or kind.labelled_in(plain) is not None):
        return {option.label: plain}
    return plain


def load_either(kind: Either, plain: Any, form: Form, path: str, load: _Convert) -> Any:
    """Check a plain object and return the value for it."""
    if form.hexed and (option := kind.labelled_in(plain)) is not None:
        return load(option, plain[option.label], form, path)
    option = kind.option_of(plain, hexed=form.hexed)
    if option is None:
        raise MalformedMessage(f"should be {kind.label}, not {_name(plain)}", path=path)
    return load(option, plain, form, path)


def _name(value: object) -> str:
    return "nil" if value is None else type(value).__name__
