"""The parameters of a line typed at the console, by name: words as in a shell, JSON as it is shown, and names."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from oddwire.app import RpcMethod
from oddwire.app.declarations.annotations import alternatives, evaluate
from oddwire.cli.shell_words import BLANKS, next_word, split_words, unquoted
from oddwire.jsonrpc.parameters import Parameter

__all__ = ["read_parameters"]

_CONTAINERS: Final = (dict, list, tuple, Mapping, Sequence)


def read_parameters(method: RpcMethod, rest: str, *, bare: bool = False) -> dict[str, Any]:
    """Read a line after the method's name, or without one if ``bare``; return what was given, by name.

    Raises `ValueError` for a line that cannot be split, and for a parameter that the method does not have.
    """
    return _Line(method, rest).read(bare)


class _Line:
    """One line, read from the left. ``given`` are the parameters before ``at``."""

    def __init__(self, method: RpcMethod, rest: str) -> None:
        self.rest = rest
        self.at = 0
        self.given: dict[str, Any] = {}
        self.parameters = {parameter.name: parameter for parameter in method.parameters()}
        self.kinds = {name: _kinds(method, name) for name in self.parameters}

    def read(self, bare: bool) -> dict[str, Any]:
        names = [*self.parameters]
        if bare and len(names) == 1 and self._is_text(names[0]):
            return {names[0]: self.rest}
        for name in names:
            if not self._skip_blanks():
                return self.given
            if self._starts_names(name):
                return self._read_names()
            if name == names[-1] and self._is_text(name):
                self._give(name, self.rest[self.at :])
                return self.given
            self._read_value(name)
        if more := split_words(self.rest[self.at :]):
            if not names:
                raise ValueError(f"too many parameters: got {len(more)}, expected 0")
            raise ValueError(f"{more[0].text!r} is one parameter too many; one with a space should be in quotes")
        return self.given

    def _starts_names(self, current: str) -> bool:
        """Return whether ``NAME=VALUE`` begins here; in a text that is required it does not."""
        name = self._name_here()
        return name in self.parameters and not (self.parameters[current].required and self._is_text(current))

    def _name_here(self) -> str:
        """Return the name of the ``NAME=VALUE`` that begins here, without one that is given; empty if there is none."""
        end = self.rest.find("=", self.at)
        name = self.rest[self.at : max(end, self.at)]
        return name if name.isidentifier() and name not in self.given else ""

    def _read_names(self) -> dict[str, Any]:
        while self._skip_blanks():
            name = self._name_here()
            if name not in self.parameters:
                word = next_word(self.rest, self.at)
                found = "" if word is None else word.text
                twice = found.partition("=")[0] in self.given
                left = ", ".join(other for other in self.parameters if other not in self.given) or "none"
                wrong = "is given already" if twice else "should be NAME=VALUE, as the one before it is"
                raise ValueError(f"{found!r} {wrong}; what may be named is: {left}")
            self.at += len(name) + 1
            if self.at == len(self.rest) or self.rest[self.at] in BLANKS:
                self.given[name] = ""
            else:
                self._read_value(name)
        return self.given

    def _read_value(self, name: str) -> None:
        """Read one value, which begins here."""
        if self.rest[self.at] in "{[" and self._is_container(name) and self._read_json(name):
            return
        word = next_word(self.rest, self.at)
        assert word is not None  # noqa: S101 - there is something that is not blank
        self.at = word.end
        self._give(name, self.rest[word.start : word.end], word.text)

    def _read_json(self, name: str) -> bool:
        """Read an object or a list as JSON shows it. It may also be one word, in quotes or with backslashes."""
        try:
            value, end = _DECODER.raw_decode(self.rest, self.at)
            if end < len(self.rest) and self.rest[end] not in BLANKS:
                raise ValueError(f"there is {self.rest[end : end + 20]!r} behind it")
        except (ValueError, RecursionError) as error:
            word = next_word(self.rest, self.at)
            try:
                json.loads("" if word is None else word.text)
            except (ValueError, RecursionError):
                raise ValueError(f"{name} should be JSON: {error}") from None
            return False
        self.given[name], self.at = value, end
        return True

    def _give(self, name: str, typed: str, text: str | None = None) -> None:
        """Take what was typed for a parameter, and means ``text``; without that it is the rest of the line."""
        if typed.rstrip(BLANKS) == "null" and self._may_be_null(name):
            if self.parameters[name].required:
                self.given[name] = None
            return
        self.given[name] = unquoted(typed) if text is None else text

    def _may_be_null(self, name: str) -> bool:
        """Return whether ``null`` is None, or leaves a parameter out, and is not a text."""
        if type(None) in self.kinds[name] or None in self.kinds[name]:
            return True
        return not self.parameters[name].required and not _takes(self.parameters[name], "null")

    def _is_text(self, name: str) -> bool:
        """Return whether a parameter accepts any text, as one without annotation does."""
        kinds = {getattr(kind, "__supertype__", kind) for kind in self.kinds[name]} - {type(None), None}
        return bool(kinds) and kinds <= {str, Any, object}

    def _is_container(self, name: str) -> bool:
        kinds = (getattr(kind, "__supertype__", getattr(kind, "__value__", kind)) for kind in self.kinds[name])
        return any((typing.get_origin(kind) or kind) in _CONTAINERS for kind in kinds)

    def _skip_blanks(self) -> bool:
        """Move to the next character that is not blank. Return whether there is one."""
        while self.at < len(self.rest) and self.rest[self.at] in BLANKS:
            self.at += 1
        return self.at < len(self.rest)


def _kinds(method: RpcMethod, name: str) -> tuple[Any, ...]:
    """Return the types that a parameter may have."""
    return alternatives(evaluate(method.function, (name,), method.scope).get(name, Any))


def _takes(parameter: Parameter, text: str) -> bool:
    try:
        parameter.parse(text)
    except ValueError:
        return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a value of JSON")


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)
