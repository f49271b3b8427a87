"""BOLT 1 on one connection: init, error, warning, ping and pong, and which payloads are ignored. No I/O, no clock.

`Bolt1` is passed each payload and the time; it returns events, and payloads to send::

    rules = Bolt1(features={513}, networks=[CHAINS["regtest"]], now=now)
    send(rules.start())
    event = rules.receive(payload, now)      # for payloads with payload[:2] in INTERNAL, and all before init
    rules.tick(now, received=True)           # now and then
    send(*rules.outgoing()); close if rules.closed
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

from oddwire.errors import LocalProtocolError, MalformedMessage, RemoteProtocolError, Truncated, UnknownRequiredRecord
from oddwire.proto.addresses import join_address, parse_address
from oddwire.proto.features import ASSUMED_FEATURES, check_features, feature_bytes
from oddwire.proto.primitives import build_tlv_stream, parse_tlv_stream, uint_decode
from oddwire.proto.type_numbers import BOLT_TYPES, REFUSED

__all__ = [
    "CHAINS",
    "DEFAULT_NETWORK",
    "DEFAULT_PORTS",
    "INTERNAL",
    "NO_INIT",
    "NO_PONG",
    "Bolt1",
    "Init",
    "Notice",
    "Ping",
    "Pong",
    "encode_error",
    "encode_warning",
    "printable",
]

INIT, WARNING, ERROR, PING, PONG = 16, 1, 17, 18, 19
OPEN_CHANNEL, OPEN_CHANNEL2 = 32, 64

# BOLT 1, the ping message: from here on a ping is padding, and is not answered.
NO_PONG: Final = 65532

NO_INIT: Final = "no init within %g s"
"""Close reason of a connection whose peer sent no init in time; to be formatted with the timeout in seconds."""

CHAINS: Final = {
    name: bytes.fromhex(genesis)[::-1]
    for name, genesis in {
        "bitcoin": "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
        "testnet": "000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943",
        "testnet4": "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043",
        "signet": "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6",
        "regtest": "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206",
    }.items()
}
"""chain_hash by network: the hash of its genesis block in wire order (BOLT 0)."""

DEFAULT_NETWORK: Final = "bitcoin"
"""The default network of every command and class here, as of lightningd and lightning-cli."""

DEFAULT_PORTS: Final = {"bitcoin": 9735, "testnet": 19735, "testnet4": 49735, "signet": 39735, "regtest": 19846}
"""The default port by network, as in lightningd."""


def printable(text: bytes) -> str:
    """Return a peer's text if it is printable ASCII, else its hex (BOLT 1 forbids printing it verbatim)."""
    return text.decode("ascii") if all(32 <= byte <= 126 for byte in text) else text.hex()


# Messages: each `encode` beside its `decode` ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Init:
    """The first message of each side. ``features`` is both bitmaps of the wire, OR-ed.

    ``networks`` are chain hashes, None if the peer did not say; ``remote_addr`` is our address as the peer sees
    it, ``host:port``.
    """

    features: bytes = b""
    networks: tuple[bytes, ...] | None = None
    remote_addr: str | None = None

    def encode(self) -> bytes:
        """Return the payload; the global bitmap stays empty, as none but its first 14 bits may be used."""
        records = []
        if self.networks is not None:
            records.append((1, b"".join(self.networks)))
        if self.remote_addr is not None:
            records.append((3, _encode_address(self.remote_addr)))
        head = INIT.to_bytes(2, "big") + b"\0\0" + len(self.features).to_bytes(2, "big")
        return head + self.features + build_tlv_stream(records)

    @classmethod
    def decode(cls, payload: bytes) -> Init:
        """Parse a payload of type 16. Raises `MalformedMessage`."""
        maps = []
        offset = 2
        for _ in range(2):
            value, offset = _read_counted(payload, offset, "init")
            maps.append(value)
        length = max(map(len, maps))
        features = int.from_bytes(maps[0], "big") | int.from_bytes(maps[1], "big")
        networks = remote_addr = None
        for record, start, stop in parse_tlv_stream(payload, offset):
            if record == 1:
                if (stop - start) % 32:
                    raise MalformedMessage(
                        f"init networks should be whole hashes of 32 bytes, not {stop - start} bytes",
                        type_id=INIT,
                        path="$.networks",
                        offset=start,
                    )
                networks = tuple(payload[at : at + 32] for at in range(start, stop, 32))
            elif record == 3:
                remote_addr = _decode_address(payload[start:stop])
            elif record % 2 == 0:
                raise UnknownRequiredRecord(f"init has unknown even TLV record {record}", type_id=INIT, offset=start)
        return cls(features=features.to_bytes(length, "big"), networks=networks, remote_addr=remote_addr)


