"""Whom LND, LDK, eclair and Core Lightning talk to: doubles of their rules for a peer's ``init``, each from its source.

They are brought to everything of ours that says ``init``, in both directions. LND's are of v0.21.2-beta, LDK's of
0.3-beta1, eclair's and Core Lightning's of August 2026.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from oddwire.proto import LightningConnection, NodeUri, PrivateKey, connect, serve
from oddwire.proto.bolt1 import CHAINS, Bolt1, Init, Ping, Pong
from oddwire.proto.features import ASSUMED_FEATURES, feature_bits, feature_bytes
from oddwire.proto.keys import NodeId

pytestmark = pytest.mark.interop

LIMIT = 60  # seconds; reached only by what hangs
ODDWIRE = [sys.executable, "-m", "oddwire.cli.main"]


def pairs(bits: frozenset[int]) -> set[int]:
    return {bit & ~1 for bit in bits}


def required(bits: frozenset[int]) -> set[int]:
    return {bit for bit in bits if bit % 2 == 0}


@dataclass(frozen=True)
class Rules:
    """One implementation: the bits of its ``init``, and why it would hang up on a peer with these; None if not."""

    name: str
    bits: frozenset[int]
    judge: Callable[[Rules, frozenset[int]], str | None]
    legacy: frozenset[int] = frozenset()
    """What its ``init`` has in the global map, too."""
    chains: bool = True
    """Whether it says its networks, and looks at the peer's."""


def lnd(rules: Rules, theirs: frozenset[int]) -> str | None:
    """lnd, peer/brontide.go:handleInitMsg; feature/required.go, feature/deps.go."""
    known = {*range(0, 28, 2), 30, 34, 38, 44, 46, 48, 50, 54, 60, 80, 160, 180, 260, 262, 2022, 2026} - {2, 10}
    if unknown := required(theirs) - known:
        return f"invalid remote features: feature vector contains unknown required features: {unknown}"
    needs = {14: {8}, 16: {14}, 20: {12}, 22: {12}, 24: {8}, 30: {14}, 50: {46}, 54: {8}, 262: {24}}
    needs |= {80: {22, 44}, 180: {22, 44}, 2022: {22, 44}, 2024: {180, 8, 46}}
    for pair, wanted in needs.items():
        if pair in pairs(theirs) and not wanted <= pairs(theirs):
            return f"invalid remote features: missing feature dependency: {wanted}"
    return None if 0 in pairs(theirs) else "data loss protection required"


def ldk(rules: Rules, theirs: frozenset[int]) -> str | None:
    """rust-lightning, ln/peer_handler.rs, Message::Init; ln/channelmanager.rs:peer_connected."""
    if unknown := required(theirs) - pairs(rules.bits):
        return f"Peer requires features unknown to us: {unknown}"
    if unknown := required(rules.bits) - pairs(theirs):
        return f"We require features unknown to our peer: {unknown}"
    return None if 12 in pairs(theirs) else "does not support static remote key"


def eclair(rules: Rules, theirs: frozenset[int]) -> str | None:
    """eclair, io/PeerConnection.scala, INITIALIZING; Features.scala:validateFeatureGraph, testCompatible."""
    for pair, wanted in {10: 6, 14: 8, 16: 14, 22: 12, 60: 26, 50: 46}.items():
        if pair in pairs(theirs) and wanted not in pairs(theirs):
            return f"{pair} is set but is missing a dependency ({wanted})"
    if lacking := (required(theirs) - pairs(rules.bits)) | (required(rules.bits) - pairs(theirs)):
        return f"incompatible features ({lacking})"
    return None


def core_lightning(rules: Rules, theirs: frozenset[int]) -> str | None:
    """lightning, connectd/connectd.c:peer_connected; common/features.c."""
    if unsupported := required(theirs) - pairs(rules.bits):
        return f"Unsupported feature {min(unsupported)}"
    for pair, wanted in {16: 14, 50: 46, 60: 26}.items():
        if pair in pairs(theirs) and wanted not in pairs(theirs):
            return f"Feature {pair} requires feature {wanted}"
    return None


LND = Rules(
    "lnd",
    frozenset({0, 5, 7, 8, 12, 14, 17, 19, 23, 25, 27, 31, 35, 39, 44, 47, 51, 61, 81, 161, 181, 2023, 2025}),
    lnd,
    legacy=frozenset({8, 12}),
    chains=False,
)
LDK = Rules("ldk", frozenset({0, 5, 8, 12, 14, 17, 19, 23, 25, 27, 35, 43, 44, 47, 51, 63, 729}), ldk)
ECLAIR = Rules(
    "eclair", frozenset({0, 7, 8, 11, 12, 14, 17, 19, 23, 25, 27, 29, 35, 37, 39, 44, 47, 49, 61, 63, 81}), eclair
)
CLN = Rules(
    "cln", frozenset({0, 5, 7, 8, 11, 12, 14, 17, 19, 23, 25, 27, 35, 39, 43, 44, 47, 51, 55, 63}), core_lightning
)
# As a service provider has it: whatever may be required is
STRICT_ECLAIR = Rules(
    "eclair, all required", frozenset(pairs(ECLAIR.bits) | {132, 560, 564}), lambda rules, theirs: None
)
STRICT_LND = Rules("lnd, all required", frozenset(pairs(LND.bits)), lnd, legacy=frozenset({8, 12}), chains=False)
NODES = [LND, LDK, ECLAIR, CLN, STRICT_ECLAIR, STRICT_LND]


