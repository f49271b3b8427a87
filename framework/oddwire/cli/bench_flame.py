"""Where the time of a benchmark goes, sampled: a file for speedscope.app, or a page of its own."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Final

from pyinstrument import Profiler
from pyinstrument.renderers import HTMLRenderer, SpeedscopeRenderer

from oddwire.cli.exit import USAGE, CommandFailure

__all__ = ["Flame"]

_FORMS: Final = (".json", ".html")


class Flame:
    """Context manager: samples what runs meanwhile, and writes it to ``path`` at its end.

    Raises `CommandFailure` for the name of another kind of file, `OSError` where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix not in _FORMS:
            raise CommandFailure(
                f"--flame should end in {' or '.join(_FORMS)}, not {path.suffix or path.name!r}", USAGE
            )
        self.path = path
        with path.open("a"):  # before anything is measured for it
            pass
        # The whole thread, whatever task runs in it
        self._profiler = Profiler(interval=0.0005, async_mode="disabled")

    def __enter__(self) -> Flame:
        self._profiler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session = self._profiler.stop()
        renderer = SpeedscopeRenderer(show_all=True) if self.path.suffix == ".json" else HTMLRenderer(show_all=True)
        if kind is None:
            self.path.write_text(renderer.render(session), encoding="utf-8")
