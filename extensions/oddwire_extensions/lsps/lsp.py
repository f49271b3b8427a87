"""The LSP's side: LSPS0, and LSPS1 and LSPS2 as far as there are backends for them."""

from __future__ import annotations

import contextlib
import json
import os
from datetime import UTC, datetime
from typing import Any, Final

from oddwire import AppContext, Context, Extension, Limits, MalformedMessage, NodeId, RpcError
from oddwire.app import PeerRpc
from oddwire.known import lsps0, lsps1, lsps2
from oddwire_extensions.lsps import kept
from oddwire_extensions.lsps.backend import Lsps1, Lsps2, bad_token
from oddwire_extensions.lsps.checks import check_order, invalid
from oddwire_extensions.lsps.returned import Answers
from oddwire_extensions.lsps.terms import RAW_BUY, RawBuy, is_promised, read_terms, surplus, with_promise
from oddwire_extensions.lsps.times import read_time, write_time

__all__ = ["server"]

TYPE: Final = 37913
SWEEP: Final = 60.0
"""Seconds between two looks for what has expired."""
PAID_DAYS: Final = 30
"""Days that a paid order is kept for, after its channel has expired or, without one, after it changed last."""
LONGEST: Final = {"token": 1024, "refund_onchain_address": 100}
"""Characters of what a client has us keep."""


def server(*backends: Lsps1 | Lsps2) -> Extension:
    """Return the extension ``lsps`` of an LSP: ``server(MyBackend())``; an object may be a backend of both.

    Without any, it answers ``lsps0.list_protocols`` alone. Raises `TypeError` for what is no backend, and `ValueError`
    for two of one LSPS.
    """
    for backend in backends:
        _check_backend(backend)
    extension = Extension("lsps", version="1.0", feature=lsps0.FEATURE, limits=Limits(messages_per_second=20))
    rpc = PeerRpc(extension, TYPE)
    first = [backend for backend in backends if isinstance(backend, Lsps1)]
    second = [backend for backend in backends if isinstance(backend, Lsps2)]
    for number, found in ((1, len(first)), (2, len(second))):
        if found > 1:
            raise ValueError(f"there are {found} backends of LSPS{number}; there should be one")
    served = (1,) * len(first) + (2,) * len(second)

    @rpc.method(lsps0.LIST_PROTOCOLS)
    async def list_protocols(context: Context) -> lsps0.Protocols:
        return lsps0.Protocols(protocols=served)

    if served:

        @extension.option("lsps-open")
        def open_of_all(value: int = 2000) -> int:
            """Keep so many unpaid orders, and so many open sales, half of them of clients that never paid."""
            return _at_least_two(value)

        @extension.option("lsps-open-of-one")
        def open_of_one(value: int = 10) -> int:
            """Keep so many of each for one client."""
            return _at_least_two(value)

        @extension.provide
        def places() -> kept.Places:
            return kept.Places()

        @extension.on_startup
        async def prepare(context: AppContext) -> None:
            await kept.prepare(context)
            if await context.store.get("secret") is None:
                await context.store.set("secret", os.urandom(32))

    for one in first:
        _serve_orders(extension, rpc, one)
    for two in second:
        _serve_sales(extension, rpc, two)
    return extension


# LSPS1 ------------------------------------------------------------------------------------------------


