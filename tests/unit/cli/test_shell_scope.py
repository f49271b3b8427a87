from enum import IntEnum

import pytest

from oddwire import Extension, Message, message, subtype, u8
from oddwire.app import PluginManager
from oddwire.cli.exit import CommandFailure
from oddwire.cli.shell_scope import KnownMessages, classes_of, known_messages, scope_of
from oddwire.cli.vocabulary import Vocabulary
from oddwire.known import peerswap


class Side(IntEnum):
    BUY = 1
    SELL = 2


@subtype
class Fee:
    sats: u8


@subtype
class Item:
    side: Side
    fee: Fee | None
    parts: list["Item"]


@message(0x8E51)
class Order(Message):
    items: list[Item]
    named: dict[str, Fee]


def test_messages_and_their_parts_are_in_scope() -> None:
    extension = Extension("two-words", version="1.0")
    extension.register(Order)
    plugins = PluginManager()
    plugins.register(extension)
    scope = scope_of([Vocabulary(plugins.contributions[-1])])
    assert {name: scope[name] for name in ("Order", "Item", "Side", "Fee")} == {
        "Order": Order,
        "Item": Item,
        "Side": Side,
        "Fee": Fee,
    }
    assert scope["two_words"].Order is Order
    assert classes_of([Order, Order]) == [Order, Item, Side, Fee]


def test_of_two_with_one_name_the_first_has_it() -> None:
    one, other = KnownMessages("one", [Order]), known_messages("peerswap")
    second = KnownMessages("two", [type("Order", (), {"__oddwire__": peerswap.Cancel.__oddwire__})])
    scope = scope_of([one, other, second])
    assert scope["Order"] is Order
    assert scope["peerswap"].SwapInRequest is scope["SwapInRequest"] is peerswap.SwapInRequest


def test_the_bolts_messages_are_the_nodes_own() -> None:
    with pytest.raises(CommandFailure, match="has no 'bolts' whose messages a shell can send"):
        known_messages("bolts")


def test_python_keeps_the_names_of_its_functions_and_types() -> None:
    def message_of(number: int, name: str) -> type[Message]:
        return message(number)(type(Message)(name, (Message,), {"__module__": __name__}))

    extension = Extension("shadow", version="1.0")
    for number, name in ((0x8E61, "print"), (0x8E63, "Warning")):
        extension.register(message_of(number, name))
    plugins = PluginManager()
    plugins.register(extension)
    scope = scope_of([Vocabulary(contribution) for contribution in plugins.contributions])
    assert "print" not in scope
    assert "Warning" in scope
    assert scope["shadow"].print.__name__ == "print"
