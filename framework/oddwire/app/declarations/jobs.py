"""Jobs of extensions: functions called periodically, and long-running tasks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from oddwire.app.context import AppContext, Context
from oddwire.app.declarations.handlers import check_callback, place
from oddwire.durations import seconds_of
from oddwire.errors import ExtensionError
from oddwire.records import FrozenRecord

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ["EVERY", "Job", "JobFunction"]

JobFunction = Callable[[Any], Coroutine[Any, Any, None]]

EVERY: Final = "seconds, above 0, or a timedelta, or the name of an option"
"""The valid values for the period of ``@extension.every``, for errors."""


class Job(FrozenRecord, kw_only=True):
    """One function that is awaited periodically, or once as a task for the lifetime of its owner.

    ``function`` is an ``async def`` that takes an `AppContext`, or with ``per_peer``, for each connection, a `Context`.
    ``every`` is the time between the starts of two runs: seconds, a `timedelta`, or the name of an option with such a
    value. ``jitter`` is the maximum of a random addition to each pause, in seconds or a `timedelta`; with ``at_start``
    the first run begins at once. Without ``every`` the job is a task, which is restarted after an exception if
    ``restart`` is true. Raises `ExtensionError`.
    """

    function: JobFunction
    every: float | timedelta | str | None = None
    jitter: float | timedelta = 0.0
    at_start: bool = False
    restart: bool = True
    per_peer: bool = False

    def __post_init__(self) -> None:
        kind = "called every so often" if self.is_periodic else "run as a task"
        check_callback(self.function, kind, Context if self.per_peer else AppContext, "context")
        if self.every is not None and not isinstance(self.every, str):
            self._check("every", self.every, None, EVERY)
        self._check("jitter", self.jitter, 0.0, "seconds, 0 or more, or a timedelta")
        for name in ("at_start", "restart", "per_peer"):
            if not isinstance(getattr(self, name), bool):
                raise self._wrong(f"{name} should be True or False, not {getattr(self, name)!r:.200}")

    def _check(self, name: str, value: object, least: float | None, should: str) -> None:
        try:
            seconds_of(value, least)
        except ValueError:
            raise self._wrong(f"{name} should be {should}, not {value!r:.200}") from None

    @property
    def is_periodic(self) -> bool:
        """Whether the function is called periodically, and is no task."""
        return self.every is not None

    @property
    def title(self) -> str:
        """The job's name in the log: ``@every resend``."""
        name = getattr(self.function, "__name__", None) or place(self.function)
        return f"@{'every' if self.is_periodic else 'task'} {name}"

    def pause(self, options: Mapping[str, Any] = MappingProxyType({})) -> float:
        """Return the seconds between the starts of two runs, without jitter.

        Raises `ValueError` if the value of the option is no such duration.
        """
        if not isinstance(self.every, str):
            return seconds_of(self.every)
        try:
            return seconds_of(options[self.every])
        except ValueError as error:
            found = options[self.every]
            raise ValueError(f"{self.title}: the value of option {self.every!r} {error}, not {found!r:.200}") from None

    def check_option(self, known: Mapping[str, Any]) -> None:
        """Raise `ExtensionError` if ``every`` names an option that no loaded extension has."""
        if isinstance(self.every, str) and self.every not in known:
            names = ", ".join(sorted(known)) or "none"
            raise self._wrong(f"no loaded extension has an option {self.every!r}; there are: {names}")

    def _wrong(self, text: str) -> ExtensionError:
        return ExtensionError(f"{place(self.function)}, @{'every' if self.is_periodic else 'task'}: {text}")
