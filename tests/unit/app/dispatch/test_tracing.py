from __future__ import annotations

import pytest

from oddwire.app import Application, PluginManager, TraceEvent, hookimpl
from oddwire.app.dispatch.tracing import Tracer
from oddwire.errors import Truncated
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message

ALICE = NodeId("02" + "aa" * 32)


@message(0x8C01)
class Ask(Message): ...


class Listener:
    def __init__(self, name: str, events: list[tuple[str, TraceEvent]]) -> None:
        self.name = name
        self._events = events

    @hookimpl
    def message_traced(self, event: TraceEvent) -> None:
        self._events.append((self.name, event))
        if self.name == "clumsy":
            raise RuntimeError


@pytest.fixture
def events() -> list[tuple[str, TraceEvent]]:
    return []


@pytest.fixture
def tracer(events: list[tuple[str, TraceEvent]]) -> Tracer:
    plugins = PluginManager()
    for name in ("first", "clumsy", "last"):
        plugins.register(Listener(name, events))
    return Tracer(Application(transport="memory"), plugins.calls("message_traced"))


def test_tells_every_listener_though_one_raises(
    tracer: Tracer, events: list[tuple[str, TraceEvent]], caplog: pytest.LogCaptureFixture
) -> None:
    now = tracer.trace("received", ALICE, b"\x8c\x01\x80", Ask())
    assert [name for name, _ in events] == ["first", "clumsy", "last"]
    event = events[0][1]
    assert event == TraceEvent(
        direction="received", peer=ALICE, type_id=0x8C01, payload=b"\x8c\x01\x80", time=now, message=Ask()
    )
    assert event.size == 3
    assert (event.error, event.latency) == (None, None)
    assert "message_traced of 'clumsy' failed" in caplog.text


def test_latency_counts_from_when_it_is_told(tracer: Tracer, events: list[tuple[str, TraceEvent]]) -> None:
    start = tracer.trace("received", ALICE, b"\x8c\x01", None)
    now = tracer.trace("sent", ALICE, b"\x8c\x01", None, since=start)
    assert events[-1][1].latency == now - start >= 0


def test_an_error_goes_with_its_payload(tracer: Tracer, events: list[tuple[str, TraceEvent]]) -> None:
    error = Truncated("too short", type_id=0x8C01)
    tracer.trace("received", ALICE, b"\x8c", None, error=error)
    event = events[-1][1]
    assert (event.error, event.message, event.type_id) == (error, None, 0x8C)
