"""`run` where it should not be called: each place has an error that says what to do there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXTENSION = "from oddwire import Application, Extension\nextension = Extension('here', version='1.0')\n"
GUARD = "should be under \"if __name__ == '__main__':\""


def run(tmp_path: Path, *arguments: str, **files: str) -> tuple[int, str, str]:
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(EXTENSION + text)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import asyncio\nasync def main(): extension.run()\nasyncio.run(main())", "async with Application(extension"),
        (
            "from threading import Thread\nthread = Thread(target=extension.run)\nthread.start()\nthread.join()",
            "only the main thread can",
        ),
        (
            "from multiprocessing import get_context\nif __name__ != '__main__': extension.run()\n"  # noqa: ISC004
            "child = get_context('spawn').Process(target=print)\nchild.start()\nchild.join()",
            GUARD,
        ),
        ("import atexit\natexit.register(extension.run)", "at the end of the script"),
        ("extension.run('--json')", "takes argv as a list of texts, ['--json'] say, not '--json'"),
        ("extension.run(5)", "takes argv as a list of texts, ['--json'] say, not 5"),
        ("extension.run(['--listen', 9735])", "takes argv as a list of texts, ['--json'] say, not ['--listen', 9735]"),
        ("extension.run(receive='hooks')", "takes receive='hook' or 'notification', not 'hooks'"),
    ],
)
def test_a_script_is_told(tmp_path: Path, text: str, reason: str) -> None:
    _, _, err = run(tmp_path, "script.py", script=text)
    assert err.splitlines()[-1].startswith("oddwire.errors.ExtensionError: extension.run() of 'here' ")
    assert reason in err.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [["-m", "oddwire.cli.main", "run", "./script.py"], ["-m", "oddwire.cli.main", "plugin", "./script.py", "-o", "x"]],
)
def test_a_file_that_is_loaded_should_not_run(tmp_path: Path, arguments: list[str]) -> None:
    code, out, err = run(tmp_path, *arguments, script="extension.run()")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert f"script.py:3 while that file is imported, and not run: it {GUARD}" in line


def test_nor_should_one_that_is_imported(tmp_path: Path) -> None:
    _, _, err = run(tmp_path, "-c", "import script", script="def main(): extension.run()\nmain()")
    assert GUARD in err.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["script.py", "--help"],
        ["-m", "script", "--help"],
        ["-c", "import sys; sys.argv = ['x', '--help']; import market; market.main()"],
        ["-c", "import runpy, sys; sys.argv = ['x', '--help']; runpy.run_path('script.py')"],
        ["-c", "import sys; sys.argv = ['x', '--help']\nfrom market import extension\nextension.run()"],
        ["app.pyz", "--help"],
    ],
)
def test_programs_of_every_kind_run(tmp_path: Path, arguments: list[str]) -> None:
    import zipapp

    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "market.py").write_text(EXTENSION + "def main(): extension.run()\n")
    zipapp.create_archive(tmp_path / "app", tmp_path / "app.pyz", main="market:main")
    code, out, err = run(tmp_path, *arguments, script="extension.run()", market="def main(): extension.run()")
    assert code == 0, err
    assert "Run here 1.0 on a Lightning node of its own" in out


def test_a_handler_cannot_become_the_program(tmp_path: Path) -> None:
    text = """
from oddwire import AppContext, Context
@extension.rpc("again")
async def again(context: AppContext) -> None:
    extension.run()
extension.run()
"""
    (tmp_path / "script.py").write_text(EXTENSION + text)
    done = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.stdin is not None
    assert done.stderr is not None
    done.stdin.write("again\n")
    done.stdin.flush()
    while "here" not in (line := done.stderr.readline()):
        assert line
    assert "one is running here" in line
    done.terminate()
    done.communicate()
    assert done.returncode == 0
