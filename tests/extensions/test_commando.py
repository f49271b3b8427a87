from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from oddwire import (
    AppContext,
    Application,
    Context,
    Extension,
    ExtensionError,
    MalformedMessage,
    NodeId,
    PrivateKey,
    RpcError,
)
from oddwire.errors import ConnectionClosed, NodeRefused, PeerNotConnected, RemoteRpcError, ReplyTimeout
from oddwire.known.commando import CmdContinues, CmdTerm, ReplyContinues, ReplyTerm
from oddwire.testing import RawPeers, RunApp
from oddwire.transports import MemoryNetwork
from oddwire_extensions.commando import call, extension
from oddwire_extensions.commando.conditions import Values, interval
from oddwire_extensions.commando.pieces import MAX_PIECE, OVERHEAD, Collector, TooLong, split
from oddwire_extensions.commando.rune_book import _with, _without
from oddwire_extensions.commando.select import check_filter, select
from oddwire_extensions.commando.server import AT_ONCE, REFUSED_SECONDS

from .conftest import Pair, Recorder

ALICE, BOB = (NodeId(PrivateKey(bytes([n]) * 32).public_key()) for n in (1, 2))

tools = Extension("tools", version="1.0")
tools.running = 0
tools.most = 0


@tools.rpc("tools-echo")
async def echo(context: AppContext, value: Any, times: int = 1) -> dict[str, Any]:
    """Return what it was given, so many times."""
    return {"value": value if times == 1 else value * times}


@tools.rpc("tools-sleep")
async def sleep(context: AppContext, seconds: float) -> dict[str, Any]:
    tools.running += 1
    tools.most = max(tools.most, tools.running)
    try:
        await asyncio.sleep(seconds)
    finally:
        tools.running -= 1
    return {"slept": seconds}


@tools.rpc("tools-fail")
async def fail(context: AppContext, how: str) -> dict[str, Any]:
    match how:
        case "rpc":
            raise RpcError(207, 'no such "order"', {"order": [1, {"é": None}]})
        case "value":
            raise ValueError("should be right")
        case "node":
            raise NodeRefused("the node says no", code=-4, data={"a": 1})
        case "bug":
            raise KeyError(how)
    return {"key": context.app.node_id, "path": Path("/a"), "set": {3, 1}}


async def rune_of(app: Any, *restrictions: list[str]) -> str:
    return str((await app.call("commando-createrune", restrictions=list(restrictions)))["rune"])


async def failure(calling: Any) -> tuple[int | None, str]:
    with pytest.raises(RemoteRpcError) as caught:
        await calling
    return caught.value.code, str(caught.value)


# Both sides -------------------------------------------------------------------------------------------


async def test_a_command_and_its_answer(pair: Pair, recorder: Recorder) -> None:
    async with pair((extension, tools), (extension, recorder)) as (left, right):
        rune = await rune_of(left)
        home = right.peer(left.node_id)
        assert await call(home, "tools-echo", {"value": "hé"}, rune=rune) == {"value": "hé"}
        assert await call(home, "tools-echo", [{"a": [1]}], rune=rune) == {"value": {"a": [1]}}
        info = await call(home, "getinfo", rune=rune)
        assert info["id"] == str(left.node_id)
        assert info["num_peers"] == 1
        (sent, *_) = await recorder.until("sent", 19535)
        assert sent.payload[:2] == b"\x4c\x4f"
        command = json.loads(sent.payload[10:])
        assert {"method": "tools-echo", "params": {"value": "hé"}, "rune": rune}.items() <= command.items()
        (came, *_) = await recorder.until("received", 22861)
        assert came.payload[:10] == b"\x59\x4d" + sent.payload[2:10], "the id is the client's"
        assert json.loads(came.payload[10:]) == {"jsonrpc": "2.0", "id": command["id"], "result": {"value": "hé"}}


async def test_the_methods_of_a_program_without_a_node(pair: Pair) -> None:
    async with pair((extension, tools), (extension,)) as (left, right):
        rune, home = await rune_of(left), right.peer(left.node_id)
        peers = await call(home, "listpeers", rune=rune)
        assert [(peer["id"], peer["connected"]) for peer in peers["peers"]] == [(str(right.node_id), True)]
        names = [each["command"] for each in (await call(home, "help", [], rune=rune))["help"]]
        assert {"getinfo", "help", "listpeers", "tools-echo", "commando-call"} <= {*names}
        assert await failure(call(home, "getinfo", [1], rune=rune)) == (-32602, "getinfo has no parameters here")
        assert await failure(call(home, "stop", rune=rune)) == (-32601, "Unknown command 'stop'")


