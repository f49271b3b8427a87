"""The wheel of this checkout, built once for all test processes, and what it needs beside it, without an index."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
LIMIT = 300  # seconds; reached only by what hangs


def run(*command: str | Path, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, as if it were not started by a test; ``code`` is how it should exit."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    result = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT
    )
    assert result.returncode == code, result.stdout + result.stderr
    return result


def built_wheel(folders: pytest.TempPathFactory) -> Path:
    """Return the wheel, in a folder of its own. The first that asks, of all processes of this test run, builds it."""
    shared = folders.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    target = shared / "wheel"
    target.mkdir(exist_ok=True)
    with (shared / "wheel.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not [*target.glob("*.whl")]:
            _build(folders.mktemp("source"), target)
    [made] = target.glob("*.whl")
    return made


def _build(source: Path, target: Path) -> None:
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("framework", "extensions"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", target, source, cwd=target)


def link_dependencies(place: Path, *wanted: str) -> None:
    """Link into a folder for packages what these distributions are, and all that they need, but for oddwire itself.

    They are those of the tests' own environment: pip finds them there as if it had installed them.
    """
    origin = Path(sysconfig.get_path("purelib"))
    for found in _closure(wanted):
        for name in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            there = place / name
            if there.is_dir() and not there.is_symlink():  # what a new environment has of its own
                shutil.rmtree(there)
            if not there.exists():
                there.symlink_to(origin / name)


def _closure(wanted: Iterable[str]) -> Iterator[Distribution]:
    waiting, seen = [Requirement(name) for name in wanted], {"oddwire"}
    for name in wanted:
        if name == "oddwire":
            waiting.extend(_needs(distribution(name), set()))
    while waiting:
        requirement = waiting.pop()
        if requirement.name.lower() in seen:
            continue
        seen.add(requirement.name.lower())
        found = distribution(requirement.name)
        waiting.extend(_needs(found, requirement.extras))
        yield found


def _needs(found: Distribution, extras: set[str]) -> Iterator[Requirement]:
    for text in found.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield requirement
