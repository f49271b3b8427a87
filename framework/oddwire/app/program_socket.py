"""The plugin that has a program serve its own JSON-RPC while it runs.

Plugins of lightningd load it before their manifest, so what does the work is imported once they are ready.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from oddwire.app.hookspecs import hookimpl
from oddwire.log_limits import get_logger
from oddwire.printable import printable

if TYPE_CHECKING:
    from pathlib import Path

    from oddwire.app.application import Application
    from oddwire.app.local_rpc import LocalRpc

__all__ = ["PluginSocket", "RunSocket"]

logger = get_logger("oddwire.app")

_SUCCESSION: Final = 6.0  # seconds after which an earlier process of the same plugin file has certainly ended


class _ProgramSocket:
    """Opens the socket when all extensions are ready, and closes it after they have ended."""

    name = "oddwire.program_socket"

    def __init__(self) -> None:
        self._rpc: LocalRpc | None = None

    async def _open(self, app: Application) -> None:
        raise NotImplementedError

    def _cannot(self, error: OSError) -> None:
        where = "" if error.filename is None else f"{error.filename} "
        text = "'oddwire call' does not reach this program: %s"
        logger.warning(text, printable(f"{where}{error.strerror or error}"))

    @hookimpl(trylast=True)
    async def ready(self, app: Application) -> None:
        """Listen, after all extensions' own ``ready``. What is in the way is logged, and raises nothing."""
        try:
            await self._open(app)
        except OSError as error:
            self._cannot(error)

    @hookimpl
    def stopping(self) -> None:
        """Take no more requests."""
        if self._rpc is not None:
            self._rpc.end()

    @hookimpl
    async def shutdown(self) -> None:
        """Cancel the requests that are still under way, and close."""
        if self._rpc is not None:
            await self._rpc.aclose()


class PluginSocket(_ProgramSocket):
    """The socket of a plugin file, beside its claim in ``folder``, the node's."""

    def __init__(self, folder: str, file: str) -> None:
        super().__init__()
        self._folder = folder
        self._file = file

    async def _open(self, app: Application) -> None:
        from pathlib import Path

        from oddwire.app.local_rpc import LocalRpc
        from oddwire.app.programs.registry import FOLDER
        from oddwire.files import make_folder
        from oddwire.jsonrpc.program_folder import SUFFIX

        place = Path(self._folder) / FOLDER
        make_folder(place)
        name = Path(self._file).name.removesuffix(".py")
        self._rpc = LocalRpc(app, place / f"{name}{SUFFIX}", name=name, kind="plugin", patience=_SUCCESSION)
        await self._rpc.open()


class RunSocket(_ProgramSocket):
    """The socket of a program of its own: in its data directory, with a link in its user's folder, or else there."""

    def __init__(self, data_dir: Path | None) -> None:
        super().__init__()
        self._data_dir = data_dir
        self._link: Path | None = None

    async def _open(self, app: Application) -> None:
        from oddwire.app.local_rpc import LocalRpc, extensions_of
        from oddwire.jsonrpc.program_folder import DATA_DIR_SOCKET, SUFFIX, own_folder

        name = "+".join(owner.name for owner in extensions_of(app)) or "none"
        if self._data_dir is None:
            path = own_folder() / f"{os.getpid()}{SUFFIX}"
        else:
            path = self._data_dir.absolute() / DATA_DIR_SOCKET
        self._rpc = LocalRpc(app, path, name=name, kind="run")
        if await self._rpc.open() and self._data_dir is not None:
            self._make_link(path)

    def _make_link(self, path: Path) -> None:
        from oddwire.jsonrpc.program_folder import SUFFIX, own_folder

        try:
            link = own_folder() / f"{os.getpid()}{SUFFIX}"
            link.unlink(missing_ok=True)  # of an earlier process of this number
            link.symlink_to(path)
        except OSError as error:
            logger.info("'oddwire call' reaches this program by --data-dir alone: %s", printable(str(error)))
        else:
            self._link = link

    @hookimpl
    def stopping(self) -> None:
        """Take no more requests, and be found no more."""
        super().stopping()
        if self._link is not None:
            try:
                self._link.unlink(missing_ok=True)
            except OSError as error:
                logger.info("%s", printable(str(error)))
