"""The same extension under every lightningd from v23.11 on, as far as a plugin can tell them apart."""

from __future__ import annotations

import json
import struct

import msgpack
import pytest

LIMIT = 30  # seconds; reached only by what hangs
PEER = "03284bb117cd2af9e6f4268e433f199bab2a29b1b863127bbd351706b5d0ddd625"
OTHER = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"
SESSION = 0xC0DD  # the type of what every application says beside its messages
FEATURES = "800898880a8a59a1"
SPEAKS_QUOTE = (1 << 513).to_bytes(65, "big").hex()


def quote_request(asset: str, nonce: int) -> bytes:
    return b"\x8c\x01" + msgpack.packb({"asset": asset, "nonce": nonce})


def quote(nonce: int, millisats: int) -> bytes:
    return struct.pack(">HQQ", 0x8C03, nonce, millisats)


def order(nonce: int, count: int) -> bytes:
    return struct.pack(">HQI", 0x8C02, nonce, count)


def receipt(nonce: int, total: int) -> bytes:
    return struct.pack(">HQQ", 0x8C04, nonce, total)


async def happened(host, count):
    """Wait until the extension `quote` has so many entries in its journal, and give them, the startup left out."""

    async def probe():
        journal = (await host.result("quote-journal"))["journal"]
        assert journal[0][0] == "startup"
        return [tuple(entry) for entry in journal[1:]] if len(journal) > count else None

    return await host.until(f"{count} entries in the journal", probe)


async def test_the_manifest(spawn, habits):
    host = await spawn("quote", habits)
    manifest = await host.load()
    names = ["ask", "order", "flood", "came", "journal", "host", "fail"]
    found = [method.pop("name") for method in manifest["rpcmethods"]]
    assert found == [*(f"quote-{name}" for name in names), "quote-stats", "oddwire-stats"]
    assert [option["name"] for option in manifest["options"][-3:]] == [
        "quote-log-level",
        "quote-trace",
        "quote-metrics",
    ]
    del manifest["options"][-3:]
    assert manifest.pop("rpcmethods")[:2] == [
        {"usage": "node_id [asset] [nonce]", "description": "Ask a peer for the price of an asset."},
        {
            "usage": "node_id count [force]",
            "description": "Order some of a peer, and give its receipt; forced, nobody waits for one.",
        },
    ]
    features, told = SPEAKS_QUOTE, habits.tells_of_messages
    assert manifest == {
        "options": [
            {
                "name": "quote-asset",
                "type": "string",
                "default": "eur",
                "description": "What is quoted where nothing else is asked for: three letters.",
            },
            {
                "name": "quote-millisats",
                "type": "int",
                "default": 1000,
                "description": "What one costs, in millisatoshis.",
                "dynamic": True,
            },
            {"name": "quote-closed", "type": "flag", "description": "Whether to quote nothing."},
            {"name": "quote-also", "type": "string", "description": "Other assets that are quoted.", "multi": True},
            {
                "name": "quote-file",
                "type": "string",
                "default": "quote-ended",
                "description": "Where to write at the end how much came.",
            },
        ],
        "hooks": [] if told else [{"name": "custommsg", "filters": [0x8C01, 0x8C02, 0x8C03, 0x8C04, SESSION]}],
        "custommessages": [0x8C02, 0x8C04],
        "featurebits": {"init": features, "node": features},
        "subscriptions": ["connect", "disconnect", "shutdown", *(["custommsg"] if told else [])],
        "dynamic": False,
        "nonnumericids": True,
        "cancheck": True,
    }


async def test_an_extension_without_feature_bits_is_dynamic(spawn, habits):
    manifest = await (await spawn("rough", habits)).load()
    assert manifest["dynamic"] is True
    assert "featurebits" not in manifest


async def test_messages_in_and_out(start, habits):
    host = await start("quote", habits, options={"quote-also": ["usd", "gbp"], "quote-millisats": 7})
    host.connect(PEER, SPEAKS_QUOTE)
    await host.custommsg(PEER, quote_request("eur", 1))
    assert await host.sent(PEER) == quote(1, 7)
    await host.custommsg(PEER, quote_request("gbp", 2), order(3, 4), quote_request("chf", 1 << 63))
    assert [await host.sent(PEER) for _ in range(3)] == [quote(2, 7), receipt(3, 28), quote(1 << 63, 0)]
    host.disconnect(PEER)
    assert await happened(host, 6) == [
        ("connected", PEER, "speaks quote"),
        ("quote", PEER, "eur 1"),
        ("quote", PEER, "gbp 2"),
        ("order", PEER, "3 4"),
        ("quote", PEER, f"chf {1 << 63}"),
        ("disconnected", PEER, "disconnected"),
    ]


