from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oddwire.node.plugins import PluginHost

LOOPS = ("asyncio", "uvloop")

PEER = "02" * 33
OTHER = "03" * 33
HOOK = [{"name": "custommsg"}]
# Answers when it is told to, in the order it is told
LATER = """
OPEN = []
def custommsg(request):
    OPEN.append(request["id"])
    return ...
def answer(request):
    for _ in range(request["params"][0]):
        send(id=OPEN.pop(0), result={"result": "continue"})
    return {}
"""


def payloads(seen: list[str], *, hook: bool = True) -> list[str]:
    """Return the payloads of the hook calls, or of the notifications, among what a plugin has read."""
    documents = [json.loads(text) for text in seen]
    found = [
        document["params"] for document in documents if document["method"] == "custommsg" and ("id" in document) is hook
    ]
    return [(params if hook else params["custommsg"])["payload"] for params in found]


def answering(name: str, **fields: Any) -> dict[str, Any]:
    return {"hooks": HOOK, "rpcmethods": [{"name": f"answer-{name}", "usage": "count"}], **fields}


async def test_a_message_goes_along_the_chain_in_order(
    host: PluginHost, services: Any, bare: Any, messages: Any
) -> None:
    note = """
def custommsg(request):
    log(MANIFEST["rpcmethods"][0]["name"])
    return {"result": "continue", "more": 1}
"""
    late = bare("late", note, hooks=HOOK)
    early = bare("early", note, hooks=[{"name": "custommsg", "before": ["late"]}])
    await host.start([late, early])
    await messages.deliver("c0df00", "c0df01")
    assert [text for _, text, source in services.lines if source.startswith("plugin-") and text.startswith("seen")] == [
        "seen-early",
        "seen-late",
        "seen-early",
        "seen-late",
    ]


async def test_filters_say_who_is_asked(host: PluginHost, services: Any, bare: Any, messages: Any) -> None:
    await host.start(
        [
            bare("all", hooks=HOOK),
            bare("some", hooks=[{"name": "custommsg", "filters": [0xC0DF, 0xC0E1]}]),
            bare("none", hooks=[{"name": "custommsg", "filters": []}]),
        ]
    )
    await messages.deliver("c0df", "c0e1", "c0e3")
    assert payloads(await services.seen("all")) == ["c0df", "c0e1", "c0e3"]
    assert payloads(await services.seen("some")) == ["c0df", "c0e1"]
    assert payloads(await services.seen("none")) == []


async def test_payloads_too_short_for_a_type(host: PluginHost, services: Any, bare: Any, messages: Any) -> None:
    await host.start([bare(hooks=HOOK, subscriptions=["custommsg"])])
    await messages.deliver("", "07")
    assert payloads(await services.seen("bare")) == payloads(await services.seen("bare"), hook=False) == ["", "07"]


async def test_without_hooks_nothing_is_waited_for(host: PluginHost, services: Any, bare: Any) -> None:
    await host.start([bare(subscriptions=["custommsg"])])
    for n in range(3):
        assert host.custommsg(PEER, bytes([0xC0, 0xDF, n]), pytest.fail)
    assert payloads(await services.seen("bare"), hook=False) == ["c0df00", "c0df01", "c0df02"]


async def test_who_is_told_of_messages_and_is_behind_is_told_later(host: PluginHost, services: Any, bare: Any) -> None:
    await host.start([bare(subscriptions=["custommsg"])])
    (plugin,) = host._registry.plugins
    plugin.backlog.set_behind(True)
    done: list[str] = []
    assert not host.custommsg(PEER, b"\xc0\xdf\x00", lambda: done.append("first"))
    assert not host.custommsg(OTHER, b"\xc0\xdf\x01", lambda: done.append("other"))
    assert payloads(await services.seen("bare"), hook=False) == []
    plugin.backlog.set_behind(False)
    assert done == ["first", "other"]
    assert host.custommsg(PEER, b"\xc0\xdf\x02", pytest.fail)
    assert payloads(await services.seen("bare"), hook=False) == ["c0df00", "c0df01", "c0df02"]


