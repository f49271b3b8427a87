"""Every state of a connection can be reached and left as the table says, and only so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from oddwire.errors import ConnectionClosed
from oddwire.proto.connection import LightningConnection
from oddwire.proto.connection_states import FOLLOWING, ConnectionState
from oddwire.proto.keys import PrivateKey

State = ConnectionState
OURS, THEIRS = PrivateKey(b"\1" * 32), PrivateKey(b"\2" * 32)


class Way(asyncio.Transport):
    """A socket whose other end is another connection; bytes arrive when `move` says."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def abort(self) -> None:
        self.aborted = True

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return self.aborted

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...


def arrive(connection: LightningConnection, data: bytes) -> None:
    connection.get_buffer(-1)[: len(data)] = data
    connection.buffer_updated(len(data))


def move(sender: Way, receiver: LightningConnection) -> None:
    written, sender.written = sender.written, []
    for data in written:
        arrive(receiver, data)


def to_connecting() -> tuple[LightningConnection, Way]:
    return LightningConnection(OURS, THEIRS.public_key(), handshake_timeout=None), Way()


def to_handshake() -> tuple[LightningConnection, Way]:
    connection, way = to_connecting()
    connection.connection_made(way)
    return connection, way


def to_open() -> tuple[LightningConnection, Way]:
    connection, way = to_handshake()
    other, back = LightningConnection(THEIRS, handshake_timeout=None), Way()
    other.connection_made(back)
    move(way, other)
    move(back, connection)
    return connection, way


def to_given_up() -> tuple[LightningConnection, Way]:
    connection, way = to_connecting()
    connection.close("not needed")
    return connection, way


def to_lingering() -> tuple[LightningConnection, Way]:
    connection, way = to_open()
    connection.close("enough")
    return connection, way


def to_gone() -> tuple[LightningConnection, Way]:
    connection, way = to_lingering()
    connection.connection_lost(None)
    return connection, way


TO = {
    State.CONNECTING: to_connecting,
    State.HANDSHAKE: to_handshake,
    State.OPEN: to_open,
    State.GIVEN_UP: to_given_up,
    State.LINGERING: to_lingering,
    State.GONE: to_gone,
}


def test_the_table_knows_every_state_and_leads_everywhere() -> None:
    assert set(FOLLOWING) == set(State) == set(TO)
    reached, new = set[State](), {State.CONNECTING}
    while new:
        reached |= new
        new = {state for one in reached for state in FOLLOWING[one]} - reached
    assert reached == set(State)
    assert [state for state, following in FOLLOWING.items() if not following] == [State.GONE]
    assert all(State.CONNECTING not in following for following in FOLLOWING.values())


@pytest.mark.parametrize("state", State)
async def test_what_a_connection_is_in_each_state(state: State) -> None:
    connection, _ = TO[state]()
    assert connection.state is state
    ended = state in (State.GIVEN_UP, State.LINGERING, State.GONE)
    assert connection.closed is ended
    assert (connection.close_reason is not None) is ended
    assert connection.lingers is (state is State.LINGERING)
    assert hasattr(connection, "_handshake") is (state in (State.CONNECTING, State.HANDSHAKE))
    assert hasattr(connection, "_sealer") is (state in (State.OPEN, State.LINGERING, State.GONE))
    assert (connection._transport is not None) is (state in (State.HANDSHAKE, State.OPEN, State.LINGERING))
    if state is State.OPEN:
        connection.send_nowait(b"hello")
    else:
        with pytest.raises(ConnectionClosed):
            connection.send_nowait(b"hello")


EVENTS: dict[str, Callable[[LightningConnection, Way], object]] = {
    "close": lambda connection, way: connection.close("closed"),
    "abort": lambda connection, way: connection.abort("aborted"),
    "eof": lambda connection, way: connection.eof_received(),
    "lost": lambda connection, way: connection.connection_lost(None),
    "made": lambda connection, way: connection.connection_made(way),
}
AFTER = {
    (State.CONNECTING, "close"): State.GIVEN_UP,
    (State.CONNECTING, "abort"): State.GIVEN_UP,
    (State.CONNECTING, "made"): State.HANDSHAKE,
    (State.HANDSHAKE, "close"): State.LINGERING,
    (State.HANDSHAKE, "abort"): State.LINGERING,
    (State.HANDSHAKE, "eof"): State.LINGERING,
    (State.HANDSHAKE, "lost"): State.GONE,
    (State.OPEN, "close"): State.LINGERING,
    (State.OPEN, "abort"): State.LINGERING,
    (State.OPEN, "eof"): State.LINGERING,
    (State.OPEN, "lost"): State.GONE,
    (State.GIVEN_UP, "close"): State.GIVEN_UP,
    (State.GIVEN_UP, "abort"): State.GIVEN_UP,
    (State.GIVEN_UP, "made"): State.LINGERING,
    (State.LINGERING, "close"): State.LINGERING,
    (State.LINGERING, "abort"): State.LINGERING,
    (State.LINGERING, "eof"): State.LINGERING,
    (State.LINGERING, "lost"): State.GONE,
    (State.GONE, "close"): State.GONE,
    (State.GONE, "abort"): State.GONE,
}


@pytest.mark.parametrize(("state", "event"), AFTER)
async def test_what_follows_on_what(state: State, event: str) -> None:
    connection, way = TO[state]()
    EVENTS[event](connection, way)
    assert connection.state is AFTER[state, event]


@pytest.mark.parametrize(("state", "event"), [(State.OPEN, "made"), (State.GONE, "lost")])
async def test_what_a_loop_never_does_is_an_error_and_changes_nothing(state: State, event: str) -> None:
    connection, way = TO[state]()
    with pytest.raises(RuntimeError, match=f"a connection that is {state.name} cannot become"):
        EVENTS[event](connection, way)
    assert connection.state is state


async def test_a_socket_that_comes_after_all_is_closed() -> None:
    connection, way = to_given_up()
    connection.connection_made(way)
    assert way.aborted
    with pytest.raises(ConnectionClosed, match="not needed"):
        await connection.opened()
