"""oddwire.decoding.hex_text."""

from __future__ import annotations

import pytest

from oddwire.decoding.hex_text import HexFault, read_hex


@pytest.mark.parametrize(
    "text",
    [
        "00120004ab",
        "0x00120004AB",
        "00 12 00 04 ab",
        "00:12:00:04:ab",
        "0012\n0004\r\n\tab\n",
        '"00120004ab"',
        "'0012', '0004ab',",
        "0x00, 0x12, 0x00, 0x04, 0xab",
        r"\x00\x12\x00\x04\xab",
        "0012-0004_ab",
        "0 01 20 00 4a b",
    ],
)
def test_what_people_paste(text: str) -> None:
    assert read_hex(text) == bytes.fromhex("00120004ab")


def test_nothing_is_nothing() -> None:
    assert read_hex(" \n") == b""


@pytest.mark.parametrize(
    ("text", "position", "told"),
    [
        ("001z", 3, "should be hex digits, not 'z' at character 4, behind '001'"),
        ("x0012", 0, "should be hex digits, not 'x' at character 1"),
        ("0012 (ping)", 5, "should be hex digits, not '(' at character 6, behind '0012 '"),
        ("00\u202e12", 2, "should be hex digits, not '\\u202e' at character 3, behind '00'"),
        ("00\udcff", 2, "should be hex digits, not '\\udcff' at character 3, behind '00'"),
        ("001", 3, "should be two hex digits for each byte: there are 3, so one is missing"),
        ("0x", 1, "should be hex digits, not 'x' at character 2, behind '0'"),
    ],
)
def test_what_is_no_hex_is_told_with_its_place(text: str, position: int, told: str) -> None:
    with pytest.raises(HexFault) as raised:
        read_hex(text)
    assert (raised.value.position, str(raised.value)) == (position, told)
