"""How long handlers run: a histogram for each outcome of each handler."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from oddwire import clocks

if TYPE_CHECKING:
    from oddwire.app.context import Context
    from oddwire.app.declarations.handlers import StreamFunction
    from oddwire.app.plugins.tables import Route
    from oddwire.schema import Message

__all__ = ["BOUNDS", "HandlerTimes", "timed_route"]

BOUNDS: Final = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)
"""The upper bounds of the histogram's buckets, in seconds; one more has no bound."""


class HandlerTimes:
    """The runs of one handler: for each outcome their number, their seconds, and how many took how long."""

    __slots__ = ("outcomes",)

    def __init__(self) -> None:
        self.outcomes: dict[str, list[Any]] = {}

    def add(self, outcome: str, seconds: float) -> None:
        """Count a run."""
        found = self.outcomes.get(outcome)
        if found is None:
            found = self.outcomes[outcome] = [0.0, *(0 for _ in BOUNDS), 0]
        found[0] += seconds
        found[1 + bisect_left(BOUNDS, seconds)] += 1

    def rows(self) -> Iterator[tuple[str, int, float, Mapping[str, int]]]:
        """Yield each outcome with the number of runs, their seconds, and the buckets: runs up to a bound, by bound."""
        for outcome, (seconds, *counts) in self.outcomes.items():
            total, buckets = 0, {}
            for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts, strict=True):
                total += count
                buckets[bound] = total
            yield outcome, total, seconds, buckets


def timed_route(route: Route, times: HandlerTimes, fate: Callable[[BaseException], str]) -> Route:
    """Return a route whose handler is timed; a stream until its end, the time that its peer takes to read included.

    ``fate`` returns the outcome of a handler for what it raises.
    """
    return route._replace(
        handler=_timed(route.handler, times, fate),
        stream=None if route.stream is None else _timed_stream(route.stream, times, fate),
        pump=_timed(route.pump, times, fate),
        reliable=_timed(route.reliable, times, fate),
    )


def _timed(run: Any, times: HandlerTimes, fate: Callable[[BaseException], str]) -> Any:
    if run is None:
        return None

    async def timed(*arguments: Any) -> Any:
        began = clocks.monotonic()
        try:
            found = await run(*arguments)
        except BaseException as error:
            times.add(fate(error), clocks.monotonic() - began)
            raise
        times.add("ok", clocks.monotonic() - began)
        return found

    return timed


def _timed_stream(stream: StreamFunction, times: HandlerTimes, fate: Callable[[BaseException], str]) -> StreamFunction:
    async def timed(context: Context, message: Any) -> AsyncGenerator[Message, None]:
        began = clocks.monotonic()
        try:
            async with aclosing(stream(context, message)) as parts:
                async for part in parts:
                    yield part
        except BaseException as error:
            times.add(fate(error), clocks.monotonic() - began)
            raise
        times.add("ok", clocks.monotonic() - began)

    return timed
