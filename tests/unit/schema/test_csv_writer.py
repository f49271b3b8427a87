"""Classes as rows of the BOLTs' CSV: what is written for each type, and what CSV has no word for."""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum
from typing import Annotated

import pytest

from oddwire.errors import SchemaError
from oddwire.proto.keys import NodeId
from oddwire.schema import (
    Message,
    bigsize,
    counted,
    declare,
    field,
    fixed,
    flag,
    message,
    rest,
    scalar,
    sha256,
    subtype,
    tagged,
    tu64,
    u8,
    u16,
    u32,
)
from oddwire.schema.bolt_csv import Namespace
from oddwire.schema.csv_writer import KINDS, UTF8, CsvWriter


class Side(IntEnum):
    BUY = 1


@subtype(tag=1)
class Order:
    price: u16


@subtype
class Node:
    children: tuple[Node, ...] = ()


@subtype
class Nothing:
    pass


@message(0x8C01, codec="bolt")
class Everything(Message):
    owner: NodeId
    sure: bool
    side: Annotated[Side, u8]
    wide: Annotated[int, scalar("wide", python=int, size=3)]
    small: Annotated[int, scalar("small", python=int, size=1)]
    limited: Annotated[u32, field(ge=1)]
    digest: sha256
    digests: tuple[sha256, ...]
    text: Annotated[str, counted(u8)]
    pair: Annotated[tuple[u16, ...], fixed(2)]
    number: u8
    data: bytes = field(count="number")
    orders: tuple[Order, ...] = field(count=bigsize)
    tail: Annotated[bytes, rest]


@message(0x8C03, codec="bolt")
class Streamed(Message):
    tlvs: u8
    amount: tu64 | None = field(tlv=1, default=None)
    orders: tuple[Order, ...] | None = field(tlv=3, default=None)
    order: Order | None = field(tlv=5, default=None)


def rows(*classes: type[Message]) -> list[str]:
    return [*CsvWriter(Namespace(messages={cls.__name__.lower(): cls for cls in classes})).dump()]


def test_types():
    assert rows(Everything) == [
        "msgtype,everything,35841",
        "msgdata,everything,owner,point,",
        "msgdata,everything,sure,byte,",
        "msgdata,everything,side,byte,",
        "msgdata,everything,wide,byte,3",
        "msgdata,everything,small,byte,",
        "msgdata,everything,limited,u32,",
        "msgdata,everything,digest,sha256,",
        "msgdata,everything,digests_len,u16,",
        "msgdata,everything,digests,sha256,digests_len",
        "msgdata,everything,text_len,byte,",
        "msgdata,everything,text,utf8,text_len",
        "msgdata,everything,pair,u16,2",
        "msgdata,everything,number,byte,",
        "msgdata,everything,data,byte,number",
        "msgdata,everything,orders_len,bigsize,",
        "msgdata,everything,orders,Order,orders_len",
        "msgdata,everything,tail,byte,...",
        "subtype,Order",
        "subtypedata,Order,price,u16,",
    ]


def test_streams():
    assert rows(Streamed) == [
        "msgtype,streamed,35843",
        "msgdata,streamed,tlvs,byte,",
        "msgdata,streamed,tlvs_,streamed_tlvs,",
        "tlvtype,streamed_tlvs,amount,1",
        "tlvdata,streamed_tlvs,amount,amount,tu64,",
        "tlvtype,streamed_tlvs,orders,3",
        "tlvdata,streamed_tlvs,orders,orders,Order,...",
        "tlvtype,streamed_tlvs,order,5",
        "tlvdata,streamed_tlvs,order,price,u16,",
        "subtype,Order",
        "subtypedata,Order,price,u16,",
    ]


def test_types_that_no_message_has():
    assert [*CsvWriter(Namespace(subtypes={"lot": Order})).dump()] == ["subtype,lot", "subtypedata,lot,price,u16,"]
    assert UTF8 not in KINDS
    with pytest.raises(SchemaError, match="should be a @subtype"):
        [*CsvWriter(Namespace(subtypes={"lot": int})).dump()]


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Node, "CSV cannot say that Node is in itself"),
        (Nothing, "has no fields: CSV needs at least one in a subtype"),
        (Annotated[Order | None, flag(u8)], "CSV cannot say that Order or None comes behind a flag"),
        (Annotated[Order, counted(u16)], "CSV cannot say that Order comes behind its size"),
        (Annotated[Order, tagged(u8)], "CSV has no unions, so it cannot say what Order is"),
        (tuple[Annotated[Order, tagged(u8)], ...], "CSV has no unions"),
        (tuple[tuple[u8, ...], ...], "CSV has no word for tuple: put what it is made of into a @subtype"),
        (tuple[str, ...], "CSV has no word for tuple"),
    ],
)
def test_what_csv_has_no_word_for(annotation, text):
    body = {"__annotations__": {"x": annotation}, "__module__": __name__, "__qualname__": "M"}
    cls = declare(type(Message)("M", (Message,), body), 0x8C05)
    with pytest.raises(SchemaError, match=text):
        rows(cls)


def test_names_and_codecs():
    @message(0x8C07)
    class Packed(Message):
        price: Decimal

    with pytest.raises(SchemaError, match=r"Packed has codec 'msgpack': CSV can only say codec='bolt'"):
        rows(Packed)
    with pytest.raises(SchemaError, match=r"a name in CSV should be a letter, then .*, not 'no name'"):
        [*CsvWriter(Namespace(messages={"no name": Streamed})).dump()]
