"""The messages of extensions for commands that only talk to peers: the extensions' handlers do not run."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from oddwire.app import PluginManager, hookimpl
from oddwire.app.plugins.extension_file import place_nearby
from oddwire.app.plugins.manager import Contribution
from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.codecs.base import Codec
from oddwire.errors import DefinitionError, ExtensionError
from oddwire.schema import Message, Schema, schema_of

__all__ = ["Vocabulary", "find_message", "load_vocabularies", "split_name"]


class Vocabulary:
    """A plugin with an extension's messages and codecs, without its handlers.

    ``replies`` are the classes with which the extension's handlers reply, by the class of the message.
    """

    def __init__(self, contribution: Contribution) -> None:
        self.name = contribution.name
        self.feature = contribution.feature
        self.peer_feature = contribution.peer_feature
        self.versions = contribution.versions  # even types may be sent to a peer that speaks one of them
        self.peer_rpcs = contribution.peer_rpcs
        self._codecs = contribution.codecs
        self.replies: dict[type[Message], tuple[type[Message], ...]] = {}
        found = dict.fromkeys(contribution.messages)
        for handler in contribution.handlers:
            replies = handler.replies()
            self.replies[handler.message] = replies
            found.update(dict.fromkeys((handler.message, *replies)))
        self.messages: tuple[type[Message], ...] = (*found,)  # the application adds the replies that they declare

    @hookimpl
    def register_messages(self) -> Iterable[type[Message]]:
        """Return the messages."""
        return self.messages

    @hookimpl
    def register_codecs(self) -> Iterable[Codec]:
        """Return the codecs."""
        return self._codecs

    @property
    def schemas(self) -> dict[str, Schema]:
        """The messages' schemas by name, those that their classes declare as replies among them."""
        classes = dict.fromkeys(self.messages)
        for message in self.messages:
            classes.update(dict.fromkeys(schema_of(message).replies))
        return {schema_of(message).name: schema_of(message) for message in classes}

    def replies_to(self, message: type[Message]) -> tuple[type[Message], ...]:
        """Return the classes that answer a message: declared by its class, else by the extension's own handler."""
        return schema_of(message).replies or self.replies.get(message, ())


def load_vocabularies(extensions: Sequence[str], *messages: str) -> list[Vocabulary]:
    """Load the extensions, and those of ``messages``, to return their messages; the extensions are not run.

    Raises `CommandFailure`.
    """
    owners = dict.fromkeys(split_name(message)[0] for message in messages)
    plugins = PluginManager()
    try:
        loaded = [plugins.load(extension) for extension in dict.fromkeys(extensions)]
        for owner in owners:
            if owner not in loaded:
                loaded.append(_load_owner(plugins, owner))
        return [Vocabulary(contribution) for contribution in plugins.contributions if contribution.name in loaded]
    except DefinitionError as error:
        raise CommandFailure(str(error), USAGE) from error


def find_message(vocabularies: Sequence[Vocabulary], name: str, *, others: Sequence[str] = ()) -> Schema:
    """Return the schema of ``EXT.MESSAGE``. ``others`` are names that would be right, too. Raises `CommandFailure`."""
    owner, short = split_name(name)
    vocabulary = next((vocabulary for vocabulary in vocabularies if vocabulary.name == owner), None)
    if vocabulary is None:
        raise CommandFailure(f"{name}: extension {owner!r} is not loaded; --extension loads it", USAGE)
    schemas = vocabulary.schemas
    if short not in schemas:
        names = [*sorted(schemas), *others]
        there = ", ".join(f"{owner}.{each}" for each in names) or "none"
        close = difflib.get_close_matches(short, names, 1)
        hint = f", did you mean {owner}.{close[0]}?" if close else ""
        raise CommandFailure(f"extension {owner!r} has no message {short!r}{hint}; there are: {there}", USAGE)
    return schemas[short]


def split_name(name: str) -> tuple[str, str]:
    """Return extension and message of ``EXT.MESSAGE``. Raises `CommandFailure`."""
    owner, dot, short = name.partition(".")
    if not dot:
        raise CommandFailure(f"message should be extension, dot, message, chat.Say for one; not {name!r}", USAGE)
    return owner, short


def _load_owner(plugins: PluginManager, owner: str) -> str:
    try:
        return plugins.load(owner)
    except ExtensionError as error:
        if (place := place_nearby(owner)) is not None:
            raise CommandFailure(f"{error} Then add --extension {place}", USAGE) from error
        raise
