"""One extension file, unchanged, as a plugin of Core Lightning and of the embedded node: the same tests on both."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import stat
import struct
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest

from oddwire.proto import NodeId

pytestmark = pytest.mark.interop

EXTENSIONS = Path(__file__).parent / "extensions"
WITHIN = 10  # seconds, to be gone in: it takes 5 at most, and machines may be slow
LIMIT = 30  # seconds; reached only by what hangs


def quote_request(asset: str, nonce: int) -> bytes:
    return b"\x8c\x01" + msgpack.packb({"asset": asset, "nonce": nonce})


def quote(nonce: int, millisats: int) -> bytes:
    return struct.pack(">HQQ", 0x8C03, nonce, millisats)


def order(nonce: int, count: int) -> bytes:
    return struct.pack(">HQI", 0x8C02, nonce, count)


def receipt(nonce: int, total: int) -> bytes:
    return struct.pack(">HQQ", 0x8C04, nonce, total)


def trouble(how: str) -> bytes:
    return b"\x8d\x01" + msgpack.packb({"how": how})


def question(number: int) -> bytes:
    return struct.pack(">HI", 0x8D03, number)


def answer(number: int) -> bytes:
    return struct.pack(">HI", 0x8D05, number)


class Peer:
    """A peer in the test itself, connected to a daemon."""

    def __init__(self, transport, sink, daemon):
        self._transport = transport
        self._sink = sink
        self._daemon = daemon
        self.node_id = str(transport.node_id)
        self.features = b""

    async def connect(self):
        self.features = (await self._transport.connect(self._daemon.uri, keep=False)).features
        await self._daemon.until_connected(self.node_id)

    async def send(self, *payloads):
        for payload in payloads:
            await self._transport.send(NodeId(self._daemon.node_id), payload)

    async def received(self, count=1):
        """Wait for so many messages; the session's greetings and other plugins' backups are left out."""
        found = []
        async with asyncio.timeout(LIMIT):
            while len(found) < count:
                _, payload = await self._sink.payloads.get()
                if payload[:2] not in (b"\xc0\xdd", b"\x00\x07"):
                    found.append(payload)
        return found

    async def gone(self):
        async with asyncio.timeout(LIMIT):
            await self._sink.disconnected.get()


@pytest.fixture
def meet(start_ours):
    """Connect a new peer with a daemon: ``await meet(host, features=[513])``."""

    async def meet(daemon, features=(), key=None):
        peer = Peer(*await start_ours(features=features, key=key), daemon)
        await peer.connect()
        return peer

    return meet


class Process:
    """A plugin's process, watched from outside."""

    def __init__(self, pid):
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    @property
    def running(self):
        return not select.select([self._descriptor], [], [], 0)[0]

    async def gone(self):
        ended, _, _ = await asyncio.to_thread(select.select, [self._descriptor], [], [], WITHIN)
        assert ended, f"the plugin still runs after {WITHIN} s"
        os.close(self._descriptor)


async def process_of(daemon, method="quote-journal"):
    return Process((await daemon.call(method))["pid"])


@pytest.fixture(scope="module", params=["node", pytest.param("lightningd", marks=pytest.mark.cln)])
def kind(request):
    """Which node it is."""
    return request.param


@pytest.fixture(scope="module")
def host(kind, starter):
    """One node for all tests that do it no harm."""
    options = ["--quote-asset=USD", "--quote-also=eur", "--quote-also=gbp", "--quote-millisats=7"]
    return getattr(starter, kind)("quote", options=options)


@pytest.fixture(scope="module")
def rough(kind, starter):
    """One node with the extension that does all that no extension should; `collector` is behind it in the chain."""
    return getattr(starter, kind)("rough", "collector")


@pytest.fixture
def launch(kind, start):
    """Start a node for one test."""
    return getattr(start, kind)


# What others see of it -------------------------------------------------------------------------------


