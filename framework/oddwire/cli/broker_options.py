"""The options that say which broker a cluster has, and how to log in there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.errors import TransportError

if TYPE_CHECKING:
    from oddwire.transports.nats.address import BrokerAddress
    from oddwire.transports.nats.connection import BrokerConnection

__all__ = ["Broker", "BrokerCa", "BrokerCredentials", "BrokerNkey", "broker_address", "connect_broker"]

Broker = Annotated[
    str | None,
    typer.Option(
        "--broker",
        metavar="URL",
        help="The cluster's NATS, nats://HOST:PORT or tls://...: 'oddwire broker' prints it. Several with commas.",
    ),
]
BrokerCredentials = Annotated[
    Path | None,
    typer.Option("--broker-credentials", metavar="FILE", help="Log in there by this .creds file: a JWT and its seed."),
]
BrokerNkey = Annotated[
    Path | None, typer.Option("--broker-nkey", metavar="FILE", help="Log in there by the NKEY whose seed is here.")
]
BrokerCa = Annotated[
    Path | None,
    typer.Option("--broker-ca", metavar="FILE", help="Trust this CA for its TLS, and not those of the system."),
]


def broker_address(
    command: str, url: str | None, credentials: Path | None = None, nkey: Path | None = None, ca: Path | None = None
) -> BrokerAddress:
    """Return where the broker is. Raises `CommandFailure` for options that make no sense, or none."""
    from oddwire.transports.nats.address import BrokerAddress

    if not url:
        text = f"{command} needs --broker URL, where the cluster's NATS is; 'oddwire broker --data-dir DIR' runs one"
        raise CommandFailure(text, USAGE)
    try:
        address = BrokerAddress(url=url, credentials=credentials, nkey=nkey, ca=ca)
        address.tls()
    except ValueError as error:
        raise CommandFailure(f"--broker: {error}", USAGE) from error
    return address


async def connect_broker(address: BrokerAddress, *, name: str, patience: float | None = None) -> BrokerConnection:
    """Connect to the broker, which is waited for, for ever unless a ``patience`` in seconds is given.

    Raises `CommandFailure` for one that does not let us in, or will not do, and if nats-py is missing.
    """
    try:
        from oddwire.transports.nats.connection import BrokerConnection
    except TransportError as error:  # nats-py is missing
        raise CommandFailure(str(error), USAGE) from error
    from oddwire.cluster.broker.checking import check_broker
    from oddwire.transports.nats.errors import BrokerRefused, BrokerUnavailable

    try:
        connection = await BrokerConnection.open(address, name=name, patience=patience)
    except BrokerRefused as failure:
        raise CommandFailure(f"broker: {failure.reason}", USAGE) from failure
    except BrokerUnavailable as failure:
        raise CommandFailure(f"broker: {failure.reason}") from failure
    try:
        await check_broker(connection)
    except TransportError as error:
        await connection.aclose()
        raise CommandFailure(str(error), USAGE) from error
    except BaseException:
        await connection.aclose()
        raise
    return connection
