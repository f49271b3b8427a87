"""What the sessions with all peers share: the transport, the limits and their counters, our hello, the timer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from oddwire.errors import QuotaExceeded
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Allowance, Counters, Limits
from oddwire.session.peer.reassembly import ReassemblyBudget
from oddwire.session.peer.timer import PeerTimer
from oddwire.session.wire.frame_types import Code, Hello, HelloFlag
from oddwire.session.wire.frames import encode
from oddwire.transports.base import Transport, fast_send

if TYPE_CHECKING:
    from oddwire.session.host import ReliableDelivery, SessionHost
    from oddwire.session.peer.peer_session import PeerSession

__all__ = ["OwnHello", "Shared"]


class OwnHello:
    """Our hello as encoded frames, addressed to all programs of a peer or to one of them.

    ``instance`` is the address of this process, u32.
    """

    __slots__ = ("_answer", "_leaving", "hello", "instance", "to_all")

    def __init__(self, hello: Hello, instance: int) -> None:
        self.instance = instance
        self.set(hello)

    def set(self, hello: Hello) -> None:
        """Replace the hello that is sent from now on."""
        self.hello, instance = hello, self.instance
        self.to_all = encode(hello._replace(flags=HelloFlag.ANSWER), instance)
        """Our hello to all programs of a peer, which asks for an answer."""
        self._answer = encode(hello, instance)
        self._leaving = encode(hello._replace(flags=HelloFlag.LEAVING, extensions=()), instance)

    def asking(self, instance: int) -> bytes:
        """Return our hello to one program, which asks for an answer."""
        return _readdress(self.to_all, instance)

    def answer(self, instance: int = 0) -> bytes:
        """Return our hello without a flag, to one program or to all (0): an answer, or news."""
        return _readdress(self._answer, instance)

    def leaving(self, instance: int = 0) -> bytes:
        """Return our hello with *leaving*, to one program or to all (0)."""
        return _readdress(self._leaving, instance)


class Shared:
    """What every `PeerSession` and `Link` of one `Session` uses."""

    __slots__ = (
        "address",
        "allowances",
        "budget",
        "counters",
        "delivery",
        "hello_wait",
        "host",
        "instance",
        "left",
        "limits",
        "loop",
        "own",
        "send_nowait",
        "timer",
        "transport",
    )

    def __init__(
        self,
        host: SessionHost,
        transport: Transport,
        delivery: ReliableDelivery,
        own: OwnHello,
        peers: Mapping[NodeId, PeerSession],
        *,
        limits: Limits,
        allowances: Mapping[str, Allowance],
        hello_wait: float,
    ) -> None:
        self.host = host
        self.transport = transport
        self.send_nowait = fast_send(transport)
        self.delivery = delivery
        """Receives peers' reliable messages, and sends ours."""
        self.own = own
        self.instance = own.instance
        self.address = own.instance.to_bytes(4, "big")
        self.limits = limits
        self.allowances = allowances
        self.hello_wait = hello_wait
        self.counters = Counters()
        self.budget = ReassemblyBudget(limits.total_reassembly_bytes)
        self.loop = asyncio.get_running_loop()
        self.timer = PeerTimer(self.loop, peers)
        self.left = False
        """Whether we have sent *leaving* to all peers."""

    def count_limit(self, error: QuotaExceeded, total: int = 0) -> Code:
        """Count a transfer of ``total`` bytes that exceeded a limit, the application's or an extension's.

        Return the code for its failure: `TOO_LARGE` if it could never succeed, `QUOTA` if it could later.
        """
        counters, most = self.counters, float(self.limits.reassembly_bytes)
        if error.extension is not None:
            allowance = self.allowances[error.extension]
            counters, most = allowance.counters, allowance.most("reassembly_bytes")
        counters.refused[error.limit] += 1
        return Code.TOO_LARGE if error.limit == "max_size" or total > most else Code.QUOTA


def _readdress(frame: bytes, instance: int) -> bytes:
    return frame[:3] + instance.to_bytes(4, "big") + frame[7:]
