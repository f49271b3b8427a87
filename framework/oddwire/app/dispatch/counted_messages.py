"""The fast path of messages that are counted: as `Dispatcher.payload_received`, with a count and a clock around it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from oddwire import clocks
from oddwire.app.dispatch.peer_queue import MESSAGE_WEIGHT, PeerQueue
from oddwire.app.insight.counts import Counts, Traffic, fate_of
from oddwire.app.insight.handler_times import BOUNDS
from oddwire.proto.keys import NodeId

if TYPE_CHECKING:
    from oddwire.app.context import Context
    from oddwire.app.dispatch.core import Core
    from oddwire.app.dispatch.queue_workers import QueueWorkers
    from oddwire.app.dispatch.slow_path import SlowPath
    from oddwire.app.limits.backpressure import Backpressure
    from oddwire.app.plugins.tables import Route

__all__ = ["CountedMessages"]

_NOBODY = [0, 0]


class CountedMessages:
    """Receives the payloads of an application whose messages are counted, in place of the dispatcher's fast path.

    ``unrouted`` is called with those that have no route.
    """

    def __init__(
        self,
        core: Core,
        counts: Counts,
        slow_path: SlowPath,
        backpressure: Backpressure,
        workers: QueueWorkers,
        unrouted: Callable[[PeerQueue | None, NodeId, bytes], object],
    ) -> None:
        self._core = core
        self._peers = counts.peers
        self._slow_path = slow_path
        self._backpressure = backpressure
        self._workers = workers
        self._unrouted = unrouted
        self._routes = {prefix: _counted(core, counts, prefix, route) for prefix, route in core.routes.items()}

    def received(self, queue: PeerQueue | None, peer: NodeId, payload: bytes) -> None:
        """Decode a payload, count it, and enqueue it for its handler."""
        found = self._routes.get(payload[:2])
        if queue is None or found is None or queue.hung_up:
            self._unrouted(queue, peer, payload)
            return
        route, traffic, run = found
        try:
            message = route.decode(payload)
        except Exception as error:
            self._slow_path.malformed(queue, payload, error)
            return
        if route.slow or run is None or queue.needs_slow_path:
            self._slow_path.dispatch_slowly(queue, route, message, payload)
            return
        size = len(payload)
        traffic.messages += 1
        traffic.bytes += size
        self._peers.get(peer, _NOBODY)[0] += 1
        weight = size + MESSAGE_WEIGHT
        queue.waiting.append((partial(run, size), route.owner, message, weight))
        queue.held = held = queue.held + weight
        if held > queue.mark:
            self._backpressure.full(queue)
        if queue.wake is not None:
            self._workers.wake(queue)


def _counted(core: Core, counts: Counts, prefix: bytes, route: Route) -> tuple[Route, Traffic, Any]:
    """Return a route, the counts of its type, and its handler, which counts; None if it has no handler."""
    type_id = int.from_bytes(prefix, "big")
    traffic, handler = counts.traffic("received", type_id), route.handler
    if handler is None:
        return route, traffic, None
    times, outcomes = counts.times(core.owner_name(route.owner), type_id), traffic.outcomes
    runs = times.outcomes

    async def run(size: int, context: Context, message: Any) -> Any:
        began = clocks.monotonic()
        try:
            reply = await handler(context, message)
        except BaseException as error:
            fate = fate_of(error, connected=context.peer.connected)
            times.add(fate, clocks.monotonic() - began)
            traffic.end(fate, size)
            raise
        seconds = clocks.monotonic() - began
        try:
            ended, ran = outcomes["ok"], runs["ok"]
        except KeyError:
            times.add("ok", seconds)
            traffic.end("ok", size)
        else:  # `HandlerTimes.add` and `Traffic.end`, inlined: the path of nearly every message
            ran[0] += seconds
            ran[1 + bisect_left(BOUNDS, seconds)] += 1
            ended[0] += 1
            ended[1] += size
        return reply

    return route, traffic, run
