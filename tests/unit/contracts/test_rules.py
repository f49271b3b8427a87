"""Each rule of `compare` by an example, held to what the codecs of both versions do; docs/contracts.md has them all."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import MISSING
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from tests.support.changes import A_ODD, A, Asset, B, C, D, Euro, Even
from tests.support.schema_pairs import check, findings, made, part

from oddwire import (
    UnknownVariant,
    bigsize,
    counted,
    field,
    fixed,
    max_length,
    scalar,
    short_channel_id,
    subtype,
    tagged,
    u8,
    u16,
    u32,
    u64,
    validates,
)
from oddwire.codecs import enveloped
from oddwire.contracts import RULES, Finding, Interface, Method, compare, contract_of
from oddwire.schema import Field, Message
from oddwire.schema.annotations import kind_of

PAGE = (Path(__file__).parents[3] / "docs" / "contracts.md").read_text()
EVEN = Annotated[Even, scalar("even", python=Even, wire=u16, load=Even, dump=int)]


def fields(codec: str, old: dict[str, Any], new: dict[str, Any], **options: Any) -> Callable[[], list[Finding]]:
    """A change of a message's fields."""
    return lambda: check(made(codec, old), made(codec, new), **options)


def union(codec: str, old: Any, new: Any, **options: Any) -> Callable[[], list[Finding]]:
    return fields(codec, {"x": old}, {"x": new}, **options)


def whole(old: dict[str, Any], new: dict[str, Any]) -> Callable[[], list[Finding]]:
    """A change of what an extension says of itself and its messages."""

    def found() -> list[Finding]:
        plain = {"name": "subject", "version": "1.0", "versions": ("1.0",)}
        return compare(*(contract_of(Interface(**(plain | each)), oddwire="0") for each in (old, new)))

    return found


def methods(old: list[Method], new: list[Method]) -> Callable[[], list[Finding]]:
    return whole({"methods": tuple(old)}, {"methods": tuple(new)})


def method(*names: str, default: Any = MISSING, **arguments: Any) -> Method:
    params = tuple(Field(name, kind_of(u32), name, default, None) for name in names)
    return Method(name="lsp.x", type_id=37913, params=params, result=kind_of(u8), **arguments)


def number(type_id: int, name: str = "Ask", **arguments: Any) -> type[Message]:
    cls: type[Message] = made("msgpack", {"x": u8}, name=name, type_id=type_id, **arguments)
    return cls


@subtype
class Checked:
    x: u16

    @validates("x")
    def check_x(self, x: int) -> None:
        if x > 500:
            raise ValueError("should be 500 at most")


Plain = subtype(type("Checked", (), {"__annotations__": {"x": u16}, "__module__": __name__}))
REPLY, OTHER = number(0x8D63, "Yes"), number(0x8D65, "No")
ASK = number(0x8D61)
LONG = "a" * 2000


class Sort(Enum):
    DONE = 1
    FAILED = 2


class SortWithMore(Enum):
    WAITING = 1
    DONE = 2
    FAILED = 3


class SortBackwards(Enum):
    FAILED = 1
    DONE = 2


class SortInOtherWords(Enum):
    OK = 1
    FAILED = 2


