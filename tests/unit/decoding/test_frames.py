"""oddwire.decoding.frames: every frame of the session protocol's vectors, and what is wrong with some."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.explaining import check_explanation

from oddwire import Message, message
from oddwire.decoding import Lexicon, explain
from oddwire.errors import DecodeError, UnknownMessage
from oddwire.session.wire.frame_types import UnknownFrame
from oddwire.session.wire.frames import decode, encode_fragment

FRAMES: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "vectors" / "session.json").read_text())[
    "frames"
]


@message(0x8CA1, codec="raw")
class Word(Message):
    text: bytes


LEXICON = Lexicon(known=False)
LEXICON.add("words", [Word])
REQUEST = bytes.fromhex("c0dd0b2b2b2b2b1a1a1a1a000000000000000700000000000000078ca168656c6c6f01021388")


def outcome(payload: bytes) -> object:
    try:
        return decode(payload)
    except DecodeError as error:
        return error


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: frame["name"])
def test_a_vector(frame: dict[str, Any]) -> None:
    payload = bytes.fromhex(frame["bytes"])
    told = explain(payload, LEXICON)
    check_explanation(told)
    read = outcome(payload)
    if isinstance(read, DecodeError):
        assert told.error is not None
        assert (str(told.error), told.error.offset) == (str(read), read.offset)
        return
    if isinstance(read, UnknownFrame):
        assert isinstance(told.error, UnknownMessage)
        return
    assert told.message == read
    assert told.name == f"session.{frame['frame']['kind']}"
    assert "unread" not in [leaf.role for leaf in told.leaves() if not leaf.path.startswith("$.content")]
    values = {span.path: span.value for span in told.values()}
    assert (values["$.to"], values["$.from"]) == (frame["frame"]["to"], frame["frame"]["from"])


def test_the_message_in_a_request_is_explained() -> None:
    told = explain(REQUEST, LEXICON)
    check_explanation(told)
    assert [inner.name for inner in told.inside] == ["words.Word"]
    values = {span.path: (span.offset, span.value) for span in told.values()}
    assert values["$.content.text"] == (29, b"hello")
    assert values["$.wait"] == (36, 5000)
    assert told.decoded
    strange = explain(REQUEST, Lexicon(known=False))
    assert strange.message is not None
    assert not strange.decoded


def test_a_fragment_that_is_a_whole_message() -> None:
    whole = b"\x8c\xa1hi"
    alone = explain(encode_fragment(1 << 32 | 2, 1, len(whole), 1024, 0, whole), LEXICON)
    assert [inner.name for inner in alone.inside] == ["words.Word"]
    part = explain(encode_fragment(1 << 32 | 2, 1, 2000, 1024, 0, bytes(1024)), LEXICON)
    assert part.inside == ()
    assert part.decoded


@pytest.mark.parametrize(
    ("payload", "text", "wrong"),
    [
        ("c0dd2a0000000100000002", "no frame of version 1 has kind 42; there are 9 to 16", (2, 1)),
        ("c0dd0e00000001000000020900000000000000070000000000", "cancel is not about scope 9", (11, 1)),
        ("c0dd", "frame should have a kind and two addresses", (2, 0)),
        ("c0dd0b00000001", "frame should have a kind and two addresses", (7, 0)),
        ("c0dd0b0000000100000002ff", "request should have 27 bytes before its content, not 12", (12, 0)),
    ],
)
def test_what_is_wrong_with_a_frame(payload: str, text: str, wrong: tuple[int, int]) -> None:
    told = explain(bytes.fromhex(payload), LEXICON)
    check_explanation(told)
    assert told.error is not None
    assert (told.error.args[0], told.wrong) == (text, wrong)
