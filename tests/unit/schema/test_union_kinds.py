"""The kinds of unions: labels, tags, and which option a value has."""

import pickle

import pytest

from oddwire.schema import UnknownVariant, subtype, u8
from oddwire.schema.annotations import kind_of
from oddwire.schema.kinds import Anything, Boolean, Float, Integer, Maybe, Text
from oddwire.schema.union_kinds import Either, Tagged, Variant, python_classes, wire_class


@subtype
class One:
    number: u8


@subtype
class Two:
    number: u8


def variants(number):
    return tuple(Variant(i, One.__oddwire__) for i in range(number))


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        (Tagged((Variant(0, One.__oddwire__), Variant(1, Two.__oddwire__))), "One or Two"),
        (Tagged((Variant(0, One.__oddwire__),), unknown=True), "One or UnknownVariant"),
        (Either((Text(), Boolean())), "str or bool"),
        (Either((Text(), Boolean(), Float())), "str, bool or float"),
        (Maybe(Either((Text(), Boolean()))), "str or bool or None"),
    ],
)
def test_labels(kind, label):
    assert kind.label == label


def test_tags_in_errors():
    assert Tagged(variants(1)).tags == "0 (One)"
    assert Tagged(variants(3)).tags == "0 (One), 1 (One) or 2 (One)"
    assert Tagged(variants(15)).tags.endswith("10 (One), 11 (One), or one of 3 others")


def test_the_class_of_tags():
    assert Tagged(variants(1)).tag_class is int
    assert Tagged((Variant("a", One.__oddwire__),)).tag_class is str
    assert Tagged((), unknown=True).tag_class is None
    assert Tagged((), Integer("u8", 8), unknown=True).tag_class is int


def test_an_unknown_variant():
    unknown = UnknownVariant(7, b"\xff" * 50)
    assert repr(unknown) == f"UnknownVariant(tag=7, body={'ff' * 20}…(50 bytes))"
    assert repr(UnknownVariant(tag="a", body={"x": b"\1"})) == "UnknownVariant(tag='a', body={'x': 01})"
    assert unknown == UnknownVariant(tag=7, body=b"\xff" * 50) != UnknownVariant(8, b"\xff" * 50)
    assert hash(unknown) == hash(pickle.loads(pickle.dumps(unknown)))
    with pytest.raises(AttributeError):
        unknown.tag = 8


@pytest.mark.parametrize(
    ("annotation", "value", "chosen"),
    [
        (str | int | bool | float, "x", 0),
        (str | int | bool | float, 5, 1),
        (str | int | bool | float, True, 2),
        (str | int | bool | float, 5.0, 3),
        (str | int, True, None),
        (str | float, 5, 1),
        (str | float, True, None),
        (bytes | tuple[u8, ...], bytearray(b"x"), 0),
        (bytes | tuple[u8, ...], (1,), 1),
        (bytes | tuple[u8, ...], [1], None),
        (dict[str, u8] | int, {}, 0),
        (One | int, One(number=1), 0),
        (One | int, Two(number=1), None),
    ],
)
def test_options_for_values(annotation, value, chosen):
    kind = kind_of(annotation)
    assert kind.option_for(value) is (None if chosen is None else kind.options[chosen])


def test_options_of_trees():
    kind = kind_of(str | float | bytes)
    assert kind.option_of("x", hexed=False) is kind.options[0]
    assert kind.option_of(1, hexed=False) is kind.options[1]
    assert kind.option_of(True, hexed=False) is None
    assert kind.option_of(b"", hexed=False) is kind.options[2]
    assert kind.option_of(b"", hexed=True) is None
    assert kind.wrapped == {"bytes": kind.options[2]}
    assert kind_of(bytes | float).wrapped == {}


def test_kinds_that_no_union_has():
    assert wire_class(Anything(), hexed=False) is type(None)
    assert python_classes(Anything()) == ()
