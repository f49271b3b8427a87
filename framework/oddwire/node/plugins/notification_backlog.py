"""What a plugin that is behind is not told yet, or never: that peers send faster than it reads is not its fault."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from oddwire.node.plugins.process import PluginLimits

__all__ = ["Backlog"]

_PEER_EVENTS: Final = frozenset(("connect", "disconnect"))
_LINES: Final = frozenset(("log", "warning"))


class Backlog:
    """What happens, on its way to one plugin; ``send`` queues bytes for it, ``queued`` says how many wait.

    While the plugin reads, everything goes straight on, but messages of peers wait while it is `behind`: so a peer that
    sends much keeps others waiting for no longer. Once a quarter of `PluginLimits.unread` waits for it, it is
    `crowded`: messages of peers are kept where they are, their peers paused, and lines of the log are left out. From a
    half on, of ``connect`` and ``disconnect`` only what still holds is kept for later; from three quarters on, what
    other plugins say is left out. What is left out is counted, and ``tell`` is given a line about it, at most one each
    `PluginLimits.report` seconds.
    """

    def __init__(self, limits: PluginLimits, queued: Callable[[], int], tell: Callable[[str], None]) -> None:
        self.crowded = False
        """Whether so much waits for it that it should rather be sent no more; see `when_there_is_room`."""
        self.behind = False
        """Whether it reads, and has more to read than it is sent of peers' messages at a time."""
        self.stalled = False
        """Whether it has read nothing for so long that others are no longer kept waiting for it."""
        self.left_out: Counter[str] = Counter()
        """What it has not been told of, by topic, since it started."""
        self.send: Callable[[bytes], None] = lambda data: None
        self._limits = limits
        self._queued = queued
        self._tell = tell
        self._waiting: dict[Callable[[], None], None] = {}
        self._late: dict[str, list[tuple[str, bytes]]] = {}
        self._untold: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    # Room --------------------------------------------------------------------------------------------

    def when_there_is_room(self, call: Callable[[], None]) -> None:
        """Call ``call`` once, when the plugin is `crowded` or `behind` no more, is `stalled`, or has ended."""
        self._waiting[call] = None

    def forget(self, call: Callable[[], None]) -> None:
        """Do not call it any more. It need not be there."""
        self._waiting.pop(call, None)

    async def room(self) -> None:
        """Wait until the plugin is not `crowded`, or has ended. Cancelled, nothing is left behind."""
        while self.crowded:
            room = asyncio.Event()
            self._waiting[room.set] = None
            try:
                await room.wait()
            finally:
                self.forget(room.set)

    def set_crowded(self, crowded: bool) -> None:
        """Take note of whether too much waits for the plugin."""
        self.crowded = crowded
        if crowded:
            return
        self.stalled = False
        while self._late and not self.crowded:
            peer = next(iter(self._late))
            for _, data in self._late.pop(peer):
                self.send(data)
        self._let_go_on()

    def set_behind(self, behind: bool) -> None:
        """Take note of whether it reads and is behind."""
        self.behind = behind
        if not behind:
            self._let_go_on()

    def set_stalled(self) -> None:
        """Take note that the plugin does not read at all: whoever waits for it goes on without."""
        self.stalled = True
        self._tell(
            f"has read nothing for {self._limits.stall:g} seconds, and {self._queued()} bytes wait for it: "
            "until it reads again, messages of peers are not handed to it"
        )
        self._let_go_on()

    def _let_go_on(self) -> None:
        # Those who find it crowded again wait again, in the same order
        calls, self._waiting = self._waiting, {}
        for call in calls:
            call()

    # Notifications -----------------------------------------------------------------------------------

    def notify(self, topic: str, data: bytes, *, peer: str | None = None, foreign: bool = False) -> None:
        """Hand on a notification, which may be left out. ``peer`` is whom it is about, ``foreign`` says that a plugin
        says it and not the node.
        """  # noqa: D205 - two arguments, one sentence
        if self.crowded and (self._behind(topic, data, peer) if not foreign else self._has_waiting(3)):
            if peer is None:
                self.leave_out(topic)
        else:
            self.send(data)

    def _behind(self, topic: str, data: bytes, peer: str | None) -> bool:
        """Say whether this is not to be sent now; what is about a peer is kept, if it has to be."""
        if topic in _LINES:
            return True
        if peer is None or topic not in _PEER_EVENTS or not (self._late or self._has_waiting(2)):
            return False
        events = self._late.setdefault(peer, [])
        if topic == "disconnect" and events and events[-1][0] == "connect":
            # It came and went, and the plugin has heard neither
            events.pop()
            if not events:
                del self._late[peer]
            self.leave_out("connect")
            self.leave_out("disconnect")
        else:
            events.append((topic, data))
        return True

    def _has_waiting(self, quarters: int) -> bool:
        return self._queued() > self._limits.unread // 4 * quarters

    # What was left out -------------------------------------------------------------------------------

    def leave_out(self, topic: str) -> None:
        """Count something that the plugin is not told of."""
        self.left_out[topic] += 1
        self._untold[topic] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._limits.report, self._report)

    def _report(self) -> None:
        self._timer = None
        untold, self._untold = self._untold, Counter()
        if untold:
            counts = ", ".join(f"{count} {topic}" for topic, count in sorted(untold.items()))
            self._tell(f"does not read as fast as things happen, and was not told of: {counts}")

    def close(self) -> None:
        """Let everybody go on: the plugin has ended. Say what it was not told of."""
        if self._timer is not None:
            self._timer.cancel()
        self._report()
        self._late.clear()
        self.behind = False
        self.set_crowded(False)
