"""Adds the peer to an error's text."""

from __future__ import annotations

from oddwire.errors import RemoteFailure

__all__ = ["with_peer"]


def with_peer(error: BaseException) -> str:
    """Return an error's text, followed by the peer that it concerns unless the text names it."""
    node_id = error.node_id if isinstance(error, RemoteFailure) else None
    return str(error) if node_id is None or node_id in str(error) else f"{error}, says {node_id}".removeprefix(", ")
