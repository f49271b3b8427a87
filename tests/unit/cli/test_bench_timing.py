import asyncio

import pytest

from oddwire.cli.bench_timing import Spent, codec_microseconds, side_by_side


async def test_courses_take_turns_and_the_least_round_counts() -> None:
    order: list[str] = []
    costs = {"fast": 1e-3, "slow": 3e-3, "waiting": 1e-3}

    def course(name: str):
        async def run(count: int) -> Spent:
            order.append(name)
            noise = 10.0 if len(order) % 7 == 0 else 1.0  # something else had the processor
            working = costs[name] * count * noise
            return Spent(working * (1000 if name == "waiting" else 2), working)

        return run

    found = await side_by_side({name: course(name) for name in costs}, 3.3)
    assert {name: round(spent.working) for name, spent in found.items()} == {
        "fast": 1000,
        "slow": 3000,
        "waiting": 1000,
    }
    assert round(found["fast"].waiting) == 1000
    assert order[-3:] == ["fast", "slow", "waiting"]
    assert order[-6:-3] == ["fast", "slow", "waiting"]


async def test_what_does_not_end_is_not_waited_for_for_ever() -> None:
    counts: list[int] = []

    async def course(count: int) -> Spent:
        counts.append(count)
        return Spent(1e-9 * count, 1e-9 * count)

    await side_by_side({"nothing": course}, 1e6)
    assert max(counts) == 1 << 17  # whatever the seconds, a run has an end


async def test_a_function_is_called_until_it_can_be_measured() -> None:
    calls = 0

    def function() -> None:
        nonlocal calls
        calls += 1

    assert await codec_microseconds(function, 0.01) > 0
    assert calls > 1000


async def test_what_measures_a_function_can_be_cancelled() -> None:
    calls = 0

    def function() -> None:
        nonlocal calls
        calls += 1

    measuring = asyncio.ensure_future(codec_microseconds(function, 0.01))
    await asyncio.sleep(0)
    begun = calls
    measuring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await measuring
    assert calls == begun
