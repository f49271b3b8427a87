"""Several plugin files on one node: each says what it is, and finds who gets in its way. On both kinds of nodes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest
from tests.support.waiting import until_answered

pytestmark = pytest.mark.interop

TEXT = """\
#!/usr/bin/env python3
import os

from oddwire import AppContext, Context, Extension, Message, NodeId, message

extension = Extension("{extension}", version="1.0")
words = []


@message({type_id:#06x})
class Word(Message):
    text: str


@extension.on(Word{reliable})
async def hear(context: Context, word: Word) -> None:
    words.append(word.text)


@extension.rpc("{method}-process")
async def tell(context: AppContext) -> int:
    return os.getpid()


@extension.rpc("{method}-send")
async def send(context: AppContext, node_id: NodeId, text: str) -> None:
    await context.app.peer(node_id).deliver(Word(text=text))


@extension.rpc("{method}-heard")
async def heard(context: AppContext) -> list[str]:
    return words


extension.run()
"""


@pytest.fixture(params=["node", pytest.param("lightningd", marks=pytest.mark.cln)])
def launch(request, start):
    """Start a node for one test."""
    return getattr(start, request.param)


@pytest.fixture
def write(tmp_path):
    """Write a plugin file: ``write("market", extension="shop")``; its methods are NAME-process, -send and -heard."""

    def write(name, extension=None, type_id=0x8D01, reliable=False, method=None):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        text = TEXT.format(
            extension=extension or name,
            type_id=type_id,
            reliable=", reliable=True" if reliable else "",
            method=method or path.name,
        )
        path.write_text(text)
        path.chmod(0o755)
        return path

    return write


def claims(daemon):
    """What programs say of themselves, by the names of their files."""
    read = []
    for path in (daemon.network_folder / "oddwire.programs").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
            if path.suffix not in (".options", ".rpc", ".stats") and path.name not in ("lock", "oddwire-stats"):
                read.append(json.loads(path.read_text()))
    return {Path(claim["file"]).name: claim for claim in read}


def told(daemon, *words):
    """Lines in which a plugin says that it gets in the way of another, or another in its own."""
    return daemon.log("UNUSUAL", "plugin file", *words)


async def both_told(daemon, one, other, words):
    """Wait until both have told of each other, in either order, and see that none has said it twice."""
    for plugin in (one, other):
        await until_told(daemon, plugin, one, other, words)
    lines = told(daemon, str(one), str(other), words)
    assert len(lines) == 2


async def until_told(daemon, plugin, one, other, words):
    async def find():
        return told(daemon, f"plugin-{plugin.name}", str(one), str(other), words)

    await until_answered(find)


async def some_looks():
    """Wait for longer than programs wait between two looks for others."""
    await asyncio.sleep(2.5)


async def kill(daemon, name):
    process = await daemon.call(f"{name}-process")
    os.kill(process, signal.SIGKILL)

    async def gone():
        return name not in [Path(plugin["name"]).name for plugin in (await daemon.call("plugin", "list"))["plugins"]]

    await until_answered(gone)


async def test_plugins_that_share_nothing_say_nothing_of_each_other(launch, write):
    files = [write(name, type_id=0x8D01 + 2 * number) for number, name in enumerate(("market", "chatter", "shop"))]
    daemon = launch(*files)
    assert claims(daemon).keys() == {"market", "chatter", "shop"}
    assert len({claim["program"] for claim in claims(daemon).values()}) == 3
    for name in ("market", "shop"):
        before = claims(daemon)[name]
        await daemon.call("plugin", "stop", name)
        assert name not in claims(daemon)
        await daemon.call("plugin", "start", str(files[["market", "chatter", "shop"].index(name)]))
        after = claims(daemon)[name]
        assert after["program"] == before["program"]
        assert after["process"] == await daemon.call(f"{name}-process") != before["process"]
    await kill(daemon, "chatter")
    await daemon.call("plugin", "start", str(files[1]))
    await some_looks()
    assert not told(daemon)
    assert not daemon.log("oddwire.programs")


@pytest.mark.parametrize("order", [*permutations(range(3))])
async def test_three_of_which_two_have_one_extension_and_two_one_type(launch, write, order):
    files = [
        write("market", extension="shop", type_id=0x8D01),
        write("bazaar", extension="shop", type_id=0x8D03),
        write("chatter", type_id=0x8D03),
    ]
    market, bazaar, chatter = files
    daemon = launch(files[order[0]], files[order[1]])
    await daemon.call("plugin", "start", str(files[order[2]]))
    await both_told(daemon, market, bazaar, "both have the extension 'shop'")
    await both_told(daemon, bazaar, chatter, "both take messages of type 0x8d03")
    await some_looks()
    assert len(told(daemon)) == 4


async def test_an_extension_moves_from_one_running_plugin_to_another(launch, write):
    """The one is stopped, the other started at once; then the first again, by mistake."""
    market, bazaar = write("market", extension="shop"), write("bazaar", extension="shop")
    daemon = launch(market)
    await daemon.call("plugin", "stop", "market")
    await daemon.call("plugin", "start", str(bazaar))
    await some_looks()
    assert not told(daemon)
    await daemon.call("plugin", "start", str(market))
    await both_told(daemon, market, bazaar, "both have the extension 'shop'")


async def test_one_that_was_killed_is_in_nobodys_way(launch, write):
    market, bazaar = write("market", extension="shop"), write("bazaar", extension="shop")
    daemon = launch(market)
    await kill(daemon, "market")
    assert claims(daemon).keys() == {"market"}
    await daemon.call("plugin", "start", str(bazaar))
    assert claims(daemon).keys() == {"bazaar"}
    await some_looks()
    assert not told(daemon)


async def test_a_node_that_is_killed_and_started_at_once_raises_no_false_alarm(launch, write):
    files = [write("market", type_id=0x8D01, reliable=True), write("chatter", type_id=0x8D03, reliable=True)]
    daemon = launch(*files)
    before = claims(daemon)
    for _ in range(2):
        daemon.kill()
        daemon.start()
        await daemon.call("market-process")

        async def running():
            processes = {name: await daemon.call(f"{name}-process") for name in before}
            found = claims(daemon)
            return processes == {name: claim["process"] for name, claim in found.items()}

        await until_answered(running)
        await some_looks()
        assert not told(daemon)
        for name, claim in claims(daemon).items():
            assert (claim["program"], claim["stores"]) == (before[name]["program"], before[name]["stores"])


async def test_two_of_one_name_that_keep_things(launch, write):
    one, other = write("market", reliable=True), write("folder/market", "bazaar", 0x8D03, True, "bazaar")
    daemon = launch(one)
    _, text = await daemon.refusal("plugin", "start", str(other))
    assert f"is in use by plugin file {one}, which has the same name as {other}" in text
    assert await daemon.call("market-process")


async def test_of_two_of_one_name_that_start_with_the_node_one_says_why_it_does_not_run(launch, write):
    """In the node's log as it is by default: nobody asked for the plugin's answer."""
    one, other = write("market", reliable=True), write("folder/market", "bazaar", 0x8D03, True, "bazaar")
    daemon = launch(one, other)
    await daemon.logged("BROKEN", "plugin-market", "cannot run: ", "same name as", str(one), str(other))


async def test_a_plugin_that_cannot_load_says_why_in_the_log(launch, write):
    path = write("market")
    path.write_text(path.read_text().replace("extension.run()", "oddwire.run_plugin(extension, extension)"))
    path.write_text(path.read_text().replace("import os\n", "import os\nimport oddwire\n", 1))
    daemon = launch(path)
    await daemon.logged("BROKEN", "plugin-market", "cannot load: ", "is registered twice")


async def test_a_second_plugin_with_a_method_of_the_same_name_does_not_start(launch, write):
    """That is the node's own doing."""
    daemon = launch(write("market"))
    _, text = await daemon.refusal("plugin", "start", str(write("bazaar", type_id=0x8D03, method="market")))
    assert "market-process" in text
    assert await daemon.call("market-process")


async def test_an_extension_moves_with_its_store_to_another_plugin(launch, write):
    """What waited arrives once; the store it came from, which has its number still, is no copy."""
    market, bazaar = write("market", extension="shop", reliable=True), write("bazaar", "chatter", 0x8D03, True)
    ours, peer = launch(market, bazaar), launch(write("other/market", extension="shop", reliable=True))
    await ours.connect(peer.uri)
    await ours.call("market-send", peer.node_id, "first")
    await peer.until(lambda words: words == ["first"], "market-heard")
    await ours.call("disconnect", peer.node_id, True)
    await ours.call("market-send", peer.node_id, "waits")
    (number,) = claims(ours)["market"]["stores"]
    for name in ("market", "bazaar"):
        await ours.call("plugin", "stop", name)
    stores = [str(ours.network_folder / f"oddwire-{name}.sqlite3") for name in ("market", "bazaar")]
    command = [sys.executable, "-m", "oddwire.cli.main", "store", "move", *stores, "--extension", "shop"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    write("bazaar", "shop", 0x8D01, True)
    write("market", "chatter", 0x8D03, True)
    for path in (market, bazaar):
        await ours.call("plugin", "start", str(path))
    assert claims(ours)["market"]["stores"] == [number]
    assert claims(ours)["bazaar"]["stores"][1:] == [number]
    await ours.connect(peer.uri)
    await ours.call("bazaar-send", peer.node_id, "last")
    await peer.until(lambda words: "last" in words, "market-heard")
    assert await peer.call("market-heard") == ["first", "waits", "last"]
    await some_looks()
    assert not told(ours)


# Stores that were copied ------------------------------------------------------------------------------


@pytest.fixture
def pair(launch, write):
    """A node with a plugin, of which a copy with a copy of its store is made; and another node, which is its peer."""
    files = [write("market", extension="shop", reliable=True), write("bazaar", extension="shop", reliable=True)]
    other = write("other/market", extension="shop", reliable=True)
    return launch(files[0]), launch(other), files


def copy_store(daemon):
    for suffix in ("", "-wal"):
        path = daemon.network_folder / f"oddwire-market.sqlite3{suffix}"
        if path.exists():
            shutil.copy2(path, path.with_name(f"oddwire-bazaar.sqlite3{suffix}"))


async def test_a_copied_store_has_numbers_of_its_own_before_it_sends(pair):
    ours, peer, (market, bazaar) = pair
    await ours.call("market-send", peer.node_id, "waits")
    await ours.call("plugin", "stop", "market")
    copy_store(ours)
    await ours.call("plugin", "start", str(market))
    await ours.call("plugin", "start", str(bazaar))
    await both_told(ours, market, bazaar, "was copied from that of")
    found = claims(ours)
    (own,), (new,) = found["market"]["stores"], found["bazaar"]["stores"]
    assert own != new
    assert found["bazaar"]["renewed"] == [own]
    await ours.connect(peer.uri)
    for number in range(5):
        await ours.call("market-send", peer.node_id, f"market {number}")
        await ours.call("bazaar-send", peer.node_id, f"bazaar {number}")
    expected = ["waits", "waits", *(f"{name} {number}" for name in ("bazaar", "market") for number in range(5))]
    await peer.until(lambda words: len(words) >= len(expected), "market-heard")
    words = await peer.call("market-heard")
    assert sorted(words) == sorted(expected)
    for name in ("market", "bazaar"):
        assert [word for word in words if name in word] == [f"{name} {number}" for number in range(5)]
    for name, path in (("bazaar", bazaar), ("market", market)):  # once is enough
        await ours.call("plugin", "stop", name)
        await ours.call("plugin", "start", str(path))
    assert [claims(ours)[name]["stores"] for name in ("market", "bazaar")] == [[own], [new]]


async def test_two_copies_that_start_with_the_node(pair):
    """At one moment: one of them keeps the numbers."""
    ours, peer, (market, bazaar) = pair
    await ours.call("market-send", peer.node_id, "waits")
    (before,) = claims(ours)["market"]["stores"]
    await ours.stop()
    copy_store(ours)
    ours._command.append(f"--plugin={bazaar}")
    ours.start()
    await both_told(ours, market, bazaar, "was copied from that of")
    found = claims(ours)
    assert [found[name]["stores"] for name in ("market", "bazaar")].count([before]) == 1
    assert [claim["renewed"] for claim in found.values()].count([before]) == 1
    await ours.connect(peer.uri)
    await peer.until(lambda words: words == ["waits", "waits"], "market-heard")
