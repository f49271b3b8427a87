"""`Application`: extensions and a transport, put together and run."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Mapping
from enum import Enum
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from oddwire.app.context import Context, Peer
from oddwire.app.dispatcher import Dispatcher
from oddwire.app.plugins import PluginManager
from oddwire.app.router import build_router
from oddwire.codecs.registry import Registry
from oddwire.errors import ExtensionError, LocalProtocolError, TransportError
from oddwire.transports.base import Manifest, NodeId, PeerInfo, Transport

__all__ = ["Application"]

logger = logging.getLogger("oddwire.app")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _State(Enum):
    BUILT = "is not started"
    RUNNING = "is running"
    CLOSED = "is closed"


@runtime_checkable
class _Dials(Protocol):
    async def connect(self, uri: str) -> PeerInfo:
        """Connect to the node of a URI."""
        raise NotImplementedError


class Application:
    """Runs extensions over one transport.

    ``extensions`` are `Extension` objects, other plugins, or texts: names of installed extensions and paths of
    ``.py`` files. ``transport`` is an unopened `Transport`, or the name of a registered or installed one, made with
    ``transport_options``. ``plugins`` brings a `PluginManager` with plugins of its own. ``grace`` is how many
    seconds handlers get to finish when the application closes.

    Everything is checked here, before anything runs: raises the `DefinitionError` that names both sides. Starts
    once, with ``async with app:`` or `start` and `aclose`.
    """

    def __init__(
        self,
        *extensions: object,
        transport: Transport | str,
        transport_options: Mapping[str, Any] | None = None,
        plugins: PluginManager | None = None,
        grace: float = 5.0,
    ) -> None:
        self.plugins = plugins if plugins is not None else PluginManager()
        for extension in extensions:
            if isinstance(extension, str):
                self.plugins.load(extension)
            else:
                self.plugins.register(extension)
        if isinstance(transport, str):
            transport = self._make_transport(transport, transport_options or {})
        elif transport_options is not None:
            raise ExtensionError("transport_options are for a transport given by name")
        self.transport: Transport = transport
        self._router = build_router(self.plugins)
        self.plugins.freeze()
        self._grace = grace
        self._state = _State.BUILT
        self._dispatcher: Dispatcher | None = None
        self._started: set[str] = set()
        self._closing: asyncio.Task[None] | None = None
        self._stopped = asyncio.Event()

    # Running ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Run the startup hooks, then open the transport.

        Raises what a hook raises, or the transport's `TransportError`; cancelled or failed, all that was started is
        shut down again and the application is closed.
        """
        if self._state is not _State.BUILT:
            raise LocalProtocolError(f"an application starts once; this one {self._state.value}")
        self._state = _State.RUNNING
        calls = self.plugins.calls
        silent = {call.plugin for call in calls("shutdown")} - {call.plugin for call in calls("startup")}
        self._started |= silent
        try:
            for call in calls("startup"):
                await call.finish(app=self)
                self._started.add(call.plugin)
            self._dispatcher = Dispatcher(
                self,
                self._router,
                self.transport,
                on_connect=calls("peer_connected"),
                on_disconnect=calls("peer_disconnected"),
                on_failure=calls("handler_failed"),
                tracers=calls("message_traced"),
            )
            await self.transport.open(self._router.manifest, self._dispatcher)
        except BaseException:
            await self._close(grace=0.0)
            raise

    async def aclose(self) -> None:
        """Stop: no more messages, handlers finish, the transport closes, peers are bid farewell, shutdown hooks run.

        Idempotent. Handlers get ``grace`` seconds, farewells as many; cancelled, it waits for neither and cleans up
        all the same. Raises the first error of a shutdown hook, at the end, and `LocalProtocolError` in a handler,
        which it would wait for: that calls `stop`.
        """
        if self._state is _State.BUILT:
            self._state = _State.CLOSED
            return
        if self._dispatcher is not None and self._dispatcher.is_working_on(asyncio.current_task()):
            raise LocalProtocolError("aclose would wait for the handler that called it: call stop() instead")
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(self._grace))
        if self._closing is asyncio.current_task():
            return  # a hook asks for what is under way
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            if self._dispatcher is not None:
                self._dispatcher.hurry()
            await asyncio.wait([self._closing])
            raise

    async def _close(self, grace: float) -> None:
        self._state = _State.CLOSED
        self._stopped.set()
        try:
            if self._dispatcher is not None:
                await self._dispatcher.aclose(grace, self.transport.aclose)
        finally:
            await self._shut_down()

    async def _shut_down(self) -> None:
        errors: list[Exception] = []
        for call in reversed(self.plugins.calls("shutdown")):
            if call.plugin in self._started:
                try:
                    await call.finish(app=self)
                except Exception as error:
                    logger.exception("shutdown of %r failed", call.plugin)
                    errors.append(error)
        if errors:
            raise errors[0]

    async def __aenter__(self) -> Application:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def stop(self) -> None:
        """End `run_until_stopped`. For handlers and signals: it returns at once."""
        self._stopped.set()

    async def run_until_stopped(self) -> None:
        """Start if need be, run until `stop`, SIGINT or SIGTERM, then close. A second signal is not caught."""
        loop = asyncio.get_running_loop()
        caught: list[signal.Signals] = []

        def signalled() -> None:
            release()
            self.stop()

        def release() -> None:
            while caught:
                loop.remove_signal_handler(caught.pop())

        for number in _SIGNALS:
            try:
                loop.add_signal_handler(number, signalled)
            except (NotImplementedError, RuntimeError, ValueError):
                continue  # Windows, or not the main thread: the caller stops us
            caught.append(number)
        try:
            if self._state is _State.BUILT:
                await self.start()
            await self._stopped.wait()
        finally:
            release()
            await self.aclose()

    # Peers and the rest of the world ----------------------------------------------------------------

    def peer(self, node_id: NodeId | bytes | str) -> Peer:
        """Give the handle of a node, connected or not. Raises `ValueError` for what is no node id."""
        return Peer(self._running(), NodeId(node_id))

    @property
    def peers(self) -> list[Peer]:
        """The peers connected now, in the order in which they connected."""
        return self._running().peers()

    async def connect(self, uri: str) -> Peer:
        """Connect to the node of a URI, in the transport's own form, and give its handle.

        Raises `TransportError` if the transport does not dial, and what its own ``connect`` raises.
        """
        self._running()
        if not isinstance(self.transport, _Dials):
            name = type(self.transport).__name__
            raise TransportError(f"{name} does not connect on request")
        return self.peer((await self.transport.connect(uri)).node_id)

    async def disconnect(self, node_id: NodeId | bytes | str, reason: str = "") -> None:
        """Hang up on a peer, where the transport can."""
        self._running()
        await self.transport.disconnect(NodeId(node_id), reason)

    async def call(self, method: str, *arguments: Any, **parameters: Any) -> Any:
        """Call an extension's RPC method as its host node would. Raises `ExtensionError` for an unknown one."""
        self._running()
        try:
            owner, rpc = self._router.rpc_methods[method]
        except KeyError:
            known = ", ".join(sorted(self._router.rpc_methods)) or "none"
            raise ExtensionError(f"no RPC method {method!r} is loaded; there are: {known}") from None
        return await rpc.function(Context(self, owner.name), *arguments, **parameters)

    @property
    def node_id(self) -> NodeId | None:
        """Our own node id, once the transport is open; None if it has none to tell."""
        return getattr(self.transport, "node_id", None)

    @property
    def uris(self) -> tuple[str, ...]:
        """Where peers can reach us, in the transport's own form."""
        return (*getattr(self.transport, "uris", ()),)

    @property
    def registry(self) -> Registry:
        """Every message the application knows, frozen."""
        return self._router.registry

    @property
    def manifest(self) -> Manifest:
        """What the transport is told of the application."""
        return self._router.manifest

    def _running(self) -> Dispatcher:
        if self._dispatcher is None:
            raise LocalProtocolError(f"the application {self._state.value}")
        return self._dispatcher

    def _make_transport(self, name: str, options: Mapping[str, Any]) -> Transport:
        try:
            made: object = self.plugins.transport(name)(**options)
        except TypeError as error:
            raise ExtensionError(f"transport {name!r} does not take these options: {error}") from error
        if not isinstance(made, Transport):
            raise ExtensionError(f"transport {name!r} should make a Transport, not {made!r}")
        return made
