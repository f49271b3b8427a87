"""An hour in which nothing is said: LND and `oddwire run`, `oddwire node`, each of which has dialed it and been dialed.

``python -m tests.soak.idle``: it fails unless all four connections stand the whole time, LND has had its pings
answered on each, and messages still pass both ways afterwards. Who dials comes from an address by which others reach
this machine, if it has one: on 127.0.0.1 LND takes a peer for one behind Tor, and pings it every third minute only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.soak.lightningds import Folders

from oddwire.codecs.registry import Registry
from oddwire.session import SESSION_TYPE
from oddwire_extensions.echo import Reply, Request

if TYPE_CHECKING:
    from tests.interop.conftest import Starter
    from tests.interop.lnd.lnd_node import Api, Lnd, Subscription

CLI: Final = [sys.executable, "-m", "oddwire.cli.main"]
NODES_OWN: Final = 0x9A01  # an odd type that the plugin of the node takes
GREETING: Final = SESSION_TYPE.to_bytes(2, "big")  # of applications, as they meet
OFFLINE: Final = b"\x10\x01"  # as a PeerEvent of it ends
SAY_EVERY: Final = 300  # seconds

registry: Final = Registry()
for kind in (Request, Reply):
    registry.register(kind, owner="echo")
registry.freeze()


def own_address() -> str:
    """Return an address of this machine by which others reach it, or 127.0.0.1; nothing is sent for that."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return "127.0.0.1"


@contextlib.asynccontextmanager
async def running_echo(*arguments: str) -> AsyncIterator[str]:
    """Have ``oddwire run echo`` run; gives its URI once it listens."""
    process = await asyncio.create_subprocess_exec(
        *CLI, "run", "echo", "--listen", "127.0.0.1:0", "--network", "regtest", "--json", *arguments,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    uri = ""
    while not uri:
        line = await process.stdout.readline()
        assert line, "oddwire run ended"
        uri = json.loads(line).get("uri", "")
    drained = asyncio.create_task(process.stdout.read())
    try:
        yield uri
        assert process.returncode is None, f"oddwire run ended with {process.returncode}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        await drained


async def echoed(api: Api, messages: Subscription, node_id: str, text: str) -> None:
    """Have LND ask an `oddwire run echo`, and see that it answers."""
    await api.send(node_id, registry.encode(Request(text=text)))
    peer, payload = await messages.message()
    while payload[:2] == GREETING:
        peer, payload = await messages.message()
    reply = registry.decode(payload)
    assert (peer, isinstance(reply, Reply) and reply.text) == (node_id, text)


async def event_of(stream: Any, node_ids: list[str]) -> str:
    """Wait until LND tells that one of these peers has gone, and return whom."""
    async for event in stream:
        for node_id in node_ids:
            if node_id.encode() in event and event.endswith(OFFLINE):
                return node_id
    raise AssertionError("the stream has ended")


async def idle(lnd: Lnd, starter: Starter, seconds: float, say: Callable[[str], object]) -> dict[str, Any]:
    """Do it with an LND that runs; return how long it was, and how many pings of each connection were answered."""
    async with contextlib.AsyncExitStack() as stack:
        dialing = await stack.enter_async_context(running_echo("--connect", lnd.uri))
        dialed = await stack.enter_async_context(running_echo())
        nodes = [starter.node("collector") for _ in range(2)]
        api = await stack.enter_async_context(lnd.api())
        messages = await stack.enter_async_context(api.subscribed())
        await api.connect(dialed)
        await nodes[0].connect(lnd.uri)
        await api.connect(nodes[1].uri)
        echoes = [uri.partition("@")[0] for uri in (dialing, dialed)]
        everyone = [*echoes, *(node.node_id for node in nodes)]
        for node_id in everyone:
            await api.until_connected(node_id)
        events = api.stream("SubscribePeerEvents")
        left = asyncio.create_task(event_of(events, everyone))
        begin = time.monotonic()
        while (rest := begin + seconds - time.monotonic()) > 0:
            await asyncio.wait([left], timeout=min(rest, SAY_EVERY))
            assert not left.done(), f"after {time.monotonic() - begin:.0f} s: {left.result()!r}\n{lnd.log[-3000:]}"
            say(f"{time.monotonic() - begin:.0f} s, {lnd.log.count('Received Pong')} pings of LND answered")
        listed = await api.peers()
        assert listed.keys() >= set(everyone)
        left.cancel()
        for node_id in echoes:
            await echoed(api, messages, node_id, "still there?")
        for node in nodes:
            note = NODES_OWN.to_bytes(2, "big") + b"and you?"
            await api.send(node.node_id, note)
            assert await node.taken(lnd.node_id) == [note]
            await node.send(lnd.node_id, note)
            assert await messages.message() == (node.node_id, note)
        pongs = {node_id: sum(node_id in line for line in lnd.log.splitlines() if "Received Pong" in line)
                 for node_id in everyone}  # fmt: skip
        assert seconds < 400 or all(pongs.values()), pongs
    return {"seconds": round(time.monotonic() - begin), "pings answered": list(pongs.values())}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.idle", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    options = parser.parse_args()
    if shutil.which("lnd") is None:
        print("NOT RUN against LND: there is no lnd on the PATH", file=sys.stderr)
        return
    from tests.interop.conftest import Starter
    from tests.interop.lnd.lnd_node import Lnd

    with tempfile.TemporaryDirectory() as folder:
        starter = Starter(Folders(folder))  # type: ignore[arg-type]  # what it needs of pytest's folders
        lnd = Lnd(Path(tempfile.mkdtemp(dir=folder)), "--debuglevel=info,PEER=trace", host=own_address())
        try:
            done = asyncio.run(idle(lnd.start(), starter, options.seconds, lambda text: print(text, flush=True)))
        finally:
            starter.end()
            lnd.end()
    print(f"{done}: nobody hung up, and all was answered")


if __name__ == "__main__":
    main()