async def test_one_message_of_a_peer_at_a_time_and_peers_side_by_side(
    host: PluginHost, services: Any, bare: Any
) -> None:
    await host.start([bare("slow", LATER, **answering("slow"))])
    done: list[str] = []
    assert not host.custommsg(PEER, b"\xc0\xdf\x00", lambda: done.append("first"))
    assert not host.custommsg(PEER, b"\xc0\xdf\x01", lambda: done.append("second"))
    assert not host.custommsg(OTHER, b"\xc0\xdf\x02", lambda: done.append("other"))
    assert payloads(await services.seen("slow")) == ["c0df00", "c0df02"]
    assert done == []
    await services.call("answer-slow", [1])
    assert payloads(await services.seen("slow")) == ["c0df00", "c0df02", "c0df01"]
    await services.call("answer-slow", [1])
    assert done == ["other"]
    await services.call("answer-slow", [1])
    assert done == ["other", "first", "second"]


async def test_a_prompt_plugin_is_handed_messages_ahead(
    make_host: Callable[..., PluginHost], services: Any, bare: Any
) -> None:
    host = make_host(ahead=4, prompt=60)  # whatever else the machine does
    body = (
        LATER
        + """
LATER = custommsg
def custommsg(request):
    return LATER(request) if len(request["params"]["payload"]) > 4 else {"result": "continue"}
"""
    )
    await host.start([bare("slow", body, **answering("slow"))])
    ready = asyncio.Event()
    # It proves itself prompt, in so many answers as it takes
    while not host.custommsg(PEER, b"\xc0\xdf", ready.set):
        await ready.wait()
        ready.clear()
    await services.seen("slow")  # by now it has answered all of them
    resumed: list[int] = []
    sent = 0
    while host.custommsg(PEER, b"\xc0\xdf" + bytes([sent]), lambda: resumed.append(len(resumed))):
        sent += 1
    sent += 1
    ahead = [payload for payload in payloads(await services.seen("slow")) if payload != "c0df"]
    assert ahead == [f"c0df{n:02x}" for n in range(sent)]
    assert sent == 4
    assert resumed == []
    await services.call("answer-slow", [1])
    assert resumed == []
    await services.call("answer-slow", [1])
    assert resumed == [0]


async def test_of_large_messages_few_are_handed_ahead(
    make_host: Callable[..., PluginHost], services: Any, bare: Any
) -> None:
    host = make_host(prompt=60)
    await host.start([bare(hooks=HOOK)])
    ready = asyncio.Event()
    while not host.custommsg(PEER, b"\xc0\xdf", ready.set):
        await ready.wait()
        ready.clear()
    await services.seen("bare")
    sent = [1, 1]
    for count, size in enumerate((1000, 30_000)):
        done = asyncio.get_running_loop().create_future()
        while host.custommsg(PEER, b"\xc0\xdf" + bytes(size), lambda done=done: done.set_result(None)):
            sent[count] += 1
        await done
        await services.seen("bare")
    assert sent == [64, 3]


async def test_many_peers_at_once_do_not_get_a_plugin_ended(
    make_host: Callable[..., PluginHost], services: Any, bare: Any, tmp_path: Path
) -> None:
    """It has eight times as much to read as it may leave unread."""
    host = make_host(unread=1024 * 1024)
    body = f"""
def custommsg(request):
    while not os.path.exists({str(tmp_path / "go")!r}):
        time.sleep(0.001)
    return {{"result": "continue"}}
"""
    await host.start([bare("slow", body, hooks=HOOK)])
    loop = asyncio.get_running_loop()
    done = [loop.create_future() for _ in range(70)]
    for number, future in enumerate(done):
        payload = b"\xc0\xdf" + bytes([number]) + bytes(60_000)
        assert not host.custommsg(f"02{number:064x}", payload, lambda future=future: future.set_result(None))
    await asyncio.sleep(0)
    (tmp_path / "go").touch()
    await asyncio.gather(*done)
    assert sorted(payload[4:6] for payload in payloads(await services.seen("slow"))) == [f"{n:02x}" for n in range(70)]
    assert services.logged("Killing") == []


