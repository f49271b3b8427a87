"""Texts of cells: short numbers, and what others say as plain text."""

from __future__ import annotations

import pytest
from rich.text import Text

from oddwire.monitor.tui.cells import age, amount, clock_time, plain, rate, spark


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.6, "1.0k"),
        (12_340, "12.3k"),
        (123_456, "123k"),
        (4.5e6, "4.5M"),
        (2e21, "2000000P"),
    ],
)
def test_amounts_are_short(value, text):
    assert amount(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.01, "0"), (0.2, "0.2"), (9.96, "10"), (3400, "3.4k")])
def test_rates(value, text):
    assert rate(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(12.9, "12s"), (200, "3m20s"), (18_420, "5h07m"), (1_050_000, "12d3h")])
def test_ages(seconds, text):
    assert age(seconds) == text


def test_a_moment_that_is_none():
    assert clock_time(1e30) == "?"
    assert clock_time(0.25).endswith(".250")


def test_sparks_are_as_high_as_the_highest():
    assert spark([9, 0, 1, 2, 4], 4) == "▁▂▄█"
    assert spark([0, 0], 4) == "▁▁"


def test_what_others_say_is_no_markup():
    text = plain("[bold]x[/]\x1b[31m\n")
    assert isinstance(text, Text)
    assert text.plain == "[bold]x[/]\\x1b[31m\\n"
    assert not text.spans
