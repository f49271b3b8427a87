"""How a command ends when it cannot go on."""

from __future__ import annotations

import io

import pytest
import typer

from oddwire.cli.events import Printer
from oddwire.cli.exit import FAILED, USAGE, CommandFailure, exiting, no_extension


def test_a_failure_has_a_text_and_an_exit_code() -> None:
    assert (str(CommandFailure("port in use")), CommandFailure("port in use").code) == ("port in use", FAILED)
    assert CommandFailure("bad URI", USAGE).code == USAGE
    assert len({0, FAILED, USAGE}) == 3


def test_who_names_no_extension_is_told_which_there_are() -> None:
    text = no_extension("run")
    assert text.startswith("run needs the names of extensions: 'oddwire run chat'; installed are chat, ")
    assert "echo" in text


def test_where_none_is_installed_a_file_is_the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])  # where no package is installed
    assert no_extension("run") == "run needs the names of extensions: 'oddwire run ./mine.py'"


class PrinterDouble(Printer):
    closed = 0

    def close(self) -> None:
        self.closed += 1
        super().close()


def test_a_failure_is_printed_and_exits_with_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    printer = PrinterDouble(stdout=io.StringIO())
    with pytest.raises(typer.Exit) as caught, exiting(printer):
        raise CommandFailure("no such file", USAGE)
    assert caught.value.exit_code == USAGE
    assert capsys.readouterr().err == "oddwire: no such file\n"
    assert printer.closed == 1


@pytest.mark.parametrize("error", [typer.Exit(3), LookupError("ours"), KeyboardInterrupt()])
def test_what_is_no_failure_passes_and_the_printer_is_closed(error: BaseException) -> None:
    printer = PrinterDouble(stdout=io.StringIO())
    with pytest.raises(type(error)), exiting(printer):
        raise error
    with exiting(printer):
        pass
    assert printer.closed == 2
