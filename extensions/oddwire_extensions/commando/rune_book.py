"""The runes of a node: made, checked, shown, and taken back. The package runes knows what a rune is."""

from __future__ import annotations

import base64
import contextlib
import re
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from runes import MasterRune, Rune
from runes.runes import Alternative, Restriction, end_shastream

from oddwire import AppContext, NodeId, RpcError
from oddwire_extensions.commando.conditions import Values, interval

__all__ = ["MAX_RUNE", "RuneBook"]

MAX_RUNE: Final = 4096
"""Characters of a rune."""
MAX_CONDITIONS: Final = 128
"""Conditions in a rune: parsing them is the work that a stranger can have us do."""
MAX_BLACKLIST: Final = 100_000_000
"""Ids of runes that may be taken back are less, as lightningd has it."""
READONLY: Final = (("method^list", "method^get", "method=summary"), ("method/listdatastore",))

_RUNE: Final = re.compile(rb'"rune"\s*:\s*"([\w=-]{44,%d})"' % MAX_RUNE, re.ASCII)

# lightningd's codes
NOT_AUTHORIZED, NOT_PERMITTED, BLACKLISTED, INVALID_PARAMS = 1501, 1502, 1503, -32602
_UNRESTRICTED: Final = (
    "WARNING: This rune has no restrictions! Who has it can run every command of this node. "
    'Restrictions, [["method=getinfo"]] say, allow less.'
)
_ENGLISH: Final = {
    "=": "equal to", "/": "unequal to", "^": "starts with", "$": "ends with", "~": "contains",
    "<": "<", ">": ">", "{": "sorts before", "}": "sorts after",
}  # fmt: skip


class RuneBook:
    """The runes made with a ``secret``, and what is kept of them in the extension's store; `load` reads that."""

    def __init__(self, context: AppContext, secret: bytes) -> None:
        self._store = context.store
        self._master = MasterRune(secret)
        self._taken_back: list[tuple[int, int]] = []  # from and to, ascending, with gaps between
        self._used: dict[int, float] = {}

    async def load(self) -> None:
        """Read what is kept. Raises `StoreError`."""
        kept: list[list[int]] = await self._store.get("blacklist", [])
        self._taken_back = [(start, end) for start, end in kept]
        self._used = {int(key[5:]): used for key, used in await self._store.items("used ")}

    # For operators

    async def create(self, text: str | None, restrictions: Any) -> dict[str, Any]:
        """Make a rune, or add restrictions to one. Raises `RpcError`."""
        added = _restrictions(restrictions)
        if text is None:
            async with self._store.transaction():
                number = await self._store.get("next", 0)
                rune = self._master.copy()
                for restriction in (Restriction.unique_id(number), *added):
                    rune.add_restriction(restriction)
                await self._store.set("next", number + 1)
                await self._store.set(f"rune {number:09}", rune.to_base64())
        else:
            rune = _read(text)
            _count(rune)
            for restriction in added:
                rune.add_restriction(restriction)
        warning = {} if len(rune.restrictions) > 1 else {"warning_unrestricted_rune": _UNRESTRICTED}
        return {"rune": rune.to_base64(), "unique_id": str(_number(rune)), **warning}

    async def show(self, text: str | None) -> dict[str, Any]:
        """Return the runes made here, or one, in words. Raises `RpcError`."""
        made = [each for _, each in await self._store.items("rune ")]
        shown = made if text is None else [text]
        return {"runes": [self._shown(each, _read(each), stored=each in made) for each in shown]}

    async def take_back(self, start: int | None, end: int | None, relist: bool) -> dict[str, Any]:
        """Take back the runes from ``start`` to ``end``, or give them back; return all that are. Raises `RpcError`."""
        if start is None and end is not None:
            raise RpcError(INVALID_PARAMS, "Can not specify end without start")
        if start is not None:
            end = start if end is None else end
            if not 0 <= start <= end < MAX_BLACKLIST:
                text = f"start and end should be 0 to {MAX_BLACKLIST - 1}, and start not the larger one"
                raise RpcError(INVALID_PARAMS, text)
            self._taken_back = _without(self._taken_back, start, end) if relist else _with(self._taken_back, start, end)
            await self._store.set("blacklist", [list(each) for each in self._taken_back])
        return {"blacklist": [{"start": start, "end": end} for start, end in self._taken_back]}

    # For commands

    async def check(self, text: str, node_id: NodeId | None, method: str | None, params: Any) -> str:
        """Return the id of a rune that allows a command, and note that it was used. Raises `RpcError`, as checkrune."""
        rune = _read(text)
        number = _number(rune)
        if any(start <= number <= end for start, end in self._taken_back):
            raise RpcError(BLACKLISTED, "Not authorized: Blacklisted rune")
        if not self._master.is_rune_authorized(rune):
            raise RpcError(NOT_AUTHORIZED, "Not authorized: Not derived from master")
        now = time.time()
        idle = max(0.0, now - self._used.get(number, 0.0))  # a clock that was set back does not make it wait
        values = Values(node_id=node_id, method=method, params=params, now=now, idle=idle)
        met, why = rune.are_restrictions_met(values)
        if not met:
            raise RpcError(NOT_PERMITTED, f"Not permitted: {why}")
        self._used[number] = now  # before anything is awaited: another command may come meanwhile
        if any(one.field in ("rate", "per") for each in rune.restrictions for one in each.alternatives):
            await self._store.set(f"used {number}", now)
        return str(number)

    def is_in(self, raw: bytes) -> bool:
        """Return whether a rune of ours is in the JSON of a command: a quick look, before all of it is parsed."""
        for found in islice(_RUNE.finditer(raw), 4):
            with contextlib.suppress(RpcError):
                if self._master.is_rune_authorized(_read(found[1].decode())):
                    return True
        return False

    def _shown(self, text: str, rune: Rune, *, stored: bool) -> dict[str, Any]:
        number = _number(rune)
        restrictions = [_in_words(each) for each in rune.restrictions if not each.alternatives[0].is_unique_id()]
        facts = {
            "stored": None if stored else False,
            "blacklisted": any(start <= number <= end for start, end in self._taken_back) or None,
            "our_rune": None if self._master.is_rune_authorized(rune) else False,
            "last_used": self._used.get(number),
        }
        return {
            "rune": text,
            **{name: fact for name, fact in facts.items() if fact is not None},
            "unique_id": str(number),
            "restrictions": restrictions,
            "restrictions_as_english": " AND ".join(each["english"] for each in restrictions),
        }


