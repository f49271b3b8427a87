"""What a program beside LND does once that answers: take its number for peers, look whether it is the right LND."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oddwire.app.hookspecs import hookimpl
from oddwire.app.programs.claims import program_number
from oddwire.errors import ExtensionError
from oddwire.printable import printable
from oddwire.transports.lnd.credentials import NETWORKS

if TYPE_CHECKING:
    from oddwire.app.application import Application

__all__ = ["BesideLnd", "check_network"]


class BesideLnd:
    """A plugin, loaded before the extensions, whose startup hooks may then rely on what it has done.

    ``store`` is the whole path of the store, None for one in memory; ``network`` LND's name of the network that LND
    should be of, None for any; ``place`` says for people where LND is.
    """

    name = "oddwire.cli.lnd"

    def __init__(self, place: str, *, store: Path | None, network: str | None) -> None:
        self.reached = False
        """Whether LND has answered: what goes wrong before is wrong with what the user said."""
        self.place = place
        self._store = store
        self._network = network

    @hookimpl
    async def startup(self, app: Application) -> None:
        """Set the program's number. Raises `ExtensionError` for an LND of another network."""
        self.reached = True
        if self._store is not None:  # without a store, another process is another program
            app.program = program_number(str(app.transport.node_id), self._store)
        if self._network is not None:
            check_network(await app.node.call("GetInfo"), self._network, self.place)


def check_network(info: Mapping[str, Any], wanted: str, place: str) -> None:
    """Raise `ExtensionError` if an LND, as its ``GetInfo`` says, is not on the network ``wanted``."""
    found = [str(chain["network"]) for chain in info.get("chains", ())]
    if found and wanted not in found:
        network = printable(found[0])
        hint = f"--network {network} is for it" if network in NETWORKS else "it is not for this program"
        raise ExtensionError(f"LND at {printable(place)} is on {network}, not {wanted}; {hint}")
