"""Telling a command's own options from arguments that are others': extensions', plugins', or a method's parameters.

Those reach their owner as they were typed, in order: click would take apart what begins with a ``-``.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from typer.core import TyperCommand

from oddwire.app import Extension, PluginManager
from oddwire.cli.exit import CommandFailure
from oddwire.cli.extension_options import describe_options, own_options, read_extras, takes_value
from oddwire.cli.standard_streams import ready_streams, stdout_aside
from oddwire.errors import DefinitionError
from oddwire.printable import printable

__all__ = ["CallCommand", "NodeCommand", "RunCommand", "caught_warnings", "split_arguments"]

_FOREIGN: Final = "oddwire.foreign"
_CAUGHT: Final = "oddwire.warnings"


def split_arguments(
    arguments: Sequence[str],
    own: Mapping[str, bool],
    claims_next: Callable[[Sequence[str], str], bool] = lambda foreign, following: False,
) -> tuple[list[str], list[str]]:
    """Split a command line in the command's own options, with their values, and all else; the order stays.

    ``own`` are the options, as typed, and whether each takes a value. Where what follows an option of others begins
    with a dash, ``claims_next`` says whether it is that one's value; it is called with all of others' arguments so far.
    All behind a ``--`` is others'.
    """
    mine: list[str] = []
    foreign: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument == "--":
            foreign += waiting
            break
        name, has_value, _ = argument.partition("=")
        if argument.startswith("--") and name in own:
            mine.append(argument)
            if own[name] and not has_value and waiting:
                mine.append(waiting.pop(0))
        elif argument.startswith("-") and len(argument) > 1 and all(own.get(f"-{x}") is False for x in argument[1:]):
            mine.append(argument)  # flags of one letter
        elif argument in own:  # a letter that takes a value
            mine += [argument, *waiting[:1]]
            waiting = waiting[1:]
        else:
            foreign.append(argument)
            follows = waiting[0] if waiting else ""
            if (
                argument.startswith("--")
                and not has_value
                and follows.startswith("-")
                and claims_next(foreign, follows)
            ):
                foreign.append(waiting.pop(0))
    return mine, foreign


class _Open(TyperCommand):
    """A command that takes arguments it does not know."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command's own options; all else is in its last argument, or in the context's ``args``."""
        own = dict.fromkeys(ctx.help_option_names, False)
        for parameter in self.params:
            if parameter.param_type_name == "option":
                takes = not getattr(parameter, "is_flag", False)
                own.update(dict.fromkeys((*parameter.opts, *parameter.secondary_opts), takes))
        mine, foreign = split_arguments(args, own, lambda before, follows: self.claims_next(ctx, args, before, follows))
        ctx.meta[_FOREIGN] = foreign
        return super().parse_args(ctx, [*mine, *(["--", *foreign] if foreign else [])])

    def claims_next(self, ctx: Any, args: Sequence[str], foreign: Sequence[str], following: str) -> bool:
        """Say whether the last of ``foreign`` takes what follows for its value, which begins with a dash."""
        return False


class CallCommand(_Open):
    """`oddwire call`: what it does not know are parameters of the method."""


class NodeCommand(_Open):
    """`oddwire node`: what it does not know are options of plugins, of which nothing is known so far."""

    def claims_next(self, ctx: Any, args: Sequence[str], foreign: Sequence[str], following: str) -> bool:
        """Take what has one dash for a value: plugins' options have two."""
        return not following.startswith("--")


class RunCommand(_Open):
    """`oddwire run`, or an extension that runs itself, which is then the context's object.

    Extensions are loaded here only where what they have makes a difference: for ``--help``, and for values that begin
    with a dash.
    """

    def claims_next(self, ctx: Any, args: Sequence[str], foreign: Sequence[str], following: str) -> bool:
        """Ask the extension."""
        plugins, _ = self._load(ctx, args, foreign[:-1])
        return takes_value(plugins, foreign[-1])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the options of the extensions that are named."""
        ready_streams()
        foreign = ctx.meta.get(_FOREIGN, ())
        plugins, reason = self._load(ctx, (), foreign)
        for text in (describe_options(plugins), printable(reason)):
            if text:
                formatter.write_paragraph()
                with formatter.indentation():
                    formatter.write_text(text)

    def _load(self, ctx: Any, args: Sequence[str], foreign: Sequence[str]) -> tuple[PluginManager, str]:
        """Load what is named, as far as it can be, and say why no further: running it tells that again."""
        plugins = PluginManager()
        alone = isinstance(ctx.obj, Extension)
        reason = ""
        # What extensions print while they are imported may not belong on stdout, as the rest of the line will tell
        aside = stdout_aside() if "--json" in args else contextlib.nullcontext()
        with aside, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            try:
                if alone:
                    plugins.register(ctx.obj)
                read_extras(foreign, plugins, own_options(self.params), loads=not alone)
            except Exception as error:
                known = isinstance(error, DefinitionError | CommandFailure)
                reason = str(error) if known else f"{type(error).__name__}: {error}"
        ctx.meta.setdefault(_CAUGHT, []).extend(caught)
        return plugins, reason


def caught_warnings(ctx: Any) -> list[warnings.WarningMessage]:
    """Return the warnings of extensions that were loaded to read the command line: they warn but once."""
    caught: list[warnings.WarningMessage] = ctx.meta.get(_CAUGHT, [])
    return caught
