"""The client's side: what LSPs offer, by RPC methods, or by `rpc` and the procedures of `oddwire.known` in a program.

::

    lsps-protocols NODE_ID
    lsps1-get-info NODE_ID
    lsps1-create-order NODE_ID 500000
    lsps1-get-order NODE_ID ORDER_ID
    lsps2-get-info NODE_ID
    lsps2-buy NODE_ID {"min_fee_msat": ...} 50000000
    lsps5-set-webhook NODE_ID NAME URL
    lsps5-list-webhooks NODE_ID
    lsps5-remove-webhook NODE_ID NAME

The LSP has to be connected. What it answers is checked; an error of the LSP is one with its code. Clients must not
announce the feature bit of LSPs, so this is an extension of its own.
"""

from __future__ import annotations

import time
from typing import Any, Final, TypeVar

from oddwire import AppContext, EncodeError, Extension, MalformedMessage, NodeId, Peer, RpcError
from oddwire.app import PeerRpc
from oddwire.errors import RemoteRpcError
from oddwire.known import lsps0, lsps1, lsps2, lsps5
from oddwire.schema import Procedure
from oddwire_extensions.lsps.checks import INVALID_PARAMS
from oddwire_extensions.lsps.terms import RAW_BUY, RAW_INFO, RawBuy, read_terms, why_unusable
from oddwire_extensions.lsps.times import read_time

__all__ = ["extension", "rpc"]

extension = Extension("lsps-client", version="1.0", peer_feature=lsps0.FEATURE)
rpc = PeerRpc(extension, 37913)

BLOCKS: Final = 4320
"""Blocks for which a channel is ordered unless said otherwise, a month; that many at most if the LSP has less."""
MIRRORED: Final = (
    "lsp_balance_sat",
    "client_balance_sat",
    "required_channel_confirmations",
    "funding_confirms_within_blocks",
    "channel_expiry_blocks",
    "announce_channel",
)

P = TypeVar("P")
R = TypeVar("R")


@extension.rpc("lsps-protocols")
async def protocols(context: AppContext, node_id: NodeId) -> dict[str, Any]:
    """Show which LSPS an LSP serves, and whether it announces that it is one."""
    peer = context.app.peer(node_id)
    found = await _call(peer, lsps0.LIST_PROTOCOLS, None)
    return {"protocols": found.protocols, "announced": peer.supports(extension)}


# LSPS1 ------------------------------------------------------------------------------------------------


@extension.rpc("lsps1-get-info")
async def get_info(context: AppContext, node_id: NodeId) -> dict[str, Any]:
    """Show what channels an LSP sells."""
    info = await _call(context.app.peer(node_id), lsps1.GET_INFO, None)
    return _plain(lsps1.GET_INFO.dump_result(info))


@extension.rpc("lsps1-create-order")
async def create_order(
    context: AppContext,
    node_id: NodeId,
    lsp_balance_sat: int,
    client_balance_sat: int = 0,
    channel_expiry_blocks: int | None = None,
    token: str | None = None,
    refund_onchain_address: str | None = None,
    announce_channel: bool = False,
    required_channel_confirmations: int | None = None,
    funding_confirms_within_blocks: int | None = None,
) -> dict[str, Any]:
    """Order a channel with an LSP, and show how to pay for it; what is left out is as the LSP has it.

    With an address to refund, it may be paid on chain. ``channel_expiry_blocks`` is a month unless the LSP has less.
    """
    peer = context.app.peer(node_id)
    info = await _call(peer, lsps1.GET_INFO, None)
    confirmations, within = required_channel_confirmations, funding_confirms_within_blocks
    blocks = channel_expiry_blocks
    wish = lsps1.CreateOrder(
        lsp_balance_sat=lsp_balance_sat,
        client_balance_sat=client_balance_sat,
        required_channel_confirmations=info.min_required_channel_confirmations
        if confirmations is None
        else confirmations,
        funding_confirms_within_blocks=info.min_funding_confirms_within_blocks if within is None else within,
        channel_expiry_blocks=min(BLOCKS, info.max_channel_expiry_blocks) if blocks is None else blocks,
        token=token,
        refund_onchain_address=refund_onchain_address,
        announce_channel=announce_channel,
    )
    order = await _call(peer, lsps1.CREATE_ORDER, wish)
    _check_mirrored(order, wish)
    _check_sums(order)
    return _plain(lsps1.CREATE_ORDER.dump_result(order))


@extension.rpc("lsps1-get-order")
async def get_order(context: AppContext, node_id: NodeId, order_id: str) -> dict[str, Any]:
    """Show what has become of an order."""
    order = await _call(context.app.peer(node_id), lsps1.GET_ORDER, lsps1.GetOrder(order_id=order_id))
    if order.order_id != order_id:
        raise MalformedMessage(
            f"should be {order_id!r:.100}, as asked, not {order.order_id!r}", path="$.result.order_id"
        )
    _check_sums(order)
    return _plain(lsps1.GET_ORDER.dump_result(order))


def _check_mirrored(order: lsps1.Order, wish: lsps1.CreateOrder) -> None:
    """Raise `MalformedMessage` for another order than the one we wished: bLIP-51, "mirrored from the request"."""
    for name in MIRRORED:
        if getattr(order, name) != getattr(wish, name):
            text = f"should be {getattr(wish, name)!r}, as it was ordered, not {getattr(order, name)!r}"
            raise MalformedMessage(text, path=f"$.result.{name}")


