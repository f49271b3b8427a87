from __future__ import annotations

import asyncio

import pytest
from tests.support.texts import Answer, Ask
from tests.support.waiting import until

from oddwire.app import Context, Extension
from oddwire.errors import ConnectionClosed, DecodeError, TransportError
from oddwire.proto.bolt1 import Ping
from oddwire.proto.keys import PrivateKey
from oddwire.schema import Message, message
from oddwire.testing import AppPair, Clock, RawPeers, RunApp, ScriptedTransport
from oddwire.transports.memory import MemoryNetwork

TRANSPORTS = pytest.mark.parametrize("transport", ["memory", "bolt8"])
ASK, ANSWER = "8c0181a474657874a161", "8c0381a474657874a141"


@message(0x8C06)
class Even(Message): ...


@pytest.fixture
def extension() -> Extension:
    extension = Extension("test", version="1.0", feature=513)
    extension.register(Even)

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> Answer:
        return Answer(text=request.text.upper())

    return extension


@TRANSPORTS
async def test_it_sends_and_sees_bytes(run_app: RunApp, raw_peer: RawPeers, extension: Extension, transport) -> None:
    async with run_app(extension, transport=transport, session=False) as app, raw_peer(app) as peer:
        assert peer.connected
        await until(lambda: [one.node_id for one in app.peers] == [peer.node_id])
        await peer.send(ASK)
        assert await peer.receive() == ANSWER
        await peer.send(bytes.fromhex(ASK))
        assert await peer.receive(0x8C03) == ANSWER
        await peer.send(Ask(text="a"))
        assert await peer.receive(Answer) == Answer(text="A")
        assert peer.received == [ANSWER] * 3


@TRANSPORTS
async def test_it_sees_all_and_answers_nothing(
    run_app: RunApp, raw_peer: RawPeers, extension: Extension, transport
) -> None:
    async with run_app(extension, transport=transport) as app, raw_peer(app) as peer:
        assert (await peer.receive()).startswith("c0dd")
        await peer.send(ASK)
        await peer.send(ASK)
        await peer.receive(Answer)
        assert [payload[:4] for payload in peer.received[:1]] == ["c0dd"]
        with pytest.raises(
            TimeoutError, match=r"no Even 0x8c06 within 0 s; \d payload\(s\) have come, the last: .*8c03"
        ):
            await peer.receive(Even, timeout=0)
        assert await peer.receive() == ANSWER


@TRANSPORTS
async def test_others_stay_to_be_received(run_app: RunApp, raw_peer: RawPeers, extension: Extension, transport) -> None:
    async with run_app(extension, transport=transport, session=False) as app, raw_peer(app) as peer:
        await until(lambda: app.peers)
        await peer.send(ASK)
        await app.peers[0].send(Even(), force=True)
        assert await peer.receive(Even) == Even()
        assert await peer.receive() == ANSWER


@TRANSPORTS
async def test_features_and_key(run_app: RunApp, raw_peer: RawPeers, extension: Extension, transport) -> None:
    key = PrivateKey(bytes(31) + b"\x09")
    async with run_app(extension, transport=transport) as app, raw_peer(app, features=[513], key=key) as peer:
        await until(lambda: app.peers)
        assert app.peers[0].node_id == peer.node_id
        assert bytes(peer.node_id) == bytes(key.public_key())
        assert app.peers[0].supports(extension)


@TRANSPORTS
async def test_warnings(run_app: RunApp, raw_peer: RawPeers, extension: Extension, transport) -> None:
    async with run_app(extension, transport=transport) as app, raw_peer(app) as peer:
        await peer.send("8c01ff")
        await peer.send("8c01c1")
        assert "Ask" in await peer.warning()
        assert "Ask" in await peer.warning()
        with pytest.raises(TimeoutError, match="no warning within 0 s"):
            await peer.warning(timeout=0)


@TRANSPORTS
async def test_it_comes_and_goes(run_app: RunApp, raw_peer: RawPeers, extension: Extension, transport) -> None:
    async with run_app(extension, transport=transport, session=False) as app, raw_peer(app) as peer:
        await until(lambda: app.peers)
        await peer.connect()  # it is
        await peer.disconnect()
        await peer.disconnect()
        assert "by us" in await peer.closed()
        assert not peer.connected
        await until(lambda: not app.peers)
        with pytest.raises(ConnectionClosed):
            await peer.send(ASK)
        with pytest.raises(ConnectionClosed, match=r"no payload any more: .*; nothing has come"):
            await peer.receive()
        await peer.connect()
        await peer.send(ASK)
        assert await peer.receive() == ANSWER


