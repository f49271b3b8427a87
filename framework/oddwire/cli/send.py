"""`oddwire send`: send one message to a node, ask for a reply or a stream, or deliver it; and print what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from oddwire.cli.applications import call_when_broken, make_app, make_transport, start
from oddwire.cli.events import Printer
from oddwire.cli.exit import FAILED, USAGE, CommandFailure
from oddwire.cli.keyfile import sole_use
from oddwire.cli.message_arguments import from_assignments
from oddwire.cli.plain_values import Command
from oddwire.cli.reporter import Reporter, log_to
from oddwire.cli.running import execute
from oddwire.cli.send_modes import Connection, Mode, PlainSend, Request, Stream
from oddwire.cli.shared_options import (
    ConnectTimeout,
    DataDir,
    Extensions,
    Fields,
    Json,
    Network,
    Proxy,
    Timeout,
    Verbose,
)
from oddwire.cli.standard_streams import command_stdout
from oddwire.cli.vocabulary import Vocabulary, find_message, load_vocabularies, split_name
from oddwire.errors import EncodeError, NotSupported, OddwireError
from oddwire.proto.addresses import NodeUri
from oddwire.proto.bolt1 import DEFAULT_NETWORK, DEFAULT_PORTS
from oddwire.schema import Message, Schema, schema_of
from oddwire.transports.bolt8.limits import Bolt8Limits
from oddwire.transports.bolt8.transport import Bolt8Transport

__all__ = ["program"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)

_REPLY: Final = 5.0  # seconds by default for a reply, and for each part of a stream
_DELIVERY: Final = 30.0  # seconds by default for a reliable message
_WAIT: Final = 1.0  # seconds by default for what comes after a plain message


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """The options that say how it is sent."""

    request: bool
    reliable: bool
    stream: bool
    plain: bool
    force: bool
    reply: Sequence[str]
    timeout: float | None
    limit: int | None
    wait: float | None
    data_dir: Path | None
    uri: str

    def check(self) -> None:
        """Raise `CommandFailure` for options that do not belong together."""
        modes = [name for name in ("request", "reliable", "stream") if getattr(self, name)]
        if len(modes) > 1:
            raise CommandFailure(f"--{' and --'.join(modes)} are different ways to send it; choose one", USAGE)
        mode = f"--{modes[0]}" if modes else ""
        for option, given, rights in (
            ("--plain", self.plain, ("--request",)),
            ("--reply", bool(self.reply), ("--request", "--stream")),
            ("--limit", self.limit is not None, ("--stream",)),
            ("--force", self.force, ("", "--request", "--stream")),
        ):
            if given and mode not in rights:
                allowed = " or ".join(right for right in rights if right)
                raise CommandFailure(
                    f"{option} is for {allowed or 'plain messages'}, not for {mode or 'a plain send'}", USAGE
                )
        if self.limit is not None and self.limit < 1:
            raise CommandFailure(f"--limit should be a number of parts, 1 or more, not {self.limit}", USAGE)


@program.command("send", cls=Command)
def _command(
    uri: Annotated[str, typer.Argument(metavar="NODE_ID@HOST:PORT", help="The node to send to.")],
    message: Annotated[
        str,
        typer.Argument(
            metavar="EXT.MESSAGE", help="Extension, dot, message: chat.Say; or a JSON-RPC method: lsps.lsps1.get_info."
        ),
    ],
    fields: Fields = None,
    request: Annotated[bool, typer.Option("--request", help="Ask for a reply: exit with 1 if none comes.")] = False,
    reliable: Annotated[
        bool, typer.Option("--reliable", help="Deliver it: it takes effect once, whatever ends meanwhile.")
    ] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Ask for a stream, and print each part as it comes.")
    ] = False,
    reply: Annotated[
        list[str] | None,
        typer.Option("--reply", metavar="EXT.MESSAGE", help="What answers, if that is not known; may be repeated."),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Send the request as a plain message, without the session.")
    ] = False,
    timeout: Timeout = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", help="End the stream after so many parts.")
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(
            "--wait", min=0.0, metavar="SECONDS", help="Print what is received for this long: 1, or 0 after a reply."
        ),
    ] = None,
    extension: Extensions = None,
    force: Annotated[bool, typer.Option("--force", help="Send an even type though the peer may disconnect.")] = False,
    data_dir: DataDir = None,
    network: Network = DEFAULT_NETWORK,
    proxy: Proxy = None,
    connect_timeout: ConnectTimeout = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Send messages to a node, and print what comes back."""
    printer = Printer(json, stdout=command_stdout(json))
    log_to(printer, logging.DEBUG if verbose else logging.INFO)
    options = _Options(
        request=request,
        reliable=reliable,
        stream=stream,
        plain=plain,
        force=force,
        reply=reply or (),
        timeout=timeout,
        limit=limit,
        wait=wait,
        data_dir=data_dir,
        uri=uri,
    )

    async def main() -> int:
        options.check()
        _check_uri(uri)
        vocabularies = load_vocabularies(extension or (), message, *options.reply)
        mode, plugins = _mode(options, vocabularies, message, fields or ())
        transport = make_transport(
            data_dir=data_dir,
            connect=[uri] if reliable else (),
            network=network,
            proxy=proxy,
            limits=Bolt8Limits(init_timeout=10.0, connect_timeout=connect_timeout),
        )
        with contextlib.nullcontext() if data_dir is None or not reliable else sole_use(data_dir):
            return await _send(options, mode, plugins, transport, printer)

    raise typer.Exit(execute(main, printer))


