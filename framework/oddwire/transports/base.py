"""The base class of transports: whole payloads to and from peers, in order per peer. No schemas.

A third-party transport subclasses `Transport`, calls the `Sink` it was opened with, and runs the conformance kit
of `oddwire.testing` over itself. The base class of transports inside another node is in `oddwire.transports.host`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

from oddwire.errors import EncodeError, PayloadTooLarge, PeerNotConnected, TransportError
from oddwire.proto.features import offers
from oddwire.proto.keys import NodeId
from oddwire.records import FrozenRecord

__all__ = [
    "MAX_PAYLOAD",
    "MIN_PAYLOAD",
    "PROGRESS",
    "DropCounts",
    "HostMethod",
    "HostOption",
    "Manifest",
    "PeerInfo",
    "Sink",
    "Transport",
    "fast_send",
    "not_connected",
    "takes_turns",
    "wrong_length",
]

# BOLT 8, Lightning Message Specification: a message is at most 65535 bytes; BOLT 1: it starts with a u16 type.
MIN_PAYLOAD = 2
"""Bytes of the shortest payload: a type number and nothing else (BOLT 1)."""
MAX_PAYLOAD = 65535
"""Bytes of the longest payload, its two-byte type included (BOLT 8)."""

PROGRESS: ContextVar[Callable[[int, int], object] | None] = ContextVar("PROGRESS", default=None)
"""Shows the caller of the RPC method that runs how much is done, of how much in all; None if nobody would see it."""


class PeerInfo(FrozenRecord, kw_only=True):
    """A transport's information on a peer, from when it connects.

    ``features`` is the peer's feature map in BOLT 9's byte order (big endian, bit 0 in the last byte); empty if the
    transport cannot see it. ``address`` is for people: ``127.0.0.1:9735``, or a transport's own form.
    """

    node_id: NodeId
    address: str = ""
    direction: Literal["in", "out"] = "out"
    features: bytes = b""

    def has_feature(self, bit: int) -> bool:
        """Return whether the peer offers ``bit`` or its pair: odd and even bit name the same feature (BOLT 9)."""
        return offers(self.features, bit)


class HostMethod(FrozenRecord, kw_only=True):
    """A method of ours that a host node offers among its own JSON-RPC methods.

    ``usage`` lists the parameters as lightningd's help does (``node_id [asset]``). ``call`` and ``check`` receive the
    caller's parameters verbatim, by position or by name; both raise nothing but `NodeRefused`, whose code and text are
    the caller's answer. ``call`` returns a value that JSON can hold; ``check`` only checks the parameters. A host whose
    clients can be shown how far a call is sets `PROGRESS` in the task in which it awaits it.
    """

    name: str
    usage: str
    description: str
    call: Callable[[Sequence[Any] | Mapping[str, Any]], Coroutine[Any, Any, Any]]
    check: Callable[[Sequence[Any] | Mapping[str, Any]], None]


class HostOption(FrozenRecord, kw_only=True):
    """An option of ours that a host node accepts on its command line or in its configuration.

    ``type`` is lightningd's: a ``flag`` takes no value. The value of a ``multi`` option is a list. A ``dynamic`` option
    may change while the node runs: ``set`` is called with the new value, and raises `ValueError` for an invalid one.
    """

    name: str
    type: Literal["string", "int", "bool", "flag"]
    description: str
    default: str | int | bool | Sequence[str | int] | None = None
    multi: bool = False
    dynamic: bool = False
    set: Callable[[Any], None] | None = None


class Manifest(FrozenRecord, kw_only=True):
    """The application's declarations to its transport, made before any message flows and unchanged afterwards."""

    type_ids: frozenset[int] = frozenset()
    """Every message type with a handler or a schema."""
    features: frozenset[int] = frozenset()
    """Feature bits to announce in ``init``."""
    rpc_methods: tuple[HostMethod, ...] = ()
    options: tuple[HostOption, ...] = ()

    @property
    def even_ids(self) -> frozenset[int]:
        """The even numbers of `type_ids`: a node must know them, or it hangs up on peers that send them."""
        return frozenset(type_id for type_id in self.type_ids if type_id % 2 == 0)


class Sink(Protocol):
    """The receiver of a transport's events. Called on the loop; every method returns at once and never raises."""

    def peer_connected(self, peer: PeerInfo) -> None:
        """Report a peer that is ready for messages; at most once until its `peer_disconnected`."""

    def payload_received(self, peer: NodeId, payload: bytes) -> None:
        """Receive one whole payload, its two-byte type included, in order of arrival."""

    def peer_disconnected(self, peer: NodeId, reason: str) -> None:
        """Report that a peer has disconnected; no payload of it follows until the next `peer_connected`."""

    def settled(self, peer: NodeId, call: Callable[[], object]) -> None:
        """Call ``call`` once, when everything that came of a peer so far is handled; at once if nothing waits.

        For transports that receive again what was not handled: the next program after us does. A message is handled
        when its handler has ended, whether it failed or not, and what that has stored is on disk; so is one that
        nobody handles, or that a limit drops. What peers keep themselves until it is answered is not waited for:
        requests, reliable messages, and fragments under way. The peer may be unknown, or disconnect meanwhile. Calls
        for one peer may come in another order.

        Messages whose handlers an application cancels when it closes, or never starts, are not handled: it is not
        called for them, and for no others from then on.
        """

    def host_stopping(self, reason: str) -> None:
        """Report that the host node ends, or wants us to end: the application should stop."""