@TRANSPORTS
async def test_what_came_before_the_end_is_received(
    run_app: RunApp, raw_peer: RawPeers, extension: Extension, transport
) -> None:
    async with run_app(extension, transport=transport, session=False) as app, raw_peer(app) as peer:
        await peer.send(ASK)
        await until(lambda: peer.received)
        waiting = asyncio.create_task(peer.receive(Even))
        await asyncio.sleep(0)
        await app.disconnect(peer.node_id)
        with pytest.raises(ConnectionClosed, match="no Even 0x8c06 any more"):
            await waiting
        assert await peer.receive() == ANSWER


@TRANSPORTS
@pytest.mark.parametrize("kill", [True, False])
async def test_it_outlives_the_application(
    run_app: RunApp, raw_peer: RawPeers, extension: Extension, transport, kill: bool
) -> None:
    async with run_app(extension, transport=transport, session=False) as app, raw_peer(app) as peer:
        await app.restart(kill=kill)
        await peer.closed()
        await peer.connect()
        await peer.send(ASK)
        assert await peer.receive(Answer) == Answer(text="A")


@TRANSPORTS
async def test_by_its_uri(run_app: RunApp, raw_peer: RawPeers, extension: Extension, transport) -> None:
    async with run_app(extension, transport=transport, session=False) as app, raw_peer(app.uris[0]) as peer:
        await peer.send(Ask(text="a"))
        assert await peer.receive(Answer) == Answer(text="A")


async def test_on_a_network_of_the_applications_own(run_app: RunApp, raw_peer: RawPeers, extension: Extension) -> None:
    network = MemoryNetwork()
    async with run_app(extension, transport=lambda key: network.transport(key)) as app, raw_peer(app) as peer:
        await peer.receive()


async def test_one_that_nobody_can_dial(run_app: RunApp, raw_peer: RawPeers, extension: Extension) -> None:
    async with run_app(extension, transport=lambda key: ScriptedTransport()) as app:
        with pytest.raises(
            TransportError, match="nobody can dial this application: its ScriptedTransport has no address"
        ):
            async with raw_peer(app):
                pass


@TRANSPORTS
async def test_one_that_has_ended(run_app: RunApp, raw_peer: RawPeers, extension: Extension, transport) -> None:
    async with run_app(extension, transport=transport) as app, raw_peer(app) as peer:
        uri = app.uris[0]
        await app.aclose()
        await peer.closed()
        with pytest.raises(TransportError, match="nobody can dial"):
            await peer.connect()
        with pytest.raises(TransportError):
            async with raw_peer(uri):
                pass


async def test_pings_are_answered(run_app: RunApp, raw_peer: RawPeers, extension: Extension, clock: Clock) -> None:
    async with clock, run_app(extension, transport="bolt8") as app, raw_peer(app) as peer:
        await clock.advance(1000)
        assert peer.connected
        await peer.send(Ping(4).encode())  # BOLT 1's own messages may be sent, and what answers them is not shown
        await peer.send(ASK)
        await peer.receive(Answer)


async def test_nothing_is_checked(run_app: RunApp, raw_peer: RawPeers, extension: Extension) -> None:
    async with run_app(extension, transport="bolt8") as app, raw_peer(app) as peer:
        await peer.send("")
        assert "has no type" in await peer.warning()
        await peer.send("0010 0000 0000")
        assert "init a second time" in await peer.warning()
        assert "init a second time" in await peer.closed() or not peer.connected


@TRANSPORTS
async def test_malformed_answers_are_told(run_app: RunApp, raw_peer: RawPeers, extension: Extension, transport) -> None:
    @message(0x8C03, name="Other")
    class Other(Message):
        number: int

    async with run_app(extension, transport=transport, session=False) as app, raw_peer(app) as peer:
        await peer.send(ASK)
        with pytest.raises(DecodeError, match="number"):
            await peer.receive(Other)


