"""What is in force when a command runs, and where it is from: command line, environment, file, default."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final, NamedTuple

import typer

from oddwire.app import PluginManager
from oddwire.app.declarations.options import Setting
from oddwire.cli.config_file import EXTENSIONS, ConfigFile, config_of
from oddwire.cli.events import Event, Printer
from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.lnd_options import is_macaroon
from oddwire.cli.variables import PREFIX, long_name, variable
from oddwire.printable import printable

__all__ = ["InForce", "Settings", "is_given", "show_settings"]

_SECRET: Final = re.compile(r"(^|-)(password|passphrase|secret|token|rune|macaroon|key|seed)(-|$)")
_LOGIN: Final = re.compile(r"(?<=://)[^/@\s]*(?=@)")
_NOT_SHOWN: Final = ("help", "reload", "reload-dir", "show-config", "version")
_HIDDEN: Final = "********"
_WIDEST: Final = 40  # characters of a value before the next column moves
_CLOSE: Final = 0.8  # similarity, of 1, from which a variable is taken for a misspelt one
_SOURCES: Final = {"ENVIRONMENT": "environment", "DEFAULT_MAP": "file", "COMMANDLINE": "command line"}
_TYPES: Final[Mapping[str, tuple[type, str]]] = {
    "string": (str, "a text"),
    "int": (int, "a whole number"),
    "bool": (bool, "true or false"),
    "flag": (bool, "true or false"),
}


class InForce(NamedTuple):
    """One option: its name, its value, and its source, ``command line``, a variable, a file or ``default``."""

    option: str
    value: Any
    source: str

    @property
    def shown(self) -> Any:
        """The value, without what is secret in it."""
        if isinstance(self.value, Path):  # a secret's file is none
            return _HIDDEN if is_macaroon(str(self.value)) else str(self.value)
        if self.value is not None and _SECRET.search(self.option):
            return _HIDDEN
        if isinstance(self.value, list | tuple):
            return [_without_login(each) for each in self.value]
        return _without_login(self.value)


def _without_login(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float) else _LOGIN.sub(_HIDDEN, str(value))


def is_given(context: typer.Context, parameter: str) -> bool:
    """Return whether a parameter's value is anybody's choice, and not its default."""
    return getattr(context.get_parameter_source(parameter), "name", "DEFAULT") in _SOURCES


class Settings:
    """The options of a command and of its extensions. ``environment`` has the variables."""

    def __init__(self, context: typer.Context, environment: Mapping[str, str]) -> None:
        self._config = config_of(context)
        self._environment = environment
        self._own = [*self._read_own(context)]
        self._extensions: list[InForce] = []
        names = (name for each in context.command.params for name in each.opts if name.startswith("--"))
        self._known = {variable(name.removeprefix("--")) for name in names} | {variable(EXTENSIONS)}

    @property
    def config(self) -> ConfigFile | None:
        """The file, if there is one."""
        return self._config

    @property
    def rows(self) -> list[InForce]:
        """All that is in force, those of extensions once they are loaded (`fill`)."""
        return [*self._own, *self._extensions]

    def fill(self, given: dict[str, Any], plugins: PluginManager) -> dict[str, Any]:
        """Return the values of the extensions' options: those given on the command line, and what is said elsewhere.

        Raises `CommandFailure` for what the file says of extensions that are not loaded, or of options they lack.
        """
        settings = {
            option.name: option.setting(owner.name) for owner in plugins.contributions for option in owner.options
        }
        loaded = {owner.name for owner in plugins.contributions}
        in_file = self._of_file(settings, loaded)
        found = {}
        for name, setting in settings.items():
            from_environment = self._environment.get(variable(name), "")
            if name in given:
                found[name], source = given[name], "command line"
            elif from_environment:
                found[name], source = _from_text(setting, from_environment), variable(name)
            elif name in in_file:
                found[name], source = in_file[name]
            else:
                source = "default"
            self._extensions.append(InForce(name, found.get(name, setting.default), source))
        self._known |= {variable(name) for name in settings}
        return {name: value for name, value in found.items() if settings[name].kind.type != "flag" or value}

    def of_plugins(self, given: list[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
        """Return the options of a node's plugins: those of the command line, and others of the file's tables.

        The option of ``greeting`` in a table ``[chat]`` is ``chat-greeting``: which there are, plugins say later.
        """
        found, named = list(given), {name for name, _ in given}
        self._extensions = [InForce(name, value, "command line") for name, value in given]
        config = self._config
        if config is None:
            return found
        for table, entries in config.tables.items():
            for key, value in entries.items():
                name = f"{table}-{key}"
                if name not in named:
                    found += [(name, text) for text in _plugin_values(config, table, key, value)]
                    self._extensions.append(InForce(name, value, config.source(table)))
        return found

    def unread(self) -> list[str]:
        """Return a warning for each variable that is nearly one of these options'."""
        found = []
        for name in sorted(self._environment):
            close = difflib.get_close_matches(name, self._known, 1, _CLOSE) if name.startswith(PREFIX) else []
            if close and name not in self._known and name != "ODDWIRE_MAX_DOCUMENT":
                found.append(f"{name} in the environment is not read; did you mean {close[0]}?")
        return found

    def explain(self, text: str) -> str:
        """Return an error's text, with the source of each value in it that is not of the command line."""
        notes = []
        for row in self.rows:
            if row.source in ("command line", "default"):
                continue
            values = row.value if isinstance(row.value, list | tuple) else [row.value]
            named = f"option {row.option!r}" in text
            if named or any(isinstance(value, str) and value and value in text for value in values):
                notes.append(f"{row.option} is from {row.source}")
        return f"{text} ({'; '.join(notes)})" if notes else text

    @contextlib.contextmanager
    def explaining(self) -> Iterator[None]:
        """Context manager: explain what a `CommandFailure` says."""
        try:
            yield
        except CommandFailure as failure:
            raise CommandFailure(self.explain(str(failure)), failure.code) from failure

    def _read_own(self, context: typer.Context) -> Iterator[InForce]:
        for parameter in context.command.params:
            name = long_name(parameter) or (EXTENSIONS if parameter.name == EXTENSIONS else "")
            if (
                not name
                or name in ("help", "show-config", "version", "reload", "reload-dir")
                or parameter.name not in context.params
            ):
                continue
            source = getattr(context.get_parameter_source(parameter.name), "name", "DEFAULT")
            where = _SOURCES.get(source, "default")
            if where == "environment":
                where = next((each for each in map(variable, _names(parameter)) if self._environment.get(each)), where)
            elif where == "file" and self._config is not None:
                where = self._config.source()
            value = context.params[parameter.name]
            value = value.value if isinstance(value, Enum) else value
            yield InForce(name, [*value] if isinstance(value, tuple) else value, where)

    def _of_file(self, settings: Mapping[str, Setting], loaded: Collection[str]) -> dict[str, tuple[Any, str]]:
        found: dict[str, tuple[Any, str]] = {}
        if self._config is None:
            return found
        for table, entries in self._config.tables.items():
            source = self._config.source(table)
            if table not in loaded:
                close = difflib.get_close_matches(table, loaded, 1)
                hint = f"did you mean [{close[0]}]?" if close else "it should be one that runs"
                raise CommandFailure(
                    f"{self._config.path}: there is no extension {table!r} for [{table}]; {hint}", USAGE
                )
            theirs = {name: setting for name, setting in settings.items() if setting.owner == table}
            for key, value in entries.items():
                name = next((each for each in (f"{table}-{key}", key) if each in theirs), "")
                if not name:
                    there = [each.removeprefix(f"{table}-") for each in theirs]
                    close = difflib.get_close_matches(key.replace("_", "-"), there, 1)
                    hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(there) or 'none'}"
                    raise CommandFailure(f"{source}: {key}: {table!r} has no such option; {hint}", USAGE)
                found[name] = (_from_toml(self._config, f"{source}: {key}", theirs[name], value), source)
        return found