def _check_sums(order: lsps1.Order) -> None:
    """Raise `MalformedMessage` for a way to pay whose sum is wrong, or whose end is no time."""
    payment = order.payment
    for name, way in (("bolt11", payment.bolt11), ("bolt12", payment.bolt12), ("onchain", payment.onchain)):
        if way is None:
            continue
        if way.order_total_sat != way.fee_total_sat + order.client_balance_sat:
            text = f"should be {way.fee_total_sat} + {order.client_balance_sat}, not {way.order_total_sat}"
            raise MalformedMessage(text, path=f"$.result.payment.{name}.order_total_sat")
        try:
            read_time(way.expires_at)
        except ValueError as error:
            raise MalformedMessage(str(error), path=f"$.result.payment.{name}.expires_at") from None


# LSPS2 ------------------------------------------------------------------------------------------------


@extension.rpc("lsps2-get-info")
async def get_offers(context: AppContext, node_id: NodeId, token: str | None = None) -> dict[str, Any]:
    """Show for how much an LSP opens a channel when it has a payment for us; each as it is, for lsps2-buy.

    Those by which nobody can pay, which have expired say, come apart as ``unusable``, each with the ``reason``.
    """
    found = await _call(context.app.peer(node_id), RAW_INFO, lsps2.GetInfo(token=token))
    lsps2.GET_INFO.load_result(found)
    usable, unusable, now = [], [], _now()
    for number, entry in enumerate(found["opening_fee_params_menu"]):
        try:
            reason = why_unusable(read_terms(entry), now)
        except MalformedMessage as error:  # bLIP-52: "Clients MUST fail and abort the flow"
            path = f"$.result.opening_fee_params_menu[{number}]{error.path.removeprefix('$')}"
            raise MalformedMessage(error.args[0], path=path) from None
        if reason:
            unusable.append({"reason": reason, "opening_fee_params": entry})
        else:
            usable.append(entry)
    return {"opening_fee_params_menu": usable, **({"unusable": unusable} if unusable else {})}


@extension.rpc("lsps2-buy")
async def buy(
    context: AppContext, node_id: NodeId, opening_fee_params: dict[str, Any], payment_size_msat: int | None = None
) -> dict[str, Any]:
    """Buy a channel for the next payment: of this size, in any number of parts, or of any size, in one."""
    try:
        params, fee = read_terms(opening_fee_params), None
    except MalformedMessage as error:
        raise _wrong(f"opening_fee_params{error.path.removeprefix('$')} {error.args[0]}") from None
    if reason := why_unusable(params, _now()):
        raise _wrong(f"opening_fee_params: {reason}")
    if payment_size_msat is not None:
        least, most = lsps2.payment_sizes(params)
        if not least <= payment_size_msat <= most:
            raise _wrong(f"payment_size_msat should be {least} to {most}, not {payment_size_msat}")
        fee = lsps2.opening_fee(params, payment_size_msat)
    wish = RawBuy(opening_fee_params=opening_fee_params, payment_size_msat=payment_size_msat)
    bought = await _call(context.app.peer(node_id), RAW_BUY, wish)
    return {**_plain(lsps2.BUY.dump_result(bought)), "opening_fee_msat": None if fee is None else str(fee)}


# LSPS5 ------------------------------------------------------------------------------------------------


@extension.rpc("lsps5-set-webhook")
async def set_webhook(context: AppContext, node_id: NodeId, app_name: str, webhook: str) -> dict[str, Any]:
    """Have an LSP call a URL to wake us; one of this name is replaced."""
    wish = lsps5.SetWebhook(app_name=app_name, webhook=webhook)
    found = await _call(context.app.peer(node_id), lsps5.SET_WEBHOOK, wish)
    return _plain(lsps5.SET_WEBHOOK.dump_result(found))


@extension.rpc("lsps5-list-webhooks")
async def list_webhooks(context: AppContext, node_id: NodeId) -> dict[str, Any]:
    """Show the names of the URLs that an LSP calls for us."""
    found = await _call(context.app.peer(node_id), lsps5.LIST_WEBHOOKS, None)
    return _plain(lsps5.LIST_WEBHOOKS.dump_result(found))


@extension.rpc("lsps5-remove-webhook")
async def remove_webhook(context: AppContext, node_id: NodeId, app_name: str) -> dict[str, Any]:
    """Have an LSP call a URL no longer."""
    await _call(context.app.peer(node_id), lsps5.REMOVE_WEBHOOK, lsps5.RemoveWebhook(app_name=app_name))
    return {"app_name": app_name}


async def _call(peer: Peer, procedure: Procedure[P, R], params: P) -> R:
    """Call an LSP; its error is the RPC method's, with its code and data. So is a parameter that cannot be sent."""
    try:
        return await rpc.call(peer, procedure, params)
    except EncodeError as error:
        raise _wrong(f"{error.path.removeprefix('$.params.')}: {error.args[0]}") from None
    except RemoteRpcError as error:
        raise RpcError(error.code, f"the LSP answered: {error}", error.data) from error


def _wrong(text: str) -> RpcError:
    """Return the error for a parameter of ours."""
    return RpcError(INVALID_PARAMS, text)


def _now() -> float:
    """Return the seconds since 1970."""
    return time.time()


def _plain(result: Any) -> dict[str, Any]:
    return dict(result)


if __name__ == "__main__":
    extension.run()
