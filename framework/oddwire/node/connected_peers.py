"""The node's connected peers: connecting, their messages to plugins, and the hooks and notifications about them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from oddwire.errors import HandshakeFailed, NodeRefused, TransportError
from oddwire.jsonrpc.parameters import LIGHTNINGD
from oddwire.node.address_fields import address_fields
from oddwire.node.node_database import NodeDatabase
from oddwire.node.node_log import Log
from oddwire.node.peer_backlog import MAX_QUEUED, PeerBacklog
from oddwire.node.plugins.host import PluginHost
from oddwire.proto.addresses import NodeUri, Scheme
from oddwire.proto.dialing import DialFailed, spelled
from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo
from oddwire.transports.bolt8.transport import Bolt8Transport

if TYPE_CHECKING:
    from oddwire.node.insight import NodeInsight

__all__ = ["ConnectedPeers", "NodePeer"]

# lightningd's codes
_NO_KNOWN_ADDRESS: Final = 400
_ALL_ADDRESSES_FAILED: Final = 401
_DISCONNECTED_DURING: Final = 402


class NodePeer:
    """A connected peer. ``accepted`` resolves to whether plugins' ``peer_connected`` hooks have accepted it."""

    __slots__ = ("accepted", "admitting", "backlog", "hex", "info")

    def __init__(self, info: PeerInfo, backlog: PeerBacklog, accepted: asyncio.Future[bool]) -> None:
        self.info = info
        self.hex = str(info.node_id)
        self.backlog = backlog
        self.accepted = accepted
        self.admitting: asyncio.Task[None] | None = None

    @property
    def state(self) -> Literal["connecting", "connected"]:
        """``connecting`` while the hooks run: messages can be sent, but the peer is not listed as connected."""
        return "connected" if self.accepted.done() else "connecting"


