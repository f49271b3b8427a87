"""Jobs of extensions: functions called periodically, and long-running tasks."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from oddwire.app.context import AppContext, Context
from oddwire.app.declarations.handlers import check_callback, name_of, parameters_behind, place
from oddwire.durations import SHORTEST, seconds_of, shown, spelled_range
from oddwire.errors import ExtensionError
from oddwire.records import FrozenRecord

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ["EVERY", "Job", "JobFunction"]

JobFunction = Callable[[Any], Coroutine[Any, Any, None]]

EVERY: Final = f"{spelled_range(SHORTEST)}, or a timedelta, or the name of an option"
"""The valid values for the period of ``@extension.every``, for errors."""


class Job(FrozenRecord, kw_only=True, hidden=("names",)):
    """One function that is awaited periodically, or once as a task for the lifetime of its owner.

    ``function`` is an ``async def`` that takes an `AppContext`, or with ``per_peer``, for each connection, a `Context`.
    ``every`` is the time between the starts of two runs: seconds, a `timedelta`, or the name of an option with such a
    value. ``jitter`` is the maximum of a random addition to each pause, in seconds or a `timedelta`; with ``at_start``
    the first run begins at once. Without ``every`` the job is a task, which is restarted after an exception if
    ``restart`` is true. ``scope`` says how many there are: ``"app"``, one for each application, or ``"cluster"``, one
    in all applications of a cluster; ``per_peer`` is for the former. Raises `ExtensionError`.
    """

    function: JobFunction
    every: float | timedelta | str | None = None
    jitter: float | timedelta = 0.0
    at_start: bool = False
    restart: bool = True
    per_peer: bool = False
    scope: Literal["app", "cluster"] = "app"
    names: Mapping[str, Any] = MappingProxyType({})
    """Names that annotations may use besides the function's globals, for a job declared inside another function."""

    def __post_init__(self) -> None:
        self._check_function()
        if self.every is not None and not isinstance(self.every, str):
            self._check("every", self.every, SHORTEST, EVERY)
        self._check("jitter", self.jitter, 0.0, f"{spelled_range(0)}, or a timedelta")
        for name in ("at_start", "restart", "per_peer"):
            if not isinstance(getattr(self, name), bool):
                raise self._wrong(f"{name} should be True or False, not {shown(getattr(self, name))}")
        if self.scope not in ("app", "cluster"):
            raise self._wrong(f"scope should be 'app' or 'cluster', not {shown(self.scope)}")
        if self.per_peer and self.scope == "cluster":
            text = "is either per_peer, one for each connection, or of scope 'cluster', one in all; it cannot be both"
            raise self._wrong(text)

    def _check_function(self, *, late: bool = False) -> None:
        kind = "called every so often" if self.is_periodic else "run as a task"
        context = Context if self.per_peer else AppContext
        check_callback(self.function, kind, context, "context", scope=self.names, late=late)

    def _check(self, name: str, value: object, least: float, should: str) -> None:
        try:
            seconds_of(value, least)
        except ValueError:
            raise self._wrong(f"{name} should be {should}, not {shown(value)}") from None

    @property
    def is_periodic(self) -> bool:
        """Whether the function is called periodically, and is no task."""
        return self.every is not None

    @property
    def takes_more(self) -> bool:
        """Whether the function has provided parameters, behind the context."""
        return bool(parameters_behind(self.function, 1))

    @property
    def name(self) -> str:
        """The function's name."""
        return name_of(self.function)

    @property
    def title(self) -> str:
        """The job's name in the log: ``@every resend``."""
        return f"@{'every' if self.is_periodic else 'task'} {self.name}"

    def pause(self, options: Mapping[str, Any] = MappingProxyType({})) -> float:
        """Return the seconds between the starts of two runs, without jitter.

        Raises `ValueError` if the value of the option is no such duration.
        """
        if not isinstance(self.every, str):
            return seconds_of(self.every)
        return self.read(options[self.every])

    def read(self, value: Any) -> float:
        """Return the seconds that a value of the option says. Raises `ValueError` if it is no such duration."""
        try:
            return seconds_of(value)
        except ValueError as error:
            raise ValueError(f"{self.title}: the value of option {self.every!r} {error}, not {shown(value)}") from None

    def check(self, known: Mapping[str, Any]) -> None:
        """Raise `ExtensionError` for an annotation of an unknown name, or if ``every`` names no option of ``known``."""
        self._check_function(late=True)
        if isinstance(self.every, str) and self.every not in known:
            names = ", ".join(sorted(known)) or "none"
            raise self._wrong(f"no loaded extension has an option {self.every!r}; there are: {names}")

    def _wrong(self, text: str) -> ExtensionError:
        return ExtensionError(f"{place(self.function)}, @{'every' if self.is_periodic else 'task'}: {text}")
