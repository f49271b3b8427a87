"""The forms of trees of plain objects: what their formats can carry, and how."""

from __future__ import annotations

from typing import Final, Literal

from oddwire.records import FrozenRecord
from oddwire.schema.nesting import MAX_LEVELS

__all__ = ["JSON", "KEPT", "MSGPACK", "PACKED", "SHOWN", "Form"]


class Form(FrozenRecord):
    """What the tree's format can carry; with ``hexed``, bytes are hex digits.

    ``bodies``: the body of an `UnknownVariant` is a dict, whose items stand ``beside`` the tag, or bytes or a dict,
    which stand ``apart`` under one key. ``levels`` counts the instances of recursive classes that a value is in.
    ``binary``: values of any type may have bytes in them, as maps.
    """

    name: str
    hexed: bool
    bodies: Literal["beside", "apart"] = "beside"
    levels: int = 0
    binary: bool = False

    def deeper(self) -> Form | None:
        """Return the form of what is in one more recursive instance; None for one too many."""
        if self.levels >= MAX_LEVELS:
            return None
        return Form(self.name, self.hexed, self.bodies, self.levels + 1, self.binary)


MSGPACK: Final = Form("msgpack", hexed=False)
JSON: Final = Form("json", hexed=True)
KEPT: Final = Form("msgpack", hexed=False, bodies="apart")
"""For messages of any codec in msgpack."""
PACKED: Final = Form("json", hexed=True, binary=True)
"""For messages of the msgpack codec in JSON."""
SHOWN: Final = Form("json", hexed=True, bodies="apart", binary=True)
"""For messages of any codec in JSON."""
