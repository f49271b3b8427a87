"""The limits of an `LndTransport`."""

import pytest

from oddwire.transports.lnd import LndLimits


def test_by_default_what_a_transport_inside_lightningd_holds():
    limits = LndLimits()
    assert (limits.held, limits.held_total) == (8 << 20, 64 << 20)


@pytest.mark.parametrize("name", ["held", "held_total"])
@pytest.mark.parametrize("value", [-1, 1.5, "many", True])
def test_sizes_that_make_no_sense(name, value):
    with pytest.raises(ValueError, match=f"{name} should be a number of bytes, 0 or more, not {value!r}"):
        LndLimits(**{name: value})


@pytest.mark.parametrize("name", ["retry_first", "retry_most", "redial_first", "redial_most", "linger"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "long", True])
def test_times_that_make_no_sense(name, value):
    with pytest.raises(ValueError, match=f"{name} should be a number of seconds, 0 to 86400, not {value!r}"):
        LndLimits(**{name: value})
