"""Plugins' options: their declarations in manifests, and their values by source. No I/O."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast, get_args

from oddwire.errors import ExtensionError, NodeRefused
from oddwire.jsonrpc.parameters import INVALID_PARAMS
from oddwire.node.plugins.log_text import brief, plain

__all__ = ["OptionSpec", "OptionTable", "OptionType", "OptionValue", "is_deprecated", "parse_option"]

OptionType = Literal["string", "string-conceal", "int", "bool", "flag"]
OptionValue = str | int | bool

_NAME: Final = re.compile(r"[0-9a-z_-]+")
_TYPES: Final = get_args(OptionType)
_TRUE: Final = {"yes": True, "true": True, "no": False, "false": False}
_FIELD: Final = {"int": "int", "bool": "bool"}
_MISSING: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionSpec:
    """One option of a manifest. ``default`` is a value of the option's type; None if there is none."""

    name: str
    type: OptionType
    description: str = ""
    default: OptionValue | None = None
    multi: bool = False
    dynamic: bool = False
    deprecated: bool = False

    def parse(self, text: str) -> OptionValue:
        """Parse a value of the command line. Raises `ExtensionError` saying what it should be."""
        if self.type == "int":
            return _parse_int(text)
        if self.type in ("bool", "flag"):
            if (value := _TRUE.get(text.lower())) is None:
                raise ExtensionError(f"{brief(text)} should be true or false (or yes or no)")
            return value
        return text


def _parse_int(text: str) -> int:
    match = re.fullmatch(r"\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", text)
    if match is None:
        raise ExtensionError(f"{brief(text)} should be an integer")
    sign, digits = match.groups()
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" else 10
    value = int(sign + digits, base)
    if not -(1 << 63) <= value < 1 << 63:
        raise ExtensionError(f"{brief(text)} should fit into 64 bits")
    return value


def is_deprecated(where: str, value: Any) -> bool:
    """Parse a ``deprecated`` field: a bool, or the version that it starts in and optionally the one that it ends in.

    Raises `ExtensionError`; ``where`` names the field's object.
    """
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, list) and 1 <= len(value) <= 2 and all(isinstance(version, str) for version in value):
        return True
    raise ExtensionError(
        f"{where}.deprecated should be true, false, or one or two versions as strings, not {brief(value)}"
    )


