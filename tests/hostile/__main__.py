"""Attack a node that runs in a process of its own: ``python -m tests.hostile [--seconds 3] [NAME ...]``."""

from __future__ import annotations

import asyncio
import sys

from tests.hostile.harness import main

if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
