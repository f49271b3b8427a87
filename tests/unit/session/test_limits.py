from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oddwire.records import replace
from oddwire.session.limits import OF_ALL, Allowance, Counters, Limits, TokenBucket


def test_the_defaults_are_sane() -> None:
    limits = Limits()
    assert limits.transfers * 1024 < limits.reassembly_bytes < limits.total_reassembly_bytes
    assert limits.requests <= limits.open_requests
    assert limits.window_messages < limits.outbox_messages
    assert limits.window_bytes < limits.outbox_bytes
    assert limits.messages_per_second == limits.bytes_per_second == math.inf


@pytest.mark.parametrize("name", Limits._fields)
def test_a_limit_is_a_positive_number(name: str) -> None:
    assert getattr(Limits(**{name: 3}), name) == 3
    values: list[Any] = [0, -1, "3", None, True, math.nan]
    for value in values:
        with pytest.raises(ValueError, match=rf"^{name} should be a (whole )?number greater than 0, not "):
            Limits(**{name: value})


def test_counts_are_whole() -> None:
    with pytest.raises(ValueError, match=r"^requests should be a whole number greater than 0, not 2\.5$"):
        Limits(requests=2.5)  # type: ignore[arg-type]
    assert Limits(messages_per_second=2.5).messages_per_second == 2.5


def test_limits_know_which_of_them_were_given() -> None:
    assert Limits().given == ()
    limits = Limits(transfers=16, requests=3)
    assert limits.given == ("transfers", "requests"), "though one of them is as it would be anyway"
    assert limits == Limits(requests=3)
    assert copy.copy(limits).given == pickle.loads(pickle.dumps(limits)).given == limits.given
    changed = replace(limits, requests=4, outbox_messages=7)
    assert (changed.given, changed.requests) == (("transfers", "requests", "outbox_messages"), 4)


def test_an_allowance_has_what_was_given_and_no_more() -> None:
    allowance = Allowance("shop", Limits(transfers=16, outbox_seconds=5.0))
    assert (allowance.most("transfers"), allowance.most("outbox_seconds")) == (16, 5.0)
    assert allowance.most("reassembly_bytes") == math.inf
    assert allowance.has("requests", "transfers")
    assert not allowance.has("requests", "reassembly_bytes")
    assert allowance.is_stricter("transfers", Limits(transfers=17))
    assert not allowance.is_stricter("transfers", Limits())
    assert not allowance.is_stricter("requests", Limits(requests=1000))
    assert not Allowance("shop").has(*Limits._fields)


def test_an_allowance_names_its_extension_and_counts_what_we_may_not() -> None:
    allowance = Allowance("shop", Limits(transfers=1))
    error = allowance.error("transfers", "more than 1 transfers at once")
    assert (str(error), error.limit, error.extension) == (
        "extension 'shop': more than 1 transfers at once",
        "transfers",
        "shop",
    )
    assert allowance.counters.to_json() == {}
    assert allowance.exceeded("outbox_messages", "too many").extension == "shop"
    assert allowance.counters.to_json() == {"exceeded": {"outbox_messages": 1}}


def test_what_is_of_all_is_a_limit() -> None:
    assert set(OF_ALL) < set(Limits._fields)


def test_a_bucket_lets_a_burst_pass_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=10, burst=20, now=100.0)
    assert bucket.take(20, 100.0) == 0.0
    assert bucket.take(1, 100.0) == pytest.approx(0.1)
    assert bucket.take(1, 100.0) == pytest.approx(0.2)
    assert bucket.take(0, 100.2) == pytest.approx(0.0)
    assert bucket.take(5, 100.7) == pytest.approx(0.0)


def test_a_bucket_holds_no_more_than_its_burst() -> None:
    bucket = TokenBucket(rate=10, burst=20, now=0.0)
    assert bucket.take(21, 1000.0) == pytest.approx(0.1)


def test_one_amount_may_be_larger_than_the_burst() -> None:
    bucket = TokenBucket(rate=1000, burst=1000, now=0.0)
    assert bucket.take(65535, 0.0) == pytest.approx(64.535)


@given(
    st.floats(0.5, 1000),
    st.floats(0, 1000),
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10)), min_size=1, max_size=50),
)
def test_who_pauses_as_told_keeps_to_the_rate(rate: float, burst: float, takes: list[tuple[float, float]]) -> None:
    bucket = TokenBucket(rate, burst, 0.0)
    now = taken = last = 0.0
    for amount, idle in takes:
        assert taken <= burst + rate * now + 1e-6, "everything before this has been paid for"
        last = bucket.take(amount, now)
        taken += amount
        assert last >= 0
        now += last + idle
    assert taken <= burst + rate * now + 1e-6


def test_counters_add_up() -> None:
    peer, total = Counters(), Counters()
    peer.refused["requests"] += 2
    peer.dropped["transfers"] += 1
    peer.throttled["faults_per_second"] += 0
    total.add(peer)
    total.add(peer)
    assert total.to_json() == {"dropped": {"transfers": 2}, "refused": {"requests": 4}}
    assert Counters().to_json() == {}


def test_counters_show_those_that_are_not_zero() -> None:
    counters = Counters()
    assert repr(counters) == "Counters()"
    counters.refused["requests"] += 3
    counters.dropped["transfers"] += 0
    counters.failed["shop"] += 1
    assert repr(counters) == "Counters(failed={'shop': 1}, refused={'requests': 3})"


@given(st.floats(0.5, 1000), st.integers(1, 100))
@example(869.75, 82)  # each sum is rounded the same way
@example(1000.0, 20_000)
def test_who_keeps_to_the_rate_never_pauses(rate: float, count: int) -> None:
    bucket, now = TokenBucket(rate, 1, 1e5), 1e5
    for _ in range(count):
        assert bucket.take(1, now) == 0.0, "whatever the sums are rounded to"
        now += 1 / rate
