from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import pytest

from oddwire.app.declarations.jsonable import to_plain
from oddwire.proto.keys import NodeId, PrivateKey, Secret, ShortChannelId
from oddwire.schema import Message, message, subtype, u16

G = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


class Side(IntEnum):
    BUY = 1


class Unit(Enum):
    SATS = "sat"


@subtype
class Order:
    amount: u16
    side: Side = Side.BUY


@message(0x8C01)
class Place(Message):
    orders: tuple[Order, ...]
    key: bytes


@message(0x8C03)
class Anything(Message):
    value: Any


@dataclass
class Report:
    node: NodeId
    when: datetime.date


class PathOfPython313:
    """As pathlib has them there: in a module of its package."""

    __module__ = "pathlib._local"

    def __str__(self) -> str:
        return "/tmp/x"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (0.5, 0.5),
        ("text", "text"),
        (b"\x00\xff", "00ff"),
        (bytearray(b"\x01"), "01"),
        (NodeId(G), G),
        (PrivateKey(bytes(31) + b"\x01").public_key(), G),
        (ShortChannelId(1, 2, 3), "1x2x3"),
        (Side.BUY, 1),
        (Unit.SATS, "sat"),
        (Decimal("1.50"), "1.50"),
        (Path("/tmp/x"), "/tmp/x"),
        (PathOfPython313(), "/tmp/x"),
        ((1, [b"\x02"], {"a": Unit.SATS}), [1, ["02"], {"a": "sat"}]),
        ({3}, [3]),
        ({NodeId(G): 1, 5: 2, "text": 3, Unit.SATS: 4}, {G: 1, "5": 2, "text": 3, "sat": 4}),
        (Report(NodeId(G), datetime.date(2026, 1, 2)), {"node": G, "when": "2026-01-02"}),
        (Order(amount=7), {"amount": 7, "side": 1}),
        (Place(orders=(Order(amount=7),), key=b"\xff"), {"orders": [{"amount": 7, "side": 1}], "key": "ff"}),
        (Anything(value={"a": [b"\xff", None]}), {"value": {"a": [{"bytes": "ff"}, None]}}),
    ],
)
def test_makes_what_json_can_hold(value: object, plain: object) -> None:
    made = to_plain(value)
    assert made == plain
    assert type(made) is type(plain)
    assert json.loads(json.dumps(made)) == plain


@pytest.mark.parametrize("value", [object(), 1j, float("nan"), float("inf"), Order, Secret(bytes(32)), [object()]])
def test_names_what_json_cannot_hold(value: object) -> None:
    inner = value[0] if isinstance(value, list) else value
    with pytest.raises(TypeError) as caught:
        to_plain(value)
    assert str(caught.value) == f"JSON cannot hold {inner!r}, a {type(inner).__name__}"


def test_what_it_cannot_hold_may_be_written_otherwise() -> None:
    assert to_plain({"a": [1j, float("inf")]}, str) == {"a": ["1j", "inf"]}