async def test_what_others_send_is_answered_and_ignored(start, habits):
    host = await start("quote", habits)
    host.connect(PEER)
    await host.custommsg(PEER, b"\x8c\x05", b"\x8c\x07" + bytes(65533), b"\x00\x07backup", b"\xff\xff", b"\x8c", b"")
    await host.custommsg(PEER, quote_request("eur", 1))
    assert await host.sent(PEER) == quote(1, 1000)
    assert [entry[0] for entry in await happened(host, 2)] == ["connected", "quote"]
    assert not [line for level, line in host.log if level != "info" and line.startswith("oddwire")]


async def test_what_cannot_be_read_is_answered_and_logged(start, habits):
    host = await start("quote", habits)
    host.connect(PEER)
    await host.custommsg(PEER, b"\x8c\x01", b"\x8c\x01\xc1", b"\x8c\x02\x00", order(1, 1) + b"\0")
    await host.custommsg(PEER, quote_request("eur", 1))
    assert await host.sent(PEER) == quote(1, 1000)
    await host.logged("(at byte 15)")  # the last of them
    lines = [line for _, line in host.log if "malformed" in line]
    assert len(lines) == 4
    assert all(PEER in line and ("0x8c01" in line or "0x8c02" in line) for line in lines)


async def test_methods(start, habits):
    host = await start("quote", habits)
    host.connect(PEER, SPEAKS_QUOTE)
    for params in (
        [PEER],
        [PEER, None, 5],
        {"node_id": PEER, "nonce": 5},
        {"asset": "usd", "node_id": PEER, "nonce": "6"},
    ):
        asked = host.ask("quote-ask", params, "quote-ask")
        payload = await host.sent(PEER)
        wanted = msgpack.unpackb(payload[2:])
        assert payload[:2] == b"\x8c\x01"
        await host.custommsg(PEER, quote(wanted["nonce"], 9))
        assert (await asked)["result"] == {"nonce": wanted["nonce"], "millisats": 9}
    asked = host.ask("quote-order", [PEER, 3])
    assert await host.sent(PEER) == order(2, 3)
    await host.custommsg(PEER, receipt(2, 5))
    assert (await asked)["result"] == {"nonce": 2, "total": 5}


WRONG = [
    ("quote-ask", [], -32602, "missing required parameter: node_id"),
    ("quote-ask", {}, -32602, "missing required parameter: node_id"),
    ("quote-ask", [PEER, "eur", 1, 2], -32602, "too many parameters: got 4, expected 3"),
    ("quote-ask", {"node_id": PEER, "colour": "red"}, -32602, "unknown parameter: colour, this may be caused by"),
    ("quote-ask", ["nobody"], -32602, "node_id: should be"),
    ("quote-ask", [PEER, "eur", "many"], -32602, "nonce: should be"),
    ("quote-ask", [PEER, "eur", -1], -1, "nonce"),
    ("quote-ask", [OTHER], -1, OTHER),
    ("quote-fail", ["refuse"], 777, "not for you"),
    ("quote-fail", ["value"], -1, "that is no price"),
    ("quote-fail", ["bug"], -32603, "quote-fail: internal error (see logs)"),
    ("quote-fail", ["exit"], -32603, "quote-fail: internal error (see logs)"),
    ("quote-fail", ["weird"], -32603, "quote-fail: internal error (see logs)"),
    ("quote-fail", ["else"], -32602, "how: should be"),
    ("quote-host", ["nosuch"], -32601, "Unknown command 'nosuch'"),
    ("quote-nothing", [], -32601, "quote-nothing"),
]


async def test_calls_that_fail(quoting):
    for method, params, code, text in WRONG:
        found, message = await quoting.error(method, params)
        assert (found, text in message) == (code, True), message
        # And the plugin is as well as before
        assert await quoting.result("quote-fail", ["nothing"]) in (None, {})


