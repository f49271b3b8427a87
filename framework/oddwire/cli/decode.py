"""`oddwire decode`: what payloads say, given as hex, as bytes, or in a log."""

from __future__ import annotations

import re
import sys
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final

import typer

from oddwire.cli.events import Printer
from oddwire.cli.exit import FAILED, USAGE, CommandFailure, exiting
from oddwire.cli.plain_values import Command
from oddwire.cli.shared_options import Extensions, Json
from oddwire.cli.standard_streams import command_stdout
from oddwire.printable import printable

if TYPE_CHECKING:
    from oddwire.decoding import Entry, Explanation, Lexicon

__all__ = ["explained", "program"]

_NUMBER: Final = re.compile(r"[0-9]{1,5}|0[xX][0-9a-fA-F]{1,4}", re.ASCII)
_LONGEST: Final = 128 << 20  # bytes of a payload on stdin, or of its line; what has no end would fill the memory

program = typer.Typer(add_completion=False, rich_markup_mode=None)


@program.command("decode", cls=Command)
def _command(
    payload: Annotated[
        list[str] | None, typer.Argument(metavar="HEX...", help="One payload; without any, each line of stdin is one.")
    ] = None,
    log: Annotated[
        str | None, typer.Option("--log", metavar="FILE", help="Decode the messages in a log; - is stdin.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is added to the log.")] = False,
    peer: Annotated[
        str | None,
        typer.Option("--peer", metavar="ID", help="Of a log: messages of this node alone; its first digits do."),
    ] = None,
    type_of: Annotated[
        str | None,
        typer.Option(
            "--type", metavar="N", help="The type of payloads without one; of a log: messages of this type alone."
        ),
    ] = None,
    as_message: Annotated[
        str | None,
        typer.Option("--as", metavar="EXT.MESSAGE", help="Read payloads as this message, whatever their type."),
    ] = None,
    extension: Extensions = None,
    any_hex: Annotated[bool, typer.Option("--any-hex", help="Of a log: take hex in lines of any program.")] = False,
    details: Annotated[bool, typer.Option("--details", help="Of a log: all fields of each message.")] = False,
    binary: Annotated[bool, typer.Option("--binary", help="Stdin is one payload, as bytes.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a payload says, field by field."""
    printer = Printer(as_json, stdout=command_stdout(as_json))
    with exiting(printer):
        whole = _decode(
            printer, payload or [], log, follow, peer, type_of, as_message, extension or [], any_hex, details, binary
        )
    raise typer.Exit(0 if whole else FAILED)


def _decode(
    printer: Printer,
    words: list[str],
    log: str | None,
    follow: bool,
    peer: str | None,
    type_of: str | None,
    as_message: str | None,
    extensions: list[str],
    any_hex: bool,
    details: bool,
    binary: bool,
) -> bool:
    """Return whether all that was given is decoded. Raises `CommandFailure`."""
    from oddwire.cli.lexicons import find_entry, load_lexicon

    of_log = {"--follow": follow, "--peer": peer, "--any-hex": any_hex, "--details": details}
    if log is None:
        for option in (name for name, given in of_log.items() if given):
            raise CommandFailure(f"{option} is for logs: it needs --log FILE", USAGE)
    elif words or binary:
        raise CommandFailure("either a payload or --log FILE can be decoded, not both", USAGE)
    if type_of is not None and as_message is not None:
        raise CommandFailure("--as says which type it is: --type is not needed beside it", USAGE)
    lexicon = load_lexicon(extensions, printer.remark)
    entry = None if as_message is None else find_entry(lexicon, as_message)
    type_id = None if type_of is None else _type(type_of, lexicon)
    if log is not None:
        from oddwire.cli.decode_log import decode_log

        return decode_log(
            printer,
            lexicon,
            log,
            follow=follow,
            peer=peer,
            type_id=type_id,
            entry=entry,
            any_hex=any_hex,
            details=details,
        )
    payloads = _payloads(words, binary)
    return _print_each(printer, lexicon, payloads, type_id, entry)


def _print_each(
    printer: Printer, lexicon: Lexicon, payloads: Iterator[bytes], type_id: int | None, entry: Entry | None
) -> bool:
    from oddwire.cli.decode_output import listing, plain_of
    from oddwire.cli.events import json_line

    whole, count = True, 0
    for count, payload in enumerate(payloads, 1):
        told = explained(payload, lexicon, type_id, entry)
        whole = whole and told.decoded
        if printer.as_json:
            printer.line(json_line({"event": "decoded", **plain_of(told)}))
            continue
        if count > 1:
            printer.line("")
        for line in listing(told, printer.paint):
            printer.line(line)
    if not count:
        raise CommandFailure("there is nothing to decode: give hex digits, or lines of them on stdin", USAGE)
    return whole


def explained(payload: bytes, lexicon: Lexicon, type_id: int | None = None, entry: Entry | None = None) -> Explanation:
    """Return what a payload says, with a type put in front if it has none, or as one message."""
    from oddwire.decoding import explain, explain_as

    if type_id is not None:
        payload = type_id.to_bytes(2, "big") + payload
    return explain(payload, lexicon) if entry is None else explain_as(payload, entry)


def _payloads(words: list[str], binary: bool) -> Iterator[bytes]:
    """Yield the payloads that are given. Raises `CommandFailure` for what is no hex."""
    if words and words != ["-"]:
        if binary:
            raise CommandFailure("--binary takes the payload from stdin: it needs no HEX", USAGE)
        yield _hex(" ".join(words), "")
        return
    if sys.stdin is None:
        raise CommandFailure("stdin is closed", USAGE)
    if binary:
        payload = sys.stdin.buffer.read(_LONGEST + 1)
        if len(payload) > _LONGEST:
            raise CommandFailure(f"a payload on stdin should have {_LONGEST} bytes at most", USAGE)
        yield payload
        return
    for number, line in enumerate(iter(lambda: sys.stdin.buffer.readline(_LONGEST + 1), b""), 1):
        if len(line) > _LONGEST:
            raise CommandFailure(f"line {number}: should have {_LONGEST} characters at most", USAGE)
        if line.strip():
            text = line.removeprefix(BOM_UTF8 if number == 1 else b"").decode("utf-8", "surrogateescape")
            yield _hex(text.rstrip("\r\n"), f"line {number}: ")


def _hex(text: str, where: str) -> bytes:
    from oddwire.decoding.hex_text import HexFault, read_hex

    try:
        return read_hex(text)
    except HexFault as fault:
        raise CommandFailure(f"{where}{fault}", USAGE) from None


def _type(text: str, lexicon: Lexicon) -> int:
    """Return a type number, given as one or as a message's name. Raises `CommandFailure`."""
    if not _NUMBER.fullmatch(text):
        from oddwire.cli.lexicons import find_entry

        if "." in text:
            return find_entry(lexicon, text).schema.type_id
        raise CommandFailure(
            f"--type should be a number, 42069 or 0xa455, or a message's name, not {printable(text)!r}", USAGE
        )
    number = int(text, 16 if text[:2].lower() == "0x" else 10)
    if number > 0xFFFF:
        raise CommandFailure(f"--type should be 0 to 65535, not {number}", USAGE)
    return number