SLOW = """
def custommsg(request):
    return on_custommsg(request)
def on_custommsg(params):
    while not os.path.exists({path!r}):
        time.sleep(0.001)
    return {{"result": "continue"}}
"""


@pytest.mark.parametrize("manifest", [{"subscriptions": ["custommsg"]}, {"hooks": HOOK}, {"subscriptions": ["*"]}])
async def test_one_peer_cannot_get_a_plugin_ended(
    make_host: Callable[..., PluginHost], services: Any, bare: Any, tmp_path: Path, manifest: Any
) -> None:
    """It sends as long as it may, and three times as much as may be left unread."""
    host = make_host(unread=1024 * 1024)
    await host.start([bare("slow", SLOW.format(path=str(tmp_path / "go")), **manifest)])
    ready = asyncio.Event()
    stuck = 0
    for number in range(50):
        payload = b"\xc0\xdf" + bytes([number]) + bytes(60_000)
        if not host.custommsg(PEER, payload, ready.set):
            stuck = stuck or number
            if number == stuck:
                assert not ready.is_set()
                (tmp_path / "go").touch()
            await ready.wait()
            ready.clear()
        await asyncio.sleep(0)
    assert stuck * 120_000 < 500_000, "it was paused when a quarter was unread"
    seen = payloads(await services.seen("slow"), hook="hooks" in manifest)
    assert [payload[4:6] for payload in seen] == [f"{n:02x}" for n in range(50)]
    assert services.logged("Killing") == []
    assert sum(host.left_out[next(iter(host.left_out))].values()) == 0


async def test_who_never_reads_is_passed_over(make_host: Callable[..., PluginHost], services: Any, bare: Any) -> None:
    """By messages; but who connects waits, for it might be refused."""
    host = make_host(unread=1024 * 1024, stall=0.05, report=0.01)
    deaf = bare(
        "deaf",
        "def custommsg(request): time.sleep(600)",
        hooks=[*HOOK, {"name": "peer_connected"}],
        subscriptions=["custommsg"],
    )
    await host.start([deaf, bare("last", hooks=HOOK)])
    loop = asyncio.get_running_loop()
    for number in range(40):
        done = loop.create_future()
        payload = b"\xc0\xdf" + bytes([number]) + bytes(60_000)
        if not host.custommsg(f"02{number:064x}", payload, lambda done=done: done.set_result(None)) and number > 20:
            await done
    await services.line("has read nothing for 0.05 seconds")
    await services.line("; notifications dropped: ")
    seen = sorted(payload[4:6] for payload in payloads(await services.seen("last")))
    assert seen == [f"{n:02x}" for n in range(40)], "the other plugin has heard of all"
    assert host.left_out[deaf]["custommsg"] > 0
    admitting = asyncio.ensure_future(host.peer_connected(PEER_SHOWN))
    await asyncio.sleep(0.01)
    assert not admitting.done()
    await host.plugin_stop("deaf")
    assert await admitting is None
    assert [line for line in services.logged("Killing") if "stopped by" not in line] == []


async def test_peers_who_come_and_go_leave_a_bounded_amount(
    make_host: Callable[..., PluginHost], services: Any, bare: Any
) -> None:
    """With one id or many: their messages wait for a plugin that answers none, up to a limit."""
    host = make_host(gone=1_000_000, report=0.01)
    reads = bare("reads", LATER, hooks=HOOK, rpcmethods=[{"name": "answer", "usage": "count"}])
    await host.start([reads, bare("last", hooks=HOOK)])
    payload = b"\xc0\xdf" + bytes(60_000)
    for number in range(40):
        for peer in (PEER, f"02{number:064x}"):
            assert not host.custommsg(peer, payload, pytest.fail)
            host.notify("disconnect", {"id": peer}, peer=peer)
            assert host.message_calls.orphaned <= 1_000_000
    await services.line("notifications dropped: ")
    left_out = host.left_out[str(Path(reads).parent / "last")]["custommsg"]
    kept = 80 - left_out
    assert 10 <= kept <= 17, "those that fit"
    await host.plugin_stop("reads")
    while host.message_calls.orphaned:
        assert await services.seen("last")
    assert len(payloads(await services.seen("last"))) == kept
    assert host.message_calls.orphaned == 0


