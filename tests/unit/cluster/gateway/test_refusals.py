from __future__ import annotations

import pytest

from oddwire.cluster.gateway.refusals import Refusals


def test_refusals_are_counted_by_reason_and_logged_without_control_characters(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    refusals.add("length", "too long\x1b[2J" + "x" * 500, 3)
    refusals.add("stale", "of term 3")
    refusals.add("length", "too short")
    assert refusals.counts == {"length": 4, "stale": 1}
    assert repr(refusals) == "<5 refused>"
    lines = [record.message for record in caplog.records]
    assert lines[1:] == ["refused: stale: of term 3", "refused: length: too short"]
    assert lines[0].startswith("refused: length: too long")
    assert lines[0].endswith("x (3 times)")
    assert "\x1b" not in lines[0]
    assert len(lines[0]) < 300
