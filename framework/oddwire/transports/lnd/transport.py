"""`LndTransport`: the application is a program beside LND, its messages are LND's custom messages."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from oddwire.errors import ConnectionClosed, TransportError
from oddwire.exit_exceptions import must_pass, spelled
from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.proto.addresses import NodeUri
from oddwire.proto.keys import NodeId
from oddwire.transports.base import MAX_PAYLOAD, MIN_PAYLOAD, Manifest, PeerInfo, Sink, not_connected, wrong_length
from oddwire.transports.host import HostTransport
from oddwire.transports.inbound_queue import Dropped, InboundQueue
from oddwire.transports.lnd.checks import check_macaroon, missing_features
from oddwire.transports.lnd.credentials import LndCredentials
from oddwire.transports.lnd.errors import LndError, LndFailure, LndUnavailable
from oddwire.transports.lnd.failures import call_failure
from oddwire.transports.lnd.kept_peers import KeptPeers
from oddwire.transports.lnd.limits import LndLimits
from oddwire.transports.lnd.requests import read_request
from oddwire.transports.lnd.tasks import end_tasks

if TYPE_CHECKING:
    from oddwire.transports.lnd.client import LndClient
    from oddwire.transports.lnd.life import Life
    from oddwire.transports.lnd.peer_directory import PeerDirectory
    from oddwire.transports.lnd.send_queue import SendQueue

__all__ = ["LndTransport"]

logger = get_logger("oddwire.transports.lnd")

_CLOSED: Final = "closed by us"
_DEADLINE: Final = 4  # gRPC's status
_CONNECTED: Final = "already connected to peer"
_DISCONNECTED: Final = re.compile(r".* is not connected|unable to parse pubkey: ")  # a key that is no point is no peer
_LONGEST: Final = 1e8  # seconds

T = TypeVar("T")


class LndTransport(HostTransport):
    """The peers of an LND, by its gRPC API. Needs grpcio: the extra ``oddwire[lnd]``.

    ``address``, ``tlscert``, ``macaroon``, ``lnddir`` and ``network`` are lncli's: where LND is, ``HOST:PORT`` or
    ``unix:///PATH``, and the files with which to be let in; what is not given is found in ``lnddir``, by default LND's
    own. The files are read anew whenever a connection is made. ``connect`` are URIs, ``node_id@host:port``, of peers
    that LND is to stay connected to. ``start_timeout`` is how many seconds an LND that is not there, or whose wallet is
    locked, is waited for at the start; None for ever.

    LND may stop and come back: its peers are gone meanwhile, `Sink.host_stopping` is called only if another node
    answers then. After `configure`, ``node_id`` and ``uris`` are LND's. ``dropped`` counts messages that the
    application did not accept in time. Feature bits cannot be set from outside: those that LND lacks are logged, with
    the lines for lnd.conf. Raises `ValueError` or `TypeError` for arguments that make no sense, and `TransportError`
    without grpcio.
    """

    shared = True  # with all other clients of this LND

    def __init__(
        self,
        address: str | None = None,
        *,
        tlscert: str | os.PathLike[str] | None = None,
        macaroon: str | os.PathLike[str] | None = None,
        lnddir: str | os.PathLike[str] | None = None,
        network: str = "mainnet",
        connect: Sequence[str] = (),
        limits: LndLimits | None = None,
        start_timeout: float | None = None,
    ) -> None:
        if isinstance(connect, str) or not isinstance(connect, Collection):
            raise TypeError(f"connect should be a list of URIs, node_id@host:port, not {connect!r:.200}")
        if not isinstance(limits, LndLimits | None):
            raise TypeError(f"limits should be LndLimits, not {limits!r:.200}")
        if start_timeout is not None and not (
            isinstance(start_timeout, int | float) and not isinstance(start_timeout, bool) and start_timeout >= 0
        ):
            raise ValueError(f"start_timeout should be seconds, 0 or more, or None, not {start_timeout!r}")
        self.on_back: Callable[[], object] = lambda: None
        """Called whenever LND is back after it was lost, and its peers are told."""
        self._wanted = [_check_uri(uri) for uri in connect]
        self._credentials = LndCredentials(address, tlscert=tlscert, macaroon=macaroon, lnddir=lnddir, network=network)
        from oddwire.transports.lnd.client import LndClient  # needs grpcio, and says so

        self._make_client: Callable[[], LndClient] = lambda: LndClient(self._credentials)
        self.limits = limits or LndLimits()
        self.uris = []
        self._dropped = Dropped()
        self.dropped = self._dropped
        self._start_timeout = None if start_timeout is None else min(start_timeout, _LONGEST)
        self._manifest: Manifest | None = None
        self._sink: Sink | None = None
        self._life: Life | None = None
        self._directory: PeerDirectory | None = None
        self._queues: Mapping[NodeId, SendQueue] = {}
        self._kept: KeptPeers | None = None
        self._starting: asyncio.Task[Any] | None = None
        self._running: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._closed = False
        self._told: set[str] = set()

    @property
    def address(self) -> str:
        """Where LND is: ``HOST:PORT`` or ``unix:///PATH``."""
        return self._credentials.address

    # Start --------------------------------------------------------------------------------------------

    async def configure(self, manifest: Manifest) -> Mapping[str, Any]:
        """Connect to LND, wait until it is active, and load its node id; return nothing, as LND has no options of ours.

        Raises `TransportError` for files, addresses and permissions that cannot be right, and after ``start_timeout``;
        `ConnectionClosed` if closed meanwhile.
        """
        if self._manifest is not None or self._closed:
            raise TransportError("this transport was configured before, or closed; make a new one")
        self._manifest = manifest
        from oddwire.transports.lnd.life import Life

        life = self._life = Life(self._make_client, self.address, self._check, self.limits, self._start_timeout)
        await self._unless_closed(life.reach())
        return {}

    async def open(self, manifest: Manifest, sink: Sink) -> None:
        """Subscribe to LND's messages, and tell its connected peers; calls `configure` first if nobody has."""
        if self._sink is not None or self._closed:
            raise TransportError("this transport was opened before, or closed; make a new one")
        self._sink = sink
        try:
            if self._manifest is None:
                await self.configure(manifest)
            if self._life is None or self._starting is not None:
                raise TransportError("the transport is opened before configure() has ended")
            from oddwire.transports.lnd.peer_directory import PeerDirectory

            kept = self._kept = KeptPeers(self._life.up, self.connect, self._is_connected, self.limits)
            inbound = InboundQueue(sink, self.limits, self._dropped)
            directory = self._directory = PeerDirectory(inbound, manifest.type_ids, kept.changed)
            self._queues = directory.send_queues
            await self._unless_closed(self._begin(self._life, directory))
        except BaseException:
            await self.aclose()
            raise
        for uri in self._wanted:
            kept.keep(uri)

    async def _unless_closed(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what work returns. Raises `ConnectionClosed` if `aclose` is called meanwhile."""
        task = self._starting = asyncio.create_task(work)
        try:
            await asyncio.wait([task])
            if self._closed or task.cancelled():
                await end_tasks([task])
                raise ConnectionClosed(_CLOSED)
            result: T = task.result()
            return result
        except asyncio.CancelledError:
            await end_tasks([task])
            raise
        finally:
            self._starting = None
            del task  # its error's traceback holds this frame

    async def _begin(self, life: Life, directory: PeerDirectory) -> None:
        """Begin to live beside LND; return once its peers are told. Raises `TransportError`."""
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._run(life, directory, opened), name="LND")
        try:
            await opened
        finally:
            del opened  # its error's traceback holds this frame

    async def _run(self, life: Life, directory: PeerDirectory, opened: asyncio.Future[None]) -> None:
        """Live beside LND; say so in ``opened``, or why not."""

        def open_now() -> None:
            if not opened.done():
                opened.set_result(None)
            else:
                self.on_back()

        try:
            await life.run(directory, open_now)
        except TransportError as error:
            self._end(opened, error)
        except Exception as error:
            logger.exception("the connection to LND ends by a mistake of oddwire's")
            self._end(opened, TransportError(f"a mistake of oddwire's: {spelled(error)}"))
        finally:
            if not opened.done():
                opened.cancel()

    def _end(self, opened: asyncio.Future[None], error: TransportError) -> None:
        if not opened.done():
            opened.set_exception(error)
        elif self._sink is not None and not self._closed:
            self._stop_host(self._sink, str(error))

    def _stop_host(self, sink: Sink, reason: str) -> None:
        logger.error("%s", reason)
        try:
            sink.host_stopping(reason)
        except BaseException as error:
            if must_pass(error):
                raise
            logger.exception("the sink raised")

    def _check(self, client: LndClient, info: Mapping[str, Any]) -> None:
        """Look at a node that LND says it is, and at what we may do there. Raises `TransportError`."""
        self.node_id = NodeId(info["identity_pubkey"])
        self.uris = [printable(uri) for uri in info["uris"]]
        for uri in self._wanted:
            if uri.node_id == self.node_id:
                raise TransportError(f"connect: {uri} is this LND itself, which does not connect to itself")
        warnings = [missing_features(self._manifest or Manifest(), info)]
        if client.macaroon is not None:
            file = self._credentials.macaroon_file
            warnings.append(check_macaroon(client.macaroon, file, connects=bool(self._wanted)))
        for text in warnings:
            if text and text not in self._told:
                self._told.add(text)
                logger.warning("%s", text)

    # Called by the application ------------------------------------------------------------------------

    async def send(self, peer: NodeId, payload: bytes) -> None:
        """Send by LND, after those of this peer that wait; until LND has written it to the peer's socket.

        Cancelled while LND has it, the payload is sent all the same. Besides the base's errors, raises `EncodeError`
        for a type below 32768 that lnd.conf does not name, `NodeRefused` with LND's error, and `ConnectionClosed` if
        the peer or LND is lost, in which case the payload may or may not have been sent.
        """
        queue = self._queues.get(peer)
        if queue is None:
            raise not_connected(peer)
        size = len(payload)
        if not MIN_PAYLOAD <= size <= MAX_PAYLOAD:  # LND hangs up on the peer over longer ones
            raise wrong_length(size)
        await queue.put(payload)

    def pause(self, peer: NodeId) -> None:  # noqa: D102 - as the base says
        if self._directory is not None:
            self._directory.inbound.pause(peer)

    def resume(self, peer: NodeId) -> None:  # noqa: D102 - as the base says
        if self._directory is not None:
            self._directory.resume(peer)

    async def call(
        self,
        method: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - LND is told, too
    ) -> Any:
        """Make a call of LND's API that is not a stream, by LND's name: ``GetInfo``, ``ListPeers``.

        Parameters are given by name; these and the answer are as in the JSON of LND's REST API. Raises as the base
        says; `NodeRefused` has gRPC's status as its code, 12 for a call that is not among them, 3 for parameters.
        """
        request = read_request(method, params)
        client = self._client()
        try:
            return await client.call(method, request, timeout=timeout)
        except LndError as error:
            if timeout is not None and error.code == _DEADLINE:
                raise TimeoutError(f"LND has not answered {method} in {timeout:g} s") from None
            raise call_failure(error, method) from None
        except LndFailure as error:
            raise call_failure(error, method) from None

    async def connect(self, uri: str | NodeUri) -> PeerInfo:
        """Have LND connect to ``node_id@host:port``, wait until the peer is ready, and return its info.

        Raises `ValueError` for a URI that is none, `NodeRefused` with LND's reason, `ConnectionClosed` if the peer, or
        LND, is lost meanwhile. LND does not dial it again.
        """
        parsed = _check_uri(uri)
        directory = self._directory
        if directory is None or self._closed:
            raise TransportError("open the transport before you connect")
        info = directory.info(parsed.node_id)
        if info is not None:
            return info
        client = self._client()
        try:
            await client.call("ConnectPeer", {"addr": {"pubkey": str(parsed.node_id), "host": parsed.address}})
        except LndFailure as error:
            if not (isinstance(error, LndError) and error.text.startswith(_CONNECTED)):
                raise call_failure(error, "ConnectPeer") from None
        return await directory.expect(parsed.node_id)

    async def disconnect(self, peer: NodeId, reason: str = "") -> None:
        """Have LND disconnect, even with open channels; it does not dial the peer again until it is restarted.

        Does nothing without a connection. A peer of ``connect`` is connected again. Raises `NodeRefused` with LND's
        error, such as for a macaroon that does not permit it.
        """
        life = self._life
        if life is None or life.client is None:
            return
        try:
            await life.client.call("DisconnectPeer", {"pub_key": str(peer)})
        except LndFailure as error:
            if isinstance(error, LndUnavailable) or _DISCONNECTED.match(error.reason):
                return
            raise call_failure(error, "DisconnectPeer") from None

    def _client(self) -> LndClient:
        """Return the client. Raises `ConnectionClosed` while LND is lost, and before `configure` has ended."""
        if self._closed or self._life is None:
            raise ConnectionClosed(_CLOSED if self._closed else "LND is not connected yet")
        if self._life.client is None:
            raise ConnectionClosed(self._life.reason)
        return self._life.client

    def _is_connected(self, peer: NodeId) -> bool:
        return self._directory is not None and self._directory.info(peer) is not None

    # Stop ---------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Send what was accepted, for 2 seconds at most, then leave. Peers stay connected to LND."""
        if self._closing is None:
            self._closed = True
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        queues, self._queues = list(self._queues.values()), {}
        if self._starting is not None:
            self._starting.cancel()
        if self._kept is not None:
            await self._kept.aclose()
        if queues:
            finishing = [asyncio.create_task(queue.finish()) for queue in queues]
            await asyncio.wait(finishing, timeout=self.limits.linger)
            for task in finishing:
                task.cancel()
            await asyncio.wait(finishing)
            for queue in queues:
                await queue.abandon(_CLOSED)
        if self._directory is not None:
            await self._directory.aclose(_CLOSED)
        if self._running is not None:
            await end_tasks([self._running])
        if self._life is not None:
            await self._life.aclose()


def _check_uri(uri: str | NodeUri) -> NodeUri:
    """Return the URI of a peer that LND can dial. Raises `ValueError`."""
    parsed = uri if isinstance(uri, NodeUri) else NodeUri.parse(uri)
    if parsed.scheme:
        raise ValueError(f"LND dials node_id@host:port by TCP, not {parsed}")
    return parsed