async def test_who_waits_for_a_plugin_that_ends_goes_on(
    make_host: Callable[..., PluginHost], services: Any, bare: Any
) -> None:
    host = make_host(unread=1024 * 1024)
    await host.start([bare("deaf", "def custommsg(request): time.sleep(600)", hooks=HOOK), bare("last", hooks=HOOK)])
    loop = asyncio.get_running_loop()
    done = [loop.create_future() for _ in range(20)]
    for number, future in enumerate(done):
        payload = b"\xc0\xdf" + bytes([number]) + bytes(60_000)
        assert not host.custommsg(f"02{number:064x}", payload, lambda future=future: future.set_result(None))
    await host.plugin_stop("deaf")
    await asyncio.gather(*done)
    assert sorted(payload[4:6] for payload in payloads(await services.seen("last"))) == [f"{n:02x}" for n in range(20)]


async def test_a_wrong_answer_amid_messages_handed_ahead(
    make_host: Callable[..., PluginHost], services: Any, bare: Any
) -> None:
    host = make_host(ahead=4, prompt=60)  # whatever else the machine does
    body = """
OPEN = []
def custommsg(request):
    if len(request["params"]["payload"]) == 4:
        return {"result": "continue"}
    OPEN.append(request["id"])
    if len(OPEN) == 4:
        send(id=OPEN[1], result={"result": "no"})
    return ...
"""
    await host.start([bare("wrong", body, hooks=HOOK)])
    ready = asyncio.Event()
    while not host.custommsg(PEER, b"\xc0\xdf", ready.set):
        await ready.wait()
        ready.clear()
    await services.seen("wrong")
    done = asyncio.get_running_loop().create_future()
    sent = 1
    while host.custommsg(PEER, b"\xc0\xdf\x00", lambda: done.set_result(None)):
        sent += 1
    assert sent == 4
    await done
    assert len(services.logged("answered the custommsg hook with")) == 1
    assert host.custommsg(PEER, b"\xc0\xdf\x01", pytest.fail)


async def test_ahead_only_where_a_plugin_is_alone(
    make_host: Callable[..., PluginHost], services: Any, bare: Any
) -> None:
    host = make_host(ahead=4, prompt=60)  # whatever else the machine does
    await host.start([bare("one", hooks=HOOK), bare("two", hooks=HOOK)])
    loop = asyncio.get_running_loop()
    for _ in range(50):
        done = loop.create_future()
        assert not host.custommsg(PEER, b"\xc0\xdf", lambda done=done: done.set_result(None))
        await done


