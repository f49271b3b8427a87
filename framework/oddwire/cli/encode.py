"""`oddwire encode`: a message as the bytes that are sent."""

from __future__ import annotations

from typing import Annotated

import typer

from oddwire.cli.events import Printer
from oddwire.cli.exit import USAGE, CommandFailure, exiting
from oddwire.cli.plain_values import Command
from oddwire.cli.shared_options import Extensions, Fields, Json
from oddwire.cli.standard_streams import command_stdout

__all__ = ["program"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)


@program.command("encode", cls=Command)
def _command(
    message: Annotated[
        str,
        typer.Argument(metavar="EXT.MESSAGE", help="Extension or protocol, dot, message: chat.Say, peerswap.Cancel."),
    ],
    fields: Fields = None,
    extension: Extensions = None,
    explained: Annotated[bool, typer.Option("--explain", help="Show what the bytes say, as decode does.")] = False,
    as_json: Json = False,
) -> None:
    """Show a message as the bytes that are sent."""
    printer = Printer(as_json, stdout=command_stdout(as_json))
    with exiting(printer):
        _encode(printer, message, fields or [], extension or [], explained)


def _encode(printer: Printer, name: str, fields: list[str], extensions: list[str], explained: bool) -> None:
    """Print a message's payload. Raises `CommandFailure`."""
    from oddwire.cli.lexicons import find_entry, load_lexicon
    from oddwire.cli.message_arguments import from_assignments
    from oddwire.decoding import explain_as
    from oddwire.errors import EncodeError

    entry = find_entry(load_lexicon(extensions, printer.remark), name)
    made = from_assignments(entry.schema, entry.name, fields)
    try:
        payload: bytes = entry.plan.encode(made)
    except EncodeError as error:
        raise CommandFailure(str(error), USAGE) from None
    if printer.as_json:
        from oddwire.cli.decode_output import plain_of
        from oddwire.cli.events import json_line

        printer.line(json_line({"event": "encoded", **plain_of(explain_as(payload, entry))}))
        return
    printer.line(payload.hex())
    if explained:
        from oddwire.cli.decode_output import listing

        for line in listing(explain_as(payload, entry), printer.paint):
            printer.line(line)
