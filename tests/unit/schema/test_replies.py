"""`@message(replies=, match=)`: what a class says of its replies, checked when it is made."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal, Union

import pytest

from oddwire.errors import SchemaError
from oddwire.proto.keys import NodeId
from oddwire.schema import (
    Message,
    channel_id,
    declare,
    field,
    fixed,
    message,
    point,
    s8,
    scalar,
    schema_of,
    sha256,
    short_channel_id,
    subtype,
    u8,
    u16,
    u64,
)
from oddwire.schema.annotations import kind_of
from oddwire.schema.replies import can_be_equal


@message(0x8D41)
class Agreement(Message):
    swap_id: bytes
    fee: u64


@message(0x8D43)
class Cancel(Message):
    swap_id: bytes | None = None


@message(0x8D45, replies=(Agreement, Cancel), match="swap_id")
class Request(Message):
    swap_id: bytes


@message(0x8D47)
class Other(Message):
    swap: bytes


class Colour(Enum):
    RED = 1


class Number(IntEnum):
    ONE = 1


class Name(StrEnum):
    ANN = "ann"


@subtype
class Pair:
    left: u8


@subtype
class Twin:
    left: u8


def test_what_is_declared_is_in_the_schema():
    schema = schema_of(Request)
    assert schema.replies == (Agreement, Cancel)
    assert schema.match == "swap_id"
    assert (schema_of(Agreement).replies, schema_of(Agreement).match) == ((), None)


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        (Agreement, (Agreement,)),
        (Agreement | Cancel, (Agreement, Cancel)),
        (Union[Cancel, Agreement], (Cancel, Agreement)),  # noqa: UP007 - what older code writes
        ([Cancel], (Cancel,)),
    ],
)
def test_replies_are_one_class_a_union_or_several(replies, expected):
    @message(0x8D49, replies=replies)
    class Asking(Message):
        pass

    assert schema_of(Asking).replies == expected
    assert schema_of(Asking).match is None


def test_a_subclass_declares_its_own():
    @message(0x8D4B)
    class Next(Request):
        pass

    assert schema_of(Next).replies == ()


def test_messages_of_the_bolts_may_declare_them_too():
    class Ours(Message):
        swap_id: bytes

    assert schema_of(declare(Ours, 7, codec="msgpack", replies=Agreement, match="swap_id")).replies == (Agreement,)


def test_match_without_replies_is_for_what_is_asked_for_elsewhere():
    @message(0x8D4D, match="swap_id")
    class Asking(Message):
        swap_id: bytes

    assert schema_of(Asking).match == "swap_id"


@pytest.mark.parametrize(
    ("replies", "match", "text"),
    [
        ((), None, "should name a message class"),
        ("Agreement", None, "'Agreement' should be the class itself, declared above this one, not its name"),
        (("Agreement",), None, "'Agreement' should be the class itself, declared above this one, not its name"),
        ((Agreement, 7), None, "should be message classes, (Quote, NoQuote) say, not 7"),
        (7, None, "should be message classes, (Quote, NoQuote) say, not 7"),
        ((Agreement, int), None, "builtins.int is not a message"),
        ((Agreement, Message), None, "oddwire.schema.message.Message is not a message: decorate it"),
        ((Agreement, Cancel, Agreement), None, f"names {__name__}.Agreement twice"),
        (Agreement, "nonce", "Asking has no field 'nonce'; it has swap_id, number, parts"),
        (Other, "swap_id", f"its reply {__name__}.Other has no field 'swap_id'; it has swap"),
        (Agreement, "number", f"its reply {__name__}.Agreement has no field 'number'; it has swap_id, fee"),
        (
            Agreement,
            "parts",
            "should be a single value that is compared exactly, such as an integer, a string or bytes",
        ),
        (Agreement, lambda reply: True, "should be the name of a field; a function goes to request(..., match=)"),
    ],
)
def test_what_cannot_be_is_refused(replies, match, text):
    with pytest.raises(SchemaError) as caught:

        @message(0x8D4F, replies=replies, match=match)
        class Asking(Message):
            swap_id: bytes
            number: int
            parts: tuple[int, ...]

    assert text in str(caught.value)
    assert str(caught.value).startswith(f"{__name__}.test_what_cannot_be_is_refused.<locals>.Asking, @message(..., ")


def test_fields_that_are_never_equal_are_refused():
    with pytest.raises(SchemaError, match=r"is u64 in Asking and bytes in .*Agreement: these are never equal"):

        @message(0x8D4F, replies=Agreement, match="swap_id")
        class Asking(Message):
            swap_id: u64


SAT = scalar("sat", python=int, wire=u64, load=abs)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (u8, u64, True),
        (int, u16, True),
        (Annotated[int, s8.__metadata__[0]], u8, True),
        (int, str, False),
        (int, bool, False),
        (int, float, False),
        (float, float, True),
        (bool, bool, True),
        (str, str, True),
        (str, bytes, False),
        (bytes, sha256, True),
        (sha256, channel_id, True),
        (sha256, Annotated[bytes, fixed(8)], False),
        (point, point, True),
        (point, bytes, False),
        (point, short_channel_id, False),
        (str | None, str, True),
        (bytes | None, bytes | None, True),
        (Any, int, True),
        (bytes, Any, True),
        (Colour, Colour, True),
        (Colour, int, False),
        (int, Colour, False),
        (Number, u8, True),
        (u8, Number, True),
        (Name, str, True),
        (Name, int, False),
        (Colour, Number, False),
        (Literal["ann"], Name, True),
        (Literal["ann"], Literal["bob"], False),
        (Literal["ann"], bytes, False),
        (Pair, Pair, True),
        (Pair, Twin, False),
        (Pair, int, False),
        (tuple[u8, ...], tuple[int, ...], True),
        (Sequence[u8], tuple[str, ...], False),
        (dict[str, int], dict[str, int], True),
        (Annotated[u8, field(ge=1)], u64, True),
        (Annotated[u8, field(ge=1)] | None, str, False),
        (NodeId, NodeId, True),
        (NodeId, point, False),
        (NodeId, bytes, True),
        (NodeId, str, False),
        (SAT, u64, True),
        (SAT, str, False),
        (SAT, SAT, True),
        (SAT, Annotated[datetime, u64], False),
        (datetime, Annotated[datetime, u64], True),
        (datetime, Decimal, False),
        (Decimal, Any, True),
        (Decimal, Pair, False),
    ],
)
def test_kinds_that_can_be_equal(one, other, expected):
    assert can_be_equal(kind_of(one), kind_of(other)) is expected
    assert can_be_equal(kind_of(other), kind_of(one)) is expected