async def test_the_rpc_method_takes_what_lightningds_commando_takes(pair: Pair) -> None:
    async with pair((extension, tools), (extension,)) as (left, right):
        rune, home = await rune_of(left), str(left.node_id)
        assert await right.call("commando-call", home, "getinfo", {}, rune, {"id": True}) == {"id": home}
        text = await right.call("commando-call", home, "tools-echo", '{"value": [1]}', rune, '{"value": [{"a": true}]}')
        assert text == {"value": [1]}
        with pytest.raises(RpcError, match='no such "order"') as caught:
            await right.call("commando-call", home, "tools-fail", ["rpc"], rune)
        assert (caught.value.code, caught.value.data) == (207, {"order": [1, {"é": None}]})
        for params, wanted in (("{", "params: should be JSON"), (7, "params: should be an object or an array, not 7")):
            with pytest.raises(RpcError, match=wanted):
                await right.call("commando-call", home, "getinfo", params, rune)
        with pytest.raises(RpcError, match="filter: should be an object, not 1"):
            await right.call("commando-call", home, "getinfo", {}, rune, 1)


@pytest.mark.parametrize(
    ("how", "code", "text", "data"),
    [
        ("rpc", 207, 'no such "order"', {"order": [1, {"é": None}]}),
        ("value", -1, "should be right", None),
        ("node", -4, "the node says no", {"a": 1}),
        ("bug", -32603, "tools-fail: internal error (see logs)", None),
    ],
)
async def test_errors_keep_code_text_and_data(pair: Pair, how: str, code: int, text: str, data: object) -> None:
    async with pair((extension, tools), (extension,)) as (left, right):
        with pytest.raises(RemoteRpcError) as caught:
            await call(right.peer(left.node_id), "tools-fail", [how], rune=await rune_of(left))
        assert (caught.value.code, str(caught.value), caught.value.data) == (code, text, data)


async def test_results_are_plain(pair: Pair) -> None:
    async with pair((extension, tools), (extension,)) as (left, right):
        result = await call(right.peer(left.node_id), "tools-fail", ["not at all"], rune=await rune_of(left))
        assert result == {"key": str(left.node_id), "path": "/a", "set": [1, 3]}


