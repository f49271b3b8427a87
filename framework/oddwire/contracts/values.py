"""Whether a receiver understands each value of a type that a sender may send: the rules of types.

Both are types of contracts. ``bolt`` is positional: what stands for a value has to be of the same size and form. What
msgpack and json write says its own type, so only values count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from oddwire.contracts import domains
from oddwire.contracts.domains import Type
from oddwire.contracts.exchanges import exchanged
from oddwire.contracts.gaps import Gap, shown

__all__ = ["End", "Types", "wire_class"]

End = Literal["open", "closed", "flat"]
"""What may follow a class with bolt: ``open``, unknown TLV records, as at the end of a message; ``closed``, nothing, or
what it cannot tell; ``flat``: its own records are looked at together with the message's."""


class Types:
    """The types of one message, from a sender to a receiver.

    ``records`` compares two subtypes by name and yields the gaps in their fields.
    """

    def __init__(self, codec: str, records: Callable[[str, str, str, End], Iterator[Gap]]) -> None:
        self.codec = codec
        self.bolt = codec == "bolt"
        self._records = records

    def value(self, sent: Type, read: Type, path: str, *, alone: bool = False, end: End = "closed") -> Iterator[Gap]:
        """Yield what the receiver's type ``read`` cannot make of values of ``sent``. ``alone`` in a TLV record."""
        if "optional" in (sent["type"], read["type"]):
            yield from self._optional(sent, read, path, alone, end)
        elif "sized" in (sent["type"], read["type"]):
            yield from self._sized(sent, read, path, alone, end)
        elif "either" in (sent["type"], read["type"]):
            yield from self._either(sent, read, path)
        elif (names := _strict(read)) and not _are_of(domains.core_of(sent)[1], names):
            yield Gap("scalar", path, shown(sent), shown(read), f"MalformedMessage: what {names[0]} does not accept")
        else:
            yield from self._core(sent, read, path, alone, end)

    # Around values ----------------------------------------------------------------------------------

    def _optional(self, sent: Type, read: Type, path: str, alone: bool, end: End) -> Iterator[Gap]:
        flags = [one.get("flag", "") if one["type"] == "optional" else "-" for one in (sent, read)]
        if self.bolt and flags[0] != flags[1]:
            yield Gap("count", path, shown(sent), shown(read), "MalformedMessage, or another value")
            return
        if sent["type"] == "optional" and read["type"] != "optional" and read["type"] != "any":
            yield Gap("none", path, shown(sent), shown(read), "MalformedMessage: None where there should be a value")
        yield from self.value(_inner(sent, "optional"), _inner(read, "optional"), path, alone=alone, end=end)

    def _sized(self, sent: Type, read: Type, path: str, alone: bool, end: End) -> Iterator[Gap]:
        sizes = [one.get("size") if one["type"] == "sized" else None for one in (sent, read)]
        if self.bolt and sizes[0] != sizes[1]:
            yield Gap("count", path, shown(sent), shown(read), "MalformedMessage, or another value")
            return
        yield from self._bounds(sent, read, path)
        inner = "closed" if self.bolt else end
        alone = alone and not self.bolt
        yield from self.value(_inner(sent, "sized"), _inner(read, "sized"), path, alone=alone, end=inner)

    def _either(self, sent: Type, read: Type, path: str) -> Iterator[Gap]:
        theirs = read["options"] if read["type"] == "either" else [read]
        for option in sent["options"] if sent["type"] == "either" else [sent]:
            kind = wire_class(option, self.codec)
            same = [one for one in theirs if wire_class(one, self.codec) in (kind, "any")]
            if same:
                yield from self.value(option, same[0], path)
            else:
                yield Gap("member", path, shown(option), shown(read), f"MalformedMessage: should be {shown(read)}")

    # Values -----------------------------------------------------------------------------------------

    def _core(self, sent: Type, read: Type, path: str, alone: bool, end: End) -> Iterator[Gap]:
        one, other = domains.core_of(sent)[0], domains.core_of(read)[0]
        if other["type"] == "any":
            return
        if wire_class(sent, self.codec) != wire_class(read, self.codec):
            if self.bolt and self._layout(one, alone) != self._layout(other, alone):
                yield from self._other_layout(sent, read, path, alone)
                return
            yield Gap("type", path, shown(sent), shown(read), "MalformedMessage, or another value")
            return
        if self.bolt and self._layout(one, alone) != self._layout(other, alone):
            yield from self._other_layout(sent, read, path, alone)
            return
        match one["type"], other["type"]:
            case "subtype", "subtype":
                yield from self._records(one["class"], other["class"], path, end)
            case "union", "union":
                yield from self._union(one, other, path, end)
            case ("array", "array") | ("map", "map"):
                yield from self._lengths(sent, read, path, alone)
                yield from self.value(one["of"], other["of"], f"{path}[]")
            case "enum", _:
                yield from self._enum(one, read, other, path)
            case _, "enum":
                yield Gap("range", path, shown(sent), shown(read), f"MalformedMessage: no value of {other['class']}")
            case _:
                yield from self._single(sent, read, path, alone)

    def _other_layout(self, sent: Type, read: Type, path: str, alone: bool) -> Iterator[Gap]:
        one, other = (domains.core_of(each)[0]["type"] for each in (sent, read))
        kind = "count" if one == other and one in ("array", "bytes", "str") else "type"
        if domains.INTEGER.fullmatch(one) and domains.INTEGER.fullmatch(other):
            kind = "resized"
        yield Gap(kind, path, shown(sent), shown(read), "MalformedMessage, or another value")

    def _single(self, sent: Type, read: Type, path: str, alone: bool) -> Iterator[Gap]:
        one, other = domains.core_of(sent)[0], domains.core_of(read)[0]
        if other["type"] == "opaque" and not _is_made_by(one, other):
            yield Gap("range", path, shown(sent), shown(read), f"MalformedMessage: no {other['class']}")
            return
        if one["type"] in ("bytes", "str", "opaque"):
            yield from self._lengths(sent, read, path, alone)
            if _first_byte(other) not in ([], _first_byte(one)):
                yield Gap("range", path, shown(sent), shown(read), "MalformedMessage: another first byte or length")
            if lacking := domains.patterns_of(read) - domains.patterns_of(sent):
                words = " and ".join(sorted(lacking))
                yield Gap("pattern", path, shown(sent), shown(read), f"MalformedMessage: should be like {words}")
        yield from self._bounds(sent, read, path)

    def _bounds(self, sent: Type, read: Type, path: str) -> Iterator[Gap]:
        theirs = domains.bounds_of(sent)
        for name, bounds in domains.bounds_of(read).items():
            if domains.exceeds(*theirs.get(name, (None, False, None, False)), bounds):
                types = [domains.core_of(one)[0]["type"] for one in (sent, read)]
                is_range = types[0] != types[1] and not _limited(read)
                error = f"MalformedMessage: {_in_words(bounds)}"
                yield Gap("range" if is_range else "limit", path, shown(sent), shown(read), error)

    def _lengths(self, sent: Type, read: Type, path: str, alone: bool) -> Iterator[Gap]:
        low, high = domains.lengths_of(sent, bolt=self.bolt, alone=alone)
        least, most = domains.lengths_of(read, bolt=self.bolt, alone=alone)
        if low < least or high > most:
            should = f"{least}" if least == most else f"{least} to {most}" if most < 1 << 63 else f"at least {least}"
            yield Gap("limit", path, shown(sent), shown(read), f"MalformedMessage: its length should be {should}")

    def _enum(self, one: Type, read: Type, other: Type, path: str) -> Iterator[Gap]:
        values = [each["value"] for each in one["values"]]
        if other["type"] == "enum":
            known = {each["value"] for each in other["values"]}
            lost = [f"{each['name']} = {each['value']}" for each in one["values"] if each["value"] not in known]
            if lost:
                error = f"MalformedMessage: no value of {other['class']}"
                yield Gap("enum", path, ", ".join(lost), "none of these", error)
            if moved := _renumbered(one, other):
                words = [", ".join(f"{name} = {value}" for name, value in side) for side in moved]
                yield Gap("enum value", path, words[0], words[1], "no error: read as another member")
        elif any(domains.refuses(read, value, bolt=self.bolt) for value in values):
            yield Gap("limit", path, shown(one), shown(read), "MalformedMessage: not within the limits")

    def _union(self, sent: Type, read: Type, path: str, end: End) -> Iterator[Gap]:
        names = ("tag", "length") if self.bolt else ("tag_key",)
        if any(sent.get(name) != read.get(name) for name in names):
            yield Gap("tag form", path, _form(sent), _form(read), "MalformedMessage, or another value")
            return
        if sent.get("open") and not read.get("open"):
            error = "MalformedMessage: a tag that no member has, which was relayed"
            yield Gap("closed", path, "UnknownVariant", "none", error)
        elif read.get("open") and not sent.get("open"):
            yield Gap("opened", path, "none", "UnknownVariant")
        ours, theirs = ({one["tag"]: one["subtype"] for one in each["members"]} for each in (sent, read))
        swapped = exchanged(ours, theirs)
        for member in sent["members"]:
            tag, name = member["tag"], member["subtype"]
            where = f"{path}<{name}>"
            if tag in theirs:
                if name in swapped:
                    elsewhere = [each for each, theirs_ in theirs.items() if theirs_ == name]
                    words = (f"tag {tag!r}", f"tag {elsewhere[0]!r}")
                    yield Gap("tag", where, *words, "no error: read as another member")
                members_end: End = "closed" if self.bolt and "length" in sent else end if end != "flat" else "open"
                yield from self._records(name, theirs[tag], where, members_end)
                continue
            elsewhere = [each for each, theirs_ in theirs.items() if theirs_ == name]
            kind = "tag" if elsewhere else "member"
            error = "" if read.get("open") and kind == "member" else f"MalformedMessage: the tag {tag!r} of no member"
            yield Gap(kind, where, f"tag {tag!r}", f"tag {elsewhere[0]!r}" if elsewhere else "none", error)

    # What bolt writes -------------------------------------------------------------------------------

    def _layout(self, type_: Type, alone: bool) -> Any:
        """Return the form of what bolt writes for a type: of equal forms, one's bytes are read as the other's."""
        match type_["type"]:
            case "enum":
                return self._layout(type_["of"], alone)
            case "bool" | "bool8":
                return type_["type"]
            case "opaque":
                return ("bytes", "rest" if alone else type_["size"])
            case "bytes" | "array" as kind:
                count = domains.effective_count(type_, alone=alone)
                return (kind, "rest" if alone and isinstance(count, int) else _plain_count(count))
            case "str":
                return ("bytes", _plain_count(domains.effective_count(type_, alone=alone)))
        return type_["type"]


