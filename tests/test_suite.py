"""`tests.suite` on suites that fail as suites do."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.suite import FEW

ROOT = Path(__file__).parents[1]
ONCE = "import pathlib\n\ndef test_it():\n    mark = pathlib.Path('mark')\n    assert mark.exists() or mark.touch()\n"
NEVER = "\n".join(f"def test_{number}(): assert False" for number in range(FEW))
DIES = "import os\n\ndef test_it(): os._exit(7)\n"


@pytest.mark.parametrize(
    ("files", "code", "said"),
    [
        ({"test_once.py": ONCE, "test_good.py": "def test_it(): pass"}, 0, "FAILED BESIDE OTHERS"),
        ({"test_never.py": NEVER}, 1, "once more, alone"),
        ({"test_never.py": NEVER, "test_once.py": ONCE}, 1, "4 tests failed: too many"),
        ({"test_once.py": ONCE, "test_broken.py": "import nothing_of_this_name"}, 1, "once more, alone"),
        ({"test_dies.py": DIES}, 1, "once more, alone"),
    ],
    ids=["passes alone", "fails alone", "too many", "cannot be collected", "ends its worker"],
)
def test_what_fails_beside_others_is_run_again_alone(tmp_path, files, code, said):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, ROOT / "tests/suite.py", "-n", "2", "--dist", "worksteal", "-p", "no:oddwire"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout
