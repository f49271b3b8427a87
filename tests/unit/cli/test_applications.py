import io

import pytest

from oddwire import Extension, Message, message
from oddwire.cli.applications import make_app, make_transport, start
from oddwire.cli.events import Printer
from oddwire.cli.exit import FAILED, USAGE, CommandFailure
from oddwire.transports import Bolt8Transport


@message(42069)
class Swap(Message):
    """PeerSwap's number, in use in the wild."""


def printer() -> tuple[Printer, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Printer(stdout=out, stderr=err), out, err


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