def _plugin_values(config: ConfigFile, table: str, key: str, value: Any) -> list[str | None]:
    """Return the values of a plugin's option, whose type is not known yet: each is a text, None is a flag's."""
    found: list[str | None] = []
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, str | int | float):
            text = f"{config.source(table)}: {key}: should be a text, a number, true, false or a list of such"
            raise CommandFailure(f"{text}, not {each!r:.100}", USAGE)
        spelled = str(each).lower() if isinstance(each, bool) else str(each)
        found.append(config.text(spelled))
    return found


def _names(parameter: Any) -> list[str]:
    return [name.removeprefix("--") for name in parameter.opts if name.startswith("--")] or [parameter.name]


def _from_text(setting: Setting, text: str) -> Any:
    """Return a variable's value as the command line would give it."""
    if setting.kind.multi:
        return text.split()
    if setting.kind.type == "flag":
        if text.lower() not in ("1", "true", "yes", "on", "0", "false", "no", "off"):
            raise CommandFailure(f"{variable(setting.name)}={text!r} should be true or false", USAGE)
        return text.lower() in ("1", "true", "yes", "on")
    return text


def _from_toml(config: ConfigFile, where: str, setting: Setting, value: Any) -> Any:
    kind, should = _TYPES[setting.kind.type]
    many = value if setting.kind.multi and isinstance(value, list) else [value]
    for each in many:
        if not isinstance(each, kind) or (kind is int and isinstance(each, bool)):
            should = f"{should}, or a list of such" if setting.kind.multi else should
            raise CommandFailure(f"{where}: should be {should}, not {each!r:.100}", USAGE)
    read = [config.text(each) if isinstance(each, str) else each for each in many]
    return read if setting.kind.multi else read[0]


def show_settings(settings: Settings, printer: Printer) -> None:
    """Print what is in force, a line each: option, value, source. Secrets are hidden."""
    rows = [InForce(row.option, row.shown, row.source) for row in settings.rows]
    if printer.as_json:
        printer.event(Event(event="result", method="show-config", value=[row._asdict() for row in rows]))
        return
    texts = [("-" if row.value in (None, [], "") else _spelled(row.value)) for row in rows]
    names = max((len(row.option) for row in rows), default=0)
    width = min(max(map(len, texts), default=0), _WIDEST)
    for row, text in zip(rows, texts, strict=True):
        printer.line(printable(f"{row.option:{names}}  {text:{width}}  {row.source}"))


def _spelled(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
