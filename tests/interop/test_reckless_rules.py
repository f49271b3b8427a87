"""What `oddwire new --plugin` makes, treated by the rules of Core Lightning's plugin manager, reckless.

It copies the folder, makes an environment with what ``requirements.txt`` lists, and beside that a file of the plugin's
name, which runs the module of that name with the copy at the end of Python's path. That file it tries alone, and then
gives it to lightningd. reckless itself does all that in cln/test_reckless.py.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.wheels import PIP, built_wheel, link_dependencies, run

TRIAL = 10  # seconds; a plugin that still runs then would pass, too
WRAPPER = """\
#!{python}
import runpy
import sys

sys.path.append({source!r})
sys.path.remove({folder!r})
runpy.run_module({name!r}, {{}}, "__main__")
"""


def installed(project: Path, home: Path, wheel: Path) -> Path:
    """Install a project as reckless does; what is to be downloaded is linked. Return the file for lightningd."""
    name = project.name
    folder = home / name
    source = folder / "source" / name
    shutil.copytree(project, source)
    assert (source / f"{name}.py").is_file()
    run(sys.executable, "-m", "venv", "--without-pip", folder / ".venv", cwd=folder)
    python = folder / ".venv" / "bin" / "python"
    [packages] = folder.glob(".venv/lib/python*/site-packages")
    link_dependencies(packages, "oddwire")
    links = ["--no-index", "--find-links", wheel.parent]
    run(*PIP, "--python", python, "install", *links, "-r", source / "requirements.txt", cwd=source)
    file = folder / f"{name}.py"
    file.write_text(WRAPPER.format(python=python, source=str(source), folder=str(folder), name=name))
    file.chmod(0o755)
    return file


async def test_a_new_plugin_installed_by_the_rules_of_reckless(
    start: Any, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run(sys.executable, "-m", "oddwire.cli.main", "new", "my-tally", "--plugin", cwd=tmp_path)
    project = tmp_path / "my-tally"
    plugin = installed(project, tmp_path / "reckless", built_wheel(tmp_path_factory))
    trial = subprocess.run([plugin], cwd=plugin.parent, capture_output=True, text=True, timeout=TRIAL, check=False)
    assert (trial.returncode, trial.stdout) == (0, ""), trial.stderr
    ours = start.node()
    theirs = start.node(project / "my-tally.py")  # where python3 has oddwire, the file is a plugin as it is
    await ours.call("plugin", subcommand="start", plugin=str(plugin))
    await ours.connect(theirs.uri)
    assert await ours.call("my-tally-count", theirs.node_id, "two words") == {"words": 2, "characters": 9}
