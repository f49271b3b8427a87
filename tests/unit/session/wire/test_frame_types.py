"""The protocol's words agree with each other and with the page that explains them."""

import re
from pathlib import Path

import pytest

from oddwire.session import constants
from oddwire.session.peer.reassembly import MAX_PIECE
from oddwire.session.wire import frame_types, frames, hello
from oddwire.session.wire.frame_types import AckFlag, Code, FrameType, HelloFlag, Refusal, ReplyFlag, Request, Scope
from oddwire.session.wire.frames import addresses, decode

PAGE = (Path(__file__).parents[4] / "docs" / "session-protocol.md").read_text()


@pytest.mark.parametrize("words", [FrameType, Scope, Code], ids=lambda words: words.__name__)
def test_the_page_has_every_word_with_its_number(words):
    told = dict(re.findall(r"^\| (\d+) \| `(\w+)`", PAGE, re.MULTILINE))
    for word in words:
        assert re.search(rf"^\| {word.value} \| `{word.name.lower()}` \|", PAGE, re.MULTILINE | re.IGNORECASE), (
            word,
            told,
        )


def test_every_kind_has_its_fields():
    for kind in FrameType:
        assert issubclass(vars(frame_types)[kind.name.capitalize()], tuple)


HEADERS = {
    kind: pattern.size
    for kind, pattern in {
        FrameType.HELLO: hello._HELLO,
        FrameType.FRAGMENT: frames._FRAGMENT,
        FrameType.REQUEST: frames._REQUEST,
        FrameType.REPLY: frames._REPLY,
        FrameType.FAILURE: frames._FAILURE,
        FrameType.CANCEL: frames._CANCEL,
        FrameType.DATA: frames._DATA,
        FrameType.ACK: frames._ACK,
    }.items()
}


@pytest.mark.parametrize("kind", FrameType)
def test_the_page_has_every_header(kind):
    fields, size = re.search(
        rf"^\| {kind.value} \| `{kind.name.lower()}` \| (.*) \| (\d+) \|$", PAGE, re.MULTILINE
    ).groups()
    assert int(size) == HEADERS[kind]
    bits = re.findall(r"`u(\d+)`", fields)
    assert 2 + 1 + 4 + 4 + sum(map(int, bits)) // 8 + 4 == HEADERS[kind]


def test_the_page_has_every_record():
    told = re.findall(r"^\| `(hello|request)` \| (\d+) \| \w+ \| ", PAGE, re.MULTILINE)
    known = {"hello": {**hello._RECORDS, **hello._VALUES}, "request": frames._REQUEST_RECORDS}
    assert sorted(told) == sorted((kind, str(record)) for kind, records in known.items() for record in records)


def test_the_page_has_every_flag():
    for flag in (*HelloFlag, *ReplyFlag):
        assert re.search(rf"bit {flag.value.bit_length() - 1} \({flag.value}\), \*{flag.name.lower()}\*", PAGE), flag
    assert re.search(r"flag bit 0 \(1\), \*again\*", PAGE)
    assert AckFlag.AGAIN == 1


def test_the_page_has_the_largest_piece():
    assert re.search(rf"\b{MAX_PIECE} \(a fragment is at most 65535 bytes\)", PAGE)


def test_the_page_has_every_fixed_number():
    for number in (
        constants.MAX_HELLO,
        constants.MAX_EXTENSIONS,
        frame_types.MAX_TEXT,
        frame_types.MAX_WINDOW,
        frame_types.MAX_STORES,
        frame_types.MIN_PIECE,
        constants.SESSION_TYPE,
    ):
        assert re.search(rf"\b{number}\b", PAGE), number


def test_the_page_shows_a_frame_as_it_is():
    shown = bytes.fromhex(re.search(r"^c0dd .*$", PAGE, re.MULTILINE)[0])
    assert decode(shown) == Request(7, 0, b"\x8c\xa1hello", 5000)
    assert addresses(shown) == (0x2B2B2B2B, 0x1A1A1A1A)


def test_what_a_frame_carries_is_not_printed():
    assert repr(Request(7, 0, b"secret")) == "Request(id=7, credit=0, content=<6 bytes>, wait_ms=None, urgent=False)"
    assert repr(Refusal(7, 4, "no")) == "Refusal(sequence=7, code=4, text='no')"
