"""The log: levels, what is kept, what is written, what is told."""

from __future__ import annotations

import io
import logging

import pytest

from oddwire.node.log import LEVELS, Line, Log, LogHandler, level_number

PEER = "02" + "ab" * 32


def texts(log: Log, level: str = "io", node_id: str | None = None) -> list[str]:
    return [line.get("log", line["type"]) for line in log.lines(level, node_id)]


def test_levels() -> None:
    assert [level_number(name) for name in LEVELS] == [*range(6)]
    assert (level_number("warn"), level_number("error")) == (level_number("unusual"), level_number("broken"))
    with pytest.raises(ValueError, match="should be 'io', 'debug', 'info', or 'unusual'"):
        level_number("loud")


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_written_and_what_is_kept(level: str) -> None:
    out = io.StringIO()
    log = Log(level=level, out=out)
    for name in LEVELS:
        log(name, f"a line of {name}")
        assert log.wants(name) == (level_number(name) >= min(level_number("debug"), level_number(level)))
    kept = LEVELS[min(level_number("debug"), level_number(level)) :]
    assert texts(log) == [f"a line of {name}" for name in kept]
    assert texts(log, "unusual") == ["a line of unusual", "a line of broken"]
    written = out.getvalue().splitlines()
    assert [line.split(": ")[1] for line in written] == [f"a line of {name}" for name in LEVELS[log.level :]]


def test_a_line_as_lightningd_writes_it() -> None:
    line = Line(1795351037.823399, "unusual", "connectd", "text")
    assert str(line) == "2026-11-22T12:37:17.823Z UNUSUAL connectd: text"


def test_getlog_entries() -> None:
    log = Log()
    log("info", "about a peer", "source", PEER)
    [entry] = log.lines()
    assert float(entry.pop("time")) >= 0
    assert entry == {"type": "INFO", "node_id": PEER, "source": "source", "log": "about a peer"}
    log("info", "about none")
    assert texts(log, "info", PEER) == ["about a peer"]


def test_old_lines_make_room() -> None:
    log = Log(max_bytes=4000)
    for number in range(100):
        log("info", f"{number:04} {'x' * 50}")
    first, *rest = log.lines()
    assert first == {"type": "SKIPPED", "num_skipped": 100 - len(rest)}
    assert rest[-1]["log"].startswith("0099")
    assert log.bytes_used <= 4000
    assert 5 < len(rest) < 20


def test_control_characters_cannot_forge_lines() -> None:
    out = io.StringIO()
    Log(out=out)("info", "one\n2026 UNUSUAL forged\x1b[31m\r\0")
    assert out.getvalue().count("\n") == 1
    assert "\x1b" not in out.getvalue()


def test_a_listener_that_logs_is_not_told_of_that() -> None:
    log = Log()
    told = []

    def listen(line: Line) -> None:
        told.append(line.text)
        log("info", "told")

    log.on_line = listen
    log("debug", "below the level")
    log("info", "first")
    assert told == ["first"]
    assert texts(log) == ["below the level", "first", "told"]


def test_nobody_reads_it_any_more() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    log = Log(out=Broken())
    log("info", "one")
    log("info", "two")
    assert texts(log) == ["one", "two"]


def test_what_the_modules_log() -> None:
    log = Log()
    logger = logging.getLogger("oddwire.test_log")
    handler = LogHandler(log)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.debug("a %s", "debug")
    logger.info("an info")
    logger.warning("a warning")
    try:
        raise ValueError("the reason")
    except ValueError:
        logger.exception("an error")
    logger.removeHandler(handler)
    assert [(line["type"], line["log"]) for line in log.lines("info")] == [
        ("INFO", "an info"),
        ("UNUSUAL", "a warning"),
        ("BROKEN", "an error"),
    ]
    assert "ValueError: the reason" in texts(log)
    assert {line["source"] for line in log.lines("io")} == {"test_log"}