async def test_no_overtaking_when_the_chain_changes(
    make_host: Callable[..., PluginHost], services: Any, bare: Any
) -> None:
    host = make_host(ahead=4, prompt=60)  # whatever else the machine does
    await host.start([bare("one", hooks=HOOK)])
    ready = asyncio.Event()
    while not host.custommsg(PEER, b"\xc0\xdf", ready.set):
        await ready.wait()
        ready.clear()
    later = bare("later", LATER, **answering("later", hooks=[{"name": "custommsg", "filters": [0xC0E1]}]))
    await host.plugin_start(later)
    done: list[int] = []
    host.custommsg(PEER, b"\xc0\xdf\x00", lambda: done.append(0))
    assert not host.custommsg(PEER, b"\xc0\xe1\x01", lambda: done.append(1))
    assert not host.custommsg(PEER, b"\xc0\xdf\x02", lambda: done.append(2))
    while "c0e101" not in payloads(await services.seen("later")):
        await asyncio.sleep(0)
    assert payloads(await services.seen("one"))[-1] == "c0e101"
    await services.call("answer-later", [1])
    while "c0df02" not in payloads(await services.seen("one")):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "text",
    [
        '{"jsonrpc":"2.0","id":ID,"result":{"result":"continue"}}',
        '{"jsonrpc": "2.0", "id": ID, "result": {"result": "continue"}}\\n\\n',
        '{"id":ID,"jsonrpc":"2.0","result":{"result":"continue"}}\\r\\n',
        '\\n {"result": {"result": "continue"}, "id": ID, "jsonrpc": "2.0"}',
        '{"jsonrpc": "2.0", "id": ID, "result": {"result": "continue", "more": [1]}}',
        '{"jsonrpc":"2.0","id":"","result":{"result":"continue"}}{"jsonrpc":"2.0","id":ID,"result":{"result":"continue"}}',
        '{"jsonrpc":"2.0","id":ID,"result":{"result":"continue"}}{"jsonrpc":"2.0","id":ID,"result":{"result":"no"}}',
    ],
)
async def test_answers_that_continue_however_they_are_written(
    host: PluginHost, services: Any, bare: Any, messages: Any, text: str
) -> None:
    body = f"def custommsg(request):\n    write('{text}'.replace('ID', json.dumps(request['id'])))\n    return ..."
    await host.start([bare("odd", body, hooks=HOOK), bare("last", hooks=HOOK)])
    await messages.deliver("c0df00", "c0df01")
    assert payloads(await services.seen("odd")) == payloads(await services.seen("last")) == ["c0df00", "c0df01"]
    assert services.logged("Killing plugin") == []


@pytest.mark.parametrize(
    "answer",
    [
        {"result": {"result": "reject"}},
        {"result": {}},
        {"result": "continue"},
        {"result": {"result": {"result": "continue"}}},
        {"result": None},
        {"result": []},
        {"error": {"code": -32600, "message": "plugin says no"}},
        {"error": {"code": -3, "message": "PLUGIN_TERMINATED lookalike"}},
        {},
    ],
    ids=str,
)
async def test_a_wrong_answer_ends_that_plugin_and_nothing_else(
    host: PluginHost, services: Any, bare: Any, messages: Any, answer: dict[str, Any]
) -> None:
    body = f"def custommsg(request):\n    send(id=request['id'], **{answer!r})\n    return ..."
    await host.start([bare("wrong", body, hooks=HOOK), bare("right", hooks=HOOK)])
    await messages.deliver("c0df00", "c0df01")
    assert payloads(await services.seen("right")) == ["c0df00", "c0df01"]
    (line,) = services.logged("answered the custommsg hook with")
    assert line.startswith("unusual plugin-wrong: Killing plugin: ")
    assert line.endswith('its result should be {"result": "continue"}')
    assert [row["name"].rpartition("/")[2] for row in host.plugin_list()["plugins"]] == ["right"]
    assert services.stopped == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sys.exit(1)", "exited with status 1 during normal operation"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was ended by SIGSEGV during normal operation"),
        ("write('hello world'); time.sleep(600)", "its stdout is not JSON: 'hello world'"),
        ("write('{\"id\": '); sys.exit()", "exited in the middle of a JSON document during normal operation"),
        ("write('[]'); time.sleep(600)", 'wrote something other than JSON-RPC (an object with a "jsonrpc" field): []'),
        (
            "write('{\"foo\": 1}'); time.sleep(600)",
            'wrote something other than JSON-RPC (an object with a "jsonrpc" field)',
        ),
    ],
)
async def test_a_plugin_that_ends_inside_the_hook_counts_as_continue(
    host: PluginHost, services: Any, bare: Any, messages: Any, body: str, reason: str
) -> None:
    await host.start([bare("ends", f"def custommsg(request): {body}", hooks=HOOK), bare("next", hooks=HOOK)])
    await messages.deliver("c0df00", "c0df01")
    assert payloads(await services.seen("next")) == ["c0df00", "c0df01"]
    assert len(services.logged(f"Killing plugin: {reason}")) == 1


