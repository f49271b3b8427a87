"""Where LND is and how to be let in: its address, TLS certificate and macaroon, from the files that lncli reads.

Files are read anew for each connection, as LND makes a new certificate when the old one has expired.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
import sys
from pathlib import Path
from typing import Final

from oddwire.printable import printable, quoted
from oddwire.proto.addresses import port_number
from oddwire.transports.lnd.errors import LndRefused
from oddwire.transports.lnd.macaroon import Macaroon

__all__ = ["NETWORKS", "LndCredentials", "default_lnddir", "trusting"]

NETWORKS: Final = ("mainnet", "testnet", "testnet4", "signet", "simnet", "regtest")
"""lncli's words for networks; ``bitcoin``, Core Lightning's word for the first, is taken too."""
_PORT: Final = 10009
_MOST: Final = 1024 * 1024  # bytes of a file; certificates and macaroons have some hundred
_LISTEN: Final = re.compile(r"^\s*rpclisten\s*=\s*(\S+)", re.MULTILINE)
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%a-z0-9]+\]")


def default_lnddir() -> Path:
    """Return the folder in which LND and lncli keep their files unless told otherwise."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "Lnd"
    if sys.platform == "win32":
        return Path.home() / "AppData" / "Local" / "Lnd"
    return Path.home() / ".lnd"


class LndCredentials:
    """LND's address, certificate and macaroon.

    ``address`` is ``HOST:PORT`` or ``unix:///PATH``, what LND's ``rpclisten`` names and lncli's ``--rpcserver`` takes.
    What is not given is looked for in ``lnddir`` as lncli does (default: LND's own folder): ``tls.cert`` and, for
    ``network``, ``admin.macaroon``; and the address, which lncli does not look for, in ``lnd.conf``, else it is
    ``localhost:10009``. With ``tlscert`` and without ``macaroon`` and ``lnddir``, no macaroon is sent: for a LND that
    runs with ``no-macaroons``.

    Raises `ValueError` for an address or network that is none.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        tlscert: str | os.PathLike[str] | None = None,
        macaroon: str | os.PathLike[str] | None = None,
        lnddir: str | os.PathLike[str] | None = None,
        network: str = "mainnet",
    ) -> None:
        word = "mainnet" if network == "bitcoin" else network
        if word not in NETWORKS:
            raise ValueError(f"network should be one of {', '.join(NETWORKS)}, not {quoted(network)}")
        folder = default_lnddir() if lnddir is None else Path(lnddir).expanduser()
        self._folder = folder
        self._address = None if address is None else _normal(address)
        self.tlscert: Final = folder / "tls.cert" if tlscert is None else Path(tlscert).expanduser()
        """The file of LND's certificate."""
        self.explicit_macaroon: Final = macaroon is not None
        """Whether the macaroon's file was given, and so has to be there."""
        self.macaroon_file: Final = (
            Path(macaroon).expanduser()
            if macaroon is not None
            else None
            if tlscert is not None and lnddir is None
            else folder / "data" / "chain" / "bitcoin" / word / "admin.macaroon"
        )
        """The file of the macaroon; None to send none."""

    @property
    def address(self) -> str:
        """Where LND listens: ``HOST:PORT`` or ``unix:///PATH``."""
        return self._address or self._listed() or f"localhost:{_PORT}"

    @property
    def host_and_port(self) -> tuple[str, int] | None:
        """The host, without brackets, and the port; None for a Unix socket."""
        address = self.address
        if address.startswith("unix:"):
            return None
        host, _, port = address.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def socket_path(self) -> str:
        """The path of a Unix socket, empty for an address with a port."""
        address = self.address
        return address.removeprefix("unix://") if address.startswith("unix:") else ""

    def certificate(self) -> bytes:
        """Return LND's certificate, PEM. Raises `LndRefused`."""
        what = f"TLS certificate {printable(str(self.tlscert))}"
        try:
            data = _read(self.tlscert)
        except FileNotFoundError:
            raise LndRefused(f"{what}: no such file; LND writes tls.cert when it first starts") from None
        except (OSError, ValueError) as error:
            raise LndRefused(f"{what}: {_why(error)}; give LND's tls.cert") from None
        if b"PRIVATE KEY-----" in data and b"BEGIN CERTIFICATE-----" not in data:
            raise LndRefused(f"{what} is a private key; give LND's tls.cert, which is beside it")
        if b"-----BEGIN CERTIFICATE-----" not in data:
            raise LndRefused(
                f"{what} is not in PEM format, which begins with -----BEGIN CERTIFICATE-----; give LND's tls.cert"
            )
        try:
            trusting(data)
        except (ssl.SSLError, ValueError):
            raise LndRefused(f"{what} is damaged; copy LND's tls.cert again") from None
        return data

    def macaroon(self) -> Macaroon | None:
        """Return the macaroon, None where none is to be sent. Raises `LndRefused`; `FileNotFoundError` without a file.

        A file that does not exist is no fault yet: LND writes it when the wallet is made, and not at all with
        ``no-macaroons``.
        """
        if self.macaroon_file is None:
            return None
        what = f"macaroon {printable(str(self.macaroon_file))}"
        try:
            return Macaroon.read(_read(self.macaroon_file))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise LndRefused(f"{what}: {_why(error)}") from None
        except _WrongFileError as error:
            raise LndRefused(f"{what}: {error}; give the macaroon's file") from None
        except ValueError as error:
            raise LndRefused(f"{what} {error}") from None

    def __repr__(self) -> str:
        return f"LndCredentials({self.address!r}, tlscert={str(self.tlscert)!r}, macaroon={str(self.macaroon_file)!r})"

    def _listed(self) -> str | None:
        """Return the first address that ``lnd.conf`` has LND listen on, as a client reaches it."""
        try:
            found = _LISTEN.search(_read(self._folder / "lnd.conf").decode(errors="replace"))
            return None if found is None else _reached(_normal(found[1]))
        except (OSError, ValueError):
            return None


