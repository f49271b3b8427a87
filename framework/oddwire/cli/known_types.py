"""`oddwire types`: whose a type number is."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import FAILED, USAGE, CommandFailure, exiting
from oddwire.cli.plain_values import Command
from oddwire.cli.shared_options import Json
from oddwire.cli.standard_streams import command_stdout
from oddwire.printable import printable, quoted
from oddwire.proto.type_numbers import CUSTOM_TYPES, REFUSED

if TYPE_CHECKING:
    from oddwire.known import Claim

__all__ = ["program"]

_NUMBER: Final = re.compile(r"-?[0-9]{1,9}|0[xX][0-9a-fA-F]{1,8}", re.ASCII)
_HEX: Final = re.compile(r"[0-9a-fA-F]{3,4}", re.ASCII)

program = typer.Typer(add_completion=False, rich_markup_mode=None)


@program.command("types", cls=Command)
def _command(
    wanted: Annotated[
        str | None, typer.Argument(metavar="[N|NAME]", help="A type number, a protocol or a message; all by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whose a message type is, and which protocols use it.

    It also tells whether its schema is known.
    """
    printer = Printer(as_json, stdout=command_stdout(as_json))
    with exiting(printer):
        number = None if wanted is None else _number(wanted)
        found = _found(wanted, number)
        if as_json:
            printer.event(Event(event="result", method="types", value=[_plain(claim) for claim in found]))
        else:
            for line in _described(found, sources=number is not None):
                printer.line(printable(line))


def _number(text: str) -> int | None:
    """Return a type number, None for a name. Raises `CommandFailure` for a number that no message has."""
    if not _NUMBER.fullmatch(text):
        return None
    number = int(text, 16 if "x" in text.lower() else 10)
    if not 0 <= number <= 0xFFFF:
        raise CommandFailure(f"a message type should be 0 to 65535, not {text}", USAGE)
    return number


def _found(wanted: str | None, number: int | None) -> Sequence[Claim]:
    """Return the claims that are asked for. Raises `CommandFailure` if there are none."""
    from oddwire.known import owners
    from oddwire.known.listing import claims, modules

    if wanted is None:
        return claims()
    if number is not None:
        if not (found := owners(number)):
            whose = "any extension may" if number in CUSTOM_TYPES else "it is kept for the BOLTs"
            raise CommandFailure(f"nobody is known to use type {number} ({number:#06x}); {whose}", FAILED)
        return found
    names = {_key(module): protocol.inside or protocol.name for module, protocol in modules().items()}
    name = _key(names.get(_key(wanted), wanted))
    matching = [claim for claim in claims() if name in (_key(claim.protocol), _key(claim.name))]
    if not matching:
        known = {_key(text): text for claim in claims() for text in (claim.name, claim.protocol)}
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {known[close[0]]!r}?" if close else "'oddwire types' lists them"
        if _HEX.fullmatch(wanted):
            hint = f"did you mean 0x{wanted.lower()}?"
        raise CommandFailure(f"there is no known protocol or message {quoted(wanted)}; {hint}", USAGE)
    return matching


def _key(name: str) -> str:
    """Return a name as it is compared: ``hosted_channels`` is ``Hosted Channels``."""
    return re.sub(r"[\s_-]", "", name).casefold()


def _plain(claim: Claim) -> dict[str, Any]:
    return {
        "type": claim.type_id,
        "protocol": claim.protocol,
        "message": claim.name,
        "encoding": claim.encoding,
        "schema": _schema(claim),
        "source": claim.source,
    }


def _schema(claim: Claim) -> str | None:
    return None if claim.message is None else f"{claim.message.__module__}.{claim.message.__qualname__}"


def _described(found: Sequence[Claim], *, sources: bool) -> Iterator[str]:
    rows = [(claim.protocol, claim.name, claim.encoding) for claim in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for claim, row in zip(found, rows, strict=True):
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"{claim.type_id:5}  {claim.type_id:#06x}  {cells}  {_schema(claim) or '-'}"
        if sources:
            yield f"{'':15}{claim.source}"
    if sources and found[0].type_id in REFUSED:
        yield f"{'':15}nodes handle it themselves: no extension can send it"
