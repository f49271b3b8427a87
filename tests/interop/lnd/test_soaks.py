"""The soak of reliable messages through two LNDs, for a moment: that it does what it is about, and finds nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.interop.lnd.lnd_node import Lnd
from tests.soak.lnds import rough_day

pytestmark = [pytest.mark.lnd, pytest.mark.interop]


async def test_reliable_messages_survive_a_kill_of_a_program_and_one_of_lnd(lnds: list[Lnd], tmp_path: Path) -> None:
    done = await rough_day(lnds, tmp_path, 200, 2, seed=0, say=print)
    assert done["delivered"] == 400
    assert done["killed"] == 2
    assert done["bob: program"] == done["bob: lnd"] == 1
