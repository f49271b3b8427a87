"""The list of modules with the node's own RPC methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oddwire.node.methods import datastore, info, insight, messages, peers, plugin, signing

if TYPE_CHECKING:
    from oddwire.node.node import Node

__all__ = ["install"]


def install(node: Node) -> None:
    """Register all of the node's own methods in its table."""
    for module in (messages, peers, info, insight, datastore, signing, plugin):
        for command in module.commands(node):
            node.commands.register(command)
