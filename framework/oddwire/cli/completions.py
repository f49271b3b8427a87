"""What the shell completes arguments with: extensions, their messages and options, methods of a running program.

Nothing of this is imported unless the shell asks. What cannot be found out in a moment is left to the user, and names
of files to the shell.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import typer.core

__all__ = ["VARIABLE", "completion", "extension_names", "offer"]

VARIABLE: Final = "_ODDWIRE_COMPLETE"
"""The variable by which the shell asks, and says which shell it is."""

_MOMENT: Final = 1.0  # seconds that a program may take to tell its methods


def offer(parameters: list[Any]) -> None:
    """Have each parameter that is an extension, a message or a method completed, by its metavar."""
    for parameter in parameters:
        for start, complete in _COMPLETED.items():
            if (parameter.metavar or "").split(" ")[0].removesuffix("...") == start:
                parameter._custom_shell_complete = complete  # noqa: SLF001 - as typer's autocompletion= does


def completion(text: str, explained: str = "") -> Any:
    """Return what a command's ``shell_complete`` returns a list of."""
    there = getattr(typer.core, "CompletionItem", None)  # typer's own, or click's
    return (there or import_module("click.shell_completion").CompletionItem)(text, help=explained or None)


def extension_names() -> list[str]:
    """Return the names of installed extensions."""
    return sorted(entry_points(group="oddwire.extensions").names)


def _extensions(context: Any, parameter: Any, incomplete: str) -> list[str]:
    return [name for name in extension_names() if name.startswith(incomplete)]


def _messages(context: Any, parameter: Any, incomplete: str) -> list[str]:
    """Complete ``EXT.MESSAGE``: first the extension, then its messages."""
    extension, dot, _ = incomplete.partition(".")
    if not dot:
        found = [name for name in extension_names() if name.startswith(incomplete)]
        if len(found) != 1:
            return [f"{name}." for name in found]
        (extension,) = found  # or the shell would end the word behind the dot
    elif extension not in extension_names():
        return []
    from oddwire.app import PluginManager
    from oddwire.schema import schema_of

    plugins = PluginManager()
    with contextlib.suppress(Exception):  # an extension that does not load has no messages
        plugins.load(extension)
        names = {schema_of(message).name for owner in plugins.contributions for message in owner.messages}
        texts = (f"{extension}.{name.rpartition('.')[2]}" for name in names)
        return sorted(text for text in texts if text.startswith(incomplete))
    return []


def _methods(context: Any, parameter: Any, incomplete: str) -> list[str]:
    from oddwire.cli.running_programs import find_program
    from oddwire.jsonrpc import JsonRpcClient

    wanted: Mapping[str, Any] = context.params
    names: dict[str, Any] = {name: wanted.get(name) for name in ("data_dir", "lightning_dir", "network", "rpc_file")}
    for name in ("data_dir", "lightning_dir"):
        names[name] = None if names[name] is None else Path(names[name])

    async def ask() -> list[str]:
        path = await find_program(program=wanted.get("wanted"), **names)
        async with JsonRpcClient(path) as client:
            answer = await client.call("help", [], timeout=_MOMENT)
        return [str(entry["command"]).partition(" ")[0] for entry in answer["help"]]

    with contextlib.suppress(Exception):  # none is running, or it does not answer
        return sorted(name for name in asyncio.run(ask()) if name.startswith(incomplete))
    return []


_COMPLETED: Final[Mapping[str, Callable[[Any, Any, str], list[str]]]] = {
    "EXT": _extensions,
    "EXT.MESSAGE": _messages,
    "METHOD": _methods,
}
