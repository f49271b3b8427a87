import asyncio
import io
import json
import os
import signal

import pytest

from oddwire import TransportError
from oddwire.cli.backstop import Backstop
from oddwire.cli.events import Printer
from oddwire.cli.exit import FAILED, USAGE, CommandFailure
from oddwire.cli.running import execute


def printer(as_json: bool = False) -> tuple[Printer, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Printer(as_json, stdout=out, stderr=err), out, err


async def succeed() -> int:
    return 0


def test_gives_the_commands_exit_code() -> None:
    prints, out, err = printer()
    assert execute(succeed, prints) == 0
    assert out.getvalue() == err.getvalue() == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [(CommandFailure("no", USAGE), USAGE), (CommandFailure("no"), FAILED), (TransportError("no"), FAILED)],
)
def test_what_can_be_foreseen_is_one_line_and_a_code(error: Exception, code: int) -> None:
    async def fail() -> int:
        raise error

    prints, out, err = printer(as_json=True)
    assert execute(fail, prints) == code
    assert err.getvalue() == "oddwire: no\n"
    assert json.loads(out.getvalue())["message"] == "no"


def test_what_cannot_be_foreseen_is_not_hidden() -> None:
    async def fail() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        execute(fail, printer()[0])


def test_ctrl_c_ends_it_as_a_shell_says() -> None:
    async def interrupted() -> int:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(60)
        return 0

    assert execute(interrupted, printer()[0]) == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_comes_as_they_begin_to_be_handled_ends_it_too(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    arm = Backstop.arm

    def late(*arguments: object) -> None:
        os.kill(os.getpid(), number)
        arm(*arguments)

    monkeypatch.setattr(Backstop, "arm", late)
    prints, out, err = printer()
    assert execute(succeed, prints) == 128 + number
    assert out.getvalue() == err.getvalue() == ""
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers


def test_a_keyboard_interrupt_without_ctrl_c_is_told_of() -> None:
    async def raises() -> int:
        raise KeyboardInterrupt

    prints, _, err = printer()
    assert execute(raises, prints) == 1
    assert "raised KeyboardInterrupt, and no signal came" in err.getvalue()


def test_uvloop_is_used_when_asked_for() -> None:
    uvloop = pytest.importorskip("uvloop")
    seen = []

    async def look() -> int:
        seen.append(type(asyncio.get_running_loop()))
        return 0

    execute(look, printer()[0], uvloop=True)
    assert seen == [uvloop.Loop]
