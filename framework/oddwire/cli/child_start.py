"""The start of a command that is our child: it ends when the process ends that has started it, however that does.

To be run as ``python -m oddwire.cli.child_start PID COMMAND...``, where PID is that process.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Final

__all__ = ["end_with", "main"]

_PR_SET_PDEATHSIG: Final = 1


def end_with(parent: int) -> None:
    """Have the kernel send this process SIGTERM when its parent ends, on Linux; end, if that was before."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGTERM)


def main() -> None:
    """Run the command that the arguments name."""
    end_with(int(sys.argv[1]))
    sys.argv[:2] = ["oddwire"]
    from oddwire.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
