"""What holds for every explanation, of whatever bytes."""

from __future__ import annotations

import ast
import re
from typing import Any

from oddwire.decoding import NOTHING, Explanation, Span
from oddwire.decoding.listing import dump_of, rows_of
from oddwire.errors import DecodeError
from oddwire.printable import printable
from oddwire.schema import UnknownVariant

_STEPS = re.compile(r"\.(\w+)|\[(\d+)\]|\[('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")\]")
_BEYOND = object()


def check_explanation(told: Explanation) -> None:
    """Check that the spans are the payload, each byte once, and that all of it can be shown."""
    at = 0
    for leaf in told.leaves():
        assert leaf.offset == at, f"{leaf} should begin at {at}"
        assert leaf.length >= 0
        at = leaf.end
    assert at == len(told.payload)
    for span in told.spans:
        check_nesting(span)
    assert (told.message is None) is (told.error is not None)
    if told.wrong is not None:
        assert 0 <= told.wrong[0] <= sum(told.wrong) <= len(told.payload)
    shown = [*rows_of(told)]
    assert all(0 <= row.offset <= row.offset + row.length <= len(told.payload) for row in shown)
    lines = [*dump_of(told.payload, told.wrong)]
    assert told.wrong is None or any("^^" in line for line in lines)
    for text in (*(text for row in shown for text in (row.data, row.name, row.kind, row.text, row.note)), *lines):
        assert printable(text) == text
    for inner in (*told.inside, *told.others):
        check_explanation(inner)


def check_nesting(span: Span) -> None:
    at = span.offset
    for part in span.parts:
        assert part.offset == at, f"{part} in {span}"
        at = part.end
        check_nesting(part)
    assert not span.parts or at == span.end, f"{span} should end at {at}"


def check_message(told: Explanation, message: object) -> None:
    """Check that an explanation has a message's own values."""
    check_explanation(told)
    assert told.error is None
    assert told.message == message
    assert "unread" not in {leaf.role for leaf in told.leaves()}
    for span in told.values():
        wanted = value_at(message, span.path)
        assert wanted is _BEYOND or span.value == wanted, f"{span.path}: {span.value!r} should be {wanted!r}"
        assert span.value is not NOTHING, span


def check_error(told: Explanation, error: DecodeError) -> None:
    """Check that an explanation has the error that decoding has."""
    check_explanation(told)
    assert told.message is None
    found = told.error
    assert found is not None
    assert (type(found), found.args, found.path, found.offset) == (type(error), error.args, error.path, error.offset)


def value_at(message: Any, path: str) -> Any:
    """Return the value at a path; `_BEYOND` where what is around it is one value to a message, or a key is cut."""
    if "...]" in path:
        return _BEYOND
    for name, index, key in _STEPS.findall(path):
        if isinstance(message, UnknownVariant):
            return _BEYOND
        try:
            message = getattr(message, name) if name else message[int(index) if index else ast.literal_eval(key)]
        except (AttributeError, LookupError, TypeError):
            return _BEYOND
    return message
