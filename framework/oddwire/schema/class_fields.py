"""A class statement's annotations and attributes, converted to fields; mistakes are `SchemaError`s."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import KW_ONLY, MISSING
from dataclasses import Field as DataclassField
from keyword import iskeyword
from types import ModuleType
from typing import Any, ClassVar, Generic, get_origin

from oddwire.errors import CodecError, SchemaError
from oddwire.records import replace
from oddwire.schema import fields, tree
from oddwire.schema.annotations import kind_of
from oddwire.schema.class_records import Field
from oddwire.schema.evaluation import Itself, annotations_of, evaluated
from oddwire.schema.forms import KEPT
from oddwire.schema.kinds import Kind
from oddwire.schema.markers import apply_count, apply_limits, apply_max_length, misplaced

__all__ = ["check_attributes", "field_of", "inherited_fields", "own_fields"]


def inherited_fields(where: str, bases: tuple[type, ...]) -> tuple[Field, ...]:
    """Return the fields of a class's bases. Raises `SchemaError` for a base that a message or subtype cannot have."""
    found: dict[str, Field] = {}
    for base in bases:
        found |= {field.name: field for field in getattr(base, "__oddwire_fields__", ())}
        for ancestor in base.__mro__[:-1]:
            if hasattr(ancestor, "__oddwire_fields__") or ancestor is Generic:  # written in C since Python 3.12
                continue
            if "__slots__" not in vars(ancestor) or inspect.get_annotations(ancestor):
                text = f"its base {ancestor.__qualname__} should be a message or subtype, or have __slots__ = ()"
                raise SchemaError(f"{where}: {text} and no fields")
            check_attributes(f"{where}: its base {ancestor.__qualname__}", vars(ancestor), set(), cached_only=True)
    return tuple(found.values())


def check_attributes(where: str, namespace: Mapping[str, Any], inherited: set[str], cached_only: bool = False) -> None:
    """Raise `SchemaError` for an attribute that is not a field and would not do what it looks like."""
    annotated = annotations_of(dict(namespace))
    for name, value in namespace.items():
        if type(value).__name__ == "cached_property":
            text = "there is no place to keep it, as instances have fields and nothing else: write @property"
            raise SchemaError(f"{where}.{name}: a cached_property cannot be: {text}")
        if name in annotated or name.startswith("_") or cached_only:
            continue
        if name in inherited:
            raise SchemaError(f"{where}.{name}: is a field of the base class already, and cannot be another thing")
        if not _is_useful(value):
            example = (
                f"{name}: str | None = None" if value is None else f"{name}: {type(value).__name__} = {value!r:.40}"
            )
            text = f"write '{example}' for a field, '{name}: ClassVar = ...' for what all instances share"
            raise SchemaError(f"{where}.{name}: has no type, so it is no field: {text}")


def _is_useful(value: object) -> bool:
    """Return whether an attribute without annotation is a legitimate class member: a method, an alias for a type."""
    if callable(value) or hasattr(type(value), "__get__") or isinstance(value, fields.FieldSpec | ModuleType):
        return True
    return get_origin(value) is not None or type(value).__module__ in ("types", "typing", "typing_extensions")


def own_fields(
    where: str,
    namespace: dict[str, Any],
    inherited: tuple[Field, ...],
    local_names: Mapping[str, Any],
    itself: Itself,
) -> tuple[Field, ...]:
    """Return the fields that a class statement declares. Raises `SchemaError` naming class and field."""
    made: list[Field] = []
    known = {field.name: field for field in inherited}
    names = set(known)
    keys = {field.key: field.name for field in inherited}
    for name, annotation in annotations_of(namespace).items():
        try:
            field = field_of(name, annotation, namespace, local_names, itself)
            if field is None:
                continue
            if name in known:
                made.append(_overridden(known[name], field, namespace.get(name)))
                continue
            if field.key in keys:
                raise SchemaError(f"the key {field.key!r} is that of {keys[field.key]!r} already")
        except SchemaError as error:
            raise SchemaError(f"{where}.{name}: {error}") from None
        made.append(field)
        names.add(name)
        keys[field.key] = name
    for name, value in namespace.items():
        if isinstance(value, fields.FieldSpec) and name not in names:
            raise SchemaError(f"{where}.{name}: a field needs a type: {name}: u64 = field(...)")
    return tuple(made)


