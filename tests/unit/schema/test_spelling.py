"""How values look to people."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated

import pytest

from oddwire.proto.keys import NodeId, PrivateKey, ShortChannelId
from oddwire.schema import describe, field, scalar, subtype, u8
from oddwire.schema.spelling import show_fields, show_value


class Colour(Enum):
    RED = 1


@subtype
class Order:
    price: u8
    note: str


class Odd:
    """A class of an author's, whose text may be anything, even none."""

    def __init__(self, text):
        self.text = text

    def __str__(self):
        return self.text

    def __le__(self, other):
        return self.text <= other.text

    def __ge__(self, other):
        return self.text >= other.text


KEY = PrivateKey(b"\1" * 32).public_key()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (None, "None"),
        (True, "True"),
        (0.5, "0.5"),
        ("eur", "'eur'"),
        ("x" * 80, repr("x" * 80)),
        ("x" * 81, f"{'x' * 40!r}…(81 characters)"),
        (b"", "''"),
        (b"\x00\xff", "00ff"),
        (b"\x01" * 40, "01" * 40),
        (b"\x01" * 41, "01" * 20 + "…(41 bytes)"),
        (Colour.RED, "RED"),
        (KEY, KEY.hex()),
        (ShortChannelId(1, 2, 3), "1x2x3"),
        ((1, "a"), "[1, 'a']"),
        ([b"\x01"], "[01]"),
        (tuple(range(41)), f"[{', '.join(map(str, range(40)))}, …(41 elements)]"),
        ({"a": b"\x02"}, "{'a': 02}"),
        ({str(i): 0 for i in range(41)}, f"{{{', '.join(f'{str(i)!r}: 0' for i in range(40))}, …(41 keys)}}"),
        (Order(price=3, note="n"), "Order(price=3, note='n')"),
        (datetime(2024, 1, 31, 12, tzinfo=UTC), "2024-01-31T12:00:00Z"),
        (timedelta(days=1), "1 day, 0:00:00"),
        (Decimal("1.50"), "1.50"),
        (NodeId(b"\2" * 33), "02" * 33),
        (Odd("two\nlines\x1b"), r"two\nlines\x1b"),
        (Odd("x" * 90), f"{'x' * 40}…(90 characters)"),
        (Odd(5), "Odd(...)"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_values(value, text):
    assert show_value(value) == text


def test_scalars_are_shown_as_they_say():
    shown = scalar("odd", python=Odd, wire=str, parse=Odd, show=lambda odd: f"<{odd}>")

    @subtype
    class Holder:
        one: Annotated[Odd, shown, field(ge=Odd("a"))] | None
        more: tuple[Annotated[Odd, shown], ...]

    holder = Holder(one=Odd("x"), more=(Odd("y"), Odd(5), "z"))
    assert repr(holder) == "Holder(one=<x>, more=[<y>, Odd(...), 'z'])"
    assert repr(Holder(one=None, more=())) == "Holder(one=None, more=[])"


def test_fields_that_have_no_value_yet_do_not_hurt():
    record = Order.__oddwire__
    assert show_fields(record, record.blank(), " ") == "price='?' note='?'"
    assert callable(describe)
