from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oddwire.errors import ExtensionError, NodeRefused
from oddwire.node.plugins import PluginHost

VECTORS = Path(__file__).parents[3] / "vectors"
MANIFESTS = [json.loads(line) for line in (VECTORS / "plugin_manifests.jsonl").read_text().splitlines()]
EXCHANGE = [json.loads(line) for line in (VECTORS / "plugin_exchange.jsonl").read_text().splitlines()]
TOPICS = ["connect", "disconnect", "custommsg", "shutdown", "warning"]
HOOKS = [{"name": "custommsg"}, {"name": "peer_connected"}]
OPTION = {"name": "logplugin-opt", "type": "string", "default": "dflt", "description": "an option, to see it in init"}
PEER = "02" * 33
REFUSES = "\n    send(id=request['id'], error={'code': 1, 'message': 'no!'})\n    return ..."


def names(host: PluginHost) -> list[str]:
    return [row["name"].rpartition("/")[2] for row in host.plugin_list()["plugins"]]


# What lightningd wrote, byte for byte


@pytest.mark.parametrize("recording", ["plugin-startup", "plugin-dynamic"])
async def test_plugins_read_what_lightningd_wrote(
    make_host: Callable[..., PluginHost], services: Any, bare: Any, tmp_path: Path, recording: str
) -> None:
    host = make_host()
    expected = [row["written"] for row in EXCHANGE if row["recording"] == recording]
    log = tmp_path / "read"
    body = f"""
class Recorder(list):
    def append(self, text):
        with open({str(log)!r}, "a") as file: file.write(text)
SEEN = Recorder()
"""
    path = bare("logplugin.py", body, options=[OPTION], subscriptions=TOPICS, hooks=HOOKS, nonnumericids=True)
    documents = [json.loads(text) for text in expected]
    init = next(document for document in documents if document.get("method") == "init")
    services.features = init["params"]["configuration"]["feature_set"]
    if recording == "plugin-startup":
        await host.start([path], [("logplugin-opt", "hello")])
    else:
        await host.start([])
        await host.plugin_start(path, command_id="raw:plugin#1")
    for document in documents:
        match document:
            case {"method": "peer_connected", "id": key, "params": {"peer": peer}}:
                prefix = key.rpartition("/")[0]
                await host.peer_connected(peer, command_id=prefix or None)
            case {"method": "custommsg", "id": _, "params": {"payload": payload, "peer_id": peer}}:
                done = asyncio.get_running_loop().create_future()
                if not host.custommsg(peer, bytes.fromhex(payload), lambda done=done: done.set_result(None)):
                    await done
            case {"method": "connect" | "disconnect" | "warning" as topic, "params": params}:
                host.notify(topic, params[topic])
    if recording == "plugin-startup":
        await host.aclose()
    else:
        await host.plugin_stop("logplugin.py")

    def plain(text: str) -> str:
        return re.sub(r'#\d+","method"', '#N","method"', text.replace(str(services.lightning_dir), "DIR"))

    read = log.read_text().replace("\n\n", "\n\n\0").split("\0")[:-1]
    assert [plain(text) for text in read] == [plain(text) for text in expected]


@pytest.mark.parametrize("row", MANIFESTS, ids=lambda row: json.dumps(row["manifest"])[:60])
async def test_plugin_start_judges_manifests_as_lightningd_does(
    make_host: Callable[..., PluginHost], services: Any, bare: Any, row: dict[str, Any]
) -> None:
    host = make_host()
    await host.start([])
    commando = bare("commando", rpcmethods=[{"name": "commando", "usage": ""}])
    await host.plugin_start(commando)
    manifest = {"hooks": HOOKS, "subscriptions": TOPICS, **row["manifest"]}
    if manifest.get("rpcmethods", [{}])[0].get("name") == "getinfo":
        manifest["rpcmethods"] = [{"name": "help", "usage": ""}]  # a built-in one of the services here
    path = bare("logplugin.py", **manifest)
    if not row["accepted"]:
        with pytest.raises(NodeRefused, match=f"^{re.escape(path)}: ") as caught:
            await host.plugin_start(path)
        assert caught.value.code == -3
        assert names(host) == ["commando"]
        reason = str(caught.value).removeprefix(f"{path}: ")
        assert len(services.logged(f"Killing plugin: {reason}")) == 1
        return
    answer = await host.plugin_start(path)
    assert answer == {
        "command": "start",
        "plugins": [
            {"name": commando, "active": True, "dynamic": True},
            {"name": path, "active": True, "dynamic": True},
        ],
    }
    if "remark" in row:
        assert services.logged(row["remark"]) == [f"unusual plugin-logplugin.py: {row['remark']}"]
    if "called_for" in row:
        for payload in ("c0df", "c0e1", "c0e3"):
            done = asyncio.get_running_loop().create_future()
            if not host.custommsg(PEER, bytes.fromhex(payload), lambda done=done: done.set_result(None)):
                await done
        seen = [json.loads(text) for text in await services.seen("logplugin.py")]
        asked = [
            document["params"]["payload"] for document in seen if document["method"] == "custommsg" and "id" in document
        ]
        assert asked == row["called_for"]


