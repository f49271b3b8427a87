"""The variables of the environment that options are read from: ODDWIRE_LISTEN for ``--listen``."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["PREFIX", "long_name", "name_variables", "source_of", "variable", "without_options"]

PREFIX: Final = "ODDWIRE_"
"""What the names of all variables begin with."""

_NONE: Final = ("help", "install-completion", "show-completion", "version")
_NOT_OPTIONS: Final = ("ODDWIRE_MAX_DOCUMENT",)


def variable(option: str) -> str:
    """Return the variable of an option, which is given without its dashes."""
    return PREFIX + option.upper().replace("-", "_")


def long_name(parameter: Any) -> str:
    """Return the first long name of a command's option, without dashes; empty for an argument."""
    names = (name.removeprefix("--") for name in parameter.opts if name.startswith("--"))
    return next(names, "")


def name_variables(parameters: list[Any]) -> None:
    """Have each option of a command read its variable, where the command line does not say it."""
    for parameter in parameters:
        name = long_name(parameter)
        if name and name not in _NONE and parameter.envvar is None:
            parameter.envvar = [variable(each.removeprefix("--")) for each in parameter.opts if each.startswith("--")]
            parameter.show_envvar = False


def without_options(environment: dict[str, str]) -> dict[str, str]:
    """Return an environment without what options are read from, for a command whose arguments say everything."""
    return {name: value for name, value in environment.items() if not name.startswith(PREFIX) or name in _NOT_OPTIONS}


def source_of(error: Any) -> str:
    """Return a note of where a value is from that click refuses; empty if it was typed, or is no value of an option."""
    parameter, context = getattr(error, "param", None), getattr(error, "ctx", None)
    if parameter is None or context is None:
        return ""
    source = getattr(context.get_parameter_source(parameter.name), "name", "")
    if source == "ENVIRONMENT":
        names = parameter.envvar if isinstance(parameter.envvar, list | tuple) else [parameter.envvar]
        return f" (from the environment, {' or '.join(names)})"
    return f" (from {context.params.get('config') or 'the file'})" if source == "DEFAULT_MAP" else ""
