"""The kill harness itself, for a moment; and that the extension it uses does the same without a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.soak.cluster.checks import all_faults
from tests.soak.cluster.day import Day, Event
from tests.soak.cluster.processes import Alone


@pytest.mark.interop
async def test_the_extension_file_passes_the_same_checks_under_oddwire_run(tmp_path: Path) -> None:
    alone = Alone(tmp_path)
    day = Day(alone, 300, peers=2, plain=1, say=print)
    run = await day.run([Event(0.5, 0, "kill"), Event(0.5, 0, "restart")])
    assert [*alone.surprises, *all_faults(run)] == []
    assert len(run.lives) >= 2
    assert run.handlings
    assert all(peer.counter == 150 for peer in run.reliable.values())