# Starting


async def test_options_reach_init_and_listconfigs(host: PluginHost, services: Any, bare: Any) -> None:
    options = [OPTION, {"name": "count", "type": "int", "default": 3, "description": "", "multi": True}]
    path = bare(options=options)
    await host.start([path], [("count", "4"), ("count", "5")])
    (init,) = [json.loads(text) for text in await services.seen("bare") if '"method":"init"' in text]
    assert init["params"]["options"] == {"logplugin-opt": "dflt", "count": [4, 5]}
    assert init["params"]["configuration"]["startup"] is True
    assert host.listconfigs("logplugin-opt") == {
        "logplugin-opt": {"value_str": "dflt", "source": "default", "plugin": path}
    }
    assert set(host.listconfigs()) == {"logplugin-opt", "count"}
    assert [(owner, spec.name) for owner, spec in host.options] == [(path, "logplugin-opt"), (path, "count")]


@pytest.mark.parametrize(
    ("proxy", "address"),
    [
        ("127.0.0.1:9050", {"type": "ipv4", "address": "127.0.0.1", "port": 9050}),
        ("[::1]:9050", {"type": "ipv6", "address": "::1", "port": 9050}),
        ("tor.example:1", {"type": "dns", "address": "tor.example", "port": 1}),
    ],
)
async def test_init_tells_of_the_proxy(
    host: PluginHost, services: Any, bare: Any, proxy: str, address: dict[str, Any]
) -> None:
    services.proxy = proxy
    await host.start([bare()])
    (init,) = [json.loads(text) for text in await services.seen("bare") if '"method":"init"' in text]
    configuration = init["params"]["configuration"]
    assert configuration["proxy"] == address
    assert configuration["torv3-enabled"] is configuration["always_use_proxy"] is True


async def test_environment_and_directory(host: PluginHost, services: Any, bare: Any) -> None:
    body = (
        "def tell(request): return {'cwd': os.getcwd(), **{k: v for k, v in os.environ.items() if 'LIGHTNINGD' in k}}"
    )
    await host.start([bare(body=body, rpcmethods=[{"name": "tell", "usage": ""}])])
    assert await services.call("tell") == {
        "cwd": str(services.lightning_dir.resolve()),
        "LIGHTNINGD_PLUGIN": "1",
        "LIGHTNINGD_VERSION": "v26.06.6",
    }


async def test_what_the_operator_got_wrong_stops_the_start(
    make_host: Callable[..., PluginHost], bare: Any, tmp_path: Path
) -> None:
    with pytest.raises(ExtensionError, match=r"nowhere should be an executable file"):
        await make_host().load([tmp_path / "nowhere"])
    with pytest.raises(ExtensionError, match="unrecognized option --typo: no plugin that runs has it"):
        await make_host().load([bare()], [("typo", "x")])


async def test_a_failing_plugin_is_left_out(host: PluginHost, services: Any, bare: Any) -> None:
    await host.start(
        [
            bare("dies", "def getmanifest(request): sys.exit(2)"),
            bare("dies-late", "def init(request): sys.exit(2)"),
            bare(
                "refuses",
                f"def getmanifest(request):{REFUSES}",
            ),
            bare(
                "refuses-late",
                f"def init(request):{REFUSES}",
            ),
            bare("disabled", "def getmanifest(request): return {'disable': 'not here'}"),
            bare("disabled-late", "def init(request): return {'disable': 'not now'}"),
            bare("garbage", "write('hello'); time.sleep(600)"),
            bare("good"),
        ]
    )
    assert names(host) == ["refuses-late", "good"]
    for source, reason in {
        "dies": "exited with status 2 before replying to getmanifest",
        "dies-late": "exited with status 2 before replying to init",
        "refuses": "answered getmanifest with an error: no!",
        "disabled": "disabled itself: not here",
        "disabled-late": "disabled itself at init: not now",
        "garbage": "its stdout is not JSON: 'hello'",
    }.items():
        assert [line.partition(" ")[2] for line in services.logged(f"Killing plugin: {reason}")] == [
            f"plugin-{source}: Killing plugin: {reason}"
        ]


