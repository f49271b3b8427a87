"""The notifications to one plugin that reads slower than they come: which wait, and which are left out."""

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
    """The notifications to one plugin. ``send`` queues bytes for the plugin, ``queued()`` returns how many wait.

    While the plugin reads, notifications are sent at once, except that messages of peers wait while it is `behind`: so
    a peer that sends a lot does not delay those of others for longer.

    Once a quarter of `PluginLimits.unread` waits, the plugin is `crowded`: messages of peers wait at the node, their
    peers are paused, and lines of the log are left out. From half of it on, ``connect`` and ``disconnect`` are kept for
    later, and dropped in pairs; from three quarters on, notifications of other plugins are left out. Those left out are
    counted, and ``log`` is called with a line about them, at most once in `PluginLimits.report` seconds.
    """

    def __init__(self, limits: PluginLimits, queued: Callable[[], int], log: Callable[[str], None]) -> None:
        self.crowded = False
        """Whether so much waits for the plugin that it should be sent no more; see `when_there_is_room`."""
        self.behind = False
        """Whether the plugin reads, and more than `PluginLimits.behind` waits for it."""
        self.stalled = False
        """Whether the plugin has read nothing for so long that peers' messages do not wait for it any more."""
        self.left_out: Counter[str] = Counter()
        """The number of notifications left out, by topic, since the plugin started."""
        self.send: Callable[[bytes], None] = lambda data: None
        self._limits = limits
        self._queued = queued
        self._log = log
        self._waiting: dict[Callable[[], None], None] = {}
        self._late: dict[str, list[tuple[str, bytes]]] = {}
        self._unreported: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    # Room --------------------------------------------------------------------------------------------

    def when_there_is_room(self, call: Callable[[], None]) -> None:
        """Call ``call`` once: when the plugin is no longer `crowded` or `behind`, is `stalled`, or has ended."""
        self._waiting[call] = None

    def cancel_call(self, call: Callable[[], None]) -> None:
        """Remove a ``call`` of `when_there_is_room`, if it was not called yet."""
        self._waiting.pop(call, None)

    async def room(self) -> None:
        """Wait until the plugin is not `crowded`, or has ended. Cancellation has no other effect."""
        while self.crowded:
            room = asyncio.Event()
            self._waiting[room.set] = None
            try:
                await room.wait()
            finally:
                self.cancel_call(room.set)

    def set_crowded(self, crowded: bool) -> None:
        """Set `crowded`. When it ends, send what was kept, and call those that wait for room."""
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
        """Set `behind`. When it ends, call those that wait for room."""
        self.behind = behind
        if not behind:
            self._let_go_on()

    def set_stalled(self) -> None:
        """Set `stalled`, log that, and call those that wait for room: peers' messages skip the plugin from now on."""
        self.stalled = True
        self._log(
            f"has read nothing for {self._limits.stall:g} seconds, and {self._queued()} bytes wait for it: "
            "until it reads again, messages of peers are not passed to it"
        )
        self._let_go_on()

    def _let_go_on(self) -> None:
        # A call that finds the plugin crowded again waits again, in the same order
        calls, self._waiting = self._waiting, {}
        for call in calls:
            call()

    # Notifications -----------------------------------------------------------------------------------

    def notify(self, topic: str, data: bytes, *, peer: str | None = None, foreign: bool = False) -> None:
        """Send a notification, keep it for later, or leave it out.

        ``peer`` is the peer that it is about; ``foreign`` is set for a notification of another plugin.
        """
        if self.crowded and (self._behind(topic, data, peer) if not foreign else self._has_waiting(3)):
            if peer is None:
                self.leave_out(topic)
        else:
            self.send(data)

    def _behind(self, topic: str, data: bytes, peer: str | None) -> bool:
        """Return whether a notification of the node must not be sent now; one about a peer is kept for later then."""
        if topic in _LINES:
            return True
        if peer is None or topic not in _PEER_EVENTS or not (self._late or self._has_waiting(2)):
            return False
        events = self._late.setdefault(peer, [])
        if topic == "disconnect" and events and events[-1][0] == "connect":
            # The peer came and went, and the plugin was sent neither
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

    # Notifications left out --------------------------------------------------------------------------

    def leave_out(self, topic: str) -> None:
        """Count a notification that is left out, and log the counts in a while."""
        self.left_out[topic] += 1
        self._unreported[topic] += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._limits.report, self._report)

    def _report(self) -> None:
        self._timer = None
        unreported, self._unreported = self._unreported, Counter()
        if unreported:
            counts = ", ".join(f"{count} {topic}" for topic, count in sorted(unreported.items()))
            self._log(f"does not read fast enough; notifications dropped: {counts}")

    def close(self) -> None:
        """Call those that wait for room, and log what was left out: the plugin has ended."""
        if self._timer is not None:
            self._timer.cancel()
        self._report()
        self._late.clear()
        self.behind = False
        self.set_crowded(False)
