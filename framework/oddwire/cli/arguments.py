"""Separating a command's own options from arguments of extensions or plugins, or a method's parameters.

The latter reach their owner as they were typed, in order: click would parse arguments that begin with a ``-``.
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
    """Split a command line into the command's own options, with their values, and all other arguments, in order.

    ``own`` maps the options, as typed, to whether each takes a value. If another option is followed by an argument that
    begins with a dash, ``claims_next(foreign, following)`` returns whether that is its value; ``foreign`` are all other
    arguments so far. Arguments after a ``--`` are all foreign.
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
            mine.append(argument)  # one-letter flags
        elif argument in own:  # a one-letter option with a value
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
    """A command that accepts unknown arguments."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command's own options; other arguments become its last argument, or the context's ``args``."""
        own = dict.fromkeys(ctx.help_option_names, False)
        for parameter in self.params:
            if parameter.param_type_name == "option":
                takes = not getattr(parameter, "is_flag", False)
                own.update(dict.fromkeys((*parameter.opts, *parameter.secondary_opts), takes))
        mine, foreign = split_arguments(args, own, lambda before, follows: self.claims_next(ctx, args, before, follows))
        ctx.meta[_FOREIGN] = foreign
        return super().parse_args(ctx, [*mine, *(["--", *foreign] if foreign else [])])

    def claims_next(self, ctx: Any, args: Sequence[str], foreign: Sequence[str], following: str) -> bool:
        """Return whether ``following``, which begins with a dash, is the value of the last of ``foreign``."""
        return False


class CallCommand(_Open):
    """`oddwire call`: unknown arguments are parameters of the method."""


class NodeCommand(_Open):
    """`oddwire node`: unknown arguments are options of plugins, which are not started yet."""

    def claims_next(self, ctx: Any, args: Sequence[str], foreign: Sequence[str], following: str) -> bool:
        """Return whether ``following`` has a single dash: options of plugins have two."""
        return not following.startswith("--")


class RunCommand(_Open):
    """`oddwire run`, or an extension that runs itself, which is the context's object then.

    Extensions are loaded here only if the parsing depends on their options: for ``--help``, and for values that begin
    with a dash.
    """

    def claims_next(self, ctx: Any, args: Sequence[str], foreign: Sequence[str], following: str) -> bool:
        """Load the extensions, and return whether the option is one of theirs that takes a value."""
        plugins, _ = self._load(ctx, args, foreign[:-1])
        return takes_value(plugins, foreign[-1])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the options of the extensions named in the arguments."""
        ready_streams()
        foreign = ctx.meta.get(_FOREIGN, ())
        plugins, reason = self._load(ctx, (), foreign)
        for text in (describe_options(plugins), printable(reason)):
            if text:
                formatter.write_paragraph()
                with formatter.indentation():
                    formatter.write_text(text)

    def _load(self, ctx: Any, args: Sequence[str], foreign: Sequence[str]) -> tuple[PluginManager, str]:
        """Load the extensions named, up to the first error. Return them and its text; the command raises it again."""
        plugins = PluginManager()
        alone = isinstance(ctx.obj, Extension)
        reason = ""
        # With --json, stdout is reserved for events: redirect what extensions print while they are imported
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
    """Return the warnings of extensions that were loaded to parse the command line: Python shows them only once."""
    caught: list[warnings.WarningMessage] = ctx.meta.get(_CAUGHT, [])
    return caught
