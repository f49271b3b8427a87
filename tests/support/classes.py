"""Subtypes and messages made of fields that a test passes by name."""

from __future__ import annotations

import sys
import types
from typing import Any

from oddwire.schema import Message, declare, subtype


def made(codec: str, /, **contents: Any) -> Any:
    """Return a subtype, if that is the ``codec``, or a message; a field is an annotation, or that and its default."""
    module = sys._getframe(1).f_globals["__name__"]  # as if it were written where it is called
    annotations = {name: value[0] if isinstance(value, tuple) else value for name, value in contents.items()}
    defaults = {name: value[1] for name, value in contents.items() if isinstance(value, tuple)}
    body = {"__annotations__": annotations, "__module__": module, **defaults}
    if codec == "subtype":
        return subtype(type("Part", (), body))
    return declare(types.new_class("Wrong", (Message,), exec_body=lambda ns: ns.update(body)), 0x8C01, codec=codec)
