"""Strangers against real processes: what they have written to a log, and what becomes of plugins that are slow."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from tests.hostile.strangers import all_of, notice, stranger, victim

from oddwire.jsonrpc import JsonRpcClient

STRANGERS = 4
PATIENCE = 60  # seconds; reached only by what hangs

# Reads one document after the other, each a while later, and counts
SLOW = """#!{python} -IS
import json, sys, time
COUNTS = {{}}
MANIFEST = {{
    "options": [], "rpcmethods": [{{"name": "counts", "usage": "", "description": ""}}], "dynamic": True,
    "hooks": [], "subscriptions": ["custommsg", "warning", "log", "connect", "disconnect"],
}}
for line in sys.stdin:
    if line == "\\n":
        continue
    request = json.loads(line)
    method = request["method"]
    if "id" in request:
        result = {{"getmanifest": MANIFEST, "counts": COUNTS}}.get(method, {{}})
        sys.stdout.write(json.dumps({{"jsonrpc": "2.0", "id": request["id"], "result": result}}) + "\\n\\n")
        sys.stdout.flush()
    else:
        COUNTS[method] = COUNTS.get(method, 0) + 1
        time.sleep(0.002)
"""

RAISES = """
from oddwire import Context, Extension, Message, message
extension = Extension("raises", version="1.0")

@message(0x8C01, codec="raw")
class Poke(Message):
    data: bytes

@extension.on(Poke)
async def poke(context: Context, poke: Poke) -> None:
    context.logger.warning("%s pokes: %s", context.peer, poke.data)
    raise ValueError(poke.data)
"""


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    path = tmp_path / "slow.py"
    path.write_text(SLOW.format(python=sys.executable))
    path.chmod(0o755)
    return str(path)


async def test_messages_do_not_end_a_slow_plugin(tmp_path: Path, plugin: str) -> None:
    """They send three times what it may leave unread, and it gets all of that: nobody is cut off for being fast."""
    payloads = [b"\x80\x01" + bytes(60_000)] * 200
    arguments = ("node", "--lightning-dir", "node", "--addr", "127.0.0.1:0", "--important-plugin", plugin)
    async with asyncio.timeout(PATIENCE), victim(tmp_path, *arguments) as node:
        await all_of([asyncio.ensure_future(stranger(node.uri, payloads)) for _ in range(STRANGERS)])
        async with JsonRpcClient(node.rpc_file) as client:
            while (counts := await client.call("counts"))["custommsg"] < STRANGERS * len(payloads):
                await asyncio.sleep(0.1)
        assert counts["connect"] == STRANGERS
        assert node.log_size < 10_000


@pytest.mark.parametrize("type_id", [1, 17])
async def test_warnings_and_errors_are_logged_in_part(tmp_path: Path, plugin: str, type_id: int) -> None:
    payloads = [notice(type_id, os.urandom(60_000))] * 150
    arguments = ("node", "--lightning-dir", "node", "--addr", "127.0.0.1:0", "--important-plugin", plugin)
    async with asyncio.timeout(PATIENCE):
        async with victim(tmp_path, *arguments) as node:
            await all_of([asyncio.ensure_future(stranger(node.uri, payloads)) for _ in range(STRANGERS)])
            async with JsonRpcClient(node.rpc_file) as client:
                assert (await client.call("plugin", ["list"]))["plugins"][0]["active"]
        assert node.log_size < STRANGERS * 80_000, f"of {STRANGERS * 150 * 120_000} that were sent"
        assert node.log.count("more lines like this from") >= STRANGERS


async def test_a_handler_that_raises_does_not_fill_the_disk(tmp_path: Path) -> None:
    (tmp_path / "raises.py").write_text(RAISES)
    payloads = [b"\x8c\x01" + os.urandom(30_000)] * 100
    async with asyncio.timeout(PATIENCE):
        async with victim(tmp_path, "run", "raises.py", "--listen", "127.0.0.1:0") as node:
            await all_of([asyncio.ensure_future(stranger(node.uri, payloads)) for _ in range(STRANGERS)])
        assert node.log_size < STRANGERS * 100_000, f"of {STRANGERS * 100 * 200_000} that there was to say"
        assert "Traceback (most recent call last)" in node.log
        assert node.log.count("more lines like this from") >= STRANGERS
