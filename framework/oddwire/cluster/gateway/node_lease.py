"""The lease of a node: of its gateways, the one that has it serves the cluster."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

import oddwire.clocks as clocks
from oddwire.cluster.lease_times import TIMES, LeaseClock, LeaseTimes
from oddwire.cluster.lease_values import LeaseLost, parsed, remove, renew
from oddwire.errors import TransportError
from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.proto.keys import NodeId
from oddwire.transports.nats.bucket import Bucket, Value
from oddwire.transports.nats.errors import BrokerFailure, BrokerUnavailable, StreamFull, UnexpectedSequence
from oddwire.transports.nats.subjects import node_key

__all__ = ["NodeLease"]

logger = get_logger("oddwire.cluster.gateway")

_ASK: Final = 0.5  # seconds between looks at another's lease
_AGAIN: Final = 0.25  # seconds between attempts without a broker
_RELEASE: Final = 2.0  # seconds for letting go of it


class NodeLease:
    """Takes, renews and gives up the key ``node.ID`` of the bucket of leases.

    ``describe`` returns what others are told of us, in JSON types; it goes along with each renewal. Its revision when
    it is taken is the ``run``: no two are equal, and later ones are greater. ``place`` is where this gateway runs, if
    it surely is the only one there, a locked folder say: then the lease of another one there is that of a process that
    has ended, and is taken over at once.
    """

    def __init__(
        self,
        bucket: Bucket,
        node: NodeId,
        describe: Callable[[], Mapping[str, Any]],
        *,
        place: str = "",
        times: LeaseTimes = TIMES,
    ) -> None:
        self.run = 0
        self._bucket = bucket
        self._key = node_key(node)
        self._node = node
        self._describe = describe
        self._place = place
        self._times = times
        self._token = ""
        self._revision = 0
        self._clock = LeaseClock(times, 0.0)

    @property
    def is_held(self) -> bool:
        """Whether it is surely ours now: also right in a process that was frozen meanwhile."""
        return self._revision != 0 and not self._clock.is_over(clocks.uptime())

    async def take(self, *, wait: bool = False) -> int:
        """Take it, and return the run. One that nobody renews is waited for until it expires.

        Raises `TransportError` if another gateway renews it, unless we ``wait`` for that to end; and what the bucket
        raises. If cancelled, it may be taken or not.
        """
        if not self._token:
            self._token, self.run = secrets.token_hex(8), 0
        seen: Value | None = None
        while True:
            sent = clocks.uptime()
            with contextlib.suppress(UnexpectedSequence):
                self.run = self._revision = await self._bucket.create(self._key, self._value())
                break
            found = await self._bucket.get(self._key)
            if found is not None and self._is_over(found):
                with contextlib.suppress(UnexpectedSequence):
                    self.run = self._revision = await self._bucket.update(self._key, self._value(), found.revision)
                    break
            if found is not None and seen is None:
                logger.warning("node %s has a gateway, %s: waiting whether it is alive", self._node, _told(found))
            if found is not None and seen is not None and found.revision != seen.revision and not wait:
                raise TransportError(
                    f"node {self._node} has a gateway already, {_told(found)}; it can have one at a time: stop that "
                    "one first"
                )
            seen = found
            await asyncio.sleep(_ASK)
        self._clock = LeaseClock(self._times, sent)
        with contextlib.suppress(LeaseLost):
            await self._renew()  # which tells the run
        return self.run

    async def keep(self) -> str:
        """Renew it, until it is lost; return why. Cancelling leaves it as it is, to expire."""
        pause = self._times.renew
        while True:
            await asyncio.sleep(min(pause, max(self._clock.deadline - clocks.uptime(), 0.0)))
            sent = clocks.uptime()
            if self._clock.is_over(sent):
                return "its lease has run out: this process was frozen, or cut off from the broker"
            pause = _AGAIN
            try:
                async with asyncio.timeout(self._clock.deadline - sent):
                    await self._renew()
            except LeaseLost:
                return "its lease is another gateway's"
            except (BrokerUnavailable, StreamFull, TimeoutError):
                continue
            self._clock.granted(sent)
            pause = self._times.renew

    async def release(self) -> None:
        """Let go of it, so that the next gateway need not wait."""
        revision, token = self._revision, self._token
        self.forget()
        if revision:
            with contextlib.suppress(BrokerFailure, TimeoutError):
                async with asyncio.timeout(_RELEASE):
                    await remove(self._bucket, self._key, revision, token)

    def forget(self) -> None:
        """Note that it is lost. A new one is another run."""
        self._revision, self._token = 0, ""

    async def _renew(self) -> None:
        self._revision = await renew(self._bucket, self._key, self._value(), self._revision, self._token)

    def _is_over(self, found: Value) -> bool:
        """Return whether a lease is ours, its grant not heard, or of a process that has ended for sure."""
        values = parsed(found.data)
        return values.get("token") == self._token or (self._place != "" and values.get("place") == self._place)

    def _value(self) -> bytes:
        values = {"host": socket.gethostname(), "pid": os.getpid(), "token": self._token, "place": self._place}
        return json.dumps({**values, "run": self.run, **self._describe()}).encode()


def _told(value: Value) -> str:
    found = parsed(value.data)
    return printable(f"process {found.get('pid', '?')} on {found.get('host', '?')}"[:200])
