"""`validates`: methods of messages and subtypes that check what is sent and what has come, where a type cannot."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, Final, TypeVar, overload

from oddwire.errors import SchemaError
from oddwire.schema.class_records import Field
from oddwire.schema.value_kinds import Validator

__all__ = ["MARK", "validates", "validators_of"]

F = TypeVar("F", bound=Callable[..., object])

MARK: Final = "__oddwire_validates__"
"""The attribute of a method under `validates`: the name of its field, empty for the whole."""


@overload
def validates(what: str, /) -> Callable[[F], F]: ...
@overload
def validates(what: F, /) -> F: ...
def validates(what: Any, /) -> Any:
    """Make a method check one field, ``@validates("fee")``, or a whole instance, ``@validates``.

    The method of a message or subtype takes the field's value, or nothing but ``self``, and raises `ValueError` in
    words that say what would be right: ``raise ValueError("should be above the minimum")``. It runs after all
    fields have been checked by their types: when an instance is sent, where its error becomes a `ValueOutOfRange`, and
    when one has come, a `MalformedMessage` with the path of the field or instance, and the offset. Any other error it
    raises is reported so, too, naming the method. Making an instance does not run it.

    Subclasses inherit it, and may override it. Raises `SchemaError`, some of them when the class is made.
    """
    if isinstance(what, str):

        def decorate(method: F) -> F:
            _mark(method, what)
            return method

        return decorate
    _mark(what, "")
    return what


def validators_of(cls: type, marked: Iterable[str], fields: Iterable[Field]) -> tuple[Validator, ...]:
    """Return the validators of a class: its methods called ``marked``, those of base classes first."""
    names = [field.name for field in fields]
    found = []
    for name in marked:
        where = f"{cls.__module__}.{cls.__qualname__}.{name}"
        function = getattr(cls, name)
        methods = (vars(base).get(name) for base in cls.__mro__)
        field: str = next(getattr(method, MARK) for method in methods if hasattr(method, MARK))
        if not isinstance(function, FunctionType) or inspect.iscoroutinefunction(function):
            raise SchemaError(f"{where}: what @validates decorates should be a method, neither async nor static")
        if field and field not in names:
            has = ", ".join(names) or "none"
            raise SchemaError(f"{where}: there is no field {field!r} to validate; there are {has}")
        try:
            inspect.signature(function).bind(*(None,) * (2 if field else 1))
        except TypeError:
            takes, decorator = ("(self, value)", f"@validates({field!r})") if field else ("(self)", "@validates")
            raise SchemaError(f"{where}: should take {takes}, as {decorator} calls it") from None
        found.append(Validator(name, field, function))
    return tuple(found)


def _mark(method: Any, field: str) -> None:
    if not isinstance(method, FunctionType):
        text = "the name of a field, @validates('fee'), or nothing, and stands right above a method"
        raise SchemaError(f"validates takes {text}, not {method!r:.100}")
    setattr(method, MARK, field)
