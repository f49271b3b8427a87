"""A question and its answer, in words: messages of the default codec."""

from __future__ import annotations

from oddwire import Message, message


@message(0x8C01)
class Ask(Message):
    text: str


@message(0x8C03)
class Answer(Message):
    text: str
