"""Receipts, by themselves."""

from __future__ import annotations

import asyncio

import pytest

from oddwire.errors import LocalProtocolError, RemoteFailure
from oddwire.session.reliable.receipt import Receipt


async def test_everybody_who_waits_is_told() -> None:
    receipt = Receipt()
    tasks = [asyncio.create_task(receipt.delivered()) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    receipt.settle(None)
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [None, None]
    await receipt.delivered()


async def test_each_gets_an_exception_of_its_own() -> None:
    receipt = Receipt()
    task = asyncio.create_task(receipt.delivered())
    await asyncio.sleep(0)
    receipt.settle(lambda: RemoteFailure("no", code=4))
    with pytest.raises(RemoteFailure, match="no") as first:
        await task
    with pytest.raises(RemoteFailure, match="no") as second:
        await receipt.delivered()
    assert first.value is not second.value


async def test_a_handler_does_not_wait_for_itself() -> None:
    receipt = Receipt(owner=asyncio.current_task())
    with pytest.raises(LocalProtocolError, match="when the handler ends"):
        await receipt.delivered()
    task = asyncio.create_task(receipt.delivered())  # another may
    await asyncio.sleep(0)
    receipt.sent()
    receipt.settle(None)
    await task
    await receipt.delivered()