class DropCounts(Protocol):
    """Numbers of payloads that a transport received and dropped, as the application did not accept them in time."""

    @property
    def total(self) -> int:
        """The number for all peers."""
        raise NotImplementedError

    @property
    def peers(self) -> Mapping[NodeId, int]:
        """The number by peer, for peers with any."""
        raise NotImplementedError


class _NothingDropped(FrozenRecord):
    total: int = 0
    peers: Mapping[NodeId, int] = MappingProxyType({})


_NOTHING_DROPPED: Final = _NothingDropped()


class Transport(ABC):
    """Whole payloads to and from peers, in order per peer.

    A transport has to implement `open`, `send`, `pause`, `resume` and `aclose`. All else has a default, which suits a
    transport that does not support it. The attributes may be set by ``__init__`` or `open`, or be properties.
    """

    shared: bool = False
    """Whether other programs may receive and send on the same connections, as plugins of one node do."""

    node_id: NodeId | None = None
    """Our own node id, once the transport is open at the latest; None if it has none."""

    uris: Sequence[str] = ()
    """URIs at which peers can reach us while the transport is open, for their `connect`; by default none."""

    dropped: DropCounts = _NOTHING_DROPPED
    """Counts of dropped payloads. Only a transport that cannot make its peers wait has to drop, and to count."""

    # Implemented by every transport -------------------------------------------------------------------

    @abstractmethod
    async def open(self, manifest: Manifest, sink: Sink) -> None:
        """Start; from here on `sink` is called. Raises `TransportError` on failure, leaving nothing running."""

    @abstractmethod
    async def send(self, peer: NodeId, payload: bytes) -> None:
        """Accept one payload of 2 to 65535 bytes for `peer`; waits while the peer's queue is full.

        Accepted is not delivered. If cancelled while waiting, the payload is not sent. Raises `PeerNotConnected`
        without a connection, `ConnectionClosed` if it ends during the wait, `PayloadTooLarge` or `EncodeError` for
        a payload of a wrong length.
        """

    @abstractmethod
    def pause(self, peer: NodeId) -> None:
        """Stop delivering this peer's payloads, at once, until `resume`; nothing is lost. Unknown peers are ignored."""

    @abstractmethod
    def resume(self, peer: NodeId) -> None:
        """Undo `pause`; payloads held back come first."""

    @abstractmethod
    async def aclose(self) -> None:
        """Send what was accepted as far as peers read it, close every connection, stop. Idempotent."""

    # Optional -----------------------------------------------------------------------------------------

    async def connect(self, uri: str) -> PeerInfo:
        """Connect to the peer at ``uri``, in the transport's own form, and return its info; at once if it is connected.

        Raises `ValueError` for an invalid URI, and `TransportError` if no connection is made. The default always raises
        `TransportError`, for transports whose connections are made elsewhere. Cancelling aborts the attempt.
        """
        raise TransportError(f"{type(self).__name__} does not connect on request")

    async def disconnect(self, peer: NodeId, reason: str = "") -> None:  # noqa: B027 - optional
        """End the connection to `peer`, if there is one. By default nothing happens."""

    def send_nowait(self, peer: NodeId, payload: bytes) -> bool:
        """Send as `send` does and return True; or return False, and send nothing, if `send` would have to wait.

        By default it always returns False, so that everything is sent by `send`. Raises as `send` does. Callers obtain
        it by `fast_send`.
        """
        return False

    def warn(self, peer: NodeId, text: str) -> None:  # noqa: B027 - optional
        """Send `peer` a BOLT 1 ``warning`` with ``text``. By default nothing is sent."""

    def wasted(self, peer: NodeId) -> None:  # noqa: B027 - optional
        """Count the payload being delivered as useless: unknown, malformed, or not asked for.

        Transports that measure the time this takes read peers that send many of these later; the default does nothing.
        """

    def worked(self, peer: NodeId, seconds: float, *, wasted: bool = False) -> None:  # noqa: B027 - optional
        """Count ``seconds`` of the loop's time for a peer's message, used after its delivery.

        ``wasted``: the message was useless. Transports that measure this make peers that cause much of it wait for
        their `turn`, and read them later; the default does nothing.
        """

    async def turn(self, peer: NodeId) -> None:  # noqa: B027 - optional
        """Wait until there is time to handle a message of a peer, connected or not, after its delivery.

        By default it returns at once. `worked` has to be called afterwards without an await between.
        """


def fast_send(transport: Transport) -> Callable[[NodeId, bytes], bool]:
    """Return a transport's `Transport.send_nowait`, or a function that always returns False.

    The latter if a class overrides `send` alone, as the inherited `send_nowait` would bypass it.
    """
    for cls in type(transport).__mro__:
        if "send_nowait" in vars(cls):
            break
        if "send" in vars(cls):
            return _would_wait
    return transport.send_nowait


def takes_turns(transport: Transport) -> bool:
    """Return whether a transport may delay the handling of delivered messages: it overrides `Transport.turn`."""
    return type(transport).turn is not Transport.turn


def _would_wait(peer: NodeId, payload: bytes) -> bool:
    return False


def not_connected(node_id: NodeId) -> PeerNotConnected:
    """Return the error for a peer without a connection."""
    return PeerNotConnected(f"no connection to {node_id}", node_id=str(node_id))


def wrong_length(size: int) -> EncodeError:
    """Return the error with which `Transport.send` refuses a payload of ``size`` bytes."""
    text = f"payload of {size} bytes; it should have {MIN_PAYLOAD} to {MAX_PAYLOAD}, its two-byte type included"
    return PayloadTooLarge(text) if size > MAX_PAYLOAD else EncodeError(text)
