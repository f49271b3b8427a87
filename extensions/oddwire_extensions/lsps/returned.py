"""What backends return, checked: whatever is wrong is a `ValueError` that names the backend's method.

A client sees "Internal error"; the operator finds this in the log.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from inspect import isawaitable
from itertools import pairwise
from typing import Any, Final, TypeVar

from oddwire import EncodeError
from oddwire.known import lsps1, lsps2
from oddwire.schema import Procedure
from oddwire_extensions.lsps.backend import Lsps1, Lsps2
from oddwire_extensions.lsps.checks import is_address
from oddwire_extensions.lsps.terms import why_unusable
from oddwire_extensions.lsps.times import read_time

__all__ = ["Answers"]

MAX_MENU: Final = 32  # entries of at most a kilobyte, in a payload of 65535 bytes
OUTPOINT: Final = re.compile(r"[0-9a-f]{64}:[0-9]{1,10}", re.ASCII)
CHANGING: Final = ("order_state", "payment", "channel")
WAYS: Final = {"bolt11": lsps1.Bolt11, "bolt12": lsps1.Bolt12, "onchain": lsps1.Onchain}
RANGES: Final = ("initial_client_balance_sat", "initial_lsp_balance_sat", "channel_balance_sat")

_PAYMENT: Final = Procedure("lsps1.payment", result=lsps1.Payment)  # not one of LSPS1: a form to write it by

T = TypeVar("T")


class Answers:
    """Asks one method of a backend, and checks what it returns: ``await Answers(backend, "info").of(context)``."""

    def __init__(self, backend: Lsps1 | Lsps2, method: str) -> None:
        self.function = getattr(backend, method)
        self.title = f"{type(backend).__name__}.{method}()"

    async def of(self, *arguments: Any) -> Any:
        """Return what the method returns for these arguments, not checked."""
        found = self.function(*arguments)
        if not isawaitable(found):
            raise self.wrong(f"should be 'async def', and not return {found!r:.100} at once")
        return await found

    def wrong(self, text: str) -> ValueError:
        """Return the error for this method."""
        return ValueError(f"{self.title} {text}")

    def is_one(self, found: object, cls: type[T]) -> T:
        """Return what was found. Raises `ValueError` if it is not of the class."""
        if type(found) is not cls:
            module = cls.__module__.rpartition(".")[2]
            raise self.wrong(f"should return {module}.{cls.__name__}, not {found!r:.100}")
        return found

    def info(self, found: object) -> lsps1.Info:
        """Check what `Lsps1.info` returned."""
        info = self._fits(self.is_one(found, lsps1.Info), lsps1.GET_INFO)
        for name in RANGES:
            least, most = getattr(info, f"min_{name}"), getattr(info, f"max_{name}")
            if least > most:
                raise self.wrong(f"should return a min_{name} up to max_{name}, {most}, not {least}")
        if info.max_channel_expiry_blocks < 1:
            raise self.wrong("should return a max_channel_expiry_blocks of 1 at least")
        return info

    def payment(self, found: object, wish: lsps1.CreateOrder, now: float) -> float:
        """Check what `Lsps1.offer` returned; return when the last of the ways to pay expires, in seconds since 1970."""
        payment = self._fits(self.is_one(found, lsps1.Payment), _PAYMENT)
        ways = self._ways(payment)
        if not ways:
            raise self.wrong("should return a way to pay at least; a client is refused by raise rejected(...)")
        for name, way in ways.items():
            if way.state is not lsps1.PaymentState.EXPECT_PAYMENT:
                raise self.wrong(f"should return {name}.state EXPECT_PAYMENT, not {way.state!r}")
            if way.order_total_sat != way.fee_total_sat + wish.client_balance_sat:
                what = f"its fee, {way.fee_total_sat}, and the client's balance, {wish.client_balance_sat}"
                raise self.wrong(f"should return {name}.order_total_sat as {what}, not {way.order_total_sat}")
            if self._time(f"{name}.expires_at", way.expires_at) <= now:
                raise self.wrong(f"should return {name}.expires_at in the future, not {way.expires_at}")
        if payment.onchain is not None:
            self._check_onchain(payment.onchain, wish)
        return max(read_time(way.expires_at).timestamp() for way in ways.values())

    def refreshed(self, found: object, before: lsps1.Order) -> lsps1.Order:
        """Check what `Lsps1.refresh` returned for an order."""
        after = self._fits(self.is_one(found, lsps1.Order), lsps1.GET_ORDER)
        for name in lsps1.Order.__annotations__:
            old, new = getattr(before, name), getattr(after, name)
            if name not in CHANGING and new != old:
                raise self.wrong(f"should leave {name} of order {before.order_id} as it is, {old!r}, not {new!r:.100}")
        ways = self._ways(after.payment)
        for name, way in ways.items():
            old_way = getattr(before.payment, name)
            if old_way is None:
                raise self.wrong(f"should add no payment.{name}: order {before.order_id} was offered without")
            for part in WAYS[name].__annotations__:
                if part != "state" and getattr(way, part) != getattr(old_way, part):
                    text = f"{getattr(old_way, part)!r:.100}, not {getattr(way, part)!r:.100}"
                    raise self.wrong(f"should leave payment.{name}.{part} as it was offered, {text}")
        if not ways:
            raise self.wrong(f"should leave order {before.order_id} a way to pay")
        channel = after.channel
        if (channel is not None) != (after.order_state is lsps1.OrderState.COMPLETED):
            raise self.wrong(f"should return a channel with order_state COMPLETED, and with no other: {after!r:.300}")
        if channel is not None:
            self._time("channel.funded_at", channel.funded_at)
            self._time("channel.expires_at", channel.expires_at)
            if not OUTPOINT.fullmatch(channel.funding_outpoint):
                outpoint = f"{channel.funding_outpoint!r:.100}"
                raise self.wrong(f"should return a channel.funding_outpoint of form txid:index, not {outpoint}")
        return after

    def menu(self, found: object, now: float) -> tuple[lsps2.OpeningFeeParams, ...]:
        """Check what `Lsps2.offers` returned: parameters by which one can pay, in the order of bLIP-52."""
        if not isinstance(found, Sequence) or isinstance(found, str | bytes):
            raise self.wrong(
                f"should return a list of lsps2.OpeningFeeParams, empty if there are none, not {found!r:.100}"
            )
        menu = tuple(found)
        if len(menu) > MAX_MENU:
            raise self.wrong(f"should return {MAX_MENU} entries at most, not {len(menu)}")
        for number, entry in enumerate(menu):
            if type(entry) is not lsps2.OpeningFeeParams:
                raise self.wrong(f"should return lsps2.OpeningFeeParams at [{number}], not {entry!r:.100}")
        self._fits(lsps2.Info(opening_fee_params_menu=menu), lsps2.GET_INFO)
        for number, entry in enumerate(menu):
            if reason := why_unusable(entry, now):
                raise self.wrong(f"should return at [{number}] what one can pay by: {reason}")
        for one, two in pairwise(menu):
            before, after = (one.min_fee_msat, one.proportional), (two.min_fee_msat, two.proportional)
            if before == after or after[0] < before[0] or after[1] < before[1]:
                text = f"not {before} before {after}"
                raise self.wrong(f"should return a list ordered by min_fee_msat and proportional, {text}")
        return menu

    def bought(self, found: object) -> lsps2.Bought:
        """Check what `Lsps2.buy` returned."""
        return self._fits(self.is_one(found, lsps2.Bought), lsps2.BUY)

    def _ways(self, payment: lsps1.Payment) -> dict[str, Any]:
        """Return the ways to pay by their names, each with a state that it may have."""
        ways = {name: way for name in WAYS if (way := getattr(payment, name)) is not None}
        for name, way in ways.items():
            if name == "onchain" and way.state in (lsps1.PaymentState.HOLD, lsps1.PaymentState.CANCELLED):
                raise self.wrong(f"should return an onchain.state that a payment on chain has, not {way.state!r}")
        return ways

    def _check_onchain(self, way: lsps1.Onchain, wish: lsps1.CreateOrder) -> None:
        if wish.refund_onchain_address is None:
            raise self.wrong("should return no onchain for an order without a refund_onchain_address")
        if way.refund_onchain_address not in (None, wish.refund_onchain_address):
            raise self.wrong("should return onchain.refund_onchain_address as it was ordered, or leave it out")
        if not is_address(way.address):
            raise self.wrong(f"should return a SegWit address as onchain.address, not {way.address!r:.100}")
        if way.min_onchain_payment_confirmations and way.min_fee_for_0conf is not None:
            raise self.wrong("should return onchain.min_fee_for_0conf for 0 min_onchain_payment_confirmations alone")

    def _time(self, name: str, text: str) -> float:
        try:
            return read_time(text).timestamp()
        except ValueError as error:
            raise self.wrong(f"should return another {name}: it {error}") from None

    def _fits(self, found: T, procedure: Procedure[Any, T]) -> T:
        """Return what was found. Raises `ValueError` if a message cannot carry it."""
        try:
            procedure.dump_result(found)
        except EncodeError as error:
            raise self.wrong(f"returned what cannot be sent: {error}".replace("$.result.", "")) from None
        return found
