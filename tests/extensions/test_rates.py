import asyncio
import contextlib
import time
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

import pytest
from tests.support.waiting import until_answered

from oddwire import CodecError, Context, Extension, ExtensionStore, Message, RemoteFailure
from oddwire_extensions.rates import Rate, Subscribe, TopicList, Topics, Unsubscribe, deliveries, publisher
from oddwire_extensions.rates.deliveries import EACH
from oddwire_extensions.rates.subscriber import RENEWED

FLEET = 50

until = partial(until_answered, every=0)  # a clock may stand still


async def value(app, wanted, topic="eur/btc"):
    """Wait until a subscriber has this value of a topic."""

    async def there():
        return any(row["value"] == wanted and row["topic"] == topic for row in await app.call("rates-latest"))

    await until(there)


async def acknowledged(peer):
    """Whether nothing is on its way to a peer any more."""
    return not await peer.pending()


async def subscribers(app, number=1, **wanted):
    async def there():
        rows = await app.call("rates-subscribers")
        right = all(row[name] == wanted[name] for row in rows for name in wanted)
        return len(rows) == number and right and (rows or True)

    return await until(there)


@pytest.mark.parametrize("transport", ["memory", "bolt8"])
async def test_a_subscriber_gets_the_value_of_now_and_all_that_follow(app_pair, transport) -> None:
    async with app_pair(("rates",), ("rates",), transport=transport) as (feed, reader):
        await feed.call("rates-publish", "eur/btc", "83250.50")
        [topic] = await reader.call("rates-topics", str(feed.node_id))
        assert (topic["topic"], topic["value"]) == ("eur/btc", "83250.50")
        await reader.call("rates-subscribe", str(feed.node_id), "eur/btc")
        await value(reader, "83250.50")
        for wanted in ("1", "-0.25", "1000000"):
            assert (await feed.call("rates-publish", "eur/btc", wanted))["value"] == wanted
            await value(reader, wanted)
        [row] = await subscribers(feed, up_to_date=True)
        assert (row["node_id"], row["topic"], row["stranger"]) == (str(reader.node_id), "eur/btc", True)
        assert (await feed.call("rates-publish", "eur/btc", "1E+6"))["sent_to"] == 0  # what it is already
        await reader.call("rates-unsubscribe", str(feed.node_id), "eur/btc")
        await subscribers(feed, 0)
        assert await reader.call("rates-latest") == []


async def test_a_topic_may_come_after_its_subscribers_and_end(app_pair) -> None:
    async with app_pair(("rates",), ("rates",)) as (feed, reader):
        await reader.call("rates-subscribe", str(feed.node_id), "later")
        await subscribers(feed, up_to_date=True)
        await feed.call("rates-publish", "later", "5")
        await value(reader, "5", "later")
        await feed.call("rates-withdraw", "later")
        await value(reader, None, "later")
        assert await reader.call("rates-topics", str(feed.node_id)) == []


@pytest.mark.parametrize("kill", [False, True], ids=["restart", "kill"])
@pytest.mark.parametrize("whose", [0, 1], ids=["publisher", "subscriber"])
async def test_subscriptions_survive_restarts(app_pair, kill, whose) -> None:
    async with app_pair(("rates",), ("rates",)) as apps:
        feed, reader = apps
        await reader.call("rates-subscribe", str(feed.node_id), "eur/btc")
        await subscribers(feed)
        await apps[whose].restart(kill=kill)
        await feed.call("rates-publish", "eur/btc", "7")
        if not reader.peers:
            await reader.connect(feed.uris[0])
        await value(reader, "7")


async def test_who_is_away_gets_the_newest_value_alone(run_app) -> None:
    async with run_app("rates") as feed, run_app("rates") as reader:
        await reader.connect(feed.uris[0])
        await reader.call("rates-subscribe", str(feed.node_id), "eur/btc")
        await feed.call("rates-publish", "eur/btc", "0")
        await value(reader, "0")
        await reader.disconnect(feed.node_id)
        peer = feed.peer(reader.node_id)
        for number in range(1, 200):
            await feed.call("rates-publish", "eur/btc", str(number))
        [waiting] = await until(peer.pending)  # one message, whatever was published meanwhile
        assert isinstance(waiting.message, Rate)
        await reader.connect(feed.uris[0])
        await value(reader, "199")
        await until(lambda: acknowledged(peer))


