from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from oddwire.app.peer_logger import PeerLogger
from oddwire.log_limits import get_logger

ALICE = "02" + "aa" * 32


@pytest.fixture
def inner() -> Iterator[logging.Logger]:
    logger = get_logger("oddwire.extension.told")
    yield logger
    logger.setLevel(logging.NOTSET)


def test_records_say_whom_and_which_extension_they_are_about(
    inner: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    logger = PeerLogger(inner, ALICE)
    logger.warning("hello %s", "you", extra={"order": 7})
    logger.warning("another", extra={"peer": "mine", "extension": "own"})
    first, second = caplog.records
    assert (first.name, first.getMessage(), first.funcName) == (
        "oddwire.extension.told",
        "hello you",
        "test_records_say_whom_and_which_extension_they_are_about",
    )
    assert (first.peer, first.extension, first.order) == (ALICE, "told", 7)  # type: ignore[attr-defined]
    assert (second.peer, second.extension) == ("mine", "own")  # type: ignore[attr-defined]


def test_all_else_is_the_loggers_own(inner: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    logger = PeerLogger(inner, ALICE)
    logger.setLevel(logging.ERROR)
    assert inner.level == logging.ERROR
    assert not logger.isEnabledFor(logging.WARNING)
    assert logger.getEffectiveLevel() == logging.ERROR
    logger.warning("not written")
    refuse = logging.Filter("nobody")
    handler = logging.NullHandler()
    logger.addFilter(refuse)
    logger.addHandler(handler)
    assert refuse in inner.filters
    assert inner.handlers == [handler]
    assert logger.hasHandlers()
    logger.error("filtered")
    assert not caplog.records
    logger.removeFilter(refuse)
    logger.removeHandler(handler)
    assert inner.handlers == []
    assert logger.getChild("part") is logging.getLogger("oddwire.extension.told.part")
