"""`LndNode`: what LND answers and tells, in the state and with the peers that it has. No I/O."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import weakref
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.lnd.macaroons import is_signed

from oddwire.proto.keys import NodeId, PrivateKey
from oddwire.transports.lnd.calls import CALLS, Call
from oddwire.transports.lnd.macaroon import Macaroon

VERSION = "0.21.2-beta commit=v0.21.2-beta"
BITS = frozenset((0, 5, 7, 8, 12, 14, 17, 23, 25, 27, 31, 35, 39, 44, 2023))
"""Of LND's ``init``."""
MAX_DATA = 65533
NOT_FOUND, UNKNOWN = 5, 2
NOT_READY = {
    "WAITING_TO_START": "waiting to start, RPC services not available",
    "NON_EXISTING": "wallet not created, create one to enable full RPC access",
    "LOCKED": "wallet locked, unlock it to enable full RPC access",
    "UNLOCKED": "the RPC server is in the process of starting up, but not yet ready to accept calls",
}

_nodes: weakref.WeakValueDictionary[str, LndNode] = weakref.WeakValueDictionary()


@dataclass
class Refusal(Exception):
    """An answer that is an error: gRPC's code and LND's text."""

    code: int
    text: str


@dataclass
class Peer:
    """A peer that is connected; ``node`` is another double, or None for one that a test plays."""

    node_id: NodeId
    node: LndNode | None = None
    address: str = "127.0.0.1:9735"
    inbound: bool = False
    features: frozenset[int] = BITS
    bytes_sent: int = 394
    bytes_recv: int = 394


@dataclass(eq=False)
class Subscriber:
    """A stream: what waits for it, without a limit, as in LND."""

    waiting: asyncio.Queue[dict[str, Any] | None] = field(default_factory=asyncio.Queue)