@pytest.mark.parametrize("size", [1, MAX_PIECE - 100, MAX_PIECE, 3 * MAX_PIECE, 9_000_000])
async def test_answers_of_any_size_come_whole(pair: Pair, recorder: Recorder, size: int) -> None:
    async with pair((extension, tools), (extension, recorder)) as (left, right):
        home, rune = right.peer(left.node_id), await rune_of(left)
        result = await call(home, "tools-echo", {"value": "abcdefghij", "times": size // 10 + 2}, rune=rune)
        assert result == {"value": "abcdefghij" * (size // 10 + 2)}
        pieces = [event for event in recorder.events if event.type_id in (22859, 22861)]
        assert [event.type_id for event in pieces[:-1]] == [22859] * (len(pieces) - 1)
        assert all(event.size == 10 + MAX_PIECE for event in pieces[:-1])


async def test_commands_of_many_pieces_at_the_same_time(pair: Pair) -> None:
    async with pair((extension, tools), (extension,)) as (left, right):
        home, rune = right.peer(left.node_id), await rune_of(left)
        values = [str(number) * 200_000 for number in range(10)]
        found = await asyncio.gather(*(call(home, "tools-echo", [value], rune=rune) for value in values))
        assert found == [{"value": value} for value in values]


async def test_slow_commands_do_not_hold_up_quick_ones(pair: Pair) -> None:
    async with pair((extension, tools), (extension,)) as (left, right):
        home, rune = right.peer(left.node_id), await rune_of(left)
        slow = asyncio.create_task(call(home, "tools-sleep", [20], rune=rune))
        assert await call(home, "tools-echo", [1], rune=rune) == {"value": 1}
        assert not slow.done()
        slow.cancel()


async def test_of_one_peer_so_many_run_at_a_time(pair: Pair) -> None:
    async with pair((extension, tools), (extension,)) as (left, right):
        home, rune = right.peer(left.node_id), await rune_of(left)
        tools.most = 0
        await asyncio.gather(*(call(home, "tools-sleep", [0.02], rune=rune) for _ in range(3 * AT_ONCE)))
        assert tools.most == AT_ONCE


async def test_no_answer_in_time_and_an_answer_that_is_too_long(pair: Pair) -> None:
    async with pair((extension, tools), (extension,)) as (left, right):
        home, rune = right.peer(left.node_id), await rune_of(left)
        with pytest.raises(
            ReplyTimeout, match=r"no answer to tools-sleep within 0.1 s, 0 bytes of it have come"
        ) as caught:
            await call(home, "tools-sleep", [20], rune=rune, timeout=0.1)
        assert caught.value.sent
        with pytest.raises(
            MalformedMessage, match="answer to tools-echo has more than 1000 bytes; max_bytes= allows more"
        ):
            await call(home, "tools-echo", ["x", 5000], rune=rune, max_bytes=1000)
        assert await call(home, "tools-echo", ["still here"], rune=rune) == {"value": "still here"}


async def test_a_peer_that_goes_ends_calls_and_what_it_has_running(pair: Pair) -> None:
    async with pair((extension, tools), (extension,)) as (left, right):
        home, rune = right.peer(left.node_id), await rune_of(left)
        calling = asyncio.create_task(call(home, "tools-sleep", [60], rune=rune))
        async with asyncio.timeout(30):
            while not tools.running:
                await asyncio.sleep(0.01)
            await right.disconnect(left.node_id)
            with pytest.raises(ConnectionClosed):
                await calling
            while tools.running:
                await asyncio.sleep(0.01)
        with pytest.raises(PeerNotConnected):
            await call(right.peer(BOB), "getinfo")


async def test_it_takes_no_commands_when_told_so(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with pair((extension,), (extension,), {"commando-serve": "never"}) as (left, right):
        rune = await rune_of(left)
        with pytest.raises(ReplyTimeout):
            await call(right.peer(left.node_id), "getinfo", rune=rune, timeout=0.2)
    assert "commando takes no commands: --commando-serve is never" in caplog.text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("commando-serve", "perhaps", "should be auto, always or never, not 'perhaps'"),
        ("commando-incomplete", "0", "should be 1 or more, not 0"),
    ],
)
async def test_options_that_are_refused(name: str, value: str, text: str) -> None:
    with pytest.raises(ExtensionError, match=text):
        async with Application(
            extension, transport=MemoryNetwork().transport(), store=":memory:", options={name: value}
        ):
            pass


# Runes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("restrictions", "method", "params", "why"),
    [
        ([], "getinfo", {}, None),
        ([["method=getinfo"]], "getinfo", {}, None),
        ([["method=getinfo"]], "listpeers", {}, "method: != getinfo"),
        ([["method=help", "method^get"]], "getinfo", {}, None),
        ([["method=help", "method^list"]], "getinfo", {}, "method: != help AND method: does not start with list"),
        ([["method/getinfo"]], "getinfo", {}, "method: = getinfo"),
        ([["pnum=0"]], "getinfo", {}, None),
        ([["pnum<1"]], "tools-echo", [1], "pnum: >= 1"),
        ([["pnamevalue=a"]], "tools-echo", {"value": "a"}, None),
        ([["pnamevalue=a"]], "tools-echo", ["a"], "pnamevalue: is missing"),
        ([["pnamevalue!"]], "tools-echo", ["a"], None),
        ([["parr0=a"]], "tools-echo", ["a"], None),
        ([["parr0<5"]], "tools-echo", [4], None),
        ([["parr0<5"]], "tools-echo", [5], "parr0: >= 5"),
        ([["parr0<5"]], "tools-echo", ["x"], "parr0: not an integer field"),
        ([["parr0=true"]], "tools-echo", [True], None),
        ([['parr0~"a":[1,2]']], "tools-echo", [{"a": [1, 2]}], None),
        ([["time<5"]], "getinfo", {}, "time: >= 5"),
        ([["time>5"], ["a comment# for people"]], "getinfo", {}, None),
        ([["pinvbolt11_amount<10"]], "tools-echo", [1], "pinvbolt11_amount: invoices are not looked into here"),
        ([["parr0=a|b&c\\d"]], "tools-echo", ["a|b&c\\d"], None),
        ([["parr0=é ü"]], "tools-echo", ["é ü"], None),
    ],
)
async def test_what_a_rune_allows(
    pair: Pair, restrictions: list[list[str]], method: str, params: Any, why: str | None
) -> None:
    async with pair((extension, tools), (extension,)) as (left, right):
        rune, home = await rune_of(left, *restrictions), right.peer(left.node_id)
        checked = {"rune": rune, "nodeid": str(right.node_id), "method": method, "params": params}
        if why is None:
            await call(home, method, params, rune=rune)
            assert await left.call("commando-checkrune", **checked) == {"valid": True}
            return
        assert await failure(call(home, method, params, rune=rune)) == (19537, f"Invalid rune: Not permitted: {why}")
        with pytest.raises(RpcError, match="Not permitted: ") as caught:
            await left.call("commando-checkrune", **checked)
        assert caught.value.code == 1502


async def test_a_rune_for_one_node_alone(pair: Pair) -> None:
    async with pair((extension,), (extension,)) as (left, right):
        home = right.peer(left.node_id)
        await call(home, "getinfo", rune=await rune_of(left, [f"id={right.node_id}"]))
        for_another = await rune_of(left, [f"id={BOB}"])
        assert await failure(call(home, "getinfo", rune=for_another)) == (
            19537,
            f"Invalid rune: Not permitted: id: != {BOB}",
        )


async def test_runes_that_are_none(pair: Pair) -> None:
    async with pair((extension,), (extension,)) as (left, right):
        home, rune = right.peer(left.node_id), await rune_of(left, ["method=help"])
        unnumbered = base64.urlsafe_b64encode(bytes(32) + b"method=getinfo").decode()
        conditions = base64.urlsafe_b64encode(bytes(32) + b"=0" + b"&a#|b#" * 64).decode()
        forged, changed = await rune_of(right), f"{'B' if rune[0] == 'A' else 'A'}{rune[1:]}"
        longer = await right.call("commando-createrune", rune=rune, restrictions=[["method/help"]])
        for given, text in (
            (None, "Missing rune"),
            ("", "Invalid rune: rune: should be base64 string"),
            (conditions, "Invalid rune: rune: should have 128 conditions at most"),
            (unnumbered, "Invalid rune: rune: should have valid numeric unique_id"),
            ("no rune", "Invalid rune: rune: should be base64 string"),
            ("é" * 100, "Invalid rune: rune: should be base64 string"),
            ("A" * 5000, "Invalid rune: rune: should be 4096 characters at most, not 5000"),
            (forged, "Invalid rune: Not authorized: Not derived from master"),
            (changed, "Invalid rune: Not authorized: Not derived from master"),
            (longer["rune"], "Invalid rune: Not permitted: method: != help"),
        ):
            _, said = await failure(call(home, "getinfo", rune=given))
            assert said == text, given


@pytest.mark.parametrize("length", range(40, 80))
async def test_restrictions_are_added_by_anybody_and_taken_away_by_nobody(length: int) -> None:
    """The length is one at which the package miscounts the bytes of its hash."""
    network = MemoryNetwork()
    async with (
        Application(extension, transport=network.transport(), store=":memory:") as home,
        Application(extension, transport=network.transport(), store=":memory:") as other,
    ):
        rune = await rune_of(home, [f"comment#{'é' * (length % 3)}{'x' * length}"])
        less = await other.call("commando-createrune", rune=rune, restrictions="readonly")
        assert less["unique_id"] == "0"
        assert await home.call("commando-checkrune", less["rune"], method="listpeers") == {"valid": True}
        for method in ("stop", "listdatastore"):
            with pytest.raises(RpcError, match="Not permitted"):
                await home.call("commando-checkrune", less["rune"], method=method)


async def test_runes_are_shown_in_words_and_taken_back(pair: Pair) -> None:
    async with pair((extension,), (extension,)) as (left, right):
        home = right.peer(left.node_id)
        everything = await left.call("commando-createrune")
        assert everything["unique_id"] == "0"
        assert everything["warning_unrestricted_rune"].startswith("WARNING: This rune has no restrictions!")
        some = await left.call("commando-createrune", restrictions='[["method=getinfo", "pnum<1"], ["a#b"]]')
        assert some.keys() == {"rune", "unique_id"}
        before = time.time()
        await call(home, "getinfo", rune=some["rune"])
        first, second = (await left.call("commando-showrunes"))["runes"]
        assert first == {
            "rune": everything["rune"],
            "unique_id": "0",
            "restrictions": [],
            "restrictions_as_english": "",
        }
        assert before <= second.pop("last_used") <= time.time()
        assert second == {
            "rune": some["rune"],
            "unique_id": "1",
            "restrictions": [
                {
                    "alternatives": [
                        {
                            "fieldname": "method",
                            "value": "getinfo",
                            "condition": "=",
                            "english": "method equal to getinfo",
                        },
                        {"fieldname": "pnum", "value": "1", "condition": "<", "english": "pnum < 1"},
                    ],
                    "english": "method equal to getinfo OR pnum < 1",
                },
                {
                    "alternatives": [{"fieldname": "a", "value": "b", "condition": "#", "english": "comment: a b"}],
                    "english": "comment: a b",
                },
            ],
            "restrictions_as_english": "method equal to getinfo OR pnum < 1 AND comment: a b",
        }
        (foreign,) = (await left.call("commando-showrunes", await rune_of(right)))["runes"]
        assert (foreign["stored"], foreign["our_rune"]) == (False, False)

        assert await left.call("commando-blacklistrune") == {"blacklist": []}
        assert await left.call("commando-blacklistrune", 1) == {"blacklist": [{"start": 1, "end": 1}]}
        assert await failure(call(home, "getinfo", rune=some["rune"])) == (
            19537,
            "Invalid rune: Not authorized: Blacklisted rune",
        )
        assert (await left.call("commando-showrunes", some["rune"]))["runes"][0]["blacklisted"] is True
        await left.call("commando-blacklistrune", 1, relist=True)
        await call(home, "getinfo", rune=some["rune"])


def test_ranges_of_ids() -> None:
    ranges: list[tuple[int, int]] = []
    for start, end, found in (
        (5, 9, [(5, 9)]),
        (1, 2, [(1, 2), (5, 9)]),
        (3, 3, [(1, 3), (5, 9)]),
        (4, 20, [(1, 20)]),
    ):
        ranges = _with(ranges, start, end)
        assert ranges == found
    assert _without([(1, 20), (30, 40)], 5, 30) == [(1, 4), (31, 40)]
    assert _without([(1, 20)], 0, 99) == []


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"end": 1}, "Can not specify end without start"),
        ({"start": 2, "end": 1}, "start and end should be 0 to 99999999, and start not the larger one"),
        ({"start": 100_000_000}, "start and end should be 0 to 99999999"),
    ],
)
async def test_what_cannot_be_taken_back(run_app: RunApp, params: dict[str, int], text: str) -> None:
    async with run_app(extension) as app:
        with pytest.raises(RpcError, match=text) as caught:
            await app.call("commando-blacklistrune", **params)
        assert caught.value.code == -32602


