"""`Model`: what is known of a watched program, and `View`: what of that one screen shows. Neither waits or draws."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from oddwire.decoding import Lexicon
from oddwire.monitor.counters import Counters
from oddwire.monitor.explained import named
from oddwire.monitor.filters import Filter, read_filter
from oddwire.monitor.snapshot import PeerLine, Program, TypeLine, read_snapshot
from oddwire.monitor.watched import Watched
from oddwire.records import FrozenRecord

__all__ = ["KEPT", "KEPT_BYTES", "Bottom", "Model", "View"]

KEPT: Final = 10_000
"""Events that are kept, the last ones."""
KEPT_BYTES: Final = 16 * 1024 * 1024
"""Bytes of the JSON of these, at most."""

_Direction = tuple[str, str]  # a key of counters, and "received" or "sent"


class Bottom(FrozenRecord, kw_only=True):
    """Sums: messages, bytes and tasks that wait, reliable messages that wait to go out, limits that were reached."""

    queue: int = 0
    queue_bytes: int = 0
    tasks: int = 0
    outbox: int = 0
    limits: tuple[str, ...] = ()
    errors: int = 0


class Model:
    """The state of one program: fed with answers of ``oddwire-stats`` and ``oddwire-watch``, in JSON.

    ``now`` is everywhere the caller's clock in seconds, which never goes back. Events are numbered anew here, from 1,
    so that their numbers go on when the program is started again. At most ``kept`` events and ``kept_bytes`` are kept.
    By ``lexicon``, messages have names that the program does not know, as a node; their ``data`` stays as it was told.
    """

    def __init__(self, *, kept: int = KEPT, kept_bytes: int = KEPT_BYTES, lexicon: Lexicon | None = None) -> None:
        self.program = Program()
        self.peers: Sequence[PeerLine] = ()
        self.peers_total = 0
        self.types: Sequence[TypeLine] = ()
        self.bottom = Bottom()
        self.state = "connecting"
        """``connected``, or what to tell people instead."""
        self.on_state: Callable[[str], object] = lambda _: None
        """Called with `state` when that has changed."""
        self.missed = 0
        """Events that the program forgot before they were read."""
        self.restarts = 0
        """How often the program was started again."""
        self.gone = 0
        """Events that were forgotten here, the oldest first."""
        self.version = 0
        """Grows with each change."""
        self.last = 0
        """The number of the last event; 0 before the first."""
        self._events: deque[tuple[Watched, int]] = deque()
        self._kept, self._kept_bytes, self._bytes = kept, kept_bytes, 0
        self._lexicon = lexicon
        self._messages: Counters[_Direction] = Counters()
        self._of_peers: Counters[_Direction] = Counters()
        self._listeners: list[Callable[[Sequence[Watched]], object]] = []

    # Fed --------------------------------------------------------------------------------------------

    def take_stats(self, answer: Mapping[str, Any], now: float) -> None:
        """Take an answer of ``oddwire-stats``. What is not as it should be is left out, and nothing raised."""
        snapshot = read_snapshot(answer, self._name)
        if self.program.pid and snapshot.program.is_another_run_of(self.program):
            for counters in (self._messages, self._of_peers):
                counters.clear()
            self.restarts += 1
            why = "the program was started again: what it did before it was found is not here"
            self.take_events([{"event": "missed", "time": snapshot.time, "reason": why}])
        self.program = snapshot.program
        self._messages.take(now, snapshot.counts)
        self._of_peers.take(now, snapshot.peer_counts)
        self.peers = [
            line.with_rates(self._of_peers.rate((line.id, "received")), self._of_peers.rate((line.id, "sent")))
            for line in snapshot.peers
        ]
        self.peers_total = snapshot.peers_total
        self.types = [
            line.with_rates(
                self._messages.rate((line.key, "received")),
                self._messages.rate((line.key, "sent")),
                self._messages.series((line.key, "received"), (line.key, "sent")),
            )
            for line in snapshot.types
        ]
        self.bottom = Bottom(**snapshot.bottom)
        self._set_state("connected")
        self.version += 1

    def take_events(self, events: Iterable[Mapping[str, Any]], missed: int = 0, now: float = 0.0) -> list[Watched]:
        """Take events of ``oddwire-watch``, and how many were missed before them. Return those that are events."""
        taken: list[Watched] = []
        if missed > 0:
            self.missed += missed
            moment = next((each["time"] for each in events if _is_time(each.get("time"))), now)
            note = {
                "event": "missed",
                "time": moment,
                "reason": f"{missed} events were forgotten before they were read",
            }
            taken.append(self._keep(note))
        for data in events:
            try:
                taken.append(self._keep(data))
            except ValueError as error:
                note = {"event": "error", "time": now, "message": f"an event that is none: {error}"}
                taken.append(self._keep(note))
        if taken:
            self.version += 1
            for told in self._listeners:
                told(taken)
        return taken

    def lose(self, why: str) -> None:
        """Note that the program does not answer, and why."""
        if self._set_state(why):
            self.version += 1

    def listen(self, told: Callable[[Sequence[Watched]], object]) -> Callable[[], None]:
        """Call ``told`` with all new events, paused or not. Return what ends that."""
        self._listeners.append(told)
        return lambda: self._listeners.remove(told)

    # Asked ------------------------------------------------------------------------------------------

    @property
    def events(self) -> Iterable[Watched]:
        """The events that are kept, oldest first."""
        return (event for event, _ in self._events)

    def event(self, number: int) -> Watched | None:
        """Return an event by its number here; None if it is not kept any more."""
        if not self._events:
            return None
        index = number - self._events[0][0].number
        return self._events[index][0] if 0 <= index < len(self._events) else None

    def series(self, direction: str) -> list[float]:
        """Return the messages received, or sent, in each of the last 60 seconds, oldest first."""
        keys = [(line.key, direction) for line in self.types]
        return self._messages.series(*keys) if keys else [0.0] * 60

    def _name(self, type_id: int) -> str:
        """Return the name of a type that the program has no name for; empty if it is not known here either."""
        if self._lexicon is None:
            return ""
        return " or ".join(dict.fromkeys(entry.name for entry in self._lexicon.entries(type_id)))

    def _set_state(self, state: str) -> bool:
        if self.state == state:
            return False
        self.state = state
        self.on_state(state)
        return True

    def _keep(self, data: Mapping[str, Any]) -> Watched:
        event = Watched.of({**data, "n": self.last + 1})
        if self._lexicon is not None:
            event = named(event, self._lexicon)
        self.last += 1
        size = 300 + 3 * len(event.payload) + len(event.line)
        self._events.append((event, size))
        self._bytes += size
        while len(self._events) > self._kept or (self._bytes > self._kept_bytes and len(self._events) > 1):
            _, size = self._events.popleft()
            self._bytes -= size
            self.gone += 1
        return event


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1 << 63


class View:
    """What one screen shows of a `Model`: the events that pass its filter, up to where it was paused."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.expression = ""
        self._filter: Filter = read_filter("")
        self._paused_at: int | None = None
        self._frozen: tuple[Watched, ...] = ()

    @property
    def paused(self) -> bool:
        """Whether new events are gathered without being shown."""
        return self._paused_at is not None

    @property
    def behind(self) -> int:
        """How many events came since it was paused."""
        return 0 if self._paused_at is None else self.model.last - self._paused_at

    def filter_by(self, expression: str) -> None:
        """Show the events of a filter's expression alone. Raises `ValueError`, and shows what it showed before."""
        self._filter = read_filter(expression)
        self.expression = expression.strip()

    def passes(self, event: Watched) -> bool:
        """Return whether the filter takes an event."""
        return self._filter(event)

    def pause(self) -> None:
        """Show no new events, until `resume`; those that are shown stay, even if the model forgets them."""
        if self._paused_at is None:
            self._paused_at = self.model.last
            self._frozen = tuple(self.model.events)

    def resume(self) -> None:
        """Show new events again, and those that came meanwhile, as far as they are kept."""
        self._paused_at = None
        self._frozen = ()

    def rows(self, most: int | None = None, after: int = 0) -> list[Watched]:
        """Return the last ``most`` events that are shown, oldest first, of those behind number ``after``."""
        shown = self._frozen if self._paused_at is not None else self.model.events
        found = [event for event in shown if event.number > after and self._filter(event)]
        return found if most is None else found[-most:]

    def find(self, number: int) -> Watched | None:
        """Return an event by number, also one that is shown still and kept no more; None if there is none."""
        return next((event for event in self._frozen if event.number == number), None) or self.model.event(number)