EXAMPLES: dict[str, Callable[[], list[Finding]]] = {
    "FEATURE_ADDED": whole({}, {"feature": 513}),
    "FEATURE_CHANGED": whole({"feature": 513}, {"feature": 515}),
    "VERSION_CHANGED": whole({}, {"version": "1.1", "versions": ("1.0", "1.1")}),
    "VERSIONS_DISJOINT": whole({}, {"version": "1.1", "versions": ("1.1",)}),
    "MESSAGE_ADDED": whole({}, {"messages": (ASK,)}),
    "MESSAGE_ADDED_EVEN": whole({}, {"messages": (number(0x8D62),)}),
    "MESSAGE_REMOVED": whole({"messages": (ASK,)}, {}),
    "MESSAGE_RENAMED": whole({"messages": (ASK,)}, {"messages": (number(0x8D61, "Query"),)}),
    "TYPE_RENUMBERED": whole({"messages": (ASK,)}, {"messages": (number(0x8D67),)}),
    "EVEN_ODD_CHANGED": whole({"messages": (ASK,)}, {"messages": (number(0x8D68),)}),
    "CODEC_CHANGED": whole(
        {"messages": (ASK,)},
        {"messages": (made("msgpack", {"x": u8}, name="Ask", codec_=enveloped("json", magic=b"A")),)},
    ),
    "MAX_SIZE_LOWERED": lambda: check(made("json", {"x": str}), made("json", {"x": str}, max_size=64)),
    "MAX_SIZE_RAISED": lambda: check(made("json", {"x": str}, max_size=64), made("json", {"x": str})),
    "EVEN_KNOWN_CHANGED": whole({"messages": (number(0x8D62),)}, {"messages": (number(0x8D62, even="known"),)}),
    "REPLY_ADDED": whole(
        {"messages": (ASK, REPLY), "answers": {ASK: (REPLY,)}},
        {"messages": (ASK, REPLY, OTHER), "answers": {ASK: (REPLY, OTHER)}},
    ),
    "REPLY_REMOVED": whole(
        {"messages": (ASK, REPLY, OTHER), "answers": {ASK: (REPLY, OTHER)}},
        {"messages": (ASK, REPLY, OTHER), "answers": {ASK: (REPLY,)}},
    ),
    "MATCH_CHANGED": whole(
        {"messages": (number(0x8D61, replies=REPLY, match="x"),)}, {"messages": (number(0x8D61, replies=REPLY),)}
    ),
    "RELIABLE_CHANGED": whole({"messages": (ASK,)}, {"messages": (ASK,), "reliable": frozenset({ASK})}),
    "STREAM_CHANGED": whole({"messages": (ASK,), "streams": frozenset({ASK})}, {"messages": (ASK,)}),
    "FIELD_ADDED": fields("bolt", {"x": u8}, {"x": u8, "y": (u8 | None, field(tlv=1, default=None))}),
    "FIELD_ADDED_REQUIRED": fields("json", {"x": u8}, {"x": u8, "y": u8}),
    "FIELD_ADDED_POSITIONAL": fields("bolt", {"x": u8}, {"x": u8, "y": u8}),
    "FIELD_ADDED_EVEN": fields("bolt", {"x": u8}, {"x": u8, "y": (u8 | None, field(tlv=2, default=None))}),
    "FIELD_REMOVED": fields("msgpack", {"x": u8, "y": (str, "")}, {"x": u8}),
    "FIELD_REMOVED_REQUIRED": fields("msgpack", {"x": u8, "y": str}, {"x": u8}),
    "FIELD_REMOVED_POSITIONAL": fields("bolt", {"x": u8, "y": str}, {"x": u8}),
    "FIELD_REMOVED_EVEN": fields("bolt", {"x": u8, "y": (u8 | None, field(tlv=2))}, {"x": u8}),
    "FIELD_RENAMED": fields("bolt", {"x": u8}, {"y": u8}),
    "FIELD_KEY_CHANGED": fields("msgpack", {"x": u8}, {"x": (u8, field(key="k"))}),
    "FIELD_REORDERED": fields("bolt", {"x": u8, "y": u16}, {"y": u16, "x": u8}),
    "FIELD_MOVED": fields("bolt", {"x": u8}, {"x": (u8, field(tlv=1))}),
    "FIELD_MADE_REQUIRED": fields("msgpack", {"x": (u8 | None, None)}, {"x": u8}),
    "FIELD_MADE_OPTIONAL": fields("json", {"x": u8}, {"x": u8 | None}),
    "DEFAULT_CHANGED": fields("msgpack", {"x": (u8 | None, None)}, {"x": (u8 | None, 5)}),
    "FIELD_TYPE_CHANGED": fields("msgpack", {"x": u8}, {"x": str}),
    "FIELD_RESIZED": fields("bolt", {"x": u16}, {"x": u32}),
    "COUNT_CHANGED": fields("bolt", {"x": bytes}, {"x": Annotated[bytes, counted(bigsize)]}),
    "FIELD_NARROWED": fields("msgpack", {"x": u64}, {"x": u32}),
    "FIELD_WIDENED": fields("json", {"x": u16}, {"x": u32}),
    "LIMIT_TIGHTENED": fields("msgpack", {"x": str}, {"x": Annotated[str, max_length(80)]}),
    "LIMIT_LOOSENED": fields("bolt", {"x": (u16, field(le=10))}, {"x": (u16, field(le=11))}),
    "PATTERN_CHANGED": fields("json", {"x": (str, field(pattern="[a-z]+"))}, {"x": (str, field(pattern="[a-z]*"))}),
    "SCALAR_CHANGED": fields("bolt", {"x": u16}, {"x": EVEN}),
    "VALIDATOR_ADDED": fields("msgpack", {"x": Plain}, {"x": Checked}),
    "VALIDATOR_REMOVED": fields("bolt", {"x": Checked}, {"x": Plain}),
    "ENUM_VALUE_ADDED": fields("json", {"x": Euro}, {"x": Asset}),
    "ENUM_VALUE_REMOVED": fields("msgpack", {"x": Literal["a", "b"]}, {"x": Literal["a"]}),
    "ENUM_VALUE_CHANGED": lambda: findings(*(made("bolt", {"x": Annotated[one, u8]}) for one in (Sort, SortWithMore))),
    "TLV_RENUMBERED": fields("bolt", {"x": (u8 | None, field(tlv=1))}, {"x": (u8 | None, field(tlv=3))}),
    "TLV_NUMBER_REUSED": fields("bolt", {"x": (u8 | None, field(tlv=1))}, {"y": (str | None, field(tlv=1))}),
    "TLV_STREAM_ADDED": fields("bolt", {"x": Annotated[A, counted(u16)]}, {"x": Annotated[A_ODD, counted(u16)]}),
    "TLV_STREAM_REMOVED": fields("bolt", {"x": Annotated[A_ODD, counted(u16)]}, {"x": Annotated[A, counted(u16)]}),
    "UNION_MEMBER_ADDED": union("bolt", Annotated[B | C, tagged(u8)], Annotated[B | C | D, tagged(u8)]),
    "UNION_MEMBER_REMOVED": union("json", Annotated[B | C, tagged("is")], Annotated[B, tagged("is")]),
    "UNION_TAG_CHANGED": union("msgpack", Annotated[B | C, tagged()], Annotated[B | C, tagged(tags={B: 1, C: 5})]),
    "UNION_FORM_CHANGED": union("bolt", Annotated[B | C, tagged(u8)], Annotated[B | C, tagged(u16)]),
    "UNION_CLOSED": union("bolt", Annotated[B | UnknownVariant, tagged(u8)], Annotated[B, tagged(u8)], relayed=True),
    "UNION_OPENED": union("json", Annotated[B, tagged()], Annotated[B | UnknownVariant, tagged()]),
    "METHOD_ADDED": methods([], [method()]),
    "METHOD_REMOVED": methods([method()], []),
    "METHOD_KIND_CHANGED": methods([method()], [method(notification=True)]),
    "PARAMETER_ADDED": methods([method("a")], [method("a", "b", default=0)]),
    "PARAMETER_REMOVED": methods([method("a", "b", default=0)], [method("a")]),
    "BY_POSITION_CHANGED": methods([method("a", "b", by_position=True)], [method("b", "a", by_position=True)]),
    "OTHER_CHANGED": fields("msgpack", {"x": A}, {"x": subtype(type("Other", (), {"__annotations__": {"x": u16}}))}),
}


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "UNKNOWN_CODEC"])
def test_each_rule_finds_its_change(rule: str) -> None:
    found = [one for one in EXAMPLES[rule]() if one.rule == rule]
    assert found, EXAMPLES[rule]()
    if RULES[rule].breaks != "never":
        assert any(one.breaks for one in found)
        assert all(one.remedy for one in found if one.breaks)
        assert all(failure.error and failure.sender != failure.receiver for one in found for failure in one.failures)
    else:
        assert not any(one.breaks for one in found)