@pytest.mark.parametrize(
    "given",
    [
        "everything",
        ["method=getinfo"],
        [[]],
        [[7]],
        [["method"]],
        [["=5"]],
        [["rate=often"]],
        [["per=5weeks"]],
        {"a": 1},
    ],
)
async def test_what_is_no_restriction(run_app: RunApp, given: object) -> None:
    async with run_app(extension) as app:
        with pytest.raises(RpcError) as caught:
            await app.call("commando-createrune", restrictions=given)
        assert caught.value.code == -32602
        assert "restrictions: " in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "seconds"),
    [
        ("rate", "60", 1),
        ("rate", "1", 60),
        ("per", "5", 5),
        ("per", "5sec", 5),
        ("per", "2min", 120),
        ("per", "1hour", 3600),
        ("per", "1day", 86400),
        ("per", "5msec", 0.005),
        ("per", "5usec", 0.000005),
        ("per", "5nsec", 0.000000005),
    ],
)
def test_how_often(field: str, value: str, seconds: float) -> None:
    assert interval(field, value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("field", "value"), [("rate", "0"), ("rate", "1sec"), ("per", ""), ("per", "1week"), ("per", "-1")]
)
def test_what_says_not_how_often(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"malformed {field}"):
        interval(field, value)


async def test_a_rune_is_used_no_oftener_than_it_says_and_its_children_share_that(
    run_app: RunApp,
) -> None:
    async with run_app(extension) as app:
        rune = await rune_of(app, ["per=1hour"])
        child = (await app.call("commando-createrune", rune, [["method=getinfo"]]))["rune"]
        another = await rune_of(app, ["rate=1"])
        assert await app.call("commando-checkrune", rune) == {"valid": True}
        for each, text in ((rune, "Not permitted: per: too soon"), (child, "Not permitted: per: too soon")):
            with pytest.raises(RpcError, match=text):
                await app.call("commando-checkrune", each, method="getinfo")
        assert await app.call("commando-checkrune", another) == {"valid": True}
        with pytest.raises(RpcError, match="rate: too soon"):
            await app.call("commando-checkrune", another)
        await app.restart()
        with pytest.raises(RpcError, match="per: too soon"):
            await app.call("commando-checkrune", rune)
        more = await app.call("commando-createrune")
        assert more["unique_id"] == "2", "ids are used once"


