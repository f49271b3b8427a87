"""The same questions asked of Core Lightning and of the embedded node: the same answers.

Both run the same plugins and are connected to the same peer. Not asked is what differs by design
(docs/embedded-node.md), what is a fault of lightningd's (an address that is none is resolved, a generation of -1 is a
large one), and what ends it: ``sendcustommsg`` of no hex, ``checkmessage`` of a signature whose first byte is out of
range, ``setconfig`` of an integer option to a word.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pyln.client import RpcError

pytestmark = [pytest.mark.cln, pytest.mark.interop]

LIMIT = 60  # seconds; reached only by what hangs
PLUGINS = Path(__file__).parent.parent / "plugins"
STRANGER = "02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"  # 2 G, which nobody has as node id
NOT_A_POINT = "020000000000000000000000000000000000000000000000000000000000000005"

# Each is a conversation: method and parameters, asked in this order. {peer} is the node id of the peer of both,
# {self} the asked node's own. Where our text tells more than lightningd's, only the codes are compared.
OWN_WORDS = "own words"
SENDCUSTOMMSG = [
    ("sendcustommsg", ["{peer}", "8001aabb"]),
    ("sendcustommsg", ["{PEER}", "8001AABB"]),
    ("sendcustommsg", {"node_id": "{peer}", "msg": "8001"}),
    ("sendcustommsg", {"msg": "8001", "node_id": "{peer}"}),
    ("sendcustommsg", ["{peer}", "0007aabb"]),
    ("sendcustommsg", ["{peer}", "0009aabb"]),
    ("sendcustommsg", ["{peer}", "8001" + "ab" * 65533]),
    ("sendcustommsg", []),
    ("sendcustommsg", {}),
    ("sendcustommsg", ["{peer}"]),
    ("sendcustommsg", {"msg": "8001"}),
    ("sendcustommsg", {"node_id": "{peer}"}),
    ("sendcustommsg", ["{peer}", "8001", "8001"]),
    ("sendcustommsg", {"node_id": "{peer}", "msg": "8001", "more": 1}),
    ("sendcustommsg", {"id": "{peer}", "msg": "8001"}),
    ("sendcustommsg", {"node_id": "{peer}", "message": "8001"}),
    ("sendcustommsg", ["{self}", "8001"]),
    ("sendcustommsg", [STRANGER, "8001"]),
    ("sendcustommsg", [NOT_A_POINT, "8001"]),
    ("sendcustommsg", ["04" * 33, "8001"]),
    ("sendcustommsg", ["{peer}00", "8001"]),
    ("sendcustommsg", ["{peer}@{address}", "8001"]),
    ("sendcustommsg", ["", "8001"]),
    ("sendcustommsg", [None, "8001"]),
    ("sendcustommsg", [1, "8001"]),
    ("sendcustommsg", [[], "8001"]),
    ("sendcustommsg", [{}, "8001"]),
    ("sendcustommsg", [True, "8001"]),
    ("sendcustommsg", ["{peer}", "0010aabb"]),
    ("sendcustommsg", ["{peer}", "00100000"]),
    ("sendcustommsg", [STRANGER, "0010aabb"]),
    ("sendcustommsg", [NOT_A_POINT, "0010aabb"]),
    ("sendcustommsg", ["{peer}", "0100aabb"]),
    ("sendcustommsg", ["{peer}", "0201aabb"]),
    ("SendCustomMsg", ["{peer}", "8001"]),
    ("sendcustommsg ", ["{peer}", "8001"]),
]
CHECK = [
    ("check", ["sendcustommsg", "{peer}", "8001"]),
    ("check", {"command_to_check": "sendcustommsg", "node_id": "{peer}", "msg": "8001"}),
    ("check", ["sendcustommsg", "{peer}"]),
    ("check", {"command_to_check": "sendcustommsg", "node_id": "{peer}"}),
    ("check", ["sendcustommsg", STRANGER, "8001"]),
    ("check", ["sendcustommsg", "{peer}", "0010"]),
    ("check", {"command_to_check": "sendcustommsg", "node_id": "{peer}", "msg": "8001", "x": 1}),
    ("check", ["sendcustommsg", "{peer}", "8001", 3]),
    ("check", []),
    ("check", {}),
    ("check", ["nosuch"]),
    ("check", [1]),
    ("check", {"sendcustommsg": 1}),
    ("check", ["check"]),
    ("check", ["check", "getinfo"]),
    ("check", ["check", "nosuch"]),
    ("check", ["getinfo"]),
    ("check", ["getinfo", 1]),
    ("check", ["connect"]),
    ("check", ["connect", STRANGER]),
    ("check", ["connect", "nonsense"]),
    ("check", ["connect", f"{STRANGER}@127.0.0.1:1", "127.0.0.1"]),
    ("check", ["disconnect", "{peer}"]),
    ("check", ["disconnect", STRANGER]),
    ("check", ["ping", "{peer}"]),
    ("check", ["ping", "{peer}", 70000]),
    ("check", ["datastore", ["checked"], "value"]),
    ("check", ["datastore", [], "value"]),
    ("check", ["deldatastore", ["checked"]]),
    ("check", ["listpeers"]),
    ("check", ["stop"]),
    ("check", ["plugin", "list"]),
    ("check", ["plugin", "nosuch"]),
    ("check", ["plugin", "start", "/nowhere/plugin.py"]),
    ("check", ["plugin", "start", f"{PLUGINS}/collector.py"]),
    ("check", ["plugin", "start", f"{PLUGINS}/greeter.py"]),
    ("check", ["plugin", "start"]),
    ("check", ["plugin", "stop", "nosuch.py"]),
    ("check", ["plugin", "stop", "doorkeeper.py"]),
    ("check", ["plugin", "stop", "greeter.py"]),
    ("check", ["plugin", "startdir", "/nowhere"]),
    ("check", ["plugin", "rescan"]),
    ("check", {"command_to_check": "check"}),
    ("check", ["setconfig", "nosuch", "x"]),
    ("check", ["setconfig", "greeting", "x"]),
    ("check", ["help", "nosuch"]),
    ("check", ["greeter-add", 1]),
    ("check", ["greeter-add"]),
]
CONNECT = [
    ("connect", []),
    ("connect", {}),
    ("connect", ["{peer}@{address}"]),
    ("connect", ["{peer}"]),
    ("connect", ["{peer}", "{host}", "{port}"]),
    ("connect", {"id": "{peer}", "host": "{address}"}),
    ("connect", ["{peer}@{host}:0"]),
    ("connect", [f"{STRANGER}@nosuch.invalid"]),
    ("disconnect", ["{peer}", "true"]),
    ("connect", {"id": "{peer}", "host": "{host}", "port": "{port}"}),
    ("connect", {"id": "{peer}", "host": "{host}", "port": "x"}),
    ("connect", {"id": "{peer}", "host": "{host}", "port": 0}),
    ("connect", {"id": "{peer}", "host": "{host}", "port": 65536}),
    ("connect", {"id": "{peer}", "port": 9735}),
    ("connect", {"id": "{peer}@{address}", "host": "{host}"}),
    ("connect", {"id": "{peer}@{address}", "port": 1}),
    ("connect", {"id": "{peer}@127.0.0.1:x"}),
    ("connect", ["nonsense"]),
    ("connect", ["nonsense@127.0.0.1"]),
    ("connect", [NOT_A_POINT]),
    ("connect", [1]),
    ("connect", [None]),
    ("connect", [STRANGER]),
    ("connect", [f"{STRANGER}@127.0.0.1:1"]),
    ("connect", [f"{STRANGER}@{{address}}"]),
    ("connect", ["{self}"]),
    ("connect", ["{peer}", "{host}", "{port}", 1]),
    ("connect", {"id": "{peer}", "more": 1}),
    ("disconnect", []),
    ("disconnect", ["nonsense"]),
    ("disconnect", [STRANGER]),
    ("disconnect", ["{self}"]),
    ("disconnect", ["{peer}", "maybe"]),
    ("disconnect", {"id": "{peer}", "more": 1}),
    ("disconnect", ["{peer}"]),
    ("sendcustommsg", ["{peer}", "8001"]),
    ("ping", ["{peer}"]),
    ("listpeers", ["{peer}"]),
    ("listpeers", [STRANGER]),
    ("listpeers", ["nonsense"]),
    ("listpeers", ["{peer}", "nonsense"]),
    ("listpeers", ["{peer}", "debug", 1]),
    ("disconnect", ["{peer}"]),
    ("disconnect", ["{peer}"]),
    ("listpeers", ["{peer}"]),
    ("connect", ["{peer}@{address}"]),
    ("disconnect", ["{peer}", True]),
    ("sendcustommsg", ["{peer}", "8001"]),
]
PING = [
    ("ping", ["{peer}"]),
    ("ping", ["{peer}", 10, 20]),
    ("ping", {"id": "{peer}", "len": "10", "pongbytes": "20"}),
    ("ping", ["{peer}", 0, 65531]),
    ("ping", ["{peer}", 0, 65532]),
    ("ping", ["{peer}", 0, 65535]),
    ("ping", ["{peer}", 0, 65536]),
    ("ping", ["{peer}", 65529]),
    ("ping", ["{peer}", 65530]),
    ("ping", ["{peer}", 65532]),
    ("ping", ["{peer}", -1]),
    ("ping", ["{peer}", "x"]),
    ("ping", ["{peer}", 1.5]),
    ("ping", [STRANGER]),
    ("ping", ["{self}"]),
    ("ping", ["nonsense"]),
    ("ping", []),
]
DATASTORE = [
    ("listdatastore", ["oddwire"]),
    ("datastore", []),
    ("datastore", ["oddwire"]),
    ("datastore", {"key": ["oddwire", "a"], "string": "one"}),
    ("datastore", {"key": ["oddwire", "a"], "string": "one"}),
    ("datastore", {"key": ["oddwire", "a"], "string": "two", "mode": "must-replace"}),
    ("datastore", {"key": ["oddwire", "a"], "string": "+", "mode": "must-append"}),
    ("datastore", {"key": ["oddwire", "a"], "hex": "ff00", "mode": "create-or-append"}),
    ("datastore", {"key": ["oddwire", "b"], "hex": "ff00", "mode": "create-or-replace"}),
    ("datastore", {"key": ["oddwire", "c"], "hex": "00", "mode": "must-replace"}),
    ("datastore", {"key": ["oddwire", "c"], "hex": "00", "mode": "must-append"}),
    ("datastore", {"key": ["oddwire", "c"], "hex": "00", "mode": "nonsense"}),
    ("datastore", {"key": ["oddwire", "c"], "hex": "0"}, OWN_WORDS),
    ("datastore", {"key": ["oddwire", "c"], "hex": "zz"}, OWN_WORDS),
    ("datastore", {"key": ["oddwire", "c"], "hex": ""}),
    ("datastore", {"key": ["oddwire", "d"], "hex": "00", "string": "x"}),
    ("datastore", {"key": ["oddwire", "d"], "string": 5}),
    ("datastore", {"key": ["oddwire", "d"], "string": ""}),
    ("datastore", {"key": ["oddwire", "a"], "string": "x", "generation": 0}),
    ("datastore", {"key": ["oddwire", "a"], "string": "x", "mode": "must-replace", "generation": 0}),
    ("datastore", {"key": ["oddwire", "a"], "string": "x", "mode": "must-replace", "generation": 3}),
    ("datastore", {"key": ["oddwire", "a"], "string": "x", "mode": "must-replace", "generation": "x"}),
    ("datastore", {"key": ["oddwire", "a", "under"], "string": "x"}),
    ("datastore", {"key": ["oddwire"], "string": "x"}),
    ("datastore", {"key": [], "string": "x"}),
    ("datastore", {"key": {}, "string": "x"}),
    ("datastore", {"key": [[]], "string": "x"}),
    ("datastore", {"key": [1, True], "string": "x"}),
    ("datastore", {"key": 7, "string": "x"}),
    ("datastore", {"key": "", "string": "x"}),
    ("datastore", {"key": ["oddwire", "deep", "er", "x"], "string": "grüezi"}),
    ("datastore", [["oddwire", "positional"], "x", None, "must-create"]),
    ("datastore", [["oddwire", "positional"], None, "00", "must-append", 0]),
    ("datastore", {"key": "oddwire", "value": "x"}),
    ("listdatastore", ["oddwire"]),
    ("listdatastore", [["oddwire"]]),
    ("listdatastore", [["oddwire", "deep"]]),
    ("listdatastore", [["oddwire", "a"]]),
    ("listdatastore", ["nosuch"]),
    ("listdatastore", [[]]),
    ("deldatastore", []),
    ("deldatastore", ["nosuch"]),
    ("deldatastore", ["oddwire"]),
    ("deldatastore", {"key": ["oddwire", "a"], "generation": 99}),
    ("deldatastore", {"key": ["oddwire", "a"], "generation": 4}),
    ("deldatastore", [["oddwire", "a"]]),
    ("deldatastore", [["oddwire", "b"]]),
    ("listdatastore", ["oddwire"]),
]
PLUGIN = [
    ("plugin", []),
    ("plugin", ["nosuch"]),
    ("plugin", ["start"]),
    ("plugin", ["stop"]),
    ("plugin", ["list", 1]),
    ("plugin", ["rescan", 1]),
    ("plugin", {"subcommand": "list", "more": 1}),
    ("plugin", {"subcommand": "stop", "plugin": "greeter.py", "more": 1}),
    ("plugin", ["stop", "greeter.py", 1]),
    ("plugin", {"subcommand": "stop"}),
    ("plugin", ["stop", "nosuch.py"]),
    ("plugin", ["start", "/nowhere/plugin.py"]),
    ("plugin", ["start", "nosuch.py"]),
    ("plugin", ["startdir", "/nowhere"]),
    ("plugin", ["startdir", ""]),
    ("plugin", ["stop", "doorkeeper.py"]),
    ("plugin", ["stop", "greeter.py"]),
    ("greeter-add", [1, 2]),
    ("listconfigs", ["greeting"]),
    ("plugin", ["start", f"{PLUGINS}/doorkeeper.py"], OWN_WORDS),
    ("plugin", ["start", f"{PLUGINS}/README"]),
    ("plugin", ["start", "{folder}/not-executable"]),
    ("plugin", ["start", "{folder}/liar"], OWN_WORDS),
    ("plugin", ["start", "{folder}/quitter"], OWN_WORDS),
    ("plugin", {"subcommand": "start", "plugin": f"{PLUGINS}/greeter.py", "nosuch-option": "x"}, OWN_WORDS),
    ("plugin", {"subcommand": "start", "plugin": f"{PLUGINS}/greeter.py", "greet-count": "many"}, OWN_WORDS),
    ("greeter-add", [1, 2]),
    ("help", ["greeter-add"]),
    ("help", ["gossiper-tell"]),
    ("listconfigs", ["nosuch"]),
    ("setconfig", {"config": "nosuch", "val": "x", "transient": True}),
]
PLUGIN_METHODS = [
    ("greeter-add", [1, 2]),
    ("greeter-add", {"a": 1}),
    ("greeter-add", {"b": 1}),
    ("greeter-add", {"a": 1, "c": 1}),
    ("greeter-add", [1, 2, 3]),
    ("greeter-fail", {"how": "rpc"}),
    ("greeter-later", []),
    ("greeter-ask", ["nosuch"]),
    ("greeter-nothing", []),
    ("greeter-ask", ["sendcustommsg", {"node_id": STRANGER, "msg": "8001"}]),
    ("gossiper-tell", ["a rumour"]),
    ("listconfigs", ["greeting"]),
    ("listconfigs", ["greet-count"]),
    ("listconfigs", ["greet-loudly"]),
    ("listconfigs", ["greet-not"]),
    ("listconfigs", ["greet-also"]),
    ("setconfig", {"config": "greeting", "val": "hi", "transient": True}),
    ("setconfig", {"config": "greet-count", "val": "2", "transient": True}),
    ("listconfigs", ["greet-count"]),
    ("greeter-fail", {"how": "exit"}),
    ("greeter-add", [1, 2]),
]
OTHERS = [
    ("nosuch", []),
    ("", []),
    ("getinfo", []),
    ("getinfo", [1]),
    ("getinfo", {"x": 1}),
    ("help", ["nosuch"]),
    ("help", ["a", "b"]),
    ("notifications", []),
    ("notifications", ["maybe"]),
    ("notifications", ["true"]),
    ("notifications", [False]),
    ("signmessage", []),
    ("signmessage", ["hello"]),
    ("signmessage", ["x" * 65536]),
    ("checkmessage", ["hello", "nonsense", STRANGER]),
    ("checkmessage", ["hello"]),
    ("makesecret", []),
    ("makesecret", {"hex": "00", "string": "x"}),
    ("makesecret", {"hex": "0"}, OWN_WORDS),
    ("makesecret", {"string": "x"}),
    ("getlog", ["nonsense"]),
    ("listconfigs", ["nosuch"]),
    ("listconfigs", ["network"]),
    ("listconfigs", ["rpc-file"]),
    ("check", ["listconfigs", "nosuch"]),
    ("stop", [1]),
]
CONVERSATIONS = {
    "sendcustommsg": SENDCUSTOMMSG,
    "check": CHECK,
    "connect": CONNECT,
    "ping": PING,
    "datastore": DATASTORE,
    "plugin methods": PLUGIN_METHODS,
    "plugin": PLUGIN,
    "others": OTHERS,
}
# Their values tell the hosts apart; that they are there, and of what sort, has to be the same
OWN_VALUES = {"alias", "binding", "color", "our_features", "recid", "secret", "signature", "version", "zbase"}


@pytest.fixture
async def hosts(start, lightningd, tmp_path):
    """Core Lightning and an embedded node with the same plugins, both connected to one more Core Lightning."""
    plugins = ["greeter", "doorkeeper", "gossiper"]
    hosts = start.lightningd(*plugins), start.node(*plugins)
    for host in hosts:
        await host.connect(lightningd.uri)
    return hosts


@pytest.fixture
def filled(tmp_path, lightningd):
    """Fill in what a question leaves open."""
    (tmp_path / "not-executable").write_text("#!/bin/sh\n")
    for name, script in {"liar": "echo hello", "quitter": "exit 3"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    host, _, port = lightningd.address.partition(":")
    values = {
        "peer": lightningd.node_id,
        "PEER": lightningd.node_id.upper(),
        "address": lightningd.address,
        "host": host,
        "port": port,
        "folder": tmp_path,
    }

    def fill(value: Any, own: str) -> Any:
        if isinstance(value, str):
            return value.format(**values, self=own)
        if isinstance(value, list):
            return [fill(each, own) for each in value]
        return {name: fill(each, own) for name, each in value.items()} if isinstance(value, dict) else value

    return fill


def comparable(value: Any, host: Any, key: str = "") -> Any:
    """What has to be the same in both answers."""
    if key in OWN_VALUES:
        return type(value).__name__
    if isinstance(value, dict):
        return {name: comparable(each, host, name) for name, each in value.items()}
    if isinstance(value, list):
        return [comparable(each, host) for each in value]
    return value.replace(host.node_id, "{self}").replace(str(host.folder), "{dir}") if isinstance(value, str) else value


@pytest.mark.parametrize("conversation", CONVERSATIONS)
async def test_the_same_questions_get_the_same_answers(conversation, hosts, filled):
    async def asked(host, method, params, own_words=None):
        try:
            answer = {"result": await asyncio.to_thread(host.rpc.call, method, filled(params, host.node_id))}
        except RpcError as error:
            answer = {"error": {**error.error, "message": ""} if own_words else error.error}
        return json.dumps(comparable(answer, host), ensure_ascii=False)

    differences = []
    for question in CONVERSATIONS[conversation]:
        theirs, ours = [await asked(host, *question) for host in hosts]
        if theirs != ours:
            differences.append(
                f"{json.dumps(question)[:300]}\n  lightningd {theirs[:1500]}\n  oddwire    {ours[:1500]}"
            )
    assert not differences, "\n" + "\n".join(differences)


@pytest.mark.parametrize(
    "request_",
    [
        '{"jsonrpc":"2.0","id":1,"method":"notifications","params":[false]}',
        '{"jsonrpc":"2.0","id":"one","method":"notifications","params":{"enable":false}}',
        '{"jsonrpc":"2.0","id":1.5,"method":"notifications","params":[false]}',
        '{"jsonrpc":"2.0","id":null,"method":"notifications","params":[false]}',
        '{"jsonrpc":"2.0","id":true,"method":"notifications","params":[false]}',
        '{"jsonrpc":"2.0","id":"\\u00fc \\" \\\\ /","method":"notifications","params":[false]}',
        '{"jsonrpc":"2.0","id":[],"method":"notifications","params":[false]}',
        '{"jsonrpc":"2.0","id":{},"method":"notifications","params":[false]}',
        '{"jsonrpc":"2.0","method":"notifications","params":[false]}',
        '{"id":1,"method":"notifications","params":[false]}',
        '{"jsonrpc":"1.0","id":1,"method":"notifications","params":[false]}',
        '{"jsonrpc":2.0,"id":1,"method":"notifications","params":[false]}',
        '{"jsonrpc":"2.0","id":1,"params":[false]}',
        '{"jsonrpc":"2.0","id":1,"method":"notifications"}',
        '{"jsonrpc":"2.0","id":1,"method":5,"params":[]}',
        '{"jsonrpc":"2.0","id":1,"method":null,"params":[]}',
        '{"jsonrpc":"2.0","id":1,"method":"notifications","params":"false"}',
        '{"jsonrpc":"2.0","id":1,"method":"notifications","params":null}',
        '{"jsonrpc":"2.0","id":1,"method":"nosuch","params":"false"}',
        '{"jsonrpc":"2.0","id":1,"method":"getinfo","params":[],"filter":{"network":true}}',
        '{"jsonrpc":"2.0","id":1,"method":"getinfo","params":[],"filter":{"binding":[{"type":true}]}}',
        '{"jsonrpc":"2.0","id":1,"method":"getinfo","params":[],"filter":{"nosuch":true}}',
        '{"jsonrpc":"2.0","id":1,"method":"getinfo","params":[],"filter":{"binding":[{}],"our_features":{}}}',
        '{"jsonrpc":"2.0","id":1,"method":"getinfo","params":[],"filter":{"binding":[]}}',
        '{"jsonrpc":"2.0","id":1,"method":"getinfo","params":[],"filter":5}',
        '{"jsonrpc":"2.0","id":1,"method":"getinfo","params":[],"filter":{"id":false}}',
        '  {"jsonrpc" : "2.0" ,\n "id":1,\t"method":"notifications","params":[ false ]}  ',
        '{"params":[false],"method":"notifications","id":1,"jsonrpc":"2.0"}',
        '{"jsonrpc":"2.0","id":1,"method":"notifications","params":[false],"more":{"x":[1]}}',
        "{}",
        "}",
    ],
)
async def test_documents_of_every_kind_get_the_same_answer(request_, shared_hosts):
    theirs, ours = [await first_answer(host, request_) for host in shared_hosts]
    # The strings in it may be written in another way
    assert comparable(json.loads(ours), shared_hosts[1]) == comparable(json.loads(theirs), shared_hosts[0])


async def first_answer(host, request_):
    """Write to a new connection; give the answer that comes first."""
    reader, writer = await asyncio.open_unix_connection(host.rpc.socket_path)
    try:
        writer.write(request_.encode())
        async with asyncio.timeout(LIMIT):
            return await reader.readuntil(b"\n\n")
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.fixture(scope="module")
def shared_hosts(starter):
    """Core Lightning and an embedded node, for questions that change nothing."""
    return starter.lightningd(), starter.node()
