"""What has to be true of a run of a cluster, whatever was killed or frozen in it. Each returns the faults it finds.

`test_checks` shows for each of them that it finds its fault: a check that cannot fail proves nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from tests.soak.cluster.records import Handling, ReliablePeer, Run

__all__ = [
    "all_faults",
    "order_faults",
    "overlap_faults",
    "overlaps",
    "reliable_faults",
    "repeat_faults",
    "tick_faults",
]

SHOWN = 5  # of what is lost or twice


def all_faults(run: Run) -> list[str]:
    """Return what every check finds."""
    return [*reliable_faults(run), *tick_faults(run), *order_faults(run), *overlap_faults(run)]


def reliable_faults(run: Run) -> list[str]:
    """Each receipt settles once; the store has each order once, in order, counted; its answers come once, in order."""
    return [f"{peer[:8]}: {fault}" for peer, known in run.reliable.items() for fault in _reliable(known)]


def _reliable(known: ReliablePeer) -> Iterator[str]:
    numbers = list(range(known.sent))
    yield from (f"a receipt failed: {text}" for text in known.failed[:SHOWN])
    yield from _compared("receipts", numbers, known.settled, in_order=False)
    yield from _compared("stored orders", numbers, [number for number, _ in known.stored])
    yield from _compared("answers", numbers if known.answered else [], [number for number, _ in known.done])
    if known.counter != len(numbers):
        yield f"the counter in the store is {known.counter} after {len(numbers)} orders"
    tokens = dict(known.stored)
    others = [number for number, token in known.done if tokens.get(number, token) != token]
    if others:
        yield f"answers of other handlings than those that stored: {others[:SHOWN]}"


def _compared(what: str, numbers: list[int], there: list[int], *, in_order: bool = True) -> Iterator[str]:
    lost, extra = Counter(numbers) - Counter(there), Counter(there) - Counter(numbers)
    if lost:
        yield f"{what} lost: {sorted(lost)[:SHOWN]} and in all {lost.total()}"
    if extra:
        yield f"{what} twice: {sorted(extra)[:SHOWN]} and in all {extra.total()}"
    if in_order and not lost and not extra and there != numbers:
        first = next(place for place, (a, b) in enumerate(zip(numbers, there, strict=True)) if a != b)
        yield f"{what} out of order from {first} on: {there[first : first + SHOWN]}"


def tick_faults(run: Run) -> list[str]:
    """While a connection lives every tick is handled; of one that was cut, all up to the last that was."""
    ticks = _by_conn(run.handlings)
    faults = []
    for peer, conns in run.plain.items():
        for conn, known in conns.items():
            handled = {each.number for each in ticks.get((peer, conn), ())}
            last = known.sent if known.lives else max(handled, default=0)
            missing = sorted(set(range(1, last + 1)) - handled)
            if missing:
                kind = "lives" if known.lives else f"was cut after {last} had been handled"
                text = f"connection {conn}, which {kind}: not handled {missing[:SHOWN]} and in all {len(missing)}"
                faults.append(f"{peer[:8]}: {text}")
            unsent = sorted(number for number in handled if number > known.sent)
            if unsent:
                faults.append(f"{peer[:8]}: connection {conn}: handled and never sent {unsent[:SHOWN]}")
    return faults


def order_faults(run: Run) -> list[str]:
    """First handlings of a connection's ticks ascend, and so do all that one owner handles."""
    faults = []
    for (peer, conn), ticks in _by_conn(run.handlings).items():
        highest = 0
        latest: dict[tuple[int, int], int] = {}
        for each in ticks:
            if each.number > highest + 1:
                faults.append(f"{peer[:8]}: connection {conn}: {each.number} was handled right after {highest}")
            highest = max(highest, each.number)
            owner = (each.pid, each.term)
            if each.number <= latest.get(owner, 0):
                text = f"{each.number} came after {latest[owner]}, to one owner ({each.pid}, term {each.term})"
                faults.append(f"{peer[:8]}: connection {conn}: {text}")
            latest[owner] = each.number
    return faults


def repeat_faults(run: Run) -> list[str]:
    """Nothing is handled twice, and no answer comes twice: so it is where all owners ended in good order."""
    handled = Counter((each.peer, each.kind, each.conn, each.number) for each in run.handlings)
    twice = [what for what, count in handled.items() if count > 1]
    faults = [f"{peer[:8]}: {kind} {number} of connection {conn} twice" for peer, kind, conn, number in twice[:SHOWN]]
    for peer, tokens in run.tocks.items():
        more = Counter(tokens) - Counter(set(tokens))
        if more:
            faults.append(f"{peer[:8]}: {more.total()} answers twice")
    return faults


def overlap_faults(run: Run) -> list[str]:
    """Handlings of a peer overlap only where the earlier is of a former term, and then it has left no trace."""
    traces = {token: "at the peer" for tokens in run.tocks.values() for token in tokens}
    for known in run.reliable.values():
        traces |= {token: "at the peer" for _, token in known.done}
        traces |= {token: "in the store" for _, token in known.stored}
    faults = []
    for one, other in overlaps(run.handlings):
        what = f"{one.token} and {other.token} of {one.peer[:8]}"
        if one.term >= other.term:
            faults.append(f"two handlings at the same time, and the earlier is not of a former term: {what}")
        elif one.token in traces:
            faults.append(f"a former owner's handling ended beside a new owner's, and is {traces[one.token]}: {what}")
    return faults


def overlaps(handlings: Iterable[Handling]) -> Iterator[tuple[Handling, Handling]]:
    """Yield pairs of one peer and kind of which the second began before the first had ended."""
    by_peer = defaultdict[tuple[str, str], list[Handling]](list)
    for each in sorted(handlings, key=lambda each: each.start):
        by_peer[each.peer, each.kind].append(each)
    for several in by_peer.values():
        open_ones: list[Handling] = []
        for each in several:
            open_ones = [other for other in open_ones if other.end is None or other.end > each.start]
            yield from ((other, each) for other in open_ones)
            open_ones.append(each)


def _by_conn(handlings: Iterable[Handling]) -> dict[tuple[str, int], list[Handling]]:
    found = defaultdict[tuple[str, int], list[Handling]](list)
    for each in handlings:
        if each.kind == "tick":
            found[each.peer, each.conn].append(each)
    return found
