"""One plugin is stopped or killed, and started again, while the others talk.

Those do not notice. Whoever had to do with it does, at once; and what was sent to it reliably is there when it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pyln.client import RpcError
from tests.interop.programs.scene import Outcome, Plugin, Side, Workshop, check_orders, two_nodes
from tests.support.waiting import until_answered

pytestmark = pytest.mark.interop

EACH = 10  # orders sent before, while and after a plugin is away


class Traffic:
    """What extensions at both nodes ask and send without end, and none of which may fail."""

    def __init__(self, sides: Sequence[Side], extensions: Sequence[str], first: int) -> None:
        self.first = first
        self.ways = [(side, extension) for side in sides for extension in extensions]

    async def __aenter__(self) -> Traffic:
        await asyncio.gather(*(side.until_spoken(extension) for side, extension in self.ways))
        await asyncio.gather(*(side.call(f"{extension}-begin", self.first) for side, extension in self.ways))
        return self

    async def goes_on(self) -> None:
        """Wait until each of them has gone a round from here."""
        before = await self._rounds()

        async def further() -> bool:
            return all(now > then + 1 for now, then in zip(await self._rounds(), before, strict=True))

        await until_answered(further)

    async def _rounds(self) -> list[int]:
        return await asyncio.gather(*(side.told(extension, "rounds") for side, extension in self.ways))

    async def __aexit__(self, *_: object) -> None:
        told = await asyncio.gather(*(side.told(extension, "end") for side, extension in self.ways))
        for (side, extension), of in zip(self.ways, told, strict=True):
            rounds = of.pop("rounds")
            assert of == {"failed": [], "wrong": [], "receipts": [], "by": {side.other.who(extension): 3 * rounds}}
            outcome = Outcome()
            check_orders(outcome, side, extension, range(self.first, self.first + rounds))
            assert outcome.troubles == {}, outcome.texts


async def stopped(
    side: Side, plugin: Plugin, extension: str, first: int, how: Callable[..., Any], talk: Traffic
) -> int:
    """End a plugin that has to do with others, start it again, and return the number of the next order to it."""
    other = side.other
    waiting = [asyncio.create_task(other.call(f"{extension}-hang", stream)) for stream in (False, True)]
    asking = asyncio.create_task(side.call(f"{extension}-hang", True))
    before = (await other.told(extension))["hanging"].get("ended", 0)

    async def ended() -> bool:
        return (await other.told(extension))["hanging"].get("ended", 0) == before + 1

    async def begun() -> bool:
        counts = [(await each.told(extension))["hanging"] for each in (side, other)]
        return [count.get("begun", 0) - count.get("ended", 0) for count in counts] == [2, 1]

    await until_answered(begun)
    await other.call(f"{extension}-order", first, first + EACH)
    await talk.goes_on()
    await how(side, plugin)
    if how is Side.stop:  # it has taken leave: nobody waits for it
        for parts, answer in zip((0, 1), await asyncio.gather(*waiting), strict=True):
            assert answer == {"error": "ConnectionClosed", "parts": parts}
        await until_answered(ended)
        with pytest.raises(RpcError):
            await other.call(f"{extension}-ask")
    await other.call(f"{extension}-order", first + EACH, first + 2 * EACH)
    await talk.goes_on()
    await side.start(plugin)
    await asyncio.gather(other.until_spoken(extension), side.until_spoken(extension))
    for parts, answer in zip((0, 1), await asyncio.gather(*waiting), strict=True):
        assert answer == {"error": "ConnectionClosed", "parts": parts}
    await until_answered(ended)
    await asyncio.gather(asking, return_exceptions=True)  # it ended with its plugin
    assert await other.call(f"{extension}-ask") == plugin.name
    await other.call(f"{extension}-order", first + 2 * EACH, first + 3 * EACH)

    async def settled() -> bool:
        return not other.under_way().get(other.who(extension))

    await until_answered(settled)
    return first + 3 * EACH


@pytest.mark.long
async def test_the_others_do_not_notice(launch: Callable[..., Any], shop: Workshop) -> None:
    """The others are a plugin of the same node, and one of the peer's that has to do with both."""
    sides = await two_nodes(launch, *shop.layout(2, 2))
    for side, undisturbed, begin in zip(sides, (["s2", "s3"], ["s1", "s3"]), (0, 10_000), strict=True):
        plugin, extension, first = side.plugins[0], "s0", 0
        async with Traffic(sides, undisturbed, begin) as talk:
            for each in sides:
                await each.until_spoken(extension)
            for how in (Side.stop, Side.kill):
                first = await stopped(side, plugin, extension, first, how, talk)
        outcome = Outcome()
        check_orders(outcome, side.other, extension, range(first))
        assert outcome.troubles == {}, outcome.texts
    assert [each.warnings() for each in sides] == [[], []]
