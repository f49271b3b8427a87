"""Hooks being called: one plugin of the chain after the other."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from oddwire.errors import NodeRefused
from oddwire.node.plugins.hooks import HookTable
from oddwire.node.plugins.plugin import Plugin
from oddwire.node.plugins.texts import brief, id_prefix

__all__ = ["MessageCalls", "call_peer_connected"]

_PROVEN: Final = 16
"""Prompt answers in a row after which a plugin is handed messages ahead."""
_MOST_DIGITS: Final = 2 * 64 * 1024
"""Hex digits of a peer's messages that a plugin is handed before it answers the first, if there are several."""


class MessageCalls:
    """The ``custommsg`` hook: every message's way along its chain, by callbacks. No task, no future a message.

    Peers go side by side. Of one peer, the next message waits until the chain has answered for the last, as with Core
    Lightning since v26.04. One thing is quicker: a plugin that is alone in its chain and keeps answering promptly is
    handed up to ``ahead`` messages of a peer before it answers the first, 64 KiB of them at most, so that it never
    waits for the node, and the node works on many at a time.

    A plugin that answers anything but ``{"result": "continue"}`` is killed, and the chain goes on, as it does past a
    plugin that ends before it has answered. One that has much to read yet is asked when it has read half of that.
    """

    def __init__(self, hooks: HookTable, *, ahead: int, prompt: float) -> None:
        self._hooks = hooks
        self._ahead = ahead
        self.prompt = prompt
        self._lanes: dict[str, _Lane] = {}

    def start(self, peer_id: str, type_id: int, payload: str, done: Callable[[], None]) -> bool:
        """Run the chain for a message; ``payload`` is hex. True if the peer's next one may come at once.

        Else ``done`` is called when it may.
        """
        chain: tuple[Plugin, ...] = self._hooks.chain("custommsg", type_id)
        if not chain:
            return True
        lane = self._lanes.get(peer_id)
        if lane is None:
            lane = _Lane(peer_id, chain)
            if _Call(self, lane, chain, payload).step():
                return True
            self._lanes[peer_id] = lane
        elif lane.waiting or lane.chain is not chain or len(chain) > 1:
            # Whoever hears of both has to hear of the earlier one first
            lane.held.append(_Call(self, lane, chain, payload))
            lane.waiting.append(done)
            return False
        elif _Call(self, lane, chain, payload).step():
            return True
        lane.open += 1
        lane.digits += len(payload)
        if self._may_send_ahead(lane):
            return True
        lane.waiting.append(done)
        return False

    def finished(self, lane: _Lane, payload: str) -> None:
        """Take note that a message's chain is through."""
        lane.open -= 1
        lane.digits -= len(payload)
        if not lane.waiting and lane.open:
            return
        while lane.held and not lane.open:
            call = lane.held.popleft()
            lane.chain = call.chain
            if not call.step():
                lane.open = 1
                lane.digits = len(call.payload)
        if not lane.open:
            del self._lanes[lane.peer_id]
        elif lane.held or lane.open > self._ahead // 2 or not self._may_send_ahead(lane):
            # Several at a time: what a turn of the loop sends is one write
            return
        waiting, lane.waiting = lane.waiting, []
        for done in waiting:
            done()

    def _may_send_ahead(self, lane: _Lane) -> bool:
        chain = lane.chain
        return (
            lane.open < self._ahead
            and lane.digits < _MOST_DIGITS
            and len(chain) == 1
            and chain[0].prompt_answers >= _PROVEN
        )


class _Lane:
    """One peer's messages on their way: ``open`` of them are with a plugin, those ``held`` are behind them."""

    __slots__ = ("chain", "digits", "held", "open", "peer_id", "waiting")

    def __init__(self, peer_id: str, chain: tuple[Plugin, ...]) -> None:
        self.peer_id = peer_id
        self.chain = chain
        self.open = 0
        self.digits = 0  # of the payloads that are open
        self.held: deque[_Call] = deque()
        self.waiting: list[Callable[[], None]] = []


class _Call:
    """One message on its way along a chain."""

    __slots__ = ("_calls", "_lane", "_next", "_plugin", "_since", "chain", "payload")

    def __init__(self, calls: MessageCalls, lane: _Lane, chain: tuple[Plugin, ...], payload: str) -> None:
        self.chain = chain
        self.payload = payload
        self._calls = calls
        self._lane = lane
        self._next = 0

    def step(self) -> bool:
        """Ask the next plugin that is active; True if there is none left."""
        chain = self.chain
        while self._next < len(chain):
            plugin = self._plugin = chain[self._next]
            if plugin.crowded and plugin.active:
                # Many peers at once may send more than it may leave unread, which is not its fault
                plugin.when_there_is_room(self._go_on)
                return False
            self._next += 1
            if plugin.active:
                request_id = plugin.new_id("custommsg")
                # Written out, for it happens for every message
                request = (
                    f'{{"jsonrpc":"2.0","id":"{request_id}","method":"custommsg","params":'
                    f'{{"payload":"{self.payload}","peer_id":"{self._lane.peer_id}"}}}}\n\n'
                )
                self._since = time.monotonic()
                plugin.ask(request_id, request.encode(), self._answered)
                return False
        return True

    def _go_on(self) -> None:
        if self.step():
            self._calls.finished(self._lane, self.payload)

    def _answered(self, answer: dict[str, Any] | None) -> None:
        plugin = self._plugin
        if answer is not None:
            result = answer.get("result")
            if type(result) is not dict or result.get("result") != "continue":
                plugin.kill(_wrong_answer("custommsg", answer, '{"result": "continue"}'))
            elif time.monotonic() - self._since < self._calls.prompt:
                plugin.prompt_answers += 1
            else:
                plugin.prompt_answers = 0
        if self._next == len(self.chain) or self.step():
            self._calls.finished(self._lane, self.payload)


async def call_peer_connected(chain: Sequence[Plugin], peer: Mapping[str, Any], command_id: Any) -> str | None:
    """Walk the ``peer_connected`` chain. None to continue, else the first text to disconnect with."""
    for plugin in chain:
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
    """Say why a plugin is killed over its answer to a hook."""
    said = {key: answer[key] for key in ("result", "error") if key in answer}
    return f"answered the {hook} hook with {brief(said)}; its result should be {right}"