async def test_a_plugin_that_refuses_its_init_runs_all_the_same(host: PluginHost, services: Any, bare: Any) -> None:
    await host.start([bare(body=f"def init(request):{REFUSES}")])
    assert host.plugin_list()["plugins"][0]["active"]
    assert services.logged("no!") == ["unusual plugin-bare: answered init with an error: no!"]


@pytest.mark.parametrize("step", ["getmanifest", "init"])
async def test_a_plugin_that_hangs_is_killed_by_name(
    make_host: Callable[..., PluginHost], services: Any, bare: Any, step: str
) -> None:
    host = make_host(**{"manifest" if step == "getmanifest" else "init": 0.3})
    await host.start([bare("hangs", f"def {step}(request): return ...")])
    assert names(host) == []
    assert services.logged("Killing plugin") == [
        f"unusual plugin-hangs: Killing plugin: did not reply to {step} within 0.3 seconds"
    ]


KEEPS = """
def init(request):
    global got
    options = request["params"]["options"]
    got = lambda request: options
    return {}

def setconfig(request):
    return {}

def crash(request):
    os._exit(3)
"""


async def test_a_plugin_started_again_has_what_the_command_line_and_setconfig_say(
    host: PluginHost, services: Any, bare: Any, tmp_path: Path
) -> None:
    """However it ended and is started again."""
    path = bare(
        "keeps",
        KEEPS,
        folder="lightning/plugins",
        options=[OPTION, {"name": "level", "type": "int", "default": 1, "description": "", "dynamic": True}],
        rpcmethods=[{"name": "got", "usage": ""}, {"name": "crash", "usage": ""}],
    )
    folder = Path(path).parent
    given = (OPTION["name"], "mine")
    await host.start([path], [given])
    assert await services.call("got") == {OPTION["name"]: "mine", "level": 1}
    await host.setconfig("level", "2")
    wanted = {OPTION["name"]: "mine", "level": 2}

    async def stop() -> None:
        await host.plugin_stop("keeps")

    async def crash() -> None:
        assert (await services.call("crash"))["code"] == -4

    async def change() -> None:
        Path(path).write_text(f"{Path(path).read_text()}\n#")

    ways = [
        lambda: host.plugin_start(path),
        lambda: host.plugin_start(f"{folder}/../plugins/keeps"),
        lambda: host.plugin_start("keeps"),
        lambda: host.plugin_startdir(str(folder)),
        host.plugin_rescan,
    ]
    for end in (stop, crash, change):
        for start in ways:
            await end()
            await start()
            assert await services.call("got") == wanted, (end, start)
    assert host.listconfigs()[OPTION["name"]]["source"] == "cmdline"
    assert host.listconfigs()["level"]["source"] == "setconfig transient"
    await stop()
    assert host.listconfigs() == {}
    await host.plugin_start(path, {OPTION["name"]: "once"})
    assert await services.call("got") == {OPTION["name"]: "once", "level": 2}
    await stop()
    await host.plugin_start(path)
    assert await services.call("got") == wanted


async def test_feature_bits_that_peers_were_told_stay_when_their_plugin_has_gone(
    host: PluginHost, services: Any, bare: Any
) -> None:
    body = "def crash(request): os._exit(3)"
    path = bare(
        "bits", body, dynamic=False, featurebits={"init": "80" + "00" * 32}, rpcmethods=[{"name": "crash", "usage": ""}]
    )
    await host.start([path])
    await services.call("crash")
    assert host.plugin_list()["plugins"] == []
    assert host.features == {"init": "80" + "00" * 32}


LARGE = """
def big(request):
    return "x" * request["params"][0]

def shout(request):
    log("y" * request["params"][0])
    send(method="sold", params={"z": "z" * request["params"][0]})
    return "done"
"""
LARGE_METHODS = [{"name": "big", "usage": ""}, {"name": "shout", "usage": ""}]


async def test_an_answer_and_a_notification_of_17_mb_are_taken(host: PluginHost, services: Any, bare: Any) -> None:
    """As lightningd takes them."""
    hears = bare("hears", "def on_sold(params): log(str(len(params['z'])))", subscriptions=["sold"])
    await host.start([bare("large", LARGE, rpcmethods=LARGE_METHODS, notifications=[{"method": "sold"}]), hears])
    assert len(await services.call("big", [17_000_000])) == 17_000_000
    assert await services.call("shout", [40_000_000]) == "done"
    assert await services.line("40000000") == "info plugin-hears: 40000000", "more than may be unread is one document"


