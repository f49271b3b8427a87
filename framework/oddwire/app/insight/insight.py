"""What one application tells of itself: its metrics, and its events while somebody looks on."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from oddwire import clocks
from oddwire.app.insight.events import Event
from oddwire.app.insight.metrics import Metrics
from oddwire.app.insight.watch import Watch
from oddwire.insight.ring import Ring
from oddwire.schema import schema_of

if TYPE_CHECKING:
    from oddwire.app.application import Application
    from oddwire.app.dispatch.core import Core

__all__ = ["Insight"]

_MOST_PEERS: Final = 1000
_SESSION: Final = "session frame"  # what a frame that cannot be read is counted as


class Insight:
    """The metrics and events of ``app``, for as long as it runs. Asking for either costs nothing before.

    ``began`` returns when it started, by `oddwire.clocks.monotonic`. ``program`` is what the program is called, and
    ``kind`` what it is: ``run``, or ``plugin``.
    """

    def __init__(self, app: Application, began: Callable[[], float]) -> None:
        self._app = app
        self._began = began
        self.program = ""
        self.kind = "run"
        self.ring = Ring(self._begin, self._end)
        self._watch: Watch[Event] | None = None

    def close(self) -> None:
        """Keep no events any more: the application ends."""
        self.ring.end()

    @property
    def _core(self) -> Core:
        return self._app._running().core  # noqa: SLF001 - the application's own part

    def count(self) -> None:
        """Count messages from now on. Raises `LocalProtocolError` before the application has started."""
        self._core.count_messages()

    def stats(self) -> dict[str, Any]:
        """Return the metrics in JSON types, and count messages from now on; what ``oddwire-stats`` answers.

        Raises `LocalProtocolError` before the application has started.
        """
        self.count()
        return self.metrics().to_json()

    async def watch(
        self,
        after: int | None = None,
        wait: float = 0.0,
        limit: int = 1000,
        types: Collection[int] = (),
        peers: Collection[str] = (),
    ) -> dict[str, Any]:
        """Return the events after a number, waiting for one; see `Ring.read`. What ``oddwire-watch`` answers."""
        self.count()
        seen = await self.ring.read(after, wait, limit, types, peers)
        node_id = None if self._app.node_id is None else str(self._app.node_id)
        return {"events": seen.events, "next": seen.next, "missed": seen.missed, "node_id": node_id}

    def look_on(self, show: Callable[[Event], object]) -> Watch[Event]:
        """Call ``show`` with each event from now on. Raises `LocalProtocolError` before the application has started."""
        core = self._core
        connected = [node_id for node_id, queue in core.queues.items() if queue.info is not None]
        watch = Watch(Event, show, names=self._names, connected=connected)
        core.look_on(watch)
        return watch

    def _begin(self) -> None:
        ring = self.ring
        self._watch = self.look_on(lambda event: ring.add(event.to_values()))

    def _end(self) -> None:
        if self._watch is not None:
            self._core.look_away(self._watch)
            self._watch = None

    @cached_property
    def _names(self) -> dict[int, str]:
        return {schema.type_id: name for name, schema in self._app.registry.by_name.items()}

    @cached_property
    def _owners(self) -> dict[int, str]:
        tables = self._core.tables
        found = {}
        for message, claimants in tables.claims.items():
            owner = tables.handlers[message][0] if message in tables.handlers else claimants[0]
            found[schema_of(message).type_id] = owner.name
        for owner in tables.owners:
            for handler in owner.unknown_handlers:
                found.update(dict.fromkeys(handler.numbers, owner.name))
        return found

    def _what(self, type_id: int | None, extension: str | None = None) -> dict[str, Any]:
        """Return the extension, type and name of a message."""
        from oddwire.session.constants import SESSION_TYPE

        owner = "" if type_id is None else self._owners.get(type_id, "")
        name = None if type_id is None else self._names.get(type_id)
        return {
            "extension": owner if extension is None else extension,
            "type": type_id,
            "message": _SESSION if type_id == SESSION_TYPE else name,
        }

    def metrics(self) -> Metrics:
        """Return a snapshot; see `Application.metrics`."""
        from oddwire.version import __version__  # imported late: it takes some milliseconds

        app, core = self._app, self._core
        counts = core.counts
        owners = [owner for owner in core.tables.owners if owner.versions]
        queues = core.queues.values()
        messages, handlers = [], []
        if counts is not None:
            for direction, type_id, outcome, count, size in counts.rows():
                row = self._what(type_id)
                messages.append({**row, "direction": direction, "outcome": outcome, "count": count, "bytes": size})
            for extension, type_id, times in counts.timed():
                for outcome, count, seconds, buckets in times.rows():
                    what = {**self._what(type_id, extension), "outcome": outcome}
                    handlers.append({**what, "count": count, "seconds": round(seconds, 9), "buckets": buckets})
        places = core.failures.places.items()
        peers = [*self._peers(core)]
        return Metrics(
            program=self.program or "+".join(owner.name for owner in owners),
            kind=self.kind,
            pid=os.getpid(),
            oddwire=__version__,
            node_id=None if app.node_id is None else str(app.node_id),
            time=round(clocks.wall(), 6),
            uptime=round(clocks.monotonic() - self._began(), 6),
            since=None if counts is None else round(counts.since, 6),
            extensions=[{"name": owner.name, "version": owner.versions[0]} for owner in owners],
            messages=messages,
            handlers=handlers,
            errors=[{"extension": name, "where": where, "count": count} for (name, where), count in places],
            peers=peers[:_MOST_PEERS],
            peers_total=len(peers),
            queues={
                "messages": sum(len(queue.waiting) for queue in queues),
                "bytes": sum(queue.held for queue in queues),
                "tasks": core.tasks.count,
            },
            outbox=[
                {"extension": name, "waiting": load[0], "bytes": load[1]}
                for name, load in self._app.resources.outbox_loads().items()
            ],
            limits=_by_limit(app.counters.to_json()),
        )

    def _peers(self, core: Core) -> Iterator[dict[str, Any]]:
        now, counts = clocks.monotonic(), core.counts
        for node_id, queue in core.queues.items():
            info = queue.info
            if info is None:
                continue
            received, sent = (0, 0) if counts is None else counts.peers.get(node_id, (0, 0))
            row: dict[str, Any] = {"id": str(node_id), "direction": info.direction}
            if info.address:
                row["address"] = info.address
            yield {
                **row,
                "connected": round(now - queue.since, 6),
                "session": queue.session is not None and queue.session.ready,
                "queue": len(queue.waiting),
                "queue_bytes": queue.held,
                "outbox": self._app.resources.outbox_of(node_id),
                "received": received,
                "sent": sent,
            }


def _by_limit(counters: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Return what `Counters` has counted, by limit; what failed is no limit."""
    found: dict[str, dict[str, int]] = {}
    for what, limits in counters.items():
        if what != "failed":
            for limit, count in limits.items():
                found.setdefault(limit, {})[what] = count
    return found
