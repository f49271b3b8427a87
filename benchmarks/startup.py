"""What a plugin costs the node that starts it: the time until it has told what it is, and memory after some traffic.

Both plugins are scripts that declare the same option and method and take the same messages, run by this interpreter
with all modules compiled beforehand, as an installer leaves them. With oddwire installed in place, for development,
every Python process of the environment reads a finder of its packages, ours and the other alike; installed as users do,
both are some milliseconds sooner.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import ROUNDS, Row, median_ratio
from benchmarks.node import DEPTH, Daemon

STARTS = 21
MESSAGES = 5000
PAYLOAD = b"\x8c\x01" + bytes(98)

OURS = """#!{python}
from oddwire import AppContext, Context, Extension, Message, message, point, u64

extension = Extension("bench", version="1.0")
seen = 0

@message(0x8C01, codec="raw")
class Note(Message):
    data: bytes

@message(0x8C03)
class Ask(Message):
    asset: str
    nonce: u64

@message(0x8C05)
class Price(Message):
    nonce: u64
    millisats: u64

@message(0x8C07)
class Subscribe(Message):
    assets: tuple[str, ...] = ()

@message(0x8C09, codec="bolt")
class Trade(Message):
    buyer: point
    nonce: u64
    amount: u64

@message(0x8C0B, codec="json")
class Refused(Message):
    reason: str | None = None

@extension.on(Note)
async def note(context: Context, note: Note) -> None:
    global seen
    seen += 1

@extension.on(Ask)
async def ask(context: Context, ask: Ask) -> Price:
    return Price(nonce=ask.nonce, millisats=1)

@extension.on(Trade)
async def trade(context: Context, trade: Trade) -> Refused:
    return Refused(reason="none to sell")

@extension.option("ours-asset")
def asset(value: str = "eur") -> str:
    '''What is traded.'''
    return value

@extension.rpc("ours-seen")
async def how_many(context: AppContext) -> dict[str, int]:
    '''Say how many notes came.'''
    return {{"seen": seen}}

extension.run()
"""

THEIRS = """#!{python}
from pyln.client import Plugin

plugin = Plugin()
seen = 0

@plugin.hook("custommsg")
def custommsg(peer_id, payload, plugin, **kwargs):
    global seen
    seen += 1
    return {{"result": "continue"}}

plugin.add_option("theirs-asset", "eur", "What is traded.")

@plugin.method("theirs-seen")
def how_many():
    '''Say how many notes came.'''
    return {{"seen": seen}}

plugin.run()
"""


@contextlib.contextmanager
def scripts() -> Iterator[tuple[Path, Path]]:
    """Both plugins, as files that can be executed."""
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "ours.py"), Path(folder, "theirs.py")
        for path, source in zip(paths, (OURS, THEIRS), strict=True):
            path.write_text(source.format(python=sys.executable))
            path.chmod(0o755)
        yield paths


@contextlib.contextmanager
def bytecode() -> Iterator[None]:
    """Have the processes started meanwhile keep what they compile, for the next one, whatever the environment says."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def manifest_after(plugin: Path) -> float:
    """Start a plugin as lightningd does; give the seconds until its manifest is there."""
    params = {"allow-deprecated-apis": False}
    request = {"jsonrpc": "2.0", "id": "cln:getmanifest#1", "method": "getmanifest", "params": params}
    environment = {**os.environ, "LIGHTNINGD_PLUGIN": "1", "LIGHTNINGD_VERSION": "v26.06"}
    start = time.perf_counter()
    process = subprocess.Popen([plugin], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        process.stdin.write(json.dumps(request).encode() + b"\n\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        elapsed = time.perf_counter() - start
        process.kill()
    if "rpcmethods" not in json.loads(answer)["result"]:
        raise RuntimeError(f"{plugin.name} gave no manifest: {answer!r}")
    return elapsed


def start() -> list[Row]:
    with scripts() as (ours, theirs):
        manifest_after(ours)  # the first start compiles
        manifest_after(theirs)
        times = [(manifest_after(ours), manifest_after(theirs)) for _ in range(STARTS)]
    mine, others = [a for a, _ in times], [b for _, b in times]
    middle = statistics.median(mine)
    note = f"{middle * 1000:.0f} ms against {statistics.median(others) * 1000:.0f} ms"
    return [
        Row("start to manifest, against pyln-client's", median_ratio(mine, others), "ratio", "<= 1", note),
        Row("start to manifest", middle * 1000, "ms", "<= 300", note),
    ]


def memory_of(plugin: Path, parent: int) -> int:
    """Bytes of a plugin's process, what it shares with others in parts (``Pss`` of proc(5))."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if os.fsencode(plugin) in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
            rollup = Path(f"/proc/{child}/smaps_rollup").read_text()
            return next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
    raise RuntimeError(f"{plugin.name} is not running")


def memory_after_traffic() -> tuple[int, int]:
    """Two nodes, the second with both plugins, which see the same messages."""
    with scripts() as paths, tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        first, second = Daemon(Path(folder, "a")), Daemon(Path(folder, "b"), *paths)
        stack.callback(second.stop)
        stack.callback(first.stop)
        first.caller.call("connect", [second.uri])
        params = {"node_id": second.node_id, "msg": PAYLOAD.hex()}
        request = json.dumps({"jsonrpc": "2.0", "id": "bench#1", "method": "sendcustommsg", "params": params})
        first.caller.repeat(request.encode(), MESSAGES, DEPTH)
        deadline = time.monotonic() + 60
        for method in ("ours-seen", "theirs-seen"):
            while second.caller.call(method, {})["seen"] != MESSAGES:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{method}: not all messages came")
                time.sleep(0.05)
        ours, theirs = (memory_of(path, second.process.pid) for path in paths)
        return ours, theirs


def memory() -> list[Row]:
    sizes = [memory_after_traffic() for _ in range(ROUNDS)]
    mine, others = [float(a) for a, _ in sizes], [float(b) for _, b in sizes]
    note = f"{statistics.median(mine) / 1e6:.1f} MB against {statistics.median(others) / 1e6:.1f} MB "
    note += f"after {MESSAGES} messages"
    return [Row("memory, against pyln-client's", median_ratio(mine, others), "ratio", "<= 1.3", note)]


def rows() -> list[Row]:
    with bytecode():
        return [*start(), *memory()]