async def test_what_was_on_its_way_before_a_restart_is_followed_by_the_newest(run_app) -> None:
    async with run_app("rates") as feed, run_app("rates") as reader:
        await reader.connect(feed.uris[0])
        await reader.call("rates-subscribe", str(feed.node_id), "eur/btc")
        await subscribers(feed)
        await reader.disconnect(feed.node_id)
        await feed.call("rates-publish", "eur/btc", "1")
        await until(feed.peer(reader.node_id).pending)
        await feed.restart(kill=True)
        await feed.call("rates-publish", "eur/btc", "2")
        await reader.connect(feed.uris[0])
        await value(reader, "1")
        await value(reader, "2")  # a job looks every five seconds for what a restart has cut
        await subscribers(feed, up_to_date=True)


@pytest.mark.long
async def test_a_fleet_of_subscribers_with_restarts(run_app) -> None:
    async with contextlib.AsyncExitStack() as stack:
        feed = await stack.enter_async_context(run_app("rates"))
        fleet = [await stack.enter_async_context(run_app("rates")) for _ in range(FLEET)]
        for reader in fleet:
            await reader.connect(feed.uris[0])
            await reader.call("rates-subscribe", str(feed.node_id), "eur/btc")
        await subscribers(feed, FLEET)
        for number in range(20):
            await feed.call("rates-publish", "eur/btc", str(number))
            if number % 5 == 0:
                await fleet[number].restart(kill=True)
                await fleet[number].connect(feed.uris[0])
            if number == 10:
                await feed.restart(kill=True)
                for reader in fleet:
                    with contextlib.suppress(Exception):
                        await reader.connect(feed.uris[0])
        for reader in fleet:
            await value(reader, "19")
        await subscribers(feed, FLEET, up_to_date=True)


async def test_strangers_are_limited_in_sum_and_others_still_subscribe(run_app) -> None:
    async with contextlib.AsyncExitStack() as stack:
        feed = await stack.enter_async_context(run_app("rates", options={"rates-strangers": 2}))
        readers = [await stack.enter_async_context(run_app("rates")) for _ in range(4)]
        for reader in readers:
            await reader.connect(feed.uris[0])
        await feed.call("rates-know", str(readers[3].node_id))
        for reader in readers[:2]:
            await reader.call("rates-subscribe", str(feed.node_id), "eur/btc")
        await subscribers(feed, 2)
        receipt = await readers[2].peer(feed.node_id).deliver(Subscribe(topic="eur/btc"))
        with pytest.raises(RemoteFailure, match="there are 2 subscriptions of strangers at most"):
            await receipt.delivered()
        await readers[3].call("rates-subscribe", str(feed.node_id), "eur/btc")
        await subscribers(feed, 3)


async def test_one_peer_and_all_peers_are_limited(app_pair) -> None:
    async with app_pair(("rates",), ("rates",), options=({"rates-subscriptions": 66}, None)) as (feed, reader):
        peer = reader.peer(feed.node_id)
        for number in range(EACH):
            await (await peer.deliver(Subscribe(topic=f"t{number}"))).delivered()
        with pytest.raises(RemoteFailure, match="there are 64 subscriptions of one peer at most"):
            await (await peer.deliver(Subscribe(topic="more"))).delivered()


