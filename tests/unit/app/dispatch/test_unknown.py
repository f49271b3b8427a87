"""Types without a message class: received by on_unknown, sent by send_raw."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from typing import Any

import pytest
from tests.support.messages import Answer, Ask, Even
from tests.support.tracing import Tracer
from tests.support.waiting import until

from oddwire.app import AppContext, Application, Context, Extension
from oddwire.errors import (
    EncodeError,
    LocalProtocolError,
    MalformedMessage,
    NotSupported,
    PayloadTooLarge,
    PeerNotConnected,
    Refuse,
    RemoteFailure,
    TypeConflict,
)
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message
from oddwire.session.limits import Limits
from oddwire.session.wire.frame_types import Code, Hello, Spoken
from oddwire.session.wire.frames import encode
from oddwire.testing import ScriptedTransport
from oddwire.testing.apps import app_pair
from oddwire.transports.memory import MemoryNetwork

ALICE = NodeId("02" + "aa" * 32)
PROGRAM = 3


def relay(**options: Any) -> tuple[Extension, list[tuple[int, bytes]]]:
    extension = Extension("relay", version="1.0", **options)
    taken: list[tuple[int, bytes]] = []

    @extension.on_unknown(0x9002, range(0x9001, 0x9010, 2))
    async def take(context: Context, type_id: int, data: bytes) -> None:
        assert isinstance(context, Context)
        taken.append((type_id, data))

    return extension, taken


async def test_it_gets_each_payload_of_its_types_in_order_with_others() -> None:
    extension, taken = relay()

    @extension.on(Ask)
    async def ask(context: Context, message: Ask) -> None:
        await asyncio.sleep(0)
        taken.append((0x8C01, message.number.to_bytes(8, "big")))

    transport = ScriptedTransport()
    async with Application(extension, transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        for payload in (b"\x90\x01one", b"\x8c\x01" + bytes(8), b"\x90\x02", b"\x90\x0f" + bytes(65533), b"\x90\x11no"):
            transport.receive(ALICE, payload)
        await until(lambda: len(taken) == 4)
        assert transport.manifest is not None
        assert transport.manifest.type_ids == {0x8C01, 0x9002, *range(0x9001, 0x9010, 2)}
        assert transport.manifest.even_ids == {0x9002}
        assert app.registry.lookup(0x9001) is None
    assert taken == [(0x9001, b"one"), (0x8C01, bytes(8)), (0x9002, b""), (0x900F, bytes(65533))]
    assert transport.hangups == [], "the even one is no reason to hang up"


async def test_what_it_takes_is_provided() -> None:
    class Box(list[bytes]):
        """One a connection."""

    extension, boxes = Extension("relay", version="1.0"), []

    @extension.provide(scope="peer")
    def box() -> Box:
        boxes.append(Box())
        return boxes[-1]

    @extension.on_unknown(0x9001)
    async def take(context: Context, type_id: int, data: bytes, box: Box) -> None:
        box.append(data)

    transport = ScriptedTransport()
    async with Application(extension, transport=transport, session=False):
        transport.connect_peer(ALICE)
        transport.receive(ALICE, b"\x90\x01one")
        await until(lambda: boxes == [[b"one"]])


async def test_it_waits_for_on_connect() -> None:
    extension, taken = relay()
    gate = asyncio.Event()

    @extension.on_connect
    async def connected(context: Context) -> None:
        await gate.wait()

    transport = ScriptedTransport()
    async with Application(extension, transport=transport, session=False):
        transport.connect_peer(ALICE)
        transport.receive(ALICE, b"\x90\x01one")
        for _ in range(20):
            await asyncio.sleep(0)
        assert taken == []
        gate.set()
        await until(lambda: taken)


async def test_it_is_for_those_who_are_allowed_and_as_much_as_they_may() -> None:
    extension, taken = relay(allow=[ALICE], limits=Limits(messages_per_second=1))
    bob, transport, tracer = NodeId("03" + "bb" * 32), ScriptedTransport(), Tracer()
    async with Application(extension, tracer, transport=transport, session=False) as app:
        for node_id in (bob, ALICE):
            transport.connect_peer(node_id)
        transport.receive(bob, b"\x90\x01no")
        await until(lambda: app.counters.dropped == {"allow": 1})
        for _ in range(2):
            transport.receive(ALICE, b"\x90\x01yes")
        await until(lambda: len(taken) == 2)
        assert app.counters_of("relay").throttled == {"messages_per_second": 1}
        assert ("pause", ALICE) in transport.flow
    refused = [event for event in tracer.events if event.direction == "refused"]
    assert [(event.peer, event.payload, event.message) for event in refused] == [(bob, b"\x90\x01no", None)]
    assert isinstance(refused[0].error, Refuse)
    received = [event for event in tracer.events if event.direction == "received"]
    assert [(event.type_id, event.message, event.handled) for event in received] == [(0x9001, None, True)] * 3


async def test_what_it_raises_is_a_failure_that_names_the_type(caplog: pytest.LogCaptureFixture) -> None:
    extension, heard = Extension("relay", version="1.0"), []

    @extension.on_unknown(0x9001)
    async def take(context: Context, type_id: int, data: bytes) -> None:
        raise (Refuse("no") if data == b"refuse" else ZeroDivisionError("ouch"))

    @extension.on_error
    async def failed(context: AppContext, error: BaseException, message: Message | None) -> None:
        heard.append((repr(error), message))

    transport = ScriptedTransport()
    caplog.set_level("INFO")
    async with Application(extension, transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        transport.receive(ALICE, b"\x90\x01refuse")
        transport.receive(ALICE, b"\x90\x01fail")
        await until(lambda: heard)
        assert app.counters.failed == {"relay": 1}
    assert heard == [("ZeroDivisionError('ouch')", None)]
    assert f"handler of type 0x9001 of 'relay' failed, with {ALICE}" in caplog.text
    assert "message refused by 'relay': type 0x9001 from" in caplog.text


@message(0x9001, codec="raw")
class Known(Message):
    """What others have a message for."""

    data: bytes


async def test_requests_reliable_messages_and_long_ones_are_not_for_it() -> None:
    extension, taken = relay()
    other = Extension("relay", version="1.0")
    other.register(Known)

    @extension.on(Ask, reliable=True)
    async def ask(context: Context, message: Ask) -> None: ...

    async with app_pair(MemoryNetwork())(extension, other) as (server, client):
        peer = client.peers[0]
        with pytest.raises(RemoteFailure, match=r"^type 0x9001 is not handled here") as caught:
            await peer.request(Known(data=b"one"), Known)
        assert caught.value.code == Code.UNKNOWN_MESSAGE
        with pytest.raises(RemoteFailure, match=r"^type 0x9001 is not handled here") as caught:
            await (await peer.deliver(Known(data=b"two"))).delivered()
        assert caught.value.code == Code.UNKNOWN_MESSAGE
        with suppress(RemoteFailure):  # the refusal may come while it is sent, or later
            await peer.send(Known(data=bytes(100_000)))
        await peer.send(Known(data=b"plain"))
        await until(lambda: taken == [(0x9001, b"plain")])
        assert server.counters.failed == {}


def test_a_type_that_has_a_message_is_refused_naming_both() -> None:
    one, _ = relay()
    shop = Extension("shop", version="1.0")
    shop.register(Ask)

    @one.on_unknown(range(0x8C01, 0x8C05))
    async def more(context: Context, type_id: int, data: bytes) -> None: ...

    with pytest.raises(TypeConflict) as caught:
        Application(one, shop, transport=ScriptedTransport())
    assert str(caught.value) == (
        "type 35841 (0x8c01) is claimed by both shop (tests.support.messages.Ask) and relay (on_unknown of "
        f"{__name__}.test_a_type_that_has_a_message_is_refused_naming_both.<locals>.more); one should leave it out"
    )
    assert caught.value.type_id == 0x8C01


def test_so_are_two_who_take_one() -> None:
    one, two = relay()[0], Extension("two", version="1.0")

    @two.on_unknown(0x9003)
    async def take(context: Context, type_id: int, data: bytes) -> None: ...

    with pytest.raises(
        TypeConflict, match=r"^type 36867 \(0x9003\) is claimed by both relay \(.*\) and two \(.*take\)"
    ):
        Application(one, two, transport=ScriptedTransport())


def test_so_is_the_type_of_sessions() -> None:
    extension = Extension("all", version="1.0")

    @extension.on_unknown(range(0xC001, 0xD001, 2))
    async def take(context: Context, type_id: int, data: bytes) -> None: ...

    with pytest.raises(TypeConflict, match=r"^type 49373 \(0xc0dd\) is claimed by both sessions of oddwire and all "):
        Application(extension, transport=ScriptedTransport())


async def test_all_the_odd_types_that_are_left_may_be_taken() -> None:
    extension, taken = Extension("all", version="1.0"), []

    @extension.on_unknown(range(32769, 0xC0DD, 2), range(0xC0DF, 65536, 2))
    async def take(context: Context, type_id: int, data: bytes) -> None:
        taken.append(type_id)

    transport = ScriptedTransport()
    async with Application(extension, transport=transport) as app:
        transport.connect_peer(ALICE)
        for type_id in (32769, 65535):
            transport.receive(ALICE, type_id.to_bytes(2, "big"))
        await until(lambda: taken == [32769, 65535])
        assert len(app.manifest.type_ids) == 16384


# Sending ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("type_id", "data", "error", "text"), [
    (0x9001, "text", TypeError, r"^send_raw\(\) takes the bytes behind the type, not 'text'$"),
    (70000, b"", EncodeError, r"^send_raw\(\): message type should be 0 to 65535, not 70000$"),
    (True, b"", EncodeError, r"^send_raw\(\): message type should be an integer, not True$"),
    (1, b"", EncodeError, r"^send_raw\(\): message type 1 \(WIRE_WARNING\) can never be sent"),
    (7, b"", EncodeError, r"^send_raw\(\): message type 7 is kept for the BOLTs; .* or say spec=True$"),
    (0xC0DD, b"", EncodeError, r"^send_raw\(\): type 0xc0dd is that of sessions; nobody else may send it$"),
    (0x9001, bytes(65534), PayloadTooLarge, r"^payload of 65536 bytes; it should have 2 to 65535"),
])  # fmt: skip
async def test_what_cannot_be_sent_is_refused_at_once(
    type_id: Any, data: Any, error: type[Exception], text: str
) -> None:
    async with Application(relay()[0], transport=ScriptedTransport(), session=False) as app:
        with pytest.raises(error, match=text):
            app.peer(ALICE).send_raw(type_id, data, force=True)  # not awaited
    gc.collect()


async def test_it_goes_out_as_it_is() -> None:
    transport, tracer, extension = ScriptedTransport(), Tracer(), relay()[0]
    extension.register(Answer)
    async with Application(extension, tracer, transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        peer = app.peer(ALICE)
        await peer.send_raw(0x9001, b"one")
        await peer.send_raw(0xA001, bytearray(b"two"))
        await peer.send_raw(7, memoryview(b"three"), spec=True)
        await peer.send_raw(0x8C03, (5).to_bytes(8, "big"))
        await peer.send_raw(0x8C03, b"short")
    payloads = [payload for _, payload in transport.sent]
    assert payloads == [b"\x90\x01one", b"\xa0\x01two", b"\0\7three", b"\x8c\x03" + bytes(7) + b"\5", b"\x8c\x03short"]
    assert [event.payload for event in tracer.events] == payloads
    assert [event.message for event in tracer.events] == [None, None, None, Answer(number=5), None]
    assert isinstance(tracer.events[-1].error, MalformedMessage)


async def test_to_nobody_it_raises() -> None:
    async with Application(relay()[0], transport=ScriptedTransport(), session=False) as app:
        for type_id in (0x9001, 0x9002):
            with pytest.raises(PeerNotConnected, match=str(ALICE)):
                await app.peer(ALICE).send_raw(type_id, b"")


@pytest.mark.parametrize("options", [{"feature": 641}, {"peer_feature": 641}, {"peer_feature": 640}])
async def test_an_even_type_goes_to_those_whose_features_show_it(options: dict[str, int]) -> None:
    transport, bob = ScriptedTransport(), NodeId("03" + "bb" * 32)
    async with Application(relay(**options)[0], transport=transport, session=False) as app:
        transport.connect_peer(ALICE, [641])
        transport.connect_peer(bob)
        await app.peer(ALICE).send_raw(0x9002, b"")
        bit = next(iter(options.values()))
        with pytest.raises(NotSupported) as caught:
            await app.peer(bob).send_raw(0x9002, b"")
        assert str(caught.value) == (
            f"type 0x9002 is even, and {bob} does not show that it knows 'relay' (feature bit {bit}); it would "
            "disconnect: force=True sends it all the same"
        )
        await app.peer(bob).send_raw(0x9002, b"", force=True)
    assert transport.sent == [(ALICE, b"\x90\x02"), (bob, b"\x90\x02")]


async def test_or_whose_hello_does_which_is_waited_for() -> None:
    transport = ScriptedTransport()
    async with Application(relay()[0], transport=transport) as app:
        transport.connect_peer(ALICE)
        sending = asyncio.create_task(app.peer(ALICE).send_raw(0x9002, b""))
        await until(lambda: transport.sent)
        assert not sending.done()
        hello = Hello(0, 1, 1, program=10, extensions=(Spoken("relay", ("1.0",), ()),))
        transport.receive(ALICE, encode(hello, PROGRAM))
        await sending
    assert (ALICE, b"\x90\x02") in transport.sent


async def test_one_that_nobody_declares_needs_force() -> None:
    transport = ScriptedTransport()
    async with Application(relay()[0], transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        with pytest.raises(
            NotSupported, match=r"^type 0xa002 is even, and no loaded extension declares it; if .* would disconnect"
        ):
            await app.peer(ALICE).send_raw(0xA002, b"")
        await app.peer(ALICE).send_raw(0xA002, b"", force=True)
    assert transport.sent == [(ALICE, b"\xa0\x02")]


async def test_one_that_has_a_message_is_checked_as_that() -> None:
    transport, extension = ScriptedTransport(), relay(feature=641)[0]
    extension.register(Even)
    async with Application(extension, transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        with pytest.raises(NotSupported, match=r"^Even has the even type 0x8c06, and "):
            await app.peer(ALICE).send_raw(0x8C06, bytes(8))


async def test_during_the_start_there_is_nobody_to_send_to() -> None:
    extension, caught = relay()[0], []

    @extension.on_startup
    async def start(context: AppContext) -> None:
        try:
            await context.app.peer(ALICE).send_raw(0x9001, b"")
        except LocalProtocolError as error:
            caught.append(str(error))

    async with Application(extension, transport=ScriptedTransport(), session=False):
        pass
    assert [text[:35] for text in caught] == ["the application is still starting: "]
