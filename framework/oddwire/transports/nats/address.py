"""Where the broker is, and how to be let in."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from oddwire.printable import quoted
from oddwire.records import FrozenRecord

__all__ = ["BrokerAddress"]

_SCHEMES: Final = ("nats", "tls")


class BrokerAddress(FrozenRecord, kw_only=True):
    """The broker's URL, or several of one cluster separated by commas, and the files to be let in by.

    ``credentials`` is a file with a JWT and its seed (``.creds``), ``nkey`` one with a seed; a user and a password, or
    a token, may be in the URL. ``ca`` has the certificates to trust, if the system's should not be.

    Raises `ValueError` for a URL that is none, and for files that cannot be read.
    """

    url: str
    credentials: str | os.PathLike[str] | None = None
    nkey: str | os.PathLike[str] | None = None
    ca: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        for url in self.urls:
            _parts(url)
        if self.credentials is not None and self.nkey is not None:
            raise ValueError("give a credentials file or an NKEY, not both")
        for name, path in (("credentials", self.credentials), ("NKEY", self.nkey), ("CA", self.ca)):
            if path is not None and not os.access(path, os.R_OK):
                raise ValueError(f"the broker's {name} file cannot be read: {quoted(os.fspath(path))}")

    def __repr__(self) -> str:
        return f"BrokerAddress({self.shown!r})"

    @property
    def urls(self) -> list[str]:
        """The URLs, one by one."""
        return [url.strip() for url in self.url.split(",")]

    @property
    def shown(self) -> str:
        """The URLs without user, password and token."""
        return ",".join(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" for parts in map(_parts, self.urls))

    def tls(self) -> ssl.SSLContext | None:
        """Return the context that trusts ``ca``; None if the system's certificates, or no TLS, are to be used.

        Raises `ValueError` for a file without certificates.
        """
        if self.ca is None:
            return None
        try:
            return ssl.create_default_context(cafile=Path(self.ca))
        except (OSError, ssl.SSLError) as error:
            said = quoted(os.fspath(self.ca))
            raise ValueError(f"the broker's CA file {said} has no certificates: {error}") from error


def _parts(url: str) -> SplitResult:
    scheme, found, rest = url.rpartition("://")
    said = quoted(f"{scheme}{found}{rest.rpartition('@')[2]}")  # not the password
    if scheme.lower() not in _SCHEMES:
        raise ValueError(f"a broker's URL is nats://HOST:PORT or tls://HOST:PORT, not {said}")
    parts = urlsplit(url)
    try:
        ok = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise ValueError(f"the port of a broker's URL is a number from 1 to 65535, not as in {said}") from None
    if not ok or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"a broker's URL is {parts.scheme}://HOST:PORT, and nothing more, not {said}")
    return parts