@pytest.mark.parametrize("answer_id", ["nope", 17, None, [], "cln:custommsg#999"], ids=repr)
async def test_answers_to_nothing_we_asked_are_ignored(
    host: PluginHost, services: Any, bare: Any, messages: Any, answer_id: object
) -> None:
    body = f"def custommsg(request):\n    send(id={answer_id!r}, result={{}})\n    return {{'result': 'continue'}}"
    await host.start([bare(body=body, hooks=HOOK)])
    await messages.deliver("c0df00", "c0df01")
    assert payloads(await services.seen("bare")) == ["c0df00", "c0df01"]


async def test_a_second_answer_is_ignored(host: PluginHost, services: Any, bare: Any, messages: Any) -> None:
    body = """
def custommsg(request):
    send(id=request["id"], result={"result": "continue"})
    return {"result": "continue"}
"""
    await host.start([bare(body=body, hooks=HOOK)])
    await messages.deliver(*(["c0df00"] * 20))
    assert len(payloads(await services.seen("bare"))) == 20


PEER_SHOWN = {"id": PEER, "direction": "in", "addr": "127.0.0.1:4711", "features": ""}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"result": "continue"}, None),
        ({"result": "continue", "more": 1}, None),
        ({"result": "disconnect"}, ""),
        ({"result": "disconnect", "error_message": "go away please"}, "go away please"),
        ({"result": "disconnect", "error_message": 7}, "7"),
    ],
)
async def test_peer_connected_may_continue_or_disconnect(
    host: PluginHost, services: Any, bare: Any, answer: dict[str, Any], outcome: str | None
) -> None:
    body = f"def peer_connected(request): return {answer!r}"
    hooks = [{"name": "peer_connected"}]
    await host.start([bare("first", body, hooks=hooks), bare("second", hooks=hooks)])
    assert await host.peer_connected(PEER_SHOWN, command_id="cli:connect#1") == outcome
    asked = [json.loads(text) for text in await services.seen("second") if '"method":"peer_connected"' in text]
    assert len(asked) == (outcome is None)
    if asked:
        assert asked[0]["params"] == {"peer": PEER_SHOWN}
        assert asked[0]["id"].startswith("cli:connect#1/cln:peer_connected#")


@pytest.mark.parametrize(
    "body",
    [
        "def peer_connected(request): return {'result': 'reject'}",
        "def peer_connected(request): return {}",
        "def peer_connected(request): return None",
        "def peer_connected(request):\n    send(id=request['id'], error={'code': 1, 'message': 'no'})\n    return ...",
        "def peer_connected(request):\n    send(id=request['id'])\n    return ...",
        "def peer_connected(request): sys.exit()",
    ],
)
async def test_a_wrong_answer_to_peer_connected(host: PluginHost, services: Any, bare: Any, body: str) -> None:
    hooks = [{"name": "peer_connected"}]
    await host.start([bare("wrong", body, hooks=hooks), bare("right", hooks=hooks)])
    assert await host.peer_connected(PEER_SHOWN) is None
    assert sum('"method":"peer_connected"' in text for text in await services.seen("right")) == 1
    assert len(services.logged("Killing plugin: ")) == 1


async def test_plugins_without_a_part_in_it_cost_nothing(
    host: PluginHost, services: Any, bare: Any, messages: Any
) -> None:
    others = [
        bare(f"other{n}", hooks=[{"name": "custommsg", "filters": [n]}], subscriptions=["connect"]) for n in range(10)
    ]
    await host.start([bare("one", hooks=HOOK), *others])
    await messages.deliver("c0df00")
    assert payloads(await services.seen("one")) == ["c0df00"]
    for n in range(10):
        assert len(await services.seen(f"other{n}")) == 2  # getmanifest and init
