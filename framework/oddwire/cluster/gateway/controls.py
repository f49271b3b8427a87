"""What workers ask of a gateway besides sending: to own a partition, to pause a peer, to dial, to call the host."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

from oddwire.cluster.gateway.inbound import Inbound
from oddwire.cluster.gateway.limits import GatewayLimits
from oddwire.cluster.gateway.owners import Owner, Owners, Refused
from oddwire.cluster.gateway.peer_conns import Conn
from oddwire.cluster.gateway.refusals import Refusals
from oddwire.errors import NodeRefused, OddwireError
from oddwire.exit_exceptions import spelled
from oddwire.log_limits import get_logger
from oddwire.transports.base import Transport
from oddwire.transports.host import call_host
from oddwire.transports.nats.errors import BrokerFailure
from oddwire.transports.nats.packing import MalformedBatch, pack_control, unpack_control
from oddwire.transports.nats.subjects import partition_of

__all__ = ["Controls"]

logger = get_logger("oddwire.cluster.gateway")

_LONGEST: Final = 1 << 20  # bytes of a request
_EACH: Final = 64  # bytes of a connection besides its address and features
_TEXT: Final = 1000  # characters of a text to a peer, or to a worker
_PAGE: Final = 256 << 10  # bytes of connections in one answer
_MARKED: Final = 1.0  # seconds that an owner waits until its marker is stored
_PATIENCE: Final = 120.0  # seconds for a dial or a call of the host, unless the worker says less

_Answer = Mapping[str, Any]


class Controls:
    """Answers requests on the control subject. ``term_of`` reads from the log the term that a partition has there."""

    def __init__(
        self,
        transport: Transport,
        inbound: Inbound,
        owners: Owners,
        refusals: Refusals,
        limits: GatewayLimits,
        *,
        methods: Collection[str],
        term_of: Callable[[int], Awaitable[int]],
    ) -> None:
        self._transport = transport
        self._inbound = inbound
        self._owners = owners
        self._refusals = refusals
        self._limits = limits
        self._methods = frozenset(methods)
        self._term_of = term_of
        self._run = 0
        self._markers: set[asyncio.Future[int]] = set()
        self._calls = 0
        self._locks = [asyncio.Lock() for _ in range(owners.partitions)]
        self._verbs: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
            "owner": self._own,
            "release": self._release,
            "handled": self._handled,
            "pause": self._pause,
            "resume": self._resume,
            "disconnect": self._disconnect,
            "connect": self._connect,
            "warn": self._warn,
            "call": self._call,
        }

    def begin(self, run: int) -> None:
        """Begin a run, or end it with 0."""
        self._run = run
        self._owners.begin()
        for marker in list(self._markers):
            if not marker.done():
                marker.set_exception(Refused("run", "the gateway's run is over: ask again"))
                marker.exception()  # perhaps nobody waits for it any more
        self._markers.clear()

    async def take(self, raw: bytes, *, held: bool = True) -> bytes:
        """Return the answer to a request, whatever its bytes are; none is granted while the lease is not ``held``."""
        try:
            if not held:
                raise Refused("run", "this gateway has no lease")
            return pack_control({"ok": await self._take(raw)})
        except MalformedBatch as error:
            code, text = "malformed", str(error)
        except Refused as refused:
            code, text = refused.code, refused.text
        except NodeRefused as error:  # by the host's method, whose answer it is
            return pack_control({"error": ["node", _cut(str(error)), error.code, _plain(error.data)]})
        except BrokerFailure as error:
            return pack_control({"error": ["failed", _cut(error.reason)]})
        except (OddwireError, ValueError, TimeoutError) as error:
            return pack_control({"error": ["failed", _cut(spelled(error))]})
        self._refusals.add(code, text)
        return pack_control({"error": [code, _cut(text)]})

    async def _take(self, raw: bytes) -> Any:
        if len(raw) > _LONGEST:
            raise Refused("malformed", f"a control has at most {_LONGEST} bytes, not {len(raw)}")
        values = unpack_control(raw)
        verb = values.get("do")
        call = self._verbs.get(verb) if isinstance(verb, str) else None
        if call is None:
            raise Refused("malformed", f"'do' is one of {', '.join(self._verbs)}, not {verb!r:.40}")
        return await call(values)

    # Owners -------------------------------------------------------------------------------------------

    async def _own(self, values: dict[str, Any]) -> _Answer:
        partition = self._owners.check_partition(values.get("k"))
        term = values.get("term")
        if type(term) is not int or term < 1:
            raise Refused("malformed", f"a term is a number from 1, not {term!r:.40}")
        run = self._run
        first = values.get("from", 0)
        if type(first) is not int or first < 0:
            raise Refused("malformed", f"'from' is a number from 0, not {first!r:.40}")
        async with self._locks[partition]:  # what the log says is true until we have acted on it
            if not self._owners.has(partition, term):
                found = await self._term_of(partition)
                if found:
                    self._owners.saw(partition, found)
                    if term > found:
                        text = f"the log of partition {partition} is at term {found}, and knows no {term}"
                        raise Refused("stale", text)
            if not self._run or run != self._run:
                raise Refused("run", "this gateway has no lease, or a new one: ask again")
            owner, is_new = self._owners.take(partition, term)
            if is_new:
                owner.welcome = self._welcome(partition, term)
        conns, stored = owner.welcome
        # A full stream stores no marker as long as nobody owns the partition: so an owner need not know where it is
        await asyncio.wait([stored], timeout=_MARKED)
        return {
            "run": run,
            "conns": _page(conns, first),
            "total": len(conns),
            "marker": stored.result() if stored.done() else 0,
            "partitions": self._owners.partitions,
            "uris": list(self._transport.uris),
            "handled": owner.handled,
        }

    def _welcome(self, partition: int, term: int) -> tuple[list[Any], asyncio.Future[int]]:
        """Put a marker into the stream; return the connections there, and what has the marker's sequence."""
        stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._markers.add(stored)
        stored.add_done_callback(self._markers.discard)

        def found(sequence: int) -> None:
            if not stored.done():
                stored.set_result(sequence)

        conns = self._inbound.mark(partition, term, found)
        for conn in conns:  # the former owner's wish
            self._inbound.resume(conn.peer, "worker")
        logger.info("partition %d has an owner, of term %d", partition, term)
        return [_described(conn) for conn in conns], stored

    async def _release(self, values: dict[str, Any]) -> _Answer:
        self._check_owner(values)
        self._owners.release(values["k"], values.get("handled", []))
        return {}

    async def _handled(self, values: dict[str, Any]) -> _Answer:
        self._check_owner(values)
        self._owners.leave(values["k"], values.get("handled", []))
        return {}

    def _check_owner(self, values: Mapping[str, Any]) -> Owner:
        run = values.get("run", self._run)
        if run != self._run or not self._run:
            raise Refused("run", f"this gateway is in run {self._run}, not {run!r:.40}")
        return self._owners.check(values.get("k"), values.get("term"))

    # Peers --------------------------------------------------------------------------------------------

    def _check_conn(self, values: Mapping[str, Any]) -> Conn:
        self._check_owner(values)
        number = values.get("conn")
        conn = self._inbound.table.conns.get(number) if type(number) is int else None
        if conn is None or conn.peer.partition != values["k"]:
            raise Refused("gone", f"connection {number!r:.40} of partition {values['k']} has ended, or never was")
        return conn

    async def _pause(self, values: dict[str, Any]) -> _Answer:
        self._inbound.pause(self._check_conn(values).peer, "worker")
        return {}

    async def _resume(self, values: dict[str, Any]) -> _Answer:
        self._inbound.resume(self._check_conn(values).peer, "worker")
        return {}

    async def _disconnect(self, values: dict[str, Any]) -> _Answer:
        conn = self._check_conn(values)
        reason = _word(values, "reason", "")
        return await self._slowly(values, lambda: self._transport.disconnect(conn.peer.node_id, reason)) or {}

    async def _warn(self, values: dict[str, Any]) -> _Answer:
        self._transport.warn(self._check_conn(values).peer.node_id, _word(values, "text"))
        return {}

    async def _connect(self, values: dict[str, Any]) -> _Answer:
        self._check_owner(values)
        uri = _word(values, "uri")
        info = await self._slowly(values, lambda: self._transport.connect(uri))
        peer = self._inbound.table.peers.get(info.node_id)
        if peer is None or peer.conn is None:
            raise Refused("gone", f"{info.node_id} has connected, and gone again")
        return {"conn": _described(peer.conn), "k": partition_of(info.node_id, self._owners.partitions)}

    # The host node ------------------------------------------------------------------------------------

    async def _call(self, values: dict[str, Any]) -> _Answer:
        self._check_owner(values)
        method = _word(values, "method")
        params = values.get("params")
        if method not in self._methods:
            listed = ", ".join(sorted(self._methods)) or "none is"
            text = f"the gateway's operator does not let workers call {method!r:.60}; allowed: {listed}"
            raise Refused("method", f"{text} (--allow-method)")
        if not isinstance(params, dict | list | None):
            raise Refused("malformed", "'params' are a list, a map, or nothing")
        return {"result": _plain(await self._slowly(values, lambda: call_host(self._transport, method, params)))}

    async def _slowly(self, values: Mapping[str, Any], call: Callable[[], Awaitable[Any]]) -> Any:
        """Await what may take long, for as long as the worker says, and not too many at once."""
        seconds = values.get("timeout")
        if not isinstance(seconds, int | float) or not 0 < seconds <= _PATIENCE:
            seconds = _PATIENCE
        if self._calls >= self._limits.calls:
            raise Refused("busy", f"{self._calls} dials and calls are under way, as many as may be")
        self._calls += 1
        try:
            async with asyncio.timeout(seconds):
                return await call()
        except TimeoutError:
            raise TimeoutError(f"nothing came of it in {seconds:g} s") from None
        finally:
            self._calls -= 1


def _described(conn: Conn) -> list[Any]:
    """Return a connection as the wire format has it."""
    info = conn.info
    return [conn.number, info.node_id, info.address, info.direction, info.features, conn.next_payload]


def _page(conns: list[list[Any]], first: int) -> list[list[Any]]:
    """Return as many connections as go into an answer, from the one with the index ``first`` on."""
    found: list[list[Any]] = []
    size = 0
    for conn in conns[first:]:
        size += _EACH + len(conn[2]) + len(conn[4])
        if found and size > _PAGE:
            break
        found.append(conn)
    return found


def _word(values: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = values.get(name, default)
    if not isinstance(value, str) or len(value) > _TEXT:
        raise Refused("malformed", f"'{name}' is a text of at most {_TEXT} characters")
    return value


def _cut(text: str) -> str:
    return text[:_TEXT].encode(errors="replace").decode()


def _plain(value: Any) -> Any:
    """Return JSON values with what msgpack cannot hold as text: large integers, lone surrogates."""
    match value:
        case bool() | float() | None:
            return value
        case int():
            return value if -(1 << 63) <= value < 1 << 64 else str(value)
        case str():
            return value.encode(errors="replace").decode()
        case dict():
            return {_plain(str(key)): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case _:
            return str(value)