@pytest.fixture
async def quoting(start):
    host = await start("quote")
    host.connect(PEER)
    return host


async def test_check_looks_at_parameters_and_does_nothing(quoting):
    for params in ({"command_to_check": "quote-fail", "how": "exit"}, ["quote-fail", "exit"]):
        answer = await quoting.request("check", params)
        assert "error" not in answer, answer
    for params in ({"command_to_check": "quote-fail"}, ["quote-fail"]):
        assert await quoting.error("check", params) == (-32602, "missing required parameter: how")
    code, text = await quoting.error("check", ["quote-fail", "else"])
    assert code == -32602
    assert "how: should be" in text


async def test_setconfig_of_a_dynamic_option(quoting):
    assert "error" not in await quoting.request("setconfig", {"config": "quote-millisats", "val": "12"})
    await quoting.custommsg(PEER, quote_request("eur", 1))
    assert await quoting.sent(PEER) == quote(1, 12)
    for wrong in ("none", "-1", "0"):
        code, text = await quoting.error("setconfig", {"config": "quote-millisats", "val": wrong})
        assert code == -32602
        assert "quote-millisats" in text
    assert (await quoting.result("quote-journal"))["options"]["quote-millisats"] == 12


async def test_the_host_node_is_asked_and_its_refusals_handed_on(quoting, refusal):
    assert (await quoting.result("quote-host", ["getinfo"]))["version"] == quoting.habits.version

    def refuse(params):
        raise refusal(-7, f"not with {params}")

    quoting.answers["withdraw"] = refuse
    assert await quoting.error("quote-host", ["withdraw", {"satoshi": "all"}]) == (-7, "not with {'satoshi': 'all'}")


async def test_the_order_of_calls_is_kept_and_one_connection_carries_them(quoting):
    quoting.add_peer(OTHER)
    assert await quoting.result("quote-flood", [PEER, 300]) == {"sent": 300}
    assert [await quoting.sent(PEER) for _ in range(300)] == [quote(nonce, 0) for nonce in range(300)]
    assert quoting.connections == 1


async def test_the_connection_to_the_host_drops_and_is_made_again(quoting):
    assert await quoting.result("quote-flood", [PEER, 1]) == {"sent": 1}
    quoting.drop_clients()
    while (await quoting.request("quote-flood", [PEER, 1])).get("error"):
        pass  # the one that finds out
    assert quoting.connections == 2


async def test_what_the_host_says_of_a_peer_decides(quoting, refusal):
    def refuse(params):
        raise refusal(-32600, "Peer is not connected")

    send = quoting.answers["sendcustommsg"]
    quoting.answers["sendcustommsg"] = refuse
    code, text = await quoting.error("quote-flood", [PEER, 1])
    assert code == -1
    assert PEER in text
    quoting.answers["sendcustommsg"] = send
    await quoting.custommsg(PEER, quote_request("eur", 1))
    while await quoting.sent(PEER) != quote(1, 1000):
        pass


async def test_an_even_type_goes_only_to_peers_that_show_the_feature(quoting):
    code, text = await quoting.error("quote-order", [PEER, 1])
    assert code == -1
    assert "feature bit 513" in text
    assert not [call for call in quoting.calls if call[0] == "sendcustommsg"]
    assert await quoting.result("quote-order", [PEER, 1, True]) in (None, {})
    assert await quoting.sent(PEER) == order(2, 1)


# Peers come and go -----------------------------------------------------------------------------------


async def test_peers_that_were_there_before_the_plugin(spawn, habits):
    host = await spawn("quote", habits)
    host.add_peer(PEER, SPEAKS_QUOTE)
    host.add_peer(OTHER)
    await host.load()
    await host.init(startup=False)
    assert sorted(await happened(host, 2)) == [
        ("connected", OTHER, "does not speak quote"),
        ("connected", PEER, "speaks quote"),
    ]


async def test_a_message_before_the_connect(start, habits):
    host = await start("quote", habits)
    host.add_peer(PEER, SPEAKS_QUOTE)
    await host.custommsg(PEER, quote_request("eur", 1))
    assert await host.sent(PEER) == quote(1, 1000)
    host.tell_of_connect(PEER)
    await host.custommsg(PEER, quote_request("eur", 2))
    assert await host.sent(PEER) == quote(2, 1000)
    events = await happened(host, 3)
    assert events == [("connected", PEER, "speaks quote"), ("quote", PEER, "eur 1"), ("quote", PEER, "eur 2")]


