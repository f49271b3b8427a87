"""Names that have changed places: what one side sends under a name, the other reads under another one of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

__all__ = ["exchanged"]

_Place = TypeVar("_Place", int, str)


def exchanged(old: Mapping[_Place, str], new: Mapping[_Place, str]) -> set[str]:
    """Return the names that old and new have at each other's places: two that are swapped, three in a ring.

    ``old`` and ``new`` are names by place: a type number, a key, a TLV number, a tag. A name that moves to the place of
    one that is gone is none of these: ``Quote`` and ``QuoteV2`` may become ``QuoteV1`` and ``Quote``.
    """
    places = {name: place for place, name in new.items()}
    found: set[str] = set()
    for start, first in old.items():
        ring, place = [first], places.get(first)
        while place is not None and place != start and place in old and old[place] not in ring:
            ring.append(old[place])
            place = places.get(old[place])
        if place == start and len(ring) > 1:
            found.update(ring)
    return found