async def test_runes_survive_a_restart(run_app: RunApp) -> None:
    async with run_app(extension) as app:
        kept, gone = await rune_of(app, ["method=getinfo"]), await rune_of(app)
        await app.call("commando-blacklistrune", 1)
        await app.restart()
        assert await app.call("commando-checkrune", kept, method="getinfo") == {"valid": True}
        with pytest.raises(RpcError, match="Blacklisted"):
            await app.call("commando-checkrune", gone)
        assert [each["unique_id"] for each in (await app.call("commando-showrunes"))["runes"]] == ["0", "1"]


def test_values_of_parameters() -> None:
    values = Values(node_id=None, method=None, params={"amount_msat": 5, "a-b": None}, now=7.9, idle=1)
    assert values["pnameamount_msat"] == values["pnameamountmsat"] == "5"
    assert values["pnameab"] == "null"
    assert (values["time"], values["pnum"]) == (7, 2)
    assert "id" not in values
    assert "method" not in values
    assert Values(node_id=ALICE, method="m", params=None, now=0, idle=0)["pnum"] == 0


# Filters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "wanted", "found"),
    [
        ({"a": 1, "b": 2}, {"a": True}, {"a": 1}),
        ({"a": 1}, {"b": True}, {}),
        ({"a": [{"b": 1, "c": 2}, {"c": 3}]}, {"a": [{"b": True}]}, {"a": [{"b": 1}, {}]}),
        ({"a": {"b": 1}}, {"a": True}, {"a": {"b": 1}}),
        ({"a": 5}, {"a": {"b": True}}, {"a": 5}),
        ({"a": {"b": 1}}, {"a": [{"b": True}]}, {"a": {}}),
        ({"a": [1]}, {"a": {"b": True}}, {"a": []}),
    ],
)
def test_what_a_filter_selects(value: Any, wanted: Any, found: Any) -> None:
    check_filter(wanted)
    assert select(value, wanted) == found


