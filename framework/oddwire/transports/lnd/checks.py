"""Whether an LND can be used as it is: what its macaroon permits, and what its peers see of us. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oddwire.errors import TransportError
from oddwire.printable import printable
from oddwire.transports.base import Manifest
from oddwire.transports.lnd.calls import NEEDED
from oddwire.transports.lnd.macaroon import Macaroon, bake_line

__all__ = ["check_macaroon", "missing_features"]


def check_macaroon(macaroon: Macaroon, file: object, *, connects: bool) -> str:
    """Return the warning about a macaroon that permits too much, empty for none.

    ``connects``: LND is to connect to peers. Raises `TransportError` for one that permits too little.
    """
    what = f"the macaroon {printable(str(file))}"
    lacking = macaroon.lacking((*NEEDED, "ConnectPeer") if connects else NEEDED)
    line = bake_line(connect=connects, save_to="oddwire.macaroon")
    if lacking:
        raise TransportError(f"{what} does not permit {', '.join(lacking)}; this line makes one that does: {line}")
    excess = macaroon.excess()
    if not excess:
        return ""
    return f"{what} permits more than oddwire needs: {', '.join(excess)}; this line makes one that does not: {line}"


def missing_features(manifest: Manifest, info: Mapping[str, Any]) -> str:
    """Return the warning about the application's feature bits that ``GetInfo`` does not show, empty for none."""
    offered = {int(bit) & ~1 for bit in info["features"]}
    missing = sorted(bit for bit in manifest.features if bit & ~1 not in offered)
    if not missing:
        return ""
    bits = f"feature bit{'s' * (len(missing) > 1)} {', '.join(map(str, missing))}"
    lines = " and ".join(f"protocol.custom-init={bit}" for bit in missing)
    return f"peers do not see {bits}, as LND offers no such: put {lines} into lnd.conf, and restart LND"
