"""`ClnTransport`: the application is a plugin of lightningd, its messages are the node's custom messages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from binascii import hexlify
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from oddwire.errors import ConnectionClosed, EncodeError, NodeRefused, OddwireError, TransportError
from oddwire.jsonrpc.client import JsonRpcClient
from oddwire.jsonrpc.framing import encode
from oddwire.proto.type_numbers import REFUSED
from oddwire.transports.base import (
    MAX_PAYLOAD,
    MIN_PAYLOAD,
    Manifest,
    NodeId,
    PeerInfo,
    Sink,
    Transport,
    not_connected,
    wrong_length,
)
from oddwire.transports.cln.calls import HostCalls
from oddwire.transports.cln.channel import Channel, Level
from oddwire.transports.cln.flow import ClnLimits, Dropped, Inbox
from oddwire.transports.cln.hooks import Item, Receive
from oddwire.transports.cln.manifest import getmanifest_result, has_custommsg_notification, option_values
from oddwire.transports.cln.outlets import Outlet
from oddwire.transports.cln.peers import Event, PeerTable, Question, read_address

__all__ = ["ClnTransport"]

logger = logging.getLogger("oddwire.transports.cln")

_PATIENCE: Final = 10.0  # seconds for an answer of listpeers
_REFUSED_TYPES: Final = {type_id.to_bytes(2, "big"): type_id for type_id in REFUSED}
_GONE: Final = ("No such peer", "Peer is not connected", "Peer not connected")
_CLOSED: Final = "closed by us"


class ClnTransport(Transport):
    """The peers of the lightningd whose plugin this process is.

    ``stdin`` and ``stdout`` are descriptors of the way to lightningd, which the transport takes over (one socket for
    both will do), ``foreign`` one whose lines go to the node's log: see `take_stdio`. ``receive`` says how messages
    come: by the ``custommsg`` hook, or from v24.02 on by the notification, which cannot hold up the node's reading.
    Hooks are answered in a thread, whatever the loop is doing. ``on_stop`` is called in that thread, once, when lightningd wants
    the plugin to end or is gone; the sink is told, too. With ``linger``, hooks are answered after `aclose` as well, and
    log lines written, until `finish` or the process's end. ``version`` is lightningd's, by default what it put into
    the environment.

    After `open`: ``node_id`` and ``uris`` are the node's. ``dropped`` counts messages that the application did not take
    in time.
    """

    def __init__(
        self,
        *,
        stdin: int = 0,
        stdout: int = 1,
        foreign: int | None = None,
        receive: Receive = "hook",
        limits: ClnLimits | None = None,
        on_stop: Callable[[str], None] | None = None,
        linger: bool = False,
        version: str | None = None,
    ) -> None:
        self.limits = limits or ClnLimits()
        self.version = os.environ.get("LIGHTNINGD_VERSION") if version is None else version
        self.node_id: NodeId | None = None
        self.uris: list[str] = []
        self.dropped = Dropped()
        by_hook = receive == "hook" or not has_custommsg_notification(self.version)
        self.receive: Receive = "hook" if by_hook else "notification"
        """How messages come: the hook if this lightningd does not know the notification."""
        self._fell_back = by_hook and receive == "notification"
        self._channel = Channel(
            stdin, stdout, foreign, receive=self.receive, backlog=self.limits.held_total, on_end=on_stop
        )
        self._linger = linger
        self._calls = HostCalls(self._channel.send)
        self._peers = PeerTable()
        self._outlets: dict[NodeId, Outlet] = {}
        self._awaited: dict[NodeId, list[asyncio.Future[PeerInfo]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._manifest: Manifest | None = None
        self._sink: Sink | None = None
        self._inbox: Inbox | None = None
        self._early: list[Item] = []
        self._lagging: set[NodeId] = set()
        self._rpc: JsonRpcClient | None = None
        self._getmanifest: dict[str, Any] | None = None
        self._init: asyncio.Future[dict[str, Any]] | None = None
        self._init_id: Any = None
        self._init_due = False
        self._refusal: str | None = None
        self._answered = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        self._closed = False

    # Beginning ----------------------------------------------------------------------------------------

    async def configure(self, manifest: Manifest) -> Mapping[str, Any]:
        """Answer ``getmanifest``, wait for ``init``, and give the values of our options. ``init`` waits for `open`.

        Raises `ConnectionClosed` if lightningd ends or wants us to; `TransportError` after `refuse`.
        """
        if self._manifest is not None or self._closed:
            raise TransportError("this transport was configured before, or closed; make a new one")
        self._manifest = manifest
        loop = asyncio.get_running_loop()
        self._init = loop.create_future()
        self._channel.reader.type_ids = manifest.type_ids
        self._start(loop)
        if self._fell_back:
            self.log("unusual", f"messages come by the hook: {self.version} has no custommsg notification")
        params = (await self._init).get("params")
        params = params if isinstance(params, dict) else {}
        configuration = params.get("configuration")
        configuration = configuration if isinstance(configuration, dict) else {}
        path = Path(str(configuration.get("lightning-dir", ".")), str(configuration.get("rpc-file", "lightning-rpc")))
        self._rpc = JsonRpcClient(path)
        return option_values(manifest, params)

    def refuse(self, reason: str) -> None:
        """Answer ``init``, or ``getmanifest`` if it was not answered, with why the application cannot start.

        Before `configure`, it is `aclose` that then waits for ``getmanifest``.
        """
        self._refusal = reason
        if self._init_due:
            self._answer_init({"disable": reason})

    async def open(self, manifest: Manifest, sink: Sink) -> None:
        """Answer ``init``, then find out who the node is and who is connected; configures first if nobody has."""
        if self._sink is not None or self._closed:
            raise TransportError("this transport was opened before; make a new one")
        self._sink = sink
        try:
            if self._manifest is None:
                await self.configure(manifest)
            if self._rpc is None:
                raise TransportError("the transport is opened before configure() has ended")
            self._inbox = Inbox(sink, self.limits, self.dropped)
            self._answer_init({})
            early, self._early = self._early, []
            self._take(early, {})
            await self._meet_node(self._rpc)
        except BaseException:
            await self.aclose()
            raise
        if self._closed:
            raise ConnectionClosed(_CLOSED)
        self._calls.begin(manifest)
        if self._channel.end_reason is not None:
            self._host_ends(self._channel.end_reason)

    async def _meet_node(self, rpc: JsonRpcClient) -> None:
        try:
            info = await rpc.call("getinfo")
            self.node_id = NodeId(info["id"])
            addresses = [*info.get("address", ()), *info.get("binding", ())]
            self.uris = list(dict.fromkeys(f"{self.node_id}@{read_address(a)}" for a in addresses if "port" in a))
            number = self._peers.asking_for_all()
            listed = (await rpc.call("listpeers"))["peers"]
        except (NodeRefused, KeyError, TypeError, ValueError) as error:
            raise TransportError(f"the node does not say who it is, and who its peers are: {error!r}") from error
        if not self._closed:
            self._tell(self._peers.listed(number, listed))

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._channel.is_running:
            self._channel.start(loop, self._take)

    def _answer_init(self, result: dict[str, Any]) -> None:
        if self._init_due:
            self._init_due = False
            self._channel.send(encode({"jsonrpc": "2.0", "id": self._init_id, "result": result}))

    # What comes ---------------------------------------------------------------------------------------

    def _take(self, items: list[Item], dropped: Mapping[NodeId, int]) -> None:
        """Take what the channel hands on, in order."""
        inbox = self._inbox
        if inbox is None or self._closed:
            for item in items:
                self._take_early(item)
            return
        lanes, received = inbox.lanes, inbox.sink.payload_received
        for item in items:
            if type(item) is tuple:
                peer, payload = item
                lane = lanes.get(peer)
                if lane is None or not lane.clear:
                    self._take_payload(inbox, peer, payload)
                    continue
                try:
                    received(peer, payload)
                except Exception:
                    logger.exception("the sink raised over a payload of %s", peer)
            elif type(item) is dict:
                self._document(item)
            else:
                self._host_ends(str(item))
        if dropped or self._lagging:
            self._count(dropped)
        self._ask()

    def _take_early(self, item: Item) -> None:
        """Take what comes before `open`, when messages wait, or after `aclose`, when they are nobody's any more."""
        if type(item) is str:
            self._host_ends(item)
        elif type(item) is dict and "id" in item:
            self._document(item)
        elif not self._closed:
            self._early.append(item)

    def _take_payload(self, inbox: Inbox, peer: NodeId, payload: bytes) -> None:
        if self._peers.info(peer) is None:
            inbox.stage(peer, payload)
            self._peers.heard(peer)
        elif inbox.push(peer, payload):
            self._drain_soon(peer)

    def _count(self, dropped: Mapping[NodeId, int]) -> None:
        """Count what was dropped while the loop was busy elsewhere."""
        for peer in self._lagging - dropped.keys():
            self.dropped.end_burst(peer)
        self._lagging = set(dropped)
        for peer, count in dropped.items():
            self.dropped.add(peer, count)

    def _document(self, document: dict[str, Any]) -> None:
        method = document.get("method")
        if "id" in document:
            if method == "getmanifest":
                self._answer_getmanifest(document)
            elif method == "init":
                self._take_init(document)
            elif method is not None:
                self._calls.take(document)
        elif method in ("connect", "disconnect"):
            try:
                self._notified(method, document["params"])
            except (KeyError, TypeError, ValueError) as error:
                logger.warning("a %s notification that cannot be read: %r: %.200s", method, error, document)

    def _answer_getmanifest(self, request: dict[str, Any]) -> None:
        if self._refusal is not None or self._manifest is None:
            result: dict[str, Any] = {"disable": self._refusal or _CLOSED}
        else:
            result = getmanifest_result(self._manifest, self.receive)
        self._channel.send(encode({"jsonrpc": "2.0", "id": request["id"], "result": result}))
        if "disable" in result:
            self._fail_init(TransportError(f"refused: {result['disable']}"))

    def _take_init(self, request: dict[str, Any]) -> None:
        self._init_id, self._init_due = request["id"], True
        if self._refusal is not None or self._closed:
            self._answer_init({"disable": self._refusal or _CLOSED})
        if self._init is not None and not self._init.done():
            self._init.set_result(request)

    def _fail_init(self, error: TransportError) -> None:
        self._answered.set()
        if self._init is not None and not self._init.done():
            self._init.set_exception(error)

    def _notified(self, method: str, params: dict[str, Any]) -> None:
        told = params.get(method, params)  # flat in old versions
        node_id = NodeId(str(told["id"]))
        if method == "connect":
            direction = told.get("direction")
            known = direction if direction in ("in", "out") else None
            self._peers.connected(node_id, known, read_address(told.get("address")))
        else:
            self._tell(self._peers.disconnected(node_id, "disconnected"))
            self._disappoint(node_id, "disconnected")

    def _host_ends(self, reason: str) -> None:
        self._fail_init(ConnectionClosed(reason))
        if self._sink is not None and not self._closed:
            try:
                self._sink.host_stopping(reason)
            except Exception:
                logger.exception("the sink raised")

    # Peers --------------------------------------------------------------------------------------------

    def _tell(self, events: Sequence[Event]) -> None:
        inbox = self._inbox
        if inbox is None or self._closed:
            return
        for node_id, event in events:
            if isinstance(event, PeerInfo):
                head = b'{"node_id":"%b","msg":"' % hexlify(node_id)
                self._outlets[node_id] = Outlet(head, self.limits, asyncio.get_running_loop())
                for future in self._awaited.pop(node_id, ()):
                    if not future.done():
                        future.set_result(event)
            else:
                outlet = self._outlets.pop(node_id, None)
                if outlet is not None:
                    outlet.close(event)
            if inbox.push(node_id, event):
                self._drain_soon(node_id)

    def _drain_soon(self, peer: NodeId) -> None:
        asyncio.get_running_loop().call_soon(self._drain, peer)

    def _drain(self, peer: NodeId) -> None:
        if self._inbox is not None and not self._closed and self._inbox.drain(peer):
            self._drain_soon(peer)

    def _ask(self) -> None:
        for question in self._peers.questions:
            if question.delay:
                asyncio.get_running_loop().call_later(question.delay, self._look_up, question)
            else:
                self._look_up(question)

    def _look_up(self, question: Question) -> None:
        if not self._closed and self._rpc is not None:
            task = asyncio.get_running_loop().create_task(self._find(self._rpc, question.node_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _find(self, rpc: JsonRpcClient, node_id: NodeId) -> None:
        number = self._peers.asking()
        try:
            peers = (await rpc.call("listpeers", [str(node_id)], timeout=_PATIENCE))["peers"]
            entry = next((peer for peer in peers if peer["id"] == str(node_id)), None)
            events = self._peers.answered(number, node_id, entry)
        except (OddwireError, TimeoutError, KeyError, TypeError, ValueError) as error:
            logger.debug("listpeers does not tell of %s: %r", node_id, error)
            events = self._peers.unanswered(number, node_id)
        self._tell(events)
        self._ask()

    def _disappoint(self, node_id: NodeId, reason: str) -> None:
        for future in self._awaited.pop(node_id, ()):
            if not future.done():
                future.set_exception(ConnectionClosed(reason))

    # What the application does ------------------------------------------------------------------------

    async def send(self, peer: NodeId, payload: bytes) -> None:
        """Have the node send, and wait until it has taken the payload; before that, for the peer's pace.

        Besides the base's errors, raises `EncodeError` for a type that lightningd keeps for itself, `NodeRefused` with
        its error, and `ConnectionClosed` if the way to the node is lost, when the payload may or may not have gone.
        """
        outlet = self._outlets.get(peer)
        if outlet is None or self._rpc is None:
            raise not_connected(peer)
        size = len(payload)
        if not MIN_PAYLOAD <= size <= MAX_PAYLOAD:
            raise wrong_length(size)
        if (type_id := _REFUSED_TYPES.get(payload[:2])) is not None:
            text = f"lightningd handles {REFUSED[type_id]} messages itself and sends none for plugins"
            raise EncodeError(text, type_id=type_id)
        if not outlet.start(size):
            await outlet.turn(size)
        try:
            await self._rpc.begin("sendcustommsg", b'%b%b"}' % (outlet.head, hexlify(payload)))
        except NodeRefused as error:
            if str(error).startswith(_GONE):
                raise not_connected(peer) from error
            raise
        finally:
            outlet.done()

    def pause(self, peer: NodeId) -> None:  # noqa: D102 - as the base says
        if self._inbox is not None:
            self._inbox.pause(peer)

    def resume(self, peer: NodeId) -> None:  # noqa: D102 - as the base says
        if self._inbox is not None and self._inbox.resume(peer):
            self._drain_soon(peer)

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
        """Have the node connect to ``node_id@host:port``, and wait until the peer was told of.

        Raises `NodeRefused` with the node's reason; `ConnectionClosed` if the connection ends at once.
        """
        answer = await self.call("connect", [uri])
        node_id = NodeId(str(answer["id"]))
        info = self._peers.info(node_id)
        if info is not None:
            return info
        future: asyncio.Future[PeerInfo] = asyncio.get_running_loop().create_future()
        self._awaited.setdefault(node_id, []).append(future)
        self._peers.connected(node_id, answer.get("direction"), read_address(answer.get("address")))
        self._ask()
        try:
            async with asyncio.timeout(_PATIENCE):
                return await future
        except TimeoutError:
            raise ConnectionClosed(f"{node_id} connected, and was gone") from None

    async def disconnect(self, peer: NodeId, reason: str = "") -> None:
        """Have the node disconnect, though there be channels. Nothing happens without a connection, or a node."""
        if self._rpc is not None:
            with contextlib.suppress(TransportError):
                await self._rpc.call("disconnect", [str(peer), True])

    def log(self, level: Level, text: str) -> None:
        """Write to the node's log, from any thread. ``level`` is trace, debug, info, unusual or broken."""
        self._channel.log(level, text)

    # The end ------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Stop: no more messages, calls under way are answered with an error. Connections are the node's and stay."""
        if self._closing is None:
            self._closed = True
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    def finish(self, patience: float = 1.0) -> None:
        """Write what is left to the node and end the channel: after `aclose`, within ``patience`` seconds."""
        self._channel.stop(patience)
        self._channel.join(patience + 1.0)

    async def _close(self) -> None:
        loop = asyncio.get_running_loop()
        if self._refusal is not None and self._manifest is None:
            self._start(loop)
            await self._answered.wait()
        self._answer_init({"disable": self._refusal or _CLOSED})
        self._fail_init(ConnectionClosed(_CLOSED))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await self._calls.aclose()
        await asyncio.gather(*tasks, return_exceptions=True)
        for outlet in self._outlets.values():
            outlet.close(_CLOSED)
        self._outlets.clear()
        for node_id in list(self._awaited):
            self._disappoint(node_id, _CLOSED)
        if self._inbox is not None:
            self._inbox.close(_CLOSED)
        if self._rpc is not None:
            await self._rpc.aclose()
        if not self._linger and self._channel.is_running:
            ended = asyncio.Event()
            self._channel.stop(on_done=lambda: loop.call_soon_threadsafe(ended.set))
            await ended.wait()
