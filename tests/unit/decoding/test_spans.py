"""oddwire.decoding.spans."""

from __future__ import annotations

from oddwire.decoding.spans import NOTHING, Span, Trail, is_composed, leaves_of, shifted, stripped
from oddwire.schema.kinds import PLAIN_INT, Array, Maybe, Octets
from oddwire.schema.value_kinds import Limited, Limits


def test_bytes_that_no_part_has_are_the_span_s_own() -> None:
    trail = Trail(2)
    trail.open("$.text", 2, "str")
    trail.leaf("count", "$.text", 2, 4, "u16", 3)
    trail.close(7, "abc", "'abc'")
    [span] = trail.finish(7)
    assert (span.role, span.value, span.shown) == ("value", "abc", "'abc'")
    assert [(leaf.role, leaf.offset, leaf.end) for leaf in leaves_of([span])] == [("count", 2, 4), ("value", 4, 7)]


def test_a_part_that_is_all_of_it_is_the_span_itself() -> None:
    trail = Trail()
    trail.open("$.level", 0, "Level")
    trail.open("$.level", 0, "u8")
    trail.close(1, 5, "5")
    trail.close(1, "five", "FIVE")
    assert trail.finish(1) == (Span("value", "$.level", 0, 1, "Level", "five", "FIVE"),)


def test_what_an_error_left_open_ends_where_reading_did() -> None:
    trail = Trail()
    trail.open("$.list", 0, "tuple", "group")
    trail.leaf("count", "$.list", 0, 2, "u16", 9)
    trail.open("$.list[0]", 2, "u64")
    assert (trail.depth, trail.start, trail.end) == (2, 2, 2)
    first, rest = trail.finish(5)
    assert (first.role, first.offset, first.end) == ("group", 0, 2)
    assert (rest.role, rest.offset, rest.end) == ("unread", 2, 5)


def test_a_group_with_a_value_is_one_value() -> None:
    trail = Trail()
    trail.open("$.a", 0, "Order or None", "group")
    trail.leaf("value", "$.a", 0, 1, "u8", 0)
    trail.change_first("count", "flag")
    trail.close(1, None, "None")
    [span] = trail.finish(1)
    assert (span.role, span.value, span.parts) == ("value", None, ())


def test_shifted_spans_are_in_another_payload() -> None:
    inner = Span("group", "$.a", 2, 2, parts=(Span("value", "$.a.b", 2, 2),))
    moved = shifted(inner, 10, "$.content")
    assert (moved.path, moved.offset, moved.parts[0].path, moved.parts[0].offset) == (
        "$.content.a",
        12,
        "$.content.a.b",
        12,
    )


def test_composed_kinds_have_values_with_paths_of_their_own() -> None:
    numbers = Array(PLAIN_INT, tuple)
    assert is_composed(Maybe(numbers))
    assert not is_composed(Maybe(Octets()))
    assert stripped(Maybe(Limited(numbers, Limits(length=(1, 2))))) is numbers
    assert repr(NOTHING) == "NOTHING"
