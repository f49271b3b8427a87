"""CSV of an extension's bolt messages: loaded again, by us and by pyln-proto, it is the same protocol."""

from __future__ import annotations

from typing import Annotated

import pytest
from pyln.proto.message import MessageNamespace
from tests.support.schema_pairs import made, plan

from oddwire import field, flag, subtype, tu64, u8, u16
from oddwire.contracts.bolt_rows import csv_of
from oddwire.contracts.examples import examples
from oddwire.contracts.interface import Interface
from oddwire.known.listing import modules
from oddwire.schema import Message, message, schema_of
from oddwire.schema.bolt_csv import load_csv


@subtype
class Order:
    price: u16
    note: bytes


@message(0x8D63, codec="bolt")
class OrderBook(Message):
    orders: tuple[Order, ...]
    name: str
    fee: tu64 | None = field(tlv=1, default=None)
    more: bytes | None = field(tlv=3, default=None)


def test_what_is_loaded_again_encodes_to_the_same_bytes() -> None:
    rows, lacking = csv_of(Interface(name="market", version="1", messages=(OrderBook,)))
    assert lacking == []
    loaded = load_csv(rows).messages["order_book"]
    assert schema_of(loaded).type_id == 0x8D63
    for _, payload in examples(OrderBook, 30):
        again = plan(loaded).decode(payload)
        assert plan(loaded).encode(again) == payload


@pytest.mark.parametrize("name", ["hosted_channels", "phoenix", "taproot_assets"])
def test_pyln_proto_loads_it(name: str) -> None:
    rows, _ = csv_of(Interface(name=name, version="1", messages=modules()[name].messages))
    namespace = MessageNamespace()
    namespace.load_csv(rows.splitlines())
    messages = {schema_of(one).type_id for one in load_csv(rows).messages.values()}
    assert {message.number for message in namespace.messagetypes.values()} == messages
    assert messages


def test_what_it_cannot_say_is_told() -> None:
    classes = (
        made("msgpack", {"x": u8}, name="Packed"),
        made("bolt", {"x": u8}, name="Plain"),
        made("bolt", {"x": Annotated[u8 | None, flag(u8)]}, name="Flagged"),
    )
    rows, lacking = csv_of(Interface(name="mixed", version="1", messages=classes))
    assert rows == "msgtype,plain,36193\nmsgdata,plain,x,byte,\n"
    assert lacking == [
        "Packed 0x8d61 is written by msgpack: CSV has bolt alone",
        "Flagged 0x8d61: flagged.x: CSV cannot say that u8 or None comes behind a flag",
    ]
