"""One plugin: its state, its requests and answers, and its notifications."""

from __future__ import annotations

import asyncio
import enum
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from oddwire.errors import NodeRefused
from oddwire.jsonrpc.documents import Oversize, encode
from oddwire.node.plugins.log_text import brief, id_prefix
from oddwire.node.plugins.node_services import MethodCall, NodeServices
from oddwire.node.plugins.notification_backlog import Backlog
from oddwire.node.plugins.plugin_manifest import PluginManifest
from oddwire.node.plugins.process import PluginLimits, PluginProcess
from oddwire.printable import printable

__all__ = ["PLUGIN_ERROR", "PLUGIN_TERMINATED", "Passable", "Plugin", "PluginOwner", "PluginState"]

# Core Lightning's jsonrpc_errcode
PLUGIN_ERROR: Final = -3
PLUGIN_TERMINATED: Final = -4

_LEVELS: Final = {
    "trace": "trace",
    "debug": "debug",
    "info": "info",
    "warn": "unusual",
    "error": "broken",
    "unusual": "unusual",
    "broken": "broken",
}

# Nearly every answer to a hook, as json.dumps and serde write it. The id is one of ours, so it has no escapes
_ID: Final = r'"id": ?"([^"\\\x00-\x1f]++)"'
_VERSION: Final = r'"jsonrpc": ?"2\.0"'
_CONTINUE: Final = re.compile(
    rf'[ \t\n\r]*+\{{(?:{_VERSION}, ?{_ID}|{_ID}, ?{_VERSION}), ?"result": ?\{{"result": ?"continue"\}}\}}'
).match


class PluginState(enum.Enum):
    """The state of a plugin; the value completes log lines about its death."""

    MANIFEST = "before replying to getmanifest"
    LOADED = "before we sent init"
    INIT = "before replying to init"
    ACTIVE = "during normal operation"
    ENDED = "after its end"


class Passable:
    """Base class of requests that are abandoned when the plugin stalls: see `Plugin.ask`."""

    __slots__ = ()


class PluginOwner(Protocol):
    """The owner of plugins, that is, their host."""

    def plugin_ended(self, plugin: Plugin, reason: str, level: str) -> None:
        """Handle the end of a plugin; ``level`` is the level to log it at."""

    def plugin_notified(self, plugin: Plugin, topic: str, params: Any) -> None:
        """Handle a notification of a topic that the plugin has declared."""