async def test_what_is_too_large_fails_alone_with_size_and_limit(
    make_host: Callable[..., PluginHost], services: Any, bare: Any
) -> None:
    host = make_host(document=100_000)
    await host.start([bare("large", LARGE, rpcmethods=LARGE_METHODS, notifications=[{"method": "sold"}])])
    limit = "bytes, of at most 100000 (ODDWIRE_MAX_DOCUMENT in the node's environment allows more)"
    error = await services.call("big", [1_000_000])
    assert error["code"] == -3
    assert error["message"].startswith("large's answer is too large: 10000")
    assert error["message"].endswith(limit)
    assert await services.call("shout", [1_000_000]) == "done"
    dropped = services.logged("is dropped, it is too large")
    assert [line.partition(" is dropped")[0] for line in dropped] == [
        'unusual plugin-large: a notification of "log"',
        'unusual plugin-large: a notification of "sold"',
    ]
    assert all(line.endswith(limit) for line in dropped)
    assert [row["active"] for row in host.plugin_list()["plugins"]] == [True]


async def test_directories_and_disabled_plugins(
    services: Any, bare: Any, make_host: Callable[..., PluginHost], tmp_path: Path
) -> None:
    host = make_host()
    bare("one", folder="lightning/plugins")
    bare("two", folder="lightning/plugins/folder")
    bare("three", folder="others")
    four = bare("four", folder="others")
    await host.load([four], directories=[tmp_path / "others"], disabled=["three"])
    await host.initialize()
    assert names(host) == ["one", "two", "four"]
    assert len(services.logged("three: disabled via disable-plugin")) == 1


async def test_an_important_plugin_takes_the_node_with_it(
    make_host: Callable[..., PluginHost], services: Any, bare: Any, messages: Any
) -> None:
    host = make_host()
    vital = bare("vital", hooks=HOOKS, body="def custommsg(request): sys.exit()")
    await host.load([vital, bare("other")], important=[vital])
    await host.initialize()
    assert services.stopped == []
    host.custommsg(PEER, b"\xc0\xdf", lambda: None)
    await services.line("Plugin marked as important, shutting down lightningd!")
    assert services.stopped == ["important plugin vital ended: exited during normal operation"]


# The RPC method plugin


async def test_start_list_and_stop(host: PluginHost, services: Any, bare: Any) -> None:
    path = bare(subscriptions=["shutdown"])
    await host.start([])
    row = {"name": path, "active": True, "dynamic": True}
    assert await host.plugin_start(path) == {"command": "start", "plugins": [row]}
    assert host.plugin_list() == {"command": "list", "plugins": [row]}
    with pytest.raises(NodeRefused, match=f"^{path}: already registered$") as caught:
        await host.plugin_start(path)
    assert caught.value.code == -32602
    assert await host.plugin_stop("bare") == {"command": "stop", "result": "Successfully stopped bare."}
    assert host.plugin_list() == {"command": "list", "plugins": []}
    assert await services.call("seen-bare") == {"code": -32601, "message": "Unknown command 'seen-bare'"}
    with pytest.raises(NodeRefused, match=r"^Could not find plugin bare$") as caught:
        await host.plugin_stop("bare")
    assert caught.value.code == -32602


async def test_start_with_options(host: PluginHost, services: Any, bare: Any) -> None:
    await host.start([])
    path = bare(options=[OPTION])
    with pytest.raises(NodeRefused, match="unknown parameter typo: it is no option of this plugin"):
        await host.plugin_start(path, {"typo": 1})
    assert names(host) == []
    await host.plugin_start(path, {"logplugin-opt": "hello"})
    assert host.listconfigs("logplugin-opt")["logplugin-opt"]["source"] == "pluginstart"
    (init,) = [json.loads(text) for text in await services.seen("bare") if '"method":"init"' in text]
    assert init["params"]["options"] == {"logplugin-opt": "hello"}
    assert init["params"]["configuration"]["startup"] is False


