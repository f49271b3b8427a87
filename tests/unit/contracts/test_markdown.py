"""The document of a protocol, read as a reader does."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import oddwire_extensions.chat
from oddwire import Message, counted, field, flag, message, subtype, tagged, tu64, u8, u16, u32
from oddwire.cli.interfaces import interface_of
from oddwire.contracts.bolt_data import snake
from oddwire.contracts.interface import Interface
from oddwire.contracts.markdown import markdown
from oddwire.known.listing import modules


class Side(Enum):
    BUY = 1
    SELL = 2


@subtype
class Order:
    """What is wanted."""

    price: u16 = field(ge=1)


@subtype(tag=0)
class Cash:
    cents: u16


@message(0x8D62, codec="bolt")
class OrderBook(Message):
    """All orders.

    As of now::

        code
    """

    orders: tuple[Order, ...]
    side: Annotated[Side, u8]
    expiry: Annotated[u32 | None, flag(u8)]
    paid: Annotated[Cash, tagged(u8, length=u8)]
    best: Annotated[Order, counted(u16)]
    names: tuple[str, ...]
    fee: tu64 | None = field(tlv=1, default=None)


def test_bolt_data_is_written_as_in_the_bolts() -> None:
    text = markdown(Interface(name="market", version="1", messages=(OrderBook,)))
    for line in (
        "1. type: 36194 (`order_book`)",
        "  * [`u16`:`orders_len`]",
        "  * [`orders_len*order`:`orders`]",
        "  * [`u8`:`side`]",
        "  * [`u8`:`has_expiry`]",
        "  * [`u32`:`expiry`] (if `has_expiry` is 1)",
        "  * [`paid_len*byte`:`paid`] (`cash` for 0)",
        "  * [`u16`:`best_size`] (in bytes)",
        "  * [`names_len*(u16 len*utf8)`:`names`]",
        "1. `tlv_stream`: `order_book_tlvs`",
        "        * [`tu64`:`fee`]",
        "### The `order` Subtype",
        "* 1: BUY",
        "* `price` MUST be at least 1.",
        "Peers that do not know messages of even type (36194) disconnect: these go to those alone that do.",
        "```text",
    ):
        assert line in text.splitlines(), line


def test_an_extension_is_described_with_its_handlers_and_examples() -> None:
    text = markdown(interface_of(oddwire_extensions.chat.extension))
    assert text.startswith("```\nbLIP: ?\nTitle: chat\n")
    assert "  - MUST answer with `heard` that has the same `number`." in text
    assert "8c13000003e8" in text
    assert text == markdown(interface_of(oddwire_extensions.chat.extension))
    for title in ("Abstract", "Motivation", "Specification", "Backwards Compatibility", "Test Vectors"):
        assert f"\n## {title}\n" in text


def test_known_protocols_are_described() -> None:
    for protocol in modules().values():
        if protocol.name != "BOLTs":
            made = markdown(Interface(name=protocol.name, version="1", messages=protocol.messages))
            assert f"Title: {protocol.name}" in made


def test_names_are_those_of_the_bolts() -> None:
    assert [*map(snake, ("QuoteRequest", "Page[Order]", "LSPS0Message"))] == [
        *("quote_request", "page_order", "lsps0_message")
    ]
