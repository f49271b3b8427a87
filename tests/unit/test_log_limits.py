"""What others can have us log is cut, limited for each and in sum, and told of in one line."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import until

import oddwire
from oddwire.app.context import Peer
from oddwire.log_limits import LIMITED, LogFilter, LogLimiter, LogLimits, cut, get_logger, guard_process
from oddwire.proto.keys import NodeId

ONE, OTHER = NodeId("02" * 33), NodeId("03" * 33)
SMALL = LogLimits(line=100, traceback=400, burst=1000, rate=100, total_burst=5000, total_rate=500, peers=8, period=10)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> LogLimiter:
    return LogLimiter(SMALL, clock)


def log(limiter: LogLimiter, about: str, count: int = 1, *, level: int = 30, size: int = 36, peer: bool = True) -> int:
    """Log lines that count 100 each; give how many were admitted."""
    admitted = 0
    for _ in range(count):
        if limiter.admits(about, level, peer=peer):
            limiter.charge(about, level, size, peer=peer)
            admitted += 1
    return admitted


# The limiter ----------------------------------------------------------------------------------------


def test_a_burst_and_then_a_rate(limiter: LogLimiter, clock: Clock) -> None:
    assert log(limiter, "a", 1000) == 10
    clock.now += 3
    assert log(limiter, "a", 1000) == 3
    clock.now += 1000
    assert log(limiter, "a", 1000) == 10, "no more than a burst, however long it was quiet"
    assert limiter.left_out == 3000 - 23


def test_one_long_line_costs_as_much_as_it_has(limiter: LogLimiter, clock: Clock) -> None:
    assert log(limiter, "a", size=3936) == 1
    clock.now += 29
    assert log(limiter, "a") == 0
    clock.now += 2
    assert log(limiter, "a") == 1


def test_one_peer_costs_no_other(limiter: LogLimiter) -> None:
    log(limiter, "a", 1000)
    assert log(limiter, "b", 10) == 10


def test_all_together_by_level(limiter: LogLimiter, clock: Clock) -> None:
    """With as many ids as one likes; and lines of another level are not drowned."""
    assert sum(log(limiter, f"{number}", 10) for number in range(100)) == 50
    assert log(limiter, "good", level=40) == 1
    clock.now += 1
    assert sum(log(limiter, f"{number}", 10) for number in range(100, 200)) == 5


def test_what_is_about_no_peer_counts_for_itself(limiter: LogLimiter) -> None:
    assert log(limiter, "here:1", 1000, peer=False) == 50
    assert log(limiter, "there:2", 10, peer=False) == 10
    assert log(limiter, "peer", 10) == 10


def test_what_was_left_out_is_told_once_a_period(limiter: LogLimiter, clock: Clock) -> None:
    log(limiter, "a", 12)
    log(limiter, "a", 1, level=40)
    assert [*limiter.due()] == []
    clock.now += 10
    assert [*map(str, limiter.due())] == ["... and 3 more lines like this from a in 10 s"]
    assert [*limiter.due(at_once=True)] == []
    log(limiter, "a", 11)
    clock.now += 2
    (told,) = limiter.due(at_once=True)
    assert (str(told), told.level) == ("... and 1 more line like this from a in 2 s", 30)


def test_as_many_as_are_remembered(limiter: LogLimiter, clock: Clock) -> None:
    """Nothing grows with the number of ids, and no count is lost."""
    for number in range(1000):
        log(limiter, f"{number}", 11)
    assert len(limiter) == SMALL.peers
    clock.now += 10
    told = [*limiter.due()]
    assert len(told) <= SMALL.peers + 1
    assert told[-1].about == "others"
    assert sum(left_out.lines for left_out in told) == limiter.left_out == 11000 - 50


def test_few_are_named(clock: Clock) -> None:
    limiter = LogLimiter(LogLimits(burst=1000, rate=1), clock)
    for number in range(100):
        log(limiter, f"{number}", 11 + number)
    clock.now += 10
    told = [*limiter.due()]
    assert [left_out.about for left_out in told] == [*(f"{99 - number}" for number in range(16)), "others"]
    assert sum(left_out.lines for left_out in told) == limiter.left_out


def test_the_defaults_bound_a_day() -> None:
    limits = LogLimits()
    assert limits.total_rate * 86400 < 2 << 30
    assert limits.burst + limits.rate * 86400 < 100 << 20
    assert limits.line < limits.burst < limits.total_burst


@pytest.mark.parametrize(
    ("text", "shown"),
    [("", ""), ("x" * 100, "x" * 100), ("x" * 101, "x" * 100 + "... (1 more characters)"), ("é" * 200, "é" * 100)],
)
def test_lines_are_cut(limiter: LogLimiter, text: str, shown: str) -> None:
    assert limiter.shorten(text).startswith(shown)
    assert limiter.cut == (len(text) > 100)
    assert cut(text, 100) == limiter.shorten(text)


# Records --------------------------------------------------------------------------------------------


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def kept() -> Iterator[Kept]:
    """All that is logged, with small limits."""
    handler = Kept()
    root = logging.getLogger("oddwire")
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.DEBUG)
    LIMITED.reset(SMALL, lambda: 0.0)  # no time passes
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)
    LIMITED.reset()


logger = get_logger("oddwire.test")


@pytest.mark.parametrize(
    "arguments",
    [("%s says %s", ONE, "no"), ("%s to %.8s", "no", ONE), ("%r of %s", 7, Peer(None, ONE))],  # type: ignore[arg-type]
    ids=["first", "second", "peer"],
)
def test_a_record_is_about_the_peer_it_names(kept: Kept, arguments: tuple[Any, ...]) -> None:
    for _ in range(1000):
        logger.info(*arguments)
    flooded = len(kept.lines)
    assert 5 <= flooded <= 20
    logger.info(
        arguments[0], *(OTHER if isinstance(argument, (NodeId, Peer)) else argument for argument in arguments[1:])
    )
    assert len(kept.lines) == flooded + 1, "another peer's lines are logged as before"
    LIMITED.flush()
    assert kept.lines[-1].startswith(f"INFO ... and {1000 - flooded} more lines like this from {ONE} in ")


def test_what_names_no_peer_is_about_its_place(kept: Kept) -> None:
    for _ in range(1000):
        logger.warning("something")
    assert 20 <= len(kept.lines) <= 100
    before = len(kept.lines)
    logger.warning("something else, of another line")
    assert len(kept.lines) == before + 1


def test_long_lines_and_tracebacks(kept: Kept) -> None:
    logger.info("%s sent %s", ONE, "x" * 60000)
    assert kept.lines[0] == f"INFO {ONE} sent {'x' * 28}... (59972 more characters)"
    try:
        raise ValueError("y" * 60000)
    except ValueError:
        logger.exception("it failed, with %s", OTHER)
    assert len(kept.lines[1]) < 600
    assert "Traceback (most recent call last)" in kept.lines[1]
    assert "more characters" in kept.lines[1]
    for _ in range(1000):
        try:
            raise ValueError("z")
        except ValueError:
            logger.exception("it failed, with %s", OTHER)
    assert len(kept.lines) < 10, "tracebacks count as much as they have"


@pytest.mark.parametrize("arguments", [("no argument for %s and %d", ONE), ("%d", "text"), ("plain %",), (ONE,)])
def test_what_cannot_be_formatted_is_left_to_handlers(kept: Kept, arguments: tuple[Any, ...]) -> None:
    errors = logging.raiseExceptions
    logging.raiseExceptions = False
    try:
        logger.info(*arguments)
    except (TypeError, ValueError):
        pass  # this handler's
    finally:
        logging.raiseExceptions = errors
    assert LIMITED.limiter.left_out == 0


def test_a_record_counts_once(kept: Kept) -> None:
    """Though its logger and a handler have the filter."""
    kept.addFilter(LIMITED)
    for _ in range(50):
        logger.info("%s", ONE)
    assert 5 <= len(kept.lines) <= 20
    assert LIMITED.limiter.left_out == 50 - len(kept.lines)


def test_disabled_levels_cost_nothing(kept: Kept) -> None:
    logging.getLogger("oddwire").setLevel(logging.WARNING)
    for _ in range(100):
        logger.debug("%s", ONE)
    assert LIMITED.limiter.left_out == 0


async def test_what_was_left_out_is_told_though_nothing_more_happens(kept: Kept) -> None:
    LIMITED.reset(SMALL._replace(period=0.01))
    for _ in range(100):
        logger.info("%s", ONE)
    await until(lambda: kept.lines[-1].startswith("INFO ... and "))


def test_loops_that_ended_are_no_hindrance(kept: Kept) -> None:
    async def flood() -> None:
        for _ in range(100):
            logger.info("%s", ONE)

    asyncio.run(flood())  # it is over before the period is
    LIMITED.reset(SMALL._replace(period=0.01))

    async def again() -> None:
        await flood()
        await until(lambda: kept.lines[-1].startswith("INFO ... and "))

    asyncio.run(again())


def test_every_logger_of_ours_is_limited() -> None:
    import oddwire.app.application
    import oddwire.app.lightningd
    import oddwire.cli.main
    import oddwire.node.node
    import oddwire.transports.cln.transport  # noqa: F401

    own = [name for name in logging.root.manager.loggerDict if name.startswith("oddwire.")]
    modules = {
        value.name
        for module in [*sys.modules.values()]
        if getattr(module, "__name__", "").startswith("oddwire.")
        for value in vars(module).values()
        if isinstance(value, logging.Logger)
    } - {"oddwire.log_limits"}
    assert len(modules) > 5
    assert modules <= set(own)
    for name in modules:
        assert LIMITED in logging.getLogger(name).filters, name


def test_no_module_makes_a_logger_of_another_kind() -> None:
    sources = {path: path.read_text() for path in Path(oddwire.__file__).parent.rglob("*.py")}
    unlimited = [  # but for proto, whose `bolt8` limits
        str(path)
        for path, text in sources.items()
        if re.search(r"^logger = logging", text, re.MULTILINE) and path.parent.name != "proto"
    ]
    assert unlimited == []
    assert sum("logger = get_logger(" in text for text in sources.values()) > 10


def test_others_loggers_are_limited_where_the_process_is_ours() -> None:
    guard_process()
    guard_process()
    assert logging.getLogger("asyncio").filters.count(LIMITED) == 1
    assert logging.lastResort is not None
    assert logging.lastResort.filters.count(LIMITED) == 1
    logging.getLogger("asyncio").removeFilter(LIMITED)
    logging.lastResort.removeFilter(LIMITED)


def test_a_filter_keeps_no_record() -> None:
    own = LogFilter(LogLimiter(SMALL))
    record = logging.LogRecord("x", logging.INFO, "file", 1, "%s", (ONE,), None)
    assert own.filter(record)
    assert gc.get_referrers(record) == [] or own not in gc.get_referrers(record)
