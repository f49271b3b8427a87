#!/usr/bin/env python3
"""An extension with all that a host node takes: odd and even types, options, methods, a feature bit, hooks."""

import os
import sys
from pathlib import Path
from typing import Any, Literal

from oddwire import AppContext, Context, Extension, Message, NodeId, NodeRefused, message, u32, u64

extension = Extension("quote", version="1.0", feature=513)
journal: list[tuple[str, str, str]] = []


@message(0x8C01)
class QuoteRequest(Message):
    asset: str
    nonce: u64


@message(0x8C03, codec="bolt")
class Quote(Message):
    nonce: u64
    millisats: u64


@message(0x8C02, codec="bolt")
class Order(Message):
    nonce: u64
    count: u32


@message(0x8C04, codec="bolt")
class Receipt(Message):
    nonce: u64
    total: u64


@extension.option("quote-asset")
def asset(value: str = "eur") -> str:
    """What is quoted where nothing else is asked for: three letters."""
    if len(value) != 3 or not value.isalpha():
        raise ValueError(f"should be three letters, not {value!r}")
    return value.lower()


@extension.option("quote-millisats", dynamic=True)
def millisats(value: int = 1000) -> int:
    """What one costs, in millisatoshis."""
    if value <= 0:
        raise ValueError(f"should be more than nothing, not {value}")
    return value


@extension.option("quote-closed")
def closed(value: bool = False) -> bool:
    """Whether to quote nothing."""
    return value


@extension.option("quote-also")
def also(value: list[str]) -> tuple[str, ...]:
    """Other assets that are quoted."""
    return tuple(value)


@extension.option("quote-file")
def file(value: Path = Path("quote-ended")) -> Path:
    """Where to write at the end how much came."""
    return value


@extension.on_startup
async def start(context: AppContext) -> None:
    node_id = (await context.node.call("getinfo"))["id"]
    journal.append(("startup", node_id, context.options["quote-asset"]))


@extension.on_shutdown
async def end(context: AppContext) -> None:
    context.options["quote-file"].write_text(f"{len(journal)}\n")


@extension.on_connect
async def greet(context: Context) -> None:
    supports = context.peer.supports(extension)
    journal.append(("connected", str(context.peer), "speaks quote" if supports else "does not speak quote"))


@extension.on_disconnect
async def bid_farewell(context: Context, reason: str) -> None:
    journal.append(("disconnected", str(context.peer), reason))


@extension.on(QuoteRequest)
async def quote(context: Context, request: QuoteRequest) -> Quote | None:
    journal.append(("quote", str(context.peer), f"{request.asset} {request.nonce}"))
    if context.options["quote-closed"]:
        return None
    known = request.asset in (context.options["quote-asset"], *(context.options["quote-also"] or ()))
    return Quote(nonce=request.nonce, millisats=context.options["quote-millisats"] if known else 0)


@extension.on(Order)
async def sell(context: Context, order: Order) -> Receipt:
    journal.append(("order", str(context.peer), f"{order.nonce} {order.count}"))
    return Receipt(nonce=order.nonce, total=order.count * context.options["quote-millisats"])


@extension.rpc("quote-ask")
async def ask(context: AppContext, node_id: NodeId, asset: str | None = None, nonce: u64 = 1) -> dict[str, Any]:
    """Ask a peer for the price of an asset.

    Its answer may be late: it has five seconds.
    """
    asked = QuoteRequest(asset=asset or context.options["quote-asset"], nonce=nonce)
    answer = await context.app.peer(node_id).request(asked, Quote)
    return {"nonce": answer.nonce, "millisats": answer.millisats}


@extension.rpc("quote-order")
async def order(context: AppContext, node_id: NodeId, count: u32, force: bool = False) -> Receipt | None:
    """Order some of a peer, and give its receipt; forced, nobody waits for one."""
    peer = context.app.peer(node_id)
    if force:
        await peer.send(Order(nonce=2, count=count), force=True)
        return None
    return await peer.request(Order(nonce=2, count=count), Receipt)


@extension.rpc("quote-flood")
async def flood(context: AppContext, node_id: NodeId, count: int, even: bool = False) -> dict[str, int]:
    """Send a peer so many messages, one after the other."""
    peer = context.app.peer(node_id)
    for nonce in range(count):
        await peer.send(Receipt(nonce=nonce, total=0) if even else Quote(nonce=nonce, millisats=0))
    return {"sent": count}


came: dict[str, list[int]] = {"odd": [], "even": []}


@extension.on(Quote)
async def note_quote(context: Context, quote: Quote) -> None:
    came["odd"].append(quote.nonce)


@extension.on(Receipt)
async def note_receipt(context: Context, receipt: Receipt) -> None:
    came["even"].append(receipt.nonce)


@extension.rpc("quote-came")
async def tell_what_came(context: AppContext) -> dict[str, list[int]]:
    """Tell the numbers of the quotes and receipts that came unasked."""
    return came


@extension.rpc("quote-journal")
async def tell(context: AppContext) -> dict[str, Any]:
    """Tell what happened, and who we are."""
    return {
        "pid": os.getpid(),
        "python": sys.executable,
        "journal": journal,
        "options": dict(context.options),
        "peers": [peer.node_id for peer in context.app.peers],
    }


@extension.rpc("quote-host")
async def ask_host(context: AppContext, method: str, params: dict[str, Any] | None = None) -> Any:
    """Call a method of the node that we are a plugin of."""
    return await context.node.call(method, params or {})


@extension.rpc("quote-fail")
async def fail(context: AppContext, how: Literal["refuse", "value", "bug", "exit", "nothing", "weird"]) -> Any:
    """Fail in one of the ways there are."""
    if how == "refuse":
        raise NodeRefused("not for you", code=777, data={"why": "no reason"})
    if how == "value":
        raise ValueError("that is no price")
    if how == "bug":
        raise KeyError("quote")
    if how == "exit":
        sys.exit(3)
    return object() if how == "weird" else None


if __name__ == "__main__":
    extension.run()
