"""What is to be uploaded, built and tried as whoever installs it would: ``make dist``.

The source distribution is built from the checkout and the wheel from that, so that it is whole. The wheel is installed
alone, with what it depends on, into a fresh environment, and has to run there.
"""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

from packaging.metadata import Metadata

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
BUILD = "from setuptools import build_meta; import sys; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
LIMIT = 600  # seconds; reached only by what hangs


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program to its end, outside of any checkout; return what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def build(scratch: Path) -> tuple[Path, Path]:
    """Build both into ``dist``."""
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    tree = scratch / "tree"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    sdist = DIST / run(sys.executable, "-c", BUILD, "build_sdist", DIST, cwd=tree).splitlines()[-1]
    with tarfile.open(sdist) as archive:
        archive.extractall(scratch / "unpacked", filter="data")
    (unpacked,) = (scratch / "unpacked").iterdir()
    wheel = DIST / run(sys.executable, "-c", BUILD, "build_wheel", DIST, cwd=unpacked).splitlines()[-1]
    return sdist, wheel


def check_metadata(wheel: Path) -> None:
    """See that an index would take it, and that it says what pyproject.toml does."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        raw = archive.read(name)
    metadata = Metadata.from_email(raw, validate=True)  # raises what is wrong
    assert email.message_from_bytes(raw).get_content_maintype() == "text"
    assert (metadata.name, str(metadata.version)) == (project["name"], project["version"])
    assert metadata.description_content_type == "text/markdown"
    assert metadata.license_expression == project["license"]
    assert str(metadata.requires_python) == project["requires-python"]
    broken = re.findall(r"\]\((?!https?:|#|mailto:)([^)]+)\)", metadata.description)
    assert not broken, f"links that lead nowhere on an index's page: {broken}"
    print(f"metadata: {metadata.name} {metadata.version}")


def try_it(wheel: Path, scratch: Path) -> None:
    """Install it alone, and use it."""
    place, work = scratch / "venv", scratch / "work"
    work.mkdir()
    run(sys.executable, "-m", "venv", place, cwd=scratch)
    python, oddwire = place / "bin" / "python", place / "bin" / "oddwire"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=work)
    run(python, "-m", "pip", "--disable-pip-version-check", "check", cwd=work)
    where = Path(run(python, "-c", "import oddwire; print(oddwire.__file__)", cwd=work).strip())
    assert where.is_relative_to(place), where
    print(run(oddwire, "--version", cwd=work).strip())
    print(run(oddwire, "demo", cwd=work).splitlines()[-1])
    run(oddwire, "plugin", "echo", "-o", "plugin", cwd=work)
    assert (work / "plugin").read_text().startswith(f"#!{python}")


def main() -> None:
    """Build, check, try."""
    with tempfile.TemporaryDirectory() as folder:
        sdist, wheel = build(Path(folder))
        check_metadata(wheel)
        try_it(wheel, Path(folder))
    for file in (sdist, wheel):
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