async def test_for_a_crowd_that_asks_and_comes_again_the_store_is_read_once(app_pair, monkeypatch) -> None:
    asked = []
    execute = ExtensionStore.execute

    async def count(self, sql, parameters=()):
        asked.append(sql)
        return await execute(self, sql, parameters)

    async with app_pair(("rates",), ("rates",)) as (feed, reader):
        await feed.call("rates-publish", "eur/btc", "1")
        monkeypatch.setattr(ExtensionStore, "execute", count)
        peer = reader.peers[0]
        for _ in range(3):
            answers = await asyncio.gather(*(peer.request(Topics(), TopicList) for _ in range(4)))
            assert [str(topic.value) for answer in answers for topic in answer.topics] == ["1"] * 4
            await reader.disconnect(feed.node_id)
            peer = await reader.connect(feed.uris[0])
        assert len([sql for sql in asked if "rates_subscribers" not in sql]) == 1  # those are looked for now and then
        for change in (("rates-publish", "eur/btc", "2"), ("rates-publish", "a", "3"), ("rates-withdraw", "eur/btc")):
            await feed.call(*change)
            rows = await feed.store("rates").execute("SELECT topic, value FROM rates_topics WHERE value NOTNULL")
            listing = await peer.request(Topics(), TopicList)
            assert sorted((topic.topic, str(topic.value)) for topic in listing.topics) == sorted(rows)


async def test_what_is_published_while_the_list_is_read_is_in_the_next_one(run_app, monkeypatch) -> None:
    read = publisher._read_topics
    async with run_app("rates") as feed:
        listing = publisher.Listed()

        async def and_then(context):
            found = await read(context)
            if not found.topics:
                await feed.call("rates-publish", "eur/btc", "1")
                listing.forget()
            return found

        monkeypatch.setattr(publisher, "_read_topics", and_then)
        assert [topic.topic for topic in (await listing.now(feed.context("rates"))).topics] == ["eur/btc"]


async def test_subscriptions_that_are_not_renewed_end(run_app, monkeypatch, clock) -> None:
    lease = 20 * 3600
    monkeypatch.setattr(deliveries, "LEASE", lease)  # a job runs each five seconds
    async with clock, run_app("rates") as feed, run_app("rates") as reader:
        await reader.connect(feed.uris[0])
        await reader.call("rates-subscribe", str(feed.node_id), "eur/btc")
        await subscribers(feed)
        await reader.disconnect(feed.node_id)
        for part in (0.5, 0.45):
            await clock.advance(lease * part)
            assert len(await feed.call("rates-subscribers")) == 1
            await feed.restart()  # it goes on counting
        await clock.advance(2 * 3600)
        assert await feed.call("rates-subscribers") == []


@pytest.mark.parametrize("days", [31, 10_000])
async def test_no_change_of_the_clock_ends_a_subscription(app_pair, monkeypatch, days) -> None:
    async with app_pair(("rates",), ("rates",)) as (feed, reader):
        real = time.time
        for off in (days * 86_400, 0):
            monkeypatch.setattr(time, "time", lambda off=off: real() + off)
            await reader.call("rates-subscribe", str(feed.node_id), "eur/btc")
            await subscribers(feed)
        for off in (days * 86_400, -days * 86_400, 0):
            monkeypatch.setattr(time, "time", lambda off=off: real() + off)
            await feed.restart()  # it cleans up at its start, too
            await asyncio.sleep(0.05)
            await subscribers(feed)


@pytest.mark.parametrize("how", ["connect", "stay"])
async def test_subscriptions_are_renewed_whatever_the_clock_says(app_pair, monkeypatch, clock, how) -> None:
    async with clock, app_pair(("rates",), ("rates",)) as (feed, reader):
        monkeypatch.setattr(time, "time", lambda: 4e9)
        await reader.call("rates-subscribe", str(feed.node_id), "eur/btc")
        monkeypatch.setattr(time, "time", lambda: 1e9)
        await subscribers(feed)
        if how == "connect":
            await reader.disconnect(feed.node_id)
        await feed.store("rates").execute("DELETE FROM rates_subscribers")  # a publisher that has lost its store
        await clock.advance(RENEWED - 10)
        assert await feed.call("rates-subscribers") == []
        await clock.advance(3700)
        if how == "connect":
            await reader.connect(feed.uris[0])
        await subscribers(feed)


