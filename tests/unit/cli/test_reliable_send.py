import io
import re
from pathlib import Path
from typing import Any

import pytest

from oddwire import Application, Context, Extension, Message, Refuse, message, u32
from oddwire.app import PluginManager
from oddwire.cli.events import Printer
from oddwire.cli.reliable_send import Delivery
from oddwire.cli.reporter import Reporter
from oddwire.cli.vocabulary import Vocabulary
from oddwire.transports import MemoryNetwork, MemoryTransport


@message(0x8D91)
class Parcel(Message):
    number: u32


class Depot(Extension):
    """Keeps what is delivered."""

    def __init__(self) -> None:
        super().__init__("depot", version="1.0")
        self.kept: list[int] = []


def depot() -> Depot:
    extension = Depot()

    @extension.on(Parcel, reliable=True)
    async def keep(context: Context, parcel: Parcel) -> None:
        if parcel.number == 13:
            raise Refuse("thirteen", code=1400)
        extension.kept.append(parcel.number)

    return extension


class Sender:
    """One command after the other, with one key and one store."""

    def __init__(self, network: MemoryNetwork, store: Path | None) -> None:
        self.network = network
        self.store = store
        self.key = network.next_key()

    async def run(self, to: MemoryTransport, number: int, *, dials: bool = True, timeout: float = 5.0) -> Any:
        plugins = PluginManager()
        plugins.register(depot())
        vocabulary = Vocabulary(plugins.contributions[-1])
        delivery = Delivery(
            message=Parcel(number=number),
            name="depot.Parcel",
            extension="depot",
            timeout=timeout,
            store=self.store,
            command="oddwire run depot --connect URI --data-dir mine",
        )
        out, err = io.StringIO(), io.StringIO()
        printer = Printer(stdout=out, stderr=err)
        app = Application(
            Reporter(printer, takes_all=True),
            vocabulary,
            delivery.watch,
            transport=self.network.transport(self.key),
            store=self.store or ":memory:",
            program=1,
        )
        async with app:
            if dials:
                await app.connect(to.uris[0])
            assert to.node_id is not None
            code = await delivery.run(app.peer(to.node_id), printer)
        return code, out.getvalue(), err.getvalue()


@pytest.fixture
def network() -> MemoryNetwork:
    return MemoryNetwork()


async def test_it_ends_when_the_message_has_taken_effect(network: MemoryNetwork) -> None:
    there, to = depot(), network.transport()
    async with Application(there, transport=to, store=":memory:"):
        code, out, err = await Sender(network, None).run(to, 5)
    assert (code, err, there.kept) == (0, "", [5])
    assert re.search(r"^delivered     \S+  depot.Parcel  \d+\.\d\d ms$", out, re.MULTILINE)


async def test_without_a_store_what_is_not_delivered_is_lost(network: MemoryNetwork) -> None:
    to = network.transport()
    async with Application(depot(), transport=to, store=":memory:"):
        code, _, err = await Sender(network, None).run(to, 5, dials=False, timeout=0.1)
    assert code == 1
    assert re.search(r"^oddwire: depot.Parcel was not delivered in 0.1 s: 0\w+ cannot be reached; it is lost", err)


async def test_the_same_command_goes_on_with_what_waits_in_the_store(network: MemoryNetwork, tmp_path: Path) -> None:
    there, to, sender = depot(), network.transport(), Sender(network, tmp_path / "mine.sqlite3")
    async with Application(there, transport=to, store=":memory:"):
        for number, waiting in ((5, "1 message of depot waits for"), (6, "2 messages of depot wait for")):
            code, _, err = await sender.run(to, number, dials=False, timeout=0.1)
            assert code == 1
            assert f"{waiting} {to.node_id} in {sender.store}, the oldest for" in err
            assert err.endswith("so does: oddwire run depot --connect URI --data-dir mine\n")
        code, out, err = await sender.run(to, 5)
        assert code == 0
        assert "goes on with the depot.Parcel that has waited for" in err
        assert "delivered" in out
        assert await sender.run(to, 7)
    assert there.kept == [5, 6, 7]


async def test_a_peer_without_a_session_is_told_of(network: MemoryNetwork, tmp_path: Path) -> None:
    plain, to = Extension("plain", version="1.0"), network.transport()
    plain.register(Parcel)
    async with Application(plain, transport=to, session=False):
        code, _, err = await Sender(network, tmp_path / "mine.sqlite3").run(to, 5)
    assert code == 1
    assert f"was not delivered: {to.node_id} has no session, which reliable messages need: it should run depot" in err
    assert "1 message of depot waits for" in err


async def test_a_peer_that_does_not_speak_the_extension_is_told_of(network: MemoryNetwork) -> None:
    other, to = Extension("other", version="1.0"), network.transport()
    async with Application(other, transport=to):
        code, _, err = await Sender(network, None).run(to, 5)
    assert code == 1
    assert f"{to.node_id} does not speak depot; it speaks other; it is lost" in err


@pytest.mark.parametrize("kept", [True, False])
async def test_a_refusal_is_a_failure(network: MemoryNetwork, tmp_path: Path, kept: bool) -> None:
    to, sender = network.transport(), Sender(network, tmp_path / "mine.sqlite3" if kept else None)
    async with Application(depot(), transport=to, store=":memory:"):
        if kept:
            await sender.run(to, 13, dials=False, timeout=0.1)
        code, out, err = await sender.run(to, 13)
    assert code == 1
    assert err.endswith("depot.Parcel was not delivered, and is not sent again: thirteen\n")
    assert "depot.Parcel 0x8d91 was not delivered: thirteen" in out
