"""Texts of JSON values for logs, and of ids. No I/O."""

from __future__ import annotations

import json
from typing import Any, Final

__all__ = ["brief", "id_prefix", "plain"]

_SHOWN: Final = 200


def brief(value: Any) -> str:
    """Return a JSON value as text, cut to a readable length."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def plain(value: Any) -> str:
    """Return a string as it is, without quotes, and any other JSON value as `brief` does."""
    return value if isinstance(value, str) else brief(value)


def id_prefix(client_id: Any) -> str | None:
    """Return the part of a plugin's request id that is the client's id, ``weird-id`` if it needs escaping.

    None without a client's id.
    """
    if client_id is None:
        return None
    text = client_id if isinstance(client_id, str) else json.dumps(client_id)
    harmless = text.isascii() and text.isprintable() and '"' not in text and "\\" not in text
    return text if harmless else "weird-id"