async def test_what_cannot_be_started(host: PluginHost, bare: Any, tmp_path: Path) -> None:
    await host.start([])
    with pytest.raises(NodeRefused, match="plugins/nowhere is not executable: No such file or directory") as caught:
        await host.plugin_start("nowhere")
    assert caught.value.code == -32602
    with pytest.raises(NodeRefused, match="is not executable: Permission denied"):
        await host.plugin_start(str(tmp_path))
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    with pytest.raises(NodeRefused, match="broken: could not be started: No such file") as caught:
        await host.plugin_start(str(broken))
    assert caught.value.code == -3
    with pytest.raises(NodeRefused, match="static: Not a dynamic plugin"):
        await host.plugin_start(bare("static", dynamic=False))
    assert names(host) == []


async def test_names_are_found_in_the_plugin_directory(host: PluginHost, bare: Any) -> None:
    await host.start([])
    path = bare("here", folder="lightning/plugins")
    assert (await host.plugin_start("here"))["plugins"][0]["name"] == path
    await host.plugin_stop(path)


async def test_a_static_plugin_stays(host: PluginHost, bare: Any) -> None:
    await host.start([bare("static", dynamic=False)])
    with pytest.raises(NodeRefused, match=r"^static cannot be managed when lightningd is up$") as caught:
        await host.plugin_stop("static")
    assert caught.value.code == -32602
    assert names(host) == ["static"]


async def test_a_changed_program_replaces_the_running_one(host: PluginHost, services: Any, bare: Any) -> None:
    path = bare()
    await host.start([path])
    assert bare(body="# changed") == path
    assert len((await host.plugin_start(path))["plugins"]) == 1
    assert services.logged("Plugin changed") == ["info plugin-bare: Killing plugin: Plugin changed, needs restart."]
    assert await services.seen("bare")


async def test_startdir_and_rescan(host: PluginHost, services: Any, bare: Any, tmp_path: Path) -> None:
    await host.start([])
    bare("one", folder="dir")
    bare("bad", "def getmanifest(request): return []", folder="dir")
    bare("two", folder="dir")
    answer = await host.plugin_startdir(str(tmp_path / "dir"))
    assert answer["command"] == "startdir"
    assert [(row["name"].rpartition("/")[2], row["active"]) for row in answer["plugins"]] == [
        ("one", True),
        ("two", True),
    ]
    with pytest.raises(NodeRefused, match=r"Could not open .*/none"):
        await host.plugin_startdir(str(tmp_path / "none"))
    bare("three", folder="lightning/plugins")
    for _ in range(2):
        answer = await host.plugin_rescan()
        assert answer["command"] == "rescan"
        assert names(host) == ["one", "two", "three"]


async def test_a_start_goes_on_though_its_client_leaves(host: PluginHost, services: Any, bare: Any) -> None:
    await host.start([])
    starting = asyncio.ensure_future(host.plugin_start(bare(subscriptions=["plugin_started"])))
    await asyncio.sleep(0)
    starting.cancel()
    while not services.commands.owner_of("seen-bare"):
        await asyncio.sleep(0.01)
    assert len(await services.seen("bare")) >= 2


async def test_a_plugin_that_ignores_shutdown_is_killed(
    make_host: Callable[..., PluginHost], services: Any, bare: Any
) -> None:
    host = make_host(shutdown=0.2)
    await host.start([bare(body="def on_shutdown(params): pass", subscriptions=["shutdown"])])
    assert await host.plugin_stop("bare") == {"command": "stop", "result": "Successfully stopped bare."}
    assert services.logged("Timeout on shutdown") == ["unusual plugin-bare: Timeout on shutdown: killing anyway"]


async def test_shutdown_lets_plugins_finish(host: PluginHost, services: Any, bare: Any, tmp_path: Path) -> None:
    mark = tmp_path / "finished"
    body = f"def on_shutdown(params):\n    time.sleep(0.2)\n    open({str(mark)!r}, 'w').close()\n    sys.exit()"
    await host.start([bare("careful", body, subscriptions=["shutdown"]), bare("other")])
    await host.aclose()
    await host.aclose()
    assert mark.exists()
    assert names(host) == []
    assert host.custommsg(PEER, b"\xc0\xdf", pytest.fail)


async def test_closing_while_plugins_start(host: PluginHost, services: Any, bare: Any) -> None:
    await host.start([])
    starting = asyncio.ensure_future(host.plugin_start(bare(body="def getmanifest(request): return ...")))
    await services.line("started(")
    await host.aclose()
    with pytest.raises((NodeRefused, asyncio.CancelledError)):
        await starting


