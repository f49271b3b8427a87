"""A rough day for a cluster: broker, gateway and three workers, of which one or another is killed, frozen or restarted.

``python -m tests.soak.cluster``: peers that speak the session protocol number orders and send them reliably; others,
that do not, number their plain messages. Handlers write down when they began and ended, and in which process. A seed
decides what is done, every 0.3 to 3 seconds. It fails unless every order took effect once and in order, no plain
message was lost on a connection that lives, none was handled before an older one, and nothing that a former owner
did is anywhere.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

from tests.soak.cluster.day import rough_day


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.cluster", description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000, help="orders, of all peers together")
    parser.add_argument("--kills", type=int, default=200, help="events: kills, freezes and restarts")
    parser.add_argument("--seed", type=int, default=None, help="what the last run used, to do much the same again")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where logs are kept; by default they are thrown away"
    )
    parser.add_argument("--no-ldk", action="store_true", help="without LDK among the peers, which needs Node.js")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        day = rough_day(
            folder,
            options.messages,
            options.kills,
            seed,
            lambda text: print(text, flush=True),
            ldk=None if options.no_ldk else folder,
        )
        counts = asyncio.run(day)
    print(f"{dict(counts)} in {time.monotonic() - start:.0f} s: none lost, none twice, all in order")


if __name__ == "__main__":
    main()
