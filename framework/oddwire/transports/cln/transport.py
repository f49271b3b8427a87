"""`ClnTransport`: the application is a plugin of lightningd, its messages are the node's custom messages."""

from __future__ import annotations

import asyncio
import contextlib
import os
from binascii import hexlify
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from oddwire.errors import ConnectionClosed, EncodeError, NodeRefused, TransportError
from oddwire.exit_exceptions import must_pass
from oddwire.jsonrpc.client import JsonRpcClient
from oddwire.jsonrpc.documents import encode
from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.proto.type_numbers import REFUSED
from oddwire.transports.base import MAX_PAYLOAD, MIN_PAYLOAD, Manifest, PeerInfo, Sink, not_connected, wrong_length
from oddwire.transports.cln.early_manifest import EarlyManifest
from oddwire.transports.cln.host_requests import HostRequests
from oddwire.transports.cln.manifest import option_values
from oddwire.transports.cln.pacing import ClnLimits
from oddwire.transports.cln.peer_directory import PeerDirectory
from oddwire.transports.cln.peer_table import read_address
from oddwire.transports.cln.reader import Item, Receive
from oddwire.transports.cln.stdio import NodeStdio
from oddwire.transports.cln.writer import Level
from oddwire.transports.host import HostTransport
from oddwire.transports.inbound_queue import Dropped, InboundQueue

__all__ = ["ClnTransport"]

logger = get_logger("oddwire.transports.cln")

_REFUSED_TYPES: Final = {type_id.to_bytes(2, "big"): type_id for type_id in REFUSED}
_GONE: Final = ("No such peer", "Peer is not connected", "Peer not connected")
_SENT: Final = {"status": "Message sent to connectd for delivery"}  # the result of sendcustommsg
_CLOSED: Final = "closed by us"
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - addresses to listen at, which nobody can dial


