"""Generic subtypes and message bases: ``class Page(Generic[T])`` has fields once it is ``Page[Order]``.

The class statement's fields are kept as a template. ``Page[Order]`` makes a subclass with them, once, where ``Order``
has taken the place of ``T``: all that follows, codecs among it, sees ordinary classes. Imported by the first generic
class.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

from oddwire.errors import SchemaError
from oddwire.schema import fields
from oddwire.schema.annotations import is_generic, show_annotation
from oddwire.schema.class_fields import field_of
from oddwire.schema.class_records import Field
from oddwire.schema.evaluation import Itself, annotations_of, evaluated

__all__ = ["Template", "parametrized", "prepare"]

_Contents = dict[str, tuple[Any, Any]]  # of a class statement: annotation and default of each field


class Template:
    """The fields of a generic class, those of generic bases first, and the classes made of it.

    ``complete`` is what makes such a class a subtype; None for bases of messages.
    """

    def __init__(self, contents: _Contents) -> None:
        self.contents = contents
        self.complete: Callable[[type], type] | None = None
        self.made: dict[tuple[Any, ...], type] = {}


def prepare(
    where: str,
    bases: tuple[type, ...],
    namespace: dict[str, Any],
    inherited: tuple[Field, ...],
    local_names: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the namespace of a generic class, whose fields have moved to a `Template`. Raises `SchemaError`."""
    contents = _inherited(where, bases, namespace)
    known = {field.name for field in inherited}
    visible = {**local_names, **{one.__name__: one for one in namespace.get("__type_params__", ())}}
    own: set[str] = set()
    for name, annotation in annotations_of(namespace).items():
        try:
            found = _evaluated(annotation, namespace, visible)
            if found is ClassVar or get_origin(found) is ClassVar:
                continue
            if name in contents or name in known:
                raise SchemaError("is a field of the base class already; a generic class declares it once")
            if not _open(found):
                field_of(
                    name, found, namespace, visible, Itself(namespace)
                )  # its errors should not wait for the types of others
        except SchemaError as error:
            raise SchemaError(f"{where}.{name}: {error}") from None
        contents[name] = (found, namespace.get(name, MISSING))
        own.add(name)
    for name, value in namespace.items():
        if isinstance(value, fields.FieldSpec) and name not in own:
            raise SchemaError(f"{where}.{name}: a field needs a type: {name}: u64 = field(...)")
    kept = {name: value for name, value in namespace.items() if name not in own}
    return {**kept, "__oddwire_generic__": Template(contents)}


def parametrized(cls: Any, arguments: Any) -> Any:
    """Return ``cls[arguments]``: a subclass, the same each time; for types that are still open, what typing has."""
    given = arguments if isinstance(arguments, tuple) else (arguments,)
    name = f"{cls.__qualname__}[{', '.join(map(show_annotation, given))}]"
    parameters = cls.__parameters__
    if len(given) != len(parameters):
        types = ", ".join(map(str, parameters))
        raise SchemaError(
            f"{cls.__module__}.{name}: should have {len(parameters)} types, for {types}, not {len(given)}"
        )
    if any(isinstance(one, str) for one in given):
        raise SchemaError(f"{cls.__module__}.{name}: should have the classes themselves in brackets, not their names")
    if any(map(_is_unmade, given)):
        raise SchemaError(
            f"{cls.__module__}.{name}: should have classes that are made already, not the one that is made"
        )
    if any(map(_open, given)):
        return cls.__class_getitem__(arguments)
    template: Template = vars(cls)["__oddwire_generic__"]
    if given not in template.made:
        template.made[given] = _make(cls, name, given, template)
    return template.made[given]


def _make(cls: Any, name: str, given: tuple[Any, ...], template: Template) -> type:
    types = dict(zip(cls.__parameters__, given, strict=True))
    contents = _substituted(template.contents, types)
    namespace = {name: default for name, (_, default) in contents.items() if default is not MISSING}
    namespace |= {
        "__module__": cls.__module__,
        "__qualname__": name,
        "__doc__": cls.__doc__,
        "__annotations__": {name: annotation for name, (annotation, _) in contents.items()},
        "__oddwire_arguments__": given,
    }
    made: type = type(cls)(name, (cls,), namespace, local_names={})
    copyreg.pickle(type(cls), _reduce)
    return made if template.complete is None else template.complete(made)


def _reduce(cls: type) -> str | tuple[Any, ...]:
    """Return how a class is pickled: by its name, unless it was made here and no module has it."""
    if "__oddwire_arguments__" not in vars(cls):
        return cls.__qualname__
    return parametrized, (cls.__bases__[0], vars(cls)["__oddwire_arguments__"])


def _evaluated(annotation: Any, namespace: dict[str, Any], local_names: Mapping[str, Any]) -> Any:
    itself = Itself(namespace)
    text = f"{annotation!r}: a generic class cannot be part of itself: declare one for each type"
    try:
        found = evaluated(annotation, namespace, local_names, itself)
    except SchemaError:
        if itself.record is not None:  # which has no parameters
            raise SchemaError(text) from None
        raise
    if _is_unmade(found):
        raise SchemaError(text)
    return found


def _is_unmade(annotation: Any) -> bool:
    """Return whether a type has the class in it that is being made, for which something else stands."""
    if hasattr(annotation, "__oddwire_itself__") and not hasattr(annotation, "__oddwire_fields__"):
        return True
    return any(map(_is_unmade, get_args(annotation)))


def _inherited(where: str, bases: tuple[type, ...], namespace: Mapping[str, Any]) -> _Contents:
    """Return the fields of generic bases, ``Page[T]``, with this class's parameters."""
    contents: _Contents = {}
    said = {get_origin(base): get_args(base) for base in namespace.get("__orig_bases__", bases)}
    for base in bases:
        if not is_generic(base):
            continue
        if base not in said:
            text = f"its base {base.__qualname__} is generic: write {base.__qualname__}[u64] say"
            raise SchemaError(f"{where}: {text}")
        types = dict(zip(base.__parameters__, said[base], strict=True))  # type: ignore[attr-defined]
        contents |= _substituted(vars(base)["__oddwire_generic__"].contents, types)
    return contents


def _substituted(contents: _Contents, types: Mapping[Any, Any]) -> _Contents:
    return {name: (_with_types(annotation, types), default) for name, (annotation, default) in contents.items()}


def _with_types(annotation: Any, types: Mapping[Any, Any]) -> Any:
    if isinstance(annotation, TypeVar):
        return types[annotation]
    if not _open(annotation):
        return annotation
    return annotation[tuple(types[one] for one in annotation.__parameters__)]


def _open(annotation: Any) -> bool:
    """Return whether a type has parameters that are not known yet."""
    if isinstance(annotation, TypeVar):
        return True
    return get_origin(annotation) not in (None, Generic) and bool(getattr(annotation, "__parameters__", ()))
