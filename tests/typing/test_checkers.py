"""mypy --strict and pyright in strict mode, each run once over the cases: both reject exactly the marked lines."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = sorted(Path(__file__).parent.glob("cases_*.py"))
MARK = re.compile(r"#\s*error\s*$")


def marked(path):
    return {number for number, line in enumerate(path.read_text().splitlines(), 1) if MARK.search(line)}


def by_file(found):
    lines = {path.name: {} for path in CASES}
    for name, line, text in found:
        lines[Path(name).name].setdefault(line, []).append(text)
    return lines


@pytest.fixture(scope="module")
def mypy():
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", *map(str, CASES)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode in (0, 1), run.stdout + run.stderr
    matches = [re.match(r"(.*?):(\d+): error: (.*)", line) for line in run.stdout.splitlines()]
    return by_file((match[1], int(match[2]), match[3]) for match in matches if match)


@pytest.fixture(scope="module")
def pyright():
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", *map(str, CASES)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode in (0, 1), run.stdout + run.stderr
    found = json.loads(run.stdout)["generalDiagnostics"]
    return by_file(
        (error["file"], error["range"]["start"]["line"] + 1, error["message"])
        for error in found
        if error["severity"] == "error"
    )


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_checkers_reject_what_is_marked_and_nothing_else(path, checker, request):
    found = request.getfixturevalue(checker)[path.name]
    expected = marked(path)
    unexpected = {line: texts for line, texts in found.items() if line not in expected}
    assert not unexpected
    assert sorted(expected - set(found)) == []


def test_there_is_something_to_reject():
    assert all(marked(path) for path in CASES)
