"""The protocol's words agree with each other and with the page that explains them."""

import re
from pathlib import Path

import pytest

from oddwire.session import kinds
from oddwire.session.frames import decode
from oddwire.session.kinds import Code, Kind, Refusal, Request, Scope

PAGE = (Path(__file__).parents[3] / "docs" / "session-protocol.md").read_text()


@pytest.mark.parametrize("words", [Kind, Scope, Code], ids=lambda words: words.__name__)
def test_the_page_has_every_word_with_its_number(words):
    told = dict(re.findall(r"^\| (\d+) \| `(\w+)`", PAGE, re.MULTILINE))
    for word in words:
        assert re.search(rf"^\| {word.value} \| `{word.name.lower()}` \|", PAGE, re.MULTILINE | re.IGNORECASE), (
            word,
            told,
        )


def test_every_kind_has_its_fields():
    for kind in Kind:
        assert issubclass(vars(kinds)[kind.name.capitalize()], tuple)


def test_the_page_has_every_fixed_number():
    for number in (
        kinds.MAX_HELLO,
        kinds.MAX_EXTENSIONS,
        kinds.MAX_TEXT,
        kinds.MAX_WINDOW,
        kinds.MIN_PIECE,
        kinds.SESSION_TYPE,
    ):
        assert re.search(rf"\b{number}\b", PAGE), number


def test_the_page_shows_a_frame_as_it_is():
    shown = bytes.fromhex(re.search(r"^c0dd .*$", PAGE, re.MULTILINE)[0])
    assert decode(shown) == Request(7, 0, b"\x8c\xa1hello", 5000)


def test_what_a_frame_carries_is_not_printed():
    assert repr(Request(7, 0, b"secret")) == "Request(id=7, credit=0, content=<6 bytes>, wait_ms=None, urgent=False)"
    assert repr(Refusal(7, 4, "no")) == "Refusal(sequence=7, code=4, text='no')"
