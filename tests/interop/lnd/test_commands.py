"""`oddwire run` and `oddwire node` with LND at the other end, dialing and dialed; and that the soak of both runs."""

from __future__ import annotations

import pytest
from tests.interop.conftest import Starter
from tests.interop.lnd.lnd_node import Api, Lnd, Subscription
from tests.soak.idle import echoed, idle, running_echo

pytestmark = [pytest.mark.lnd, pytest.mark.interop]

ODD, EVEN = 40001, 40000  # the collector has declared the even one


async def test_oddwire_run_that_dials_and_is_dialed(lnd: Lnd, api: Api, messages: Subscription) -> None:
    async with running_echo("--connect", lnd.uri) as dialing, running_echo() as dialed:
        await api.connect(dialed)
        for uri in (dialing, dialed):
            node_id = uri.partition("@")[0]
            assert (await api.until_connected(node_id)).inbound is (uri == dialing)
            for text in ("hello", "x" * 65_000):
                await echoed(api, messages, node_id, text)
        longest = ODD.to_bytes(2, "big") + bytes(65_533)  # nobody has its type: echo bounces it to who has dialed
        await api.send(dialed.partition("@")[0], longest)
        assert (await messages.message())[1] == longest


@pytest.mark.parametrize("dials", [True, False])
async def test_oddwire_node(lnd: Lnd, api: Api, messages: Subscription, start: Starter, dials: bool) -> None:
    node = start.node("collector")
    if dials:
        await node.connect(lnd.uri)
    else:
        await api.connect(node.uri)
    assert (await api.until_connected(node.node_id)).inbound is dials
    sent = [
        type_id.to_bytes(2, "big") + b"\xab" * size
        for type_id, size in ((ODD, 0), (ODD, 1), (EVEN, 7), (ODD, 65_532), (ODD, 65_533))
    ]
    for payload in sent:
        await api.send(node.node_id, payload)
    assert await node.taken(lnd.node_id, len(sent)) == sent
    await node.send(lnd.node_id, *sent)
    assert [await messages.message() for _ in sent] == [(node.node_id, payload) for payload in sent]


async def test_oddwire_run_dials_again_when_lnd_is_back(rough_lnd: Lnd) -> None:
    rough_lnd.start()
    async with running_echo("--connect", rough_lnd.uri) as uri:
        async with rough_lnd.api() as api:
            await api.until_connected(uri.partition("@")[0])
        rough_lnd.kill()
        rough_lnd.start()
        async with rough_lnd.api() as api, api.subscribed() as messages:
            await api.until_connected(uri.partition("@")[0])
            await echoed(api, messages, uri.partition("@")[0], "again")


async def test_a_soak_of_two_idle_seconds(lnd: Lnd, start: Starter) -> None:
    done = await idle(lnd, start, 2, print)
    assert len(done["pings answered"]) == 4
