"""``node-stats`` and ``node-watch``, which lightningd does not have."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from oddwire.insight.parameters import WATCHING
from oddwire.node.commands import Command, RpcRequest

if TYPE_CHECKING:
    from oddwire.node.node import Node

__all__ = ["commands"]


def commands(node: Node) -> list[Command]:
    """Return the methods of this module for ``node``."""

    def stats(request: RpcRequest) -> Any:
        return node.insight.stats()

    async def watch(
        request: RpcRequest,
        after: int | None,
        wait: float,
        limit: int,
        types: Collection[int],
        peers: Collection[str],
    ) -> Any:
        return await node.insight.watch(after, wait, limit, types, peers)

    return [
        Command(name="node-stats", handler=stats, description="Tell what messages the node has passed on, by type"),
        Command(
            name="node-watch",
            handler=watch,
            parameters=WATCHING,
            description="Tell what happens, message by message, waiting for the next",
        ),
    ]
