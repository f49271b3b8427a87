"""The messages that ``decode`` and ``encode`` know: of extensions named or installed, and of known protocols."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Final

from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.decoding import Entry, Lexicon
from oddwire.errors import DefinitionError
from oddwire.schema import schema_of

__all__ = ["find_entry", "load_lexicon"]

_ALIKE: Final = 0.75  # similarity, of 1, from which a name may be a misspelt one


def load_lexicon(extensions: Sequence[str], remark: Callable[[str], object]) -> Lexicon:
    """Return a lexicon of these extensions, each an EXT as of ``run``, of those installed, and of known protocols.

    Those installed are loaded when they may be needed; one that does not load is told of by ``remark``, and left out.
    Extensions are imported, and not run. Raises `CommandFailure`.
    """
    lexicon = Lexicon()
    names = [*dict.fromkeys(extensions)]
    for name in names:
        try:
            _add(lexicon, name)
        except DefinitionError as error:
            raise CommandFailure(str(error), USAGE) from error

    def add_installed(lexicon: Lexicon) -> None:
        for name in _installed():
            if name not in names:
                try:
                    _add(lexicon, name)
                except DefinitionError as error:
                    remark(f"oddwire: the installed extension {name!r} is left out: {error}")

    lexicon.add_later(add_installed)
    return lexicon


def find_entry(lexicon: Lexicon, name: str) -> Entry:
    """Return the message of a name, ``chat.Say``. Raises `CommandFailure` with the names that are nearly this one."""
    entry = lexicon.find(name)
    if entry is not None:
        return entry
    if "." not in name:
        alike = sorted({entry.name for entry in lexicon.all_entries() if _key(entry.schema.name) == _key(name)})
        hint = f"; did you mean {' or '.join(alike)}?" if alike else ""
        text = (
            f"a message should be its protocol or extension, a dot, and its name: peerswap.Cancel; not {name!r}{hint}"
        )
        raise CommandFailure(text, USAGE)
    known = {_key(entry.name): entry.name for entry in lexicon.all_entries()}
    close = difflib.get_close_matches(_key(name), known, 3, _ALIKE)
    owner = name.partition(".")[0]
    own = [entry for entry in known.values() if _key(entry.partition(".")[0]) == _key(owner)]
    hint = "'oddwire types' lists those of known protocols; --extension EXT adds an extension's"
    if close:
        hint = f"did you mean {' or '.join(known[one] for one in close)}?"
    elif own:
        hint = f"{owner} has {', '.join(sorted(own)[:12])}"
    raise CommandFailure(f"there is no message {name!r}; {hint}", USAGE)


def _key(name: str) -> str:
    return name.replace("_", "").replace("-", "").casefold()


def _installed() -> list[str]:
    """Return the names of the installed extensions."""
    from importlib.metadata import entry_points

    from oddwire.app.plugins.manager import EXTENSIONS

    return sorted(entry_points(group=EXTENSIONS).names)


def _add(lexicon: Lexicon, extension: str) -> None:
    """Add an extension's messages. Raises `DefinitionError`."""
    from oddwire.app import PluginManager  # imported late: much of it is for running them

    plugins = PluginManager()
    loaded = plugins.load(extension)
    codecs = [codec for contribution in plugins.contributions for codec in contribution.codecs]
    for contribution in plugins.contributions:
        if contribution.name == loaded:
            found = dict.fromkeys(contribution.messages)
            for handler in contribution.handlers:
                found.update(dict.fromkeys((handler.message, *handler.replies())))
            for message in [*found]:
                found.update(dict.fromkeys(schema_of(message).replies))
            lexicon.add(contribution.name, found, codecs)
