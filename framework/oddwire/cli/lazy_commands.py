"""A group of commands each of which is imported when it is needed: one command needs a part of oddwire only."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import typer

from oddwire.cli.plain_values import Group

__all__ = ["LazyCommands"]

_MODULES: Final = {
    **{name: f"oddwire.cli.{name}" for name in ("run", "send", "plugin", "node", "call", "store")},
    "types": "oddwire.cli.known_types",
}
"""The commands, in the order of ``--help``, and their modules, in which ``program`` is the command."""


class LazyCommands(Group):
    """The commands of ``oddwire``, and those that the program itself has."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        loaded: Any = self.commands
        self.commands: dict[str, Any] = {**dict.fromkeys(_MODULES), **loaded}  # the names, for "did you mean"

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of this name, imported now if it was not before; None if there is none."""
        if self.commands.get(cmd_name) is None and cmd_name in _MODULES:
            module = import_module(_MODULES[cmd_name])
            self.commands[cmd_name] = typer.main.get_command(module.program)
        return self.commands.get(cmd_name)
