"""What type checkers accept and reject of options and RPC methods. See cases_handlers.py for the marks.

Read by test_checkers.py; never run.
"""
# pyright: strict

from pathlib import Path
from typing import Any

from oddwire import AppContext, Application, Context, Extension, NodeId

extension = Extension("quote", version="1.0", feature=513)


@extension.option("quote-asset")
def asset(value: str = "eur") -> str:
    return value.upper()


@extension.option("quote-peers", dynamic=True)
def peers(value: list[NodeId]) -> frozenset[NodeId]:
    return frozenset(value)


@extension.option("quote-folder", description="Where it is all kept.")
def folder(value: Path | None = None) -> Path:
    return value or Path()


upper: str = asset("usd")
default: str = asset()


@extension.option("quote-more")  # error
def of_two(value: str, more: str) -> str:
    return value + more


@extension.option("quote-more")  # error
def of_nothing() -> str:
    return ""


@extension.option("quote-more")  # error
def by_name_alone(*, value: str) -> str:
    return value


@extension.option(513)  # error
def without_a_name(value: str) -> str:
    return value


@extension.rpc("quote-ask")
async def ask(context: AppContext, node_id: NodeId, asset: str = "eur", *, loud: bool = False) -> dict[str, Any]:
    channels: Any = await context.node.call("listpeerchannels", id=node_id)
    await context.node.call("connect", [str(node_id)], timeout=5)
    await context.node.call("connect", str(node_id), timeout="5")  # error
    return {"asset": context.options["quote-asset"], "channels": channels}


@extension.rpc("quote-nothing")
async def nothing(context: AppContext) -> None:
    context.options["quote-asset"] = "usd"  # error


@extension.rpc("quote-more")  # error
def not_async(context: AppContext) -> None:
    return None


@extension.rpc("quote-more")  # error
async def without_a_context() -> None:
    return None


@extension.rpc("quote-more")  # error
async def of_another_first(node_id: int, context: AppContext) -> None:
    return None


@extension.rpc("quote-more")  # error
async def of_a_peers_context(context: Context) -> None:
    return None


@extension.rpc("quote-peer")
async def without_a_peer(context: AppContext) -> None:
    print(context.peer)  # error


async def calls(context: AppContext, node_id: NodeId) -> None:
    await ask(context, node_id, loud=True)
    await ask(context, node_id, 7)  # error


def builds() -> Application:
    return Application(extension, transport="memory", options={"quote-asset": "usd"})