def _read(text: str) -> Rune:
    """Parse a rune that has an id of its own. Raises `RpcError`."""
    if len(text) > MAX_RUNE:
        raise RpcError(INVALID_PARAMS, f"rune: should be {MAX_RUNE} characters at most, not {len(text)}")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        if raw.count(b"&") + raw.count(b"|") >= MAX_CONDITIONS:
            raise RpcError(INVALID_PARAMS, f"rune: should have {MAX_CONDITIONS} conditions at most")
        rune: Rune = Rune.from_str(f"{raw[:32].hex()}:{raw[32:].decode()}")
    except (ValueError, IndexError):
        raise RpcError(INVALID_PARAMS, "rune: should be base64 string") from None
    _number(rune)
    return rune


def _count(rune: Rune) -> None:
    """Set how many bytes the hash of a rune that was read is of; more can be added only after that.

    The package (0.6) miscounts where a restriction ends within nine bytes of a block's end.
    """
    size = 64
    for restriction in rune.restrictions:
        size += len(restriction.encode().encode())
        size += len(end_shastream(size))
    rune.shaobj._counter = size  # noqa: SLF001 - as `Rune.from_authcode` does


def _number(rune: Rune) -> int:
    first = rune.restrictions[0].alternatives[0] if rune.restrictions and rune.restrictions[0].alternatives else None
    value = first.value if first is not None and first.is_unique_id() else ""
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise RpcError(INVALID_PARAMS, "rune: should have valid numeric unique_id")
    return int(value)


def _restrictions(given: Any) -> list[Restriction]:
    """Read restrictions: a list of lists of conditions, or "readonly". Raises `RpcError`."""
    if given is None:
        return []
    if given == "readonly":
        given = READONLY
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise _bad(given)
    return [_restriction(each) for each in given]


def _restriction(given: Any) -> Restriction:
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise _bad(given)
    return Restriction([_alternative(each) for each in given])


def _alternative(text: Any) -> Alternative:
    if not isinstance(text, str):
        raise _bad(text)
    at = next((index for index, char in enumerate(text) if char in Alternative.SEPARATORS), 0)
    try:
        if not at:
            raise ValueError("the name of a field should come first")
        if text[:at] in ("rate", "per") and text[at] == "=":
            interval(text[:at], text[at + 1 :])
        return Alternative(text[:at], text[at], text[at + 1 :])
    except ValueError as error:
        raise _bad(text, f": {error}") from None


def _bad(given: Any, why: str = "") -> RpcError:
    should = 'should be [["method=getinfo", "method^list"], ["rate=60"]] say, or "readonly"'
    return RpcError(INVALID_PARAMS, f"restrictions: {given!r:.200} is not a valid restriction{why}; they {should}")


def _in_words(restriction: Restriction) -> dict[str, Any]:
    alternatives = []
    for one in restriction.alternatives:
        if one.cond == "!":
            words = f"{one.field} is missing"
        elif one.cond == "#":
            words = f"comment: {one.field} {one.value}"
        else:
            words = f"{one.field} {_ENGLISH[one.cond]} {one.value}"
        alternatives.append({"fieldname": one.field, "value": one.value, "condition": one.cond, "english": words})
    return {"alternatives": alternatives, "english": " OR ".join(one["english"] for one in alternatives)}


def _with(ranges: Sequence[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """Add a range to those that there are; ranges that meet become one."""
    apart = [each for each in ranges if each[1] + 1 < start or end + 1 < each[0]]
    met = [each for each in ranges if each not in apart]
    whole = min([start, *(first for first, _ in met)]), max([end, *(last for _, last in met)])
    return sorted([*apart, whole])


def _without(ranges: Sequence[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """Remove a range from those that there are."""
    left = []
    for first, last in ranges:
        left += [each for each in ((first, min(last, start - 1)), (max(first, end + 1), last)) if each[0] <= each[1]]
    return left
