import asyncio

import pytest

from oddwire.cli.delivery_report import Delivery, DeliveryReport
from oddwire.cli.exit import CommandFailure


def book(*payloads: bytes) -> list[Delivery]:
    return [Delivery(payload, 0.0) for payload in payloads]


async def test_counts_what_both_sides_agree_on() -> None:
    ledger = DeliveryReport()
    ledger.write("alice → bob", "sent", Delivery(b"one", 1.0))
    assert ledger.settled == 0
    ledger.write("alice → bob", "received", Delivery(b"one", 2.0))
    assert ledger.settled == 1
    await ledger.settle(1)
    ledger.balance()


async def test_a_changed_payload_is_a_failure() -> None:
    ledger = DeliveryReport()
    ledger.sent["bob → alice"] = book(b"one", b"two")
    ledger.received["bob → alice"] = book(b"one", b"twp")
    with pytest.raises(CommandFailure, match="message 2 bob → alice arrived changed: 747770"):
        await ledger.settle(2)


async def test_two_swapped_payloads_are_a_failure() -> None:
    ledger = DeliveryReport()
    ledger.sent["bob → alice"] = book(b"one", b"two")
    ledger.received["bob → alice"] = book(b"two", b"one")
    with pytest.raises(CommandFailure, match="message 1 bob → alice"):
        ledger.balance()


@pytest.mark.parametrize(("sent", "received"), [((b"one", b"two"), (b"one",)), ((b"one",), (b"one", b"two"))])
async def test_a_lost_or_invented_message_does_not_balance(
    sent: tuple[bytes, ...], received: tuple[bytes, ...]
) -> None:
    ledger = DeliveryReport()
    ledger.sent["alice → bob"] = book(*sent)
    ledger.received["alice → bob"] = book(*received)
    with pytest.raises(CommandFailure, match=f"{len(sent)} messages were sent alice → bob, {len(received)} received"):
        ledger.balance()


async def test_nothing_at_all_does_not_balance() -> None:
    with pytest.raises(CommandFailure, match="nothing was delivered"):
        DeliveryReport().balance()


async def test_an_error_ends_the_wait_for_messages() -> None:
    ledger = DeliveryReport()
    waiting = asyncio.ensure_future(ledger.settle(1))
    await asyncio.sleep(0)
    ledger.fail("bob: a handler failed")
    with pytest.raises(CommandFailure, match="bob: a handler failed"):
        await waiting


async def test_a_message_that_never_comes_is_a_failure() -> None:
    ledger = DeliveryReport(patience=0.01)
    ledger.sent["alice → bob"] = book(b"one", b"two")
    ledger.received["alice → bob"] = book(b"one")
    with pytest.raises(CommandFailure, match=r"only 1 of 2 messages arrived within 0\.01 s"):
        await ledger.settle(2)