def parse_option(where: str, item: Any) -> OptionSpec:
    """Parse one entry of a manifest's ``options``; ``where`` names it in errors. Raises `ExtensionError`."""
    if not isinstance(item, dict):
        raise ExtensionError(f"{where} should be an object, not {brief(item)}")
    for field in ("name", "type", "description"):
        if field not in item:
            raise ExtensionError(f'{where} has no "{field}"; an option needs name, type and description')
    name, kind = item["name"], item["type"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ExtensionError(f"{where}.name should be of lower-case letters, digits, _ and -, not {brief(name)}")
    where = f"option {name}"
    if kind not in _TYPES:
        raise ExtensionError(f"{where}: type should be one of {', '.join(_TYPES)}, not {brief(kind)}")
    flags = {}
    for field in ("multi", "dynamic"):
        flags[field] = value = item.get(field, False)
        if not isinstance(value, bool):
            raise ExtensionError(f"{where}: {field} should be true or false, not {brief(value)}")
    if flags["multi"] and kind in ("flag", "bool"):
        raise ExtensionError(f"{where}: an option of type {kind} cannot be multi")
    spec = OptionSpec(
        name=name,
        type=cast("OptionType", kind),
        description="" if item["description"] is None else plain(item["description"]),
        deprecated=is_deprecated(where, item.get("deprecated")),
        **flags,
    )
    default = item.get("default", _MISSING)
    if default is _MISSING or (default is None and kind != "flag"):
        return spec
    if kind == "flag":
        if default not in (False, "false"):
            raise ExtensionError(f"{where}: a flag's default can only be false, not {brief(default)}")
        return spec
    try:
        value = spec.parse(plain(default))
    except ExtensionError as error:
        raise ExtensionError(f"{where}: default {error}") from None
    return OptionSpec(**{**{f: getattr(spec, f) for f in spec.__slots__}, "default": value})


_COMMAND_LINE: Final = "cmdline"
_START: Final = "pluginstart"
_TRANSIENT: Final = "setconfig transient"

_Given = list[tuple[str | None, str]]  # text, None for a name alone, and source of each value, in order


@dataclass(slots=True)
class _RegisteredOption:
    spec: OptionSpec
    owner: str
    values: list[tuple[OptionValue, str]]  # value and source


class OptionTable:
    """The options of all running plugins, and their values; owners are plugins' paths.

    Values of the command line and ``setconfig`` are kept when the plugin ends, as with lightningd: any plugin started
    later with an option of that name gets them. Values of ``plugin start`` are removed with the plugin. ``reserved``
    are the names of the node's own options, which no plugin may have.
    """

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        self._reserved = frozenset(reserved)
        self._options: dict[str, _RegisteredOption] = {}
        self._given: dict[str, _Given] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._options

    @property
    def specs(self) -> Sequence[tuple[str, OptionSpec]]:
        """All options, each with its plugin's path, in the order of `add`, for ``--help``."""
        return [(option.owner, option.spec) for option in self._options.values()]

    def add(self, owner: str, specs: Iterable[OptionSpec]) -> None:
        """Add a plugin's options, with the values that were set for their names before.

        Raises `ExtensionError`, and adds none, if a name is taken or such a value does not fit.
        """
        added: dict[str, _RegisteredOption] = {}
        for spec in specs:
            if spec.name in self._reserved:
                raise ExtensionError(f"option {spec.name}: the node itself has an option of this name")
            if spec.name in added:
                raise ExtensionError(f"option {spec.name} is declared twice")
            if (other := self._options.get(spec.name)) is not None:
                raise ExtensionError(f"option {spec.name} is already registered by plugin {other.owner}")
            added[spec.name] = option = _RegisteredOption(spec, owner, [])
            try:
                self._set(option, self._given.get(spec.name, []))
            except ExtensionError as error:
                raise ExtensionError(f"option {spec.name}, as it was given: {error}") from None
        self._options.update(added)

    def remove(self, owner: str) -> None:
        """Remove a plugin's options, and their values from ``plugin start``."""
        for name in [name for name, option in self._options.items() if option.owner == owner]:
            del self._options[name]
            if name in self._given:
                self._given[name] = [(text, source) for text, source in self._given[name] if source != _START]

    def set_from_command_line(self, given: Sequence[tuple[str, str | None]]) -> None:
        """Set values of the command line; a later value replaces an earlier one unless the option is multi.

        Raises `ExtensionError` for an option that no plugin has, or a value that does not fit.
        """
        for name, text in given:
            if (option := self._options.get(name)) is None:
                close = difflib.get_close_matches(name, [*self._options, *self._reserved], 1)
                hint = f"; did you mean --{close[0]}?" if close else ""
                raise ExtensionError(f"unrecognized option --{name}: no plugin that runs has it{hint}")
            if option.spec.type == "flag" and text is not None:
                raise ExtensionError(f"--{name}={text}: doesn't allow an argument")
            try:
                self._give(option, text, _COMMAND_LINE)
            except ExtensionError as error:
                raise ExtensionError(f"--{name}: {error}") from None

    def set_from_start(self, owner: str, given: Mapping[str, Any]) -> None:
        """Set values from ``plugin start``, which may be only for this plugin's options. Raises `ExtensionError`."""
        for name, value in given.items():
            option = self._options.get(name)
            if option is None or option.owner != owner:
                raise ExtensionError(f"unknown parameter {name}: {self._no_option(owner, name)}")
            values = value if option.spec.multi and isinstance(value, list) else [value]
            for one in values:
                try:
                    self._give(option, None if one is None else plain(one), _START)
                except ExtensionError as error:
                    raise ExtensionError(f"parameter {name}: {error}") from None

    def _no_option(self, owner: str, name: str) -> str:
        bare = name.lstrip("-")
        option = self._options.get(bare)
        if option is None or option.owner != owner:
            return "it is no option of this plugin"
        return f"with 'plugin start', options have no dashes: write {bare}=value"

    def set_transient(self, name: str, text: str | None) -> None:
        """Set a value of ``setconfig`` that the plugin has accepted."""
        self._given[name] = [given for given in self._given.get(name, []) if given[1] != _TRANSIENT]
        self._give(self._options[name], text, _TRANSIENT)

    def _give(self, option: _RegisteredOption, text: str | None, source: str) -> None:
        given = [*self._given.get(option.spec.name, []), (text, source)]
        self._set(option, given)
        self._given[option.spec.name] = given

    @staticmethod
    def _set(option: _RegisteredOption, given: _Given) -> None:
        """Set the effective values of an option: of a multi option all, or those of setconfig; else the last one."""
        spec = option.spec
        if not spec.multi:
            given = given[-1:]
        elif any(source == _TRANSIENT for _, source in given):
            given = [(text, source) for text, source in given if source == _TRANSIENT]
        values: list[tuple[OptionValue, str]] = []
        for text, source in given:
            if spec.type == "flag":
                value: OptionValue = spec.parse(text) if text else True
            elif text is None:
                raise ExtensionError(f"requires an argument of type {spec.type}")
            else:
                value = spec.parse(text)
            if not (spec.type == "flag" and value is False):
                values.append((value, source))
        option.values = values

    def values_for(self, owner: str) -> dict[str, Any]:
        """Return a plugin's options for ``init``, by name: no entry for an option without value and default."""
        given: dict[str, Any] = {}
        for name, option in self._options.items():
            if option.owner != owner:
                continue
            values = [value for value, _ in option.values]
            if not values and option.spec.default is not None:
                values = [option.spec.default]
            if values:
                given[name] = values if option.spec.multi else values[-1]
        return given

    def is_dynamic(self, name: str) -> bool | None:
        """Return whether an option may change while its plugin runs; None if no plugin has it."""
        option = self._options.get(name)
        return None if option is None else option.spec.dynamic

    def dynamic(self, name: str, text: str | None) -> str:
        """Check a ``setconfig`` before its plugin is called, and return the plugin's path. Raises `NodeRefused`."""
        option = self._options.get(name)
        if option is None:
            raise NodeRefused(f"config: Unknown config option: {name}", code=INVALID_PARAMS)
        if not option.spec.dynamic:
            raise NodeRefused(f"config: Not a dynamic config option: {name}", code=INVALID_PARAMS)
        try:
            if text is not None:
                option.spec.parse(text)
            elif option.spec.type != "flag":
                raise ExtensionError(f"requires a value of type {option.spec.type}")
        except ExtensionError as error:
            raise NodeRefused(f"val: {error}", code=INVALID_PARAMS) from None
        return option.owner

    def listconfigs(self, name: str | None = None) -> dict[str, dict[str, Any]]:
        """Return entries for ``listconfigs`` by name; with ``name``, only that one, or none."""
        shown: dict[str, dict[str, Any]] = {}
        for key, option in self._options.items():
            if name is not None and key != name:
                continue
            if name is None and option.spec.deprecated and not option.values:
                continue
            if (entry := _entry(option)) is not None:
                shown[key] = entry
        return shown


def _entry(option: _RegisteredOption) -> dict[str, Any] | None:
    spec = option.spec
    sources = [source for _, source in option.values]
    entry: dict[str, Any]
    if spec.type == "flag":
        entry = {"set": bool(option.values), "source": sources[-1] if sources else "default"}
    else:
        kind = _FIELD.get(spec.type, "str")
        values = ["..." if spec.type == "string-conceal" else value for value, _ in option.values]
        if spec.multi:
            entry = {f"values_{kind}": values, "sources": sources}
        elif values:
            entry = {f"value_{kind}": values[-1], "source": sources[-1]}
        elif spec.default is not None:
            default = "..." if spec.type == "string-conceal" else spec.default
            entry = {f"value_{kind}": default, "source": "default"}
        else:
            return None
    entry["plugin"] = option.owner
    if spec.dynamic:
        entry["dynamic"] = True
    return entry
