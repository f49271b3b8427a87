"""Kinds that stand around another kind: `Scalar`, a Python object that it carries, and `Limited`, fewer of its values.

Codecs write and read the inner kind as if it stood there alone, and convert or check its value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from oddwire.errors import EncodeError, MalformedMessage, ValueOutOfRange
from oddwire.printable import represented
from oddwire.records import FrozenRecord
from oddwire.schema.kinds import Array, Count, Kind, Maybe, Octets, Sized, Table, Text

__all__ = ["Limited", "Limits", "Scalar", "Validator", "carrier", "unlimited"]


class Scalar(Kind):
    """A ``python`` object that travels as a value of the kind ``inner``: what `scalar` makes, `datetime`, `Decimal`.

    ``load`` makes the object from the inner kind's value, ``dump`` returns that value. ``parse`` and ``show``, if
    there are any, do the same for text, in JSON and on the command line; otherwise the inner kind's text is used.
    ``hint`` describes that text. ``not_bolt`` is why BOLT's wire types cannot carry it, empty if they can.
    """

    name: str
    inner: Kind
    python: type
    load: Callable[[Any], Any]
    dump: Callable[[Any], Any]
    parse: Callable[[str], Any] | None = None
    show: Callable[[Any], str] | None = None
    hint: str = ""
    not_bolt: str = ""

    @property
    def label(self) -> str:
        """The name for errors."""
        return self.name

    def from_wire(self, wire: Any, path: str) -> Any:
        """Return the object for a received value of the inner kind. Raises `MalformedMessage`."""
        return self._received(self.load, wire, path)

    def from_text(self, text: str, path: str) -> Any:
        """Return the object for a text, with ``parse``. Raises `MalformedMessage`."""
        if self.parse is None:
            raise NotImplementedError(self.name)
        return self._received(self.parse, text, path)

    def to_wire(self, value: Any, path: str) -> Any:
        """Return the inner kind's value, not yet checked, for an object to send. Raises `EncodeError`."""
        return self._sent(self.dump, value, path)

    def to_text(self, value: Any, path: str) -> Any:
        """Return the text for an object to send, with ``show``. Raises `EncodeError`."""
        if self.show is None:
            raise NotImplementedError(self.name)
        return self._sent(self.show, value, path)

    def _received(self, make: Callable[[Any], Any], wire: Any, path: str) -> Any:
        try:
            return make(wire)
        except Exception as error:  # an author's function may raise any error, and bytes of a peer documented ones only
            raise MalformedMessage(_reason(error, f"{self.name}: {_name(make)}"), path=path) from None

    def _sent(self, make: Callable[[Any], Any], value: Any, path: str) -> Any:
        is_other = isinstance(value, bool) and self.python is not bool
        if not isinstance(value, self.python) or is_other:
            raise EncodeError(f"should be {self.name}, not {_type_name(value)}", path=path)
        try:
            return make(value)
        except Exception as error:
            raise ValueOutOfRange(_reason(error, f"{self.name}: {_name(make)}"), path=path) from None


class Limits(FrozenRecord):
    """What a value should be besides its kind: the constraints of `field`."""

    ge: Any = None
    gt: Any = None
    le: Any = None
    lt: Any = None
    length: tuple[int, int] | None = None
    pattern: str | None = None

    def __bool__(self) -> bool:
        return any(value is not None for value in self._values())

    @property
    def bounds(self) -> dict[str, Any]:
        """The bounds that are given, by the name of their argument."""
        return {name: getattr(self, name) for name in _COMPARISONS if getattr(self, name) is not None}

    def describe(self, unit: str = "") -> str:
        """Return the limits in words: ``at least 1, below 10``."""
        words = [f"{_COMPARISONS[name][0]} {bound}" for name, bound in self.bounds.items()]
        if self.length is not None:
            words.append(f"{_span(self.length)} {unit}")
        if self.pattern is not None:
            words.append(f"like {self.pattern}")
        return ", ".join(words)


# An argument of `field`: its words, and the operator of a value that is right.
_COMPARISONS: Final = {"ge": ("at least", ">="), "gt": ("above", ">"), "le": ("at most", "<="), "lt": ("below", "<")}


