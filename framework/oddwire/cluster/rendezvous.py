"""Whose a partition should be: rendezvous hashing, also called highest random weight.

Each worker has a weight for each partition, and the highest has it. So a worker that comes takes its share evenly from
all others, one that goes leaves its own evenly to all others, and nothing else moves. Nobody has to be asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

__all__ = ["best"]


def best(key: str, workers: Iterable[str]) -> str | None:
    """Return the worker that should have ``key``; None without workers. Their order does not matter."""
    return max(workers, key=lambda worker: _weight(key, worker), default=None)


def _weight(key: str, worker: str) -> tuple[bytes, str]:
    return hashlib.sha256(f"{worker}\0{key}".encode()).digest(), worker