def _renumbered(sent: Type, read: Type) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]] | None:
    """Return the members of an enum that have each another value, where that was, or is, another member's."""
    ours, theirs = ({one["name"]: one["value"] for one in each["values"]} for each in (sent, read))
    moved = [
        name
        for name, value in ours.items()
        if name in theirs and theirs[name] != value and (value in theirs.values() or theirs[name] in ours.values())
    ]
    return ([(name, ours[name]) for name in moved], [(name, theirs[name]) for name in moved]) if moved else None


def wire_class(type_: Type, codec: str) -> str:
    """Return what a value is: of values of different classes, one is not read as the other, or as another value."""
    match type_["type"]:
        case "enum":
            return wire_class(type_["of"], codec)
        case "scalar":
            return (
                f"text of {type_['class']}" if codec == "json" and type_.get("text") else wire_class(type_["of"], codec)
            )
        case "opaque" if codec == "json" and type_["class"] == "short_channel_id":
            return "short_channel_id"
        case "opaque":
            return "bytes"
        case "subtype" | "map" | "union" if codec == "bolt":
            return str(type_["type"])
        case "bool8" if codec != "bolt":
            return "bool"
        case "optional" | "sized":
            return wire_class(type_["of"], codec)
    if domains.is_integer(type_):
        return "digits" if codec == "json" and type_.get("quoted") else "integer"
    return str(type_["type"])


