from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NewType, Optional, Union

import pytest

from oddwire.app.declarations.annotations import alternatives, evaluate, reader_of
from oddwire.proto.keys import NodeId, PublicKey, ShortChannelId
from oddwire.schema import u16

if TYPE_CHECKING:
    from somewhere import Unknown

G = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


class Side(IntEnum):
    HOLD = 0
    BUY = 1


class Unit(StrEnum):
    SATS = "sat"
    MSATS = "msat"


class Even:
    def __init__(self, text: str) -> None:
        self.number = int(text)
        if self.number % 2:
            raise ValueError(f"should be even, not {text}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Even) and self.number == other.number

    __hash__ = None  # type: ignore[assignment]


class TwoTexts:
    def __init__(self, one: str, two: str) -> None: ...


Asset = NewType("Asset", str)


@pytest.mark.parametrize(
    ("annotation", "given", "value"),
    [
        (str, "text", "text"),
        (str, 5, "5"),
        (str, 0.5, "0.5"),
        (str, True, "true"),
        (Asset, "eur", "eur"),
        (int, 5, 5),
        (int, "-5", -5),
        (int, "007", 7),
        (float, 5, 5.0),
        (float, "1.5e3", 1500.0),
        (float, ".5", 0.5),
        (bool, True, True),
        (bool, "false", False),
        (bytes, "00ff", b"\x00\xff"),
        (bytes, b"\x01", b"\x01"),
        (NodeId, G, NodeId(G)),
        (NodeId, NodeId(G), NodeId(G)),
        (PublicKey, G, PublicKey.from_hex(G)),
        (PublicKey, PublicKey.from_hex(G), PublicKey.from_hex(G)),
        (ShortChannelId, "1x2x3", ShortChannelId(1, 2, 3)),
        (ShortChannelId, ShortChannelId(1, 2, 3), ShortChannelId(1, 2, 3)),
        (list, [1, "a"], [1, "a"]),
        (list, '[1, "a"]', [1, "a"]),
        (list[int], ["1", 2], [1, 2]),
        (Sequence[int], [1], [1]),
        (tuple[NodeId, ...], [G], (NodeId(G),)),
        (dict, {"a": 1}, {"a": 1}),
        (dict, '{"a": 1}', {"a": 1}),
        (dict[str, int], {"a": "1"}, {"a": 1}),
        (Mapping[str, list[int]], {"a": ["1"]}, {"a": [1]}),
        (Any, [1], [1]),
        (object, None, None),
        (Side, "BUY", Side.BUY),
        (Side, 0, Side.HOLD),
        (Side, "1", Side.BUY),
        (Unit, "sat", Unit.SATS),
        (Unit, "MSATS", Unit.MSATS),
        (Unit, Unit.SATS, Unit.SATS),
        (Literal["eur", 5], "eur", "eur"),
        (Literal["eur", 5], "5", 5),
        (Literal["eur", 5], 5, 5),
        (Optional[int], None, None),  # noqa: UP045 - as older code writes it
        (int | None, "5", 5),
        (Union[int, str], "x", "x"),  # noqa: UP007
        (str | int, 5, 5),
        (str | int, "5", "5"),
        (Decimal, "1.50", Decimal("1.50")),
        (Decimal, 2, Decimal(2)),
        (Path, "/tmp", Path("/tmp")),
        (Path, Path("/tmp"), Path("/tmp")),
        (Even, "4", Even("4")),
    ],
)
def test_reads_what_json_and_people_write(annotation: Any, given: object, value: object) -> None:
    read = reader_of(annotation)(given)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("annotation", "given", "told"),
    [
        (str, None, "should be a string"),
        (str, ["a"], "should be a string"),
        (str, "\ud800", "should be a string that UTF-8 can say"),
        (int, True, "should be an integer"),
        (int, 5.0, "should be an integer"),
        (int, "5 ", "should be an integer"),
        (int, "٣", "should be an integer"),
        (int, "9" * 5000, "should be an integer"),
        (int, None, "should be an integer"),
        (float, "x", "should be a number"),
        (float, "nan", "should be a number"),
        (float, float("inf"), "should be a number"),
        (float, 10**400, "should be a number"),
        (float, True, "should be a number"),
        (bool, 1, "should be 'true' or 'false'"),
        (bytes, "0", "should be a hex value"),
        (NodeId, "02" + "ff" * 32, "should be a node id"),
        (PublicKey, "x", "should be a compressed pubkey"),
        (ShortChannelId, "1x2", "should be a short_channel_id of form NxNxN"),
        (ShortChannelId, 5, "should be a short_channel_id of form NxNxN"),
        (list, 5, "should be an array"),
        (list, "text", "should be an array"),
        (list, '{"a": 1}', "should be an array"),
        (list[int], [1, "x"], "[1]: should be an integer"),
        (dict, [], "should be an object"),
        (dict, "[" * 100_000, "should be an object"),
        (dict[str, list[int]], {"a": ["x"]}, ".a: [0]: should be an integer"),
        (Side, "SELL", "should be one of HOLD, BUY"),
        (Side, None, "should be one of HOLD, BUY"),
        (Unit, "btc", "should be one of sat, msat"),
        (Literal["eur", 5], "usd", "should be one of eur, 5"),
        (Literal["eur", 5], object(), "should be one of eur, 5"),
        (int | None, "x", "should be an integer"),
        (int | list[int], "x", "should be an integer or should be an array"),
        (Decimal, "x", "should be a Decimal"),
        (Even, "5", "should be even, not 5"),
        (Even, [], "should be a string"),
    ],
)
def test_says_what_it_should_be(annotation: Any, given: object, told: str) -> None:
    with pytest.raises(ValueError) as caught:
        reader_of(annotation)(given)
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("annotation", "shown"),
    [
        (complex, "complex"),
        (set, "set"),
        (TwoTexts, "TwoTexts"),
        (Callable, "Callable"),
        (5, "5"),
        (int | complex, "complex"),
        (list[complex], "complex"),
    ],
)
def test_refuses_annotations_that_json_cannot_be_read_by(annotation: Any, shown: str) -> None:
    with pytest.raises(TypeError, match=rf"{shown}.* cannot be read from JSON; it should be str, int, "):
        reader_of(annotation)


@pytest.mark.parametrize("annotation", [set[int], tuple[int, str], dict[int, str]])
def test_says_which_containers_there_are(annotation: Any) -> None:
    with pytest.raises(TypeError, match=r"cannot be read from JSON; list\[X\], tuple\[X, ...\] and dict\[str, X\] can"):
        reader_of(annotation)


def test_takes_unions_apart() -> None:
    assert alternatives(int | None) == (int, type(None))
    assert alternatives(Optional[int]) == (int, type(None))  # noqa: UP045
    assert alternatives(int) == (int,)


def annotated(context: Unknown, one: int, two: u16 | None = None, three=None) -> None: ...


class Calling:
    def __call__(self, one: bytes) -> None: ...

    def method(self, one: NodeId) -> None: ...


def test_evaluates_what_is_asked_for_and_nothing_else() -> None:
    assert evaluate(annotated, ["one", "two", "three"], {}) == {"one": int, "two": int | None}
    assert evaluate(functools.partial(annotated, None), ["one"], {}) == {"one": int}
    assert evaluate(Calling(), ["one"], {}) == {"one": bytes}
    assert evaluate(Calling().method, ["one"], {}) == {"one": NodeId}
    assert evaluate(annotated, ["context"], {"Unknown": str}) == {"context": str}
    text = "the annotation 'Unknown' of 'context' should be known at run time"
    with pytest.raises(NameError, match=text):
        evaluate(annotated, ["context"], {})
