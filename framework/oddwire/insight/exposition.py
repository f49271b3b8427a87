"""Metrics in Prometheus's formats: the answer of ``oddwire-stats``, as the families of `prometheus_client`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

__all__ = ["Exposition"]

_OF_MESSAGES = ("extension", "type", "message", "direction")


class Exposition(Collector):
    """Answers scrapes with what ``stats`` returns at that moment. Needs the extra ``metrics``."""

    def __init__(self, stats: Callable[[], Mapping[str, Any]]) -> None:
        self._stats = stats
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def answer(self, accept: str) -> tuple[str, bytes]:
        """Return the content type and the text that suit an ``Accept`` header."""
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # by a version that is no number
            encode, content_type = choose_encoder("")
        return content_type, encode(self._registry)

    def describe(self) -> list[Metric]:
        """Return nothing: the registry need not ask for metrics before the first scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield each family, for the registry."""
        stats = self._stats()
        yield _info(stats)
        yield from _messages(stats["messages"])
        yield _handlers(stats["handlers"])
        yield _counter("errors", "What handlers, hooks and jobs raised", ("extension", "where"), stats["errors"])
        yield _gauge("peers", "Connected peers", stats["peers_total"])
        yield _gauge("queue_messages", "Received messages that wait for their handlers", stats["queues"]["messages"])
        yield _gauge("queue_bytes", "Bytes that these take in memory", stats["queues"]["bytes"])
        yield _gauge("tasks", "Tasks that handle messages", stats["queues"]["tasks"])
        outbox = GaugeMetricFamily(
            "oddwire_outbox_messages", "Reliable messages that wait for their peers", labels=["extension"]
        )
        for row in stats["outbox"]:
            outbox.add_metric([_label(row["extension"])], row["waiting"])
        yield outbox
        limits = [
            {"limit": limit, "what": what, "count": count}
            for limit, found in stats["limits"].items()
            for what, count in found.items()
        ]
        yield _counter("limits", "How often a limit took effect", ("limit", "what"), limits)
        yield _gauge("uptime_seconds", "Seconds since the program has started", stats["uptime"])


def _info(stats: Mapping[str, Any]) -> Metric:
    labels = ["version", "program", "kind", "node_id"]
    found = GaugeMetricFamily("oddwire_info", "The program, always 1", labels=labels)
    found.add_metric([_label(stats[name]) for name in ("oddwire", "program", "kind", "node_id")], 1)
    return found


def _messages(rows: list[Mapping[str, Any]]) -> Iterator[Metric]:
    labels = [*_OF_MESSAGES, "outcome"]
    count = CounterMetricFamily("oddwire_messages", "Messages, by what has come of them", labels=labels)
    size = CounterMetricFamily("oddwire_message_bytes", "Bytes of their payloads", labels=labels)
    pending = GaugeMetricFamily("oddwire_messages_pending", "Messages under way", labels=_OF_MESSAGES)
    for row in rows:
        values = [_label(row[name]) for name in _OF_MESSAGES]
        if row["outcome"] == "pending":
            pending.add_metric(values, row["count"])
        else:
            count.add_metric([*values, row["outcome"]], row["count"])
            size.add_metric([*values, row["outcome"]], row["bytes"])
    yield from (count, size, pending)


def _handlers(rows: list[Mapping[str, Any]]) -> Metric:
    labels = ["extension", "type", "message", "outcome"]
    found = HistogramMetricFamily("oddwire_handler_seconds", "How long handlers ran", labels=labels)
    for row in rows:
        found.add_metric([_label(row[name]) for name in labels], [*row["buckets"].items()], row["seconds"])
    return found


def _counter(name: str, text: str, labels: tuple[str, ...], rows: list[Any]) -> Metric:
    found = CounterMetricFamily(f"oddwire_{name}", text, labels=labels)
    for row in rows:
        found.add_metric([_label(row[label]) for label in labels], row["count"])
    return found


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"oddwire_{name}", text, value=value)


def _label(value: Any) -> str:
    return "" if value is None else str(value).encode(errors="backslashreplace").decode()
