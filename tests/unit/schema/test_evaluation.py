"""A class's own name in its annotations, of which the others are in test_classes.py."""

from typing import Annotated, Optional

import pytest

from oddwire.errors import SchemaError
from oddwire.schema import Message, flag, message, schema_of, subtype, u8
from oddwire.schema.evaluation import Itself, annotations_of, evaluated
from oddwire.schema.kinds import Array, Maybe, Nested

MODULE = __name__


def namespace(**annotations):
    return {"__annotations__": annotations, "__module__": MODULE, "__qualname__": "outer.<locals>.Node"}


@pytest.mark.parametrize(
    "annotation",
    [
        "tuple[Node, ...]",
        "Node | None",
        tuple["Node", ...],  # noqa: F821 - the class of `namespace`
        Optional["Node"],  # noqa: F821
        Annotated["tuple[Node, ...]", 3],  # noqa: F821
    ],
)
def test_the_name_stands_for_the_class(annotation):
    names = namespace(children=annotation)
    itself = Itself(names)
    evaluated(annotation, names, {"Node": int}, itself)
    assert itself.record is not None
    assert (itself.record.name, itself.record.qualified_name) == ("Node", f"{MODULE}.Node")


def test_nothing_is_made_where_the_name_is_not():
    names = namespace(a="u8", b=u8, c=tuple[u8, ...], d="Nodes")
    itself = Itself(names)
    for annotation in ("u8", u8, tuple[u8, ...]):
        evaluated(annotation, names, {}, itself)
        assert itself.record is None
    assert annotations_of(names) == names["__annotations__"]


def test_a_name_of_the_class_body_comes_first():
    names = namespace(children="Node") | {"Node": u8}
    assert evaluated("Node", names, {}, Itself(names)) == u8


def test_an_older_class_of_the_name_is_not_meant():
    def made():
        @subtype
        class Node:
            children: tuple["Node", ...] = ()
            following: Annotated["Node | None", flag(u8)] = None

        return Node

    Node = made()  # noqa: N806, F841 - as when the code of a notebook's cell is run again
    again = made()
    children, following = (field.kind for field in again.__oddwire__.fields)
    assert isinstance(children, Array)
    assert children.element == Nested(again.__oddwire__)
    assert isinstance(following, Maybe)
    assert following.inner == Nested(again.__oddwire__)
    assert again.__oddwire__.cls is again


def test_a_name_that_has_the_classs_in_it_is_another():
    @subtype
    class OrderLine:
        number: u8

    @message(0x8C01)
    class Order(Message):
        lines: "tuple[OrderLine, ...]"
        last: OrderLine

    assert not schema_of(Order).recursive


def test_what_cannot_be_evaluated():
    names = namespace(children="Node[")
    with pytest.raises(SchemaError, match=r"the annotation 'Node\[' cannot be evaluated"):
        evaluated("Node[", names, {}, Itself(names))


def test_other_classes_should_be_made_before():
    with pytest.raises(
        SchemaError,
        match=r"'tuple\[Second, ...\]' names 'Second', which is .*; of two classes in one another, one",
    ):

        @subtype
        class First:
            seconds: "tuple[Second, ...]"

    @subtype
    class Second:
        number: u8
