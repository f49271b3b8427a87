"""`oddwire send`: send one message to a node, and print the messages that come back."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import logging
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

from oddwire.app import PluginManager, hookimpl
from oddwire.app.plugins.extension_file import place_nearby
from oddwire.app.plugins.manager import Contribution
from oddwire.cli.applications import call_when_broken, make_app, make_transport, start
from oddwire.cli.events import Printer
from oddwire.cli.exit import FAILED, USAGE, CommandFailure
from oddwire.cli.message_arguments import from_assignments
from oddwire.cli.plain_values import Command
from oddwire.cli.reporter import Reporter, log_to
from oddwire.cli.running import execute
from oddwire.cli.shared_options import ConnectTimeout, DataDir, Json, Network, Proxy, Verbose
from oddwire.cli.standard_streams import command_stdout
from oddwire.codecs.base import Codec
from oddwire.errors import DefinitionError, EncodeError, ExtensionError, NotSupported, OddwireError
from oddwire.proto.addresses import NodeUri
from oddwire.proto.bolt1 import DEFAULT_NETWORK, DEFAULT_PORTS
from oddwire.schema import Message, Schema, schema_of
from oddwire.transports.bolt8.limits import Bolt8Limits
from oddwire.transports.bolt8.transport import Bolt8Transport

__all__ = ["program"]

program = typer.Typer(add_completion=False, rich_markup_mode=None)


class _Vocabulary:
    """A plugin with an extension's messages and codecs, without its handlers."""

    def __init__(self, contribution: Contribution) -> None:
        self.name = contribution.name
        self.feature = contribution.feature
        self.versions = contribution.versions  # even types may be sent to a peer that speaks one of them
        self._codecs = contribution.codecs
        found = dict.fromkeys(contribution.messages)
        for handler in contribution.handlers:
            found.update(dict.fromkeys((handler.message, *handler.replies())))
        self.messages: tuple[type[Message], ...] = (*found,)  # the application adds the replies that they declare

    @hookimpl
    def register_messages(self) -> Iterable[type[Message]]:
        return self.messages

    @hookimpl
    def register_codecs(self) -> Iterable[Codec]:
        return self._codecs


class _Ending:
    """A plugin that sets ``gone`` when the peer disconnects."""

    name = "oddwire.cli.send"

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    @hookimpl
    def peer_disconnected(self) -> None:
        self.gone.set()


@program.command("send", cls=Command)
def _command(
    uri: Annotated[str, typer.Argument(metavar="NODE_ID@HOST:PORT", help="The node to send to.")],
    message: Annotated[str, typer.Argument(metavar="EXT.MESSAGE", help="Extension, dot, message: chat.Say.")],
    fields: Annotated[list[str] | None, typer.Argument(metavar="FIELD=VALUE...", help="The message's fields.")] = None,
    wait: Annotated[
        float, typer.Option("--wait", min=0.0, metavar="SECONDS", help="Print what is received for this many seconds.")
    ] = 1.0,
    extension: Annotated[
        list[str] | None,
        typer.Option("--extension", metavar="EXT", help="Load this extension's messages too: an EXT as of run."),
    ] = None,
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

    async def main() -> int:
        vocabularies = _load(extension or (), message)
        made = from_assignments(_find(vocabularies, message), message, fields or ())
        transport = make_transport(
            data_dir=data_dir,
            network=network,
            proxy=proxy,
            limits=Bolt8Limits(init_timeout=10.0, connect_timeout=connect_timeout),
        )
        return await _send(uri, made, vocabularies, transport, printer, wait, force)

    raise typer.Exit(execute(main, printer))


async def _send(
    uri: str,
    message: Message,
    vocabularies: Sequence[_Vocabulary],
    transport: Bolt8Transport,
    printer: Printer,
    wait: float,
    force: bool,
) -> int:
    try:
        to = NodeUri.parse(uri, default_port=DEFAULT_PORTS[transport.network])
    except ValueError as error:
        raise CommandFailure(str(error), USAGE) from error
    ending = _Ending()
    app = make_app(printer, Reporter(printer, takes_all=True), *vocabularies, ending, transport=transport)
    call_when_broken(printer, ending.gone.set)
    await start(app)
    try:
        try:
            await transport.connect(to, keep=False)
            await app.peer(to.node_id).send(message, force=force)
        except ValueError as error:
            raise CommandFailure(str(error), USAGE) from error
        except EncodeError as error:
            raise CommandFailure(str(error), USAGE) from error
        except NotSupported as error:
            raise CommandFailure(str(error).replace("force=True", "--force"), FAILED) from error
        except OddwireError as error:
            raise CommandFailure(str(error), FAILED) from error
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await ending.gone.wait()
    finally:
        await app.aclose()
    return 0


def _load(extensions: Sequence[str], message: str) -> list[_Vocabulary]:
    """Load the extensions, and the one of ``message``, to return their messages; the extensions are not run.

    Raises `CommandFailure`.
    """
    owner, dot, _ = message.partition(".")
    if not dot:
        raise CommandFailure(f"message should be extension, dot, message, chat.Say for one; not {message!r}", USAGE)
    plugins = PluginManager()
    try:
        loaded = [plugins.load(extension) for extension in dict.fromkeys(extensions)]
        if owner not in loaded:
            loaded.append(_load_owner(plugins, owner))
    except DefinitionError as error:
        raise CommandFailure(str(error), USAGE) from error
    return [_Vocabulary(contribution) for contribution in plugins.contributions if contribution.name in loaded]


def _load_owner(plugins: PluginManager, owner: str) -> str:
    try:
        return plugins.load(owner)
    except ExtensionError as error:
        if (place := place_nearby(owner)) is not None:
            raise CommandFailure(f"{error} Then add --extension {place}", USAGE) from error
        raise


def _find(vocabularies: Sequence[_Vocabulary], name: str) -> Schema:
    owner, _, short = name.partition(".")
    vocabulary = next(vocabulary for vocabulary in vocabularies if vocabulary.name == owner)
    schemas = {schema_of(message).name: schema_of(message) for message in vocabulary.messages}
    if short not in schemas:
        there = ", ".join(f"{owner}.{schema}" for schema in sorted(schemas)) or "none"
        close = difflib.get_close_matches(short, schemas, 1)
        hint = f", did you mean {owner}.{close[0]}?" if close else ""
        raise CommandFailure(f"extension {owner!r} has no message {short!r}{hint}; there are: {there}", USAGE)
    return schemas[short]