def trusting(certificate: bytes) -> ssl.SSLContext:
    """Return a context that trusts this certificate and no other. Raises `ssl.SSLError` or `ValueError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as gRPC does: it need not be a root
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(cadata=certificate.decode("ascii", "replace"))
    return context


class _WrongFileError(ValueError):
    """Not a file that could be a certificate or a macaroon."""


def _read(path: Path) -> bytes:
    """Return a regular file's bytes. Raises `OSError`, and `ValueError` for what is no such file."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise _WrongFileError("is a folder")
    if not stat.S_ISREG(mode):  # a FIFO would be waited for, and is empty at the next connection
        raise _WrongFileError("is not a regular file")
    with path.open("rb") as file:
        data = file.read(_MOST + 1)
    if len(data) > _MOST:
        raise _WrongFileError("has more than a megabyte")
    return data


def _why(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "no permission to read it; have its owner grant it, or make a copy"
    return str(getattr(error, "strerror", None) or error)


def _normal(address: str) -> str:
    """Return an address as ``HOST:PORT`` or ``unix:///PATH``. Raises `ValueError`."""
    form = "should be HOST:PORT or unix:///PATH"
    if address.startswith("unix:"):
        path = address.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/"):
            raise ValueError(f"LND's address {form}, not {quoted(address)}")
        return f"unix://{path}"
    if "://" in address:
        raise ValueError(f"LND's address {form}, not {quoted(address)}: it is the one of gRPC, without https://")
    if address.isascii() and address.isdigit():
        address = f"localhost:{address}"
    host, colon, port = address.rpartition(":")
    if address.endswith("]") or not colon:
        host, port = address, str(_PORT)
    if ":" in host and not host.startswith("["):
        raise ValueError(
            f"LND's address {form}, not {quoted(address)}: write an IPv6 address in brackets, [::1]:{_PORT}"
        )
    if not address or (host and not _HOST.fullmatch(host)):
        raise ValueError(f"LND's address {form}, not {quoted(address)}")
    number = port_number(port)
    if not number:
        raise ValueError(f"port of LND's address {quoted(address)} should be 1 to 65535")
    return f"{host or 'localhost'}:{number}"


def _reached(address: str) -> str:
    """Return the address at which a listener on every interface is reached from here."""
    for everywhere in ("0.0.0.0:", "[::]:"):
        if address.startswith(everywhere):
            return "localhost:" + address.removeprefix(everywhere)
    return address