def _check_uri(uri: str) -> None:
    """Raise `CommandFailure` for what is no address, before the arguments behind it are taken for others."""
    try:
        NodeUri.parse(uri, default_port=DEFAULT_PORTS[DEFAULT_NETWORK])
    except ValueError as error:
        raise CommandFailure(str(error), USAGE) from error


def _mode(
    options: _Options, vocabularies: Sequence[Vocabulary], name: str, fields: Sequence[str]
) -> tuple[Mode, list[object]]:
    """Return what to do, and the plugins that it needs. Raises `CommandFailure`."""
    plugins: list[object] = [*vocabularies]
    owner, short = split_name(name)
    vocabulary = next((vocabulary for vocabulary in vocabularies if vocabulary.name == owner), None)
    names: Sequence[str] = ()
    if vocabulary is not None and vocabulary.peer_rpcs:
        from oddwire.cli.peer_call import method_names, peer_call  # few extensions have any

        names = method_names(vocabulary)
        call = None if short in vocabulary.schemas else peer_call(vocabulary, short, fields)
        if call is not None:
            if options.reliable or options.stream or options.plain or options.reply:
                raise CommandFailure(f"{name} is a JSON-RPC method, which is called without such options", USAGE)
            plugins[plugins.index(vocabulary)] = call.extension
            call.timeout = options.timeout or call.timeout
            return call, plugins
    schema = find_message(vocabularies, name, others=names)
    made = from_assignments(schema, name, fields)
    if options.reliable:
        return _delivery(options, made, name, owner, plugins)
    if options.request or options.stream:
        replies = _replies(options, vocabularies, schema, name)
        timeout = options.timeout or _REPLY
        if options.request:
            mode: Mode = Request(
                message=made, name=name, replies=replies, timeout=timeout, plain=options.plain, force=options.force
            )
        else:
            mode = Stream(
                message=made, name=name, replies=replies, timeout=timeout, limit=options.limit, force=options.force
            )
        return mode, plugins
    if options.timeout is not None:
        raise CommandFailure(
            "--timeout is for --request, --stream, --reliable and calls; --wait is for plain messages", USAGE
        )
    return PlainSend(message=made, force=options.force), plugins


def _delivery(
    options: _Options, made: Message, name: str, owner: str, plugins: list[object]
) -> tuple[Mode, list[object]]:
    from oddwire.cli.reliable_send import Delivery
    from oddwire.cli.run import STORE_FILE

    store = None if options.data_dir is None else options.data_dir / STORE_FILE
    delivery = Delivery(
        message=made,
        name=name,
        extension=owner,
        timeout=options.timeout or _DELIVERY,
        store=store,
        command=f"oddwire run {owner} --connect {options.uri} --data-dir {options.data_dir}",
    )
    return delivery, [*plugins, delivery.watch]


def _replies(
    options: _Options, vocabularies: Sequence[Vocabulary], schema: Schema, name: str
) -> Sequence[type[Message]]:
    """Return the classes that may answer. Raises `CommandFailure` if none is known."""
    if options.reply:
        return [find_message(vocabularies, reply).cls for reply in options.reply]
    owner = next(vocabulary for vocabulary in vocabularies if schema_of(schema.cls) in vocabulary.schemas.values())
    replies = owner.replies_to(schema.cls)
    if not replies:
        raise CommandFailure(
            f"{name}: what answers it is not known: its class declares no replies=, and no handler of {owner.name!r} "
            "returns one; --reply EXT.MESSAGE says it",
            USAGE,
        )
    return replies


async def _send(
    options: _Options, mode: Mode, plugins: Sequence[object], transport: Bolt8Transport, printer: Printer
) -> int:
    try:
        to = NodeUri.parse(options.uri, default_port=DEFAULT_PORTS[transport.network])
    except ValueError as error:
        raise CommandFailure(str(error), USAGE) from error
    connection = Connection()
    store, number = (None, None) if not options.reliable else _store(options.data_dir, transport)
    reporter = Reporter(printer, takes_all=True)
    app = make_app(printer, reporter, *plugins, connection, transport=transport, store=store, program=number)
    call_when_broken(printer, connection.gone.set)
    await start(app)
    try:
        try:
            if not options.reliable:
                await transport.connect(to, keep=False)
            code = await mode.run(app.peer(to.node_id), printer)
        except (ValueError, EncodeError) as error:
            raise CommandFailure(str(error), USAGE) from error
        except NotSupported as error:
            raise CommandFailure(str(error).replace("force=True", "--force"), FAILED) from error
        except OddwireError as error:
            raise CommandFailure(str(error), FAILED) from error
        wait = options.wait if options.wait is not None else _WAIT if isinstance(mode, PlainSend) else 0.0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await connection.gone.wait()
    finally:
        await app.aclose()
    return code


def _store(data_dir: Path | None, transport: Bolt8Transport) -> tuple[Path | str, int | None]:
    """Return the store of reliable messages, that of `oddwire run`, and the number by which peers know its user."""
    if data_dir is None:
        return ":memory:", None
    from oddwire.app.programs.claims import program_number
    from oddwire.cli.run import STORE_FILE

    path = data_dir / STORE_FILE
    return path, program_number(str(transport.node_id), path.resolve())
