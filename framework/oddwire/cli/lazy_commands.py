"""The command ``oddwire``: a group of commands each of which is imported when it is needed."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand

from oddwire.cli.command_map import GROUPS, commands
from oddwire.cli.plain_values import Group

__all__ = ["LazyCommands", "program"]

_HELP = "help"


class LazyCommands(Group):
    """The commands of ``oddwire``. ``oddwire help COMMAND`` is ``oddwire COMMAND --help``."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._entries = commands()
        self.commands: dict[str, Any] = dict.fromkeys(self._entries)  # the names, for "did you mean"

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of this name, imported now if it was not before; None if there is none."""
        entry = self._entries.get(cmd_name)
        if entry is not None and self.commands[cmd_name] is None:
            self.commands[cmd_name] = typer.main.get_command(import_module(entry.module).program)
        return self.commands.get(cmd_name)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options before the command; ``help COMMAND`` is turned around."""
        if args[:1] == [_HELP]:
            args = [*args[1:], "--help"]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Return the commands that begin so, and options, without importing any command."""
        from oddwire.cli.completions import completion  # only the shell asks

        names = [(name, entry.summary) for name, entry in self._entries.items() if name.startswith(incomplete)]
        return [
            *(completion(*each) for each in names),
            *TyperCommand.shell_complete(cast("Any", self), ctx, incomplete),
        ]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands in their groups, without importing any."""
        width = max(map(len, self._entries))
        for title, group in GROUPS.items():
            rows = [(name.ljust(width), entry.summary) for name, entry in group.items() if name in self._entries]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


program = typer.Typer(
    cls=LazyCommands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog="oddwire COMMAND --help, or oddwire help COMMAND, tells all about one.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from oddwire.version import __version__

        typer.echo(f"oddwire {__version__}")
        raise typer.Exit


@program.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Build Lightning peer protocols: write messages and handlers, run them, look at what goes over the wire."""
