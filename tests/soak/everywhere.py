"""A rough day for one extension on four kinds of nodes: LND, Core Lightning, the embedded node, and LDK's counterpart.

``python -m tests.soak.everywhere``: each numbers notes and sends them reliably to each other one, and asks and has
counted meanwhile. Nodes of all kinds are killed (-9) and started again, the application on LND is stopped and started
again, and LND's links are cut. It fails unless every note was taken once and in order, and what was answered is right.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.soak.lightningds import Folders

if TYPE_CHECKING:
    from tests.interop.lnd.parties import Party

PATIENCE: Final = 120.0  # seconds without progress until it counts as stuck
SOON: Final = 0.3  # seconds at most from new notes to what happens to them


async def rough_day(
    parties: Sequence[Party], notes: int, rounds: int, seed: int, say: Callable[[str], object]
) -> Counter[str]:
    """Run it, look through what all have taken, and return what was done to them.

    ``notes`` are those of each to each other one. In each round everything happens once.
    """
    from tests.interop.lnd.parties import OnLnd, meet_all, ways

    chance, counts = random.Random(seed), Counter[str]()
    on_lnd = next(party for party in parties if isinstance(party, OnLnd))
    events = {f"{party.name} killed": party.kill for party in parties}
    events |= {"application on lnd started again": on_lnd.restart, "links of lnd cut": lambda: cut(on_lnd, parties)}
    plan = [name for _ in range(rounds) for name in chance.sample(list(events), len(events))]
    await meet_all(parties)
    sent = 0
    for number, name in enumerate(plan, 1):
        upto = notes * number // len(plan)
        for one, other in ways(parties):
            await one.send(other, [note_of(one, other, index) for index in range(sent, upto)])
        sent = upto
        asking = [asyncio.create_task(ask(one, other, chance.choice(SIZES), counts)) for one, other in ways(parties)]
        await asyncio.sleep(chance.uniform(0, SOON))
        counts["events with questions under way"] += not all(task.done() for task in asking)
        await events[name]()
        counts[name] += 1
        await asyncio.gather(*asking)
        await meet_all(parties)
        say(f"{number} of {len(plan)}, {name}, {dict(counts)}")
    await finish(parties, notes)
    for one in parties:
        taken = await one.notes()
        for other in parties:
            mine = [note for note in taken if note.startswith(way(other, one))]
            wanted = [] if one is other else [note_of(other, one, index) for index in range(notes)]
            assert mine == wanted, f"{one.name} has of {other.name} {len(mine)} notes of {len(wanted)}: {mine[:3]}"
        counts["delivered"] += len(taken)
    return counts


SIZES: Final = (0, 100, 60_000, 300_000)


def way(one: Party, other: Party) -> bytes:
    return f"{one.name} to {other.name} ".encode()


def note_of(one: Party, other: Party, index: int) -> bytes:
    return way(one, other) + str(index).encode()


async def ask(one: Party, other: Party, size: int, counts: Counter[str]) -> None:
    """Ask and have counted; that may fail, but not be answered wrong."""
    from tests.interop.lnd.parties import Failed

    for question, amount in ((one.ask, size), (one.count, 50)):
        try:
            async with asyncio.timeout(PATIENCE):
                assert await question(other, amount), f"{one.name} to {other.name}: a wrong answer"
            counts["questions answered"] += 1
        except (Failed, AssertionError, OSError) as error:
            if isinstance(error, AssertionError) and "ended" not in str(error):
                raise
            counts["questions failed"] += 1


async def cut(on_lnd: Party, parties: Sequence[Party]) -> None:
    from tests.interop.lnd.parties import OnLnd

    assert isinstance(on_lnd, OnLnd)
    async with on_lnd.lnd.api() as api:
        for party in parties:
            with contextlib.suppress(Exception):  # some may be gone already
                await api.disconnect(party.node_id)


async def finish(parties: Sequence[Party], notes: int) -> None:
    """Wait until all notes are where they belong."""
    wanted = notes * (len(parties) - 1)
    moved, before = time.monotonic(), [0]
    while (taken := [len(await party.notes()) for party in parties]) != [wanted] * len(parties):
        if taken != before:
            moved, before = time.monotonic(), taken
        assert time.monotonic() < moved + PATIENCE, f"stuck at {taken} of {wanted}"
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def four(folder: Path) -> AsyncIterator[list[Party]]:
    """Start them, in a folder."""
    from tests.interop.conftest import NODE_FOLDER, LdkPeer, Starter, install_packages, node_commands
    from tests.interop.lnd.lnd_node import Lnd
    from tests.interop.lnd.parties import OnDaemon, OnLdk, OnLnd

    (node, *rest), npm = node_commands()
    install_packages(npm, node)
    seed, starter = os.urandom(32).hex(), Starter(Folders(str(folder)))  # type: ignore[arg-type]

    async def start_ldk() -> LdkPeer:
        script = str(NODE_FOLDER / "session_peer.mjs")
        return await LdkPeer.start(node, *rest, script, seed=seed, disk=str(folder / "ldk"))

    lnd = Lnd(folder / "lnd")
    on_lnd = None
    try:
        on_lnd = OnLnd(await asyncio.to_thread(lnd.start), folder / "store")
        await on_lnd.start()
        kinds = {"cln": starter.lightningd, "node": starter.node}
        daemons = [OnDaemon(name, await asyncio.to_thread(start, "everywhere")) for name, start in kinds.items()]
        ldk = OnLdk(start_ldk, await start_ldk())
        await ldk.peer.listen()
        yield [on_lnd, *daemons, ldk]
        await ldk.peer.aclose()
    finally:
        if on_lnd is not None:
            await on_lnd.aclose()
        starter.end()
        lnd.end()


async def day(folder: Path, notes: int, rounds: int, seed: int, say: Callable[[str], object]) -> Counter[str]:
    async with four(folder) as parties:
        return await rough_day(parties, notes, rounds, seed, say)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.everywhere", description=__doc__)
    parser.add_argument("--notes", type=int, default=500, help="of each to each other one")
    parser.add_argument("--rounds", type=int, default=5, help="of everything that happens, four kills among it")
    parser.add_argument("--seed", type=int, default=None, help="what the last run used, to do much the same again")
    options = parser.parse_args()
    missing = [name for name in ("lnd", "lncli", "lightningd", "lightning-cli") if shutil.which(name) is None]
    if missing:
        print(f"NOT RUN on all four: there is no {' and no '.join(missing)} on the PATH", file=sys.stderr)
        return
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counts = asyncio.run(
            day(Path(folder), options.notes, options.rounds, seed, lambda text: print(text, flush=True))
        )
    print(f"{dict(counts)} in {time.monotonic() - begin:.0f} s: none lost, none twice, all in order")


if __name__ == "__main__":
    main()