async def test_a_killed_plugin_is_noticed(host: PluginHost, services: Any, bare: Any) -> None:
    await host.start([bare(body="def pid(request): return os.getpid()", rpcmethods=[{"name": "pid", "usage": ""}])])
    os.kill(await services.call("pid"), signal.SIGKILL)
    assert await services.line("Killing plugin") == (
        "unusual plugin-bare: Killing plugin: was ended by SIGKILL during normal operation"
    )
    assert names(host) == []


# What is announced


async def test_custommessages_are_a_living_union(host: PluginHost, bare: Any) -> None:
    await host.start([bare("one", custommessages=[32768, 32770])])
    assert host.custommessages == {32768, 32770}
    await host.plugin_start(bare("two", custommessages=[32770, 32772]))
    assert host.custommessages == {32768, 32770, 32772}
    await host.plugin_stop("one")
    assert host.custommessages == {32770, 32772}
    await host.plugin_stop("two")
    assert host.custommessages == frozenset()


async def test_features_are_merged(host: PluginHost, services: Any, bare: Any) -> None:
    one = bare("one", dynamic=False, featurebits={"init": "02" + "00" * 32, "node": "02" + "00" * 32})
    two = bare("two", dynamic=False, featurebits={"init": "80" + "00" * 32, "invoice": "0200"})
    await host.start([one, two])
    assert host.features == {"init": "82" + "00" * 32, "node": "02" + "00" * 32, "invoice": "0200"}
    assert services.logged("featurebits") == []


async def test_setconfig_asks_the_plugin(host: PluginHost, services: Any, bare: Any) -> None:
    body = """
def setconfig(request):
    if request["params"].get("val") == "7":
        send(id=request["id"], error={"code": -5, "message": "not seven"})
        return ...
    return {}
"""
    option = {"name": "count", "type": "int", "default": 3, "description": "", "dynamic": True}
    path = bare(body=body, options=[option])
    await host.start([path])
    assert await host.setconfig("count", "5") == {
        "config": "count",
        "value_int": 5,
        "source": "setconfig transient",
        "plugin": path,
        "dynamic": True,
    }
    with pytest.raises(NodeRefused, match="not seven") as caught:
        await host.setconfig("count", "7")
    assert caught.value.code == -5
    assert host.listconfigs("count")["count"]["value_int"] == 5
    with pytest.raises(NodeRefused, match="Unknown config option"):
        await host.setconfig("nope", "1")


# Notifications


async def test_topics_reach_their_subscribers(host: PluginHost, services: Any, bare: Any) -> None:
    await host.start([bare("one", subscriptions=["connect"]), bare("star", subscriptions=["*"]), bare("none")])
    assert host.wants("connect")
    assert host.wants("anything")
    assert not host.wants("log")
    host.notify("connect", {"id": "é\n"})
    host.notify("log", {"log": "line"})
    written = '{"jsonrpc":"2.0","method":"connect","params":{"connect":{"id":"é\\n"}}}\n\n'
    assert (await services.seen("one"))[2:] == [written]
    assert written in await services.seen("star")
    assert (await services.seen("none"))[2:] == []


async def test_plugins_hear_of_each_other(host: PluginHost, services: Any, bare: Any) -> None:
    await host.start([bare("watcher", subscriptions=["plugin_started", "plugin_stopped"])])
    path = bare("other")
    await host.plugin_start(path)
    await host.plugin_stop("other")
    told = {"plugin_name": "other", "plugin_path": path, "methods": ["seen-other"]}
    *_, started, stopped = [json.loads(text) for text in await services.seen("watcher")]
    assert (started["method"], started["params"]) == ("plugin_started", {"plugin_started": told})
    assert (stopped["method"], stopped["params"]) == ("plugin_stopped", {"plugin_stopped": told})


async def test_plugins_notify_plugins(host: PluginHost, services: Any, bare: Any) -> None:
    body = "def tell(request):\n    send(method='mytopic', params={'mytopic': {'n': 1}})\n    return {}"
    sender = bare(
        "sender",
        body,
        rpcmethods=[{"name": "tell", "usage": ""}],
        notifications=[{"method": "mytopic"}],
        subscriptions=["mytopic"],
    )
    await host.start([sender, bare("hears", subscriptions=["mytopic"]), bare("deaf")])
    await services.call("tell")
    written = '{"jsonrpc":"2.0","method":"mytopic","origin":"sender","params":{"mytopic":{"n":1}}}\n\n'
    assert (await services.seen("hears"))[2:] == [written]
    assert written in await services.seen("sender")
    assert (await services.seen("deaf"))[2:] == []
    assert services.logged("not a known notification topic") == []
