import asyncio
import io
import json
import signal

import pytest

from oddwire import Extension, Message, TransportError, message
from oddwire.cli.events import Printer
from oddwire.cli.exit import FAILED, USAGE, CommandFailure
from oddwire.cli.running import execute, make_app, make_transport, start
from oddwire.transports import Bolt8Transport


@message(42069)
class Swap(Message):
    """PeerSwap's number, in use in the wild."""


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


def test_the_transport_gets_a_key_of_its_own_or_that_of_the_data_dir(tmp_path) -> None:
    def node_id(data_dir=None):
        return make_transport(data_dir=data_dir, network="regtest", proxy=None).node_id

    assert node_id() != node_id()
    assert node_id(tmp_path) == node_id(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"listen": ["nowhere:x"]},
        {"connect": ["nobody"]},
        {"network": "fakenet"},
        {"proxy": "tor:x"},
        {"proxy": "socks5://"},
    ],
)
def test_what_cannot_be_read_is_a_mistake(options) -> None:
    with pytest.raises(CommandFailure) as caught:
        make_transport(**{"data_dir": None, "network": "regtest", "proxy": None, **options})
    assert caught.value.code == USAGE


def transport() -> Bolt8Transport:
    return make_transport(data_dir=None, network="regtest", proxy=None)


async def test_warnings_are_one_line_each() -> None:
    extension = Extension("swap", version="1")
    extension.register(Swap)
    prints, out, err = printer()
    await make_app(prints, extension, transport=transport()).aclose()
    assert out.getvalue() == ""
    assert err.getvalue().startswith("warning: swap (")
    assert err.getvalue().count("\n") == 1
    assert "PeerSwap" in err.getvalue()


async def test_a_definition_that_fails_is_a_mistake() -> None:
    with pytest.raises(CommandFailure, match="no extension is called 'nosuch'") as caught:
        make_app(printer()[0], "nosuch", transport=transport())
    assert caught.value.code == USAGE


async def test_a_startup_that_fails_is_told_in_one_line() -> None:
    extension = Extension("unready", version="1")

    @extension.on_startup
    async def ready(context) -> None:
        raise LookupError("no password")

    with pytest.raises(CommandFailure, match="could not start: LookupError: no password") as caught:
        await start(make_app(printer()[0], extension, transport=transport()))
    assert caught.value.code == FAILED
