"""A lease's key in its bucket, as its holder writes it: what it says, and whose it is.

The answer to a write may be lost on the way, and the write be stored all the same. So a holder marks what it writes by
a ``token`` of its own, and knows by that whether a key that is not as it left it is still its own.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from oddwire.transports.nats.bucket import Bucket
from oddwire.transports.nats.errors import UnexpectedSequence

__all__ = ["LeaseLost", "parsed", "remove", "renew", "revision_of"]


class LeaseLost(Exception):
    """A lease is not its holder's any more; ``found`` is what its key says now, None if there is none."""

    def __init__(self, found: Mapping[str, Any] | None) -> None:
        super().__init__()
        self.found = found


def parsed(value: bytes) -> Mapping[str, Any]:
    """Return a lease's fields; none of what is no object."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


async def revision_of(bucket: Bucket, key: str, token: str) -> int:
    """Return the revision of a lease that is marked by ``token``. Raises `LeaseLost`, and what the bucket raises."""
    found = await bucket.get(key)
    fields = None if found is None else parsed(found.data)
    if found is None or fields is None or fields.get("token") != token:
        raise LeaseLost(fields)
    return found.revision


async def renew(bucket: Bucket, key: str, data: bytes, revision: int, token: str) -> int:
    """Write a lease anew that was left at ``revision``, and return the new one.

    Raises `LeaseLost` if it is another's or over, and what the bucket raises: then, as if it is cancelled, it may be
    written or not.
    """
    while True:
        try:
            return await bucket.update(key, data, revision)
        except UnexpectedSequence:
            revision = await revision_of(bucket, key, token)


async def remove(bucket: Bucket, key: str, revision: int, token: str) -> None:
    """Remove a lease that was left at ``revision``, unless it is another's or over. Raises what the bucket raises."""
    with contextlib.suppress(LeaseLost):
        while True:
            try:
                await bucket.delete(key, revision)
            except UnexpectedSequence:
                revision = await revision_of(bucket, key, token)
            else:
                return
