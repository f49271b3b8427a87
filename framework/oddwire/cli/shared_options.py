"""The options and arguments that several commands share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Final

import typer

from oddwire.cli.config_file import use_config

__all__ = [
    "Config",
    "Connect",
    "ConnectTimeout",
    "DataDir",
    "Extensions",
    "Fields",
    "Json",
    "Listen",
    "Lnd",
    "LndDir",
    "LogFormat",
    "LogLines",
    "Macaroon",
    "Metrics",
    "Network",
    "NodesNetwork",
    "Proxy",
    "Reload",
    "ReloadDir",
    "RpcFile",
    "ShowConfig",
    "Timeout",
    "TlsCert",
    "Uvloop",
    "Verbose",
    "positive",
]

_LONGEST: Final = 1e9  # seconds; event loops refuse much longer timers


def positive(seconds: float | None) -> float | None:
    """Return what an option for seconds was given. Raises `typer.BadParameter` for what is no time to wait."""
    if seconds is not None and not 0 < seconds < _LONGEST:
        raise typer.BadParameter(f"should be a number of seconds above 0, not {seconds:g}")
    return seconds


Listen = Annotated[
    list[str] | None,
    typer.Option(
        "--listen", metavar="HOST:PORT", help="Listen here, by WebSocket at ws://HOST:PORT; port 0 takes a free one."
    ),
]
Connect = Annotated[
    list[str] | None,
    typer.Option("--connect", metavar="NODE_ID@HOST:PORT", help="Connect, and again whenever the connection is lost."),
]
ConnectTimeout = Annotated[
    float | None,
    typer.Option(
        "--connect-timeout",
        metavar="SECONDS",
        callback=positive,
        help="How long a dial may take, and then the peer's init; 10 and 30 by default, by proxy 120 each.",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Keep the node's key and store here. Without it, both are new."),
]
Lnd = Annotated[
    str | None,
    typer.Option("--lnd", metavar="HOST:PORT", help="Run beside the LND whose gRPC is here, not on a node of its own."),
]
TlsCert = Annotated[
    Path | None, typer.Option("--tlscert", metavar="FILE", help="LND's certificate; by default tls.cert in --lnddir.")
]
Macaroon = Annotated[
    Path | None,
    typer.Option(
        "--macaroon", metavar="FILE", help="What 'oddwire lnd macaroon' bakes; by default admin.macaroon in --lnddir."
    ),
]
LndDir = Annotated[
    Path | None, typer.Option("--lnddir", metavar="DIR", help="LND's folder, for what these options do not say.")
]
_NETWORKS: Final = "bitcoin, testnet, testnet4, signet or regtest"
Network = Annotated[str, typer.Option("--network", metavar="NETWORK", help=f"Announced to peers: {_NETWORKS}.")]
NodesNetwork = Annotated[str | None, typer.Option("--network", metavar="NETWORK", help=f"The node's: {_NETWORKS}.")]
Extensions = Annotated[
    list[str] | None,
    typer.Option(
        "--extension",
        metavar="EXT",
        help="Know this extension's messages, too: an EXT as with run; may be repeated.",
    ),
]
Fields = Annotated[list[str] | None, typer.Argument(metavar="FIELD=VALUE...", help="The message's fields.")]
RpcFile = Annotated[str | None, typer.Option("--rpc-file", metavar="FILE", help="The socket, if it is another one.")]
Proxy = Annotated[
    str | None,
    typer.Option("--proxy", metavar="HOST:PORT", help="Dial through this SOCKS5 proxy, Tor say: HOST[:PORT] or a URL."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more, on stderr.")]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        callback=positive,
        help="For a reply, or each part of a stream, 5 by default; for a call 60, for --reliable 30.",
    ),
]
Metrics = Annotated[
    str | None,
    typer.Option("--metrics", metavar="HOST:PORT", help="Count messages, and serve the counts for Prometheus here."),
]


class LogLines(Enum):
    """The forms of a log on stderr."""

    text = "text"
    json = "json"


LogFormat = Annotated[
    LogLines, typer.Option("--log-format", help="Write the log as text, or as one JSON object a line.")
]
Uvloop = Annotated[bool, typer.Option("--uvloop", help="Run on uvloop, which has to be installed.")]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        is_eager=True,
        callback=use_config,
        help="Read options from this TOML file; the command line and ODDWIRE_* in the environment come before it.",
    ),
]
ShowConfig = Annotated[bool, typer.Option("--show-config", help="Show what is in force, and from where, and end.")]
Reload = Annotated[
    bool, typer.Option("--reload", help="Start anew when the extensions' Python files change; needs oddwire[reload].")
]
ReloadDir = Annotated[
    list[str] | None,
    typer.Option("--reload-dir", metavar="DIR", help="With --reload, watch this folder too; may be repeated."),
]
