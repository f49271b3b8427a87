"""To whom messages of even types are sent: those who do not know them disconnect."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.waiting import until

from oddwire.app import Application, Context, Extension
from oddwire.errors import ExtensionError, NotSupported, SchemaError
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message, schema_of, u64
from oddwire.session.wire.frame_types import Hello, HelloFlag, Spoken
from oddwire.session.wire.frames import encode
from oddwire.testing import ScriptedTransport

LOOPS = ("jumping",)
ALICE = NodeId("02" + "aa" * 32)
PROGRAM = 3


@message(0x8C02, codec="bolt", even="known")
class Known(Message):
    number: u64


@message(0x8C04, codec="bolt")
class Careful(Message):
    number: u64


@message(0x8C01, codec="bolt")
class Ask(Message):
    number: u64


@message(0x8C03, codec="bolt")
class Answer(Message):
    number: u64


KNOWN, CAREFUL = b"\x8c\x02" + bytes(8), b"\x8c\x04" + bytes(8)


def dlc(**options: Any) -> Extension:
    extension = Extension("dlc", version="1.0", **options)
    for cls in (Known, Careful, Ask, Answer):
        extension.register(cls)
    return extension


def says_hello(transport: ScriptedTransport, *extensions: Spoken, flags: int = 0) -> None:
    transport.receive(ALICE, encode(Hello(flags, 1, 1, program=10, extensions=extensions), PROGRAM))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_known_one_goes_to_a_peer_that_shows_nothing_once_its_hello_has_not_come() -> None:
    transport = ScriptedTransport()
    async with Application(dlc(), transport=transport) as app:
        transport.connect_peer(ALICE)
        sending = asyncio.create_task(app.peer(ALICE).send(Known(number=0)))
        await settle()
        assert (ALICE, KNOWN) not in transport.sent, "a hello may still come"
        assert await app.peer(ALICE).wait_for_hello() is False
        await sending
        assert (ALICE, KNOWN) in transport.sent
        with pytest.raises(NotSupported, match=r"^Careful has the even type 0x8c04"):
            await app.peer(ALICE).send(Careful(number=0))


async def test_without_sessions_it_goes_at_once() -> None:
    transport = ScriptedTransport()
    async with Application(dlc(), transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        await app.peer(ALICE).send(Known(number=0))
    assert transport.sent == [(ALICE, KNOWN)]


async def test_a_hello_that_lists_it_is_enough() -> None:
    transport = ScriptedTransport()
    async with Application(dlc(), transport=transport) as app:
        transport.connect_peer(ALICE)
        sending = asyncio.create_task(app.peer(ALICE).send(Known(number=0)))
        await settle()
        says_hello(transport, Spoken("dlc", ("1.0",), (0x8C02,)))
        await asyncio.wait_for(sending, 0.5)
    assert (ALICE, KNOWN) in transport.sent


@pytest.mark.parametrize("spoken", [(Spoken("dlc", ("1.0",), (0x8C01,)),), (Spoken("other", ("1.0",), ()),), ()])
async def test_one_that_does_not_speaks_for_itself(spoken: tuple[Spoken, ...]) -> None:
    transport = ScriptedTransport()
    async with Application(dlc(), transport=transport) as app:
        transport.connect_peer(ALICE)
        await settle()
        says_hello(transport, *spoken)
        with pytest.raises(NotSupported) as caught:
            await app.peer(ALICE).send(Known(number=0))
        assert str(caught.value) == (
            f"Known has the even type 0x8c02, and {ALICE} does not show that it knows 'dlc' (no feature bit); it would "
            "disconnect: force=True sends it all the same"
        )
        assert (ALICE, KNOWN) not in transport.sent
        await app.peer(ALICE).send(Known(number=0), force=True)
        assert (ALICE, KNOWN) in transport.sent


async def test_so_does_one_whose_program_has_left() -> None:
    transport = ScriptedTransport()
    async with Application(dlc(), transport=transport) as app:
        transport.connect_peer(ALICE)
        await settle()
        says_hello(transport, Spoken("dlc", ("1.0",), (0x8C02,)))
        await settle()
        says_hello(transport, flags=HelloFlag.LEAVING)
        with pytest.raises(NotSupported):
            await app.peer(ALICE).send(Known(number=0))


async def test_a_request_of_a_known_type_works_with_a_plain_peer() -> None:
    transport = ScriptedTransport()
    async with Application(dlc(), transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        asking = asyncio.create_task(app.peer(ALICE).request(Known(number=0), Answer))
        await until(lambda: transport.sent == [(ALICE, KNOWN)])
        transport.receive(ALICE, b"\x8c\x03" + bytes(8))
        assert await asking == Answer(number=0)


async def test_a_handler_may_return_a_known_one() -> None:
    extension = Extension("dlc", version="1.0")

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> Known:
        return Known(number=0)

    transport = ScriptedTransport()
    async with Application(extension, transport=transport, session=False):
        transport.connect_peer(ALICE)
        transport.receive(ALICE, b"\x8c\x01" + bytes(8))
        await until(lambda: transport.sent == [(ALICE, KNOWN)])


@pytest.mark.parametrize(("type_id", "even", "text"), [
    (0x8C02, "yes", r"\.Wrong: even should be 'known' or left out, not 'yes'$"),
    (0x8C02, True, r"\.Wrong: even should be 'known' or left out, not True$"),
    (0x8C01, "known", r"\.Wrong: even='known' is for even types; 0x8c01 is odd, for any peer$"),
])  # fmt: skip
def test_nothing_else_is_said_of_even_types(type_id: int, even: Any, text: str) -> None:
    with pytest.raises(SchemaError, match=text):

        @message(type_id, even=even)
        class Wrong(Message): ...


def test_the_schema_says_it() -> None:
    assert (schema_of(Known).even, schema_of(Careful).even) == ("known", None)


# Feature bits that we do not announce -------------------------------------------------------------------


@pytest.mark.parametrize("bit", [729, 728])
@pytest.mark.parametrize("shown", [729, 728])
async def test_a_bit_of_peers_shows_that_they_know_it(bit: int, shown: int) -> None:
    transport = ScriptedTransport()
    async with Application(dlc(peer_feature=bit), transport=transport, session=False) as app:
        assert transport.manifest is not None
        assert transport.manifest.features == frozenset()
        transport.connect_peer(ALICE, [shown])
        assert app.peer(ALICE).supports("dlc")
        await app.peer(ALICE).send(Careful(number=0))
    assert transport.sent == [(ALICE, CAREFUL)]


@pytest.mark.parametrize(("shown", "supported"), [([513], True), ([729], True), ([731], False), ([], False)])
async def test_it_is_read_beside_our_own(shown: list[int], supported: bool) -> None:
    transport = ScriptedTransport()
    async with Application(dlc(feature=513, peer_feature=729), transport=transport, session=False) as app:
        assert transport.manifest is not None
        assert transport.manifest.features == {513}
        transport.connect_peer(ALICE, shown)
        assert app.peer(ALICE).supports("dlc") is supported
        if not supported:
            with pytest.raises(NotSupported, match=r"'dlc' \(feature bit 513 or feature bit 729\); it would "):
                await app.peer(ALICE).send(Careful(number=0))


async def test_two_extensions_may_read_one_bit() -> None:
    other = Extension("other", version="1.0", peer_feature=729)
    transport = ScriptedTransport()
    async with Application(dlc(peer_feature=729), other, transport=transport, session=False) as app:
        transport.connect_peer(ALICE, [729])
        assert app.peer(ALICE).supports("dlc")
        assert app.peer(ALICE).supports(other)


@pytest.mark.parametrize("bit", [-1, 32768, "729", True, 7.0])
def test_what_is_no_bit_is_refused(bit: Any) -> None:
    with pytest.raises(ExtensionError, match=r"peer_feature should be a bit from 0 to 32767 that peers announce, not "):
        Extension("dlc", version="1.0", peer_feature=bit)
