"""`oddwire.printable`: text of others cannot steer a terminal or forge a line."""

from __future__ import annotations

import ast
import json
import sys
import unicodedata

import pytest

from oddwire.printable import indented, printable, printable_json, quoted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),  # C0
        ("a\x9b2Jb", "a\\x9b2Jb"),  # C1: CSI in one character
        ("\x7f", "\\x7f"),
        ("one\nERROR two", "one\\nERROR two"),
        ("one\rtwo\tthree", "one\\rtwo\\tthree"),
        ("\x85\u2028\u2029", "\\x85\\u2028\\u2029"),  # what else breaks lines
        ("\u202eevil\u2066\u2069\u200e\u061c", "\\u202eevil\\u2066\\u2069\\u200e\\u061c"),  # bidi
        ("\ufeff\u200b\xad", "\\ufeff\\u200b\\xad"),  # shows as nothing
        ("\U000e0041", "\\U000e0041"),  # tags
        ("\ud800", "\\ud800"),  # half a pair
    ],
)
def test_what_steers_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain 'text' \\x1b",
        "Grüße",
        "東京\u3000都",
        "\U0001f469\u200d\U0001f680",
        "שלום",
        "नमस्ते",
        "می\u200cخواهم",
        "a\xa0b",
    ],
)
def test_what_people_write_is_left_alone(text: str) -> None:
    assert printable(text) == text


def test_every_character_comes_out_printable_and_can_be_encoded() -> None:
    for code in range(sys.maxunicode + 1):
        shown = printable(chr(code))
        shown.encode()
        assert len(shown.splitlines()) == 1
        assert all(unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") for character in shown), hex(code)


def test_lines_of_a_longer_text_cannot_begin_where_others_do() -> None:
    assert indented("Traceback\n  File\r\nERROR forged\x1b[0m") == "  Traceback\n    File\\r\n  ERROR forged\\x1b[0m"


EVERYTHING = [chr(code) for code in (*range(0x3100), 0xD800, 0xFEFF, 0x1F680, 0xE0041, 0x10FFFF)]


def test_json_keeps_its_meaning_and_its_lines() -> None:
    value = {"a\x9b": [" ".join(EVERYTHING), {"東京": "\u202e"}], "b": 1}
    written = json.dumps(value, ensure_ascii=False, indent=3)
    shown = printable_json(written)
    assert json.loads(shown) == value
    shown.encode()
    assert shown.count("\n") == written.count("\n")
    assert all(printable(line) == line for line in shown.split("\n"))
    assert "東京" in shown


def test_quoted_reads_back_and_hides_nothing_that_is_harmless() -> None:
    text = "".join(EVERYTHING)
    assert ast.literal_eval(quoted(text)) == text
    assert printable(quoted(text)) == quoted(text)
    for harmless in ("plain", "東京\u3000都", "\U0001f469\u200d\U0001f680", "a\xa0b"):
        assert quoted(harmless) == f"'{harmless}'"
    assert quoted("it's\u3000") == '"it\'s\u3000"'
    assert quoted("\\\x1b'\"") == r"""'\\\x1b\'"'"""
