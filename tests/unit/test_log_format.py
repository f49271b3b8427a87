"""`oddwire.log_format`: nothing in a record of the log can pass for another record."""

from __future__ import annotations

import io
import json
import logging

import pytest

from oddwire.log_format import JsonFormatter, LineFormatter
from oddwire.log_limits import LIMITED

FORGED = "\x1b[2J\nERROR oddwire.node: forged \x9b\u202e\ud800 東京"


@pytest.fixture
def written() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def logger(written: io.StringIO) -> logging.Logger:
    handler = logging.StreamHandler(written)
    handler.setFormatter(LineFormatter("%(levelname)s %(name)s: %(message)s"))
    logger = logging.Logger("test")  # noqa: LOG001 - which nobody else has
    logger.addHandler(handler)
    return logger


def test_a_message_is_one_line(logger: logging.Logger, written: io.StringIO) -> None:
    logger.info("a peer says: %s", FORGED)
    said = r"\x1b[2J\nERROR oddwire.node: forged \x9b\u202e\ud800 東京"
    assert written.getvalue() == f"INFO test: a peer says: {said}\n"


def test_a_traceback_is_indented(logger: logging.Logger, written: io.StringIO) -> None:
    try:
        raise ValueError(FORGED)
    except ValueError:
        logger.exception("failed")
    first, *rest = written.getvalue().rstrip("\n").split("\n")
    assert first == "ERROR test: failed"
    assert rest[0] == "  Traceback (most recent call last):"
    assert rest[-1] == r"  ERROR oddwire.node: forged \x9b\u202e\ud800 東京"
    assert all(line.startswith("  ") for line in rest)
    assert "\x1b" not in written.getvalue()


def test_what_another_formatter_has_left_is_not_taken(logger: logging.Logger, written: io.StringIO) -> None:
    other = logging.StreamHandler(io.StringIO())
    logger.handlers.insert(0, other)
    try:
        raise ValueError(FORGED)
    except ValueError:
        logger.exception("failed", stack_info=True)
    assert "\nERROR" not in written.getvalue()
    assert "\n  Stack (most recent call last):\n" in written.getvalue()


def test_what_python_warns_of_ends_where_it_ends(logger: logging.Logger, written: io.StringIO) -> None:
    logger.warning("%s", "file.py:1: UserWarning: odd\n")
    assert written.getvalue() == "WARNING test: file.py:1: UserWarning: odd\n"


def test_time_and_exceptions_that_are_none(logger: logging.Logger, written: io.StringIO) -> None:
    logger.handlers[0].setFormatter(LineFormatter("%(asctime)s %(message)s", "%Y"))
    logger.error("no exception here", exc_info=True)  # noqa: LOG014 - the point
    assert written.getvalue().rstrip("\n")[4:] == " no exception here"


# As JSON --------------------------------------------------------------------------------------------------


@pytest.fixture
def json_logger(written: io.StringIO) -> logging.Logger:
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("test")  # noqa: LOG001 - which nobody else has
    logger.addHandler(handler)
    logger.addFilter(LIMITED)
    return logger


def test_a_record_is_an_object(json_logger: logging.Logger, written: io.StringIO) -> None:
    json_logger.warning("a peer says: %s", FORGED, extra={"peer": "02aa", "type": 7, "odd": object, "message_": None})
    (line,) = written.getvalue().splitlines()
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line)
    assert found.pop("time") > 0
    assert found == {
        "level": "WARNING",
        "logger": "test",
        "message": f"a peer says: {FORGED}",
        "peer": "02aa",
        "type": 7,
        "odd": "<class 'object'>",
        "message_": None,
    }


def test_an_objects_traceback_is_a_text(json_logger: logging.Logger, written: io.StringIO) -> None:
    try:
        raise LookupError("a\nb")
    except LookupError:
        json_logger.exception("failed", stack_info=True)
    (line,) = written.getvalue().splitlines()
    found = json.loads(line)
    assert found["exception"].endswith("LookupError: a\nb")
    assert "stack" in found


def test_what_json_cannot_hold_is_text(json_logger: logging.Logger, written: io.StringIO) -> None:
    loop: list[object] = []
    loop.append(loop)
    json_logger.warning("x\x7f", extra={"far": float("inf"), "loop": loop, "level": "mine"})
    found = json.loads(written.getvalue())
    assert (found["far"], found["level"], found["message"]) == ("inf", "WARNING", "x\x7f")
