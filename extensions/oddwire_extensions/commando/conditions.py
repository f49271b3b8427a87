"""What the conditions of a rune are about: the command, its parameters, the time, and how often the rune is used."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from oddwire import NodeId

__all__ = ["Values", "interval"]

_SECONDS: Final = {"": 1, "sec": 1, "nsec": 1e-9, "usec": 1e-6, "msec": 1e-3, "min": 60, "hour": 3600, "day": 86400}
_PER: Final = re.compile(r"([0-9]{1,10})([a-z]*)")
_UNPUNCTUATED: Final = str.maketrans("", "", string.punctuation)


def interval(field: str, value: str) -> float:
    """Return the seconds that ``rate`` and ``per`` want between two uses. Raises `ValueError`."""
    found = _PER.fullmatch(value)
    if found is None or not int(found[1]) or found[2] not in _SECONDS or (field == "rate" and found[2]):
        raise ValueError(f"malformed {field}")
    return 60 / int(found[1]) if field == "rate" else int(found[1]) * _SECONDS[found[2]]


class Values(dict[str, Any]):
    """The values that a rune's conditions are checked against, by field, as the package runes takes them.

    ``idle`` is how many seconds ago the rune was last used. A function as a value is called with the condition, and
    returns None, or why it is not met.
    """

    def __init__(self, *, node_id: NodeId | None, method: str | None, params: Any, now: float, idle: float) -> None:
        super().__init__(time=int(now), rate=_since(idle), per=_since(idle))
        if node_id is not None:
            self["id"] = str(node_id)
        if method is not None:
            self["method"] = method
        self["pnum"] = len(params) if isinstance(params, Mapping | Sequence) else 0
        if isinstance(params, Mapping):
            for name, value in params.items():
                text = _text(value)
                self[f"pname{name}"] = text
                self.setdefault(f"pname{name.translate(_UNPUNCTUATED)}", text)
        elif isinstance(params, Sequence):
            self.update((f"parr{index}", _text(value)) for index, value in enumerate(params))

    def __contains__(self, field: object) -> bool:
        return super().__contains__(field) or (isinstance(field, str) and field.startswith("pinv"))

    def __missing__(self, field: str) -> Callable[[Any], str]:
        return lambda condition: f"{field}: invoices are not looked into here"


def _since(idle: float) -> Callable[[Any], str | None]:
    def check(condition: Any) -> str | None:
        field = condition.field
        if condition.cond != "=":
            return f"{field}: operator must be ="
        try:
            wait = interval(field, condition.value)
        except ValueError as error:
            return f"{field}: {error}"
        return f"{field}: too soon" if idle < wait else None

    return check


def _text(value: Any) -> str:
    """Return a parameter as conditions see it: a text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
