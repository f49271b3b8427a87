"""What type checkers accept and reject of messages that are sent again. See cases_handlers.py for the marks.

Read by test_checkers.py; never run.
"""
# pyright: strict

from datetime import timedelta
from typing import assert_type

from oddwire import Again, Context, Extension, Message, NodeId, OddwireError, Peer, message
from oddwire.app import Pending

extension = Extension("swap", version="1.0")


@message(0x8C01)
class Ask(Message):
    swap_id: str


@message(0x8C03)
class Offer(Message):
    swap_id: str


@message(0x8C05)
class Opened(Message):
    swap_id: str


async def sends(peer: Peer, node_id: NodeId) -> None:
    assert_type(await peer.send(Ask(swap_id="1"), again=Again()), None)
    await peer.send(Ask(swap_id="1"), again=Again(every=10, until=timedelta(hours=1), key="1"), force=True)
    await peer.send(Ask(swap_id="1"), again=Again(every=None, on_connect=True, key=node_id))
    await peer.send(Ask(swap_id="1"), again=10)  # error
    Again(every="10")  # error
    Again(10)  # error
    Again(key=1.5)  # error
    Again(often=True)  # error


async def settles(peer: Peer) -> None:
    assert_type(await peer.settle("1"), bool)
    assert_type(await peer.settle(b"1", extension), bool)
    await peer.settle(1, extension="swap")
    await peer.settle(None)  # error
    found = await peer.pending()
    assert_type(found, list[Pending])
    assert_type(found[0].message, Message | None)
    assert_type(found[0].age, float)
    assert_type(found[0].sent, int | None)


@extension.on_undelivered
async def all_of_them(context: Context, message: Message | None, error: OddwireError) -> None:
    return None


@extension.on_undelivered()
async def all_again(context: Context, message: Message | None, error: OddwireError) -> None:
    return None


@extension.on_undelivered(Ask)
async def one(context: Context, message: Ask, error: OddwireError) -> None:
    assert_type(message.swap_id, str)


@extension.on_undelivered(Ask, Offer)
async def two(context: Context, message: Ask | Offer, error: OddwireError, more: dict[str, int]) -> None:
    return None


@extension.on_undelivered(Ask, Offer, Opened)
async def three(context: Context, message: Message, error: OddwireError) -> None:
    return None


@extension.on_undelivered(Ask)  # error
async def another(context: Context, message: Offer, error: OddwireError) -> None:
    return None


@extension.on_undelivered(Ask, Offer)  # error
async def too_few(context: Context, message: Ask, error: OddwireError) -> None:
    return None


@extension.on_undelivered(Ask, int)  # error
async def no_message(context: Context, message: Ask, error: OddwireError) -> None:
    return None


@extension.on_undelivered  # error
async def not_all(context: Context, message: Ask, error: OddwireError) -> None:
    return None
