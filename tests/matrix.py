"""The unit tests on every Python that oddwire runs on, as far as this machine has them: ``make matrix``."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
ASK = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"


def candidates(version: str) -> Iterator[str]:
    """Iterate over the commands that may be a Python of this version."""
    yield f"python{version}"
    if uv := shutil.which("uv"):
        found = subprocess.run(
            [uv, "python", "find", "--no-python-downloads", version], capture_output=True, text=True, check=False
        )
        yield found.stdout.strip()
    if pyenv := shutil.which("pyenv"):
        found = subprocess.run([pyenv, "prefix", *_pyenv(pyenv, version)], capture_output=True, text=True, check=False)
        yield f"{found.stdout.strip()}/bin/python"


def _pyenv(pyenv: str, version: str) -> list[str]:
    listed = subprocess.run([pyenv, "versions", "--bare"], capture_output=True, text=True, check=False).stdout.split()
    return [name for name in listed if re.fullmatch(rf"{re.escape(version)}\.\d+", name)][-1:]


def interpreter(version: str) -> str | None:
    """Return the path of a Python of this version, None if there is none."""
    for command in candidates(version):
        path = shutil.which(command) if command else None
        if path is None:
            continue
        told = subprocess.run([path, "-c", ASK], capture_output=True, text=True, check=False).stdout.split(maxsplit=1)
        if told and told[0] == version:
            return told[1].strip()
    return None


def run(version: str, python: str, tests: list[str]) -> bool:
    """Run the tests in an environment of their own; say whether they passed."""
    environment = ROOT / ".venv-matrix" / version
    made = ["make", "--no-print-directory", "setup", f"PYTHON={python}", f"VENV={environment}"]
    if subprocess.run(made, cwd=ROOT, check=False).returncode:
        return False
    command = [environment / "bin" / "python", "-m", "pytest", "-q", "-n", "auto", "--dist", "worksteal", *tests]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONASYNCIODEBUG": "1"}, check=False).returncode == 0


def main() -> int:
    """Run them, and say at the end what became of each."""
    parser = argparse.ArgumentParser(description="Run the unit tests on several Pythons.")
    parser.add_argument("--versions", nargs="+", default=VERSIONS, metavar="3.N")
    parser.add_argument("tests", nargs="*", default=["tests/unit"])
    arguments = parser.parse_args()
    outcomes = {}
    for version in arguments.versions:
        python = interpreter(version)
        print(f"== Python {version}: {python or 'not here'}", flush=True)
        outcomes[version] = "" if python is None else "passed" if run(version, python, arguments.tests) else "FAILED"
    for version, outcome in outcomes.items():
        print(f"Python {version}: {outcome or f'SKIPPED, there is no python{version} on the PATH, nor by uv or pyenv'}")
    return 0 if "FAILED" not in outcomes.values() and any(outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
