from __future__ import annotations

from oddwire.node.plugins.subscriptions import NATIVE_TOPICS, Subscriptions


def test_the_nodes_own_topics() -> None:
    assert {"connect", "disconnect", "custommsg", "warning", "shutdown", "log", "plugin_started"} <= NATIVE_TOPICS


def test_subscribers_of_a_topic() -> None:
    subscriptions: Subscriptions[str] = Subscriptions()
    subscriptions.add("a", ["connect", "custommsg"])
    subscriptions.add("b", ["connect"])
    assert subscriptions.of("connect") == ("a", "b")
    assert subscriptions.of("custommsg") == ("a",)
    assert subscriptions.of("warning") == ()
    subscriptions.remove("a")
    assert subscriptions.of("connect") == ("b",)
    assert subscriptions.of("custommsg") == ()
    subscriptions.remove("a")


def test_the_star_is_everything_but_log_and_nobody_hears_twice() -> None:
    subscriptions: Subscriptions[str] = Subscriptions()
    subscriptions.add("a", ["connect"])
    subscriptions.add("star", ["*", "connect"])
    subscriptions.add("log", ["log", "*"])
    assert subscriptions.of("connect") == ("a", "star", "log")
    assert subscriptions.of("anything") == ("star", "log")
    assert subscriptions.of("log") == ("log",)
    subscriptions.remove("log")
    assert subscriptions.of("log") == ()
