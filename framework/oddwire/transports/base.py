"""What a transport is: whole payloads to and from peers, in order per peer. It knows no schema.

A third-party transport subclasses `Transport`, calls the `Sink` it was opened with, and runs the conformance kit
of `oddwire.testing` over itself. What only transports inside another node have is in `oddwire.transports.host`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

from oddwire.errors import EncodeError, PayloadTooLarge, PeerNotConnected, TransportError
from oddwire.proto.features import offers
from oddwire.proto.keys import NodeId
from oddwire.records import FrozenRecord

__all__ = [
    "MAX_PAYLOAD",
    "MIN_PAYLOAD",
    "DropCounts",
    "HostMethod",
    "HostOption",
    "Manifest",
    "PeerInfo",
    "Sink",
    "Transport",
    "fast_send",
    "not_connected",
    "wrong_length",
]

# BOLT 8, Lightning Message Specification: a message is at most 65535 bytes; BOLT 1: it starts with a u16 type.
MIN_PAYLOAD = 2
MAX_PAYLOAD = 65535


class PeerInfo(FrozenRecord, kw_only=True):
    """What a transport knows of a peer when it connects.

    ``features`` is the peer's feature map in BOLT 9's byte order (big endian, bit 0 in the last byte); empty if the
    transport cannot see it. ``address`` is for people: ``127.0.0.1:9735``, or a transport's own wording.
    """

    node_id: NodeId
    address: str = ""
    direction: Literal["in", "out"] = "out"
    features: bytes = b""

    def has_feature(self, bit: int) -> bool:
        """Say whether the peer offers ``bit`` or its pair: the odd and the even bit mean the same feature (BOLT 9)."""
        return offers(self.features, bit)


class HostMethod(FrozenRecord, kw_only=True):
    """A method of ours that a host node with JSON-RPC offers under its own roof.

    ``usage`` spells the parameters as lightningd's help does (``node_id [asset]``). ``call`` and ``check`` take the
    caller's parameters verbatim, by position or by name; both raise nothing but `NodeRefused`, whose code and text are
    the caller's answer. ``call`` gives what JSON can hold; ``check`` only looks at the parameters.
    """

    name: str
    usage: str
    description: str
    call: Callable[[Sequence[Any] | Mapping[str, Any]], Coroutine[Any, Any, Any]]
    check: Callable[[Sequence[Any] | Mapping[str, Any]], None]


class HostOption(FrozenRecord, kw_only=True):
    """An option of ours that a host node takes on its command line or in its configuration.

    ``type`` is lightningd's: a ``flag`` takes no value. ``multi`` gives a list. A ``dynamic`` one may change while the
    node runs: ``set`` takes the new value, and raises `ValueError` for one that will not do.
    """

    name: str
    type: Literal["string", "int", "bool", "flag"]
    description: str
    default: str | int | bool | Sequence[str | int] | None = None
    multi: bool = False
    dynamic: bool = False
    set: Callable[[Any], None] | None = None


class Manifest(FrozenRecord, kw_only=True):
    """What the application tells its transport before any message flows; it does not change afterwards."""

    type_ids: frozenset[int] = frozenset()
    """Every message type with a handler or a schema."""
    features: frozenset[int] = frozenset()
    """Feature bits to announce in ``init``."""
    rpc_methods: tuple[HostMethod, ...] = ()
    options: tuple[HostOption, ...] = ()

    @property
    def even_ids(self) -> frozenset[int]:
        """The even ones of `type_ids`: those a node must be told of, or it hangs up on them."""
        return frozenset(type_id for type_id in self.type_ids if type_id % 2 == 0)


class Sink(Protocol):
    """Where a transport hands what happened. Called on the loop; every method returns at once and never raises."""

    def peer_connected(self, peer: PeerInfo) -> None:
        """Report a peer that is ready for messages; at most once until its `peer_disconnected`."""

    def payload_received(self, peer: NodeId, payload: bytes) -> None:
        """Hand on one whole payload, its two-byte type included, in the order it was received."""

    def peer_disconnected(self, peer: NodeId, reason: str) -> None:
        """Report that a peer is gone; nothing more comes from it until the next `peer_connected`."""

    def host_stopping(self, reason: str) -> None:
        """Report that the host node ends, or wants us to: the application should stop."""


class DropCounts(Protocol):
    """How many payloads a transport has received and dropped, as the application did not take them in time."""

    @property
    def total(self) -> int:
        """Those of all peers."""
        raise NotImplementedError

    @property
    def peers(self) -> Mapping[NodeId, int]:
        """Those of each peer of which there are any."""
        raise NotImplementedError


class _NothingDropped(FrozenRecord):
    total: int = 0
    peers: Mapping[NodeId, int] = MappingProxyType({})


_NOTHING_DROPPED: Final = _NothingDropped()


class Transport(ABC):
    """Whole payloads to and from peers, in order per peer.

    A transport has to write `open`, `send`, `pause`, `resume` and `aclose`. All else has a default, which suits a
    transport that cannot do it. The attributes may be set by ``__init__`` or `open`, or be properties.
    """

    shared: bool = False
    """Whether other programs may receive and send on the same connections, as plugins of one node do."""

    node_id: NodeId | None = None
    """Our own node id, once the transport is open at the latest; None if it has none to tell."""

    uris: Sequence[str] = ()
    """Where peers can reach us while the transport is open, as their `connect` takes it; by default nowhere."""

    dropped: DropCounts = _NOTHING_DROPPED
    """What was dropped. Only a transport that cannot make its peers wait has to drop anything, and to count it."""

    # What every transport writes ----------------------------------------------------------------------

    @abstractmethod
    async def open(self, manifest: Manifest, sink: Sink) -> None:
        """Start; from here on `sink` is called. Raises `TransportError` if it cannot, leaving nothing running."""

    @abstractmethod
    async def send(self, peer: NodeId, payload: bytes) -> None:
        """Accept one payload of 2 to 65535 bytes for `peer`; waits while the peer's queue is full.

        Accepted is not delivered. Cancelled while it waits, the payload is not sent. Raises `PeerNotConnected`
        without a connection, `ConnectionClosed` if it ends during the wait, `PayloadTooLarge` or `EncodeError` for
        a payload of a wrong length.
        """

    @abstractmethod
    def pause(self, peer: NodeId) -> None:
        """Stop handing on this peer's payloads, at once, until `resume`; nothing is lost. Unknown peers are ignored."""

    @abstractmethod
    def resume(self, peer: NodeId) -> None:
        """Undo `pause`; what was held back comes first."""

    @abstractmethod
    async def aclose(self) -> None:
        """Send what was accepted as far as peers read it, close every connection, stop. Idempotent."""

    # What a transport may be able to do ---------------------------------------------------------------

    async def connect(self, uri: str) -> PeerInfo:
        """Connect to the peer at ``uri``, in the transport's own form, and return its info; at once if it is connected.

        Raises `ValueError` for what is no URI, and `TransportError` if no connection comes about. This one always
        raises it: such a transport has its connections made elsewhere. Cancelling gives up.
        """
        raise TransportError(f"{type(self).__name__} does not connect on request")

    async def disconnect(self, peer: NodeId, reason: str = "") -> None:  # noqa: B027 - optional
        """End the connection to `peer`, if there is one. By default nothing happens."""

    def send_nowait(self, peer: NodeId, payload: bytes) -> bool:
        """Do what `send` does and return True; or return False, and send nothing, if it would have to wait.

        By default it always returns False, and everything goes by `send`. Raises as `send` does. Those who send get it
        by `fast_send`.
        """
        return False

    def warn(self, peer: NodeId, text: str) -> None:  # noqa: B027 - optional
        """Tell `peer` what it did wrong, by BOLT 1's ``warning``. By default nobody is told."""

    def wasted(self, peer: NodeId) -> None:  # noqa: B027 - optional
        """Count the payload that is being handed on as one of which nothing comes: unknown, malformed, not asked for.

        Who sends many of these is read later, by transports that measure the time this takes; others keep this.
        """

    def worked(self, peer: NodeId, seconds: float, *, wasted: bool = False) -> None:  # noqa: B027 - optional
        """Count ``seconds`` of the loop's time for a message of a peer, taken later than while it was handed on.

        ``wasted`` says that nothing came of it. Who causes much of that has to wait for its `turn`, and is read later,
        by transports that measure this; others keep this.
        """

    async def turn(self, peer: NodeId) -> None:  # noqa: B027 - optional
        """Wait until there is time for a message of a peer, connected or not, that is taken later; at once by default.

        `worked` has to be called without a wait between.
        """


def fast_send(transport: Transport) -> Callable[[NodeId, bytes], bool]:
    """Return the `Transport.send_nowait` to use beside a transport's `send`: its own, if it knows what that does.

    Where a class overrides `send` alone, an inherited `send_nowait` would go around it; then one that always returns
    False stands for it.
    """
    for cls in type(transport).__mro__:
        if "send_nowait" in vars(cls):
            break
        if "send" in vars(cls):
            return _would_wait
    return transport.send_nowait


def _would_wait(peer: NodeId, payload: bytes) -> bool:
    return False


def not_connected(node_id: NodeId) -> PeerNotConnected:
    """Return the error for a peer without a connection."""
    return PeerNotConnected(f"no connection to {node_id}", node_id=str(node_id))


def wrong_length(size: int) -> EncodeError:
    """Return the error with which `Transport.send` refuses a payload of ``size`` bytes."""
    text = f"payload of {size} bytes; it should have {MIN_PAYLOAD} to {MAX_PAYLOAD}, its two-byte type included"
    return PayloadTooLarge(text) if size > MAX_PAYLOAD else EncodeError(text)
