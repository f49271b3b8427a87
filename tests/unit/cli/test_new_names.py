"""oddwire.cli.new_names."""

from __future__ import annotations

import re

import pytest

from oddwire.app.extension import Extension
from oddwire.cli.exit import CommandFailure
from oddwire.cli.new_names import (
    BLOCK,
    block_of,
    check_feature,
    check_name,
    check_types,
    distribution_of,
    last_of,
    package_of,
)
from oddwire.proto.type_numbers import CUSTOM_TYPES, KNOWN


@pytest.mark.parametrize("name", ["tally", "my-tally", "t2", "a-1"])
def test_names_of_extensions(name: str) -> None:
    check_name(name)
    Extension(name, version="0.1")
    assert package_of(name).isidentifier()
    assert distribution_of(name) == f"oddwire-{name}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MyTally", "lower-case words joined by '-', not 'MyTally'; did you mean 'my-tally'?"),
        ("my_tally", "not 'my_tally'; did you mean 'my-tally'?"),
        ("a b", "did you mean 'a-b'?"),
        ("../x", "not '../x'; did you mean 'x'?"),
        ("2tally", "did you mean 'tally'?"),
        ("", "not ''"),
        ("é\n", r"not 'é\n'"),
        ("-", "not '-'"),
        ("t" * 37, "should have 36 characters at most, not 37"),
        ("class", "'class' is a keyword of Python, so no module can be called that; class-peer can, say"),
        ("json", "'json' is a module of Python's own, which a plugin file json.py would hide; json-peer is free, say"),
        ("oddwire", "begins with the name of oddwire itself, which the package gets anyway: choose another name"),
        ("oddwire-tally", "which the package gets anyway: 'oddwire new tally'"),
        (
            "chat",
            "an extension called 'chat' is installed already (oddwire_extensions.chat:extension of oddwire); choose",
        ),
    ],
)
def test_names_that_will_not_do(name: str, text: str) -> None:
    with pytest.raises(CommandFailure, match=f"{re.escape(text)}") as caught:
        check_name(name)
    assert caught.value.code == 2


@pytest.mark.parametrize("bit", [None, 257, 3001, 32767])
def test_feature_bits(bit: int | None) -> None:
    check_feature(bit)
    Extension("tally", version="0.1", feature=bit)


@pytest.mark.parametrize(
    ("bit", "text"),
    [
        (
            0,
            "should be an odd bit from 1 to 32767, not 0: peers that do not know an even one disconnect; did you mean",
        ),
        (32768, "should be an odd bit from 1 to 32767, not 32768: peers that do not know an even one disconnect"),
        (15, "feature bit 15 is payment_secret; one from 3001 up, say, is nobody's as far as is known"),
        (729, "feature bit 729 is option_supports_lsps"),
    ],
)
def test_feature_bits_that_will_not_do(bit: int, text: str) -> None:
    with pytest.raises(CommandFailure, match=re.escape(text)):
        check_feature(bit)


def test_a_name_has_its_own_numbers_which_nobody_uses() -> None:
    names = [f"name-{number}" for number in range(3000)]
    chosen = {name: block_of(name) for name in names}
    assert chosen == {name: block_of(name) for name in names}
    assert len({*chosen.values()}) > 1000
    for first in chosen.values():
        block = range(first - 1, first - 1 + BLOCK)
        assert first % 2 == 1
        assert {*block} <= {*CUSTOM_TYPES}
        assert not {*block} & {*KNOWN}
        assert 0xC0DD not in block
        assert last_of(first) == first + BLOCK - 2
    assert block_of("tally") == 0xED31  # for good: who makes a project again has the same


@pytest.mark.parametrize("text", ["0x9A31", "0x9a31", "39473"])
def test_a_number_that_is_asked_for(text: str) -> None:
    assert check_types(text, "tally") == 0x9A31


def test_what_is_free_behind_a_number_ends_before_what_is_not() -> None:
    assert last_of(0x9A31) == 0x9A3F
    assert last_of(42055) == 42063  # 42065 is PeerSwap Web's
    assert last_of(65507) == 65509  # those from 65511 on are of hosted channels
    assert last_of(0x8BFD) == 0x8BFF


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("many", "--type should be a number, 0x9001 or 36865 say, not 'many'"),
        ("9a31", "should be a number"),
        ("-1", "--type should be 32768 to 65533, as others are kept for the BOLTs, not -1; leave --type out"),
        (
            "16",
            "should be 32768 to 65533, as others are kept for the BOLTs, not 16; leave --type out, and it is 0xed31",
        ),
        ("0xffff", "should be 32768 to 65533"),
        (
            "0x9a32",
            "should be odd, not 0x9a32: peers that do not know an even type disconnect (BOLT 1); did you mean 0x9a33?",
        ),
        ("42067", "type 42069 (0xa455) is in use by PeerSwap (swap_in_request) and LightningOS Light (balanced_open)"),
        ("0xc0dd", "type 49373 (0xc0dd) is in use by oddwire; leave --type out"),
        ("0x8c01", "type 35841 (0x8c01) is in use by oddwire"),
    ],
)
def test_numbers_that_will_not_do(text: str, why: str) -> None:
    with pytest.raises(CommandFailure, match=re.escape(why)):
        check_types(text, "tally")
