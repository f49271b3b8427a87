"""The pages for who has nothing yet, word for word: from an empty folder to a project of one's own in a plugin."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from tests.docs.test_docs import FRESH, Story, blocks_of
from tests.support.wheels import built_wheel, link_dependencies

PYTEST = "#!{python}\nimport sys\nimport pytest\nsys.exit(pytest.console_main())\n"


class Stranger(Story):
    """Whoever follows the pages: what is told to pip and to the shell is done, too.

    pip's index is the wheel of this checkout; what that needs is linked into the environment, as it is in the tests'.
    """

    def __init__(self, folder: Path, wheel: Path) -> None:
        super().__init__(folder)
        own = {Path(sys.executable).parent, Path(sys.executable).resolve().parent}
        path = [place for place in os.environ["PATH"].split(os.pathsep) if Path(place) not in own]
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
        self.environment = clean | {
            "PATH": os.pathsep.join(path),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheel.parent),
            "PIP_NO_BUILD_ISOLATION": "0",  # that is how pip reads it: no isolation
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    async def _command(self, line: str) -> None:
        await super()._command(line)
        words = shlex.split(line)
        if words[:3] == ["python3", "-m", "venv"]:
            [packages] = (self.folder / words[3]).glob("lib/python*/site-packages")
            for old in ("setuptools", "pkg_resources", "_distutils_hack"):
                shutil.rmtree(packages / old, ignore_errors=True)
            for old in (*packages.glob("setuptools-*"), *packages.glob("distutils-precedence.pth")):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            link_dependencies(packages, "oddwire", "pytest", "setuptools")
            script = self.folder / words[3] / "bin" / "pytest"
            script.write_text(PYTEST.format(python=script.with_name("python")))
            script.chmod(0o755)

    def _is_told(self, words: list[str]) -> bool:
        if words[0] == ".":
            self.bin = (self.folder / words[1]).parent
        return words[0] != "pip" and super()._is_told(words)


@pytest.mark.long
async def test_a_stranger_comes_from_nothing_to_a_plugin(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = Stranger(tmp_path, built_wheel(tmp_path_factory))
    for page in FRESH:
        stranger.folder = tmp_path / page.stem
        stranger.folder.mkdir()
        try:
            for block in blocks_of(page):
                try:
                    await stranger.tell(block)
                except Exception as error:
                    raise AssertionError(f"{block}: {error!r}") from error
        finally:
            for command in stranger.running:
                await command.stop()
            stranger.running.clear()
