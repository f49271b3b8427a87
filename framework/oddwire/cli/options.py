"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Connect", "DataDir", "Json", "Listen", "Network", "Proxy", "Uvloop", "Verbose"]

Listen = Annotated[
    list[str] | None, typer.Option("--listen", metavar="HOST:PORT", help="Listen here; port 0 takes a free one.")
]
Connect = Annotated[
    list[str] | None,
    typer.Option("--connect", metavar="NODE_ID@HOST:PORT", help="Connect, and again whenever the connection is lost."),
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Keep the node's key and store here. Without it, both are new."),
]
Network = Annotated[
    str, typer.Option("--network", help="Announced to peers: bitcoin, testnet, testnet4, signet or regtest.")
]
Proxy = Annotated[
    str | None, typer.Option("--proxy", metavar="HOST:PORT", help="Dial through this SOCKS5 proxy, Tor say.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log more, on stderr.")]
Uvloop = Annotated[bool, typer.Option("--uvloop", help="Run on uvloop, which has to be installed.")]
