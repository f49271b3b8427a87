"""`read_contract`: a contract's file, checked, so that what compares contracts can rely on their form."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from oddwire.contracts.contract import FORMAT
from oddwire.contracts.domains import INTEGER
from oddwire.errors import ContractError
from oddwire.printable import represented

__all__ = ["read_contract"]

_MOST_DEEP: Final = 64


def read_contract(text: str, *, extension: str | None = None) -> dict[str, Any]:
    """Return the contract in a file's text.

    With ``extension`` it should be that one's. Raises `ContractError` for what is no contract, saying where and what
    would be right, for one of a later format, and for one of another extension.
    """
    try:
        made = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ContractError(f"is not JSON: {error}") from None
    if not isinstance(made, dict) or "contract" not in made:
        raise ContractError("is no contract: it should be an object with a key 'contract', as 'oddwire lock' writes")
    number = made["contract"]
    if type(number) is not int or number < 1:
        raise ContractError(f"its format should be a number from 1, not {represented(number)}")
    if number > FORMAT:
        writer = represented(made.get("oddwire"))
        raise ContractError(
            f"is of format {number}, written by oddwire {writer}; this oddwire reads {FORMAT}: update it"
        )
    _Check(made).whole()
    if extension is not None and made["extension"] != extension:
        raise ContractError(f"is the contract of {represented(made['extension'])}, not of {extension!r}")
    return made


_ANY: Final = object()
_FIELD: Final = {"name": str, "key": str, "tlv": int, "default": _ANY}
_TYPES: Final[Mapping[str, Mapping[str, Any]]] = {
    "any": {},
    "array": {"of": "type", "count": "count", "max_length": int},
    "bool": {},
    "bool8": {},
    "bytes": {"class": str, "count": "count", "max_length": int},
    "either": {"options": "types"},
    "enum": {"class": str, "of": "type", "values": "values"},
    "float": {},
    "map": {"of": "type", "max_length": int},
    "null": {},
    "opaque": {"class": str, "size": int},
    "optional": {"of": "type", "flag": str},
    "scalar": {"class": str, "of": "type", "text": bool},
    "sized": {"size": "integer", "of": "type"},
    "str": {"count": "count", "max_length": int},
    "subtype": {"class": "subtype"},
    "union": {"tag_key": str, "tag": "integer", "length": "integer", "open": bool, "members": "members"},
}
_INTEGER: Final[Mapping[str, Any]] = {"class": str, "quoted": bool}
_LEFT_OUT: Final = {"count", "flag", "length", "max_length", "open", "quoted", "tag", "text"}
_LIMITS: Final = {"ge", "gt", "le", "lt", "length", "pattern"}
_MESSAGE: Final[Mapping[str, Any]] = {
    "type": int,
    "name": str,
    "codec": str,
    "max_size": int,
    "fields": "fields",
    "codec_settings?": dict,
    "even?": str,
    "reliable?": bool,
    "stream?": bool,
    "match?": str,
    "replies?": "numbers",
    "validators?": "names",
}
_METHOD: Final[Mapping[str, Any]] = {
    "name": str,
    "type": int,
    "params": "fields",
    "notification?": bool,
    "by_position?": bool,
    "lenient?": bool,
    "validators?": "names",
    "result?": "type",
}
_WHOLE: Final[Mapping[str, Any]] = {
    "contract": int,
    "oddwire": str,
    "extension": str,
    "version": str,
    "versions": "names",
    "feature?": int,
    "peer_feature?": int,
    "messages": list,
    "methods": list,
    "subtypes": dict,
}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose keys are there once each: of two lines for one key a merge has kept both."""
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ContractError(f"an object has the key {represented(twice)} twice")
    return made


