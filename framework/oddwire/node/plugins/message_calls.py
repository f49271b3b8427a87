"""Messages under way to plugins: notifications to subscribers first, then the hook calls of the chain in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from oddwire import clocks
from oddwire.errors import NodeRefused
from oddwire.node.plugins.hook_table import HookTable
from oddwire.node.plugins.log_text import brief, id_prefix
from oddwire.node.plugins.plugin import Passable, Plugin
from oddwire.node.plugins.process import PluginLimits
from oddwire.node.plugins.subscriptions import Subscriptions

__all__ = ["MessageCalls", "call_peer_connected"]

_PROVEN: Final = 16
"""Prompt answers in a row after which a plugin is sent messages ahead."""
_MOST_AHEAD: Final = 64 * 1024
"""Max bytes of a peer's messages that a plugin is sent before it answers the first."""
_OVERHEAD: Final = 256  # bytes counted per message in addition to its own


class MessageCalls:
    """The ``custommsg`` notifications and hook calls of all messages, by callbacks: no task or future per message.

    A message is sent to its subscribers first, then along its hook chain. Messages of different peers do not wait for
    each other. Of one peer, the next message waits until the chain has answered for the last, as with Core Lightning
    since v26.04. With one exception for speed: a plugin that is alone in its chain and keeps answering promptly is sent
    up to `PluginLimits.ahead` messages of a peer before it answers the first, 64 KiB at most, so that it need not wait
    for the node, and the node handles many at a time.

    A plugin that answers anything but ``{"result": "continue"}`` is killed, and the chain goes on, as it does after a
    plugin that ends before it has answered. For a plugin that has too much to read, the next message waits until it has
    read half of that; notifications, which have no answer, wait from 256 KiB on. If a plugin reads nothing for too
    long, messages skip it, and are counted.

    So a peer has one waiting message here, and those that were sent ahead. A peer that has disconnected may connect
    again and send more: of all such peers, `PluginLimits.gone` bytes are kept, and the oldest messages above are
    dropped.
    """

    def __init__(self, hooks: HookTable, subscriptions: Subscriptions[Plugin], limits: PluginLimits) -> None:
        self._hooks = hooks
        self._subscriptions = subscriptions
        self._ahead = limits.ahead
        self._most_gone = limits.gone
        self.prompt = limits.prompt
        self._peers: dict[str, _PeerCalls] = {}
        self._orphans: dict[_HookCall, None] = {}  # messages of peers that have disconnected, the oldest first
        self.orphaned = 0
        """Bytes of the messages of peers that have disconnected, at most `PluginLimits.gone`."""

    def start(self, peer_id: str, payload: bytes, done: Callable[[], None]) -> bool:
        """Send a message to its subscribers, and along its hook chain.

        Return True if the peer's next message may be passed at once; else ``done`` is called when it may, but not after
        `peer_gone`.
        """
        listeners: tuple[Plugin, ...] = self._subscriptions.of("custommsg")
        chain: tuple[Plugin, ...] = self._hooks.chain("custommsg", int.from_bytes(payload[:2], "big"))
        if not chain and not listeners:
            return True
        peer_calls = self._peers.get(peer_id)
        if peer_calls is None:
            peer_calls = _PeerCalls(peer_id, chain)
            call = _HookCall(self, peer_calls, listeners, chain, payload)
            if call.step():
                return True
            self._peers[peer_id] = peer_calls
        else:
            call = _HookCall(self, peer_calls, listeners, chain, payload)
            if peer_calls.waiting or peer_calls.held or peer_calls.chain is not chain or len(chain) != 1:
                # A plugin that gets both messages has to get the earlier one first
                peer_calls.held.append(call)
                peer_calls.waiting.append(done)
                return False
            if call.step():
                return True
        peer_calls.open[call] = None
        peer_calls.size += len(payload)
        if self._may_send_ahead(peer_calls):
            return True
        peer_calls.waiting.append(done)
        return False

    def finished(self, call: _HookCall) -> None:
        """Remove a message that has passed its chain, start the next one of its peer, and call ``done``."""
        peer_calls = call.peer_calls
        del peer_calls.open[call]
        peer_calls.size -= len(call.payload)
        if call.orphan:
            self._remove(call)
        if not peer_calls.waiting and peer_calls.open:
            return
        while peer_calls.held and not peer_calls.open:
            call = peer_calls.held.popleft()
            peer_calls.chain = call.chain
            if not call.step():
                peer_calls.open[call] = None
                peer_calls.size = len(call.payload)
            elif call.orphan:
                self._remove(call)
        if not peer_calls.open:
            del self._peers[peer_calls.peer_id]
        elif peer_calls.held or len(peer_calls.open) > self._ahead // 2 or not self._may_send_ahead(peer_calls):
            # Wait for several: what one event-loop iteration sends is one write
            return
        waiting, peer_calls.waiting = peer_calls.waiting, []
        for done in waiting:
            done()

    def _may_send_ahead(self, peer_calls: _PeerCalls) -> bool:
        chain = peer_calls.chain
        return (
            len(peer_calls.open) < self._ahead
            and peer_calls.size < _MOST_AHEAD
            and len(chain) == 1
            and chain[0].prompt_answers >= _PROVEN
        )

    # Peers that have disconnected --------------------------------------------------------------------

    def peer_gone(self, peer_id: str) -> None:
        """Count a disconnected peer's messages as `orphaned`, and drop the oldest above the limit."""
        peer_calls = self._peers.get(peer_id)
        if peer_calls is None:
            return
        peer_calls.waiting.clear()
        for call in (*peer_calls.open, *peer_calls.held):
            if not call.orphan:
                call.orphan = True
                self._orphans[call] = None
                self.orphaned += len(call.payload) + _OVERHEAD
        while self.orphaned > self._most_gone:
            self._drop(next(iter(self._orphans)))

    def _drop(self, call: _HookCall) -> None:
        call.abort()
        peer_calls = call.peer_calls
        if call in peer_calls.open:
            self.finished(call)
        else:
            peer_calls.held.remove(call)
            self._remove(call)

    def _remove(self, call: _HookCall) -> None:
        del self._orphans[call]
        self.orphaned -= len(call.payload) + _OVERHEAD


