"""Fuzz what peers can reach: ``python -m tests.fuzz [--seconds 60] [--seed 1] [NAME ...]``.

Every ``targets_*.py`` beside this file has a literal ``TARGETS``: names, each with a function and seeds. The function
takes bytes and returns; whatever it raises is a fault. The seeds are inputs that are as they should be, which get
changed here and there. ``make test`` runs each target for a moment with hypothesis (test_targets.py), this runs each
for a given time, and prints the input and the traceback of the first fault.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

Target = tuple[Callable[[bytes], None], Sequence[bytes]]

TELLING = bytes.fromhex(
    "00 01 02 03 0f 10 20 7f 80 90 9f a0 bf c0 c1 c4 c6 c7 d4 d9 dc dd de df fc fd fe ff 22 5b 5c 7b 7d"
)
"""Bytes that begin something in one format or another, or are the least or most of something."""


def discover() -> dict[str, Target]:
    """Load every target there is."""
    found: dict[str, Target] = {}
    for path in sorted(Path(__file__).parent.glob("targets_*.py")):
        spec = importlib.util.spec_from_file_location(f"fuzz_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        for name, target in module.TARGETS.items():
            assert name not in found, f"two fuzz targets are called {name!r}"
            found[name] = target
    return found


def mutate(dice: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Make an input: a seed with some changes, or now and then anything at all."""
    if not seeds or dice.random() < 0.05:
        return dice.randbytes(dice.choice((0, 1, 2, 5, 20, 200)))
    data = bytearray(dice.choice(seeds))
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        at = dice.randrange(len(data) + 1)
        size = dice.choice((1, 1, 2, 4, 16))
        match dice.randrange(8):
            case 0 if at < len(data):
                data[at] ^= 1 << dice.randrange(8)
            case 1 if at < len(data):
                data[at] = dice.choice(TELLING)
            case 2 if at < len(data):
                data[at : at + size] = dice.randbytes(size)
            case 3:
                data[at:at] = bytes(dice.choice(TELLING) for _ in range(size))
            case 4:
                del data[at : at + size]
            case 5:
                data[at:at] = data[at : at + size] * dice.choice((1, 2, 300))
            case 6:
                del data[at:]
            case 7:
                other = dice.choice(seeds)
                data[at:] = other[dice.randrange(len(other) + 1) :]
    return bytes(data[:65535])


def run(name: str, target: Target, seconds: float, seed: int) -> bool:
    """Fuzz one target; say whether it held."""
    function, seeds = target
    dice = random.Random(f"{seed} {name}")
    start, count, data = time.monotonic(), 0, b""
    try:
        for data in seeds:
            function(data)
        while time.monotonic() - start < seconds:
            for _ in range(100):
                data = mutate(dice, seeds)
                function(data)
            count += 100
    except Exception:
        print(f"{name}: FAULT after {count} inputs, on {data.hex() or 'nothing'}")
        traceback.print_exc(file=sys.stdout)
        return False
    print(f"{name}: {count} inputs in {time.monotonic() - start:.0f} s, no fault")
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz every target, or those named; 1 if one of them has a fault."""
    targets = discover()
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz what peers can reach.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(targets)}; all by default")
    parser.add_argument("--seconds", type=float, default=60, help="how long each target runs")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="to run the same inputs again")
    told = parser.parse_args(arguments)
    unknown = [name for name in told.names if name not in targets]
    if unknown:
        parser.error(f"no target {unknown[0]!r}; there are {', '.join(targets)}")
    print(f"seed {told.seed}")
    held = [run(name, targets[name], told.seconds, told.seed) for name in told.names or targets]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
