"""oddwire.records."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from functools import cached_property
from types import MappingProxyType

import pytest

from oddwire.records import FrozenRecord, replace


class Base(FrozenRecord):
    """Base of the others."""

    name: str


class Size(Base):
    bytes_: int
    limit: int | None = None


class Twin(Base):
    bytes_: int
    limit: int | None = None


class Named(FrozenRecord, kw_only=True):
    low: int
    high: int = 9

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low should be at most {self.high}, not {self.low}")


class Scoped(Base, hidden=("scope",)):
    scope: Mapping[str, int] = MappingProxyType({})


class Sides(FrozenRecord):
    length: int

    @cached_property
    def area(self) -> int:
        return self.length**2


def test_fields_are_given_in_order_or_by_name() -> None:
    assert Size("a", 1) == Size(name="a", bytes_=1, limit=None) == Size("a", bytes_=1)
    assert Size("a", 1, 2).limit == 2
    assert Named(low=3).high == 9


def test_equal_is_what_has_one_class_and_equal_fields() -> None:
    assert Size("a", 1) != Size("a", 2)
    assert Size("a", 1) != Twin("a", 1)
    assert hash(Size("a", 1)) == hash(Size("a", 1, None))
    assert len({Size("a", 1), Size("a", 1), Twin("a", 1)}) == 2


def test_nothing_changes() -> None:
    size = Size("a", 1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to 'limit': a Size does not change"):
        size.limit = 3  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError, match="cannot delete 'name'"):
        del size.name
    assert replace(size, limit=3) == Size("a", 1, 3)
    assert size == Size("a", 1)
    assert copy.deepcopy(size) == pickle.loads(pickle.dumps(size)) == size


def test_shows_its_fields() -> None:
    assert repr(Size("a", 1)) == "Size(name='a', bytes_=1, limit=None)"


def test_hidden_fields_do_not_count() -> None:
    assert Scoped("a", {"b": 1}) == Scoped("a")
    assert hash(Scoped("a", {"b": 1})) == hash(Scoped("a"))
    assert repr(Scoped("a", {"b": 1})) == "Scoped(name='a')"
    assert replace(Scoped("a", {"b": 1}), name="c").scope == {"b": 1}


def test_matches_patterns() -> None:
    match Size("a", 1):
        case Size("a", limit=None, bytes_=found):
            assert found == 1
        case _:
            pytest.fail("should match")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Size("a", 1, 2, 3), "Size takes 3 positional arguments, not 4"),
        (lambda: Size("a", name="b", bytes_=1), "Size is given name twice"),
        (lambda: Size("a"), "Size needs a value for bytes_"),
        (lambda: Size("a", limit=1), "Size needs a value for bytes_"),
        (lambda: Size("a", 1, 2, lim=1), "Size has no field 'lim'; it has name, bytes_, limit"),
        (lambda: Named(1), "Named takes 0 positional arguments, not 1"),
        (lambda: replace(Named(low=1), lo=2), "Named has no field 'lo'"),
    ],
)
def test_refuses_what_does_not_fit(make, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        make()


def test_a_copy_works_out_anew_what_was_worked_out() -> None:
    sides = Sides(2)
    assert sides.area == 4
    assert replace(sides, length=3).area == 9


def test_a_copy_is_checked_as_well() -> None:
    with pytest.raises(ValueError, match="low should be at most 9, not 10"):
        replace(Named(low=1), low=10)
