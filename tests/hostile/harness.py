"""The attacks as a harness against a node that runs in a process of its own; see ``python -m tests.hostile``.

Good peers' requests beside one and eight strangers of each kind, against good peers alone in the same minute; an honest
caller beside half-open handshakes; and what the process holds and writes meanwhile: memory, descriptors, its log. Ends
with 1 if something is worse than it may be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hostile import attacks, good

from oddwire.errors import OddwireError
from oddwire.jsonrpc import JsonRpcClient

LEAST = 0.9
"""Of a good peer's rate alone, what it has to have beside strangers."""
LEAST_BESIDE_CALLERS = 0.7
"""The same beside such as call all the time: handshakes, too, have a share of the loop."""
LEAST_CALLS = 0.5
"""Of the RPC's rate alone, what an embedded node answers beside strangers."""
HALF_OPEN_RATE = 1200.0
MOST_SECONDS = 2.0
"""Seconds after which an honest caller is in, beside strangers."""
MOST_MEMORY = 300 << 20
"""Bytes that a node under attack may take more than one that has just started."""
MOST_DESCRIPTORS = 1024
"""Descriptors it may have open, whatever the limit of the process is."""
MOST_LOG = 4 << 20
"""Bytes that it may log in the seconds of one attack."""

FILES = ("target.py", "guarded.py")
"""What the target runs."""

_spawn = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Target:
    """The attacked process."""

    uri: str
    pid: int
    log: Path

    def memory(self) -> int:
        """Return the bytes of memory that it has."""
        return int((Path("/proc") / str(self.pid) / "statm").read_text().split()[1]) * resource.getpagesize()

    def excess(self, memory: int, most: int = MOST_MEMORY) -> list[str]:
        """Return what it holds or has written too much of, in words.

        ``memory`` is what it had at first, of which it may have ``most`` more.
        """
        held = self.memory() - memory
        descriptors = len(list((Path("/proc") / str(self.pid) / "fd").iterdir()))
        logged = self.log.stat().st_size
        found = []
        if held > most:
            found.append(f"{held >> 20} MiB more memory, of at most {most >> 20}")
        if descriptors > MOST_DESCRIPTORS:
            found.append(f"{descriptors} descriptors, of at most {MOST_DESCRIPTORS}")
        if logged > MOST_LOG:
            found.append(f"{logged >> 20} MiB of log, of at most {MOST_LOG >> 20}")
        return found


@contextlib.asynccontextmanager
async def node(*options: str, descriptors: int | None = None) -> AsyncIterator[Target]:
    """Run the target, with so many file descriptors if that is given."""

    def limit() -> None:
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    command = [sys.executable, "-m", "oddwire.cli.main", "run", *(str(Path(__file__).parent / name) for name in FILES)]
    with tempfile.NamedTemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            "--listen",
            "127.0.0.1:0",
            "--json",
            *options,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            preexec_fn=limit,
        )
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "listening":
                    break
            draining = asyncio.create_task(_drain(process.stdout))
            yield Target(event["uri"], process.pid, Path(log.name))
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            await draining


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.read(1 << 20):
        pass


def _attack(kind: str, uri: str, strangers: int, done: Any) -> None:
    counted = attacks.Done()

    async def main() -> None:
        if kind == "half-open":
            await attacks.half_open(uri, HALF_OPEN_RATE, counted)
        elif kind in attacks.HOARDS:
            await attacks.hoard(uri, kind, strangers, counted)
        elif kind in attacks.DEBTORS:
            await attacks.run_up(uri, kind, strangers, counted)
        elif kind == "everything":
            await attacks.everything(uri, counted)
        else:
            await attacks.flood(uri, kind, strangers, counted)

    async def tell() -> None:
        running = asyncio.create_task(main())
        while not running.done():
            await asyncio.sleep(0.2)
            done[:] = [counted.messages, counted.connections]
        running.result()

    asyncio.run(tell())


@contextlib.contextmanager
def attacking(kind: str, uri: str, strangers: int) -> Iterator[Any]:
    """Have strangers attack from a process of their own."""
    done = _spawn.Array("q", 2)
    process = _spawn.Process(target=_attack, args=(kind, uri, strangers, done), daemon=True)
    process.start()
    try:
        yield done
    finally:
        process.kill()
        process.join()


async def settled(done: Any) -> None:
    """Wait until strangers are there and wait themselves, having filled what lies between: that work is their own."""
    async with asyncio.timeout(30):
        while not done[1]:
            await asyncio.sleep(0.05)
    for _ in range(20):
        before = done[0]
        await asyncio.sleep(0.5)
        if done[0] - before < 20_000:
            return


