import asyncio
import json
from typing import Any

from oddwire.jsonrpc.progress import ProgressNotices


async def test_it_counts_as_lightning_cli_does_and_not_too_often() -> None:
    sent: list[Any] = []
    tell = ProgressNotices(lambda data: sent.append(json.loads(data)["params"]), "a")
    for done in range(11):
        tell(done, 10)
    assert sent == [{"id": "a", "num": 0, "total": 10}, {"id": "a", "num": 9, "total": 10}]


async def test_a_call_that_is_over_shows_nothing() -> None:
    sent: list[bytes] = []
    tell = ProgressNotices(sent.append, 1)
    tell.over = True
    tell(1, 1)
    await asyncio.sleep(0)
    assert sent == []
