from __future__ import annotations

import ast
import time
from pathlib import Path

import pytest

from oddwire import clocks

FRAMEWORK = Path(__file__).parents[2] / "framework"
READ = {"monotonic", "monotonic_ns", "time", "time_ns", "clock_gettime", "clock_gettime_ns"}
# Modules that read the machine's clocks themselves, and why a test's clock need not move those
THEMSELVES = {
    "oddwire.clocks": "where all others read them",
    "oddwire.log_limits": "by a clock that it can be told",
    "oddwire.testing.clock": "what passes in the world",
    "oddwire.app.dispatch.loop_watch": "a thread, which watches this process",
    "oddwire.transports.cln.stdio": "a thread, which watches this process",
    "oddwire.app.programs.orphaned_stores": "waits for SQLite without a loop",
    "oddwire.node.log_file": "looks at a file that others move",
    "oddwire.cli": "the process of a command",
    "oddwire.monitor": "the process of a command, which watches another",
}
COMMANDS = ("oddwire.cli", "oddwire.monitor")


def reads(path: Path) -> bool:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Attribute(value=ast.Name(id="time"), attr=name) if name in READ:
                return True
            case ast.ImportFrom(module="time", names=names) if {alias.name for alias in names} & READ:
                return True
    return False


def test_everything_reads_the_clocks_that_a_test_can_move() -> None:
    found = {
        ".".join(path.relative_to(FRAMEWORK).with_suffix("").parts).removesuffix(".__init__")
        for path in FRAMEWORK.rglob("*.py")
        if reads(path)
    }
    allowed = {name for name in found if name.startswith(tuple(f"{package}." for package in COMMANDS))} | {*THEMSELVES}
    assert found - allowed == set(), "oddwire.clocks, or the loop's time(), can be moved by oddwire.testing.Clock"
    assert {*THEMSELVES} - found == {*COMMANDS}, "exceptions that are not needed any more"


@pytest.mark.parametrize(("name", "other"), [("monotonic", time.monotonic), ("wall", time.time)])
def test_they_are_the_machines(name: str, other) -> None:
    assert abs(getattr(clocks, name)() - other()) < 3600


def test_the_time_since_the_boot_does_not_stop_while_the_machine_is_suspended() -> None:
    assert clocks.uptime() >= time.monotonic() - 3600
