"""The options that several commands share."""

from __future__ import annotations

from typing import get_args

import pytest
import typer

from oddwire.cli import shared_options
from oddwire.cli.shared_options import ConnectTimeout

# What is no option, the values of one, a check of several, and --network of commands that talk to a node
APART = {"Fields", "LogLines", "NodesNetwork", "positive"}


@pytest.mark.parametrize("seconds", [None, 0.001, 3600.0])
def test_a_time_is_a_number_of_seconds(seconds: float | None) -> None:
    check = get_args(ConnectTimeout)[1].callback
    assert check(seconds) == seconds


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e9, float("inf"), float("nan")])
def test_no_time_and_one_that_no_loop_takes_are_refused(seconds: float) -> None:
    check = get_args(ConnectTimeout)[1].callback
    with pytest.raises(typer.BadParameter, match=r"should be a number of seconds above 0, not"):
        check(seconds)


def test_every_option_is_explained_and_has_a_name_of_its_own() -> None:
    options = [get_args(getattr(shared_options, name))[1] for name in shared_options.__all__ if name not in APART]
    assert all(option.help.endswith(".") for option in options)
    names = [option.default for option in options]
    assert len({*names}) == len(names)
    assert all(name.startswith("--") for name in names)
