import asyncio

import pytest

from oddwire import Application, ExtensionError, Peer, schema_of
from oddwire.errors import ValueOutOfRange
from oddwire.transports import MemoryNetwork
from oddwire_extensions import chat

SAY, HEARD = 0x8C11, 0x8C13


async def test_peers_greet_each_other_and_give_receipts(pair, recorder) -> None:
    async with pair(("chat",), (recorder, "chat")):
        greeting = (await recorder.until("sent", SAY))[0].message
        heard = (await recorder.until("received", HEARD))[0].message
        theirs = (await recorder.until("received", SAY))[0].message
        receipt = (await recorder.until("sent", HEARD))[0].message
        assert greeting.text == theirs.text == "hello"
        assert heard == chat.Heard(number=greeting.number)
        assert receipt == chat.Heard(number=theirs.number)


async def test_a_line_reaches_the_peer_and_its_receipt_comes_back(pair, recorder) -> None:
    async with pair(("chat",), (recorder, "chat")) as (_, dialer):
        await recorder.until("received", SAY, HEARD)
        recorder.events.clear()
        result = await dialer.call("chat-say", "it's OK to be odd")
        assert result["peers"] == 1
        (said,) = await recorder.until("sent", SAY)
        assert said.message == chat.Say(text="it's OK to be odd", number=result["number"])
        (heard,) = await recorder.until("received", HEARD)
        assert heard.message == chat.Heard(number=result["number"])


async def test_with_nobody_there_nobody_hears(pair, caplog) -> None:
    async with pair(("chat",), ("chat",)) as (_, dialer):
        await dialer.disconnect(dialer.peers[0].node_id)
        while dialer.peers:
            await asyncio.sleep(0)
        assert (await dialer.call("chat-say", "anyone?"))["peers"] == 0
        assert "no peer is connected, so this was not sent: anyone?" in caplog.text


async def test_a_peer_that_does_not_read_keeps_nobody_waiting(monkeypatch, caplog) -> None:
    monkeypatch.setattr(chat, "PATIENCE", 0.5)
    network = MemoryNetwork()
    others = [Application("chat", transport=network.transport()) for _ in range(3)]
    async with Application("chat", transport=network.transport()) as speaker, others[0], others[1], others[2]:
        for other in others:
            await other.connect(speaker.uris[0])
        stalled, send = speaker.peers[0].node_id, Peer.send

        async def stuck(peer: Peer, *arguments: object, **named: object) -> None:
            if peer.node_id == stalled:
                await asyncio.Event().wait()
            await send(peer, *arguments, **named)

        monkeypatch.setattr(Peer, "send", stuck)
        async with asyncio.timeout(10):
            assert (await speaker.call("chat-say", "hello"))["peers"] == 2
        assert "1 of 3 peers did not take this: hello" in caplog.text


async def test_a_line_too_long_is_not_sent(pair) -> None:
    async with pair(("chat",), ("chat",)) as (_, dialer):
        with pytest.raises(ValueOutOfRange, match="at most 2000 characters"):
            await dialer.call("chat-say", "x" * 2001)


async def test_a_peer_without_chat_is_not_disturbed(pair, recorder) -> None:
    async with pair((recorder,), ("chat",)) as (listener, _):
        (greeting,) = await recorder.until("received", SAY)
        assert greeting.message is None
        assert greeting.error is None
        assert listener.peers[0].connected


async def test_the_greeting_is_an_option(recorder) -> None:
    network = MemoryNetwork()
    async with (
        Application("chat", transport=network.transport(), options={"chat-greeting": "ahoy"}) as loud,
        Application(recorder, "chat", transport=network.transport(), options={"chat-greeting": ""}) as silent,
    ):
        await silent.connect(loud.uris[0])
        (greeting,) = await recorder.until("received", SAY)
        await recorder.until("sent", HEARD)
        assert greeting.message.text == "ahoy"
        assert [event.type_id for event in recorder.events if event.direction == "sent"].count(SAY) == 0
    app = Application("chat", transport="memory", options={"chat-greeting": "x" * 2001})
    with pytest.raises(ExtensionError, match="should have at most 2000 characters, not 2001"):
        await app.start()


def test_its_types_are_odd_and_use_both_codecs() -> None:
    assert {schema_of(message).type_id % 2 for message in chat.extension.messages} == {1}
    assert {schema_of(message).codec for message in chat.extension.messages} == {"msgpack", "bolt"}
