"""Subscriptions to notifications: the node's own topics, and the subscribers of each topic. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Generic, TypeVar

__all__ = ["NATIVE_TOPICS", "Subscriptions"]

Subscriber = TypeVar("Subscriber")

# Core Lightning's topics. This node sends none of those that need a chain, but plugins must not send them either
NATIVE_TOPICS: Final = frozenset(
    {
        "balance_snapshot",
        "block_added",
        "channel_open_failed",
        "channel_opened",
        "channel_state_changed",
        "coin_movement",
        "connect",
        "custommsg",
        "deprecated_oneshot",
        "disconnect",
        "forward_event",
        "invoice_creation",
        "invoice_payment",
        "log",
        "onionmessage_forward_fail",
        "openchannel_peer_sigs",
        "plugin_started",
        "plugin_stopped",
        "sendpay_failure",
        "sendpay_success",
        "shutdown",
        "warning",
    }
)
_EVERYTHING: Final = "*"


class Subscriptions(Generic[Subscriber]):
    """The subscribers of each topic, looked up in constant time: ``*`` is every topic but ``log``."""

    def __init__(self) -> None:
        self._topics: dict[Subscriber, frozenset[str]] = {}
        self._by_topic: dict[str, tuple[Subscriber, ...]] = {}
        self._everything: tuple[Subscriber, ...] = ()

    def add(self, subscriber: Subscriber, topics: Iterable[str]) -> None:
        """Add a subscriber, after the existing ones."""
        self._topics[subscriber] = frozenset(topics)
        self._rebuild()

    def remove(self, subscriber: Subscriber) -> None:
        """Remove a subscriber, if it is one."""
        if self._topics.pop(subscriber, None) is not None:
            self._rebuild()

    def of(self, topic: str) -> tuple[Subscriber, ...]:
        """Return the subscribers of ``topic``, each once, in the order of `add`."""
        found = self._by_topic.get(topic)
        if found is not None:
            return found
        return () if topic == "log" else self._everything

    def _rebuild(self) -> None:
        self._everything = tuple(s for s, topics in self._topics.items() if _EVERYTHING in topics)
        named = {topic for topics in self._topics.values() for topic in topics} - {_EVERYTHING}
        self._by_topic = {
            topic: tuple(
                subscriber
                for subscriber, topics in self._topics.items()
                if topic in topics or (_EVERYTHING in topics and topic != "log")
            )
            for topic in named
        }