class _Check:
    def __init__(self, contract: dict[str, Any]) -> None:
        self._contract = contract
        self._depth = 0
        self._forms: Mapping[str, Callable[[Any, str], None]] = {
            "count": self._count,
            "fields": self._fields,
            "integer": self._integer,
            "members": self._members,
            "names": lambda value, path: self._each(value, path, str),
            "numbers": lambda value, path: self._each(value, path, int),
            "subtype": self._subtype,
            "type": self._type,
            "types": self._types,
            "values": self._values,
        }

    def whole(self) -> None:
        self._object(self._contract, "$", _WHOLE)
        for key, form in (("messages", _MESSAGE), ("methods", _METHOD)):
            for number, one in enumerate(self._contract[key]):
                self._object(one, f"$.{key}[{number}]", form)
            self._different(self._contract[key], f"$.{key}", ("type",) if key == "messages" else ("type", "name"))
        for number, one in enumerate(self._contract["messages"]):
            if one["codec"] == "raw" and [field["type"] for field in one["fields"]] != ["bytes"]:
                _fail(f"$.messages[{number}].fields", "one field of bytes, as the codec is raw", one["fields"])
        for name, one in self._contract["subtypes"].items():
            self._object(one, f"$.subtypes[{represented(name)}]", {"fields": "fields", "validators?": "names"})

    def _object(self, value: Any, path: str, form: Mapping[str, Any]) -> None:
        if type(value) is not dict:
            _fail(path, "an object", value)
        known = {key.removesuffix("?"): wanted for key, wanted in form.items()}
        for key in form:
            if not key.endswith("?") and key not in value:
                raise ContractError(f"{path}: {key!r} is missing")
        for key, inner in value.items():
            if key not in known:
                _unknown(path, key, known)
            self._value(inner, f"{path}.{key}", known[key])

    def _value(self, value: Any, path: str, wanted: Any) -> None:
        if isinstance(wanted, str):
            self._forms[wanted](value, path)
        elif wanted is not _ANY and (type(value) is not wanted):
            words = {str: "a text", int: "a number", bool: "true or false", dict: "an object", list: "a list"}
            _fail(path, words[wanted], value)

    def _each(self, value: Any, path: str, wanted: type) -> None:
        if type(value) is not list:
            _fail(path, "a list", value)
        for number, one in enumerate(value):
            self._value(one, f"{path}[{number}]", wanted)

    def _fields(self, value: Any, path: str) -> None:
        if type(value) is not list:
            _fail(path, "a list of fields", value)
        for number, one in enumerate(value):
            where = f"{path}[{number}]"
            if type(one) is not dict or type(one.get("name")) is not str:
                _fail(where, "a field with a 'name'", one)
            self._type(one, where, _FIELD)
        for key in ("name", "key", "tlv"):
            self._different([one for one in value if key in one], path, (key,))
        names = {one["name"] for one in value}
        for number, one in enumerate(value):
            count = one.get("count")
            if type(count) is dict and "field" in count and count["field"] not in names:
                _fail(f"{path}[{number}].count.field", "the name of a field beside it", count["field"])

    def _different(self, value: list[Any], path: str, keys: tuple[str, ...]) -> None:
        seen: list[list[Any]] = []
        for number, one in enumerate(value):
            found = [one[key] for key in keys]
            if found in seen:
                _fail(f"{path}[{number}]", f"another {' and '.join(keys)} than the one before", found)
            seen.append(found)

    def _types(self, value: Any, path: str) -> None:
        if type(value) is not list or not value:
            _fail(path, "a list of types", value)
        for number, one in enumerate(value):
            self._type(one, f"{path}[{number}]")

    def _type(self, value: Any, path: str, more: Mapping[str, Any] | None = None) -> None:
        if type(value) is not dict or type(value.get("type")) is not str:
            _fail(path, "an object with a 'type'", value)
        name = value["type"]
        form = _INTEGER if INTEGER.fullmatch(name) else _TYPES.get(name)
        if form is None:
            _unknown(f"{path}.type", name, [*_TYPES, "u8", "u16", "u32", "u64", "bigsize", "int"])
        self._depth += 1
        if self._depth > _MOST_DEEP:
            raise ContractError(f"{path}: types nest more than {_MOST_DEEP} deep")
        for key, wanted in form.items():
            is_optional = key in _LEFT_OUT or (key == "class" and form in (_INTEGER, _TYPES["bytes"]))
            if key not in value and not is_optional:
                raise ContractError(f"{path}: {key!r} is missing")
            if key in value:
                self._value(value[key], f"{path}.{key}", wanted)
        for key in value.keys() - form.keys() - {"type", "limits"}:
            if more is None or key not in more:
                _unknown(path, key, [*form, *(more or ()), "limits"])
            self._value(value[key], f"{path}.{key}", more[key])
        self._limits(value.get("limits", []), f"{path}.limits", is_integer=_is_integer(value))
        self._depth -= 1

    def _limits(self, value: Any, path: str, *, is_integer: bool) -> None:
        self._each(value, path, dict)
        for one in value:
            for key in one:
                if key not in _LIMITS:
                    _unknown(path, key, sorted(_LIMITS))
            length = one.get("length", [0, 0])
            if type(length) is not list or [type(size) for size in length] != [int, int]:
                _fail(f"{path}.length", "two numbers", length)
            self._pattern(one.get("pattern", ""), f"{path}.pattern")
            for key in _LIMITS - {"length", "pattern"}:
                if is_integer and type(one.get(key, 0)) is not int:
                    _fail(f"{path}.{key}", "a whole number", one[key])
                if not isinstance(one.get(key, 0), int | float | str):
                    _fail(f"{path}.{key}", "a number or a text", one[key])

    def _pattern(self, value: Any, path: str) -> None:
        self._value(value, path, str)
        try:
            re.compile(value)
        except (re.error, RecursionError, OverflowError):
            _fail(path, "a regular expression", value)

    def _integer(self, value: Any, path: str) -> None:
        if type(value) is not str or not INTEGER.fullmatch(value):
            _fail(path, "an integer's type, u16 say", value)

    def _count(self, value: Any, path: str) -> None:
        match value:
            case bool():
                pass
            case int() | "rest" | {"field": str()}:
                return
            case {"first byte": [int(), *_] as sizes} if {type(size) for size in sizes} == {int}:
                return
            case str() if INTEGER.fullmatch(value):
                return
        _fail(path, "a number, an integer's type, 'rest' or a field", value)

    def _subtype(self, value: Any, path: str) -> None:
        if type(value) is not str or value not in self._contract["subtypes"]:
            _fail(path, "the name of one of the contract's subtypes", value)

    def _members(self, value: Any, path: str) -> None:
        if type(value) is not list:
            _fail(path, "a list of members", value)
        for number, one in enumerate(value):
            if type(one) is not dict or type(one.get("tag")) not in (int, str):
                _fail(f"{path}[{number}]", "an object with a 'tag'", one)
            self._subtype(one.get("subtype"), f"{path}[{number}].subtype")

    def _values(self, value: Any, path: str) -> None:
        if type(value) is not list:
            _fail(path, "a list of values", value)
        for number, one in enumerate(value):
            if type(one) is not dict or type(one.get("value")) not in (int, str) or type(one.get("name")) is not str:
                _fail(f"{path}[{number}]", "an object with a 'value' and a 'name'", one)


def _is_integer(type_: Any) -> bool:
    while type(type_) is dict and type_.get("type") in ("optional", "sized"):
        type_ = type_.get("of")
    return type(type_) is dict and INTEGER.fullmatch(str(type_.get("type"))) is not None


def _fail(path: str, should: str, value: Any) -> NoReturn:
    raise ContractError(f"{path}: should be {should}, not {represented(value)}")


def _unknown(path: str, key: str, known: Any) -> NoReturn:
    close = difflib.get_close_matches(key, [*known], 1)
    hint = f"did you mean {close[0]!r}?" if close else f"it may have {', '.join(sorted(known))}"
    raise ContractError(f"{path}: {represented(key)} is not known; {hint}")