async def test_what_is_asked_for_is_a_type_or_a_class(run_app: RunApp, raw_peer: RawPeers, extension) -> None:
    async with run_app(extension) as app, raw_peer(app) as peer:
        for wrong in ("8c03", True, 1.5):
            with pytest.raises(TypeError, match="a type number or a message class, not"):
                await peer.receive(wrong)  # type: ignore[call-overload]
        with pytest.raises(ValueError, match="digit 2 is 'x'"):
            await peer.send("0x8c01")


async def test_a_cancelled_receive_loses_nothing(app_pair: AppPair, raw_peer: RawPeers, extension: Extension) -> None:
    async with app_pair(extension, session=False) as (server, _), raw_peer(server) as peer:
        waiting = asyncio.create_task(peer.receive())
        await asyncio.sleep(0)
        await peer.send(ASK)
        waiting.cancel()
        await until(lambda: peer.received)
        assert await peer.receive() == ANSWER


# By a clock that nobody moves -------------------------------------------------------------------------------------


@TRANSPORTS
async def test_what_does_not_come_while_the_clock_stands_still_is_told(
    run_app: RunApp, raw_peer: RawPeers, extension: Extension, clock: Clock, transport
) -> None:
    async with clock, run_app(extension, transport=transport) as app, raw_peer(app) as peer:
        await peer.receive()
        hint = r"within 0.05 s of real time, in which the clock stood still: 'await clock.advance\(...\)' moves it"
        with pytest.raises(TimeoutError, match=rf"^no Answer 0x8c03 {hint}; 1 payload\(s\) have come, the last: c0dd"):
            await peer.receive(Answer, timeout=0.05)
        with pytest.raises(TimeoutError, match=rf"^no warning {hint}"):
            await peer.warning(timeout=0.05)
        with pytest.raises(TimeoutError, match=rf"^no end of the connection {hint}"):
            await peer.closed(timeout=0.05)
        await peer.send(ASK)
        assert await peer.receive(Answer, timeout=0.05) == Answer(text="A")


async def test_the_clocks_own_patience_ends_it_too(run_app: RunApp, raw_peer: RawPeers, extension: Extension) -> None:
    async with Clock(patience=0.05), run_app(extension) as app, raw_peer(app) as peer:
        first = asyncio.create_task(peer.receive(Answer, timeout=3600))
        with pytest.raises(TimeoutError, match=r"^no Even 0x8c06 within 0.05 s of real time"):
            await peer.receive(Even, timeout=1800)
        with pytest.raises(TimeoutError, match=r"^no Answer 0x8c03 within 0.05 s of real time"):
            await first


async def test_by_a_clock_that_is_moved_it_ends_by_that(
    run_app: RunApp, raw_peer: RawPeers, extension: Extension, clock: Clock
) -> None:
    async with clock, run_app(extension) as app, raw_peer(app) as peer:
        waiting = asyncio.create_task(peer.receive(Answer, timeout=60))
        await clock.advance(60)
        with pytest.raises(TimeoutError, match=r"^no Answer 0x8c03 within 60 s; 1 payload"):
            await waiting
        clock.jumping = True
        with pytest.raises(TimeoutError, match=r"^no Answer 0x8c03 within 60 minutes; 1 payload"):
            await peer.receive(Answer, timeout=3600)


# What cannot be one -----------------------------------------------------------------------------------------------


async def test_what_is_no_application_is_told(
    run_app: RunApp, app_pair: AppPair, raw_peer: RawPeers, extension: Extension
) -> None:
    async def enter(app: object, **named: object) -> None:
        async with raw_peer(app, **named):  # type: ignore[arg-type]
            pytest.fail("it is refused")

    async with app_pair(extension) as pair:
        with pytest.raises(TypeError, match=r"not to \(<.*: take one of them, 'async with app_pair\(...\) as \(server"):
            await enter(pair)
        with pytest.raises(TypeError, match="key should be a PrivateKey, not 'alice'"):
            await enter(pair[0], key="alice")
        async with raw_peer(pair[0]) as peer:
            with pytest.raises(ValueError, match="a type number is from 0 to 65535, not 70000"):
                await peer.receive(70000)
            assert repr(peer).startswith(f"<RawPeer {peer.node_id} connected, ")
    with pytest.raises(TypeError, match=r"not to <run_app.*: 'async with run_app\(...\) as app, raw_peer\(app\) as"):
        await enter(run_app(extension))
    with pytest.raises(TypeError, match=r"a raw peer connects to a running application, or to a node's URI, not to 5$"):
        await enter(5)
