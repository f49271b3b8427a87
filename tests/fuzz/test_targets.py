"""Each fuzz target for a moment, with hypothesis choosing the changes; ``make fuzz`` gives them longer."""

import contextlib
import io
import random
import runpy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

FUZZ = runpy.run_path(str(Path(__file__).with_name("__main__.py")), run_name="fuzz")
TARGETS = FUZZ["discover"]()


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name):
    function, seeds = TARGETS[name]
    assert seeds
    for seed in seeds:
        function(seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=100, deadline=None)
@given(dice=st.randoms(use_true_random=False))
def test_changed_seeds(name, dice):
    function, seeds = TARGETS[name]
    function(FUZZ["mutate"](dice, seeds))


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=50, deadline=None)
@given(data=st.binary())
def test_any_bytes(name, data):
    TARGETS[name][0](data)


def test_a_fault_is_found_and_shown():
    def fragile(data):
        if b"\xff" in data:
            raise ZeroDivisionError("what a fault raises")

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        held = FUZZ["run"]("fragile", (fragile, [b"abc"]), 60, 1)
    assert not held
    assert "fragile: FAULT" in said.getvalue()
    assert "what a fault raises" in said.getvalue()


def test_the_same_seed_makes_the_same_inputs():
    first, second = (random.Random("7"), random.Random("7"))
    seeds = [b"abcdef", b"ghi"]
    assert [FUZZ["mutate"](first, seeds) for _ in range(50)] == [FUZZ["mutate"](second, seeds) for _ in range(50)]


def test_unknown_targets_are_refused():
    with pytest.raises(SystemExit), contextlib.redirect_stderr(io.StringIO()) as said:
        FUZZ["main"](["--seconds", "0", "nothing"])
    assert "no target 'nothing'; there are" in said.getvalue()
    assert all(name in said.getvalue() for name in TARGETS)