def _encode_address(address: str) -> bytes:
    # BOLT 7, the node_announcement message: address descriptors
    host, port = parse_address(address)
    ip = ipaddress.ip_address(host)
    return bytes([1 if ip.version == 4 else 2]) + ip.packed + port.to_bytes(2, "big")


def _decode_address(raw: bytes) -> str | None:
    if len(raw) == 7 and raw[0] == 1:
        return join_address(str(ipaddress.IPv4Address(raw[1:5])), int.from_bytes(raw[5:], "big"))
    if len(raw) == 19 and raw[0] == 2:
        return join_address(str(ipaddress.IPv6Address(raw[1:17])), int.from_bytes(raw[17:], "big"))
    return None  # nothing depends on remote_addr: BOLT 1 only says we may use it


@dataclass(frozen=True, slots=True)
class Notice:
    """A peer's ``warning`` or ``error``; ``text`` is safe to print."""

    kind: Literal["warning", "error"]
    text: str
    channel_id: bytes = bytes(32)

    def encode(self) -> bytes:
        """Return the payload."""
        type_id = WARNING if self.kind == "warning" else ERROR
        data = self.text.encode("ascii", "replace")[: 65535 - 36]
        return type_id.to_bytes(2, "big") + self.channel_id + len(data).to_bytes(2, "big") + data

    @classmethod
    def decode(cls, payload: bytes) -> Notice:
        """Parse a payload of type 1 or 17. Raises `Truncated`."""
        kind: Literal["warning", "error"] = "warning" if payload[1] == WARNING else "error"
        data, _ = _read_counted(payload, 34, kind)
        return cls(kind, printable(data), payload[2:34])


def encode_warning(text: str) -> bytes:
    """Return a ``warning`` about no channel in particular."""
    return Notice("warning", text).encode()


def encode_error(text: str, channel_id: bytes = bytes(32)) -> bytes:
    """Return an ``error``; all-zero ``channel_id`` means every channel."""
    return Notice("error", text, channel_id).encode()


@dataclass(frozen=True, slots=True)
class Ping:
    """A ``ping`` that asks for ``num_pong_bytes`` and carries ``padding`` bytes of its own."""

    num_pong_bytes: int = 0
    padding: int = 0

    def encode(self) -> bytes:
        """Return the payload; the padding is zeros (BOLT 1)."""
        head = PING.to_bytes(2, "big") + self.num_pong_bytes.to_bytes(2, "big")
        return head + self.padding.to_bytes(2, "big") + bytes(self.padding)

    @classmethod
    def decode(cls, payload: bytes) -> Ping:
        """Parse a payload of type 18. Raises `Truncated`."""
        wanted, offset = uint_decode(payload, 2, 2)
        ignored, _ = _read_counted(payload, offset, "ping")
        return cls(wanted, len(ignored))


@dataclass(frozen=True, slots=True)
class Pong:
    """A ``pong`` of ``size`` bytes."""

    size: int = 0

    def encode(self) -> bytes:
        """Return the payload; its bytes are zeros (BOLT 1)."""
        return PONG.to_bytes(2, "big") + self.size.to_bytes(2, "big") + bytes(self.size)

    @classmethod
    def decode(cls, payload: bytes) -> Pong:
        """Parse a payload of type 19. Raises `Truncated`."""
        ignored, _ = _read_counted(payload, 2, "pong")
        return cls(len(ignored))


