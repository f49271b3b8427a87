"""A handler's reply that nobody would take for the answer is a failure of the handler."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.waiting import until

from oddwire.app import Application, CallNext, Context, Extension, Malformed, hookimpl
from oddwire.errors import LocalProtocolError, RemoteFailure
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message, u64
from oddwire.session.wire.frame_types import Code
from oddwire.testing import ScriptedTransport
from oddwire.transports.memory import MemoryNetwork

ALICE = NodeId("02" + "aa" * 32)


@message(0x8D41, codec="bolt")
class Answer(Message):
    number: u64


@message(0x8D43, codec="bolt")
class Other(Message):
    number: u64


@message(0x8D45, codec="bolt", replies=Answer, match="number")
class Ask(Message):
    number: u64


@message(0x8D47, codec="bolt", replies=Answer)
class Free(Message):
    number: u64


class Failures:
    name = "failures"

    def __init__(self) -> None:
        self.seen: list[tuple[str, BaseException]] = []

    @hookimpl
    def handler_failed(self, what: str, error: BaseException) -> None:
        self.seen.append((what, error))


def server(*, middleware: bool = False) -> Extension:
    extension = Extension("server", version="1.0")
    extension.register(Other)

    @extension.on(Ask)
    async def ask(context: Context, request: Ask | Malformed):  # type: ignore[no-untyped-def]
        if isinstance(request, Malformed):
            return Answer(number=0)
        match request.number:
            case 6:
                return Answer(number=7)
            case 8:
                return Other(number=8)
            case 9:
                return None
        return Answer(number=request.number)

    if middleware:

        @extension.middleware
        async def around(context: Context, message: Message, call_next: CallNext) -> Message | None:
            return await call_next(message)

    return extension


@pytest.mark.parametrize("middleware", [False, True])
@pytest.mark.parametrize("session", [False, True])
async def test_a_wrong_reply_is_a_failure_of_the_handler_and_not_sent(middleware: bool, session: bool) -> None:
    failures, network = Failures(), MemoryNetwork()
    asker = Extension("server", version="1.0")
    asker.register(Ask)
    async with (
        Application(server(middleware=middleware), failures, transport=network.transport(), session=session) as left,
        Application(asker, transport=network.transport()) as right,
    ):
        peer = await right.connect(left.uris[0])
        assert await peer.request(Ask(number=5)) == Answer(number=5)
        for count, (number, told) in enumerate(
            [
                (6, "with number=7 in Answer, and not 6 as in the message, as @message(match='number') says"),
                (8, "with a Other, and not with Answer, as @message(replies=) says"),
            ],
            1,
        ):
            if session:
                with pytest.raises(RemoteFailure) as caught:
                    await peer.request(Ask(number=number))
                assert caught.value.code == Code.INTERNAL
            else:
                await peer.send(Ask(number=number))
            await until(lambda count=count: len(failures.seen) == count)  # type: ignore[misc]
            what, error = failures.seen[-1]
            assert what == "handler of Ask"
            assert isinstance(error, LocalProtocolError)
            place = f"{__name__}.server.<locals>.ask"
            assert str(error) == f"{place} answers Ask {told}; it was not sent"
        assert left.counters.failed == {"server": 2}
        assert await peer.request(Ask(number=5)) == Answer(number=5)


async def test_what_does_not_decode_has_nothing_to_match() -> None:
    failures, transport = Failures(), ScriptedTransport()
    async with Application(server(), failures, transport=transport, session=False):
        transport.connect_peer(ALICE)
        transport.receive(ALICE, b"\x8d\x45\x00")
        await until(lambda: bool(transport.sent))
        assert transport.sent == [(ALICE, b"\x8d\x41" + bytes(8))]
    assert not failures.seen


async def test_the_parts_of_a_stream_are_checked_too(caplog: pytest.LogCaptureFixture) -> None:
    extension, network = Extension("server", version="1.0"), MemoryNetwork()
    closed: list[bool] = []

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> AsyncIterator[Answer]:
        try:
            for number in (request.number, request.number, 77):
                yield Answer(number=number)
        finally:
            closed.append(True)

    asker = Extension("server", version="1.0")
    asker.register(Ask)
    found: list[Any] = []
    async with (
        Application(extension, transport=network.transport()) as left,
        Application(asker, transport=network.transport()) as right,
    ):
        peer = await right.connect(left.uris[0])

        async def read() -> None:
            async for part in peer.stream(Ask(number=5), Answer):
                found.append(part)  # noqa: PERF401 - what came before the error shall be seen

        with caplog.at_level(logging.ERROR), pytest.raises(RemoteFailure):
            await read()
    assert found == [Answer(number=5)] * 2
    assert closed == [True]
    assert "answers Ask with number=77 in Answer, and not 5 as in the message" in caplog.text


def test_without_a_match_the_handler_itself_is_called() -> None:
    extension = Extension("server", version="1.0")

    @extension.on(Free)
    async def free(context: Context, request: Free) -> Answer:
        return Answer(number=request.number)

    app = Application(extension, transport=MemoryNetwork().transport())
    route = app._tables.incoming[b"\x8d\x47"]
    assert route.handler is free
    app = Application(server(), transport=MemoryNetwork().transport())
    assert app._tables.incoming[b"\x8d\x45"].handler.__qualname__.startswith("with_checked_replies")  # type: ignore[union-attr]


async def answer(request: Any) -> Answer:
    return Answer(number=request.number)


@pytest.mark.parametrize("kind", ["plain", "request", "reliable"])
@pytest.mark.parametrize("where", ["handler", "middleware"])
async def test_a_coroutine_in_the_place_of_a_reply_is_one_that_was_not_awaited(kind: str, where: str) -> None:
    failures, network = Failures(), MemoryNetwork()
    extension = Extension("server", version="1.0")
    extension.register(Answer)
    made: list[Any] = []  # to be closed in the end, as otherwise Python tells of each, too

    async def late(context: Context, request: Any) -> Any:
        made.append(answer(request))
        return made[-1]

    async def around(context: Context, message: Message, call_next: CallNext) -> Any:
        made.append(call_next(message))
        return made[-1]

    if where == "handler":
        extension.on(Free, reliable=kind == "reliable")(late)
    else:

        @extension.on(Free, reliable=kind == "reliable")
        async def free(context: Context, request: Free) -> Answer:
            return Answer(number=request.number)

        extension.middleware(around)
    asker = Extension("server", version="1.0")
    asker.register(Free)
    async with (
        Application(extension, failures, transport=network.transport(), store=":memory:") as left,
        Application(asker, transport=network.transport(), store=":memory:") as right,
    ):
        peer = await right.connect(left.uris[0])
        if kind == "plain":
            await peer.send(Free(number=1))
        elif kind == "reliable":
            await peer.deliver(Free(number=1))
        else:
            with pytest.raises(RemoteFailure):
                await peer.request(Free(number=1))
        await until(lambda: bool(failures.seen))
    told = "what is sent should be a message, not a coroutine: 'await' is missing before the call that made it, as in"
    assert str(failures.seen[0][1]).startswith(told)
    for one in made:
        one.close()
