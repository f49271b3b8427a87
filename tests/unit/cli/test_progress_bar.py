import io
import sys

import pytest
from rich.console import Console as RichConsole

from oddwire import AppContext, Application, Extension
from oddwire.cli.console import Console
from oddwire.cli.events import Printer
from oddwire.cli.progress_bar import ProgressBar
from oddwire.transports import MemoryTransport


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal() -> tuple[io.StringIO, RichConsole]:
    file = Terminal()
    return file, RichConsole(file=file, force_terminal=True, width=80, color_system=None)


def test_a_bar_is_drawn_and_gone() -> None:
    file, console = terminal()
    seconds = 0.0
    with ProgressBar("quote-ask", console, now=lambda: seconds) as bar:
        bar.show(1, 4)
        bar.show(2, 4)  # too soon
        seconds += 1.0
        bar.show(3, 4)
        bar.show(4, 4)  # the last is never too soon
    bar.show(1, 4)
    drawn = file.getvalue()
    assert "quote-ask" in drawn
    assert " 25%" in drawn
    assert " 50%" not in drawn
    assert " 75%" in drawn
    assert "100%" in drawn
    assert drawn.endswith("\x1b[2K")


def test_nothing_is_drawn_for_nothing() -> None:
    file, console = terminal()
    with ProgressBar("quote-ask", console):
        pass
    assert file.getvalue() == ""


def test_notifications_of_a_node(capsys: pytest.CaptureFixture[str]) -> None:
    file, console = terminal()
    with ProgressBar("x", console) as bar:
        bar.notified("message", {"message": "before\x1b[2J"})
        for params in (
            None,
            [],
            {},
            {"num": 4, "total": 4},
            {"num": -1, "total": 4},
            {"num": "1", "total": 4},
            {"num": 0},
        ):
            bar.notified("progress", params)
        bar.notified("message", {"message": 5})
        bar.notified("block_added", {"num": 1, "total": 2})
        assert file.getvalue() == ""
        bar.notified("progress", {"num": 3, "total": 4})
        bar.notified("message", {"message": "[red]behind[/red]\x1b[2J"})
    assert "100%" in file.getvalue()
    assert "[red]behind[/red]\\x1b[2J" in file.getvalue()
    assert capsys.readouterr().err == "before\\x1b[2J\n"


@pytest.mark.parametrize("is_terminal", [True, False])
async def test_what_is_typed_at_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    extension = Extension("slow", version="1")

    @extension.rpc("slow-work")
    async def work(context: AppContext) -> int:
        context.progress(1, 3)
        with pytest.raises(ValueError, match=r"0 <= done <= total, not 4, 3"):
            context.progress(4, 3)
        return 7

    file: io.StringIO = Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    monkeypatch.setenv("TERM", "xterm")
    err = io.StringIO()
    async with Application(extension, transport=MemoryTransport()) as app:
        app.context("slow").progress(1, 2)  # outside of any method
        await Console(app, Printer(stderr=err)).enter("slow-work")
    assert err.getvalue() == "7\n"
    assert (" 33%" in file.getvalue()) is is_terminal
