"""Values of the command line that need no validation, read without it.

typer validates every value, defaults too, by pydantic, which takes longer to import than most commands take to run.
"""

from __future__ import annotations

import inspect
import os
import re
from enum import Enum
from pathlib import Path
from typing import Any, Final

from typer.core import TyperCommand, TyperGroup

from oddwire.cli.variables import name_variables

__all__ = ["Command", "Group"]

_NUMBER: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_UNREAD: Final = object()


class Command(TyperCommand):
    """A command for which typer validates only what is not plain: a choice, a number that may be wrong."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, ``--help`` among them."""
        return _reading_plainly(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands, with options of its own of which typer validates only what is not plain."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, ``--help`` among them."""
        return _reading_plainly(super().get_params(ctx))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands with the whole first paragraphs of their own help, which click would cut to one line."""
        found = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        rows = [
            (name, " ".join(inspect.cleandoc(command.help or "").partition("\n\n")[0].split()))
            for name, command in found.items()
            if command is not None and not command.hidden
        ]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def _reading_plainly(parameters: list[Any]) -> list[Any]:
    name_variables(parameters)
    if "_ODDWIRE_COMPLETE" in os.environ:
        from oddwire.cli.completions import offer

        offer(parameters)
    for parameter in parameters:
        typers = getattr(parameter, "get_runtime_param", None)  # absent from a typer that does without pydantic
        if typers is not None and not isinstance(typers, _PlainFirst):
            parameter.get_runtime_param = _PlainFirst(parameter, typers)
    return parameters


class _PlainFirst:
    """What typer asks to convert a parameter's values: it asks typer's own only about values that are not plain."""

    def __init__(self, parameter: Any, typers: Any) -> None:
        self._parameter = parameter
        self._typers = typers

    def __call__(self) -> _PlainFirst:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value that the command gets. Raises typer's errors."""
        read = _read(value, self._parameter)
        return self._typers().coerce(value, param=param, ctx=ctx) if read is _UNREAD else read


def _read(value: Any, parameter: Any) -> Any:
    """Return a parameter's value, as typer would, if that is plain."""
    several = parameter.multiple or parameter.nargs == -1
    if value is None:
        return () if several else None
    kind, declared = parameter.type_descriptor.annotation, parameter.type_descriptor.parameter_info
    if declared.parser is not None:
        return _UNREAD
    if several:
        return [*value] if kind == list[str] and all(type(text) is str for text in value) else _UNREAD
    if kind is str and type(value) is str:
        return value
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next((one for one in kind if value in (one, one.value)), _UNREAD)
    if kind is Path and _is_any_path(declared) and isinstance(value, str | Path):
        return Path(value) if os.access(value, os.R_OK) or not os.path.lexists(value) else _UNREAD
    if kind is float and (type(value) is float or _NUMBER.fullmatch(value)):
        number = float(value)
        above, below = declared.min is None or number >= declared.min, declared.max is None or number <= declared.max
        return number if above and below else _UNREAD
    return _UNREAD


def _is_any_path(declared: Any) -> bool:
    """Return whether a path need not be of something that is there, nor is changed."""
    wants = declared.exists or declared.writable or declared.resolve_path or declared.allow_dash or declared.path_type
    return not wants and declared.file_okay and declared.dir_okay