def _read_counted(payload: bytes, offset: int, name: str) -> tuple[bytes, int]:
    length, offset = uint_decode(payload, 2, offset)
    if offset + length > len(payload):
        raise Truncated(f"{name} says {length} bytes follow, {len(payload) - offset} do", offset=offset)
    return payload[offset : offset + length], offset + length


# The connection's rules -------------------------------------------------------------------------------


INTERNAL: Final = frozenset(
    [b"", *(bytes([byte]) for byte in range(256))]
    # 260 is gossip's too, in older drafts of BOLT 7: what comes in that range after init is no cause to hang up
    + [type_id.to_bytes(2, "big") for type_id in (BOLT_TYPES.keys() | REFUSED.keys() | {260}) - {7, 9}]
)
"""The first two bytes of every payload that `Bolt1` handles, not an application.

These are the types the BOLTs assign and those lightningd handles itself, except peer storage (7 and 9), which
applications may speak; and payloads too short for a type.
"""


_MOST_REASON: Final = 500  # characters


class Bolt1:
    """The rules of BOLT 1 for one connection.

    ``features`` are the bits to announce beside `ASSUMED_FEATURES`, ``networks`` our chain hashes (none: do not say, do
    not check). Times are in seconds on any monotonic clock: ``init_timeout`` for the peer's init, ``idle``
    of silence before a ping, ``patience`` for its pong.
    """

    __slots__ = (
        "_deadline",
        "_features",
        "_idle",
        "_init_timeout",
        "_networks",
        "_outgoing",
        "_patience",
        "_pings",
        "closed",
        "init",
    )

    def __init__(
        self,
        *,
        features: Collection[int] = (),
        networks: Collection[bytes] = (),
        now: float,
        init_timeout: float = 30.0,
        idle: float = 60.0,
        patience: float = 30.0,
    ) -> None:
        self._features = features
        self._networks = tuple(networks)
        self._idle = idle
        self._patience = patience
        self._init_timeout = init_timeout
        self._deadline = now + init_timeout
        self._pings: list[tuple[int, float]] = []
        self._outgoing: list[bytes] = []
        self.init: Init | None = None
        """The peer's init; None until it has arrived."""
        self.closed: str | None = None
        """Why the connection must be closed, once the outgoing payloads are sent; None while it is open."""

    def start(self, remote_addr: str | None = None) -> bytes:
        """Return our init, the first payload to send. ``remote_addr`` is the dialer's address, sent if public."""
        if remote_addr is not None and not ipaddress.ip_address(parse_address(remote_addr)[0]).is_global:
            remote_addr = None  # BOLT 1: private addresses should not be sent
        # BOLT 9: never both bits of a pair are set; the even one counts
        bits = ASSUMED_FEATURES | set(self._features)
        features = feature_bytes(bit for bit in bits if bit % 2 == 0 or bit - 1 not in bits)
        return Init(features=features, networks=self._networks or None, remote_addr=remote_addr).encode()

    def outgoing(self) -> list[bytes]:
        """Return the payloads to send now, in order, and forget them."""
        out, self._outgoing = self._outgoing, []
        return out

    def receive(self, payload: bytes, now: float) -> Init | Notice | Pong | None:
        """Handle a payload that is one of BOLT 1's; return an event that the caller may want to know, or None.

        Never raises for what a peer sent: a broken rule sets `closed` and leaves a warning to send.
        """
        if self.closed is not None:
            return None
        try:
            return self._receive(payload, now)
        except (MalformedMessage, RemoteProtocolError) as error:
            self.fail(str(error))
            return None

    def _receive(self, payload: bytes, now: float) -> Init | Notice | Pong | None:
        if len(payload) < 2:
            self._outgoing.append(encode_warning(f"message of {len(payload)} bytes has no type"))
            return None
        type_id = payload[0] << 8 | payload[1]
        if type_id in (WARNING, ERROR):
            # BOLT 1: an error fails the channels that it refers to, and is ignored if there are none. Here there never
            # are any; and an error for all channels is not about the connection. A peer that means to end it closes it
            return Notice.decode(payload)
        if self.init is None:
            if type_id == INIT:
                return self._receive_init(payload, now)
            if type_id % 2:
                return None
            raise RemoteProtocolError(f"message of type {type_id} before init (BOLT 1: init comes first)")
        if type_id == PING:
            wanted = Ping.decode(payload).num_pong_bytes
            if wanted < NO_PONG:
                self._outgoing.append(Pong(wanted).encode())
        elif type_id == PONG:
            return self._receive_pong(Pong.decode(payload))
        elif type_id == INIT:
            raise RemoteProtocolError("init a second time (BOLT 1: it is the first message of a connection)")
        elif type_id in (OPEN_CHANNEL, OPEN_CHANNEL2):
            # BOLT 2: both start with the chain hash, then the temporary channel id. An error without one would fail
            # all channels of the peer's with us, which a message that is truncated or malformed does not ask for
            channel_id = payload[34:66]
            named = len(channel_id) == 32 and any(channel_id)
            text = "this node has no channels"
            self._outgoing.append(encode_error(text, channel_id) if named else encode_warning(text))
        return None

    def _receive_init(self, payload: bytes, now: float) -> Init:
        init = Init.decode(payload)
        check_features(init.features, self._features)
        # BOLT 1: may close. None means not sent; an empty list, that the peer is on no network
        if init.networks is not None and self._networks and not set(init.networks) & set(self._networks):
            raise RemoteProtocolError(_no_common_network(init.networks, self._networks))
        self.init = init
        self._deadline = now + self._idle
        return init

    def _receive_pong(self, pong: Pong) -> Pong | None:
        # BOLT 1: a pong to no ping of ours is a reason to close the connection, not a duty; harmless, so it is ignored
        for index, (wanted, _) in enumerate(self._pings):
            if wanted == pong.size:
                del self._pings[: index + 1]
                return pong
        return None

    def ping(self, now: float, num_pong_bytes: int = 0, padding: int = 0) -> bytes:
        """Return a ping to send; its pong is due within ``patience`` seconds. Raises `LocalProtocolError`."""
        if self.init is None or self.closed is not None:
            raise LocalProtocolError("a ping goes out after both inits and before the end")
        if not 0 <= padding <= 65535 - 6 or not 0 <= num_pong_bytes <= 65535:
            raise LocalProtocolError(
                f"a ping carries 0 to 65529 bytes and asks for 0 to 65535, not {padding} and {num_pong_bytes}"
            )
        if num_pong_bytes < NO_PONG:
            self._pings.append((num_pong_bytes, now + self._patience))
        return Ping(num_pong_bytes, padding).encode()

    def tick(self, now: float, *, received: bool) -> None:
        """Check the timeouts: queue a ping, or set `closed`, when due.

        ``received``: bytes have arrived since the last tick.
        """
        if self.closed is not None:
            return
        if self.init is None:
            if now >= self._deadline:
                self.fail(NO_INIT % self._init_timeout)
        elif received:
            # Any bytes show that the peer is alive: its pong may be queued behind them
            self._deadline = now + self._idle
            self._pings = [(wanted, max(deadline, now + self._patience)) for wanted, deadline in self._pings]
        elif self._pings:
            if now >= self._pings[0][1]:
                self.closed = f"ping not answered in {self._patience:g} s"
        elif now >= self._deadline:
            self._outgoing.append(self.ping(now))
            self._deadline = now + self._idle

    def fail(self, reason: str) -> None:
        """End the connection: queue a warning with ``reason``, and set `closed`."""
        if len(reason) > _MOST_REASON:
            reason = f"{reason[:_MOST_REASON]}..."  # it may hold a peer's text, and is kept and shown
        self._outgoing.append(encode_warning(reason))
        self.closed = reason


def _no_common_network(theirs: tuple[bytes, ...], ours: tuple[bytes, ...]) -> str:
    names = [_network_name(chain) for chain in theirs]
    text = f"no network in common: the peer is on {', '.join(names) or 'none'}, this node is on "
    text += ", ".join(map(_network_name, ours))
    known = next((name for name in names if name in CHAINS), None)
    return text if known is None else f"{text}; both should be on one, with --network {known} here"


def _network_name(chain: bytes) -> str:
    return next((name for name, known in CHAINS.items() if known == chain), chain.hex())