async def test_the_node_offers_what_the_extension_declares(host):
    info = await host.call("getinfo")
    for context in ("init", "node"):
        assert int(info["our_features"][context], 16) >> 513 & 1
    usages = [entry["command"].strip() for entry in (await host.call("help"))["help"]]
    for usage in ("quote-ask node_id [asset] [nonce]", "quote-order node_id count [force]", "quote-journal"):
        assert usage in [" ".join(line.split()) for line in usages]
    configs = (await host.call("listconfigs"))["configs"]
    plugin = str(EXTENSIONS / "quote.py")
    assert configs["quote-asset"] == {"value_str": "USD", "source": "cmdline", "plugin": plugin}
    assert configs["quote-also"]["values_str"] == ["eur", "gbp"]
    assert configs["quote-millisats"]["value_int"] == 7
    assert configs["quote-millisats"]["dynamic"] is True
    assert configs["quote-file"] == {"value_str": "quote-ended", "source": "default", "plugin": plugin}
    assert configs["quote-closed"] == {"set": False, "source": "default", "plugin": plugin}


async def test_startup_knew_the_options_and_the_node(host):
    told = await host.call("quote-journal")
    assert told["journal"][0] == ["startup", host.node_id, "usd"]
    assert told["options"] == {
        "quote-asset": "usd",
        "quote-millisats": 7,
        "quote-closed": False,
        "quote-also": ["eur", "gbp"],
        "quote-file": "quote-ended",
    }


async def test_peers_see_the_feature_and_the_extension_sees_theirs(host, meet):
    speaker, other = await meet(host, features=[513]), await meet(host)
    for peer in (speaker, other):
        assert int.from_bytes(peer.features, "big") >> 513 & 1
        await peer.send(quote_request("usd", 1))
        assert await peer.received() == [quote(1, 7)]
    journal = (await host.call("quote-journal"))["journal"]
    assert ["connected", speaker.node_id, "speaks quote"] in journal
    assert ["connected", other.node_id, "does not speak quote"] in journal


async def test_messages_of_odd_and_even_types_come_in_and_are_answered(host, meet):
    peer = await meet(host, features=[513])
    await peer.send(quote_request("gbp", 1), order(2, 3), b"\x8c\x05not ours", quote_request("chf", (1 << 64) - 1))
    assert await peer.received(3) == [quote(1, 7), receipt(2, 21), quote((1 << 64) - 1, 0)]


async def test_a_peer_that_comes_again_before_it_has_gone(host, meet):
    """Two connections of one node: the newest stays, and the extension hears of an end before each beginning."""
    key = os.urandom(32)
    for nonce in range(5):
        peer = await meet(host, features=[513], key=key)
        await peer.send(quote_request("usd", nonce))
        assert await peer.received() == [quote(nonce, 7)]
    events = [what for what, who, _ in (await host.call("quote-journal"))["journal"] if who == peer.node_id]
    assert [what for what in events if what != "quote"] == ["connected", "disconnected"] * 4 + ["connected"]


async def test_what_cannot_be_read_harms_nobody(host, meet):
    peer = await meet(host)
    await peer.send(b"\x8c\x01", b"\x8c\x01\xc1", b"\x8c\x02\x00", order(1, 1) + b"\0", quote_request("usd", 9))
    assert await peer.received() == [quote(9, 7)]
    assert await host.logged("malformed", peer.node_id)


async def test_an_even_type_that_no_plugin_knows_still_ends_the_connection(host, meet):
    peer = await meet(host)
    await peer.send(b"\x8c\x06unknown")
    await peer.gone()


async def test_messages_go_out(host, meet):
    peer = await meet(host, features=[513])
    asked = asyncio.create_task(host.call("quote-ask", peer.node_id, "eur", 5))
    assert await peer.received() == [quote_request("eur", 5)]
    await peer.send(quote(5, 99))
    assert await asked == {"nonce": 5, "millisats": 99}
    asked = asyncio.create_task(host.call("quote-order", node_id=peer.node_id, count=4))
    assert await peer.received() == [order(2, 4)]
    await peer.send(receipt(2, 28))
    assert await asked == {"nonce": 2, "total": 28}


async def test_an_even_type_goes_only_to_a_peer_that_shows_the_feature(host, meet):
    peer = await meet(host)
    code, text = await host.refusal("quote-order", peer.node_id, 1)
    assert code == -1
    assert "feature bit 513" in text
    await host.call("quote-order", peer.node_id, 1, True)
    assert await peer.received() == [order(2, 1)]


