"""What is sent again arrives, is settled and expires alike on all transports of ours."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import until

from oddwire import Again, Application, Context, Extension, Message, OddwireError, message
from oddwire.proto import PrivateKey
from oddwire.transports.base import Transport
from oddwire.transports.bolt8.transport import Bolt8Transport
from oddwire.transports.memory import MemoryNetwork


@message(0x8E41)
class Yes(Message):
    swap_id: str


@message(0x8E43, replies=Yes, match="swap_id")
class Ask(Message):
    swap_id: str


@message(0x8E44)
class Even(Message):
    text: str


class Asker:
    """One who asks until he is answered."""

    def __init__(self, feature: int | None = None) -> None:
        self.extension = Extension("swap", version="1.0", feature=feature)
        self.extension.register(Even)
        self.extension.register(Ask)
        self.answers: list[str] = []
        self.lost: list[Message] = []

        @self.extension.on(Yes)
        async def yes(context: Context, message: Yes) -> None:
            self.answers.append(message.swap_id)

        @self.extension.on_undelivered(Ask, Even)
        async def lost(context: Context, message: Ask | Even, error: OddwireError) -> None:
            self.lost.append(message)


class Maker:
    """One who hears, and answers only what he is told to."""

    def __init__(self, *answered: str, feature: int | None = None) -> None:
        self.extension = Extension("swap", version="1.0", feature=feature)
        self.extension.register(Yes)
        self.answered = {*answered}
        self.asked: list[str] = []

        @self.extension.on(Ask)
        async def ask(context: Context, message: Ask) -> Yes | None:
            self.asked.append(message.swap_id)
            return Yes(swap_id=message.swap_id) if message.swap_id in self.answered else None

        if feature is not None:

            @self.extension.on(Even)
            async def even(context: Context, message: Even) -> None:
                self.asked.append(message.text)


@pytest.fixture(params=["memory", "bolt8"])
def make_transport(request: pytest.FixtureRequest) -> Callable[[PrivateKey], Transport]:
    network = MemoryNetwork()

    def make(key: PrivateKey) -> Transport:
        if request.param == "memory":
            return network.transport(key)
        return Bolt8Transport(key, listen=["127.0.0.1:0"], network="regtest")

    return make


@pytest.fixture(params=[True, False], ids=["session", "plain"])
def session(request: pytest.FixtureRequest) -> bool:
    """Whether the one who asks speaks the session: what is sent again is plain in any case."""
    return bool(request.param)


def make_key() -> PrivateKey:
    return PrivateKey(os.urandom(32))


async def test_it_goes_on_until_the_answer(make_transport: Any, session: bool) -> None:
    asker, maker = Asker(), Maker("s2")
    async with (
        Application(maker.extension, transport=make_transport(make_key())) as there,
        Application(asker.extension, transport=make_transport(make_key()), store=":memory:", session=session) as here,
    ):
        peer = await here.connect(there.uris[0])
        await peer.send(Ask(swap_id="s1"), again=Again(every=0.05))
        await peer.send(Ask(swap_id="s2"), again=Again(every=0.05))
        await until(lambda: maker.asked.count("s1") >= 3)
        assert asker.answers == ["s2"] * maker.asked.count("s2")
        assert [one.key for one in await peer.pending()] == ["s1"]
        maker.answered.add("s1")
        await until(lambda: "s1" in asker.answers)
        await until(lambda: not here.resources.resending().kept.entries)
        count = len(maker.asked)
        await peer.send(Ask(swap_id="s3"))
        await until(lambda: "s3" in maker.asked)
        assert maker.asked[count:] == ["s3"]


async def test_at_each_connection_and_after_each_restart(make_transport: Any, tmp_path: Path, session: bool) -> None:
    maker, (own, theirs) = Maker(), (make_key(), make_key())
    again = Again(every=None)
    async with Application(maker.extension, transport=make_transport(theirs)) as there:
        for number in range(1, 3):
            asker = Asker()
            async with Application(
                asker.extension, transport=make_transport(own), store=tmp_path / "store", session=session
            ) as here:
                peer = here.peer(there.node_id)
                if number == 1:
                    await peer.send(Ask(swap_id="s1"), again=again)
                for connections in range(2 * number - 1, 2 * number + 1):
                    await here.connect(there.uris[0])
                    await until(lambda count=connections: len(maker.asked) == count)  # type: ignore[misc]
                    if connections % 2:
                        await here.disconnect(peer.node_id)
                        await until(lambda peer=peer: not peer.connected)  # type: ignore[misc]
        assert maker.asked == ["s1"] * 4


async def test_it_expires_at_its_age(make_transport: Any, session: bool) -> None:
    asker, maker = Asker(), Maker()
    async with (
        Application(maker.extension, transport=make_transport(make_key())) as there,
        Application(asker.extension, transport=make_transport(make_key()), store=":memory:", session=session) as here,
    ):
        peer = await here.connect(there.uris[0])
        await peer.send(Ask(swap_id="s1"), again=Again(every=0.02, until=0.2))
        await until(lambda: asker.lost)
        assert asker.lost == [Ask(swap_id="s1")]
        assert len(maker.asked) >= 2
        assert here.counters.undelivered == {"unsettled": 1}


async def test_an_even_type_reaches_who_knows_it_alone(make_transport: Any, session: bool) -> None:
    asker, maker, other = Asker(feature=911), Maker(feature=911), Maker()
    async with (
        Application(maker.extension, transport=make_transport(make_key())) as there,
        Application(other.extension, transport=make_transport(make_key()), session=False) as elsewhere,
        Application(asker.extension, transport=make_transport(make_key()), store=":memory:", session=session) as here,
    ):
        for uri in (there.uris[0], elsewhere.uris[0]):
            peer = await here.connect(uri)
            await peer.send(Even(text="even"), again=Again(every=0.02, key="even"))
            await peer.send(Ask(swap_id="odd"), again=Again(every=0.02))
        await until(lambda: maker.asked.count("even") >= 2)
        await until(lambda: other.asked.count("odd") >= 3)
        assert "even" not in other.asked
        assert here.peer(elsewhere.node_id).connected, "nobody hung up"


async def test_two_who_ask_each_other_are_both_answered(make_transport: Any) -> None:
    """Each has handlers for both, and a store; each settles its own."""

    def both() -> tuple[Extension, list[str]]:
        extension, answers = Extension("swap", version="1.0"), list[str]()

        @extension.on(Ask)
        async def ask(context: Context, message: Ask) -> Yes:
            return Yes(swap_id=message.swap_id)

        @extension.on(Yes)
        async def yes(context: Context, message: Yes) -> None:
            answers.append(message.swap_id)

        return extension, answers

    (left, heard_left), (right, heard_right) = both(), both()
    async with (
        Application(left, transport=make_transport(make_key()), store=":memory:") as one,
        Application(right, transport=make_transport(make_key()), store=":memory:") as two,
    ):
        sends = []
        for number in range(50):
            sends.append(one.peer(two.node_id).send(Ask(swap_id=f"l{number}"), again=Again()))
            sends.append(two.peer(one.node_id).send(Ask(swap_id=f"r{number}"), again=Again()))
        await asyncio.gather(*sends)
        await one.connect(two.uris[0])
        for app in (one, two):
            await until(lambda app=app: not app.resources.resending().kept.entries)  # type: ignore[misc]
        assert heard_left == [f"l{number}" for number in range(50)]
        assert heard_right == [f"r{number}" for number in range(50)]