class _PeerCalls:
    """One peer's messages: those ``open`` are with plugins, those ``held`` wait behind them."""

    __slots__ = ("chain", "held", "open", "peer_id", "size", "waiting")

    def __init__(self, peer_id: str, chain: tuple[Plugin, ...]) -> None:
        self.peer_id = peer_id
        self.chain = chain
        self.open: dict[_HookCall, None] = {}
        self.size = 0  # bytes of the open payloads
        self.held: deque[_HookCall] = deque()
        self.waiting: list[Callable[[], None]] = []


class _HookCall(Passable):
    """One message under way to its subscribers and along its hook chain."""

    __slots__ = (
        "_asked",
        "_listeners",
        "_message_calls",
        "_next",
        "_plugin",
        "_since",
        "chain",
        "orphan",
        "payload",
        "peer_calls",
    )

    def __init__(
        self,
        message_calls: MessageCalls,
        peer_calls: _PeerCalls,
        listeners: tuple[Plugin, ...],
        chain: tuple[Plugin, ...],
        payload: bytes,
    ) -> None:
        self.peer_calls = peer_calls
        self.chain = chain
        self.payload = payload
        self.orphan = False  # whether its peer has disconnected
        self._message_calls = message_calls
        self._listeners = listeners
        self._next = 0
        self._plugin: Plugin | None = None  # the plugin that was called, or is waited for
        self._asked: str | None = None  # the id of the hook request, while that plugin has it

    def step(self) -> bool:
        """Proceed as far as possible without waiting. Return True if the message has passed its whole chain."""
        if self._listeners and not self._notify():
            return False
        chain = self.chain
        while self._next < len(chain):
            plugin = self._plugin = chain[self._next]
            crowded = plugin.backlog.crowded
            if crowded and plugin.active and self._has_to_wait(plugin):
                return False
            self._next += 1
            if plugin.active and not crowded:
                self._asked = request_id = plugin.new_id("custommsg")
                # Formatted by hand: it runs once per message
                request = (
                    f'{{"jsonrpc":"2.0","id":"{request_id}","method":"custommsg","params":'
                    f'{{"payload":"{self.payload.hex()}","peer_id":"{self.peer_calls.peer_id}"}}}}\n\n'
                )
                self._since = clocks.monotonic()
                plugin.ask(request_id, request.encode(), self._answered)
                return False
        return True

    def _notify(self) -> bool:
        # Formatted by hand too, with the same bytes as `encode` would give
        data = (
            '{"jsonrpc":"2.0","method":"custommsg","params":{"custommsg":'
            f'{{"peer_id":"{self.peer_calls.peer_id}","payload":"{self.payload.hex()}"}}}}}}\n\n'
        ).encode()
        while self._listeners:
            plugin = self._listeners[0]
            crowded = plugin.backlog.crowded
            if (crowded or plugin.backlog.behind) and plugin.active and self._has_to_wait(plugin):
                return False
            if plugin.active and not crowded:
                plugin.send(data)
            self._listeners = self._listeners[1:]
        return True

    def _has_to_wait(self, plugin: Plugin) -> bool:
        # Many peers together may send more than the plugin may leave unread: it is not killed for that
        if plugin.backlog.stalled:
            plugin.backlog.leave_out("custommsg")
            return False
        self._plugin = plugin
        plugin.backlog.when_there_is_room(self._go_on)
        return True

    def _go_on(self) -> None:
        if self.step():
            self._message_calls.finished(self)

    def _answered(self, answer: dict[str, Any] | None) -> None:
        plugin = self._plugin
        assert plugin is not None  # noqa: S101 - set when the request was sent
        self._asked = None
        if answer is not None:
            result = answer.get("result")
            if type(result) is not dict or result.get("result") != "continue":
                plugin.kill(_wrong_answer("custommsg", answer, '{"result": "continue"}'))
            elif clocks.monotonic() - self._since < self._message_calls.prompt:
                plugin.prompt_answers += 1
            else:
                plugin.prompt_answers = 0
        if self._next == len(self.chain) or self.step():
            self._message_calls.finished(self)

    def abort(self) -> None:
        """Stop here: the remaining plugins do not get the message, which is counted."""
        plugin = self._plugin
        if plugin is not None:
            plugin.backlog.cancel_call(self._go_on)
            if self._asked is not None:
                plugin.ignore_answer(self._asked)
        for unaware in dict.fromkeys((*self._listeners, *self.chain[self._next :])):
            if unaware.active:
                unaware.backlog.leave_out("custommsg")


