"""`oddwire store`: show the contents of a store, and move extensions to another store."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from oddwire.cli.events import Event, Printer, short_id
from oddwire.cli.exit import FAILED, USAGE, CommandFailure, exiting
from oddwire.cli.plain_values import Command, Group
from oddwire.cli.reporter import log_to
from oddwire.cli.running import spell_error
from oddwire.cli.shared_options import Json
from oddwire.cli.standard_streams import command_stdout
from oddwire.durations import duration
from oddwire.errors import StoreError
from oddwire.printable import printable
from oddwire.proto.keys import NodeId

__all__ = ["program"]

_MISTAKES: Final = ("foreign", "missing", "same", "taken", "unknown")

program = typer.Typer(
    cls=Group,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Show what a store holds, or move it.",
)

_Store = Annotated[Path, typer.Argument(metavar="STORE", help="The store's file.")]


@program.command("show", cls=Command)
def _show(store: _Store, as_json: Json = False) -> None:
    """Tell what is in a store: extensions, and messages that wait. A program may be using it."""
    with _printing(as_json) as printer:
        from oddwire.session.store.contents import contents_of

        found = contents_of(store)
        if as_json:
            printer.event(Event(event="result", method="store show", value=found))
        else:
            for line in _described(found):
                printer.line(printable(line))


@program.command("move", cls=Command)
def _move(
    source: Annotated[Path, typer.Argument(metavar="FROM", help="The store it is in.")],
    target: Annotated[Path, typer.Argument(metavar="TO", help="The store it should be in; made if it is new.")],
    extension: Annotated[
        list[str] | None,
        typer.Option(
            "--extension", metavar="NAME", help="Move this extension; may be repeated. By default all of them."
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Delete TO's values and tables of these extensions, not messages that wait."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Move what extensions keep, and their reliable messages, to another store; no program may be using either.

    Nothing is lost and nothing handled twice, also if it is killed: then the same command goes on.
    """
    with _printing(as_json) as printer:
        from oddwire.session.store.move import move

        _check_owner(source)
        moved = move(source, target, extension, replace=replace)
        if as_json:
            printer.event(Event(event="result", method="store move", value=moved._asdict()))
        elif moved.finished:
            printer.remark(f"a move that was started before is finished: {_named(moved.extensions)}")
        else:
            again = f", {_many(moved.again, 'message')} sent again" if moved.again else ""
            tables, made = _many(len(moved.tables), "table"), ", which was created" if moved.made else ""
            printer.remark(
                f"moved {_named(moved.extensions)} from {source} to {target}{made}: "
                f"{_many(moved.values, 'value')}, {tables}, "
                f"{_many(moved.messages, 'message')} waiting in {_many(moved.lanes, 'lane')}{again}; and "
                f"{_many(moved.records, 'record')} of what was handled"
            )
            if moved.renumbered:
                printer.remark(
                    f"warning: {_many(moved.renumbered, 'lane')} had the number of one in {target}, and got another: "
                    "what was sent and not acknowledged may be handled twice"
                )


@program.command("recover", cls=Command)
def _recover(store: _Store, as_json: Json = False) -> None:
    """Keep in a store what was being moved to another one when the move was killed, and that one is lost."""
    with _printing(as_json) as printer:
        from oddwire.session.store.move import undo_moves

        _check_owner(store)
        found = undo_moves(str(store))
        if as_json:
            printer.event(Event(event="result", method="store recover", value=found))
        else:
            printer.remark("it keeps what was being moved" if found else "nothing was being moved")


@contextlib.contextmanager
def _printing(as_json: bool) -> Iterator[Printer]:
    """Context manager: a printer; foreseeable errors are printed, and end the command with their exit codes."""
    printer = Printer(as_json, stdout=command_stdout(as_json))
    log_to(printer, logging.WARNING)
    with exiting(printer):
        try:
            yield printer
        except StoreError as error:
            raise CommandFailure(f"{error}{_whose(error)}", USAGE if error.reason in _MISTAKES else FAILED) from None
        except OSError as error:
            raise CommandFailure(spell_error(error)) from None


def _whose(error: StoreError) -> str:
    """Return a hint that names the plugin file whose store is in use; empty if there is none."""
    if error.reason != "locked":
        return ""
    from oddwire.app.programs.registry import owner_of_store

    folder = os.path.realpath(Path(error.path).parent)
    other = owner_of_store(folder, str(Path(folder, Path(error.path).name)), "")
    return f"; it is the store of plugin file {printable(other)}" if other else ""


def _check_owner(path: Path) -> None:
    """Raise `CommandFailure` for another user's store, as that user could not use the files created beside it."""
    with contextlib.suppress(FileNotFoundError):
        owner = path.stat().st_uid
        if owner != os.geteuid():
            raise CommandFailure(f"{path} belongs to user {owner}: run this as that user", USAGE)


# Text for people ------------------------------------------------------------------------------------


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _named(extensions: tuple[str, ...]) -> str:
    return ", ".join(extensions) or "no extension"


def _described(found: Mapping[str, Any]) -> Iterator[str]:
    if not found["version"]:
        yield f"{found['path']}: empty"
        return
    used = ", ".join(found["used_by"]) or "nobody"
    state = "" if found["clean"] or found["used_by"] else "; the last process did not close it"
    yield f"{found['path']}: version {found['version']}, used by {used}{state}"
    if found["numbers"]:
        own, *others = found["numbers"]
        more = f", and of stores put into it: {', '.join(others)}" if others else ""
        yield f"number {own}{more}"
    for target in found["moving_to"]:
        yield f"a move to {target} was started, and is not finished"
    for name, held in found["extensions"].items():
        parts = [f"{_many(held['values'], 'value')} ({held['value_bytes']} bytes)"] if held["values"] else []
        parts += [f"table {table} ({_many(rows, 'row')})" for table, rows in held["tables"].items()]
        if held["messages"]:
            parts.append(f"{_many(held['messages'], 'message')} waiting ({held['message_bytes']} bytes)")
        yield f"{name or 'an extension that is not known'}: {', '.join(parts)}"
    for table in found["tables"]:
        yield f"table {table}, which may be of several extensions, or of one that has nothing else here"
    for lane in found["waiting"]:
        to = f", last sent to program {lane['program']}" if lane["program"] else ""
        yield (
            f"to {short_id(NodeId(lane['peer']))}: {_many(lane['messages'], 'message')} of {lane['extension'] or '?'}, "
            f"the oldest {duration(lane['seconds'])} old{to}"
        )
    for kept in found["again"]:
        yield (
            f"to {short_id(NodeId(kept['peer']))}: {_many(kept['messages'], 'message')} of {kept['extension']} "
            f"sent again, the oldest {duration(kept['seconds'])} old"
        )
    received = found["received"]
    yield (
        f"of peers: {_many(received['lanes'], 'lane')} of {_many(received['peers'], 'node')}, "
        f"{_many(received['refusals'], 'refusal')} that they may not have received"
    )
