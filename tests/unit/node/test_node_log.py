"""The log: levels, what is kept, what is written, what is told."""

from __future__ import annotations

import errno
import io
import logging
from pathlib import Path

import pytest

from oddwire.log_limits import LogLimits, get_logger
from oddwire.node.log_file import LogFile
from oddwire.node.node_log import LEVELS, Log, LogHandler, LogLine, level_number

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


def test_messages_are_written_whole_at_level_io_and_kept_nowhere() -> None:
    out, told = io.StringIO(), []
    log = Log(level="io", out=out, limits=LogLimits(line=100, burst=100))
    log.on_line = told.append
    assert log.shows_messages
    payload = b"\x8c\x11" + bytes(20_000)
    log.message(PEER, "in", payload)
    log.message(PEER, "out", b"\x00\x13")
    first, second = out.getvalue().splitlines()
    assert first.endswith(f"Z {PEER}-connectd: [IN] {payload.hex()}")
    assert second.endswith(f"Z {PEER}-connectd: [OUT] 0013")
    assert (texts(log), told) == ([], [])
    assert not Log(level="trace", out=out).shows_messages
    assert not Log(level="io").shows_messages


def test_a_line_as_lightningd_writes_it() -> None:
    line = LogLine(1795351037.823399, "unusual", "connectd", "text")
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

    def listen(line: LogLine) -> None:
        told.append(line.text)
        log("info", "told")

    log.on_line = listen
    log("debug", "below the level")
    log("info", "first")
    assert told == ["first"]
    assert texts(log) == ["below the level", "first", "told"]


class Disk(io.StringIO):
    """A file whose disk can be full."""

    full: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        if self.full is not None:
            raise self.full
        return super().write(text)


def test_what_cannot_be_written_is_counted_and_told_once_there_is_room() -> None:
    told: list[str] = []
    out = Disk()
    log = Log(out=out)
    log.on_line = lambda line: told.append(line.text)
    log("info", "one")
    out.full = OSError(errno.ENOSPC, "No space left on device")
    for text in ("two", "three", "four"):
        log("info", text)
    remark = "The log is not written until this is fixed: No space left on device"
    assert texts(log) == ["one", "two", remark, "three", "four"], "getlog has them all"
    out.full = None
    log("info", "five")
    written = [line.partition(" ")[2] for line in out.getvalue().splitlines()]
    assert written == [
        "INFO    lightningd: one",
        "UNUSUAL log: 3 lines were not written here: No space left on device",
        "INFO    lightningd: five",
    ]
    assert told == ["one", remark, "two", "three", "four", written[1].removeprefix("UNUSUAL log: "), "five"]
    out.full = OSError(errno.ENOSPC, "No space left on device")
    log("info", "six")
    out.full = None
    log("info", "seven")
    assert "1 line was not written here: No space left on device" in out.getvalue()


@pytest.mark.parametrize("error", [BrokenPipeError(errno.EPIPE, "Broken pipe"), ValueError("it is closed")])
def test_nobody_reads_it_any_more(error: OSError | ValueError) -> None:
    out = Disk()
    out.full = error
    log = Log(out=out)
    log("info", "one")
    log("info", "two")
    assert [text for text in texts(log) if "until this is fixed" not in text] == ["one", "two"]


def test_a_clock_that_is_set_moves_no_time_since_the_start() -> None:
    log = Log()
    log.created += 1e9  # as if the log had begun when the clock was wrong by years
    log("info", "now")
    [entry] = log.lines()
    assert 0 <= float(entry["time"]) < 1e6


def test_opening_the_file_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = LogFile(path)
    log = Log(out=file)
    log("info", "one")
    path.rename(tmp_path / "log.1")
    log.reopen()
    log("info", "two")
    file.close()
    before, after = (place.read_text().splitlines() for place in (tmp_path / "log.1", path))
    assert [line.rpartition(": ")[2] for line in before] == ["one", "Ending log due to SIGHUP"]
    assert [line.rpartition(": ")[2] for line in after] == ["Started log due to SIGHUP", "two"]
    Log(out=io.StringIO()).reopen()  # there is no file


def test_a_file_that_cannot_be_opened_anew_is_told_in_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = LogFile(path)
    log = Log(out=file)
    path.rename(tmp_path / "log.1")
    path.mkdir()
    log.reopen()
    file.close()
    assert "The log cannot be reopened, and stays where it is: Is a directory" in (tmp_path / "log.1").read_text()


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
    assert "  ValueError: the reason" in texts(log)
    assert {line["source"] for line in log.lines("io")} == {"test_log"}


def test_what_peers_bring_about_is_limited() -> None:
    """Each its share, and what is not about them as it was; what was left out is told in a line each."""
    out = io.StringIO()
    log = Log(out=out, limits=LogLimits(line=100, burst=1000, rate=0, total_burst=5000, total_rate=0))
    for _ in range(100):
        log("unusual", "x" * 60_000, "connectd", PEER)
    log("info", "quiet", "connectd", "03" * 33)
    for _ in range(100):
        log("info", "the node's own")
    lines = out.getvalue().splitlines()
    flooded = [line for line in lines if "xxx" in line]
    assert 1 < len(flooded) < 10
    assert flooded[0].endswith(f"{'x' * 100}... (59900 more characters)")
    assert sum("quiet" in line for line in lines) == 1
    assert sum("the node's own" in line for line in lines) == 100
    assert log.limiter.left_out == 100 - len(flooded)
    log.flush()
    log.flush()
    (told,) = out.getvalue().splitlines()[len(lines) :]
    assert f"... and {100 - len(flooded)} more lines like this from {PEER} in " in told
    assert log.bytes_used < 100_000, "nor is it kept in memory"


def test_a_plugin_may_write_more_but_not_all_it_likes() -> None:
    log = Log(limits=LogLimits(foreign=50, burst=100, rate=0, total_burst=1000, total_rate=0))
    for _ in range(100):
        log("info", "y" * 200, "plugin-loud")
    log("info", "z", "plugin-other")
    loud = [text.count("y") for text in texts(log) if "y" * 10 in text]
    assert set(loud) == {50}
    assert 1 < len(loud) < 12
    assert texts(log)[-1] == "z"


def test_a_long_traceback_is_cut_before_it_comes_here() -> None:
    log = Log()
    logger = get_logger("oddwire.test.traceback")
    handler = LogHandler(log)
    logger.addHandler(handler)
    try:
        raise ValueError("w" * 1_000_000)
    except ValueError:
        logger.exception("it failed")
    finally:
        logger.removeHandler(handler)
    assert sum(map(len, texts(log))) < 10_000
