"""`FrozenRecord`, the base of oddwire's small immutable records.

It does what ``@dataclass(frozen=True)`` does at a lower cost: a dataclass generates and compiles half a dozen functions
per class, a quarter of a millisecond, and a node waits for the dozens of classes of each plugin that it starts. Here
all classes share their functions.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import FrozenInstanceError
from typing import Any, ClassVar, TypeVar, dataclass_transform

__all__ = ["FrozenRecord", "replace"]

V = TypeVar("V", bound="FrozenRecord")


@dataclass_transform(frozen_default=True)
class FrozenRecord:
    """An immutable record: the annotations of a subclass are its fields, assigned values their defaults.

    Fields are passed by position or by name, those of a base class first; with ``kw_only`` by name only. Two records
    are equal if their classes are the same and their fields are equal, except ``hidden`` fields, which ``repr`` leaves
    out as well. `replace` makes a changed copy. A subclass may check its fields in ``__post_init__``.
    """

    __match_args__: ClassVar[tuple[str, ...]] = ()
    _fields: ClassVar[tuple[str, ...]] = ()
    _shown: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, *, kw_only: bool = False, hidden: Collection[str] = ()) -> None:
        cls._fields = tuple(dict.fromkeys((*cls._fields, *vars(cls).get("__annotations__", ()))))
        cls._shown = tuple(name for name in cls._fields if name not in hidden)
        cls.__match_args__ = () if kw_only else cls._fields  # type: ignore[misc] # mypy infers another type

    def __init__(self, *values: Any, **named: Any) -> None:
        cls = type(self)
        if len(values) > len(cls.__match_args__):
            raise TypeError(f"{cls.__name__} takes {len(cls.__match_args__)} positional arguments, not {len(values)}")
        fields = vars(self)
        fields.update(zip(cls.__match_args__, values, strict=False))
        if not named.keys().isdisjoint(fields):
            raise TypeError(f"{cls.__name__} is given {', '.join(sorted(named.keys() & fields))} twice")
        fields.update(named)
        if len(fields) < len(cls._fields) or named:
            unknown = [name for name in named if name not in cls._fields]
            if unknown:
                raise TypeError(f"{cls.__name__} has no field {unknown[0]!r}; it has {', '.join(cls._fields)}")
            missing = [name for name in cls._fields if name not in fields and not hasattr(cls, name)]
            if missing:
                raise TypeError(f"{cls.__name__} needs a value for {', '.join(missing)}")
        self.__post_init__()

    def __post_init__(self) -> None:
        """Check the fields; by default, nothing."""

    def _values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in self._shown])

    def __replace__(self: V, /, **changes: Any) -> V:
        return type(self)(**{**{name: getattr(self, name) for name in self._fields}, **changes})

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to {name!r}: a {type(self).__name__} does not change")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete {name!r}: a {type(self).__name__} does not change")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self) or not isinstance(other, FrozenRecord):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._shown)
        return f"{type(self).__qualname__}({fields})"


def replace(value: V, /, **changes: Any) -> V:
    """Return a copy with some fields changed. Raises `TypeError` for a field it does not have."""
    return value.__replace__(**changes)
