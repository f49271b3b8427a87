"""Write all pictures: ``python -m publishing.pictures``."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path

from publishing.pictures.monitor import screens
from publishing.pictures.recording import record
from publishing.pictures.terminal_svg import svg

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
ODDWIRE = Path(sys.executable).parent / "oddwire"
MAX_BYTES = 200_000


def write(name: str, content: str | bytes) -> None:
    """Write one file, if it is light enough for a page."""
    data = content.encode() if isinstance(content, str) else content
    if len(data) > MAX_BYTES:
        raise SystemExit(f"{name} has {len(data)} bytes; it should have {MAX_BYTES} at most")
    (FOLDER / name).write_bytes(data)
    print(f"docs/pictures/{name}: {len(data)} bytes")


def demo() -> None:
    """Picture `oddwire demo`: still, moving, and as a recording for asciinema."""
    recording = record([ODDWIRE, "demo"], "oddwire demo", columns=90, rows=44)
    write("demo.svg", svg(recording))
    write("demo-moving.svg", svg(recording, moving=True))
    write("demo.cast", recording.to_cast())


def monitor() -> None:
    """Picture `oddwire monitor`, at a terminal and in a browser."""
    terminal, page = asyncio.run(screens(ODDWIRE))
    write("monitor.svg", terminal)
    if page is None:
        print("monitor.png is left as it is: Chromium is not installed")
    else:
        write("monitor-page.png", page)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    demo()
    if importlib.util.find_spec("oddwire.cli.monitor"):
        monitor()