class ConnectedPeers:
    """All peers by node id; the transport's sink.

    ``kept`` are the nodes to which the operator wants a connection at all times: they are known even while they are
    not connected, as lightningd's channel partners are.
    """

    def __init__(
        self,
        transport: Bolt8Transport,
        plugins: PluginHost,
        store: NodeDatabase,
        log: Log,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        self.kept: set[NodeId] = set()
        self._transport = transport
        self._plugins = plugins
        self._store = store
        self._log = log
        self._max_queued = max_queued
        self._insight: NodeInsight | None = None  # once somebody wants to know
        self._peers: dict[NodeId, NodePeer] = {}
        self._asked: dict[NodeId, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[NodePeer]:
        return iter(self._peers.values())

    def __len__(self) -> int:
        return len(self._peers)

    def get(self, node_id: NodeId) -> NodePeer | None:
        """Return a peer that is connected or connecting, else None."""
        return self._peers.get(node_id)

    def is_known(self, node_id: NodeId) -> bool:
        """Return whether a node is connected, or kept."""
        return node_id in self._peers or node_id in self.kept

    def look_on(self, insight: NodeInsight) -> None:
        """Tell of messages and connections from now on."""
        self._insight = insight
        for peer in self._peers.values():
            peer.backlog.look = partial(self._sent, peer.hex)

    def _sent(self, peer: str, payload: bytes) -> None:
        if self._insight is not None:
            self._insight.message("sent", peer, payload, "ok")

    # For RPC methods

    async def connect(
        self,
        node_id: NodeId,
        host: str | None = None,
        port: int | None = None,
        scheme: Scheme = "",
        *,
        command_id: Any = None,
    ) -> NodePeer:
        """Connect to a node, unless it is connected, and wait for the hooks. Raises `NodeRefused`.

        Without ``host`` and ``port`` the address of the last connection is used. ``command_id`` is the id of the
        client's request, which plugins see in the ids of their hook calls.
        """
        peer = self._peers.get(node_id)
        if peer is None:
            if host is not None and port is not None:
                uri: NodeUri | None = NodeUri(node_id, host, port, scheme)
            else:
                uri = self._store.address(node_id)
            if uri is None:
                raise NodeRefused("Unable to connect, no address known for peer", code=_NO_KNOWN_ADDRESS)
            self._asked[node_id] = command_id
            try:
                await self._transport.connect(uri, keep=False)
            except UnicodeError as error:  # a host name with empty or too long labels
                raise _not_valid(uri, str(error)) from error
            except (TransportError, HandshakeFailed) as error:
                if isinstance(error.__cause__, socket.gaierror):
                    raise _not_valid(uri, error.__cause__.strerror) from error
                text = f"All addresses failed: {_each(uri, error)}. "
                raise NodeRefused(text, code=_ALL_ADDRESSES_FAILED) from error
            except ValueError as error:
                raise NodeRefused(str(error), code=LIGHTNINGD) from error
            finally:
                self._asked.pop(node_id, None)
            self._store.remember(uri)
            peer = self._peers.get(node_id)
        if peer is None or not await asyncio.shield(peer.accepted):
            raise NodeRefused("disconnected during connection", code=_DISCONNECTED_DURING)
        return peer

    async def disconnect(self, peer: NodePeer) -> None:
        """Disconnect from a peer, and do not keep a connection to it any more."""
        self.kept.discard(peer.info.node_id)
        await self._transport.stop_dialing(peer.info.node_id, "disconnect command")

    async def aclose(self) -> None:
        """Cancel running hooks, and drop the messages that wait for peers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for peer in self._peers.values():
            peer.backlog.close()

    # As the transport's `Sink`

    def peer_connected(self, peer: PeerInfo) -> None:
        """Add a new connection. Messages can be sent at once; the ``peer_connected`` hooks run next."""
        loop = asyncio.get_running_loop()
        backlog = PeerBacklog(self._transport, peer.node_id, self._max_queued)
        entry = self._peers[peer.node_id] = NodePeer(peer, backlog, loop.create_future())
        if self._insight is not None:
            backlog.look = partial(self._sent, entry.hex)
            self._insight.connection("connected", entry.hex, address=peer.address)
        self._log("debug", f"Connect {peer.direction.upper()}", f"{entry.hex}-connectd", entry.hex)
        asked = self._asked.get(peer.node_id) if peer.direction == "out" else None
        task = loop.create_task(self._admit(entry, asked), name=f"admit {entry.hex}")
        entry.admitting = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _admit(self, peer: NodePeer, command_id: Any) -> None:
        info = peer.info
        shown = {
            "id": peer.hex,
            "direction": info.direction,
            "addr": info.address,
            "features": info.features.hex(),
        }
        error = await self._plugins.peer_connected(shown, command_id=command_id)
        if self._peers.get(info.node_id) is not peer:
            return  # it has disconnected meanwhile
        peer.admitting = None
        if error is not None:
            self._log("debug", f"peer_connected hook rejects and says '{error}'", node_id=peer.hex)
            if error:
                self._transport.warn(info.node_id, error)
            await self._transport.disconnect(info.node_id, "refused by a plugin")
            return
        peer.accepted.set_result(True)
        self._plugins.notify(
            "connect",
            {"id": peer.hex, "direction": info.direction, "address": _address(info.address)},
            peer=peer.hex,
        )

    def payload_received(self, peer: NodeId, payload: bytes) -> None:
        """Pass a message to plugins. The peer is paused until all their hooks have answered."""
        entry = self._peers.get(peer)
        if entry is None:
            return
        plugins, type_id = self._plugins, payload[0] << 8 | payload[1]
        if self._insight is not None:
            known = plugins.has_receivers(type_id) and (type_id & 1 or type_id in plugins.custommessages)
            self._insight.message("received", entry.hex, payload, "ok" if known else "unknown")
        if not type_id & 1 and type_id not in plugins.custommessages:
            self._refuse_even(entry, payload)
        elif not plugins.has_receivers(type_id):
            self._transport.wasted(peer)
        elif not plugins.custommsg(entry.hex, payload, lambda: self._go_on(entry)):
            self._transport.pause(peer)

    def _go_on(self, peer: NodePeer) -> None:
        if self._peers.get(peer.info.node_id) is peer:
            self._transport.resume(peer.info.node_id)

    def _refuse_even(self, peer: NodePeer, payload: bytes) -> None:
        # BOLT 1, it's OK to be odd
        node_id = peer.info.node_id
        text = f"Invalid unknown even msg {payload.hex()}"  # unabridged, as lightningd sends it
        self._log("unusual", text, "connectd", peer.hex)
        # A warning is one message: besides its two-byte type, channel id and length it holds 65499 bytes of text
        self._transport.warn(node_id, text[:65499])
        self._transport.pause(node_id)
        task = asyncio.get_running_loop().create_task(self._transport.disconnect(node_id, text[:200]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def peer_disconnected(self, peer: NodeId, reason: str) -> None:
        """Remove a peer, drop the messages that wait for it, and cancel its hooks."""
        entry = self._peers.pop(peer, None)
        if entry is None:
            return
        entry.backlog.close()
        if self._insight is not None:
            self._insight.connection("disconnected", entry.hex, reason=reason)
        if not entry.accepted.done():
            entry.accepted.set_result(False)
            if entry.admitting is not None:
                entry.admitting.cancel()  # else a peer that reconnects often leaves a hook call behind each time
        self._log("debug", f"disconnected: {reason}", f"{entry.hex}-connectd", entry.hex)
        self._plugins.notify("disconnect", {"id": entry.hex}, peer=entry.hex)

    def settled(self, peer: NodeId, call: Callable[[], object]) -> None:
        """Call at once: a node gives plugins each message one time, whatever they do with it."""
        call()

    def host_stopping(self, reason: str) -> None:
        """Do nothing: this node has no host."""


def _address(address: str) -> dict[str, Any]:
    return address_fields(address) if address else {"type": "local socket", "socket": ""}


def _not_valid(uri: NodeUri, why: str | None) -> NodeRefused:
    return NodeRefused(f"Host {uri.address} not valid: {why}", code=LIGHTNINGD)


def _each(uri: NodeUri, error: TransportError | HandshakeFailed) -> str:
    """Return why each address of a host name failed, in lightningd's form."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, DialFailed):
        cause = cause.__cause__
    if cause is None:
        return f"{uri.address}: {_why(error)}"
    return ". ".join(f"{address}: {_why(why)}" for address, why in cause.attempts)


def _why(error: Exception) -> str:
    if isinstance(error, HandshakeFailed):
        closed = error.code == "ACT2_READ_FAILED"
        return f"Cryptographic handshake: {'peer closed connection (wrong key?)' if closed else error}"
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
        return f"Connection establishment: {spelled(cause)}"
    return str(error)