async def test_many_messages_cross_whole_and_in_order(host, meet):
    peer = await meet(host, features=[513])
    for even in (False, True):
        assert await host.call("quote-flood", peer.node_id, 2500, even) == {"sent": 2500}
        expected = [receipt(nonce, 0) if even else quote(nonce, 0) for nonce in range(2500)]
        assert await peer.received(2500) == expected
    for payloads in ([quote_request("usd", n) for n in range(2500)], [order(n, 1) for n in range(2500)]):
        sending = asyncio.create_task(peer.send(*payloads))
        answers = await peer.received(2500)
        await sending
        assert [struct.unpack(">HQQ", answer)[1:] for answer in answers] == [(n, 7) for n in range(2500)]


# Methods and options ---------------------------------------------------------------------------------

NOBODY = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"  # 2 G, which nobody has as node id


@pytest.mark.parametrize(
    ("method", "params", "code", "text"),
    [
        ("quote-ask", [], -32602, "missing required parameter: node_id"),
        ("quote-ask", {"asset": "eur"}, -32602, "missing required parameter: node_id"),
        ("quote-ask", [NOBODY, "eur", 1, 2], -32602, "too many parameters: got 4, expected 3"),
        ("quote-ask", {"node_id": NOBODY, "colour": "red"}, -32602, "unknown parameter: colour"),
        ("quote-ask", ["nobody"], -32602, "node_id: should be"),
        ("quote-order", [NOBODY, "many"], -32602, "count: should be"),
        ("quote-ask", [NOBODY], -1, NOBODY),
        ("quote-fail", ["refuse"], 777, "not for you"),
        ("quote-fail", ["value"], -1, "that is no price"),
        ("quote-fail", ["bug"], -32603, "quote-fail: internal error (see logs)"),
        ("quote-fail", ["exit"], -32603, "quote-fail: internal error (see logs)"),
        ("quote-fail", ["weird"], -32603, "quote-fail: internal error (see logs)"),
        ("quote-host", ["nosuch"], -32601, "Unknown command 'nosuch'"),
    ],
)
async def test_calls_that_fail(host, method, params, code, text):
    named = params if isinstance(params, dict) else {}
    found, message = await host.refusal(method, *([] if named else params), **named)
    assert (found, text in message) == (code, True), message


async def test_what_went_wrong_inside_is_in_the_log(host):
    await host.refusal("quote-fail", "bug")
    assert await host.logged("plugin-quote.py", "KeyError")


async def test_methods_take_numbers_and_words_as_they_come_from_a_shell(host, meet):
    peer = await meet(host, features=[513])
    for count, force in ((3, True), ("3", "true")):
        await host.call("quote-order", node_id=peer.node_id, count=count, force=force)
        assert await peer.received() == [order(2, 3)]


async def test_check_looks_at_parameters_and_does_nothing(host):
    assert await host.call("check", "quote-fail", "exit") == {"command_to_check": "quote-fail"}
    assert await host.call("check", command_to_check="quote-ask", node_id=NOBODY) == {"command_to_check": "quote-ask"}
    for params in ({"command_to_check": "quote-fail"}, {"command_to_check": "quote-fail", "how": "else"}):
        code, text = await host.refusal("check", **params)
        assert code == -32602
        assert "how" in text


async def test_the_help_of_one_method(host):
    (entry,) = (await host.call("help", "quote-ask"))["help"]
    assert entry["command"].split() == ["quote-ask", "node_id", "[asset]", "[nonce]"]


async def test_a_method_calls_the_node(host):
    assert await host.call("quote-host", "getinfo") == await host.call("getinfo")
    code, _ = await host.refusal("quote-host", "sendcustommsg", {"node_id": NOBODY, "msg": "8001"})
    assert code == -32600


async def test_setconfig_of_a_dynamic_option(host, meet):
    peer = await meet(host)
    try:
        await host.call("setconfig", config="quote-millisats", val="12", transient=True)
        await peer.send(quote_request("usd", 1))
        assert await peer.received() == [quote(1, 12)]
        code, text = await host.refusal("setconfig", config="quote-millisats", val="-1", transient=True)
        assert code == -32602
        assert "should be more than nothing" in text
        assert (await host.call("listconfigs", "quote-millisats"))["configs"]["quote-millisats"]["value_int"] == 12
        assert (await host.call("quote-journal"))["options"]["quote-millisats"] == 12
    finally:
        await host.call("setconfig", config="quote-millisats", val="7", transient=True)


async def test_a_static_option_stays_as_it_is(host):
    code, _ = await host.refusal("setconfig", config="quote-asset", val="chf", transient=True)
    assert code == -32602
    assert (await host.call("quote-journal"))["options"]["quote-asset"] == "usd"


