"""The wheel as users get it: what it puts where; its commands and entry points work in a fresh environment."""

from __future__ import annotations

import email
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from tests.support.wheels import PIP, built_wheel, run

ROOT = Path(__file__).parents[1]
EXTENSIONS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["oddwire.extensions"]
NEIGHBOUR = "from oddwire import Extension\nfrom echo import NAME\nextension = Extension(NAME, version='1.0')\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_wheel(tmp_path_factory)


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; what it depends on is taken from the one of the tests."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=wheel.parent)
    run(*PIP, "--python", folder / "bin" / "python", "install", "--no-deps", "--no-index", wheel, cwd=wheel.parent)
    [packages] = folder.glob("lib/python*/site-packages")
    # A line in a .pth file adds the folder, and does not read the .pth files in it, of which one is oddwire in place
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_there_are_two_packages_in_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {
        "oddwire",
        "oddwire_extensions",
        wheel.name.rpartition("-py3")[0] + ".dist-info",
    }
    for place in EXTENSIONS.values():
        path = place.partition(":")[0].replace(".", "/")
        assert {f"{path}.py", f"{path}/__init__.py"} & {*names}
    assert {"oddwire/py.typed", "oddwire_extensions/py.typed"} <= {*names}
    data = {
        path.relative_to(ROOT / "framework").as_posix()
        for path in (ROOT / "framework").rglob("*.*")
        if path.suffix in (".csv", ".in", ".json", ".pyi")
    }
    assert data <= {*names}


def test_an_index_shows_the_readme_without_links_that_lead_nowhere(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Description-Content-Type"] == "text/markdown"
    shown = metadata.get_payload()
    assert "```python quote.py" in shown
    tokens = [token for block in MarkdownIt().parse(shown) for token in block.children or ()]
    targets = [
        token.attrGet("href") or token.attrGet("src") for token in tokens if token.type in ("link_open", "image")
    ]
    assert targets
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []


def test_its_commands_and_entry_points_work(environment: Path, tmp_path: Path) -> None:
    python, oddwire = environment / "bin" / "python", environment / "bin" / "oddwire"
    where = "import oddwire, oddwire_extensions.echo as echo; print(oddwire.__file__, echo.__file__)"
    for place in run(python, "-c", where, cwd=tmp_path).stdout.split():
        assert Path(place).is_relative_to(environment)
    run(oddwire, "plugin", *EXTENSIONS, "-o", "all", cwd=tmp_path)
    assert (tmp_path / "all").read_text().startswith(f"#!{python} -P\n")
    names = "from importlib.metadata import entry_points as e; print(sorted(e(group='oddwire.extensions').names))"
    assert run(python, "-c", names, cwd=tmp_path).stdout == f"{sorted(EXTENSIONS)}\n"


def test_it_takes_nobodys_names(environment: Path, tmp_path: Path) -> None:
    for name in ("chat", "courier", "echo"):
        err = run(environment / "bin" / "python", "-c", f"import {name}", cwd=tmp_path, code=1).stderr
        assert f"No module named '{name}'" in err
    (tmp_path / "echo.py").write_text("NAME = 'mine'\n")
    (tmp_path / "uses.py").write_text(NEIGHBOUR)
    run(environment / "bin" / "oddwire", "plugin", "./uses.py", "echo", "-o", "plugin", cwd=tmp_path)


def test_one_package_brings_coincurve() -> None:
    """pyln-proto asks for a copy of it under another name, which would be written over it."""
    assert packages_distributions()["coincurve"] == ["coincurve"]
