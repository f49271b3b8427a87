"""Hooks being called: one plugin of the chain after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from oddwire.errors import NodeRefused
from oddwire.node.plugins.plugin import Plugin, brief, id_prefix

__all__ = ["CustommsgCall", "call_peer_connected"]


class CustommsgCall:
    """The ``custommsg`` chain for one message, walked by callbacks: no task, no future, the payload written once.

    A plugin that answers anything but ``{"result": "continue"}`` is killed, and the chain goes on, as it does past a
    plugin that ends before it has answered.
    """

    __slots__ = ("_chain", "_done", "_next", "_plugin", "_tail")

    def __init__(self, chain: Sequence[Plugin], peer_id: str, payload: str, done: Callable[[], None]) -> None:
        self._chain = chain
        self._done = done
        self._next = 0
        self._plugin = chain[0]
        self._tail = f'","method":"custommsg","params":{{"payload":"{payload}","peer_id":"{peer_id}"}}}}\n\n'

    def step(self) -> bool:
        """Ask the next plugin that runs; True if there is none left."""
        chain = self._chain
        while self._next < len(chain):
            plugin = self._plugin = chain[self._next]
            self._next += 1
            if plugin.active:
                request_id = plugin.new_id("custommsg")
                plugin.ask(request_id, f'{{"jsonrpc":"2.0","id":"{request_id}{self._tail}'.encode(), self._answered)
                return False
        return True

    def _answered(self, answer: dict[str, Any] | None) -> None:
        if answer is not None:
            result = answer.get("result")
            if type(result) is not dict or result.get("result") != "continue":
                self._plugin.kill(wrong_answer("custommsg", answer, '{"result": "continue"}'))
        if self.step():
            self._done()


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
            plugin.kill(wrong_answer("peer_connected", {"result": answer}, right))
    return None


def wrong_answer(hook: str, answer: dict[str, Any], right: str) -> str:
    """Say why a plugin is killed over its answer to a hook."""
    said = {key: answer[key] for key in ("result", "error") if key in answer}
    return f"answered the {hook} hook with {brief(said)}; its result should be {right}"