def _serve_orders(extension: Extension, rpc: PeerRpc, backend: Lsps1) -> None:
    info, offer = Answers(backend, "info"), Answers(backend, "offer")

    @rpc.method(lsps1.GET_INFO)
    async def get_info(context: Context) -> lsps1.Info:
        return info.info(await info.of(context))

    @rpc.method(lsps1.CREATE_ORDER)
    async def create_order(context: Context, wish: lsps1.CreateOrder, places: kept.Places) -> lsps1.Order:
        _check_lengths(wish)
        check_order(info.info(await info.of(context)), wish)
        place = await places.take(context, "orders")  # before it costs the backend anything
        return await kept.to_end(context, create(context, wish, place))

    async def create(context: Context, wish: lsps1.CreateOrder, place: kept.Place) -> lsps1.Order:
        with contextlib.closing(place):
            return await begin(context, wish, place)

    async def begin(context: Context, wish: lsps1.CreateOrder, place: kept.Place) -> lsps1.Order:
        from uuid import uuid4  # imported late: the host node has the manifest sooner

        order_id = str(uuid4())
        payment = await offer.of(context, order_id, wish)
        ends = offer.payment(payment, wish, kept.now())
        order = lsps1.Order(
            order_id=order_id,
            lsp_balance_sat=wish.lsp_balance_sat,
            client_balance_sat=wish.client_balance_sat,
            required_channel_confirmations=wish.required_channel_confirmations,
            funding_confirms_within_blocks=wish.funding_confirms_within_blocks,
            channel_expiry_blocks=wish.channel_expiry_blocks,
            token=wish.token or "",
            created_at=write_time(datetime.now(UTC)),
            announce_channel=wish.announce_channel,
            order_state=lsps1.OrderState.CREATED,
            payment=payment,
            channel=None,
        )
        await kept.keep(context, place, order_id, ends, lsps1.GET_ORDER.dump_result(order))
        return order

    @rpc.method(lsps1.GET_ORDER)
    async def get_order(context: Context, wish: lsps1.GetOrder, places: kept.Places) -> lsps1.Order:
        async with places.turn(str(context.peer)):
            rows = await context.store.execute(
                "SELECT data FROM lsps_orders WHERE id = ? AND client = ?", (wish.order_id, str(context.peer))
            )
        if not rows:
            raise RpcError(lsps1.NOT_FOUND, "Not found")
        return await _refresh(context, backend, context.peer.node_id, rows[0][0])

    @extension.every(SWEEP)
    async def sweep_orders(context: AppContext) -> None:
        rows = await context.store.execute(
            "SELECT id, client, paid, data FROM lsps_orders WHERE ends < ?", (kept.now(),)
        )
        for order_id, client, paid, data in rows:
            try:
                keep = not paid and _is_paid(await _refresh(context, backend, NodeId(client), data))
            except Exception:  # an order that its backend cannot look up leaves the others their place
                context.logger.warning("order %s is kept: what became of it is not known", order_id, exc_info=True)
                continue
            if not keep:
                # As it was read: one that has been paid since stays
                await context.store.execute("DELETE FROM lsps_orders WHERE id = ? AND paid = ?", (order_id, paid))

    @extension.rpc("lsps-orders")
    async def orders(context: AppContext) -> list[dict[str, Any]]:
        """Show the orders of our clients."""
        return await kept.shown(context, "orders")


async def _refresh(context: AppContext, backend: Lsps1, client: NodeId, data: str) -> lsps1.Order:
    """Return an order as it is now, and keep it if it has changed."""
    order, refresh = lsps1.GET_ORDER.load_result(json.loads(data)), Answers(backend, "refresh")
    fresh = refresh.refreshed(await refresh.of(context, client, order), order)
    if fresh != order:
        ends = max(kept.now(), read_time(fresh.channel.expires_at).timestamp() if fresh.channel else 0)
        text = json.dumps(lsps1.GET_ORDER.dump_result(fresh))
        if _is_paid(fresh):
            await context.store.execute(
                "UPDATE lsps_orders SET data = ?, paid = 1, ends = ? WHERE id = ?",
                (text, ends + PAID_DAYS * 86400, order.order_id),
            )
        else:
            await context.store.execute("UPDATE lsps_orders SET data = ? WHERE id = ?", (text, order.order_id))
    return fresh


def _is_paid(order: lsps1.Order) -> bool:
    """Return whether an order has seen money; what only failed has not."""
    ways = (order.payment.bolt11, order.payment.bolt12, order.payment.onchain)
    return order.order_state is lsps1.OrderState.COMPLETED or any(
        way is not None and way.state in (lsps1.PaymentState.HOLD, lsps1.PaymentState.PAID) for way in ways
    )


# LSPS2 ------------------------------------------------------------------------------------------------


