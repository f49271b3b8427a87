"""Requests to a node's gateway, beside the payloads: who owns a partition, connecting, calls of the host node."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from oddwire.errors import ConnectionClosed, NodeRefused, TransportError
from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerFailure, BrokerUnavailable
from oddwire.transports.nats.packing import MalformedBatch, pack_control, unpack_control
from oddwire.transports.nats.patience import pauses
from oddwire.transports.nats.subjects import control_subject

__all__ = ["Controls", "GatewayRefused", "Owned"]

logger = get_logger("oddwire.transports.nats")

_TIME_LIMIT: Final = 5.0
_ENDED: Final = ("stale", "run", "partition")


class GatewayRefused(TransportError):
    """The gateway has answered a request with an error; ``status`` is its code."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status

    @property
    def is_final(self) -> bool:
        """Whether the gateway takes nothing of this owner any more."""
        return self.status in _ENDED


class Owned(NamedTuple):
    """A gateway's answer to the owner of a partition: what it has at the moment of the marker.

    ``marker`` is the sequence of that in the stream, 0 if it is not there yet.

    ``live`` are the connections by number, each with the number of its next payload. ``handled`` is what a former owner
    has handled of messages that it left: numbers of payloads, by run and connection.
    """

    run: int
    marker: int
    live: Mapping[int, tuple[PeerInfo, int]]
    handled: Mapping[tuple[int, int], int]
    uris: tuple[str, ...]


class Controls:
    """Asks the gateway of ``node``, for the owner of a partition; ``run`` is set once it is known."""

    def __init__(self, connection: BrokerConnection, node: NodeId, partition: int, term: int) -> None:
        self._connection = connection
        self._subject = control_subject(node)
        self._common = {"k": partition, "term": term}
        self.run: int | None = None

    async def own(self) -> Owned:
        """Tell the gateway that this is the owner now. Raises `GatewayRefused`, and `BrokerFailure`."""
        conns: list[Any] = []
        run: Any = None
        while True:
            answer = await self._once("owner", **({"from": len(conns)} if conns else {}))
            try:
                page = [*answer["conns"]]
                if conns and answer["run"] != run:  # another gateway now, with connections of its own
                    conns.clear()
                    continue
                run = answer["run"]
                conns += page
                if page and len(conns) < int(answer.get("total", 0)):
                    continue  # they are too many for one message
                return _owned(answer, conns)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                text = f"the gateway's answer to its owner cannot be read: {error!r}"
                raise GatewayRefused("malformed", text) from error

    async def ask(self, do: str, **values: Any) -> Any:
        """Send a request until it is answered; return the answer. Raises `GatewayRefused`, and the node's errors."""
        following = pauses()
        while True:
            try:
                return await self._once(do, **values)
            except BrokerUnavailable as error:
                logger.debug("%s waits for the gateway: %s", do, error.reason)
            except GatewayRefused as error:
                if error.status != "busy":
                    raise
                logger.debug("%s waits for the gateway: %s", do, error)
            await asyncio.sleep(next(following))

    async def try_to(self, do: str, seconds: float, **values: Any) -> None:
        """Send a request once; it does not matter whether it is answered within ``seconds``."""
        with contextlib.suppress(BrokerFailure, TransportError, ValueError):
            await self._once(do, seconds, **values)

    async def call(self, do: str, seconds: float, **values: Any) -> Any:
        """Send a request once, and wait up to ``seconds`` for its answer.

        Raises `GatewayRefused`, the node's errors, and `ConnectionClosed` if the broker is gone, or does not answer.
        """
        try:
            return await self._once(do, seconds, **values)
        except BrokerFailure as error:
            raise ConnectionClosed(f"{do}: {error.reason}; it may be done or not") from error

    async def _once(self, do: str, seconds: float = _TIME_LIMIT, **values: Any) -> Any:
        request = {"do": do, **self._common, **values}
        if self.run is not None:
            request["run"] = self.run
        try:
            packed = pack_control(request)
        except (TypeError, ValueError, OverflowError) as error:
            raise TransportError(f"{do}: the gateway cannot be sent this: {error}") from error
        raw = await self._connection.request(self._subject, packed, time_limit=seconds)
        try:
            answer = unpack_control(raw)
        except MalformedBatch as error:
            raise GatewayRefused("malformed", f"the gateway's answer cannot be read: {error}") from error
        if "ok" in answer:
            return answer["ok"]
        raise _error(answer.get("error"))


def _owned(answer: Mapping[str, Any], conns: Iterable[Any]) -> Owned:
    live = {
        conn: (PeerInfo(node_id=NodeId(peer), address=address, direction=direction, features=features), following)
        for conn, peer, address, direction, features, following in conns
    }
    handled = {(int(run), int(conn)): int(number) for run, conn, number in answer.get("handled", ())}
    uris = (*map(str, answer.get("uris", ())),)
    return Owned(int(answer["run"]), int(answer["marker"]), live, handled, uris)


def _error(error: Any) -> Exception:
    if not isinstance(error, list) or len(error) < 2 or not all(isinstance(part, str) for part in error[:2]):
        return GatewayRefused("malformed", f"the gateway's error cannot be read: {error!r:.200}")
    status, text = error[0], printable(error[1])
    if status == "node" and len(error) > 3 and type(error[2]) is int:  # the host node's own
        return NodeRefused(text, code=error[2], data=error[3])
    return GatewayRefused(status, text)
