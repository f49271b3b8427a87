"""The ``oddwire`` command."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from oddwire.cli import run, send

__all__ = ["main"]

program = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"oddwire {version('oddwire')}")
        raise typer.Exit


@program.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Build Lightning peer protocols: run extensions, send messages, watch a demonstration."""


program.command("run")(run.command)
program.command("send")(send.command)


@program.command("demo")
def _demo() -> None:
    """Watch two processes talk over BOLT 8: echo and chat, in both codecs."""
    from oddwire.cli.demo import command  # rich takes longer to import than a command to run

    command()


def main() -> None:
    """Run the command line and exit: 0 if all went well, 1 if something failed, 2 if the command made no sense."""
    program(prog_name="oddwire")


if __name__ == "__main__":
    main()
