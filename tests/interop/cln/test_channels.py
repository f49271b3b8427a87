"""Who has a channel with us, asked of two lightningds that open one, and close it again."""

from __future__ import annotations

import pytest

from oddwire.session.wire.frame_types import Code

pytestmark = [pytest.mark.cln, pytest.mark.interop]

REFUSED = {"refused": Code.NOT_ALLOWED}
WELCOME = {"welcome": 7}


@pytest.fixture
def pair(start, tmp_path):
    """Two lightningds on one chain, with an extension for peers with a channel."""
    options = ["--developer", "--dev-bitcoind-poll=1", f"--own-chain={tmp_path / 'blocks'}"]
    return [start.lightningd("members", chain="own_chain", options=options) for _ in range(2)]


async def until_states(pair, *wanted):
    """Wait until each side says that of its channels."""
    for daemon, other in (pair, pair[::-1]):
        await daemon.until(
            lambda told: tuple(channel["state"] for channel in told["channels"]) == wanted,
            "listpeerchannels",
            other.node_id,
        )


async def meet(pair):
    """Connect them anew: what they found out about each other is forgotten. Each knocks at the other."""
    left, right = pair
    if (peer := await left.peer(right.node_id)) and peer["connected"]:
        await left.call("disconnect", right.node_id, True)
    for daemon in pair:
        await daemon.until(lambda told: not any(peer["connected"] for peer in told["peers"]), "listpeers")
    await left.connect(right.uri)
    return [await daemon.call("members-knock", other.node_id) for daemon, other in (pair, pair[::-1])]


async def test_peers_with_an_open_channel_are_let_through_and_no_others(pair):
    left, right = pair
    assert await meet(pair) == [REFUSED, REFUSED]

    address = (await left.call("newaddr", "bech32"))["bech32"]
    await left.call("own-chain-pay", address, 10_000_000)
    await left.until(lambda told: told["outputs"], "listfunds")
    height = (await left.call("getinfo"))["blockheight"]
    await right.until(lambda told: told["blockheight"] >= height, "getinfo")
    await left.call("fundchannel", id=right.node_id, amount=1_000_000, announce=False)
    await until_states(pair, "CHANNELD_NORMAL")
    assert await meet(pair) == [WELCOME, WELCOME]

    await left.call("close", right.node_id)
    await until_states(pair, "ONCHAIN")
    assert await meet(pair) == [REFUSED, REFUSED]
