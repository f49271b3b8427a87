"""Separating a command's own options from arguments of extensions or plugins, or a method's parameters.

The latter reach their owner as they were typed, in order: click would parse arguments that begin with a ``-``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from oddwire.cli.plain_values import Command

__all__ = ["FOREIGN", "CallCommand", "NodeCommand", "OpenCommand", "split_arguments"]

FOREIGN: Final = "oddwire.foreign"
"""The key of all other arguments in the context's ``meta``."""


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


class OpenCommand(Command):
    """A command that accepts unknown arguments."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command's own options; other arguments become its last argument, or the context's ``args``."""
        own = dict.fromkeys(ctx.help_option_names, False)
        for parameter in self.params:
            if parameter.param_type_name == "option":
                takes = not getattr(parameter, "is_flag", False)
                own.update(dict.fromkeys((*parameter.opts, *parameter.secondary_opts), takes))
        mine, foreign = split_arguments(args, own, lambda before, follows: self.claims_next(ctx, args, before, follows))
        ctx.meta[FOREIGN] = foreign
        return super().parse_args(ctx, [*mine, *(["--", *foreign] if foreign else [])])

    def claims_next(self, ctx: Any, args: Sequence[str], foreign: Sequence[str], following: str) -> bool:
        """Return whether ``following``, which begins with a dash, is the value of the last of ``foreign``."""
        return False


class CallCommand(OpenCommand):
    """`oddwire call`: unknown arguments are parameters of the method."""


class NodeCommand(OpenCommand):
    """`oddwire node`: unknown arguments are options of plugins, which are not started yet."""

    def claims_next(self, ctx: Any, args: Sequence[str], foreign: Sequence[str], following: str) -> bool:
        """Return whether ``following`` has a single dash: options of plugins have two."""
        return not following.startswith("--")
