"""Every RPC method of the node's own, module by module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oddwire.node.methods import datastore, info, messages, peers, plugin, signing

if TYPE_CHECKING:
    from oddwire.node.node import Node

__all__ = ["install"]


def install(node: Node) -> None:
    """Add every method of the node's own to its table."""
    for module in (messages, peers, info, datastore, signing, plugin):
        for command in module.commands(node):
            node.commands.register(command)