def _overridden(known: Field, again: Field, given: object) -> Field:
    """Return a field of a base class with another default, as declared once more."""
    spec = given if isinstance(given, fields.FieldSpec) else fields.FieldSpec(MISSING, MISSING)
    same = again.kind == known.kind or (again.declared is None and again.kind == known.declared)
    if not same or again.required:
        text = "is a field of the base class already: a subclass may give it another default, and nothing else"
        raise SchemaError(f"{text}{'' if same else f', so its type should be that of the base, {known.kind.label}'}")
    for name, mine, theirs in (("tlv", spec.tlv, known.tlv), ("key", spec.key, known.key)):
        if mine not in (None, theirs):
            raise SchemaError(f"{name}={mine!r} should be {theirs!r}, as in the base class, or left out")
    found = replace(known, default=again.default, default_factory=again.default_factory)
    _check_default(found)
    return found


def field_of(
    name: str, annotation: Any, namespace: dict[str, Any], local_names: Mapping[str, Any], itself: Itself
) -> Field | None:
    """Return the field of an annotation, None if it is none. Raises `SchemaError`."""
    found = evaluated(annotation, namespace, local_names, itself)
    if found is ClassVar or get_origin(found) is ClassVar:
        return None
    if isinstance(found, fields.FieldSpec):
        raise SchemaError(f"the field hides the type of its name: write the annotation as a string, {name!r}")
    if name.startswith("_") or iskeyword(name):
        if found is KW_ONLY:
            raise SchemaError("all fields are keyword-only already: leave KW_ONLY away")
        raise SchemaError("a field's name should not start with an underscore, nor be a Python keyword")
    value_given = namespace.get(name, MISSING)
    if isinstance(value_given, DataclassField):
        raise SchemaError("dataclasses.field is for dataclasses: write oddwire.field(...)")
    if value_given is fields.field:
        raise SchemaError("field needs its parentheses: = field(default=..., tlv=...)")
    if place := misplaced(value_given):
        raise SchemaError(f"{place}, and not in place of a default")
    spec = value_given if isinstance(value_given, fields.FieldSpec) else fields.FieldSpec(value_given, MISSING)
    return _make_field(name, kind_of(found), spec)


def _make_field(name: str, declared: Kind, spec: fields.FieldSpec) -> Field:
    kind = declared
    if spec.count is not None:
        kind = apply_count(kind, spec.count)
    if spec.max_length is not None:
        kind = apply_max_length(kind, spec.max_length)
    if spec.limits is not fields.NO_LIMITS:
        kind = apply_limits(kind, spec.limits)
    if spec.tlv is not None and not (type(spec.tlv) is int and 0 <= spec.tlv < 1 << 64):
        raise SchemaError(f"tlv={spec.tlv!r} should be a number from 0 to 2**64 - 1")
    if spec.key is not None and not (isinstance(spec.key, str) and spec.key):
        raise SchemaError(f"key={spec.key!r} should be a string")
    if spec.key is not None and not spec.key.isascii():
        try:
            spec.key.encode()
        except UnicodeEncodeError:
            raise SchemaError(f"key={spec.key!r} should be a string that UTF-8 can hold") from None
    factory = None if spec.default_factory is MISSING else spec.default_factory
    if spec.default_factory is not MISSING and (spec.default is not MISSING or not callable(factory)):
        raise SchemaError("should have a default, or a default_factory that can be called, not both")
    if isinstance(spec.default, list | dict | set | bytearray):
        raise SchemaError(f"the default {spec.default!r} can change under its users: write field(default_factory=...)")
    own = None if kind is declared else declared
    field = Field(name, kind, spec.key or name, spec.default, factory, spec.tlv, own)
    if not field.required:
        _check_default(field)
    return field


def _check_default(field: Field) -> None:
    try:
        default = field.make_default()
    except Exception as error:  # an author's function may raise any error
        text = f"its default_factory, which takes no arguments, raised {type(error).__name__}: {error}"
        raise SchemaError(text) from error
    try:
        tree.dump(field.kind, default, KEPT)
    except CodecError as error:
        raise SchemaError(f"the default does not fit: {error}") from None