# Rough handlers --------------------------------------------------------------------------------------


PASSING = [
    "raise-an-error",
    "wait-for-what-is-cancelled",
    "answer-nonsense",
    "answer-an-unregistered-message",
    "leave",
    "leave-in-a-task",
    "leave-in-a-callback",
    "raise-generator-exit",
    "raise-keyboard-interrupt",
    "interrupt-in-a-task",
    "print-something",
    "have-a-child-print",
    "read-what-is-not-there",
    "log-what-cannot-be-written",
]


async def test_whatever_handlers_do_the_same_peer_and_others_go_on(rough, meet):
    troubled, other = await meet(rough), await meet(rough)
    process = await process_of(rough, "rough-told")
    for number, how in enumerate(PASSING):
        await troubled.send(trouble(how), question(number))
        assert await troubled.received() == [answer(number)], how
        await other.send(question(number))
        assert await other.received() == [answer(number)], how
    assert process.running
    assert (await rough.call("rough-told"))["pid"] == process.pid
    assert len(await rough.taken(troubled.node_id, 2 * len(PASSING))) == 2 * len(PASSING)


async def test_prints_become_lines_of_the_nodes_log(rough, meet):
    peer = await meet(rough)
    assert await rough.logged("INFO", "plugin-rough.py", "printed while loading")
    await peer.send(trouble("print-something"), trouble("have-a-child-print"))
    for text in (
        "printed, no line ended",
        "printed by a handler",
        "written by a handler",
        "printed by a child",
        "printed after all",
    ):
        assert await rough.logged("INFO", "plugin-rough.py", text)


async def test_a_blocked_loop_holds_up_no_hook(rough, meet):
    """The plugin behind it in the chain hears of everything, so each hook call was answered."""
    peer, other = await meet(rough), await meet(rough)
    await peer.send(trouble("block"))
    await rough.logged("blocking the loop")
    await peer.send(*map(question, range(100)))
    await other.send(*map(question, range(100)))
    assert await rough.taken(peer.node_id, 101) == [trouble("block"), *map(question, range(100))]
    assert await rough.taken(other.node_id, 100) == list(map(question, range(100)))
    (rough.network_folder / "go").touch()
    assert await peer.received(100) == list(map(answer, range(100)))
    assert await other.received(100) == list(map(answer, range(100)))


async def test_a_handler_that_hangs_holds_up_only_its_peers_handlers(rough, meet):
    peer, other = await meet(rough), await meet(rough)
    await peer.send(trouble("hang"), *map(question, range(100)))
    assert len(await rough.taken(peer.node_id, 101)) == 101
    await other.send(question(1))
    assert await other.received() == [answer(1)]
    assert await rough.call("ping", peer.node_id)


# Life ------------------------------------------------------------------------------------------------


async def ended_well(daemon, process):
    await process.gone()
    assert (daemon.network_folder / "quote-ended").exists()


@pytest.fixture
async def living(launch):
    daemon = launch("quote")
    return daemon, await process_of(daemon)


async def test_the_node_stops(living):
    daemon, process = living
    await daemon.stop()
    await ended_well(daemon, process)


async def test_the_node_gets_sigterm(living):
    daemon, process = living
    daemon.process.terminate()
    await ended_well(daemon, process)


async def test_the_node_is_killed(living):
    daemon, process = living
    daemon.kill()
    await ended_well(daemon, process)


async def test_the_plugin_gets_sigterm_and_the_node_goes_on(living, meet):
    daemon, process = living
    os.kill(process.pid, signal.SIGTERM)
    await ended_well(daemon, process)
    assert (await daemon.refusal("quote-journal"))[0] == -32601
    await meet(daemon)


async def test_plugin_start_and_stop(launch, meet):
    daemon = launch()
    peer = await meet(daemon)
    path = str(EXTENSIONS / "rough.py")
    for _ in range(2):
        started = await daemon.call("plugin", "start", path)
        assert {"name": path, "active": True, "dynamic": True} in started["plugins"]
        await peer.send(question(1))
        assert await peer.received() == [answer(1)]
        process = await process_of(daemon, "rough-told")
        assert (await daemon.call("plugin", "stop", path))["result"] == "Successfully stopped rough.py."
        await process.gone()
        assert (daemon.network_folder / "rough-ended").read_text() == "1\n"
        assert (await daemon.refusal("rough-told"))[0] == -32601
    await peer.send(question(2))  # nobody's now
    assert await daemon.call("ping", peer.node_id)


