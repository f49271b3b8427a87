"""What plugin files offer their node's operator, two on one node. On both kinds of nodes."""

from __future__ import annotations

import os

import pytest
from tests.support.waiting import until_answered

from oddwire import Message, message
from oddwire.app import Application
from oddwire.proto import PrivateKey
from oddwire.transports import Bolt8Transport

pytestmark = pytest.mark.interop

TEXT = """\
#!/usr/bin/env python3
from oddwire import Context, Extension, Message, message

extension = Extension("{name}", version="1.0")


@message({type_id:#06x})
class Word(Message):
    text: str


@extension.on(Word)
async def hear(context: Context, word: Word) -> None:
    context.logger.debug("%s says a word", context.peer)


extension.run()
"""


@message(0x8D01)
class Word(Message):
    text: str


@pytest.fixture(params=["node", pytest.param("lightningd", marks=pytest.mark.cln)])
def launch(request, start):
    return getattr(start, request.param)


@pytest.fixture
def write(tmp_path):
    def write(name, type_id):
        path = tmp_path / name
        path.write_text(TEXT.format(name=name, type_id=type_id))
        path.chmod(0o755)
        return path

    return write


async def methods(daemon):
    return {entry["command"].split()[0] for entry in (await daemon.call("help"))["help"] if "stats" in entry["command"]}


async def test_two_plugin_files_of_one_node(launch, write):
    market, chatter = write("market", 0x8D01), write("chatter", 0x8D03)
    options = ["--market-trace", "--market-log-level=debug", "--market-metrics=127.0.0.1:0"]
    daemon = launch(market, chatter, options=options)
    own = {"market-stats", "chatter-stats", "oddwire-stats"}
    assert own <= await methods(daemon)
    first = (await daemon.call("oddwire-stats"))["program"]
    assert first in ("market", "chatter")
    assert (await daemon.call("market-stats"))["messages"] == []
    async with Application(
        transport=Bolt8Transport(PrivateKey(os.urandom(32)), network="regtest"), session=False
    ) as app:
        peer = await app.connect(daemon.uri)
        await peer.send_raw(0x8D01, b"\x81\xa4text\xa2hi")

        async def counted():
            rows = (await daemon.call("market-stats"))["messages"]
            return [row for row in rows if row["type"] == 0x8D01 and row["outcome"] == "ok"]

        (row,) = await until_answered(counted)
        assert (row["message"], row["count"]) == ("market.Word", 1)
        node_id = str(app.node_id)
    assert daemon.log("INFO", "plugin-market", f"received {node_id} market.Word 0x8d01 [11 bytes] text='hi'")
    assert daemon.log("DEBUG", "plugin-market", f"{node_id} says a word")
    assert daemon.log("INFO", "plugin-market", "metrics at http://127.0.0.1:")
    # The one with the node's name is stopped, and started again: the name is there again
    await daemon.call("plugin", "stop", first)
    other = "chatter" if first == "market" else "market"
    assert "oddwire-stats" not in await methods(daemon)
    assert (await daemon.call(f"{other}-stats"))["program"] == other
    await daemon.call("plugin", "start", str(market if first == "market" else chatter))
    assert (await daemon.call("oddwire-stats"))["program"] == first
