"""A whole application on the bolt8 transport, with an LDK node that knows its types but not its schemas."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest

from oddwire.app import Application, Extension
from oddwire.errors import NotSupported
from oddwire.proto import PrivateKey
from oddwire.schema import Message, message, u64
from oddwire.transports.bolt8.transport import Bolt8Transport

pytestmark = pytest.mark.interop

FEATURE = 513
UNKNOWN_ODD, UNKNOWN_EVEN = 0x9001, 0x9002

# Where it cannot matter who dialed
either_way = pytest.mark.parametrize("start_link", ["dialed"], indirect=True)


@message(0x8C01, codec="bolt")
class Ask(Message):
    nonce: u64


@message(0x8C03, codec="bolt")
class Answer(Message):
    nonce: u64


@message(0x8C04, codec="bolt")
class Insist(Message):
    nonce: u64


def make(type_id: int, nonce: int) -> bytes:
    return type_id.to_bytes(2, "big") + nonce.to_bytes(8, "big")


def make_extension() -> Extension:
    extension = Extension("interop", version="1.0", feature=FEATURE)
    extension.register(Insist)

    @extension.on(Ask)
    async def answer(context, ask: Ask) -> Answer:
        return Answer(nonce=ask.nonce + 1)

    return extension


class Link:
    """A running application and the LDK node it talks with."""

    def __init__(self, app, ldk, we_dial):
        self.app = app
        self.ldk = ldk
        self.we_dial = we_dial
        self.us = str(app.node_id)
        self.peer = app.peer(ldk.node_id)

    async def connect(self):
        if self.we_dial:
            await self.app.transport.connect(self.ldk.uri, keep=False)
        else:
            await self.ldk.connect(self.app.uris[0])
        await self.ldk.event("connected", peer=self.us)

    async def check_that_it_works(self, nonce: int):
        await self.ldk.send(self.us, make(0x8C01, nonce))
        assert await self.ldk.received() == make(0x8C03, nonce + 1)


@pytest.fixture(params=["dialing", "dialed"])
def start_link(request, start_ldk, peers: contextlib.AsyncExitStack):
    """Start an application and an LDK node, and connect them; the parameter is what we do."""

    async def start(features=(FEATURE,), types=(0x8C01, 0x8C03, 0x8C04, UNKNOWN_ODD, UNKNOWN_EVEN)):
        ldk = await start_ldk(types=list(types), features=list(features))
        await ldk.listen()
        transport = Bolt8Transport(PrivateKey(os.urandom(32)), listen=["127.0.0.1:0"], network="regtest")
        app = await peers.enter_async_context(Application(make_extension(), transport=transport))
        link = Link(app, ldk, request.param == "dialing")
        await link.connect()
        return link

    return start


async def test_a_handler_answers_ldk(start_link):
    link = await start_link()
    await link.check_that_it_works(7)


@either_way
async def test_a_request_is_answered_by_ldk(start_link):
    link = await start_link()
    request = asyncio.create_task(link.peer.request(Ask(nonce=1), Answer, timeout=30))
    assert await link.ldk.received() == make(0x8C01, 1)
    await link.ldk.send(link.us, make(0x8C03, 99))
    assert await request == Answer(nonce=99)


@either_way
async def test_a_flood_from_ldk_is_answered_in_order(start_link, flood):
    link = await start_link()
    questions = flood(0x8C01, 2500, 10)
    answers = [make(0x8C03, int.from_bytes(question[2:], "big") + 1) for question in questions]
    async with link.ldk.collecting(answers):
        await link.ldk.flood(link.us, questions)


@either_way
async def test_an_unknown_odd_type_of_ldk_is_ignored(start_link):
    link = await start_link()
    await link.ldk.send(link.us, make(UNKNOWN_ODD, 1))
    await link.check_that_it_works(7)


async def test_we_hang_up_with_a_warning_on_an_unknown_even_type_of_ldk(start_link):
    link = await start_link()
    await link.ldk.send(link.us, make(UNKNOWN_EVEN, 1))
    assert f"{UNKNOWN_EVEN:#06x}" in await link.ldk.logged("Received message Warning")
    assert (await link.ldk.event("disconnected", peer=link.us))["by"] == "peer"
    await link.connect()  # it was the message, not the peer
    await link.check_that_it_works(7)


@either_way
async def test_we_warn_ldk_of_a_malformed_message_and_stay(start_link):
    link = await start_link()
    await link.ldk.send(link.us, make(0x8C01, 1)[:-1])
    assert "0x8c01" in await link.ldk.logged("Received message Warning")
    await link.check_that_it_works(7)


@either_way
async def test_an_even_type_goes_to_an_ldk_that_shows_our_feature(start_link):
    link = await start_link()
    assert link.peer.supports("interop")
    await link.peer.send(Insist(nonce=5))
    assert await link.ldk.received() == make(0x8C04, 5)


@either_way
async def test_an_even_type_goes_to_no_other_ldk_unless_forced(start_link):
    link = await start_link(features=(), types=(0x8C01, 0x8C03))
    assert not link.peer.supports("interop")
    with pytest.raises(NotSupported, match="interop"):
        await link.peer.send(Insist(nonce=5))
    await link.check_that_it_works(7)
    await link.peer.send(Insist(nonce=5), force=True)
    assert (await link.ldk.event("disconnected", peer=link.us))["by"] == "ldk"
