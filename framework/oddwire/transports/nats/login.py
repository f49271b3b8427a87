"""The files by which one logs in at the broker, looked at before nats-py does, which fails at them in its own ways."""

from __future__ import annotations

import os
import re
from typing import Final

from oddwire.errors import TransportError
from oddwire.files import open_to_read
from oddwire.printable import quoted
from oddwire.transports.nats.address import BrokerAddress
from oddwire.transports.nats.errors import BrokerRefused

__all__ = ["check_login"]

_LONGEST: Final = 1 << 16  # bytes of a file
_JWT: Final = re.compile(rb"BEGIN NATS USER JWT-*\r?\n\s*\S+")
_SEED: Final = re.compile(rb"BEGIN USER NKEY SEED-*\r?\n\s*(S\S+)")


def check_login(address: BrokerAddress) -> None:
    """Raise `BrokerRefused` for a file without a login, and `TransportError` if the library for them is missing."""
    if address.nkey is not None:
        raw = _read(address.nkey)
        if not _is_seed(raw.strip()):
            said = quoted(os.fspath(address.nkey))
            raise BrokerRefused(f"the broker's NKEY file {said} has no seed: that is one line, which begins with SU")
    if address.credentials is not None:
        raw = _read(address.credentials)
        seed = _SEED.search(raw)
        if _JWT.search(raw) is None or seed is None or not _is_seed(seed[1]):
            said = quoted(os.fspath(address.credentials))
            text = f"the broker's credentials file {said} has no JWT and seed of a user"
            raise BrokerRefused(f"{text}, as nsc writes them")


def _read(path: str | os.PathLike[str]) -> bytes:
    with open_to_read(path) as file:
        return file.read(_LONGEST)


def _is_seed(text: bytes) -> bool:
    """Return whether this is the seed of a user's NKEY."""
    try:
        import nkeys  # type: ignore[import-untyped] # imported late: few log in by a key
    except ImportError:
        raise TransportError("to log in at the broker by a key needs nkeys: pip install 'oddwire[cluster]'") from None
    if not text.startswith(b"SU"):
        return False
    try:
        nkeys.from_seed(bytearray(text)).wipe()
    except (nkeys.NkeysError, ValueError):
        return False
    return True