class LndNode:
    """LND's calls and streams. Two nodes can be joined, and messages flow between them."""

    def __init__(
        self,
        name: str,
        state: str,
        features: frozenset[int],
        custom_messages: Sequence[int],
        *,
        node_id: NodeId | None = None,
        host: str | None = None,
    ) -> None:
        self.node_id = node_id or _node_id(name)
        self.state = state
        self.features = features
        self.overridden = frozenset(custom_messages)
        self.no_macaroons = False
        self.is_running = False
        self.peers: dict[NodeId, Peer] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        """Every call that was permitted, by name, and its request."""
        self.tells_events = True
        """Whether peers' comings and goings are told by themselves; if not, `tell` does it."""
        self.overtakes = False
        """Whether of two sends to a peer that are under way at once the younger goes out first."""
        self.root_key = hashlib.sha256(name.encode()).digest()
        self.host = host or f"127.0.0.1:{20000 + int.from_bytes(self.node_id[-2:], 'big') % 40000}"
        """Where peers connect to it: other nodes do, nothing listens there."""
        self._subscribers: dict[str, set[Subscriber]] = {name: set() for name, call in CALLS.items() if call.stream}
        self._scripts: dict[str, deque[Any]] = defaultdict(deque)
        self._sends: dict[NodeId, asyncio.Event] = {}
        self._changed = asyncio.Event()
        self._dialing: set[asyncio.Task[None]] = set()
        _nodes[self.host] = self

    @property
    def uri(self) -> str:
        return f"{self.node_id}@{self.host}"

    def set_state(self, state: str) -> None:
        """Go to another state, and tell it."""
        self.state = state
        self.publish("SubscribeState", {"state": state})
        self._changed.set()
        self._changed = asyncio.Event()

    # Peers --------------------------------------------------------------------------------------------------------

    def join(self, other: LndNode) -> None:
        """Connect to another double: it is listed by both, and messages flow."""
        self.add_peer(other.node_id, node=other, address=other.host, features=other.features)
        other.add_peer(self.node_id, node=self, address=self.host, inbound=True, features=self.features)

    def part(self, other: LndNode) -> None:
        """End the connection to another double."""
        self.remove_peer(other.node_id)

    def add_peer(self, node_id: NodeId, **facts: Any) -> Peer:
        """Have a peer, of which a test plays the other end unless it is a double."""
        peer = self.peers[node_id] = Peer(node_id, **facts)
        if self.tells_events:
            self.tell(node_id, online=True)
        return peer

    def remove_peer(self, node_id: NodeId) -> None:
        """Lose a peer."""
        peer = self.peers.pop(node_id)
        if self.tells_events:
            self.tell(node_id, online=False)
        if peer.node is not None and self.node_id in peer.node.peers:
            peer.node.remove_peer(self.node_id)

    def tell(self, node_id: NodeId, *, online: bool) -> None:
        """Tell subscribers that a peer came or went, whether or not it did."""
        self.publish(
            "SubscribePeerEvents", {"pub_key": str(node_id), "type": "PEER_ONLINE" if online else "PEER_OFFLINE"}
        )

    def deliver(self, node_id: NodeId, type_id: int, data: bytes) -> None:
        """Receive a message of a peer: every subscriber is told it, and without one it is lost."""
        if (peer := self.peers.get(node_id)) is not None:
            peer.bytes_recv += len(data) + 36
        self.publish("SubscribeCustomMessages", {"peer": _text(node_id), "type": type_id, "data": _text(data)})

    # What a test asks and prescribes --------------------------------------------------------------------------------

    def subscribers(self, call: str) -> int:
        """Return how many read a stream now."""
        return len(self._subscribers[call])

    def unread(self, call: str) -> int:
        """Return how many messages of a stream wait for slow readers."""
        return sum(subscriber.waiting.qsize() for subscriber in self._subscribers[call])

    def count(self, call: str) -> int:
        """Return how often a call was made."""
        return sum(name == call for name, _ in self.calls)

    def script(self, call: str, *answers: Refusal | Mapping[str, Any] | asyncio.Event) -> None:
        """Prescribe the next answers to a call: an error, an answer, or an event to wait for before the usual one.

        Of a stream: an error, or its first message; with an empty one it ends. ``{"raw": ...}`` is sent as it is.
        """
        self._scripts[call].extend(answers)

    async def _let_one_pass(self, node_id: NodeId) -> None:
        """Wait a moment for a younger call, which goes first: calls that are made at once overtake one another."""
        older = self._sends.pop(node_id, None)
        if older is not None:
            asyncio.get_running_loop().call_soon(older.set)
            return
        event = self._sends[node_id] = asyncio.Event()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), 0.02)
        if self._sends.get(node_id) is event:
            del self._sends[node_id]

    async def answer(self, call: Call, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a unary call. Raises `Refusal`."""
        if script := self._scripts[call.name]:
            step = script.popleft()
            if isinstance(step, Refusal):
                raise step
            if not isinstance(step, asyncio.Event):
                return dict(step)
            await step.wait()
        answers: dict[str, Callable[[dict[str, Any]], Any]] = {
            "ConnectPeer": self._connect,
            "DisconnectPeer": self._disconnect,
            "GetInfo": self._info,
            "GetState": lambda _: {"state": self.state},
            "ListPeers": lambda _: {"peers": [_listed(peer) for peer in self.peers.values()]},
        }
        if call.name == "SendCustomMessage":
            return await self._send(request)
        if call.name not in answers:
            raise Refusal(UNKNOWN, f"the double has no {call.name}")
        answer: dict[str, Any] = answers[call.name](request)
        return answer

    async def stream(self, call: Call) -> AsyncIterator[dict[str, Any]]:
        """Yield what a stream tells. Raises `Refusal`, also one that was prescribed."""
        if call.service != "State":
            while self.state != "SERVER_ACTIVE":
                await self._changed.wait()
        subscriber = Subscriber()
        if script := self._scripts[call.name]:
            step = script.popleft()
            if isinstance(step, Refusal):
                raise step
            subscriber.waiting.put_nowait(dict(step) or None)
        if call.name == "SubscribeState":
            subscriber.waiting.put_nowait({"state": self.state})
        self._subscribers[call.name].add(subscriber)
        try:
            while (message := await subscriber.waiting.get()) is not None:
                yield message
        finally:
            self._subscribers[call.name].discard(subscriber)

    def admit(self, call: Call, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        """Check LND's state and the macaroon. Raises `Refusal`."""
        if call.service == "State":
            return
        if self.state in NOT_READY:
            raise Refusal(UNKNOWN, NOT_READY[self.state])
        if self.no_macaroons:
            return
        found = [value for key, value in metadata if key == "macaroon"]
        if len(found) != 1:
            raise Refusal(UNKNOWN, f"expected 1 macaroon, got {len(found)}")
        raw = bytes.fromhex(str(found[0]))
        try:
            macaroon = Macaroon.read(raw)
        except ValueError:
            raise Refusal(UNKNOWN, "cannot determine data format of binary-encoded macaroon") from None
        if not is_signed(self.root_key, raw):
            raise Refusal(UNKNOWN, "verification failed: signature mismatch after caveat verification")
        if not macaroon.permits(call.name):
            raise Refusal(UNKNOWN, "permission denied")

    # The calls ------------------------------------------------------------------------------------------------------

    async def _send(self, request: dict[str, Any]) -> dict[str, Any]:
        raw = base64.b64decode(request["peer"])
        if len(raw) != 33:
            raise Refusal(UNKNOWN, f"invalid vertex length of {len(raw)}, want 33")
        peer = next((peer for node_id, peer in self.peers.items() if node_id == raw), None)
        if peer is None or self.state != "SERVER_ACTIVE":
            raise Refusal(NOT_FOUND, "peer is not connected")
        type_id, data = request["type"] & 0xFFFF, base64.b64decode(request["data"])
        if type_id < 32768 and type_id not in self.overridden:
            raise Refusal(UNKNOWN, f"msg type: {type_id} not in custom range: <unknown> and not overridden")
        if len(data) > MAX_DATA:
            self.remove_peer(peer.node_id)
            raise Refusal(
                UNKNOWN,
                f"message payload is too large - encoded {len(data)} bytes,"
                f" but maximum message payload is {MAX_DATA} bytes",
            )
        if self.overtakes:
            await self._let_one_pass(peer.node_id)
        self._transmit(peer, type_id, data)
        return {"status": "message sent successfully"}

    def _transmit(self, peer: Peer, type_id: int, data: bytes) -> None:
        if self.peers.get(peer.node_id) is not peer:
            raise Refusal(UNKNOWN, "peer exiting")
        peer.bytes_sent += len(data) + 36
        if peer.node is not None:
            peer.node.deliver(self.node_id, type_id, data)

    def _connect(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.state != "SERVER_ACTIVE":
            raise Refusal(UNKNOWN, "server is still in the process of starting")
        key, host = request["addr"]["pubkey"], request["addr"]["host"]
        if key == str(self.node_id):
            raise Refusal(UNKNOWN, "cannot make connection to self")
        if key in map(str, self.peers):
            raise Refusal(UNKNOWN, f"already connected to peer: {key}@{self.peers[NodeId(key)].address}")
        if request["perm"]:
            task = asyncio.get_running_loop().create_task(self._dial(key, host))
            self._dialing.add(task)
            task.add_done_callback(self._dialing.discard)
        else:
            self._reach(key, host)
        return {"status": f"connection to {key}@{host} initiated"}

    def _reach(self, key: str, host: str) -> None:
        other = _nodes.get(host)
        if other is None or not other.is_running:
            raise Refusal(UNKNOWN, f"dial tcp {host}: connect: connection refused")
        if str(other.node_id) != key:
            raise Refusal(UNKNOWN, "EOF")
        self.join(other)

    async def _dial(self, key: str, host: str) -> None:
        while True:
            with contextlib.suppress(Refusal):
                return self._reach(key, host)
            await asyncio.sleep(0.01)

    def _disconnect(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.state != "SERVER_ACTIVE":
            raise Refusal(UNKNOWN, "server is still in the process of starting")
        key = request["pub_key"]
        if key not in map(str, self.peers):
            raise Refusal(UNKNOWN, f"unable to disconnect peer: peer {key} is not connected")
        self.remove_peer(NodeId(key))
        return {"status": "disconnect initiated"}

    def _info(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "version": VERSION,
            "identity_pubkey": str(self.node_id),
            "alias": str(self.node_id)[:20],
            "num_peers": len(self.peers),
            "block_height": 1,
            "chains": [{"chain": "bitcoin", "network": "regtest"}],
            "features": _feature_map(self.features),
        }

    # ----------------------------------------------------------------------------------------------------------------

    def publish(self, call: str, message: dict[str, Any]) -> None:
        """Tell every subscriber of a stream a message."""
        for subscriber in self._subscribers[call]:
            subscriber.waiting.put_nowait(message)

    def end_events(self) -> None:
        """End the streams of peers' events well, as LND does when it stops."""
        for subscriber in self._subscribers["SubscribePeerEvents"]:
            subscriber.waiting.put_nowait(None)

    def forget_peers(self) -> None:
        """Lose all peers without a word to subscribers; the peers notice."""
        for task in self._dialing:
            task.cancel()
        peers, self.peers = self.peers, {}
        for peer in peers.values():
            if peer.node is not None and self.node_id in peer.node.peers:
                peer.node.remove_peer(self.node_id)


def _node_id(name: str) -> NodeId:
    return NodeId(PrivateKey(hashlib.sha256(b"node" + name.encode()).digest()).public_key())


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _listed(peer: Peer) -> dict[str, Any]:
    return {
        "pub_key": str(peer.node_id),
        "address": peer.address,
        "bytes_sent": peer.bytes_sent,
        "bytes_recv": peer.bytes_recv,
        "inbound": peer.inbound,
        "ping_time": -1,
        "sync_type": "ACTIVE_SYNC",
        "features": _feature_map(peer.features),
    }


def _feature_map(bits: frozenset[int]) -> dict[int, dict[str, Any]]:
    return {bit: {"name": "unknown", "is_required": bit % 2 == 0, "is_known": True} for bit in sorted(bits)}
