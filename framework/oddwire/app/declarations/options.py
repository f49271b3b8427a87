"""Options of extensions: declared by a function that converts the value, set by a host node or a command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin

from oddwire.app.declarations.annotations import Reader, alternatives, evaluate, reader_of
from oddwire.app.declarations.handlers import is_async, kind_of, parameters_of, place
from oddwire.app.declarations.jsonable import to_plain
from oddwire.app.declarations.rpc import WORDS
from oddwire.errors import ExtensionError, LocalProtocolError, OddwireError
from oddwire.log_limits import get_logger
from oddwire.records import FrozenRecord
from oddwire.transports.base import HostOption

__all__ = ["Option", "Options", "Setting"]

logger = get_logger("oddwire.app")

_EMPTY: Final = inspect.Parameter.empty
_TYPES: Final[dict[Any, Literal["int", "bool"]]] = {int: "int", bool: "bool"}


class Option(FrozenRecord, kw_only=True):
    """One option: ``--name value`` of the host node or of ``oddwire run``.

    ``function`` is called with the given value, converted to its one parameter's type, and returns the option's value;
    if it raises `ValueError` or `OddwireError`, the value is refused with the error's text. The parameter's annotation
    is the option's type: str, int, bool (one that is False by default is a flag without a value), a list or tuple of
    str or int for an option that may be given several times, else a class whose text form is parsed. The parameter's
    default is the option's. Without one, an option that is not given is None, and the function is not called.

    A ``dynamic`` option can be changed while the node runs; it has a single value. Raises `ExtensionError`.
    """

    name: str
    function: Callable[[Any], Any]
    dynamic: bool = False
    description: str = ""
    of_program: bool = False
    """Whether it is the program's, for who operates it: `Options` reads it, and has it under no name."""
    scope: Mapping[str, Any] = MappingProxyType({})
    """Names that the annotation may use besides the function's globals, for an option defined inside a function."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not WORDS.fullmatch(self.name):
            raise self._wrong("the name should be lower-case words joined by '-', 'quote-asset' say")
        if not callable(self.function) or is_async(self.function):
            raise self._wrong(f"should be a plain 'def', not {kind_of(self.function)}")
        parameters = list(parameters_of(self.function).values())
        shapes = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if len(parameters) != 1 or parameters[0].kind not in shapes:
            found = ", ".join(map(str, parameters))
            raise self._wrong(f"should take one parameter, the value, not ({found})")
        if not self.description:
            text = (inspect.getdoc(self.function) or "").partition("\n\n")[0]
            vars(self)["description"] = " ".join(text.split())

    def setting(self, owner: str) -> Setting:
        """Evaluate the annotation, whose names are all defined now, and return the setting. Raises `ExtensionError`."""
        ((name, parameter),) = parameters_of(self.function).items()
        try:
            annotation = evaluate(self.function, (name,), self.scope).get(name, _EMPTY)
            kind = _kind(annotation, parameter.default)
        except (NameError, TypeError) as error:
            raise self._wrong(str(error)) from None
        if kind.multi and self.dynamic:
            # setconfig of such an option crashes every lightningd before v26.06
            raise self._wrong("an option that may be given several times should not be dynamic")
        if parameter.default in (_EMPTY, None):
            return Setting(self, owner, kind, None)
        try:
            plain = to_plain(parameter.default)
            if kind.read(plain) != parameter.default:
                raise ValueError
        except (TypeError, ValueError):
            shown = annotation.__name__ if isinstance(annotation, type) else str(annotation)
            raise self._wrong(f"the default {parameter.default!r} should be {shown}, as its annotation says") from None
        if kind.multi:
            plain = [_as_host(kind, item) for item in plain] or None
        return Setting(self, owner, kind, plain if kind.multi else _as_host(kind, plain))

    def _wrong(self, text: str) -> ExtensionError:
        return ExtensionError(f"{place(self.function)}, option {self.name!r}: {text}")


class _OptionType(NamedTuple):
    """The type of an option, by its annotation."""

    type: Literal["string", "int", "bool", "flag"]
    multi: bool
    read: Reader


def _kind(annotation: Any, default: object) -> _OptionType:
    reader = reader_of(annotation)
    given = [option for option in alternatives(annotation) if option is not type(None)]
    only = given[0] if len(given) == 1 else str
    container = get_origin(only) or only
    if container in (list, tuple):
        item = (*get_args(only), str)[0]
        if item is bool:
            raise TypeError("an option that may be given several times should be a list of str or int, not of bool")
        return _OptionType(
            _TYPES.get(item, "string"), True, lambda value: reader(value if _is_many(value) else [value])
        )
    if only is bool and default is False:
        return _OptionType("flag", False, reader)
    return _OptionType(_TYPES.get(only, "string"), False, reader)


def _is_many(value: object) -> bool:
    return isinstance(value, (list, tuple))


def _as_host(kind: _OptionType, plain: Any) -> str | int | bool:
    return plain if kind.type != "string" or isinstance(plain, str) else str(plain)


class Setting(NamedTuple):
    """An option of a loaded extension, with its annotation evaluated. ``default`` is in the form for a host node."""

    option: Option
    owner: str
    kind: _OptionType
    default: Any

    @property
    def name(self) -> str:
        """The option's name."""
        return self.option.name

    def read(self, given: Any) -> Any:
        """Return the option's value for a given one. Raises `ValueError`, saying what it should be."""
        return self._convert(self.kind.read(given))

    def initial(self) -> Any:
        """Return the value of an option that is not given. Raises `ValueError`."""
        (parameter,) = parameters_of(self.option.function).values()
        return None if parameter.default is _EMPTY else self._convert(parameter.default)

    def _convert(self, value: Any) -> Any:
        try:
            return self.option.function(value)
        except OddwireError as error:
            raise ValueError(str(error)) from error


