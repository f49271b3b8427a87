"""What two hellos have in common: the version of the session protocol, and those of the extensions. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from oddwire.session.frames import Hello

__all__ = ["Agreement", "highest_common", "negotiate", "version_key"]


class Agreement(NamedTuple):
    """What two peers speak with each other.

    ``version`` is that of the session protocol. ``extensions`` are those both have with a version in common: by name,
    the highest such version.
    """

    version: int
    extensions: Mapping[str, str]


def negotiate(ours: Hello, theirs: Hello) -> Agreement | None:
    """Find what both speak; None if there is no version of the session protocol in common. Both ends find the same."""
    version = min(ours.highest, theirs.highest)
    if version < max(ours.lowest, theirs.lowest):
        return None
    told = {spoken.name: spoken.versions for spoken in theirs.extensions}
    common = ((own.name, highest_common(own.versions, told.get(own.name, ()))) for own in ours.extensions)
    return Agreement(version, {name: found for name, found in common if found is not None})


def highest_common(ours: Collection[str], theirs: Collection[str]) -> str | None:
    """Give the highest version that both list, None if there is none."""
    return max(set(ours) & set(theirs), key=version_key, default=None)


def version_key(version: str) -> tuple[int, ...]:
    """Give what versions are compared by: their numbers, from the left; ``1`` comes before ``1.0``."""
    return tuple(map(int, version.split(".")))
