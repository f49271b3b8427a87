"""The embedded node's transport: BOLT 8 connections of our own, with BOLT 1 spoken on them.

Listens, dials, dials again with backoff, keeps connections alive, and keeps one connection per peer. A single
connection is in `peer`, dialing again in `redial`, the places of peers in `places`; this module decides among
connections. It is long, as dialing and being dialed meet here: which of two connections stays depends on both.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal
from weakref import WeakValueDictionary

from oddwire.errors import (
    ConnectionClosed,
    HandshakeFailed,
    OddwireError,
    TransportError,
)
from oddwire.log_limits import get_logger
from oddwire.proto.accepting import Lingering
from oddwire.proto.addresses import NodeUri, join_address, parse_listen, proxy_url
from oddwire.proto.bolt1 import CHAINS, DEFAULT_NETWORK, DEFAULT_PORTS, INTERNAL, NO_INIT, Bolt1, Init, encode_warning
from oddwire.proto.connection import LightningConnection
from oddwire.proto.keys import NodeId, PrivateKey, PublicKey
from oddwire.proto.serving import LightningServer, serve
from oddwire.proto.sharing import LoopShare
from oddwire.proto.wire import PROXY_TIMEOUT, connect
from oddwire.transports.base import (
    MAX_PAYLOAD,
    MIN_PAYLOAD,
    Manifest,
    PeerInfo,
    Sink,
    Transport,
    not_connected,
    wrong_length,
)
from oddwire.transports.bolt8.limits import Bolt8Limits
from oddwire.transports.bolt8.peer import Bolt8Peer
from oddwire.transports.bolt8.places import Places
from oddwire.transports.redial import Redial

__all__ = ["Bolt8Transport", "Look"]

get_logger("oddwire.proto")  # limited like ours; proto does not do that itself
logger = get_logger("oddwire.transports.bolt8")

# Two nodes that dial each other at once get two connections, and both must close the same one. Younger than this,
# an existing connection counts as such a twin, and not as one that the peer has lost.
_TWIN_SECONDS = 5.0

_REMEDY = "--connect-timeout SECONDS, or connect_timeout of Bolt8Limits, allows more"

# BOLT 1: types from 32768 on are applications' own. One comparison of bytes tells them from all others.
_FIRST_CUSTOM = b"\x80"

Look = Callable[[NodeId, Literal["in", "out"], bytes], object]
"""What is told of each message: whose, which way, and its payload."""


class Bolt8Transport(Transport):
    """Real Lightning connections of a node that lives in this process.

    ``listen`` are addresses (``host:port``, port 0 for any), ``connect`` URIs (``node_id@host:port``) to dial and to
    dial again whenever they are lost; several URIs of one node are tried in turn. ``ws://`` before the host, in URIs
    also ``wss://``, means BOLT 8 over WebSocket, which needs the extra ``oddwire[ws]``.

    ``network`` is announced in init (``bitcoin``, ``testnet``, ``testnet4``, ``signet``, ``regtest``), and sets the
    default port to lightningd's;
    ``features`` are announced besides those of the manifest and BOLT 9's assumed ones;
    ``proxy`` is a SOCKS5 proxy for every dial, ``host[:port]`` or a URL. ``known`` returns whether a node id is known:
    places are reserved for known and dialed peers that strangers cannot take. Raises `ValueError` for arguments that
    cannot be parsed. Others dial ``uris`` while it is open: ``node_id@host:port`` per listening socket.
    """

    def __init__(
        self,
        key: PrivateKey,
        *,
        listen: Sequence[str] = (),
        connect: Sequence[str] = (),
        network: str = DEFAULT_NETWORK,
        proxy: str | None = None,
        features: Collection[int] = (),
        limits: Bolt8Limits | None = None,
        known: Callable[[NodeId], bool] | None = None,
    ) -> None:
        if not isinstance(key, PrivateKey):
            raise TypeError(f"key should be a PrivateKey, not {type(key).__name__}")
        if isinstance(listen, str) or isinstance(connect, str):
            raise TypeError("listen and connect should be lists of addresses and of URIs, not one text")
        for name, given in (("listen", listen), ("connect", connect)):
            if not isinstance(given, Collection) or not all(isinstance(each, (str, NodeUri)) for each in given):
                raise TypeError(f"{name} should be a list of texts, not {given!r:.200}")
        if not isinstance(proxy, str | None):
            raise TypeError(f"proxy should be host:port or a URL, not {proxy!r:.200}")
        if network not in CHAINS:
            raise ValueError(f"network should be one of {', '.join(CHAINS)}, not {network!r}")
        # Always known, and set once
        self.node_id: NodeId = NodeId(key.public_key())  # pyright: ignore[reportIncompatibleVariableOverride]
        self.uris = []
        self.network = network
        self.limits = limits or Bolt8Limits()
        self._default_port = DEFAULT_PORTS[network]
        self._key = key
        self._listen = [parse_listen(address, default_port=self._default_port) for address in listen]
        self._wanted = [self._check_uri(uri) for uri in connect]
        self._proxy = None if proxy is None else proxy_url(proxy)
        self._features = frozenset(features)
        self.look: Look | None = None
        """Called with each message of each peer, BOLT 1's included. Set before `open`, by who logs them."""
        self._sink: Sink | None = None
        self._servers: list[LightningServer] = []
        self._peers: dict[NodeId, Bolt8Peer] = {}
        self._infos: dict[NodeId, PeerInfo] = {}
        self._aside: dict[NodeId, Bolt8Peer] = {}
        self._all: dict[LightningConnection, Bolt8Peer] = {}
        self._counters: Counter[str] = Counter()
        self._lingering = Lingering(self.limits.max_lingering, self._counters)
        self._share: LoopShare | None = None
        self._places = Places(
            self.limits,
            lambda node_id: node_id in self._links or (known is not None and known(node_id)),
            self._counters,
        )
        self._links: dict[NodeId, Redial] = {}
        self._dials: set[asyncio.Task[PeerInfo]] = set()
        self._dial_locks: WeakValueDictionary[NodeId, asyncio.Lock] = WeakValueDictionary()
        self._ticker: asyncio.Task[None] | None = None
        self._closed = False

    def _check_uri(self, uri: str | NodeUri) -> NodeUri:
        parsed = uri if isinstance(uri, NodeUri) else NodeUri.parse(uri, default_port=self._default_port)
        PublicKey(parsed.node_id)  # a point on the curve, or ValueError
        if parsed.node_id == self.node_id:
            raise ValueError(f"{parsed}: that is this node itself")
        return parsed

    # Transport ----------------------------------------------------------------------------------------

    async def open(self, manifest: Manifest, sink: Sink) -> None:
        """Listen, and start dialing. Raises `TransportError` if an address cannot be bound; then nothing runs."""
        if self._sink is not None or self._closed:
            raise TransportError("this transport was opened before; make a new one")
        self._sink = sink
        self._share = LoopShare(self.limits)
        self._features |= manifest.features
        try:
            for address in self._listen:
                server = await serve(
                    None,
                    self._key,
                    address.host,
                    address.port,
                    websocket=address.scheme == "ws",
                    handshake_timeout=self.limits.handshake_timeout,
                    max_handshakes=self.limits.max_handshakes,
                    max_waiting=self.limits.max_waiting,
                    lingering=self._lingering,
                    share=self._share,
                    counters=self._counters,
                    on_open=self._opened,
                    on_close=self._lost,
                )
                self._servers.append(server)
        except BaseException:
            await self.aclose()
            raise
        wildcards = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - shown as an address one can dial
        self.uris = [
            f"{self.node_id}@{join_address(wildcards.get(host, host), port, address.scheme)}"
            for address, server in zip(self._listen, self._servers, strict=True)
            for host, port in server.addresses
        ]
        self._ticker = asyncio.create_task(self._tick(), name="bolt8 keepalive")
        for uri in self._wanted:
            self._link(uri).start()

    async def send(self, peer: NodeId, payload: bytes) -> None:  # noqa: D102 - as the base says
        entry = self._peers.get(peer)
        if entry is None:
            raise not_connected(peer)
        if not MIN_PAYLOAD <= len(payload) <= MAX_PAYLOAD:
            raise wrong_length(len(payload))
        connection = entry.connection
        if connection.congested:
            await connection.writable()
        connection.send_nowait(payload)
        connection.spoke = True

    def send_nowait(self, peer: NodeId, payload: bytes) -> bool:
        """Send as `send` does, or return False, and send nothing, if it would have to wait."""
        entry = self._peers.get(peer)
        if entry is None:
            raise not_connected(peer)
        if not MIN_PAYLOAD <= len(payload) <= MAX_PAYLOAD:
            raise wrong_length(len(payload))
        connection = entry.connection
        if connection.congested:
            return False
        connection.send_nowait(payload)
        connection.spoke = True
        return True

    def pause(self, peer: NodeId) -> None:  # noqa: D102 - as the base says
        for entry in (self._peers.get(peer), self._aside.get(peer)):
            if entry is not None:
                entry.connection.pause()

    def resume(self, peer: NodeId) -> None:  # noqa: D102 - as the base says
        for entry in (self._aside.get(peer), self._peers.get(peer)):
            if entry is not None:
                entry.connection.resume()

    def wasted(self, peer: NodeId) -> None:  # noqa: D102 - as the base says
        for entry in (self._peers.get(peer), self._aside.get(peer)):
            if entry is not None:
                entry.connection.wasted += 1

    def worked(self, peer: NodeId, seconds: float, *, wasted: bool = False) -> None:  # noqa: D102 - as the base says
        entry = self._peers.get(peer)
        if entry is not None:
            entry.connection.charge(seconds, wasted=wasted)
        elif self._share is not None:
            self._share.left(seconds, 1, 0)

    async def turn(self, peer: NodeId) -> None:  # noqa: D102 - as the base says
        entry = self._peers.get(peer)
        if entry is not None:
            await entry.connection.turn()
        elif self._share is not None:
            await self._share.turn()

    async def disconnect(self, peer: NodeId, reason: str = "") -> None:
        """End the connection once sent payloads are written. A peer of ``connect`` is redialed; see `stop_dialing`."""
        self._drop_twin(peer)
        entry = self._peers.get(peer)
        if entry is not None:
            await entry.connection.aclose(reason or "disconnected by us")

    def warn(self, peer: NodeId, text: str) -> None:
        """Send BOLT 1's ``warning``, about no channel."""
        entry = self._peers.get(peer)
        if entry is not None:
            with contextlib.suppress(ConnectionClosed):
                entry.connection.answer(encode_warning(text))

    async def aclose(self) -> None:
        """Stop dialing and listening, let peers read sent payloads (max 5 seconds), and close. Idempotent."""
        self._closed = True
        if self._ticker is not None:
            self._ticker.cancel()
        for dial in self._dials:
            dial.cancel()
        await asyncio.gather(
            *(link.aclose() for link in self._links.values()),
            *(connection.aclose("closed by us") for connection in [*self._all, *self._lingering]),
            *(server.aclose() for server in self._servers),
        )
        ended: list[asyncio.Task[Any]] = [*self._dials, *([self._ticker] if self._ticker is not None else [])]
        await asyncio.gather(*ended, return_exceptions=True)
        self._servers.clear()
        self.uris = []

    def abort(self, reason: str = "connection lost") -> None:
        """Drop all connections at once, with what is not written yet: nobody is told. `aclose` afterwards."""
        self._closed = True
        for dial in self._dials:
            dial.cancel()
        for connection in [*self._all, *self._lingering]:
            connection.abort(reason)

    # Beyond Transport ---------------------------------------------------------------------------------

    @property
    def peers(self) -> list[PeerInfo]:
        """Every peer that is connected and has sent its init."""
        return list(self._infos.values())

    @property
    def counters(self) -> Mapping[str, int]:
        """How often each limit of `Bolt8Limits` took effect, by name; ``descriptors``: none was left."""
        return self._counters + (Counter() if self._share is None else self._share.counters)

    def want(self) -> None:
        """Note that the loop has other work than peers': strangers' handshakes and costly messages then wait."""
        if self._share is not None:
            self._share.want()

    async def connect(self, uri: str | NodeUri, *, keep: bool = True) -> PeerInfo:
        """Dial a peer and wait for its init; return its info, at once if it is connected already.

        With ``keep`` it is dialed again when it is lost. Raises `ValueError` for a bad URI, `TransportError` or
        `HandshakeFailed` if this attempt fails; then it is not tried again. Cancelling aborts the attempt; a connection
        made at that moment stays.
        """
        parsed = self._check_uri(uri)
        if self._sink is None or self._closed:
            raise TransportError("open the transport before you connect")
        info = self._infos.get(parsed.node_id)
        if info is None:
            try:
                info = await self._dial(parsed)
            except (TransportError, HandshakeFailed):
                # The peer dialed us meanwhile, and closed this one of two connections
                info = self._infos.get(parsed.node_id)
                if info is None:
                    raise
        if keep:
            self._link(parsed).start()
        return info

    async def stop_dialing(self, peer: NodeId, reason: str = "") -> None:
        """Stop dialing this peer again, and disconnect."""
        link = self._links.pop(peer, None)
        if link is not None:
            await link.aclose()
        await self.disconnect(peer, reason)

    def is_connected(self, peer: NodeId) -> bool:
        """Return whether there is a connection to this peer."""
        return peer in self._peers

    async def ping(self, peer: NodeId, *, padding: int = 0, num_pong_bytes: int = 0) -> int:
        """Send a ping and wait for its pong; return the pong's size, 0 if none was asked for (65532 and above).

        One at a time per peer. Raises `PeerNotConnected`, `LocalProtocolError`, or `ConnectionClosed` while it waits.
        Cancelling ignores the pong.
        """
        entry = self._peers.get(peer)
        if entry is None:
            raise not_connected(peer)
        return await entry.ping(padding, num_pong_bytes)

    # A connection's life ------------------------------------------------------------------------------

    async def _dial(self, uri: NodeUri) -> PeerInfo:
        # One dial at a time per peer: of two connections from here, each end might close a different one
        lock = self._dial_locks.setdefault(uri.node_id, asyncio.Lock())
        async with lock:
            info = self._infos.get(uri.node_id)
            if info is not None:
                return info
            if self._closed:
                raise ConnectionClosed("closed by us")
            dial = asyncio.create_task(self._dial_now(uri), name=f"dial {uri}")
            self._dials.add(dial)
            dial.add_done_callback(self._dials.discard)
            try:
                return await dial
            except asyncio.CancelledError:
                caller = asyncio.current_task()
                if caller is not None and caller.cancelling():
                    raise
                raise ConnectionClosed("closed by us") from None  # `aclose` cancelled only the dial
            finally:
                del dial  # its error's traceback holds this frame

    @property
    def _connect_timeout(self) -> float:
        limits = self.limits
        if limits.connect_timeout is not None:
            return limits.connect_timeout
        return limits.handshake_timeout if self._proxy is None else max(limits.handshake_timeout, PROXY_TIMEOUT)

    def _init_timeout(self, *, dialed: bool) -> float:
        limits = self.limits
        if not dialed:
            return limits.init_timeout
        if limits.connect_timeout is not None:
            return limits.connect_timeout
        return limits.init_timeout if self._proxy is None else max(limits.init_timeout, PROXY_TIMEOUT)

    async def _dial_now(self, uri: NodeUri) -> PeerInfo:
        ready: asyncio.Future[PeerInfo] = asyncio.get_running_loop().create_future()
        try:
            connection = await connect(
                self._key,
                uri.node_id,
                uri.host,
                uri.port,
                scheme=uri.scheme,
                proxy=self._proxy,
                timeout=self._connect_timeout,
                on_open=functools.partial(self._dialed, uri, ready),
                on_close=self._lost,
            )
        except TransportError as error:
            if not isinstance(error.__cause__, TimeoutError) or error.__cause__.errno is not None:
                raise
            raise TransportError(f"{error} ({_REMEDY})") from error.__cause__
        except HandshakeFailed as error:
            # A node with another key cannot read act one, and can only hang up (BOLT 8)
            text = f"{uri.address}: {error}; is {uri.node_id} the node there?"
            raise type(error)(text, act=error.act, code=error.code) from error
        try:
            return await ready
        except ConnectionClosed as error:
            if error.reason.endswith(NO_INIT % self._init_timeout(dialed=True)):
                raise ConnectionClosed(f"{error} ({_REMEDY})") from error
            raise
        except asyncio.CancelledError:
            connection.abort("cancelled")
            raise
        finally:
            del ready  # its error's traceback holds this frame

    def _dialed(self, uri: NodeUri, ready: asyncio.Future[PeerInfo], connection: LightningConnection) -> None:
        peer = self._opened(connection, ready)
        if self._proxy is not None:
            peer.address = uri.address  # the socket has the proxy's address

    def _opened(self, connection: LightningConnection, ready: asyncio.Future[PeerInfo] | None = None) -> Bolt8Peer:
        assert connection.remote_pubkey is not None  # noqa: S101 - narrows the type for checkers
        now = asyncio.get_running_loop().time()
        limits = self.limits
        rules = Bolt1(
            features=self._features,
            networks=[CHAINS[self.network]],
            now=now,
            init_timeout=self._init_timeout(dialed=connection.is_initiator),
            idle=limits.ping_after,
            patience=limits.ping_patience,
        )
        peer = Bolt8Peer(connection, NodeId(connection.remote_pubkey), rules, now, ready)
        if self._share is not None:
            connection.share_with(self._share)
        self._all[connection] = peer

        def before_init(payload: bytes) -> None:
            self._control(peer, payload)

        if self.look is not None:
            connection.watch_sent(partial(self.look, peer.node_id, "out"))
        connection.deliver_to(self._looking(peer, before_init))
        if self._closed:
            connection.close("closed by us")
            return peer
        if len(self._all) > limits.max_peers + limits.max_handshakes and not connection.is_initiator:
            # A connection without init goes: the one that waited longest is the least likely to send it
            self._counters["max_handshakes"] += 1
            mute = (old for old, of in self._all.items() if of.info is None and not old.is_initiator)
            next(mute).close("too many connections without init")
        if not connection.closed:
            observed = peer.address if peer.address and not connection.is_initiator else None
            connection.send_nowait(rules.start(observed))
        return peer

    def _control(self, peer: Bolt8Peer, payload: bytes) -> None:
        init = peer.control(payload)
        if init is not None:
            self._initialised(peer, init)
        else:
            peer.connection.wasted += 1
            if peer.info is None and peer.rules.closed is not None and not peer.connection.is_initiator:
                # Dialing raises an error; on the dialed side, only this line shows why the peer is missing
                logger.info("%s (%s) is rejected: %s", peer.node_id, peer.address, peer.rules.closed)
        peer.flush()

    def _initialised(self, peer: Bolt8Peer, init: Init) -> None:
        other = self._peers.get(peer.node_id)
        connection = peer.connection
        if other is None and not connection.is_initiator and not self._places.make_room(peer.node_id, len(self._peers)):
            peer.rules.fail(f"this node accepts no more than {self.limits.max_peers} peers")
            return
        peer.info = PeerInfo(
            node_id=peer.node_id,
            address=peer.address,
            direction="out" if connection.is_initiator else "in",
            features=init.features,
        )
        connection.deliver_to(self._looking(peer, self._deliverer(peer)))
        if other is not None:
            self._drop_twin(peer.node_id)
            if not self._are_twins(peer, other):
                other.connection.close("the peer connected anew")  # this calls the sink
            # Keep the connection that the node with the greater id dialed: both sides then decide alike
            elif connection.is_initiator != (self.node_id > peer.node_id):
                self._set_aside(peer)
                peer.is_ready(self._infos[peer.node_id])
                return
            else:
                self._remove_peer(other, "the peer connected anew")
                self._set_aside(other)
        self._establish(peer, peer.info)

    def _establish(self, peer: Bolt8Peer, info: PeerInfo) -> None:
        self._peers[peer.node_id] = peer
        self._places.take(peer, dialed=info.direction == "out")
        self._infos[peer.node_id] = info
        peer.is_ready(info)
        if self._sink is not None:
            self._sink.peer_connected(info)

    @staticmethod
    def _are_twins(new: Bolt8Peer, old: Bolt8Peer) -> bool:
        # Otherwise the peer dials again because it has lost the old one
        return new.connection.is_initiator != old.connection.is_initiator and new.since - old.since < _TWIN_SECONDS

    def _set_aside(self, peer: Bolt8Peer) -> None:
        # lightningd keeps the newest of twins, whoever dialed it. So the lesser one is not closed at once: payloads
        # on it counts, and it stays if the peer closes the other one.
        self._aside[peer.node_id] = peer

        def drop() -> None:
            if self._aside.get(peer.node_id) is peer:
                self._drop_twin(peer.node_id)

        asyncio.get_running_loop().call_later(self.limits.twin_patience, drop)

    def _drop_twin(self, node_id: NodeId) -> None:
        twin = self._aside.pop(node_id, None)
        if twin is not None:
            twin.connection.close("connected already")

    def _looking(self, peer: Bolt8Peer, deliver: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Return what tells `look` of a message before it is delivered, if somebody wants that."""
        if self.look is None:
            return deliver
        seen = partial(self.look, peer.node_id, "in")

        def see(payload: bytes) -> None:
            seen(payload)
            deliver(payload)

        return see

    def _deliverer(self, peer: Bolt8Peer) -> Callable[[bytes], None]:
        sink, node_id, internal = self._sink, peer.node_id, INTERNAL
        assert sink is not None  # noqa: S101 - narrows the type for checkers
        received = sink.payload_received

        # A closure, not a method: it runs once per message
        def deliver(payload: bytes) -> None:
            if (payload < _FIRST_CUSTOM or len(payload) < 2) and payload[:2] in internal:
                self._control(peer, payload)
            else:
                received(node_id, payload)

        return deliver

    def _lost(self, connection: LightningConnection, reason: str) -> None:
        peer = self._all.pop(connection, None)
        if peer is None:
            return
        self._lingering.add(connection)
        peer.is_gone(reason)
        if self._aside.get(peer.node_id) is peer:
            del self._aside[peer.node_id]
            return
        self._remove_peer(peer, reason)
        twin = self._aside.pop(peer.node_id, None) if peer.node_id not in self._peers else None
        if twin is not None and twin.info is not None and not self._closed:
            self._establish(twin, twin.info)  # the peer has kept the other one of the two

    def _remove_peer(self, peer: Bolt8Peer, reason: str) -> None:
        if self._peers.get(peer.node_id) is not peer:
            return
        del self._peers[peer.node_id], self._infos[peer.node_id]
        self._places.leave(peer.node_id)
        if self._sink is not None:
            self._sink.peer_disconnected(peer.node_id, reason)
        link = self._links.get(peer.node_id)
        if link is not None:
            link.wake()

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        limits = self.limits
        pause = min(limits.init_timeout, self._init_timeout(dialed=True), limits.ping_after, limits.ping_patience) / 4
        while True:
            await asyncio.sleep(pause)
            now = loop.time()
            for peer in list(self._all.values()):
                peer.tick(now, limits.write_patience)

    # Dialing again ------------------------------------------------------------------------------------

    def _link(self, uri: NodeUri) -> Redial:
        link = self._links.get(uri.node_id)
        if link is None:
            link = self._links[uri.node_id] = Redial(
                uri.node_id,
                self._dial_once,
                self.is_connected,
                self.limits.redial_first,
                self.limits.redial_most,
                logger,
            )
        link.add(uri)
        return link

    async def _dial_once(self, uris: Iterable[NodeUri]) -> None:
        errors = []
        for uri in uris:
            try:
                await self._dial(uri)
            except (OddwireError, ValueError) as error:
                errors.append(str(error))
            else:
                return
        raise TransportError("; ".join(errors))