@pytest.mark.parametrize("how", ["hang", "hang-on", "block"])
async def test_handlers_under_way_do_not_keep_a_plugin_alive(launch, meet, how):
    daemon = launch("rough")
    peer = await meet(daemon)
    process = await process_of(daemon, "rough-told")
    await peer.send(question(1))
    assert await peer.received() == [answer(1)]
    await peer.send(trouble(how))
    if how == "block":
        await daemon.logged("blocking the loop")
    else:
        await daemon.call("rough-told")
    stopping = asyncio.create_task(daemon.call("plugin", "stop", "rough.py"))
    await process.gone()
    assert (await stopping)["command"] == "stop"
    if how != "hang-on":  # the application goes on without one that does not let go, if there is time left for that
        assert (daemon.network_folder / "rough-ended").exists() == (how == "hang")


# Not starting ----------------------------------------------------------------------------------------


async def test_a_startup_hook_that_raises_is_told_to_who_starts_it(launch):
    daemon = launch()
    path = str(EXTENSIONS / "unwilling.py")
    _, text = await daemon.refusal("plugin", "start", path)
    assert "the shop is shut" in text
    assert await daemon.logged("plugin-unwilling.py", "the shop is shut")
    _, text = await daemon.refusal("plugin", subcommand="start", plugin=path, **{"unwilling-word": "now"})
    assert "should be the magic word, not 'now'" in text


async def test_a_node_starts_without_a_plugin_that_does_not(launch):
    daemon = launch("unwilling", "rough", options=["--unwilling-word=now"])
    assert await daemon.logged("plugin-unwilling.py", "should be the magic word, not 'now'")
    assert (await daemon.call("rough-told"))["questions"] == []


# Files that `oddwire plugin` writes ------------------------------------------------------------------


def pack(*arguments):
    """Run ``oddwire plugin``."""
    command = [sys.executable, "-m", "oddwire.cli.main", "plugin", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)


async def test_several_extensions_in_one_file(launch, meet, tmp_path):
    file = tmp_path / "several.py"
    done = pack("echo", "chat", EXTENSIONS / "rough.py", "-o", file)
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & stat.S_IXUSR
    daemon = launch()
    started = await daemon.call("plugin", "start", str(file))
    assert {"name": str(file), "active": True, "dynamic": True} in started["plugins"]
    peer = await meet(daemon)
    (greeting,) = await peer.received()
    assert greeting[:2] == b"\x8c\x11"  # chat's
    await peer.send(question(1))
    assert await peer.received() == [answer(1)]
    reached = asyncio.create_task(daemon.call("chat-say", "good evening"))
    (said,) = await peer.received()
    assert msgpack.unpackb(said[2:])["text"] == "good evening"
    await reached


async def test_files_travel_between_two_nodes(launch, tmp_path):
    """The sample extension courier on both: a parcel sent before the other is there, and a file fetched in a stream."""
    plugin, letter, shelf = tmp_path / "courier-plugin", tmp_path / "letter", tmp_path / "shelf"
    done = pack("courier", "-o", plugin)
    assert done.returncode == 0, done.stderr
    letter.write_bytes(os.urandom(200_000))
    shelf.mkdir()
    (shelf / "map").write_bytes(os.urandom(700_000))
    sender, keeper = launch(plugin), launch(plugin, options=[f"--courier-folder={shelf}"])
    sent = await sender.call("courier-send", keeper.node_id, str(letter))
    assert sent == {"name": "letter", "size": 200_000}
    assert await keeper.call("courier-inbox") == []
    await sender.call("connect", keeper.uri)
    await sender.call("courier-send", keeper.node_id, str(letter), True)
    assert [(parcel["from"], parcel["size"]) for parcel in await keeper.call("courier-inbox")] == [
        (sender.node_id, 200_000)
    ] * 2
    await keeper.call("courier-save", 1, "letter")
    assert (keeper.network_folder / "letter").read_bytes() == letter.read_bytes()
    assert await sender.call("courier-list", keeper.node_id) == [{"name": "map", "size": 700_000}]
    await sender.call("courier-fetch", keeper.node_id, "map", str(tmp_path / "fetched"))
    assert (tmp_path / "fetched").read_bytes() == (shelf / "map").read_bytes()