async def measure_rpc(kind: str, strangers: int, seconds: float) -> tuple[float, float]:
    """Return how many calls a second the RPC of an embedded node answers alone, and beside strangers."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "oddwire.cli.main", "node", "--lightning-dir", folder, "--network", "regtest"]
        options = ["--addr", "127.0.0.1:0", "--json", "--log-level", "broken"]
        process = await asyncio.create_subprocess_exec(*command, *options, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        try:
            ready = json.loads(await process.stdout.readline())
            alone = await good.call(ready["rpc_file"], seconds)
            with attacking(kind, ready["uri"], strangers) as done:
                await settled(done)
                return alone, await good.call(ready["rpc_file"], seconds)
        finally:
            process.terminate()
            await process.communicate()


@contextlib.asynccontextmanager
async def hosting() -> AsyncIterator[tuple[Target, str]]:
    """Run ``oddwire node`` with a plugin that takes all that peers bring about; give it, and its RPC socket."""
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile() as log:
        plugin = Path(folder) / "subscribed.py"
        plugin.write_text(f"#!{sys.executable} -IS\n{(Path(__file__).parent / 'subscribed.py').read_text()}")
        plugin.chmod(0o755)
        options = ["--lightning-dir", folder, "--network", "regtest", "--addr", "127.0.0.1:0", "--json"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "oddwire.cli.main", "node", *options, "--plugin", str(plugin)),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        assert process.stdout is not None
        try:
            ready = json.loads(await process.stdout.readline())
            draining = asyncio.create_task(_drain(process.stdout))
            yield Target(ready["uri"], process.pid, Path(log.name)), ready["rpc_file"]
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            await draining


async def _get_in(uri: str) -> float:
    """Give the seconds that an honest caller waits, also for nothing: what follows is measured all the same."""
    start = asyncio.get_running_loop().time()
    with contextlib.suppress(OddwireError):
        await good.get_in(uri)
    return asyncio.get_running_loop().time() - start


async def measure_node(kind: str, strangers: int, seconds: float) -> bool:
    """Attack an embedded node with a plugin, and an RPC client beside."""
    async with hosting() as (target, rpc_file), JsonRpcClient(rpc_file) as client:
        began = await client.call("seen")
        alone = await good.call(rpc_file, seconds)
        memory = target.memory()
        with attacking(kind, target.uri, strangers) as done:
            await settled(done)
            beside = await good.call(rpc_file, seconds)
            took = max([await _get_in(target.uri) for _ in range(3)])
            start = asyncio.get_running_loop().time()
            seen = await client.call("seen", timeout=30)
            answered = asyncio.get_running_loop().time() - start
            excess = target.excess(memory)
        if seen["pid"] != began["pid"]:
            excess.append("the plugin was ended, and started anew")
        if took > MOST_SECONDS:
            excess.append(f"a caller waits {took:.1f} s, of at most {MOST_SECONDS}")
        if answered > MOST_SECONDS:
            excess.append(f"the plugin's method answers after {answered:.1f} s, of at most {MOST_SECONDS}")
        told = (
            f"{beside:.0f} of {alone:.0f} calls a second; in after {took:.2f} s, its plugin after {answered:.2f} s;"
            f" {seen['seen']} seen of {done[0]} messages, {done[1]} connections;"
            f" {target.memory() - memory >> 20} MiB more, {target.log.stat().st_size >> 10} KiB of log"
        )
    fine = not excess and beside >= LEAST_CALLS * alone
    for what in excess:
        told += f"; {what}"
    print(f"{'ok  ' if fine else 'FAIL'} {beside / alone:.2f} node, {kind} x {strangers}: {told}", flush=True)
    return fine


async def measure(kind: str, strangers: int, seconds: float, rounds: int) -> bool:
    ratios, excess = [], set[str]()
    told = ""
    for _ in range(rounds):
        async with node() as target:
            uri = target.uri
            alone = await good.ask(uri, seconds)
            memory = target.memory()
            with attacking(kind, uri, strangers) as done:
                await settled(done)
                beside = await good.ask(uri, seconds)
                took = max([await _get_in(uri) for _ in range(3)])
                if took > MOST_SECONDS:
                    excess.add(f"a caller waits {took:.1f} s, of at most {MOST_SECONDS}")
                most = attacks.HOARDS[kind].most if kind in attacks.HOARDS else MOST_MEMORY
                excess.update(target.excess(memory, most))
                ratios.append(beside.rate / alone.rate)
                told = (
                    f"{beside.rate:.0f} of {alone.rate:.0f} a second, {beside.median:.1f} ({beside.worst:.0f}) of"
                    f" {alone.median:.1f} ms; in after {took:.2f} s; {done[0]} messages, {done[1]} connections"
                )
    ratio = statistics.median(ratios)
    least = LEAST_BESIDE_CALLERS if kind in attacks.DEBTORS else LEAST
    fine = not excess and (ratio >= least or kind in attacks.HOARDS)  # hoards are work that peers may ask for
    for what in sorted(excess):
        told += f"; {what}"
    print(f"{'ok  ' if fine else 'FAIL'} {ratio:.2f} {kind} x {strangers}: {told}", flush=True)
    return fine


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--node", action="store_true", help="attack an embedded node with a plugin instead")
    parser.add_argument("names", nargs="*", metavar="NAME")
    given = parser.parse_args()
    # An embedded node without a plugin that has sessions says no hello
    plain = {*attacks.FLOODS, *attacks.DEBTORS, "half-open"} - attacks.SESSIONS - {"session frames"}
    names = given.names or [*attacks.FLOODS, *attacks.HOARDS, *attacks.DEBTORS, "half-open"]
    good_enough = []
    for name in names:
        if given.node and name in plain:
            good_enough.append(await measure_node(name, 1 if name == "half-open" else 8, given.seconds))
        elif not given.node:
            counts = (1,) if name == "half-open" else (1, 8)
            good_enough += [await measure(name, count, given.seconds, given.rounds) for count in counts]
    return 0 if all(good_enough) else 1
