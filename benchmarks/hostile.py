"""A good peer's requests beside strangers of each kind, against the same alone; each side in a process of its own."""

from __future__ import annotations

import statistics

from tests.hostile import attacks, good, harness

from benchmarks.harness import Row, median_ratio, run_async

ROUNDS = 3
SECONDS = 2.0
KINDS = {
    "tiny unknown messages": "unknown",
    "malformed ones": "malformed",
    "pings": "pings",
    "pings for large pongs": "pings for large pongs",
    "warnings": "warnings",
    "malformed maps of 32 000 pairs": "a costly map",
    "messages with 16 000 odd records": "costly records",
    "session frames": "session frames",
}


async def measure(kind: str, strangers: int) -> tuple[good.Seen, good.Seen]:
    """Return what a good peer sees alone, and then beside the attack, of one node."""
    async with harness.node() as target:
        uri = target.uri
        alone = await good.ask(uri, SECONDS)
        with harness.attacking(kind, uri, strangers) as done:
            await harness.settled(done)
            return alone, await good.ask(uri, SECONDS)


def row(name: str, kind: str, strangers: int) -> Row:
    seen = [run_async(measure(kind, strangers)) for _ in range(ROUNDS)]
    alone, beside = [one.rate for one, _ in seen], [other.rate for _, other in seen]
    median = statistics.median
    note = (
        f"{median(beside):.0f} a second against {median(alone):.0f},"
        f" {median(other.median for _, other in seen):.1f} ms each against {median(one.median for one, _ in seen):.1f}"
    )
    return Row(f"requests beside {name}", median_ratio(beside, alone), "ratio", ">= 0.9", note)


def rows() -> list[Row]:
    found = [
        row(f"{strangers} stranger{'s' * (strangers > 1)}: {name}", kind, strangers)
        for name, kind in KINDS.items()
        for strangers in (1, 8)
    ]
    name = f"{harness.HALF_OPEN_RATE:.0f} half-open handshakes a second"
    return [*found, row(name, "half-open", 1), *attacks_on_rpc()]


def attacks_on_rpc() -> list[Row]:
    """The same for the RPC of the embedded node."""
    found = []
    for name in ("unknown", "pings", "warnings"):
        assert name in attacks.FLOODS
        seen = [run_async(harness.measure_rpc(name, 8, SECONDS)) for _ in range(ROUNDS)]
        alone, beside = [one for one, _ in seen], [other for _, other in seen]
        note = f"{statistics.median(beside):.0f} calls a second against {statistics.median(alone):.0f}"
        row = f"calls of the embedded node beside 8 strangers: {name}"
        found.append(Row(row, median_ratio(beside, alone), "ratio", ">= 0.9", note))
    return found
