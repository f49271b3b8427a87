"""The file of ``--config``: a command's options in TOML, and a table for each extension's."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typer

from oddwire.cli.variables import long_name
from oddwire.files import open_to_read
from oddwire.records import FrozenRecord

__all__ = ["CONFIG", "EXTENSIONS", "ConfigFile", "config_of", "read_config", "use_config"]

EXTENSIONS: Final = "extensions"
"""The key of the extensions, which are arguments on the command line."""
CONFIG: Final = "oddwire.config"
"""The key of the file in a context's ``meta``."""

_NOT_IN_FILES: Final = ("help", "version", "config", "show-config", "output")
_PATHS: Final = ("DIR", "FILE", "PATH")  # metavars
_LARGEST: Final = 1 << 20  # bytes


class ConfigFile(FrozenRecord, kw_only=True):
    """What a file says: ``own`` are the command's own options by parameter, ``tables`` those of extensions, as read."""

    path: Path
    own: Mapping[str, Any]
    tables: Mapping[str, Mapping[str, Any]]

    def source(self, table: str = "") -> str:
        """Return where something is from, for people."""
        return f"{self.path}, [{table}]" if table else str(self.path)

    def text(self, value: str) -> str:
        """Return a text of an extension's option; one that begins with ``./`` or ``../`` is a path beside the file."""
        return _beside(self.path, value) if value.startswith(("./", "../")) else value


def use_config(context: typer.Context, path: Path | None) -> Path | None:
    """Read the file of ``--config``, as the option's callback: what it says is the default of the options it names."""
    if path is not None:
        try:
            found = read_config(path, context.command.params)
        except (OSError, ValueError) as error:
            text = f"{error.filename or path}: {error.strerror}" if isinstance(error, OSError) else f"{path}: {error}"
            raise typer.BadParameter(text) from None
        context.meta[CONFIG] = found
        context.default_map = {**(context.default_map or {}), **found.own}
    return path


def config_of(context: typer.Context) -> ConfigFile | None:
    """Return what the file said that a command line names, None if it names none."""
    found = context.meta.get(CONFIG)
    return found if isinstance(found, ConfigFile) else None


def read_config(path: Path, parameters: Sequence[Any]) -> ConfigFile:
    """Read a file for a command with these parameters.

    Raises `OSError`, and `ValueError` that names what is wrong and what would be right.
    """
    import tomllib  # here, as most commands are run without a file

    try:
        with open_to_read(path) as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ValueError(f"should be at most {_LARGEST} bytes")
        found = tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"should be UTF-8: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"is not TOML: {error}") from None
    except RecursionError:
        raise ValueError("is nested too deep") from None
    known = {long_name(parameter) or parameter.name: parameter for parameter in parameters}
    for parameter in list(known.values()):
        known.update({name.removeprefix("--"): parameter for name in parameter.opts if name.startswith("--")})
    known = {name: parameter for name, parameter in known.items() if name not in _NOT_IN_FILES}
    own: dict[str, Any] = {}
    tables: dict[str, Mapping[str, Any]] = {}
    for key, value in found.items():
        if key in known:
            parameter = known[key]
            if parameter.name in own:
                raise ValueError(f"{key}: is said twice, under two names; once would do")
            own[parameter.name] = _own_value(path, key, value, parameter)
        elif isinstance(value, dict):
            tables[key] = value
        else:
            raise ValueError(f"{key}: {_no_such(key, known)}; options of an extension go into a table, [NAME]")
    return ConfigFile(path=path, own=own, tables=tables)


def _no_such(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key.replace("_", "-"), [*known], 1)
    return f"there is no such option; did you mean {close[0]}?" if close else "there is no such option"


def _own_value(path: Path, key: str, value: Any, parameter: Any) -> Any:
    if getattr(parameter, "is_flag", False):
        return _check(key, value, isinstance(value, bool), "true or false")
    if parameter.multiple or parameter.nargs == -1:
        many = [value] if isinstance(value, str) else value
        right = isinstance(many, list) and all(isinstance(each, str) for each in many)
        _check(key, value, right, "a text, or a list of texts")
        if key == EXTENSIONS:
            return [_beside(path, each) if _is_path(each) else each for each in many]
        return [_beside(path, each) for each in many] if parameter.metavar in _PATHS else many
    if _is_number(parameter):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(_check(key, value, number, "a number"))
    text = _check(key, value, isinstance(value, str), "a text")
    return _beside(path, text) if parameter.metavar in _PATHS else text


def _is_number(parameter: Any) -> bool:
    declared = getattr(parameter, "type_descriptor", None)
    kind = parameter.type.name if declared is None else getattr(declared.annotation, "__name__", "")
    return "float" in kind


def _is_path(extension: str) -> bool:
    place = extension.partition(":")[0]
    return "/" in place or place.endswith(".py")


def _beside(path: Path, value: str) -> str:
    """Return a path of the file, which is relative to the file's folder."""
    return os.path.join(path.absolute().parent, os.path.expanduser(value.removeprefix("./")))  # noqa: PTH111, PTH118


def _check(key: str, value: Any, right: bool, should: str) -> Any:
    if not right:
        raise ValueError(f"{key}: should be {should}, not {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "a table" if isinstance(value, dict) else f"{value!r:.100}"
