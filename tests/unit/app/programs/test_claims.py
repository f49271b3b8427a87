"""What programs say of themselves, and what two should not have in common."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from oddwire.app.programs.claims import LARGEST, Claim, in_common, is_copy, program_number
from oddwire.records import replace

FIRST = Claim(
    file="/a/market",
    process=11,
    program=0x1111,
    store="/node/oddwire-market.sqlite3",
    inode="1:5",
    stores=(0xAA, 0xAB),
    extensions=("chat", "market"),
    types=(0x8C01, 0x8C03),
)
SECOND = Claim(
    file="/b/all.py",
    process=22,
    program=0x2222,
    store="/node/oddwire-all.sqlite3",
    inode="1:6",
    stores=(0xBB,),
    extensions=("quote",),
    types=(0x8D01,),
)


def found(one: Claim, other: Claim) -> dict[str, tuple[frozenset[object], str]]:
    return {shared.kind: (shared.things, shared.text) for shared in in_common(one, other)}


def test_two_that_have_nothing_in_common() -> None:
    assert in_common(FIRST, SECOND) == in_common(SECOND, FIRST) == []


@pytest.mark.parametrize(
    ("changes", "kind", "things", "words"),
    [
        ({"extensions": ("market",)}, "extension", {"market"}, ["the extension 'market': ", "oddwire store move"]),
        ({"extensions": ("market", "chat")}, "extension", {"market", "chat"}, ["the extensions 'chat', 'market': "]),
        ({"types": (0x8C03, 0x8D05)}, "type", {0x8C03}, ["take messages of type 0x8c03: "]),
        ({"types": (0x8C01, 0x8C03)}, "type", {0x8C01, 0x8C03}, ["take messages of types 0x8c01, 0x8c03: "]),
        ({"program": 0x1111}, "program", {0x1111}, ["one program number, 0000000000001111: "]),
        ({"store": FIRST.store}, "file name", {FIRST.store}, ["one name, and so one store, /node/oddwire-market."]),
        ({"stores": (0xAA,)}, "store", {0xAA}, ["two copies of one store", FIRST.store, SECOND.store]),
        (
            {"stores": (0xCC,), "renewed": (0xAA,)},
            "store",
            {0xAA},
            ["plugin file /b/all.py has a store, /node/oddwire-all.sqlite3, that was copied from that of /a/market"],
        ),
    ],
)
def test_what_they_have_in_common_is_named_with_both(
    changes: dict[str, Any], kind: str, things: set[object], words: list[str]
) -> None:
    other = replace(SECOND, **changes)
    for pair in ((FIRST, other), (other, FIRST)):
        shared = found(*pair)
        assert shared.keys() == {kind}
        assert shared[kind][0] == things
        for word in [FIRST.file, SECOND.file, *words]:
            assert word in shared[kind][1]


def test_who_came_first_is_named_first() -> None:
    other = replace(SECOND, extensions=("chat",))
    assert found(FIRST, other)["extension"][1].startswith("plugin files /a/market and /b/all.py both have")
    assert found(other, FIRST)["extension"][1].startswith("plugin files /b/all.py and /a/market both have")


def test_a_long_list_is_cut_and_counted() -> None:
    many = tuple(range(0x9001, 0x9041, 2))
    text = found(replace(FIRST, types=many), replace(SECOND, types=many))["type"][1]
    assert "0x9001, 0x9003" in text
    assert "0x900f and 24 more: " in text
    assert "0x9011" not in text


@pytest.mark.parametrize(
    ("changes", "copied"),
    [
        ({"stores": (0xAA,)}, True),
        ({"stores": (0xAA, 0xBB)}, True),
        ({"stores": (0xBB, 0xAA)}, False),  # it was put into it
        ({"stores": ()}, False),
        ({"stores": (0xAA,), "store": FIRST.store}, False),  # the other has let go of it
    ],
)
def test_a_copy_has_the_same_number_of_its_own_at_another_path(changes: dict[str, Any], copied: bool) -> None:
    assert is_copy(replace(SECOND, **changes), FIRST) is copied
    assert is_copy(FIRST, replace(SECOND, **changes)) is copied


def test_two_without_stores_are_no_copies() -> None:
    assert not is_copy(replace(FIRST, stores=()), replace(SECOND, stores=()))


@pytest.mark.parametrize(
    "claim", [FIRST, SECOND, replace(FIRST, renewed=(7,)), Claim(file="/a\udcff", process=1, program=2)]
)
def test_what_is_written_is_read(claim: Claim) -> None:
    assert Claim.decode(claim.encode()) == claim


def test_the_text_is_as_documented() -> None:
    assert json.loads(FIRST.encode()) == {
        "file": "/a/market",
        "process": 11,
        "program": "0000000000001111",
        "store": "/node/oddwire-market.sqlite3",
        "inode": "1:5",
        "stores": ["00000000000000aa", "00000000000000ab"],
        "renewed": [],
        "extensions": ["chat", "market"],
        "types": [0x8C01, 0x8C03],
    }


def test_what_a_later_version_adds_is_left_out() -> None:
    content = json.loads(FIRST.encode()) | {"colour": "red"}
    assert Claim.decode(json.dumps(content).encode()) == FIRST


LEAST = {"file": "/a/market", "process": 11, "program": "11"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b'"\xff"', "decode"),
        (b"[" * 100_000, "recursion|nested|Expecting"),
        (b" " * (LARGEST + 1), "should be at most 1048576 bytes"),
        (b"[]", "should be an object with the path of a plugin file"),
        (b"{}", "should be an object with the path of a plugin file"),
        *[
            (json.dumps(LEAST | change).encode(), reason)
            for change, reason in [
                ({"file": ""}, "the path of a plugin file"),
                ({"file": 5}, "the path of a plugin file"),
                ({"process": "x"}, "a number from 0"),
                ({"process": None}, "a number from 0"),
                ({"process": True}, "a number from 0"),
                ({"program": "x"}, "invalid literal"),
                ({"program": "1" * 17}, "a number from 0"),
                ({"program": -1}, "a number from 0"),
                ({"store": 5}, "should be text"),
                ({"inode": None}, "should be text"),
                ({"stores": "aa"}, "should be a list"),
                ({"stores": [None]}, "a number from 0"),
                ({"renewed": {}}, "should be a list"),
                ({"extensions": [7]}, "should be text"),
                ({"types": ["8c01"]}, "a number from 0"),
                ({"types": [1.5]}, "a number from 0"),
            ]
        ],
    ],
)
def test_what_is_no_claim_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=re.compile(reason)):
        Claim.decode(content)


def test_the_least_that_is_a_claim() -> None:
    assert Claim.decode(json.dumps(LEAST).encode()) == Claim(file="/a/market", process=11, program=0x11)


def test_program_numbers_go_by_node_and_path() -> None:
    numbers = {program_number(node, path) for node in ("02aa", "02bb") for path in ("/a/market", "/b/market")}
    assert len(numbers) == 4
    assert all(0 <= number < 1 << 64 for number in numbers)
    # SHA-256 of '02aa/a/market', its first 8 bytes
    assert program_number("02aa", "/a/market") == 0x3CDC29BDFDBE6C44
    assert program_number("02aa", "/a\udcff/market") != program_number("02aa", "/a/market")