@pytest.mark.parametrize("wanted", [1, [], {"a": 1}, {"a": []}, {"a": [True, True]}, {"a": {"b": False}}])
def test_what_is_no_filter(wanted: Any) -> None:
    with pytest.raises(ValueError, match="filter"):
        check_filter(wanted)


# What strangers send ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "code", "text"),
    [
        (b"", 19536, "Invalid JSON"),
        (b"{", 19536, "Invalid JSON"),
        (b"\xff", 19536, "Invalid JSON"),
        (b"[" * 60_000, 19536, "Invalid JSON"),
        (b"[" * 100_000, 19537, "Invalid rune: there is none of this node's in a command of this length"),
        (
            b'{"rune": "%s"}' % (b"A" * 80_000),
            19537,
            "Invalid rune: there is none of this node's in a command of this length",
        ),
        (b"[]", 19536, "Not a JSON object"),
        (b"{}", 19536, "No method"),
        (b'{"method": 1}', 19536, "No method"),
        (b'{"method": "a", "params": 1}', 19536, "Params must be object or array"),
        (b'{"method": "a"}', 19536, "Missing rune"),
        (b'{"method": "a", "rune": 1}', 19536, "Missing rune"),
        (b'{"method": "a", "rune": "x", "filter": 1}', 19536, "filter should be an object"),
        (b'{"method": "a", "rune": "x"}', 19537, "Invalid rune: rune: should be base64 string"),
    ],
)
async def test_what_is_no_command_is_answered(
    run_app: RunApp, raw_peer: RawPeers, sent: bytes, code: int, text: str
) -> None:
    async with run_app(extension) as app, raw_peer(app) as peer:
        for piece in split(sent)[:-1]:
            await peer.send(CmdContinues(idnum=7, json=piece))
        await peer.send(CmdTerm(idnum=7, json=split(sent)[-1]))
        answer = await peer.receive(ReplyTerm)
        assert answer.idnum == 7
        assert json.loads(answer.json)["error"] == {"code": code, "message": text}