def _are_of(sent: tuple[str, ...], read: tuple[str, ...]) -> bool:
    """Return whether values of scalars ``sent`` are such of ``read``: these are the same, or the inner of them."""
    return sent[len(sent) - len(read) :] == read if len(sent) >= len(read) else False


def _strict(type_: Type) -> tuple[str, ...]:
    """Return the names of a type's scalars, whose functions may refuse values."""
    return () if _is_time(type_) else domains.core_of(type_)[1]


def _is_time(type_: Type) -> bool:
    """Return whether a type is ``Annotated[datetime, u32]``, which accepts all seconds of the years that there are."""
    return type_.get("class") == "datetime" and type_["type"] == "scalar" and domains.is_integer(type_["of"])


def _inner(type_: Type, around: str) -> Type:
    return type_["of"] if type_["type"] == around else type_


def _is_made_by(sent: Type, read: Type) -> bool:
    if read["class"] == "short_channel_id":
        return True  # any of its length
    return sent.get("class") == read["class"] or (sent.get("class"), read["class"]) == ("point", "node_id")


def _first_byte(type_: Type) -> list[int]:
    count = type_.get("count")
    return list(count["first byte"]) if isinstance(count, Mapping) and "first byte" in count else []


def _plain_count(count: Any) -> Any:
    return str(dict(count)) if isinstance(count, Mapping) else count


def _limited(type_: Type) -> bool:
    return any(True for _ in domains.limits_of(type_))


def _in_words(bounds: tuple[Any, bool, Any, bool]) -> str:
    low, low_out, high, high_out = bounds
    least = "" if low is None else f"{'above' if low_out else 'at least'} {low}"
    most = "" if high is None else f"{'below' if high_out else 'at most'} {high}"
    return "should be " + ", ".join(filter(None, (least, most)))


def _form(union: Type) -> str:
    parts = [f"{name.removeprefix('tag_')} {union[name]}" for name in ("tag", "length", "tag_key") if name in union]
    return ", ".join(parts)
