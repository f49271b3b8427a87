"""What a plugin imports before it has told lightningd what it is: the node waits for it, so it should not be much.

Python says on stderr what it imports when; here that is the same pipe as stdout, so what comes before the answer was
imported before it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import oddwire

PLUGIN = """
import sys
sys.path += {path!r}
from oddwire import AppContext, Context, Extension, Message, message, point, u64

extension = Extension("quote", version="1.0", feature=513)

@message(0x8C01)
class Ask(Message):
    asset: str

@message(0x8C03, codec="bolt")
class Price(Message):
    node: point
    millisats: u64

@message(0x8C05, codec="json")
class Refused(Message):
    reason: str | None = None

@extension.on(Ask)
async def ask(context: Context, ask: Ask) -> Price | Refused | None: ...

@extension.option("quote-asset")
def asset(value: str = "eur") -> str:
    return value

@extension.rpc("quote-ask")
async def rpc(context: AppContext, node_id: str, asset: str = "eur") -> dict[str, str]: ...

extension.run()
"""
NOT_YET = {
    # command line
    *("argparse", "click", "rich", "typer", "oddwire.cli", "oddwire.testing"),
    # transports that others use
    *("grpc", "oddwire.transports.lnd"),
    *("nats", "oddwire.transports.nats"),
    # cryptography, and the embedded node's network
    *("coincurve", "cryptography", "hashlib", "hmac", "python_socks", "oddwire.node"),
    *("oddwire.proto.bolt1", "oddwire.proto.connection", "oddwire.proto.ecdsa", "oddwire.proto.noise"),
    *("oddwire.transports.bolt8.transport", "oddwire.transports.memory", "oddwire.jsonrpc.server"),
    # what runs an application
    *("asyncio", "concurrent", "selectors", "socket", "ssl", "subprocess"),
    *("oddwire.app.application", "oddwire.jsonrpc.client", "oddwire.transports.cln.transport"),
    # installed plugins, and what reads files
    *("email", "importlib.metadata", "pathlib", "oddwire.app.plugins.extension_file", "oddwire.schema.bolt_csv"),
    *("shutil", "sqlite3", "tempfile", "zipfile"),
    # what messages are written with, and sent by
    *("datetime", "msgpack", "oddwire.app.dispatch.dispatcher"),
    *("oddwire.codecs.bolt.codec", "oddwire.codecs.json", "oddwire.codecs.msgpack.codec"),
    # for errors alone
    *("difflib", "ipaddress", "pprint"),
}


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The modules that a plugin's process imports before it answers ``getmanifest``."""
    path = [str(Path(oddwire.__file__).parents[1]), *(entry for entry in sys.path if entry.endswith("site-packages"))]
    script = tmp_path_factory.mktemp("plugin") / "quote.py"
    script.write_text(PLUGIN.format(path=path))
    request = {"jsonrpc": "2.0", "id": "cln:getmanifest#1", "method": "getmanifest", "params": {}}
    stdin, node = os.pipe()
    os.write(node, json.dumps(request).encode())
    # -S: what site-packages has *.pth files for, such as oddwire installed in place, imports a lot by itself
    process = subprocess.Popen(
        [sys.executable, "-S", "-X", "importtime", script],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "LIGHTNINGD_PLUGIN": "1"},
        cwd=script.parent,
    )
    os.close(stdin)
    modules = set()
    with process:
        assert process.stdout is not None
        while (line := process.stdout.readline()).startswith(b"import time:"):
            modules.add(line.decode().rpartition("|")[2].strip())
        os.close(node)
        process.stdout.read()
    found = [method["name"] for method in json.loads(line)["result"]["rpcmethods"]]
    assert found[0] == "quote-ask"  # behind it are those that every plugin has
    return modules


def test_what_is_needed_is_there(imported: set[str]) -> None:
    assert {
        "oddwire.app.lightningd",
        "oddwire.app.plugins.loaded_plugins",
        "oddwire.transports.cln.early_manifest",
    } <= imported


@pytest.mark.parametrize("module", sorted(NOT_YET))
def test_the_node_does_not_wait_for(module: str, imported: set[str]) -> None:
    assert module not in imported
