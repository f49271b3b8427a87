"""How values look to people."""

from enum import Enum

import pytest

from oddwire.proto.keys import PrivateKey, ShortChannelId
from oddwire.schema import describe, subtype, u8
from oddwire.schema.spelling import show_fields, show_value


class Colour(Enum):
    RED = 1


@subtype
class Order:
    price: u8
    note: str


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
    ],
    ids=lambda value: repr(value)[:30],
)
def test_values(value, text):
    assert show_value(value) == text


def test_fields_that_have_no_value_yet_do_not_hurt():
    record = Order.__oddwire__
    assert show_fields(record, record.blank(), " ") == "price='?' note='?'"
    assert callable(describe)
