"""Several plugins beside what knows nothing of their addresses: a draft of the protocol, and plugins without it."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
from tests.interop.programs.scene import PATIENCE, Load, Side, Workshop, talk, two_nodes

from oddwire.proto import NodeId

pytestmark = pytest.mark.interop

LOAD = Load(requests=20, streams=4, large=2, orders=30)
ASK, TOLD = 0xB001, 0xB003  # of the extension s0; those of the next one are 32 above
ORDER = b"\xb0\x0b" + msgpack.packb({"sender": "nobody", "number": 0, "answered": True})
GREETING, GREETED = b"\x88\x01", b"\x88\x03hello"  # of the plugin greeter


def ask(number: int) -> bytes:
    return struct.pack(">H", ASK) + msgpack.packb({"number": number, "pad": b""})


def told(who: str, number: int) -> bytes:
    return struct.pack(">H", TOLD) + msgpack.packb({"who": who, "number": number, "pad": b""})


def drafted() -> Iterator[bytes]:
    """Yield a frame of each kind, as a draft of the session protocol had them: without addresses, kinds 1 to 8."""

    def frame(kind: int, header: bytes, content: bytes = b"") -> bytes:
        return struct.pack(">HB", 0xC0DD, kind) + header + struct.pack(">I", len(content)) + content

    spoken = b"\x02s0\x01\x031.0\0\0"
    for flags in (0, 1):
        yield frame(1, struct.pack(">BBBQ", flags, 1, 1, 7), spoken) + b"\x01\x03\x10\0\0\x03\x01\x10"
    large = ask(1) + bytes(2000)
    for piece, begin in enumerate(range(0, len(large), 1024)):
        yield frame(2, struct.pack(">QQHI", 1, len(large), 1024, piece), large[begin : begin + 1024])
    yield frame(3, struct.pack(">QI", 7, 0), ask(2)) + b"\x01\x02\x13\x88"
    yield frame(3, struct.pack(">QI", 8, 16), ask(3))
    yield frame(4, struct.pack(">QB", 7, 0), told("nobody", 1))
    for scope in (1, 2):
        yield frame(5, struct.pack(">BQH", scope, 7, 2), b"no")
        yield frame(6, struct.pack(">BQ", scope, 7))
    yield frame(7, struct.pack(">QQQQ", 0, 1_700_000_000_000_000, 1, 1), ORDER)
    yield frame(8, struct.pack(">BBQQQ", 3, 1, 0, 1_700_000_000_000_000, 0))
    yield frame(8, struct.pack(">BBQQQ", 1, 0, 7, 0, 32))
    for cut in (2, 3, 4, 10, 11, 12, 19):
        yield frame(3, struct.pack(">QI", 9, 0), ask(4))[:cut]


class Stranger:
    """A peer without sessions, connected to a node."""

    def __init__(self, transport: Any, sink: Any, side: Side) -> None:
        self.transport, self.sink, self.side = transport, sink, side

    async def send(self, payload: bytes) -> None:
        await self.transport.send(NodeId(self.side.daemon.node_id), payload)

    async def received(self, until: bytes) -> list[bytes]:
        """Return all that comes up to a message."""
        found: list[bytes] = []
        async with asyncio.timeout(PATIENCE):
            while until not in found:
                found.append((await self.sink.payloads.get())[1])
        return found


async def test_a_peer_that_speaks_a_draft(
    launch: Callable[..., Any], shop: Workshop, start_ours: Callable[..., Any]
) -> None:
    """It is greeted by each, is answered what it asks plainly, and else nothing; nobody's sessions are hurt."""
    sides = await two_nodes(launch, *shop.layout(2, 2))
    side = sides[1]
    stranger = Stranger(*await start_ours(key=os.urandom(32)), side)
    await stranger.transport.connect(side.daemon.uri, keep=False)
    await side.daemon.until_connected(str(stranger.transport.node_id))

    async def bother() -> list[bytes]:
        came = []
        for number in range(20):
            for payload in drafted():
                await stranger.send(payload)
            await stranger.send(ask(100 + number))
            came += await stranger.received(told(side.who("s0"), 100 + number))
        return came

    came, outcome = await asyncio.gather(bother(), talk(sides, LOAD))
    assert outcome.troubles == {}, outcome.texts
    hellos = [payload for payload in came if payload.startswith(b"\xc0\xdd")]
    assert [payload[2:7] for payload in hellos] == [b"\x09\0\0\0\0"] * 2, "each greets once, and is answered by none"
    others = [payload for payload in came if payload not in hellos and payload[:2] != b"\0\x07"]
    assert others == [told(side.who("s0"), 100 + number) for number in range(20)]
    for plugin in side.plugins:
        assert "nobody" not in side.seen(plugin, "s0" if "s0" in plugin.extensions else "s1")


@pytest.mark.parametrize("before", ["old_program", pytest.param("greeter", marks=pytest.mark.long)])
async def test_plugins_that_speak_a_draft_or_take_plain_messages(
    launch: Callable[..., Any], shop: Workshop, start_ours: Callable[..., Any], before: str
) -> None:
    """At both nodes. The one sees all frames, and answers those it takes for its own: there are none."""
    (behind,) = {"old_program", "greeter"} - {before}
    sides = await two_nodes(launch, *shop.layout(2, 2), before=[before], behind=[behind])
    side = sides[0]
    stranger = Stranger(*await start_ours(key=os.urandom(32)), side)
    await stranger.transport.connect(side.daemon.uri, keep=False)
    await side.daemon.until_connected(str(stranger.transport.node_id))

    async def greet() -> None:
        for number in range(50):
            await stranger.send(GREETING + bytes([number]))
            await stranger.received(GREETED)

    _, outcome = await asyncio.gather(greet(), talk(sides, LOAD))
    assert outcome.troubles == {}, outcome.texts
    for each in sides:
        kinds = (await each.daemon.call("old-program-came"))["kinds"]
        assert {*kinds} >= {1, 9, 10, 11, 12, 15, 16}
        assert {kind for kind in kinds if kind < 9} == {1}  # its like's greetings, and no answers
    received = (await side.daemon.call("greeter-received"))["received"]
    greetings = [(GREETING + bytes([number])).hex() for number in range(50)]
    assert received == [[str(stranger.transport.node_id), greeting] for greeting in greetings]
