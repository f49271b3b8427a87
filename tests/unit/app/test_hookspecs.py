from dataclasses import FrozenInstanceError

import pluggy
import pytest

from oddwire.app.hookspecs import PROJECT, Hooks, TraceEvent, hookimpl, hookspec
from oddwire.proto.keys import NodeId


def test_the_hooks_are_those_of_the_design() -> None:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    assert {name for name in vars(manager.hook) if not name.startswith("_")} == {
        "delivery_failed",
        "handler_failed",
        "message_traced",
        "peer_connected",
        "peer_disconnected",
        "ready",
        "register_codecs",
        "register_handlers",
        "register_jobs",
        "register_messages",
        "register_middleware",
        "register_options",
        "register_providers",
        "register_rpc",
        "register_transports",
        "shutdown",
        "startup",
        "stopping",
    }


def test_the_markers_are_of_one_project() -> None:
    assert hookimpl.project_name == hookspec.project_name == PROJECT


def test_a_trace_event_is_frozen_and_knows_its_size() -> None:
    event = TraceEvent(direction="sent", peer=NodeId("02" + "aa" * 32), type_id=1, payload=b"\0\1\2", time=0.0)
    assert event.size == 3
    with pytest.raises(FrozenInstanceError):
        event.time = 1.0  # type: ignore[misc]
