"""A running program's own JSON-RPC: its extensions' methods, on a unix socket for its user alone."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from oddwire.app.declarations.rpc import bind_parameters
from oddwire.app.extension import Extension
from oddwire.errors import NodeRefused, OddwireError, TransportError
from oddwire.jsonrpc.commands import BUILT_IN, Command, Commands, RpcRequest
from oddwire.jsonrpc.parameters import Parameter, a_bool
from oddwire.jsonrpc.progress import ProgressNotices
from oddwire.jsonrpc.server import JsonRpcServer
from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.transports.base import PROGRESS, HostMethod

if TYPE_CHECKING:
    from oddwire.app.application import Application

__all__ = ["Kind", "LocalRpc", "extensions_of", "own_methods", "program_facts"]

logger = get_logger("oddwire.app")

Kind = Literal["run", "plugin"]
"""What a program is."""

_TERMINATED: Final = -4  # lightningd's code: the plugin ended before it had answered
_RETRY: Final = 0.25  # seconds


def program_facts(app: Application, name: str, kind: Kind) -> dict[str, Any]:
    """Return what identifies a program: its name, process, node and extensions, as JSON."""
    from oddwire.version import __version__  # imported late: it takes some milliseconds

    return {
        "program": name,
        "kind": kind,
        "pid": os.getpid(),
        "oddwire": __version__,
        "node_id": None if app.node_id is None else str(app.node_id),
        "uris": list(app.uris),
        "extensions": [{"name": owner.name, "version": owner.version} for owner in extensions_of(app)],
    }


def extensions_of(app: Application) -> list[Extension]:
    """Return an application's extensions, in the order of loading."""
    return [owner.plugin for owner in app.plugins.contributions if isinstance(owner.plugin, Extension)]


def own_methods(app: Application, name: str, kind: Kind) -> tuple[HostMethod, ...]:
    """Return the methods that every program has besides its extensions', which may have methods of these names."""

    async def identify(params: Any) -> Any:
        check_none(params)
        return program_facts(app, name, kind)

    def check_none(params: Any) -> None:
        bind_parameters((), params)

    from oddwire.app.insight.methods import local_methods

    app.insight.program, app.insight.kind = name, kind
    return (
        HostMethod(
            name="oddwire-program",
            usage="",
            description="Tell which program this is: its name, process, node and extensions",
            call=identify,
            check=check_none,
        ),
        *local_methods(app),
    )


class LocalRpc:
    """Serves an application's methods at ``path``, from `open` to `aclose`.

    ``name`` and ``kind`` are what clients know the program by. Where unix sockets cannot be used, or the path cannot,
    that is logged once, and the application runs without. ``patience`` is for how many seconds a path at which another
    process listens is tried again.
    """

    def __init__(self, app: Application, path: Path, *, name: str, kind: Kind, patience: float = 0.0) -> None:
        self._app = app
        self._path = path
        self._patience = patience
        self._commands = Commands(lambda level, text: logger.debug("%s", printable(text)), who="the program")
        self._commands.install()
        self._commands.register(
            Command(
                name="notifications",
                handler=_set_notifications,
                parameters=(Parameter("enable", a_bool),),
                description="Set whether this connection gets notifications about its calls",
            )
        )
        for method in (*app.manifest.rpc_methods, *own_methods(app, name, kind)):
            if self._commands.get(method.name) is None:
                self._commands.register(_command(method, self._run))
        self._server = JsonRpcServer(path, self._commands.dispatch, owner_only=True)
        self._running: set[asyncio.Task[Any]] = set()
        self._opening: asyncio.Task[None] | None = None
        self._ended = False

    async def open(self) -> bool:
        """Listen. Return whether that is so; without ``patience`` it stays so."""
        if not hasattr(socket, "AF_UNIX"):
            logger.warning("this system has no unix sockets: 'oddwire call' does not reach this program")
            return False
        try:
            await self._server.start()
        except TransportError as error:
            if self._patience > 0:
                self._opening = asyncio.get_running_loop().create_task(self._open_later())
            else:
                self._cannot(error)
            return False
        return True

    async def opened(self) -> None:
        """Wait until it listens after all, or no more is tried."""
        if self._opening is not None:
            await asyncio.wait([self._opening])

    async def _open_later(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        while True:
            await asyncio.sleep(_RETRY)
            try:
                await self._server.start()
                return
            except TransportError as error:
                if loop.time() > deadline:
                    self._cannot(error)
                    return

    def _cannot(self, error: OddwireError) -> None:
        logger.warning("'oddwire call' does not reach this program: %s", error)

    def end(self) -> None:
        """Stop listening, and refuse new requests; those under way go on."""
        self._commands.closing = True
        if self._opening is not None:
            self._opening.cancel()
        self._server.stop_listening()

    async def aclose(self) -> None:
        """End, cancel what is under way, which is answered with an error, and close every client. Idempotent."""
        self.end()
        self._ended = True
        running = self._running - {asyncio.current_task()}
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=1.0)
        await self._server.aclose()

    async def _run(self, method: HostMethod, request: RpcRequest) -> Any:
        me = asyncio.current_task()
        assert me is not None  # noqa: S101 - a connection runs it in one
        self._running.add(me)
        progress = None
        if request.connection is not None and request.connection.notifications:
            progress = ProgressNotices(request.connection.send, request.id)
            PROGRESS.set(progress)  # in the context of this task, and of those that it makes
        try:
            return await method.call(request.params)
        except asyncio.CancelledError:
            if not self._ended:
                raise
            raise NodeRefused("the program ended before it had answered", code=_TERMINATED) from None
        finally:
            self._running.discard(me)
            if progress is not None:
                progress.over = True


def _set_notifications(request: RpcRequest, enable: bool) -> Any:
    if request.connection is not None:
        request.connection.notifications = enable
    return {}


def _command(method: HostMethod, run: Callable[[HostMethod, RpcRequest], Coroutine[Any, Any, Any]]) -> Command:
    def handler(request: RpcRequest) -> Any:
        if request.checking:
            method.check(request.params)
            return None
        return run(method, request)

    return Command(
        name=method.name,
        handler=handler,
        parameters=None,  # the method reads them itself
        description=method.description,
        owner=BUILT_IN,  # so that it is given the parameters to check without the method's name
        usage=method.usage,
        checks=True,
    )