async def call_peer_connected(chain: Sequence[Plugin], peer: Mapping[str, Any], command_id: Any) -> str | None:
    """Call the ``peer_connected`` chain. Return None to continue, else the text of the first plugin that disconnects.

    A plugin that has too much to read is called when it has read. If it is cancelled, no further plugin is called.
    """
    for plugin in chain:
        await plugin.backlog.room()
        if not plugin.active:
            continue
        try:
            answer = await plugin.request("peer_connected", {"peer": peer}, prefix=id_prefix(command_id))
        except NodeRefused as error:
            if plugin.active:
                plugin.kill(f"answered the peer_connected hook with an error: {error}")
            continue
        verdict = answer.get("result") if isinstance(answer, dict) else None
        if verdict == "disconnect":
            text = answer.get("error_message")
            return "" if text is None else text if isinstance(text, str) else brief(text)
        if verdict != "continue":
            right = '{"result": "continue"} or {"result": "disconnect", "error_message": "why"}'
            plugin.kill(_wrong_answer("peer_connected", {"result": answer}, right))
    return None


def _wrong_answer(hook: str, answer: dict[str, Any], right: str) -> str:
    """Return the reason to kill a plugin for its answer to a hook."""
    said = {key: answer[key] for key in ("result", "error") if key in answer}
    return f"answered the {hook} hook with {brief(said)}; its result should be {right}"