def test_a_codec_of_others_has_no_rules() -> None:
    old = contract_of(Interface(name="s", version="1.0", messages=(ASK,)), oddwire="0")
    new = contract_of(
        Interface(name="s", version="1.0", messages=(made("msgpack", {"x": u16}, name="Ask"),)), oddwire="0"
    )
    for each in (old, new):
        each["messages"][0]["codec"] = "cbor"
    assert [one.rule for one in compare(old, new)] == ["UNKNOWN_CODEC"]
    assert compare(old, old) == []


def test_the_page_has_all_rules_as_they_are() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (always|never|sometimes) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    escaped = {
        rule.id: (rule.breaks, *(text.replace("|", r"\|") for text in (rule.text, rule.remedy)))
        for rule in RULES.values()
    }
    assert {name: tuple(cells) for name, *cells in rows} == escaped
    assert [name for name, *_ in rows] == [*RULES]


FIRST, SECOND = part("First", {"x": u8}, tag=1), part("Second", {"x": u8}, tag=2)
UNION = FIRST | SECOND


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        (
            "FIELD_KEY_CHANGED",
            fields("json", {"x": u8, "y": u8}, {"y": (u8, field(key="x")), "x": (u8, field(key="y"))}),
        ),
        (
            "TLV_RENUMBERED",
            fields(
                "bolt",
                {"x": (u8 | None, field(tlv=1)), "y": (u8 | None, field(tlv=3))},
                {"y": (u8 | None, field(tlv=1)), "x": (u8 | None, field(tlv=3))},
            ),
        ),
        ("TYPE_RENUMBERED", whole(*({"messages": (number(0x8D61, a), number(0x8D63, b))} for a, b in ("PQ", "QP")))),
        (
            "UNION_TAG_CHANGED",
            lambda: findings(
                *(
                    made("bolt", {"x": Annotated[UNION, tagged(u8, tags=tags)]})
                    for tags in ({FIRST: 1, SECOND: 2}, {FIRST: 2, SECOND: 1})
                )
            ),
        ),
        (
            "ENUM_VALUE_CHANGED",
            lambda: findings(*(made("bolt", {"x": Annotated[one, u8]}) for one in (Sort, SortBackwards))),
        ),
    ],
)
def test_names_that_change_places_break(rule: str, change: Callable[[], list[Finding]]) -> None:
    """Each payload decodes, and is taken for something else."""
    found = change()
    assert rule in {one.rule for one in found if {each.sender for each in one.failures} == {"old", "new"}}


@pytest.mark.parametrize(
    "change",
    [
        # Quote and QuoteV2 become QuoteV1 and Quote
        whole(*({"messages": (number(0x8D61, a), number(0x8D63, b))} for a, b in (("Q", "Q2"), ("Q1", "Q")))),
        lambda: findings(*(made("bolt", {"x": Annotated[one, u8]}) for one in (Sort, SortInOtherWords))),
    ],
)
def test_other_names_break_nobody(change: Callable[[], list[Finding]]) -> None:
    found = change()
    assert found
    assert not any(one.breaks for one in found)


def test_any_eight_bytes_are_a_short_channel_id() -> None:
    check(made("bolt", {"x": short_channel_id}), made("bolt", {"x": Annotated[bytes, fixed(8)]}))
