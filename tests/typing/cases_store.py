"""What type checkers make of ``context.store``. A line that both must reject ends in ``# error``; no other may.

Read by test_checkers.py; never run.
"""
# pyright: strict

from enum import Enum
from typing import Any, assert_type

from oddwire import Context, ExtensionStore, Message, message, subtype, u32


@subtype
class Item:
    name: str
    price: u32


@message(0x8C01)
class Order(Message):
    item: Item


class Colour(Enum):
    RED = "red"


async def with_a_default(store: ExtensionStore) -> int:
    count = await store.get("count", 0)
    assert_type(count, int)
    assert_type(await store.get("text", ""), str)
    assert_type(await store.get("data", b""), bytes)
    assert_type(await store.get("share", 0.5), float)
    assert_type(await store.get("seen", False), bool)
    assert_type(await store.get("colour", Colour.RED), Colour)
    empty: list[str] = []
    assert_type(await store.get("names", empty), list[str])
    wrong: str = await store.get("count", 0)  # error
    return count + len(wrong)


async def as_a_class(context: Context) -> None:
    assert_type(await context.store.get("order", as_=Order), Order | None)
    assert_type(await context.store.get("item", Item(name="", price=0), as_=Item), Item)
    assert_type(await context.store.get("orders", as_=list[Order]), list[Order] | None)
    assert_type(await context.store.get("orders", (), as_=tuple[Order, ...]), tuple[Order, ...] | tuple[()])
    assert_type(await context.store.get("prices", None, as_=dict[str, int]), dict[str, int] | None)
    order = await context.store.get("order", as_=Order)
    print(order.item)  # error
    for key, item in await context.store.items("item-", as_=Item):
        print(key.upper(), item.price + 1)
        print(item.prize)  # error


async def as_whatever_it_is(store: ExtensionStore) -> None:
    assert_type(await store.get("anything"), Any)
    assert_type(await store.get("anything", None), Any)
    assert_type(await store.items(), list[tuple[str, Any]])


async def keeps(store: ExtensionStore) -> None:
    for value in (True, 1, 1.5, "", b"", [1], (1,), {"a": [None]}, Item(name="", price=0), Colour.RED):
        await store.set("key", value)
    await store.set(5, 1)  # error
    await store.get(b"key")  # error
