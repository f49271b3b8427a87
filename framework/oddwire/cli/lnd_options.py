"""The options that say which LND, and the transport that they mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.errors import TransportError
from oddwire.printable import printable

if TYPE_CHECKING:
    from oddwire.transports.lnd.transport import LndTransport

__all__ = ["LndOptions", "is_macaroon", "lnd_network"]

# How a macaroon begins that is pasted in place of its file's name: version 2 and a location or an identifier
_MACAROON: Final = re.compile(r"\s*(0201|0202)[0-9a-fA-F]{60,}\s*|\s*Ag[EI][\w+/=-]{60,}\s*")
_CHAINS: Final = "data/chain/bitcoin"
_ADMIN: Final = "admin.macaroon"
_LND_DOES: Final = {
    "listen": "LND listens, where listen= in lnd.conf says",
    "proxy": "LND dials, by the tor.socks of lnd.conf",
    "connect-timeout": "LND dials, and connectiontimeout= in lnd.conf says how long it may take",
}


def is_macaroon(text: str) -> bool:
    """Return whether a text is a macaroon itself, in hex or base64, and not the name of its file."""
    return _MACAROON.fullmatch(text) is not None


def lnd_network(name: str) -> str:
    """Return LND's name of a network, which is ``mainnet`` for ``bitcoin``."""
    return "mainnet" if name == "bitcoin" else name


@dataclass(frozen=True, slots=True, kw_only=True)
class LndOptions:
    """The options as they were given. ``network`` is one of either spelling; ``chosen``, whether anybody said it."""

    address: str | None = None
    tlscert: Path | None = None
    macaroon: Path | None = None
    lnddir: Path | None = None
    network: str = "bitcoin"
    chosen: bool = False

    @property
    def is_wanted(self) -> bool:
        """Whether they ask for LND at all."""
        return self.address is not None or self.lnddir is not None

    def check(
        self, *, listen: Sequence[str] = (), proxy: str | None = None, connect_timeout: float | None = None
    ) -> None:
        """Raise `CommandFailure` for options that make no sense together, with what would; also those of a node."""
        if self.macaroon is not None and is_macaroon(str(self.macaroon)):
            text = "--macaroon is the name of a file, not what is in it; that is a secret, and is now in your history"
            raise CommandFailure(text, USAGE)
        if not self.is_wanted:
            for name, path in (("tlscert", self.tlscert), ("macaroon", self.macaroon)):
                if path is not None:
                    text = f"--{name} {path} is for an LND: --lnd HOST:PORT, or --lnddir DIR, says which"
                    raise CommandFailure(text, USAGE)
            return
        given = "--lnd" if self.address is not None else "--lnddir"
        first = f" {listen[0]}" if listen else ""
        seconds = None if connect_timeout is None else f" {connect_timeout:g}"
        for name, value in (("listen", first or None), ("proxy", proxy and f" {proxy}"), ("connect-timeout", seconds)):
            if value:
                raise CommandFailure(f"--{name}{value} does not go with {given}: {_LND_DOES[name]}", USAGE)
        if self.address == "":
            raise CommandFailure("--lnd is empty; it should be HOST:PORT", USAGE)

    @property
    def elsewhere(self) -> str:
        """A hint that names the networks of which the folder has a macaroon, if it has none of this one; else empty."""
        if self.lnddir is None or self.macaroon is not None:
            return ""
        found = self.lnddir.expanduser().glob(f"{_CHAINS}/*/{_ADMIN}")
        networks = sorted(printable(path.parent.name) for path in found)
        if not networks or lnd_network(self.network) in networks:
            return ""
        return f"; there is one of --network {' and of '.join(networks)}"

    def transport(self, connect: Sequence[str] = ()) -> LndTransport:
        """Return the transport, which keeps connections to the URIs of ``connect``. Raises `CommandFailure`."""
        from oddwire.transports.lnd.transport import LndTransport  # for who has LND alone

        try:
            return LndTransport(
                self.address,
                tlscert=self.tlscert,
                macaroon=self.macaroon,
                lnddir=self.lnddir,
                network=self.network,
                connect=connect,
            )
        except (ValueError, RuntimeError, TransportError) as error:  # without a home, without grpcio
            raise CommandFailure(str(error), USAGE) from error
