"""The arguments of `oddwire run`: those that are no options of its own are extensions, and options of these."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

from oddwire.app import Extension, PluginManager
from oddwire.cli.arguments import FOREIGN, OpenCommand
from oddwire.cli.config_file import EXTENSIONS
from oddwire.cli.exit import CommandFailure
from oddwire.cli.extension_options import describe_options, option_names, own_options, read_extras, takes_value
from oddwire.cli.standard_streams import ready_streams, stdout_aside
from oddwire.errors import DefinitionError
from oddwire.printable import printable

if TYPE_CHECKING:
    from oddwire.cli.settings import Settings

__all__ = ["RunCommand", "caught_warnings", "extensions_argument", "with_extensions"]

_CAUGHT: Final = "oddwire.warnings"


class RunCommand(OpenCommand):
    """`oddwire run`, or an extension that runs itself, which is the context's object then.

    Extensions are loaded here only if the parsing depends on their options: for ``--help``, and for values that begin
    with a dash.
    """

    def claims_next(self, ctx: Any, args: Sequence[str], foreign: Sequence[str], following: str) -> bool:
        """Load the extensions, and return whether the option is one of theirs that takes a value."""
        plugins, _ = self._load(ctx, args, foreign[:-1])
        return takes_value(plugins, foreign[-1])

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Return the options that begin so, also those of installed extensions that are named."""
        found: list[Any] = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("--"):
            from oddwire.cli.completions import completion, extension_names  # only the shell asks

            named = [each for each in ctx.meta.get(FOREIGN, ()) if each in extension_names()]  # no file is run for it
            plugins, _ = self._load(ctx, ("--json",), named)
            names = [f"--{name}" for name in option_names(plugins)]
            found += [completion(name) for name in names if name.startswith(incomplete)]
        return found

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the options of the extensions named in the arguments."""
        ready_streams()
        foreign = ctx.meta.get(FOREIGN, ())
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


def extensions_argument(text: str) -> Any:
    """Return the argument that names extensions, for `with_extensions`; ``text`` is its help."""
    return typer.Argument(
        metavar="EXT... [--OPTION VALUE]...", envvar="ODDWIRE_EXTENSIONS", show_envvar=False, help=text
    )


def with_extensions(arguments: Sequence[str], settings: Settings) -> list[str]:
    """Return the arguments with the extensions of the environment or the file, if the command line names none."""
    if not arguments or arguments[0].startswith("-"):
        elsewhere = os.environ.get("ODDWIRE_EXTENSIONS", "").split()
        if not elsewhere and settings.config is not None:
            elsewhere = [*settings.config.own.get(EXTENSIONS, ())]
        arguments = [*elsewhere, *arguments]
    return [*arguments]


def caught_warnings(ctx: Any) -> list[warnings.WarningMessage]:
    """Return the warnings of extensions that were loaded to parse the command line: Python shows them only once."""
    caught: list[warnings.WarningMessage] = ctx.meta.get(_CAUGHT, [])
    return caught