class Plugin:
    """A plugin and its process. ``index`` is its place in load order; ``name`` its file name, as in logs."""

    def __init__(
        self,
        path: str,
        *,
        index: int,
        node_services: NodeServices,
        owner: PluginOwner,
        limits: PluginLimits,
        ids: Iterator[int],
    ) -> None:
        self.path = path
        self.name = path.rpartition("/")[2]
        self.index = index
        self.important = False
        self.state = PluginState.MANIFEST
        self.manifest = PluginManifest(features={})
        self.checksum = 0
        self.end_reason = ""
        self.prompt_answers = 0
        """The number of prompt answers to hooks in a row."""
        self._source = f"plugin-{self.name}"
        self._node_services = node_services
        self._owner = owner
        self._limits = limits
        self._ids = ids
        self._kill_level = "unusual"
        self._expects_end = False
        # By request id; called with the answer document, or None if the plugin ended first
        self._pending: dict[str, Callable[[dict[str, Any] | None], None]] = {}
        self._forward: dict[str, Callable[[str, dict[str, Any]], None]] = {}
        self._process: PluginProcess | None = None
        self.ended = asyncio.get_running_loop().create_future()
        self.backlog = Backlog(limits, self._queued, lambda text: self.log("unusual", text))
        """The notifications that wait for the plugin, and counts of those left out."""
        self.send: Callable[[bytes], None] = lambda data: None
        """Queues complete JSON documents for the plugin's stdin; after its end they are dropped."""

    def __repr__(self) -> str:
        return f"<Plugin {self.name} {self.state.name.lower()}>"

    @property
    def active(self) -> bool:
        """Whether the plugin has answered ``init`` and has not ended."""
        return self.state is PluginState.ACTIVE

    def spawn(self, environment: Mapping[str, str]) -> None:
        """Start the process. Raises `ExtensionError`."""
        self._process = PluginProcess(
            self.path,
            directory=self._node_services.lightning_dir,
            environment=environment,
            limits=self._limits,
            on_document=self._document,
            shortcut=_read_continue,
            on_stderr=lambda line: self.log("info", line),
            on_end=self._end,
            on_crowded=self.backlog.set_crowded,
            on_stalled=self._stalled,
            on_behind=self.backlog.set_behind,
        )
        self.send = self.backlog.send = self._process.send
        self._node_services.log("debug", f"started({self._process.pid}) {self.path}", "plugin-manager")

    def log(self, level: str, text: str) -> None:
        """Log a line with the plugin's name as its source."""
        self._node_services.log(level, text, self._source)

    # The end -----------------------------------------------------------------------------------------

    def kill(self, reason: str, level: str = "unusual") -> None:
        """End the plugin. Its owner removes everything that it had registered. Idempotent."""
        if self.state is PluginState.ENDED:
            return
        self._kill_level = level
        if self._process is None:
            self._end(reason)
        else:
            self._process.kill(reason)

    def holdup(self) -> str | None:
        """Return what the node waits for the plugin to do, None if it does not wait."""
        if self._expects_end and self.state is not PluginState.ENDED:
            return f"plugin {printable(self.name)}, which was asked to shut down"
        if self.state in (PluginState.MANIFEST, PluginState.INIT):
            return f"plugin {printable(self.name)}, {self.state.value}"
        return None

    def abandon(self) -> None:
        """Kill the process and everything it started, without informing the owner. Callable from any thread."""
        if self._process is not None:
            self._process.abandon()

    def _end(self, reason: str) -> None:
        if self._process is not None and self._process.ended_itself:
            reason = f"{reason} {self.state.value}"
        level = "info" if self._expects_end else self._kill_level
        self.state = PluginState.ENDED
        self.end_reason = reason
        self._forward.clear()
        pending, self._pending = list(self._pending.values()), {}
        self._owner.plugin_ended(self, reason, level)
        for answered in pending:
            answered(None)
        self.backlog.close()
        self.ended.set_result(None)

    def shutdown(self) -> None:
        """Send the ``shutdown`` notification, after which the plugin should exit."""
        self._expects_end = True
        self.send(encode({"jsonrpc": "2.0", "method": "shutdown", "params": {"shutdown": {}}}))

    def when_reaped(self, call: Callable[[Plugin], None]) -> None:
        """Call ``call`` with this plugin once its process was reaped; at once if it could not be started."""
        if self._process is None:
            call(self)
        else:
            self._process.reaped.add_done_callback(lambda _: call(self))

    async def reaped(self) -> None:
        """Wait until the killed process was reaped. Cancellation has no other effect."""
        if self._process is not None:
            await asyncio.shield(self._process.reaped)

    # Requests ----------------------------------------------------------------------------------------

    def new_id(self, method: str, prefix: str | None = None) -> str:
        """Return a new request id in lightningd's form; ``prefix`` is the id of the client's request, if any."""
        own = f"cln:{method}#{next(self._ids)}"
        return own if prefix is None else f"{prefix}/{own}"

    def ask(self, request_id: str, data: bytes, answered: Callable[[dict[str, Any] | None], None]) -> None:
        """Send an encoded request. ``answered`` is called with the answer document, or None if the plugin ends first.

        If ``answered`` is a method of a `Passable`, it is also called with None when the plugin stalls.
        """
        self._pending[request_id] = answered
        self.send(data)

    def ignore_answer(self, request_id: str) -> None:
        """Ignore the answer to a request, if one comes. Its ``answered`` is not called."""
        self._pending.pop(request_id, None)

    def _queued(self) -> int:
        return 0 if self._process is None else self._process.queued

    def _stalled(self) -> None:
        self.backlog.set_stalled()
        # The chains of messages do not wait for its answers any more; other requests do
        passed = [key for key, call in self._pending.items() if isinstance(getattr(call, "__self__", None), Passable)]
        for key in passed:
            if (answered := self._pending.pop(key, None)) is not None:
                answered(None)

    async def request(
        self,
        method: str,
        params: Any,
        *,
        prefix: str | None = None,
        seconds: float | None = None,
        notify: Callable[[str, dict[str, Any]], None] | None = None,
    ) -> Any:
        """Send a request and return its result. ``notify`` is called with the plugin's notifications about it.

        Raises `NodeRefused` with the plugin's error, if too much waits for the plugin to read, or if it ends first. A
        plugin that takes longer than ``seconds`` is killed. If it is cancelled, the plugin's answer is ignored.
        """
        future: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        request_id = self.new_id(method, prefix)
        if notify is not None:
            self._forward[request_id] = notify
        data = encode({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
        if self._queued() and self._queued() + len(data) > self._limits.unread:
            self._forward.pop(request_id, None)
            text = f"{self.name} does not read: {self._queued()} bytes wait for it; nothing was asked, try again later"
            raise NodeRefused(text, code=PLUGIN_ERROR)
        self.ask(request_id, data, lambda answer: None if future.done() else future.set_result(answer))
        try:
            async with asyncio.timeout(seconds):
                answer = await future
        except TimeoutError:
            self.kill(f"did not reply to {method} within {seconds:g} seconds")
            answer = None
        finally:
            self._pending.pop(request_id, None)
            self._forward.pop(request_id, None)
        return self._result(method, answer)

    def _result(self, method: str, answer: dict[str, Any] | None) -> Any:
        if answer is None:
            raise NodeRefused("Plugin terminated before replying to RPC call.", code=PLUGIN_TERMINATED)
        if "error" in answer:
            error = answer["error"]
            if not isinstance(error, dict) or not isinstance(error.get("code"), int):
                error = {"code": PLUGIN_ERROR, "message": f"{self.name} answered {method} with error {brief(error)}"}
            raise NodeRefused.from_json(error)
        if "result" not in answer:
            self.kill(f"answered {method} with neither result nor error: {brief(answer)}")
            raise NodeRefused("Plugin terminated before replying to RPC call.", code=PLUGIN_TERMINATED)
        return answer["result"]

    async def call(self, call: MethodCall) -> Any:
        """Pass a client's call to one of this plugin's methods, and return the result. Raises `NodeRefused`."""
        method = call.method
        if call.checking:
            if not self.manifest.can_check:
                self.log("unusual", f"Plugin does not support check command for {method} (id {call.id})")
                return {"command_to_check": method}
            method = "check"
        return await self.request(method, call.params, prefix=id_prefix(call.id), notify=call.notify)

    # Documents received ------------------------------------------------------------------------------

    def _document(self, document: Any) -> None:
        if type(document) is str:  # an id, from `_read_continue`
            answered = self._pending.pop(document, None)
            if answered is not None:
                answered({"result": {"result": "continue"}})
        elif type(document) is Oversize:
            self._oversize(document)
        elif type(document) is not dict or "jsonrpc" not in document:
            self.kill(f'wrote something other than JSON-RPC (an object with a "jsonrpc" field): {brief(document)}')
        elif "id" not in document:
            self._notification(document)
        else:
            request_id = document["id"]
            answered = self._pending.pop(request_id, None) if type(request_id) is str else None
            if answered is not None:
                answered(document)
            # An answer to no open request is ignored, as lightningd does: the request may have been cancelled

    def _oversize(self, document: Oversize) -> None:
        """Drop a document that is too large, and fail the request that it answers; the plugin goes on."""
        request_id = document.member("id")
        answered = self._pending.pop(request_id, None) if isinstance(request_id, str) else None
        if answered is not None:
            text = f"{self.name}'s answer is too large: {document.reason}"
            self.log("unusual", text)
            answered({"error": {"code": PLUGIN_ERROR, "message": text}})
        elif request_id is None:
            method = document.member("method")
            what = 'a document without "id" and "method"' if method is None else f"a notification of {brief(method)}"
            self.log("unusual", f"{what} is dropped, it is too large: {document.reason}")

    def _notification(self, document: dict[str, Any]) -> None:
        method, params = document.get("method"), document.get("params")
        if not isinstance(method, str) or "params" not in document:
            self.kill(f'wrote neither an answer ("id") nor a notification ("method", "params"): {brief(document)}')
        elif method == "log":
            self._log(params)
        elif method in ("message", "progress"):
            self._to_caller(method, params)
        elif method in self.manifest.notifications:
            self._owner.plugin_notified(self, method, params)
        else:
            self.log(
                "unusual",
                f'Plugin attempted to send a notification to topic "{method}" it hasn\'t declared in its manifest,'
                " not forwarding to subscribers.",
            )

    def _log(self, params: Any) -> None:
        message = params.get("message") if isinstance(params, dict) else None
        if not isinstance(message, str):
            self.kill(f'sent a log notification without a string "message": {brief(params)}')
            return
        given = params.get("level", "info")
        level = _LEVELS.get(given.lower()) if isinstance(given, str) else None
        if level is None:
            self.kill(f"sent a log notification of level {brief(given)}; there are {', '.join(_LEVELS)}")
            return
        for line in message.split("\n"):
            self.log(level, line)

    def _to_caller(self, method: str, params: Any) -> None:
        if not isinstance(params, dict) or "id" not in params:
            self.kill(f'sent a {method} notification without the "id" of the request it belongs to: {brief(params)}')
            return
        forward = self._forward.get(params["id"]) if isinstance(params["id"], str) else None
        if forward is not None:
            forward(method, {key: value for key, value in params.items() if key != "id"})


def _read_continue(text: str, at: int) -> tuple[str, int] | None:
    """Match an answer ``continue`` at ``at`` without parsing it. Return its id and its end, None for any other text."""
    match = _CONTINUE(text, at)
    return None if match is None else (match[1] or match[2], match.end())
