"""What a plugin of lightningd offers the node's operator to look into it: options, and methods of the node.

Imported before the node has the manifest, so with nothing that runs an application.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal

from oddwire.app.context import AppContext
from oddwire.app.declarations.options import Option
from oddwire.app.declarations.rpc import RpcMethod
from oddwire.app.hookspecs import hookimpl
from oddwire.log_limits import get_logger

if TYPE_CHECKING:
    from oddwire.app.application import Application
    from oddwire.app.insight.endpoint import MetricsEndpoint
    from oddwire.app.insight.events import Event
    from oddwire.app.insight.watch import Watch
    from oddwire.app.plugins.manager import Contribution

__all__ = ["HostedInsight", "words_of"]

logger = get_logger("oddwire.trace")

_FOLDER: Final = "oddwire.programs"  # as `oddwire.app.programs.registry` has it, which takes longer to import
_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "unusual": logging.WARNING,
    "broken": logging.ERROR,
}
_Level = Literal["debug", "info", "unusual", "broken"]


def words_of(file: str) -> str:
    """Return the name of a plugin file as options have it: lower-case words joined by dashes."""
    name = os.path.basename(file).removesuffix(".py").lower()  # noqa: PTH119 - pathlib takes its time to load
    words = re.sub(r"[^a-z0-9]+", "-", name).strip("-")
    return words if words[:1].isalpha() else f"plugin-{words}".rstrip("-")


class HostedInsight:
    """A plugin with the options and methods of a plugin ``file``, those left out that ``others`` have.

    A name may be there once on a node. So the first plugin of the node in ``folder`` that asks has ``oddwire-stats``,
    and of plugin files of one name the first has the options: who holds the lock of a file. ``log`` is the handler that
    writes to the node's log.
    """

    name = "oddwire.insight"

    def __init__(self, file: str, folder: str, log: logging.Handler, others: Iterable[Contribution]) -> None:
        self._program = words_of(file)
        self._folder = os.path.join(folder, _FOLDER)  # noqa: PTH118
        self._log = log
        self._locks: list[int] = []
        others = (*others,)
        self._methods = {method.name for owner in others for method in owner.rpc_methods}
        self._options = {option.name for owner in others for option in owner.options}
        self._traces = False
        self._address: str | None = None
        self._endpoint: MetricsEndpoint | None = None
        self._watch: Watch[Event] | None = None

    @hookimpl
    def register_options(self) -> Iterable[Option]:
        """Return the options of this plugin file."""
        if not self._is_first(f"{self._program}.options"):
            return
        for suffix, function, dynamic in (
            ("log-level", self._log_level(), True),
            ("trace", self._read_trace(), False),
            ("metrics", self._read_metrics(), False),
        ):
            if (name := f"{self._program}-{suffix}") not in self._options:
                yield Option(name=name, function=function, dynamic=dynamic, of_program=True)

    @hookimpl
    def register_rpc(self) -> Iterator[RpcMethod]:
        """Return the methods of this plugin file, and the one that a node has once."""
        name = f"{self._program}-stats"
        if name not in self._methods and self._is_first(f"{self._program}.stats"):
            yield RpcMethod(name=name, function=_stats)
        if "oddwire-stats" not in self._methods and self._is_first("oddwire-stats"):
            yield RpcMethod(name="oddwire-stats", function=self._node_stats)

    def _is_first(self, name: str) -> bool:
        """Return whether no other process of the node holds this lock, which is ours until the process ends."""
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._folder, mode=0o700)  # noqa: PTH102
            path = os.path.join(self._folder, name)  # noqa: PTH118
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return False  # a folder that cannot be written to: nobody can tell who is first
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return False
        self._locks.append(lock)
        return True

    def _log_level(self) -> Callable[[Any], str]:
        handler = self._log

        def log_level(level: _Level = "info") -> str:
            """From which level on records go to the node's log: debug, info, unusual or broken."""
            number = _LEVELS[level]
            handler.setLevel(number)
            logging.getLogger().setLevel(min(number, logging.INFO))
            return level

        return log_level

    def _read_trace(self) -> Callable[[Any], bool]:
        def read_trace(trace: bool = False) -> bool:
            """Write a line to the node's log for each message, sent or received."""
            self._traces = trace
            return trace

        return read_trace

    def _read_metrics(self) -> Callable[[Any], str | None]:
        def read_metrics(address: str | None = None) -> str | None:
            """Serve metrics for Prometheus at this address, HOST:PORT."""
            if address:
                from oddwire.app.insight.endpoint import check_metrics

                address = check_metrics(address)
            self._address = address or None
            return self._address

        return read_metrics

    async def _node_stats(self, context: AppContext) -> dict[str, Any]:
        """Tell what this program has counted, and the sockets at which the node's others tell it."""
        found = context.app.insight.stats()
        names = sorted(name for name in os.listdir(self._folder) if name.endswith(".rpc"))  # noqa: PTH208
        return {**found, "sockets": [os.path.join(self._folder, name) for name in names]}  # noqa: PTH118

    @hookimpl
    async def ready(self, app: Application) -> None:
        """Do what the options say. An address for metrics that cannot be had is logged, and tried again."""
        app.insight.program, app.insight.kind = self._program, "plugin"
        if self._traces:
            self._watch = app.insight.look_on(_trace_line)
        if self._address is not None:
            from oddwire.app.insight.endpoint import MetricsEndpoint

            self._endpoint = MetricsEndpoint(self._address, insist=False)
            await self._endpoint.ready(app)

    @hookimpl
    async def shutdown(self) -> None:
        """Stop serving metrics."""
        if self._endpoint is not None:
            await self._endpoint.shutdown()


async def _stats(context: AppContext) -> dict[str, Any]:
    """Tell what this plugin has counted: messages, handlers, peers, queues, limits."""
    return context.app.insight.stats()


def _trace_line(event: Event) -> None:
    logger.info("%s", event.to_line(), extra=event.to_extra())