def _serve_sales(extension: Extension, rpc: PeerRpc, backend: Lsps2) -> None:
    offers, buys = Answers(backend, "offers"), Answers(backend, "buy")

    @rpc.method(lsps2.GET_INFO)
    async def get_info(context: Context, wish: lsps2.GetInfo) -> lsps2.Info:
        if len(wish.token or "") > LONGEST["token"]:
            raise bad_token(2)
        menu = offers.menu(await offers.of(context, wish.token), kept.now())
        secret = await context.store.get("secret", as_=bytes)
        assert secret is not None  # noqa: S101 - made at the start
        return lsps2.Info(
            opening_fee_params_menu=tuple(with_promise(secret, context.peer.node_id, one) for one in menu)
        )

    @rpc.method(RAW_BUY)
    async def buy(context: Context, raw: RawBuy, places: kept.Places) -> lsps2.Bought:
        params = _terms_of(raw)
        wish = lsps2.Buy(opening_fee_params=params, payment_size_msat=raw.payment_size_msat)
        secret = await context.store.get("secret", as_=bytes)
        assert secret is not None  # noqa: S101 - made at the start
        promised = is_promised(secret, context.peer.node_id, params)
        if not promised or read_time(params.valid_until).timestamp() <= kept.now():
            text = "they have expired" if promised else "they were not promised to this client"
            raise RpcError(lsps2.INVALID_OPENING_FEE_PARAMS, f"Invalid opening fee params: {text}")
        fee = None if wish.payment_size_msat is None else _fee_of(params, wish.payment_size_msat)
        place = await places.take(context, "sales")
        return await kept.to_end(context, sell(context, wish, fee, place))

    async def sell(context: Context, wish: lsps2.Buy, fee: int | None, place: kept.Place) -> lsps2.Bought:
        sold = {**lsps2.BUY.dump_params(wish), "opening_fee_msat": None if fee is None else str(fee)}
        ends = read_time(wish.opening_fee_params.valid_until).timestamp()
        with contextlib.closing(place):
            bought = buys.bought(await buys.of(context, wish, fee))
            try:
                await kept.keep(context, place, str(bought.jit_channel_scid), ends, sold)
            except kept.OpenAlreadyError as error:
                raise buys.wrong(f"should return an SCID of which no other sale is open: {error}") from None
        return bought

    @extension.every(SWEEP)
    async def sweep_sales(context: AppContext) -> None:
        await context.store.execute("DELETE FROM lsps_sales WHERE ends < ?", (kept.now(),))

    @extension.rpc("lsps-sales")
    async def sales(context: AppContext) -> list[dict[str, Any]]:
        """Show the sales of LSPS2 that are open: by SCID, what was promised for how long."""
        return await kept.shown(context, "sales")


def _terms_of(raw: RawBuy) -> lsps2.OpeningFeeParams:
    """Return the parameters that a client has chosen. Raises `RpcError` for what is none."""
    given = raw.opening_fee_params
    if unknown := [f"opening_fee_params.{name}" for name in surplus(given)]:
        raise invalid(unknown[0], "is not of LSPS2: it was not promised", unrecognized=unknown)
    try:
        return read_terms(given)
    except MalformedMessage as error:
        raise invalid(f"opening_fee_params{error.path.removeprefix('$')}", error.args[0]) from None


def _fee_of(params: lsps2.OpeningFeeParams, size: int) -> int:
    """Return the fee for a payment of this size. Raises `RpcError` for a size that is not to be had."""
    least, most = lsps2.payment_sizes(params)
    if size > most:
        raise RpcError(lsps2.PAYMENT_TOO_LARGE, f"Payment size too large: {most} msat at most")
    if size < least:
        raise RpcError(lsps2.PAYMENT_TOO_SMALL, f"Payment size too small: {least} msat at least")
    return lsps2.opening_fee(params, size)


def _check_backend(given: object) -> None:
    if not isinstance(given, Lsps1 | Lsps2):
        is_class = isinstance(given, type) and issubclass(given, Lsps1 | Lsps2)
        hint = f"; {given.__name__}() is one" if isinstance(given, type) and is_class else ""
        raise TypeError(f"server() takes objects of subclasses of Lsps1 and Lsps2, not {given!r:.100}{hint}")


def _at_least_two(value: int) -> int:
    if value < 2:
        raise ValueError(f"should be 2 at least, not {value}")
    return value


def _check_lengths(wish: lsps1.CreateOrder) -> None:
    for name, most in LONGEST.items():
        text: str | None = getattr(wish, name)
        if text is not None and len(text) > most:
            raise invalid(name, f"should have {most} characters at most")
