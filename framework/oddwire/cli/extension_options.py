"""Options of extensions on the command line of a command."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from oddwire.app import PluginManager
from oddwire.app.declarations.options import Setting
from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.shell_words import as_typed
from oddwire.printable import printable

__all__ = ["describe_options", "option_names", "own_options", "read_extras", "takes_value"]

_VALUES: Final = {"string": " TEXT", "int": " INTEGER", "bool": " BOOLEAN", "flag": ""}


def read_extras(
    arguments: Sequence[str], plugins: PluginManager, own: Collection[str], *, loads: bool = True
) -> dict[str, Any]:
    """Load the extensions in ``arguments``, and return the values of their options in it, by name.

    An argument that is not ``--name=value``, ``--name value`` or, for a flag, ``--name`` names an extension. An
    extension comes before its options, since it defines which of them take values. ``own`` are the names of the
    command's own options, which no extension may have. Without ``loads``, all arguments are options. Raises
    `CommandFailure` and `DefinitionError`.
    """
    given: dict[str, Any] = {}
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument.startswith("-"):
            name, value = _option(argument, waiting, _settings(plugins), own)
            if isinstance(value, list):
                given.setdefault(name, []).extend(value)
            elif name in given:
                raise CommandFailure(f"--{name} is given twice; once would do", USAGE)
            else:
                given[name] = value
        elif loads:
            plugins.load(argument)
        else:
            raise CommandFailure(f"unexpected argument {argument!r}; there are options only", USAGE)
    for name, setting in _settings(plugins).items():
        if name in own:
            raise CommandFailure(f"option --{name} of {setting.owner!r} is one that this command has itself", USAGE)
    return given


def own_options(parameters: Sequence[Any]) -> set[str]:
    """Return the names of a command's own long options."""
    names = (name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts))
    return {"help", *(name.removeprefix("--") for name in names if name.startswith("--"))}


def describe_options(plugins: PluginManager) -> str:
    """Return the lines of ``--help`` for the extensions' options, one per option; empty if they have none."""
    settings = _settings(plugins).values()
    heads = [f"--{setting.name}{_VALUES[setting.kind.type]}" for setting in settings]
    width = max(map(len, heads), default=0)
    lines = [f"  {head:{width}}  {_explain(setting)}".rstrip() for head, setting in zip(heads, settings, strict=True)]
    several = len({setting.owner for setting in settings}) > 1
    heading = f"Options of the extension{'s' if several else ''}:"
    return "\n".join(["\b", heading, *map(printable, lines)]) if lines else ""


def option_names(plugins: PluginManager) -> list[str]:
    """Return the names of the loaded extensions' options."""
    return [*_settings(plugins)]


def takes_value(plugins: PluginManager, argument: str) -> bool:
    """Return whether an argument is an option of a loaded extension whose value is the next argument."""
    setting = _settings(plugins).get(argument.removeprefix("--"))
    return argument.startswith("--") and setting is not None and setting.kind.type != "flag"


def _explain(setting: Setting) -> str:
    default = setting.default
    notes = ["may be repeated"] if setting.kind.multi else []
    if default is not None and setting.kind.type != "flag":
        notes.append(f"default: {', '.join(map(str, default)) if setting.kind.multi else default}")
    return setting.option.description + (f"  [{'; '.join(notes)}]" if notes else "")


def _settings(plugins: PluginManager) -> dict[str, Setting]:
    return {option.name: option.setting(owner.name) for owner in plugins.contributions for option in owner.options}


def _option(
    argument: str, waiting: list[str], settings: Mapping[str, Setting], own: Collection[str]
) -> tuple[str, str | bool | list[str]]:
    """Parse one option, and remove its value from ``waiting`` if it is there. Return name and value."""
    name, has_value, value = argument.removeprefix("--").partition("=")
    setting = settings.get(name) if argument.startswith("--") else None
    if setting is None:
        close = difflib.get_close_matches(name, [*settings, *own], 1)
        there = ", ".join(f"--{known}" for known in settings) or "none"
        hint = f"did you mean --{close[0]}?" if close else f"those of the extensions loaded so far: {there}"
        raise CommandFailure(f"no such option: {argument.partition('=')[0]}; {hint}", USAGE)
    if setting.kind.type == "flag":
        if has_value:
            raise CommandFailure(f"--{name} is a flag and takes no value; not {value!r}", USAGE)
        return name, True
    if not has_value:
        if not waiting:
            raise CommandFailure(f"--{name} should have a value: --{name}=VALUE", USAGE)
        value = waiting.pop(0)
    value = as_typed(value)
    return name, [value] if setting.kind.multi else value
