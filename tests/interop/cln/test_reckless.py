"""What `oddwire new --plugin` makes, installed by Core Lightning's plugin manager into a running lightningd.

reckless lies beside lightningd. Its pip finds oddwire in a folder, and what that needs on Python's path, so nothing is
downloaded.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.wheels import built_wheel, link_dependencies, run

pytestmark = [pytest.mark.cln, pytest.mark.interop]

LIMIT = 300  # seconds; reached only by what hangs
GIT = ["git", "-c", "user.name=author", "-c", "user.email=author@example.org", "-c", "init.defaultBranch=master"]


class Reckless:
    """reckless for one lightningd, in the environment that both have."""

    def __init__(self, daemon: Any, environment: dict[str, str]) -> None:
        self._command = ["reckless", f"--lightning={daemon.folder}", "--network=regtest"]
        self._environment = environment

    async def __call__(self, *arguments: str | Path) -> str:
        """Run it; return all that it says. It exits with 0 whatever happens."""
        done = await asyncio.to_thread(
            subprocess.run,
            [*self._command, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        return done.stdout


@pytest.fixture
def environment(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """What reckless and lightningd are started with."""
    if shutil.which("reckless") is None:
        pytest.skip("needs reckless, which is installed with lightningd")
    links = tmp_path / "dependencies"
    links.mkdir()
    link_dependencies(links, "oddwire")
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(built_wheel(tmp_path_factory).parent),
        "PYTHONPATH": str(links),
    }.items():
        monkeypatch.setenv(name, value)
    # Its tests have no uv on the PATH, which it prefers, and which has other settings
    path = [place for place in os.environ["PATH"].split(os.pathsep) if not (Path(place) / "uv").exists()]
    return {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), *path])}


async def test_reckless_installs_a_new_plugin_from_its_repository(
    environment: dict[str, str], start: Any, tmp_path: Path
) -> None:
    run(sys.executable, "-m", "oddwire.cli.main", "new", "tally", "--plugin", cwd=tmp_path)
    project = tmp_path / "tally"
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message=Begin"]):
        run(*GIT, *words, cwd=project)
    ours = start.lightningd_to_be()
    (ours.network_folder / "config").parent.mkdir(exist_ok=True)
    (ours.network_folder / "config").touch()  # it asks before it makes one
    ours.start()
    theirs = start.node(project / "tally.py")
    reckless = Reckless(ours, environment)

    await reckless("source", "add", project)
    assert str(project) in await reckless("source", "list")
    said = await reckless("install", "tally")
    assert "tally enabled" in said, said
    assert (ours.folder / "reckless" / "tally" / "tally.py").exists()
    await ours.connect(theirs.uri)
    assert await ours.call("tally-count", theirs.node_id, "two words") == {"words": 2, "characters": 9}

    await ours.stop()  # it is there whenever lightningd starts
    await asyncio.to_thread(ours.start)
    await ours.connect(theirs.uri)
    assert await ours.call("tally-count", theirs.node_id, "two words") == {"words": 2, "characters": 9}

    assert "tally uninstalled" in await reckless("uninstall", "tally")
    assert (await ours.refusal("tally-count", theirs.node_id, "two words"))[1] == "Unknown command 'tally-count'"
