"""The tests as `make test` runs them: side by side, and what fails so once more, alone.

A test that fails beside others and passes alone depends on how busy the machine is. That is a fault, of the test or of
oddwire, and it is named at the end, to be mended; but it does not hide what a change has broken, and a change that
broke nothing does not wait for it. More than a few such at once are no chance: they are not run again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FEW = 3
SOME_FAILED = 1  # pytest.ExitCode.TESTS_FAILED; of what else ends a run, nothing is known by running a part again


def main(options: list[str]) -> int:
    """Run pytest with these options; return its exit code, or 0 if what failed passed alone."""
    with tempfile.TemporaryDirectory() as folder:
        run = [sys.executable, "-m", "pytest", "-o", f"cache_dir={folder}", *options]
        code = subprocess.run(run, check=False).returncode
        if code != SOME_FAILED:
            return code
        failed = list(json.loads(Path(folder, "v/cache/lastfailed").read_text()))
        if len(failed) > FEW:
            print(f"== {len(failed)} tests failed: too many to be chance, so they are not run again", flush=True)
            return code
        print("== once more, alone:", *failed, sep="\n  ", flush=True)
        code = subprocess.run([*run, "-n", "1", "--last-failed"], check=False).returncode
        if not code:
            print(
                "== PASSED ALONE, FAILED BESIDE OTHERS, which is a fault to be mended:", *failed, sep="\n  ", flush=True
            )
        return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