async def test_a_command_without_an_id_and_one_with_any(run_app: RunApp, raw_peer: RawPeers) -> None:
    async with run_app(extension) as app, raw_peer(app) as peer:
        rune = await rune_of(app)
        for key in (None, 5, "a", [{}]):
            command = {"method": "getinfo", "rune": rune, "params": {}, "filter": {"id": True}, "id": key}
            await peer.send(CmdTerm(idnum=1, json=json.dumps(command).encode()))
            answer = json.loads((await peer.receive(ReplyTerm)).json)
            assert answer == {"jsonrpc": "2.0", "id": key, "result": {"id": str(app.node_id)}}


async def test_a_command_that_is_too_long(run_app: RunApp, raw_peer: RawPeers) -> None:
    async with run_app(extension, options={"commando-command-bytes": "1000"}) as app, raw_peer(app) as peer:
        await peer.send(CmdTerm(idnum=1, json=b" " * 1001))
        assert b"command is longer than 1000 bytes" in (await peer.receive(ReplyTerm)).json
        for _ in range(3):
            await peer.send(CmdContinues(idnum=2, json=b" " * 500))
        await peer.send(CmdTerm(idnum=2, json=b"{}"))
        assert b"command is longer than 1000 bytes" in (await peer.receive(ReplyTerm)).json
        await peer.send(CmdTerm(idnum=2, json=b"{}"))
        assert b"No method" in (await peer.receive(ReplyTerm)).json


async def test_strangers_without_runes_hold_up_nobody_who_has_one(run_app: RunApp, raw_peer: RawPeers) -> None:
    async with (
        run_app(extension, transport="bolt8") as app,
        run_app(extension, transport="bolt8") as phone,
        raw_peer(app) as one,
        raw_peer(app) as other,
    ):
        rune, home = await rune_of(app), await phone.connect(app.uris[0])
        refused = json.dumps({"method": "getinfo", "rune": "A" * 4000, "params": {}}).encode()
        for number in range(100):
            await one.send(CmdTerm(idnum=number, json=refused))
            await other.send(CmdContinues(idnum=number, json=b" " * 60_000))
        start = time.perf_counter()
        for _ in range(20):
            await call(home, "getinfo", rune=rune)
        took = time.perf_counter() - start
        answers = [await one.receive(ReplyTerm) for _ in range(100)]
        assert [answer.idnum for answer in answers] == list(range(100))
        assert time.perf_counter() - start > 100 * REFUSED_SECONDS > took


def collector(**limits: Any) -> Collector:
    return Collector(**{"longest": 1000, "most": 3, "most_bytes": 2000, "seconds": 30.0, **limits})


def test_pieces_are_put_together_by_peer_and_id() -> None:
    kept = collector()
    kept.add(ALICE, 1, b"a", 0)
    kept.add(BOB, 1, b"b", 0)
    kept.add(ALICE, 2, b"c", 0)
    kept.add(ALICE, 1, b"d", 0)
    assert kept.finish(ALICE, 1, b"e", 0) == b"ade"
    assert kept.finish(BOB, 1, b"", 0) == b"b"
    assert kept.finish(BOB, 9, b"whole", 0) == b"whole"
    assert (len(kept), kept.size) == (1, OVERHEAD + 1)
    kept.leave(ALICE)
    assert (len(kept), kept.size, kept.forgotten) == (0, 0, 1)


def test_what_is_kept_is_bounded_in_number_bytes_and_time() -> None:
    kept = collector()
    peers = [NodeId(b"\x02" + n.to_bytes(32, "big")) for n in range(100)]
    for peer in peers:
        kept.add(peer, 1, b"x" * 10, 0)
        assert len(kept) <= 3
    assert (len(kept), kept.forgotten) == (3, 97)
    for peer in peers[:3]:
        kept.add(peer, 1, b"x" * 900, 1)
        assert kept.size <= 2000
    assert kept.finish(peers[99], 1, b"", 1) == b"", "the ones that began first have gone"
    assert kept.finish(peers[2], 1, b"y", 1) == b"x" * 900 + b"y"
    kept.add(peers[5], 1, b"x", 20)
    kept.expire(49.9)
    assert len(kept) == 1
    kept.expire(50)
    assert (len(kept), kept.size) == (0, 0)


def test_one_peer_has_four_at_most_and_crowds_out_no_other() -> None:
    kept = collector(most=10, most_bytes=10_000)
    assert kept.add(BOB, 1, b"b", 0)
    assert [kept.add(ALICE, number, b"a", 0) for number in range(20)] == [True] * 4 + [False] * 16
    assert len(kept) == 5
    assert kept.finish(BOB, 1, b"", 0) == b"b"
    assert kept.finish(ALICE, 19, b"", 0) == b"a"


def test_one_that_is_too_long_keeps_no_bytes() -> None:
    kept = collector()
    kept.add(ALICE, 1, b"x" * 600, 0)
    kept.add(ALICE, 1, b"x" * 600, 0)
    assert kept.size == OVERHEAD
    kept.add(ALICE, 1, b"x" * 600, 0)
    assert kept.size == OVERHEAD
    with pytest.raises(TooLong, match="longer than 1000 bytes"):
        kept.finish(ALICE, 1, b"", 0)
    assert kept.size == 0


def test_what_is_cut_is_whole() -> None:
    for size in (0, 1, MAX_PIECE, MAX_PIECE + 1, 3 * MAX_PIECE):
        pieces = split(bytes(size))
        assert b"".join(pieces) == bytes(size)
        assert all(0 < len(piece) <= MAX_PIECE for piece in pieces) or size == 0


# What a node answers ----------------------------------------------------------------------------------


impostor = Extension("impostor", version="1.0")


@impostor.on(CmdTerm)
async def answer(context: Context, command: CmdTerm) -> None:
    asked = json.loads(command.json)
    told = asked["params"].get("answer", "").replace("ID", asked["id"])
    stray = command.idnum ^ 1
    await context.peer.send(ReplyTerm(idnum=stray, json=b"not asked for"))
    for piece in asked["params"].get("pieces", []):
        await context.peer.send(ReplyContinues(idnum=command.idnum, json=piece.encode()))
    await context.peer.send(ReplyTerm(idnum=command.idnum, json=told.encode()))


impostor.register(ReplyContinues)
impostor.register(ReplyTerm)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ("", "is no JSON: "),
        ("[" * 50_000, "is no JSON: "),
        ("[]", "should be an object, not list"),
        ("{}", "has neither a result nor an error"),
        ('{"id": "other", "result": {}}', "should have the id 'oddwire:x#"),
        ('{"error": 5}', "has an error without code and message: 5"),
        ('{"error": {"code": "a", "message": "b"}}', "has an error without code and message"),
        ('{"error": {"code": 1}}', "has an error without code and message"),
    ],
)
async def test_answers_that_are_none(pair: Pair, told: str, text: str) -> None:
    async with pair((impostor,), (extension,)) as (left, right):
        with pytest.raises(MalformedMessage) as caught:
            await call(right.peer(left.node_id), "x", {"answer": told})
        assert f"the answer to x {text}" in str(caught.value)


async def test_an_answer_by_its_id_whatever_else_comes(pair: Pair) -> None:
    async with pair((impostor,), (extension,)) as (left, right):
        home = right.peer(left.node_id)
        assert await call(home, "x", {"answer": '{"id": "ID", "result": [1]}'}) == [1]
        assert await call(home, "x", {"pieces": ['{"res', 'ult":'], "answer": " null}"}) is None
        assert await failure(call(home, "x", {"answer": '{"error": {"code": 99999999999, "message": "m"}}'})) == (
            99999999999,
            "m",
        )
        text = '{"error": {"code": 99999999999, "message": "m"}}'
        with pytest.raises(ValueError, match="an error whose code is 99999999999: m"):
            await right.call("commando-call", str(left.node_id), "x", {"answer": text})


async def test_a_call_that_json_cannot_hold(pair: Pair) -> None:
    async with pair((impostor,), (extension,)) as (left, right):
        for params in ({"a": b""}, {"a": float("nan")}):
            with pytest.raises((TypeError, ValueError)):
                await call(right.peer(left.node_id), "x", params)
