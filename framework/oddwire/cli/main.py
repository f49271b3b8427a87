"""The ``oddwire`` command."""

from __future__ import annotations

import sys

try:
    from typing import Annotated

    import typer

    from oddwire.cli.command_line import run_program
    from oddwire.cli.environment import prepare
    from oddwire.cli.lazy_commands import LazyCommands
except KeyboardInterrupt:  # imports take most of the time that a command needs to start
    sys.exit(130)

__all__ = ["main"]

_program = typer.Typer(
    cls=LazyCommands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from oddwire.version import __version__

        typer.echo(f"oddwire {__version__}")
        raise typer.Exit


@_program.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Build Lightning peer protocols: run extensions and nodes, send messages, watch a demonstration."""


@_program.command("demo")
def _demo() -> None:
    """Watch two processes talk over BOLT 8: echo and chat, in both codecs."""
    from oddwire.cli.demo import command  # importing rich takes longer than most commands

    command()


def main() -> None:
    """Run the command line and exit: 0 for success, 1 for a failure at run time, 2 for a wrong use."""
    prepare()
    run_program(_program, "oddwire")


if __name__ == "__main__":
    main()