class ClnTransport(HostTransport):
    """The peers of the lightningd whose plugin this process is.

    ``stdin`` and ``stdout`` are descriptors to lightningd, which the transport takes over (they may be one socket),
    ``foreign`` is one whose lines go to the node's log: see `take_stdio`. ``receive`` is how messages arrive: by the
    ``custommsg`` notification, which never makes the node wait, or by the hook, the only way of lightningd before
    v24.02; the default depends on the node's version. Hooks are answered before their payload is looked at, and by a
    thread while the loop is blocked; C code that keeps Python's lock delays both. ``on_stop`` is called, once and in
    either thread, when lightningd wants the plugin to end or is gone; the sink is notified, too. With ``linger``,
    hooks are still answered after `aclose`, and log lines written, until `finish` or the process's end. ``version``
    is lightningd's, by default from the environment. An ``early_manifest``, which has begun the exchange with the
    node, replaces ``stdin``, ``stdout``, ``receive`` and ``version``.

    After `open`, ``node_id`` and ``uris`` are the node's. ``dropped`` counts messages that the application did not
    accept in time.
    """

    shared = True  # with other plugins

    def __init__(
        self,
        *,
        stdin: int = 0,
        stdout: int = 1,
        foreign: int | None = None,
        receive: Receive | None = None,
        limits: ClnLimits | None = None,
        on_stop: Callable[[str], None] | None = None,
        linger: bool = False,
        version: str | None = None,
        early_manifest: EarlyManifest | None = None,
    ) -> None:
        self.limits = limits or ClnLimits()
        self.uris = []
        self._dropped = Dropped()
        self.dropped = self._dropped
        if early_manifest is None:
            early_manifest = EarlyManifest(stdin, stdout, receive=receive, version=version)
        self.version = early_manifest.version
        self.receive: Receive = early_manifest.receive
        """How messages arrive: by the hook if this lightningd does not know the notification."""
        self._early_manifest = early_manifest
        self._stdio = NodeStdio(
            early_manifest.stdin,
            early_manifest.writer,
            foreign,
            begun=early_manifest.unread,
            receive=self.receive,
            backlog=self.limits.held_total,
            on_end=on_stop,
        )
        self._linger = linger
        self._host_requests = HostRequests(self._stdio.send_documents)
        self._manifest: Manifest | None = None
        self._sink: Sink | None = None
        self._directory: PeerDirectory | None = None
        self._early_items: list[Item] = []
        self._lagging: set[NodeId] = set()
        self._rpc: JsonRpcClient | None = None
        self._init: asyncio.Future[dict[str, Any]] | None = None
        self._init_id: Any = None
        self._init_due = False
        self._refusal: str | None = None
        self._answered = asyncio.Event()
        self._stopping = False
        self._closing: asyncio.Task[None] | None = None
        self._closed = False

    # Start --------------------------------------------------------------------------------------------

    async def configure(self, manifest: Manifest) -> Mapping[str, Any]:
        """Answer ``getmanifest``, wait for ``init``, and return the values of our options; `open` answers ``init``.

        Raises `ConnectionClosed` if lightningd ends or wants us to end; `TransportError` after `refuse`.
        """
        if self._manifest is not None or self._closed:
            raise TransportError("this transport was configured before, or closed; make a new one")
        self._manifest = manifest
        loop = asyncio.get_running_loop()
        self._init = loop.create_future()
        self._stdio.reader.type_ids = manifest.type_ids
        self._start_stdio(loop)
        if self._early_manifest.fell_back:
            self.log("unusual", f"messages come by the hook: {self.version} has no custommsg notification")
        params = (await self._init).get("params")
        params = params if isinstance(params, dict) else {}
        configuration = params.get("configuration")
        configuration = configuration if isinstance(configuration, dict) else {}
        folder, name = configuration.get("lightning-dir", "."), configuration.get("rpc-file", "lightning-rpc")
        path = os.path.join(str(folder), str(name))  # noqa: PTH118 - pathlib is slow to import
        self._rpc = JsonRpcClient(path, usual=_SENT)
        return option_values(manifest, params)

    def refuse(self, reason: str) -> None:
        """Answer ``init``, or ``getmanifest`` if not answered yet, with the reason why the application cannot start.

        Before `configure`, `aclose` then waits for one of these requests.
        """
        self._refusal = reason
        if self._init_due:
            self._answer_init({"disable": reason})

    async def open(self, manifest: Manifest, sink: Sink) -> None:
        """Answer ``init``, then load the node's id and its connected peers; calls `configure` first if nobody has."""
        if self._sink is not None or self._closed:
            raise TransportError("this transport was opened before; make a new one")
        self._sink = sink
        try:
            if self._manifest is None:
                await self.configure(manifest)
            if self._rpc is None:
                raise TransportError("the transport is opened before configure() has ended")
            self._directory = PeerDirectory(self._rpc, InboundQueue(sink, self.limits, self._dropped), self.limits)
            self._answer_init({})
            early, self._early_items = self._early_items, []
            self._take_items(early, {})
            await self._ask_node(self._rpc, self._directory)
        except BaseException:
            await self.aclose()
            raise
        if self._closed:
            raise ConnectionClosed(_CLOSED)
        self._host_requests.begin(manifest, self._directory.catch_up)
        if self._stdio.end_reason is not None:
            self._host_ends(self._stdio.end_reason)

    async def _ask_node(self, rpc: JsonRpcClient, directory: PeerDirectory) -> None:
        try:
            info = await rpc.call("getinfo")
            self.node_id = NodeId(info["id"])
            addresses = [*info.get("address", ()), *info.get("binding", ())]
            self.uris = list(dict.fromkeys(f"{self.node_id}@{read_address(a)}" for a in addresses if _can_be_dialed(a)))
            await directory.list_peers()
        except (NodeRefused, KeyError, TypeError, ValueError) as error:
            raise TransportError(f"the node's id and peers cannot be fetched: {error!r}") from error

    def _start_stdio(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._stdio.is_running:
            self._stdio.start(loop, self._take_items)

    def _answer_init(self, result: dict[str, Any]) -> None:
        if self._init_due:
            self._init_due = False
            self._stdio.send_documents(encode({"jsonrpc": "2.0", "id": self._init_id, "result": result}))

    # Receiving ----------------------------------------------------------------------------------------

    def _take_items(self, items: list[Item], dropped: Mapping[NodeId, int]) -> None:
        """Handle items of stdio, in order."""
        directory = self._directory
        if directory is None or self._closed:
            for item in items:
                self._take_early_item(item)
            return
        peers, received = directory.inbound.peers, directory.inbound.sink.payload_received
        for item in items:
            if type(item) is tuple:
                peer, payload = item
                inbound = peers.get(peer)
                if inbound is None or not inbound.clear:
                    directory.take_payload(peer, payload)
                    continue
                try:
                    received(peer, payload)
                except BaseException as error:
                    if must_pass(error):
                        raise
                    logger.exception("the sink raised over a payload of %s", peer)
            elif type(item) is dict:
                self._take_document(item)
            else:
                self._host_ends(str(item))
        if dropped or self._lagging:
            self._count(dropped)
        directory.ask()

    def _take_early_item(self, item: Item) -> None:
        """Handle an item before `open`, when messages are queued, or after `aclose`, when they are ignored."""
        if type(item) is str:
            self._host_ends(item)
        elif type(item) is dict and "id" in item:
            self._take_document(item)
        elif not self._closed:
            self._early_items.append(item)

    def _count(self, dropped: Mapping[NodeId, int]) -> None:
        """Count payloads dropped while the loop was busy."""
        for peer in self._lagging - dropped.keys():
            self._dropped.end_burst(peer)
        self._lagging = set(dropped)
        for peer, count in dropped.items():
            self._dropped.add(peer, count)

    def _take_document(self, document: dict[str, Any]) -> None:
        method = document.get("method")
        if "id" in document:
            if method == "getmanifest":
                self._answer_getmanifest(document)
            elif method == "init":
                self._take_init(document)
            elif method is not None:
                self._host_requests.take_request(document)
        elif method in ("connect", "disconnect") and self._directory is not None:
            try:
                self._directory.take_notification(method, document["params"])
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                logger.warning("a %s notification that cannot be read: %r: %.200s", method, error, document)

    def _answer_getmanifest(self, request: dict[str, Any]) -> None:
        if self._refusal is not None or self._manifest is None:
            reason = self._refusal or _CLOSED
            self._stdio.send_documents(encode({"jsonrpc": "2.0", "id": request["id"], "result": {"disable": reason}}))
            self._fail_init(TransportError(f"refused: {reason}"))
        else:
            self._stdio.send_documents(self._early_manifest.manifest_answer(request, self._manifest))

    def _take_init(self, request: dict[str, Any]) -> None:
        self._init_id, self._init_due = request["id"], True
        if self._refusal is not None or self._closed:
            self._answer_init({"disable": self._refusal or _CLOSED})
            self._answered.set()
        if self._init is not None and not self._init.done():
            self._init.set_result(request)

    def _fail_init(self, error: TransportError) -> None:
        self._answered.set()
        if self._init is not None and not self._init.done():
            self._init.set_exception(error)

    def _host_ends(self, reason: str) -> None:
        self._fail_init(ConnectionClosed(reason))
        if self._sink is not None and not self._stopping and not self._closed:
            self._stopping = True
            try:
                self._sink.host_stopping(reason)
            except BaseException as error:
                if must_pass(error):
                    raise
                logger.exception("the sink raised")

    # Called by the application ------------------------------------------------------------------------

    async def send(self, peer: NodeId, payload: bytes) -> None:
        """Send by the node: wait for the peer's pace, then until the node has accepted the payload.

        Besides the base's errors, raises `EncodeError` for a type that lightningd reserves, `NodeRefused` with its
        error, and `ConnectionClosed` if the connection to the node is lost, in which case the payload may or may not
        have been sent.
        """
        queue = None if self._directory is None else self._directory.send_queues.get(peer)
        if queue is None or self._rpc is None:
            raise not_connected(peer)
        size = len(payload)
        if not MIN_PAYLOAD <= size <= MAX_PAYLOAD:
            raise wrong_length(size)
        if (type_id := _REFUSED_TYPES.get(payload[:2])) is not None:
            text = f"lightningd handles {REFUSED[type_id]} messages itself and sends none for plugins"
            raise EncodeError(text, type_id=type_id)
        if not queue.start_send(size):
            await queue.turn(size)
        try:
            await self._rpc.begin("sendcustommsg", b'%b%b"}' % (queue.head, hexlify(payload)))
        except NodeRefused as error:
            if str(error).startswith(_GONE):
                raise not_connected(peer) from error
            raise
        finally:
            queue.end_send()

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
        timeout: float | None = None,  # noqa: ASYNC109 - the answer is dropped, the request stands
    ) -> Any:
        """Call a method of the node, once `configure` has ended. Raises as the base says."""
        if self._rpc is None:
            raise TransportError(f"{method!r} cannot be called before lightningd has sent init")
        return await self._rpc.call(method, params, timeout=timeout)

    async def connect(self, uri: str) -> PeerInfo:
        """Make the node connect to ``node_id@host:port``, wait until the peer is reported, and return its info.

        Raises `NodeRefused` with the node's reason; `ConnectionClosed` if the connection ends at once.
        """
        answer = await self.call("connect", [uri])
        if self._directory is None:
            raise TransportError("the transport is not open")
        return await self._directory.expect(NodeId(str(answer["id"])), answer)

    async def disconnect(self, peer: NodeId, reason: str = "") -> None:
        """Make the node disconnect, even with open channels. Does nothing without a connection, or a node."""
        if self._rpc is not None:
            with contextlib.suppress(TransportError):
                await self._rpc.call("disconnect", [str(peer), True])

    def log(self, level: Level, text: str) -> None:
        """Write to the node's log, from any thread. ``level`` is trace, debug, info, unusual or broken."""
        self._stdio.log(level, text)

    # Stop ---------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Stop receiving, and answer requests under way with an error. Connections are the node's and stay."""
        if self._closing is None:
            self._closed = True
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    def finish(self, patience: float = 1.0) -> None:
        """Write the remaining data to the node and end the thread, in ``patience`` seconds at most, after `aclose`."""
        self._stdio.stop(patience)
        self._stdio.join(patience + 1.0)

    async def _close(self) -> None:
        loop = asyncio.get_running_loop()
        if self._refusal is not None and self._manifest is None:
            self._start_stdio(loop)
            await self._answered.wait()
        self._answer_init({"disable": self._refusal or _CLOSED})
        self._fail_init(ConnectionClosed(_CLOSED))
        await self._host_requests.aclose()
        if self._directory is not None:
            await self._directory.aclose(_CLOSED)
        if self._rpc is not None:
            await self._rpc.aclose()
        self._stdio.detach()
        if not self._linger and self._stdio.is_running:
            ended = asyncio.Event()
            self._stdio.stop(on_done=lambda: loop.call_soon_threadsafe(ended.set))
            await ended.wait()


def _can_be_dialed(address: Mapping[str, Any]) -> bool:
    return "port" in address and address.get("address") not in _EVERYWHERE
