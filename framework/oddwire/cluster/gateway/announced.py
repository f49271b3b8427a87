"""What a gateway announces to peers for its workers: feature bits, and even types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from oddwire.cluster.manifests import ExtensionManifest
from oddwire.printable import printable
from oddwire.proto.type_numbers import REFUSED
from oddwire.transports.base import Manifest

__all__ = ["announcement", "changes"]

# BOLT 1: an odd type may be sent to who does not know it, so workers may take any of applications' own
_ODD: Final = frozenset(range(32769, 65536, 2))


def announcement(manifests: Iterable[ExtensionManifest]) -> Manifest:
    """Return what the node's transport is told: what extensions have written, and every odd type that is free."""
    manifests = list(manifests)
    types = {number for manifest in manifests for number in manifest.types if number not in REFUSED}
    features = {bit for manifest in manifests for bit in manifest.features}
    return Manifest(type_ids=_ODD | types, features=frozenset(features))


def changes(announced: Manifest, manifests: Sequence[ExtensionManifest]) -> Iterator[str]:
    """Yield a line for each extension that needs more than is announced, saying what to do."""
    for manifest in manifests:
        more = [f"offers feature {bit}" for bit in manifest.features if bit not in announced.features]
        more += [
            f"takes type {number:#06x}"
            for number in manifest.types
            if number not in announced.type_ids | REFUSED.keys()
        ]
        if more:
            name = printable(f"{manifest.name} {manifest.version}".strip()[:100])
            listed = ", ".join(more[:8]) + (f" and {len(more) - 8} more" if len(more) > 8 else "")
            yield f"a worker of {name} {listed}; restart the gateway to announce it"
