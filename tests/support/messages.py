"""The messages of an application that is about something else: a question, its answer, a note, and an even one."""

from __future__ import annotations

from oddwire import Message, message, u64


@message(0x8C01, codec="bolt")
class Ask(Message):
    number: u64


@message(0x8C03, codec="bolt")
class Answer(Message):
    number: u64


@message(0x8C05, codec="bolt")
class Note(Message):
    number: u64


@message(0x8C06, codec="bolt")
class Even(Message):
    number: u64