class Double:
    """A node with these rules, that meets peers by BOLT 8; `met` has what it thinks of each, None if it stays."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.key = PrivateKey(os.urandom(32))
        self.met: asyncio.Queue[str | None] = asyncio.Queue()
        self.uri = ""

    @property
    def init(self) -> bytes:
        head, legacy, features = b"\x00\x10", *map(feature_bytes, (self.rules.legacy, self.rules.bits))
        maps = b"".join(len(map_).to_bytes(2, "big") + map_ for map_ in (legacy, features))
        return head + maps + (b"\x01\x20" + CHAINS["bitcoin"] if self.rules.chains else b"")

    async def meet(self, connection: LightningConnection) -> None:
        """Exchange ``init`` and judge; then a ping, gossip and odd messages, as it is known to send."""
        await connection.send_message(self.init)
        theirs = Init.decode(await connection.read_message())
        why = self.rules.judge(self.rules, feature_bits(theirs.features))
        if why is not None:
            self.met.put_nowait(why)
            connection.abort(why)
            return
        for payload in (Ping(65531, 1000).encode(), b"\x01\x09" + bytes(72), b"\x02\x01" + bytes(100), b"\x00\x07\0\0"):
            await connection.send_message(payload)
        while (await connection.read_message()) != Pong(65531).encode():
            pass
        self.met.put_nowait(None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LIMIT):
                async for _ in connection:
                    pass

    async def dial(self, uri: str) -> None:
        to = NodeUri.parse(uri)
        connection = await connect(self.key, to.node_id, to.host, to.port)
        meeting = asyncio.create_task(self.meet(connection))
        try:
            assert await self.verdict() is None
        finally:
            await connection.aclose()
            await asyncio.wait([meeting])

    async def verdict(self) -> str | None:
        async with asyncio.timeout(LIMIT):
            return await self.met.get()


@pytest.fixture(params=NODES, ids=lambda rules: rules.name)
async def double(request: pytest.FixtureRequest) -> AsyncIterator[Double]:
    double = Double(request.param)
    async with await serve(double.meet, double.key, "127.0.0.1", 0) as server:
        double.uri = f"{double.key.public_key().hex()}@127.0.0.1:{server.port}"
        yield double


@contextlib.asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*ODDWIRE, *arguments, stdout=pipe, stderr=None)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


async def uri_of(process: asyncio.subprocess.Process) -> str:
    """What a command says of where it listens."""
    async with asyncio.timeout(LIMIT):
        async for line in process.stdout:
            if uri := json.loads(line).get("uri"):
                return str(uri)
    raise AssertionError("it ended")


def test_the_doubles_hang_up_on_who_offers_less():
    """What oddwire offered before: the onion's bit alone."""
    assert LND.judge(LND, frozenset({9, 519})) == "data loss protection required"
    for rules in (LND, LDK, ECLAIR):
        assert rules.judge(rules, frozenset({9, 519}))
        assert rules.judge(rules, frozenset({1, 9, 13, 15, 45, 512})), "an even bit they do not know"
    assert CLN.judge(CLN, frozenset({9, 519})) is None


def test_each_bit_is_demanded_by_somebody():
    for bit in ASSUMED_FEATURES:
        assert any(rules.judge(rules, ASSUMED_FEATURES - {bit}) for rules in NODES), f"nobody asks for bit {bit}"


async def test_a_transport_and_they_meet_in_both_directions(double, start_ours):
    transport, sink = await start_ours(features=[519], network="bitcoin")
    await double.dial(transport.uris[0])
    info = await sink.connected.get()
    assert feature_bits(info.features) == double.rules.bits | double.rules.legacy
    await sink.disconnected.get()
    await transport.connect(double.uri, keep=False)
    assert await double.verdict() is None
    assert transport.is_connected(NodeId(double.key.public_key()))


async def test_bolt1_as_it_comes_says_enough_to_them(double):
    """What a program says that is made of `oddwire.proto` alone."""
    to = NodeUri.parse(double.uri)
    connection = await connect(PrivateKey(os.urandom(32)), to.node_id, to.host, to.port)
    rules = Bolt1(networks=[CHAINS["bitcoin"]], now=0.0)
    await connection.send_message(rules.start())
    async with asyncio.timeout(LIMIT):
        while double.met.empty():
            rules.receive(await connection.read_message(), 0.0)
            for payload in rules.outgoing():
                await connection.send_message(payload)
            await asyncio.sleep(0)
    assert double.met.get_nowait() is None
    await connection.aclose()


async def test_oddwire_run_and_they_meet_in_both_directions(double):
    async with program("run", "echo", "--listen", "127.0.0.1:0", "--connect", double.uri, "--json") as process:
        assert await double.verdict() is None
        await Double(double.rules).dial(await uri_of(process))


async def test_oddwire_node_and_they_meet_in_both_directions(double, tmp_path):
    arguments = ("--lightning-dir", str(tmp_path), "--addr", "127.0.0.1:0", "--connect", double.uri, "--json")
    async with program("node", *arguments) as process:
        assert await double.verdict() is None
        await Double(double.rules).dial(await uri_of(process))


async def test_oddwire_send_reaches_them(double):
    async with program("send", double.uri, "chat.Say", "text=hello", "--wait", str(LIMIT)):
        assert await double.verdict() is None
