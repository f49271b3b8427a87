"""One extension as a plugin at both ends of a connection, of which one end at least is a real lightningd.

What it does on one node is in `../test_hosted.py`.
"""

from __future__ import annotations

import asyncio
import json

import pytest

pytestmark = [pytest.mark.cln, pytest.mark.interop]

MANY = 2500


class Pair:
    """Two nodes with the extension `quote`; the left one dials."""

    def __init__(self, left, right):
        self.left = left
        self.right = right

    async def connect(self):
        await self.left.connect(self.right.uri)
        for here, there in self.ways:
            await here.until_connected(there.node_id)

    @property
    def ways(self):
        return (self.left, self.right), (self.right, self.left)


PAIRS = {"two lightningds": "ll", "lightningd dials node": "ln", "node dials lightningd": "nl"}


@pytest.fixture(scope="module", params=PAIRS.values(), ids=PAIRS.keys())
def kinds(request):
    """Which nodes the two are."""
    return request.param


def launch(starter, kinds):
    kind = {"l": starter.lightningd, "n": starter.node}
    return Pair(*(kind[letter]("quote", options=["--quote-millisats=7"]) for letter in kinds))


@pytest.fixture(scope="module")
def shared(starter, kinds):
    return launch(starter, kinds)


@pytest.fixture
async def pair(shared):
    """Two connected nodes, for all tests that do them no harm."""
    await shared.connect()
    return shared


@pytest.fixture
async def fresh(start, kinds):
    """Two connected nodes for one test."""
    pair = launch(start, kinds)
    await pair.connect()
    return pair


async def test_each_sees_the_others_feature_and_both_ask_and_answer(pair):
    for here, there in pair.ways:
        assert await here.call("quote-ask", there.node_id) == {"nonce": 1, "millisats": 7}
        assert await here.call("quote-order", node_id=there.node_id, count=6) == {"nonce": 2, "total": 42}
        journal = (await here.call("quote-journal"))["journal"]
        assert ["connected", there.node_id, "speaks quote"] in journal


@pytest.mark.parametrize("even", [False, True], ids=["odd", "even"])
async def test_many_messages_each_way_at_once_come_whole_and_in_order(pair, even):
    kind = "even" if even else "odd"
    before = {here: len((await here.call("quote-came"))[kind]) for here, _ in pair.ways}
    sending = [here.call("quote-flood", there.node_id, MANY, even) for here, there in pair.ways]
    assert await asyncio.gather(*sending) == [{"sent": MANY}] * 2
    for here, _ in pair.ways:
        await until_came(here, kind, before[here] + MANY)
        assert (await here.call("quote-came"))[kind][before[here] :] == list(range(MANY))


async def test_lightning_cli_asks_by_name(pair):
    for here, there in pair.ways:

        async def run(*arguments, folder=here.folder):
            process = await asyncio.create_subprocess_exec(
                "lightning-cli",
                f"--lightning-dir={folder}",
                "--network=regtest",
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await process.communicate()
            return process.returncode, output.decode()

        code, output = await run("quote-ask", f"node_id={there.node_id}", "asset=eur", "nonce=12")
        assert (code, json.loads(output)) == (0, {"nonce": 12, "millisats": 7})
        code, output = await run("quote-order", there.node_id, "3")
        assert (code, json.loads(output)) == (0, {"nonce": 2, "total": 21})
        code, output = await run("quote-ask", "node_id=nobody")
        assert (code, json.loads(output)["code"]) == (1, -32602)
        code, output = await run("check", "command_to_check=quote-ask", f"node_id={there.node_id}")
        assert (code, json.loads(output)) == (0, {"command_to_check": "quote-ask"})
        code, output = await run("help", "quote-ask")
        assert code == 0
        assert "quote-ask node_id [asset] [nonce]" in " ".join(output.split())


async def until_came(here, kind, count):
    async with asyncio.timeout(60):
        while len((await here.call("quote-came"))[kind]) < count:
            await asyncio.sleep(0.05)


async def test_either_disconnects_and_they_connect_again(pair):
    for here, there in pair.ways:
        await here.call("disconnect", there.node_id, True)
        await here.until_gone(there.node_id)
        await there.until_gone(here.node_id)
        code, text = await here.refusal("quote-ask", there.node_id)
        assert code == -1
        assert there.node_id in text
        await pair.connect()
        assert await here.call("quote-ask", there.node_id) == {"nonce": 1, "millisats": 7}


@pytest.mark.parametrize("how", ["end", "kill"])
async def test_either_is_started_anew(fresh, how):
    for here, there in fresh.ways:
        getattr(here, how)()
        await there.until_gone(here.node_id)
        here.start()
        await fresh.connect()
        for asker, asked in fresh.ways:
            assert await asker.call("quote-ask", asked.node_id) == {"nonce": 1, "millisats": 7}
            assert await asker.call("quote-order", asked.node_id, 1) == {"nonce": 2, "total": 7}
    # The right one was started anew last: the left one has seen two connections since its own start
    events = [
        what for what, peer, _ in (await fresh.left.call("quote-journal"))["journal"] if peer == fresh.right.node_id
    ]
    assert [what for what in events if what.endswith("connected")] == ["connected", "disconnected", "connected"]


@pytest.mark.parametrize("order", [("wrong", "rough"), ("rough", "wrong")], ids="-".join)
@pytest.mark.parametrize("how", ["exit", "close", "garbage", "unknown"])
async def test_a_wrong_plugin_beside_it_does_not_matter(start, start_ours, how, order):
    daemon = start.lightningd(*order)
    transport, sink = await start_ours()
    await transport.connect(daemon.uri, keep=False)
    await daemon.until_connected(str(transport.node_id))
    peer = transport.peers[0].node_id
    for payload in (b"\x8d\x03\0\0\0\1", b"\x8d\x09" + how.encode(), b"\x8d\x03\0\0\0\2"):
        await transport.send(peer, payload)
    answers = []
    async with asyncio.timeout(60):
        while len(answers) < 2:
            _, payload = await sink.payloads.get()
            if payload.startswith(b"\x8d"):
                answers.append(payload)
    assert answers == [b"\x8d\x05\0\0\0\1", b"\x8d\x05\0\0\0\2"]
    if how != "unknown":
        assert await daemon.logged("plugin-wrong.py", "Killing plugin")
    assert (await daemon.call("rough-told"))["questions"] == [1, 2]
