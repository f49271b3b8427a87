"""The options that say which LND, and the transport that they mean."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.printable import printable

if TYPE_CHECKING:
    from oddwire.transports.host import HostTransport

__all__ = ["DEFAULT_ADDRESS", "NETWORKS", "LndOptions", "is_macaroon", "lnd_network", "lnd_path"]

NETWORKS: Final = ("mainnet", "testnet", "testnet4", "signet", "simnet", "regtest")
"""LND's names of the networks, as its folders have them."""
DEFAULT_ADDRESS: Final = "localhost:10009"
"""Where LND's gRPC is unless its rpclisten says otherwise."""

# How a macaroon begins that is pasted in place of its file's name: version 2 and a location or an identifier
_MACAROON: Final = re.compile(r"\s*(0201|0202)[0-9a-fA-F]{60,}\s*|\s*Ag[EI][\w+/=-]{60,}\s*")
_LND_DOES: Final = {
    "listen": "LND listens, where listen= in lnd.conf says",
    "proxy": "LND dials, by the tor.socks of lnd.conf",
    "connect-timeout": "LND dials, and connectiontimeout= in lnd.conf says how long it may take",
}


def is_macaroon(text: str) -> bool:
    """Return whether a text is a macaroon itself, in hex or base64, and not the name of its file."""
    return _MACAROON.fullmatch(text) is not None


def lnd_network(name: str) -> str:
    """Return LND's name of a network, ``mainnet`` for ``bitcoin``. Raises `CommandFailure` with the list."""
    if name in NETWORKS:
        return name
    if name == "bitcoin":
        return "mainnet"
    close = difflib.get_close_matches(name, NETWORKS, 1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(NETWORKS)}"
    raise CommandFailure(f"--network {printable(name)!r}: LND has no such network; {hint}", USAGE)


def lnd_path(path: Path) -> Path:
    """Return a whole path, with ``~`` expanded. Raises `CommandFailure` where there is no such home, or folder."""
    try:
        return path.expanduser().absolute()
    except (RuntimeError, FileNotFoundError):
        raise CommandFailure(f"{path}: there is no such folder to begin with; give a whole path", USAGE) from None


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

    @property
    def place(self) -> str:
        """Where LND is asked to be, for people."""
        return self.address or DEFAULT_ADDRESS

    @property
    def names_network(self) -> bool:
        """Whether they say which network LND should be of: by its name, or by the folder of its default macaroon."""
        return self.chosen or self.lnddir is not None

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
        missing = [
            f"--{name} FILE"
            for name, value in (("tlscert", self.tlscert), ("macaroon", self.macaroon))
            if value is None
        ]
        if self.lnddir is None and missing:
            raise CommandFailure(f"--lnd needs {' and '.join(missing)}, or --lnddir DIR, where LND has both", USAGE)
        lnd_network(self.network)

    def transport(self, connect: Sequence[str] = ()) -> HostTransport:
        """Return the transport, which keeps connections to the URIs of ``connect``. Raises `CommandFailure`."""
        try:
            from oddwire.transports.lnd.transport import LndTransport  # for who has LND alone
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "oddwire":
                raise
            raise CommandFailure("--lnd needs grpcio: pip install 'oddwire[lnd]'", USAGE) from None
        try:
            return LndTransport(
                self.address,
                tlscert=None if self.tlscert is None else lnd_path(self.tlscert),
                macaroon=None if self.macaroon is None else lnd_path(self.macaroon),
                lnddir=None if self.lnddir is None else lnd_path(self.lnddir),
                network=lnd_network(self.network),
                connect=connect,
            )
        except ValueError as error:
            raise CommandFailure(str(error), USAGE) from error
