"""Every order in which two nodes' plugins may start, with all of them talking at once: a table that should be zeros.

``python -m tests.interop.programs``: two, three and five plugins at each of two nodes, started with the nodes and by
``plugin start`` while they are connected. Two at each side start in every order there is, three at each node in every
order and among the other's by chance, five by chance. Each row counts what was asked and sent in it, and what has gone
wrong. It fails if anything has.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.interop.conftest import Starter
from tests.interop.programs.scene import (
    PATIENCE,
    Load,
    Outcome,
    Starts,
    Workshop,
    every,
    some,
    started_one_by_one,
    started_with_the_nodes,
)
from tests.soak.lightningds import Folders

SIZES = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (5, 5)]


def orders(left: int, right: int, how: object, count: int, seed: int) -> Iterator[Starts]:
    """Yield the orders of start to be tried; where all start with their nodes, who dials and each node's own count."""
    seen = set()
    for starts in every(left, right) if left + right <= 4 else some(left, right, count, seed):
        own = tuple(sorted(starts, key=lambda label: label[0]))
        key = (starts[0][0], own) if how is started_with_the_nodes else starts
        if key not in seen:
            seen.add(key)
            yield starts


async def table(options: argparse.Namespace, folder: Path) -> Counter[str]:
    load = Load(options.requests, options.streams, options.large, options.orders)
    shop, sums = Workshop(folder), Counter[str]()
    for size in SIZES if options.plugins is None else [(options.plugins, options.plugins)]:
        for how in (started_with_the_nodes, started_one_by_one):
            for starts in orders(*size, how, options.sample, options.seed):
                starter = Starter(Folders(str(folder)))
                try:
                    outcome = await how(getattr(starter, options.kind), shop, size, starts, load, options.patience)
                finally:
                    starter.end()
                print(f"{size[0]} and {size[1]}, {how.__name__}, {' '.join(starts)}: {outcome}", flush=True)
                if options.verbose:
                    for what, texts in outcome.texts.items():
                        print(*(f"    {what}: {text}" for text in texts[:5]), sep="\n")
                sums.update(outcome)
                sums["orders of start"] += 1
                sums["troubles"] += sum(outcome.troubles.values())
    return sums


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.interop.programs", description=__doc__)
    parser.add_argument("--kind", choices=["node", "lightningd"], default="node")
    parser.add_argument("--plugins", type=int, default=None, help="of each node, only this number")
    for name, number in (("requests", 200), ("streams", 20), ("large", 5), ("orders", 500)):
        parser.add_argument(f"--{name}", type=int, default=number, help="of each extension, each way")
    parser.add_argument("--sample", type=int, default=6, help="orders of start where there are too many")
    parser.add_argument("--seed", type=int, default=None, help="what the last run used, to do the same again")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds without progress until it goes on")
    parser.add_argument("--verbose", action="store_true", help="show some of what has gone wrong")
    options = parser.parse_args()
    if options.kind == "lightningd" and shutil.which("lightningd") is None:
        print("NOT RUN against Core Lightning: there is no lightningd on the PATH", file=sys.stderr)
        return
    if options.seed is None:
        options.seed = random.randrange(1 << 32)
    print(f"seed {options.seed}", flush=True)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        sums = asyncio.run(table(options, Path(folder)))
    print(f"{Outcome(sums)} in {time.monotonic() - begin:.0f} s")
    sys.exit(1 if sums["troubles"] else 0)


if __name__ == "__main__":
    main()