async def test_a_publisher_that_takes_no_renewals_has_one_waiting(run_app, raw_peer) -> None:
    async with run_app("rates") as reader, raw_peer(reader) as feed:
        await reader.call("rates-subscribe", str(feed.node_id), "eur/btc")
        for _ in range(3):
            await reader.restart()
            await feed.connect()
            await asyncio.sleep(0.05)
            assert len(await reader.peer(feed.node_id).pending()) == 1


async def test_who_has_lost_its_values_and_subscribes_again_gets_the_value_of_now(app_pair) -> None:
    async with app_pair(("rates",), ("rates",)) as (feed, reader):
        await feed.call("rates-publish", "eur/btc", "83250.50")
        for _ in range(2):
            await reader.call("rates-subscribe", str(feed.node_id), "eur/btc")
            await value(reader, "83250.50")
            await subscribers(feed, up_to_date=True)
            await reader.store("rates").execute("DELETE FROM rates_subscriptions")


async def test_who_subscribes_again_while_a_value_is_on_its_way_gets_it_once_more(app_pair) -> None:
    async with app_pair(("rates",), ("rates",)) as (feed, reader):
        await feed.call("rates-publish", "a", "1")
        peer = reader.peer(feed.node_id)
        for _ in range(3):  # the reader refuses what it did not subscribe to by its method
            await (await peer.deliver(Subscribe(topic="a"))).delivered()
        await reader.call("rates-subscribe", str(feed.node_id), "a")
        await value(reader, "1", "a")
        await subscribers(feed, up_to_date=True)


def rates_tasks():
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("rates ")]


async def test_subscribing_again_and_again_leaves_one_value_on_its_way(run_app, monkeypatch) -> None:
    silent = Extension("rates", version="1.0")

    @silent.on(Rate, reliable=True)
    async def never(context: Context, rate: Rate) -> None:
        await asyncio.Event().wait()

    silent.on(Subscribe, reliable=True)(ignore)
    silent.on(Unsubscribe, reliable=True)(ignore)
    async with run_app("rates") as feed, run_app(silent) as reader:
        for topic in ("a", "b"):
            await feed.call("rates-publish", topic, "1")
        await reader.connect(feed.uris[0])
        peer = reader.peer(feed.node_id)
        for _ in range(20):
            for topic in ("a", "b"):
                await (await peer.deliver(Subscribe(topic=topic))).delivered()
                await (await peer.deliver(Unsubscribe(topic=topic))).delivered()
        assert len(await feed.peer(reader.node_id).pending()) == 2
        assert len(rates_tasks()) == 2
        assert await feed.call("rates-subscribers") == []
        # What is on its way counts, so other topics do not help, and a restart does not forget it.
        monkeypatch.setattr(deliveries, "EACH", 2)
        with pytest.raises(RemoteFailure, match="there are 2 subscriptions of one peer at most"):
            await (await peer.deliver(Subscribe(topic="c"))).delivered()
        await feed.restart()
        await reader.connect(feed.uris[0])
        for _ in range(3):
            await (await peer.deliver(Subscribe(topic="a"))).delivered()
            await (await peer.deliver(Unsubscribe(topic="a"))).delivered()
        assert len(await feed.peer(reader.node_id).pending()) == 2


async def ignore(context: Context, message: Message) -> None:
    """Take a message."""


async def test_many_who_subscribe_at_once_are_limited_in_sum(run_app) -> None:
    async with contextlib.AsyncExitStack() as stack:
        feed = await stack.enter_async_context(run_app("rates", options={"rates-strangers": 3}))
        readers = [await stack.enter_async_context(run_app("rates")) for _ in range(20)]
        for reader in readers:
            await reader.connect(feed.uris[0])
        receipts = [await one.peer(feed.node_id).deliver(Subscribe(topic="a")) for one in readers]
        results = await asyncio.gather(*(one.delivered() for one in receipts), return_exceptions=True)
        assert len([one for one in results if one is None]) == 3
        assert len(await feed.call("rates-subscribers")) == 3