class Options(Mapping[str, Any]):
    """The values of an application's options by name, set during its start, before the startup hooks run.

    ``given`` are values set by the program, by name; those from a host node take precedence. Raises `ExtensionError`
    for the name of an option that no extension has.
    """

    def __init__(self, settings: Mapping[str, Setting], given: Mapping[str, Any]) -> None:
        self._settings = settings
        self._given = dict(given)
        self._values: dict[str, Any] | None = None
        self._checks: dict[str, list[Callable[[Any], object]]] = {}
        for name in given:
            if name not in settings:
                raise ExtensionError(f"no loaded extension has an option {name!r}; there are: {self._names()}")

    def read(self, host: Mapping[str, Any]) -> None:
        """Set every option: to the host's value, else the program's, else its default. Raises `ExtensionError`."""
        given = {**self._given, **{name: value for name, value in host.items() if name in self._settings}}
        values = {}
        for name, setting in self._settings.items():
            try:
                values[name] = setting.read(given[name]) if name in given else setting.initial()
            except Exception as error:
                shown = f"cannot be {given[name]!r}" if name in given else "is not given, and its default will not do"
                text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                raise ExtensionError(f"option {name!r} of {setting.owner!r} {shown}: {text}") from error
        self._values = {name: value for name, value in values.items() if not self._settings[name].option.of_program}

    def watch(self, name: str, check: Callable[[Any], object]) -> None:
        """Call ``check`` with each new value of a dynamic option; one for which it raises `ValueError` is refused."""
        self._checks.setdefault(name, []).append(check)

    def for_host(self) -> tuple[HostOption, ...]:
        """Return the options' descriptions for the host node; a value set by the program is shown as the default."""
        return tuple(map(self._for_host, self._settings.values()))

    def _for_host(self, setting: Setting) -> HostOption:
        option, kind, default = setting.option, setting.kind, setting.default
        if option.name in self._given:
            plain = to_plain(self._given[option.name], str)
            many = plain if _is_many(plain) else [plain]
            default = [_as_host(kind, one) for one in many] if kind.multi else _as_host(kind, plain)
        return HostOption(
            name=option.name,
            type="bool" if kind.type == "flag" and default else kind.type,
            description=option.description,
            default=default,
            multi=kind.multi,
            dynamic=option.dynamic,
            set=(lambda value: self._set(setting, value)) if option.dynamic else None,
        )

    def _set(self, setting: Setting, given: Any) -> None:
        try:
            value = setting.read(given)
            for check in self._checks.get(setting.name, ()):
                check(value)
        except ValueError:
            raise
        except Exception as error:
            logger.exception("option %r of %r failed", setting.name, setting.owner)
            raise ValueError("internal error (see logs)") from error
        if self._values is not None and not setting.option.of_program:
            self._values[setting.name] = value

    def _names(self) -> str:
        return ", ".join(sorted(name for name, one in self._settings.items() if not one.option.of_program)) or "none"

    def _read(self) -> dict[str, Any]:
        if self._values is None:
            raise LocalProtocolError("options are read when the application starts")
        return self._values

    def __getitem__(self, name: str) -> Any:
        values = self._read()
        if name not in values:
            raise KeyError(f"no loaded extension has an option {name!r}; there are: {self._names()}")
        return values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return f"<Options {self._names() if self._values is None else self._values}>"