async def test_what_the_samples_make_of_a_strangers_messages(launch, meet, tmp_path):
    """Nobody writes a line of the log but the node and its plugins; what belongs to a session is bounced by nobody."""
    plugin = tmp_path / "samples"
    assert pack("echo", "chat", "-o", plugin).returncode == 0
    daemon = launch(plugin)
    peer = await meet(daemon)
    forged = "hi\n2026-01-01T00:00:00.000Z BROKEN lightningd: forged\r\x1b[2Jforged\u2028forged"
    frame = b"\xc0\xdd\xff of a session"
    await peer.send(b"\x8c\x11" + msgpack.packb({"text": forged, "number": 1}), frame)
    await peer.send(b"\x8c\x05" + struct.pack(">QH", 7, 0))
    received = []
    async with asyncio.timeout(LIMIT):
        while b"\x8c\x07" not in [payload[:2] for payload in received]:
            received.append((await peer._sink.payloads.get())[1])
    assert frame not in received
    line = await daemon.logged(f"{peer.node_id[:8]} says: hi")
    assert line.endswith("hi\\n2026-01-01T00:00:00.000Z BROKEN lightningd: forged\\r\\x1b[2Jforged\\u2028forged")
    assert daemon.log("forged") == [line]


async def test_c_code_that_keeps_pythons_lock_holds_up_neither_node_nor_others(launch, meet):
    """No thread of the plugin runs, and so nothing of it could be answered."""
    daemon = launch("rough", "collector")
    peer, other = await meet(daemon), await meet(daemon)
    os.mkfifo(daemon.network_folder / "pipe")
    await peer.send(trouble("lock"))
    await daemon.logged("keeping the lock")
    try:
        for one in (peer, other):
            await one.send(*map(question, range(20)))
            taken = await daemon.taken(one.node_id, 20 + (one is peer))
            assert taken[-20:] == list(map(question, range(20)))
            assert await daemon.call("ping", one.node_id)
    finally:
        os.close(os.open(daemon.network_folder / "pipe", os.O_WRONLY))
    for one in (peer, other):
        assert await one.received(20) == list(map(answer, range(20)))


async def test_a_plugin_that_listens_by_hook(launch, meet, tmp_path):
    file = tmp_path / "by-hook.py"
    done = pack(EXTENSIONS / "rough.py", "-o", file, "--receive", "hook")
    assert done.returncode == 0, done.stderr
    daemon = launch("collector")
    await daemon.call("plugin", "start", str(file))
    peer = await meet(daemon)
    await peer.send(*map(question, range(500)))
    assert await peer.received(500) == list(map(answer, range(500)))
    await peer.send(trouble("block"))
    await daemon.logged("blocking the loop")
    await peer.send(question(1))
    assert len(await daemon.taken(peer.node_id, 502)) == 502
    (daemon.network_folder / "go").touch()
    assert await peer.received() == [answer(1)]


async def test_dropped_messages_are_counted_and_logged(start, meet):
    """On the embedded node alone: lightningd takes no more than 1 MB/s of a peer, and so its time."""
    daemon = start.node("rough")
    peer = await meet(daemon)
    await peer.send(trouble("wait"))
    await daemon.logged("waiting")
    await peer.send(*[b"\x8d\x07" + msgpack.packb({"number": 7, "rest": bytes(65000)})] * 250)
    await daemon.logged("UNUSUAL", "plugin-rough.py", "are dropped", peer.node_id)
    assert await daemon.call("ping", peer.node_id)  # behind all of them
    (daemon.network_folder / "go").touch()
    line = await daemon.logged("UNUSUAL", "had to be dropped", peer.node_id)
    (dropped,) = (int(word) for word in line.split() if word.isdigit())
    await peer.send(question(1))
    assert await peer.received() == [answer(1)]
    assert (await daemon.call("rough-told"))["questions"].count(7) == 250 - dropped


async def test_an_extension_for_peers_with_a_channel_does_not_start_where_the_node_knows_of_none(start):
    """On the embedded node alone. A lightningd before v23.02 has no listpeerchannels either, and answers the same."""
    daemon = start.node("members")
    why = (
        "extension 'members': allow='channels' needs a node that knows its channels: Unknown command 'listpeerchannels'"
    )
    await daemon.logged("members.py", f"disabled itself at init: {why}")
