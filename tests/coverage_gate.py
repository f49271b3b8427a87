"""Coverage that gates: of all modules together, and of each by the test file that is its own.

As a plugin of pytest (``-p tests.coverage_gate``) it marks what is covered by the file of the test that covers it. As a
program it reads what ``coverage run`` has left, and fails where lines or branches are under their floors, which are in
``tests/coverage_floors.toml``. ``--write`` sets the floors of modules that are under the default to what they have.

What runs in a process of its own is not measured: what only such processes run has a low floor.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import coverage
import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "framework" / "oddwire"
TESTS = ROOT / "tests" / "unit"
FLOORS = ROOT / "tests" / "coverage_floors.toml"
HEAD = """\
# Percentages that are covered at the least; tests/coverage_gate.py says how they are measured, and writes this file.
# What is low runs in processes of its own, or is covered by the tests of what uses it.

"""
SLACK = 2  # percent that a module may lose to what a run happens not to reach


def pytest_configure(config: pytest.Config) -> None:
    """Measure pytest-xdist's workers, and none that a test starts: those are watched for what they print."""
    if hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None):
        for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
            os.environ.pop(name, None)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Import all modules now: what is imported late counts as covered by whichever test happens to need it first."""
    for module in sorted(SOURCE.rglob("*.py")):
        if module.stem != "__main__":
            importlib.import_module(
                ".".join(module.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
            )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Have what a test covers, its fixtures too, count as its file's."""
    measuring = coverage.Coverage.current()
    if measuring is not None:
        measuring.switch_context(item.path.relative_to(ROOT).as_posix())
    yield
    if measuring is not None:
        measuring.switch_context("")


class Covered(NamedTuple):
    """Percentages: of statements, and of branches where there are any."""

    lines: float
    branches: float


def measured(data: coverage.Coverage, **what: object) -> Covered:
    """Return what the data say of these files, in these contexts."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
        data.json_report(outfile=file.name, ignore_errors=True, **what)  # type: ignore[arg-type]
        totals = json.load(file)["totals"]
    branches = totals["num_branches"]
    return Covered(
        100.0 * totals["covered_lines"] / max(1, totals["num_statements"]),
        100.0 * totals["covered_branches"] / branches if branches else 100.0,
    )


def own_tests() -> Iterator[tuple[str, Path, Path]]:
    """Iterate over the modules that have a test file of their own: dotted name, module, test."""
    for module in sorted(SOURCE.rglob("*.py")):
        place = module.relative_to(SOURCE)
        test = TESTS / place.with_name(f"test_{place.name.removeprefix('_')}")
        if test.exists():
            yield ".".join(place.with_suffix("").parts), module, test


def by_module(data: coverage.Coverage) -> dict[str, Covered]:
    """Return what each module's own test file covers; what its import does counts too."""
    return {
        name: measured(data, morfs=[str(module)], contexts=["^$", f"^{re.escape(test.relative_to(ROOT).as_posix())}$"])
        for name, module, test in own_tests()
    }


def faults(floors: Mapping[str, Mapping[str, float]], whole: Covered, modules: Mapping[str, Covered]) -> Iterator[str]:
    """Iterate over what is under its floor, and floors of what is not there."""
    for name, covered in [("all of oddwire", whole), *modules.items()]:
        floor = floors["all"] if name == "all of oddwire" else floors.get(name, floors["default"])
        for what, percent in covered._asdict().items():
            if percent < floor[what]:
                yield f"{name}: {percent:.1f} % of {what} are covered, {floor[what]:g} % should be"
    for name in sorted(floors.keys() - modules.keys() - {"all", "default"}):
        yield f"{name}: has a floor in {FLOORS.name}, but is no module with a test file of its own"


def written(floors: Mapping[str, Mapping[str, float]], modules: Mapping[str, Covered]) -> str:
    """Return a table of floors that all pass: for modules near the default, or under it, what they have less slack."""
    default = floors["default"]
    text = HEAD + "".join(
        f"[{name}]\nlines = {floors[name]['lines']:g}\nbranches = {floors[name]['branches']:g}\n\n"
        for name in ("all", "default")
    )
    for name, covered in modules.items():
        least = [min(max(0, int(found) - SLACK), int(default[what])) for what, found in covered._asdict().items()]
        if least != [default["lines"], default["branches"]]:
            text += f'["{name}"]\nlines = {least[0]}\nbranches = {least[1]}\n\n'
    return text.rstrip("\n") + "\n"


def main() -> int:
    """Check, or write the floors."""
    parser = argparse.ArgumentParser(description="Fail where coverage is under its floor.")
    parser.add_argument("--write", action="store_true", help="set the floors of modules to what they have")
    arguments = parser.parse_args()
    data = coverage.Coverage(config_file=str(ROOT / "pyproject.toml"))
    data.load()
    floors = tomllib.loads(FLOORS.read_text())
    whole, modules = measured(data), by_module(data)
    if arguments.write:
        FLOORS.write_text(written(floors, modules))
        return 0
    found = [*faults(floors, whole, modules)]
    print(*found, sep="\n", end="\n" if found else "")
    print(
        f"coverage: {whole.lines:.1f} % of lines, {whole.branches:.1f} % of branches; "
        f"{len(modules)} modules by their own tests; {len(found)} under a floor"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
