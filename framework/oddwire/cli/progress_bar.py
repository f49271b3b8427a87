"""A bar at the terminal for a call that says how far it is (`AppContext.progress`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import typer

from oddwire.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["ProgressBar"]

_PACE: Final = 0.1  # seconds from one drawing to the next


class ProgressBar:
    """A context manager: a bar on stderr from the first `show` to the end of the block, and then gone.

    ``label`` stands before it; ``now`` tells the seconds. rich is imported by the first `show`, as most calls are over
    before anybody could look.
    """

    def __init__(self, label: str, console: Console | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._now = now
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID
        self._next = 0.0
        self._closed = False

    def show(self, done: int, total: int) -> None:
        """Draw ``done`` of ``total``."""
        if self._closed or (self._now() < self._next and done < total):
            return
        bar = self._bar or self._start()
        bar.update(self._task, completed=done, total=total, refresh=True)
        self._next = self._now() + _PACE  # from here on: the first drawing imports rich, which may take longer

    def notified(self, method: str, params: Any) -> None:
        """Take a notification of a node: draw ``progress``, print ``message``; others, and malformed ones, are ignored.

        lightning-cli draws what plugins written for it send: ``num`` counts from 0 to one less than ``total``.
        """
        if not isinstance(params, dict):
            return
        if method == "progress":
            done, total = params.get("num"), params.get("total")
            if type(done) is int and type(total) is int and 0 <= done < total:
                self.show(done + (done + 1 == total), total)
        elif method == "message" and isinstance(text := params.get("message"), str):
            self._print(printable(text))

    def _print(self, text: str) -> None:
        if self._bar is None:
            typer.echo(text, err=True)
        else:
            self._bar.console.print(text, markup=False, highlight=False)

    def _start(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = self._console or Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%")
        bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True, auto_refresh=False)
        self._task = bar.add_task(self._label, total=None)
        bar.start()
        self._bar = bar
        return bar

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        if self._bar is not None:
            self._bar.stop()