async def test_withdrawn_topics_end_subscriptions_and_make_room(app_pair, monkeypatch) -> None:
    monkeypatch.setattr(publisher, "MAX_TOPICS", 1)
    async with app_pair(("rates",), ("rates",)) as (feed, reader):
        await feed.call("rates-publish", "one", "1")
        await reader.call("rates-subscribe", str(feed.node_id), "one")
        await value(reader, "1", "one")
        await reader.disconnect(feed.node_id)  # the end waits for it
        await feed.call("rates-withdraw", "one")
        await feed.call("rates-publish", "two", "2")
        with pytest.raises(ValueError, match="there are 1 topics, and no room for more"):
            await feed.call("rates-publish", "one", "1")
        await reader.connect(feed.uris[0])
        await value(reader, None, "one")
        await subscribers(feed, 0)
        await reader.restart()  # which renews subscriptions
        await reader.connect(feed.uris[0])
        await reader.call("rates-topics", str(feed.node_id))
        await subscribers(feed, 0)
        await deliveries.clean(feed.context("rates"), deliveries.Underway())
        assert await feed.store("rates").execute("SELECT topic FROM rates_topics") == [("two",)]
        await reader.call("rates-subscribe", str(feed.node_id), "one")  # it may come again
        await subscribers(feed, up_to_date=True)
        await feed.call("rates-withdraw", "two")
        await feed.call("rates-publish", "one", "3")
        await value(reader, "3", "one")


async def test_what_was_not_subscribed_to_is_refused(app_pair) -> None:
    async with app_pair(("rates",), ("rates",)) as (feed, reader):
        rate = Rate(topic="spam", value=Decimal(1), at=datetime.now(UTC))
        with pytest.raises(RemoteFailure, match="there is no subscription to spam"):
            await (await feed.peer(reader.node_id).deliver(rate)).delivered()


@pytest.mark.parametrize(
    ("topic", "value", "error"),
    [
        ("eur/btc", "much", "value should be a decimal number, 83250.50 say, not 'much'"),
        ("eur/btc", "NaN", "value should be a finite number of 40 digits at most, not 'NaN'"),
        ("eur/btc", "1E+99", "value should be a finite number of 40 digits at most, not '1E.99'"),
        ("eur/btc", "1e999999999", "value should be a finite number of 40 digits at most, not '1e999999999'"),
        ("eur/btc", "-1e-999999999", "value should be a finite number of 40 digits at most, not '-1e-999999999'"),
        ("eur/btc", "1" * 201, "value should be a finite number of 40 digits at most, not '111"),
        ("EUR", "1", r"\$.topic: .*EUR"),
        ("x" * 65, "1", r"\$.topic: "),
    ],
)
async def test_what_cannot_be_published_is_refused(run_app, topic, value, error) -> None:
    async with run_app("rates") as feed:
        with pytest.raises((ValueError, CodecError), match=error):
            await feed.call("rates-publish", topic, value)


async def test_a_topic_that_cannot_be_is_not_subscribed_to(app_pair) -> None:
    async with app_pair(("rates",), ("rates",)) as (feed, reader):
        with pytest.raises(CodecError, match=r"\$.topic: "):
            await reader.call("rates-subscribe", str(feed.node_id), "No Such")
        assert await reader.call("rates-latest") == []
        with pytest.raises(ValueError, match="there is no subscription to 'x'"):
            await reader.call("rates-unsubscribe", str(feed.node_id), "x")
        with pytest.raises(ValueError, match="there is no topic 'x'; rates-publish makes one"):
            await feed.call("rates-withdraw", "x")


async def test_no_more_than_a_thousand_topics(run_app, monkeypatch) -> None:
    monkeypatch.setattr(publisher, "MAX_TOPICS", 2)
    async with run_app("rates") as feed:
        for number in range(2):
            await feed.call("rates-publish", f"t{number}", "1")
        with pytest.raises(ValueError, match="there are 2 topics, and no room for more"):
            await feed.call("rates-publish", "t2", "1")
        await feed.call("rates-withdraw", "t0")
        await feed.call("rates-publish", "t2", "1")