class Limited(Kind):
    """A value of the kind ``inner`` that is within ``limits``."""

    inner: Kind
    limits: Limits

    def __post_init__(self) -> None:
        pattern = self.limits.pattern
        vars(self)["_matches"] = None if pattern is None else re.compile(pattern).fullmatch

    @property
    def label(self) -> str:
        """The name for errors."""
        return self.inner.label

    @property
    def count(self) -> Count | None:
        """The inner kind's count."""
        return getattr(self.inner, "count", None)

    @property
    def unit(self) -> str:
        """What ``length`` counts."""
        units: dict[type[Kind], str] = {Octets: "bytes", Text: "characters", Array: "elements", Table: "keys"}
        return units.get(type(unlimited(self.inner)), "")

    @property
    def compares_objects(self) -> bool:
        """Whether bounds are compared with objects of a scalar's class, which may raise any error, as NaN's do."""
        return bool(self.limits.bounds) and isinstance(unlimited(self.inner), Scalar)

    def conditions(self, name: str, bind: Callable[[object, str], str]) -> str:
        """Return a Python expression of whether the value called ``name``, of the inner kind, is within the limits.

        ``bind(value, hint)`` returns a name for an object that the expression refers to.
        """
        limits = self.limits
        made = []
        for argument, bound in limits.bounds.items():
            written = repr(bound) if type(bound) is int else bind(bound, argument)
            made.append(f"{name} {_COMPARISONS[argument][1]} {written}")
        if limits.length is not None:
            low, high = limits.length
            made.append(f"len({name}) == {low}" if low == high else f"{low} <= len({name}) <= {high}")
        if limits.pattern is not None:
            made.append(f"{bind(vars(self)['_matches'], 'matches')}({name})")
        return " and ".join(made)

    def refuse(self, value: Any) -> str:
        """Return what is wrong with a value of the inner kind; the empty string if it is within the limits."""
        limits = self.limits
        for argument, bound in limits.bounds.items():
            words, operator = _COMPARISONS[argument]
            try:
                fits = bool(_OPERATORS[operator](value, bound))
            except Exception:  # what cannot be compared, Decimal("NaN") for one, is not within the bounds
                fits = False
            if not fits:
                return f"{self.label} should be {words} {bound}, not {represented(value, 60, str)}"
        if limits.length is not None and not limits.length[0] <= len(value) <= limits.length[1]:
            return f"{self.label} should be {_span(limits.length)} {self.unit}, not {len(value)}"
        if limits.pattern is not None and not vars(self)["_matches"](value):
            return f"{self.label} should be like {limits.pattern}, not {represented(value)}"
        return ""

    def check_received(self, value: Any, path: str) -> None:
        """Check a received value. Raises `MalformedMessage`."""
        if reason := self.refuse(value):
            raise MalformedMessage(reason, path=path)

    def check_sent(self, value: Any, path: str) -> None:
        """Check a value to send, which the inner kind accepts. Raises `ValueOutOfRange`."""
        if reason := self.refuse(value):
            raise ValueOutOfRange(reason, path=path)


_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    ">=": lambda value, bound: value >= bound,
    ">": lambda value, bound: value > bound,
    "<=": lambda value, bound: value <= bound,
    "<": lambda value, bound: value < bound,
}


def unlimited(kind: Kind) -> Kind:
    """Return a kind without its limits."""
    while isinstance(kind, Limited):
        kind = kind.inner
    return kind


def carrier(kind: Kind) -> Kind:
    """Return the kind that a value has on the wire: without None, sizes, limits and what scalars make of it."""
    while isinstance(kind, Maybe | Sized | Limited | Scalar):
        kind = kind.inner
    return kind


class Validator(FrozenRecord):
    """A method under `validates`: its name, the field that it checks, empty for the whole, and the function."""

    name: str
    field: str
    function: Callable[..., Any]

    def path(self, path: str) -> str:
        """Return the path of what is checked, in an instance at ``path``."""
        return f"{path}.{self.field}" if self.field else path

    def check_received(self, instance: Any, path: str) -> None:
        """Check a received instance. Raises `MalformedMessage`."""
        if reason := self._refuse(instance):
            raise MalformedMessage(reason, path=self.path(path))

    def check_sent(self, instance: Any, path: str) -> None:
        """Check an instance to send, whose fields have been checked. Raises `ValueOutOfRange`."""
        if reason := self._refuse(instance):
            raise ValueOutOfRange(reason, path=self.path(path))

    def _refuse(self, instance: Any) -> str:
        arguments = (getattr(instance, self.field),) if self.field else ()
        try:
            self.function(instance, *arguments)
        except Exception as error:  # an author's method may raise any error, and bytes of a peer documented ones only
            return _reason(error, self.name)
        return ""


def _reason(error: Exception, where: str) -> str:
    """Return the text of an error that a function of an author raised: its own words if it is a `ValueError`."""
    said = f"{error!s:.200}"
    if isinstance(error, ValueError) and said:
        return said
    return f"{where} raised {type(error).__name__}" + (f": {said}" if said else "")


def _span(length: tuple[int, int]) -> str:
    low, high = length
    return str(low) if low == high else f"{low} to {high}"


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or type(function).__name__


def _type_name(value: object) -> str:
    return "nil" if value is None else type(value).__name__