async def test_a_message_after_the_disconnect(start, habits):
    host = await start("quote", habits)
    host.connect(PEER, SPEAKS_QUOTE)
    await happened(host, 1)
    host.disconnect(PEER)
    await happened(host, 2)
    await host.custommsg(PEER, quote_request("eur", 1))
    assert [entry[0] for entry in await happened(host, 5)] == [
        "connected",
        "disconnected",
        "connected",
        "quote",
        "disconnected",
    ]
    host.connect(PEER)
    await host.custommsg(PEER, quote_request("eur", 2))
    assert await host.sent(PEER) == quote(2, 1000)


async def test_a_disconnect_without_a_connect(start, habits):
    host = await start("quote", habits)
    await host.result("quote-journal")  # so that it has asked for the peers there are
    host.disconnect(PEER)
    host.connect(PEER, SPEAKS_QUOTE)
    await host.custommsg(PEER, quote_request("eur", 1))
    assert [entry[0] for entry in await happened(host, 2)] == ["connected", "quote"]


async def test_a_peer_that_comes_and_goes_at_once(start, habits):
    host = await start("quote", habits)
    for _ in range(20):
        host.connect(PEER, SPEAKS_QUOTE)
        host.disconnect(PEER)
    host.connect(OTHER, SPEAKS_QUOTE)
    await host.custommsg(OTHER, quote_request("eur", 1))
    assert await host.sent(OTHER) == quote(1, 1000)
    events = await happened(host, 2)
    assert (await host.result("quote-journal"))["peers"] == [OTHER]
    kinds = [entry[0] for entry in events if entry[1] == PEER]
    assert kinds == ["connected", "disconnected"] * (len(kinds) // 2)


# Recordings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("receive", ["hook", "notification"])
@pytest.mark.parametrize("recording", ["plugin-startup", "plugin-dynamic", "early-messages"])
async def test_what_lightningd_wrote_once(spawn, habits, replayed, recording, receive):
    """Its very bytes, in this version's portions: the answers' ids are right, and everything is heard in order."""
    host = await spawn("listener", habits, LISTENER_RECEIVE=receive)
    told = Told()
    for text in replayed(recording):
        document = json.loads(text)
        method, params = document["method"], document["params"]
        if method == "connect":
            host.add_peer(params[method]["id"], FEATURES)
            told.connect(params[method]["id"])
        elif method == "disconnect":
            host.peers.pop(params[method]["id"], None)
            told.disconnect(params[method]["id"])
        elif method == "custommsg" and "id" in document and not params["payload"].startswith("0007"):
            if params["peer_id"] not in host.peers:
                host.add_peer(params["peer_id"], FEATURES)
            told.message(params["peer_id"], params["payload"])
        await host.replay(text.replace("DIR", str(host.folder)))
        if method in ("connect", "disconnect"):
            await host.until("what was told", lambda: told.heard_by(host))  # while `listpeers` says the same
    await host.gone(within=LIMIT)


class Told:
    """What a recording tells of each peer; a message that comes before its ``connect`` makes the peer known already."""

    def __init__(self):
        self.events = {}

    def connect(self, peer):
        events = self.events.setdefault(peer, [])
        if not self.knows(peer):
            events.append("connect")

    def disconnect(self, peer):
        if self.knows(peer):
            self.events[peer].append("disconnect")

    def message(self, peer, payload):
        self.connect(peer)
        self.events[peer].append(payload)

    def knows(self, peer):
        return any(event == "connect" for event in self.events.get(peer, [])) and self.events[peer][-1] != "disconnect"

    async def heard_by(self, host):
        """Say whether the extension `listener` has heard all that was told; fails if it has heard something else."""
        types = {"connect": "connect", "disconnect": "disconnect"}
        prefixes = {"first": "c0df", "second": "8001", "last": "ffff", "even": "c0de"}
        heard = {}
        for what, peer, body in await host.result("listener-heard"):
            heard.setdefault(peer, []).append(types.get(what) or prefixes[what] + body)
        for peer, events in heard.items():
            assert events == self.events.get(peer, [])[: len(events)]
        return heard == self.events
