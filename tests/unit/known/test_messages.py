"""What messages of known protocols refuse, and what is in them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from oddwire import Application, Context, Extension, Message, RpcError, UnknownVariant, replace, schema_of
from oddwire.app import PeerRpc
from oddwire.codecs import decode_subtype
from oddwire.codecs.registry import builtin_codecs
from oddwire.errors import MalformedMessage, RemoteRpcError, ValueOutOfRange
from oddwire.known import bolts, hosted_channels, lightning_box, lightningos, peerswap, phoenix, rgb
from oddwire.transports import MemoryNetwork

VECTORS = Path(__file__).parents[2] / "vectors" / "known"
CODECS = {codec.name: codec for codec in builtin_codecs()}


def plan(cls: type[Message]) -> Any:
    return CODECS[schema_of(cls).codec].compile(schema_of(cls))


def payloads(module: str, cls: type[Message]) -> list[bytes]:
    number = schema_of(cls).type_id.to_bytes(2, "big")
    found = [one for one in json.loads((VECTORS / f"{module}.json").read_text()) if one.get("message") == cls.__name__]
    return [number + one["text"].encode() if "text" in one else bytes.fromhex(one["hex"]) for one in found]


# RGB ------------------------------------------------------------------------------------------------------------------

CHUNK = rgb.FileTransfer(
    file_kind=rgb.FileKind.MEDIA,
    funding_txid="f1" * 32,
    file_id="d2" * 32,
    chunk_index=0,
    total_chunks=1,
    data=b"x",
)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"version": 2}, r"\$.version: u8 should be at most 1, not 2"),
        ({"funding_txid": "f1" * 31}, r"\$.funding_txid: str should be like \[0-9A-Fa-f\]\{64\}, not 'f1"),
        ({"file_id": ""}, r"\$.file_id: should be 64 hex digits for a medium"),
        ({"file_id": "../../etc/passwd"}, r"\$.file_id: should be 64 hex digits for a medium"),
        ({"file_kind": rgb.FileKind.CONSIGNMENT}, r"\$.file_id: should be empty for a consignment"),
    ],
)
def test_what_no_rgb_node_reads_is_not_sent(change, text):
    with pytest.raises(ValueOutOfRange, match=text):
        plan(rgb.FileTransfer).encode(replace(CHUNK, **change))


def test_what_no_rgb_node_reads_is_malformed():
    payload = plan(rgb.FileTransfer).encode(CHUNK)
    with pytest.raises(MalformedMessage, match=r"\$.file_id: should be empty for a consignment"):
        plan(rgb.FileTransfer).decode(payload[:3] + b"\0" + payload[4:])


async def test_orders_are_json_rpc_of_either_side():
    host, wallet = Extension("host", version="1.0"), Extension("wallet", version="1.0")
    hosting, asking = (PeerRpc(one, rgb.ASYNC_ORDER, spec=True) for one in (host, wallet))
    slots = (rgb.HashedSlot(hash_index=1, payment_hash=bytes(32)),)

    @hosting.method(rgb.NEW_ORDER)
    async def new_order(context: Context, order: rgb.NewOrder) -> rgb.Order:
        if not order.hashes:
            raise RpcError(rgb.INVALID_HASH_BATCH, "invalid_hash_batch")
        return rgb.Order(
            accepted_through_index=len(order.hashes),
            next_index_expected=len(order.hashes) + 1,
            order_id="5",
            protocol_version=order.protocol_version,
            refill_batch_size=200,
            status="active",
            unused_hashes=len(order.hashes),
        )

    @asking.method(rgb.REQUEST_INVOICE)
    async def request_invoice(context: Context, asked: rgb.InvoiceRequest) -> rgb.Invoice:
        return rgb.Invoice(bolt11=f"lnbcrt{asked.amount_msat}", payment_hash=slots[asked.hash_index - 1].payment_hash)

    network = MemoryNetwork()
    async with (
        Application(host, transport=network.transport()) as server,
        Application(wallet, transport=network.transport()) as client,
    ):
        peer = await client.connect(server.uris[0])
        order = await asking.call(peer, rgb.NEW_ORDER, rgb.NewOrder(hashes=slots, protocol_version=1))
        assert order.accepted_through_index == 1
        with pytest.raises(RemoteRpcError, match="invalid_hash_batch"):
            await asking.call(peer, rgb.NEW_ORDER, rgb.NewOrder(hashes=(), protocol_version=1))
        [back] = server.peers
        asked = rgb.InvoiceRequest(
            amount_msat=3000,
            asset_amount=None,
            asset_id=None,
            description_hash=bytes(32),
            hash_index=1,
            invoice_expiry_sec=60,
            min_final_cltv_expiry_delta=144,
            payment_hash=bytes(32),
        )
        assert (await hosting.call(back, rgb.REQUEST_INVOICE, asked)).bolt11 == "lnbcrt3000"


@pytest.mark.parametrize("given", ["[1]", "1.5", "true", "{}"])
def test_the_id_of_an_order_is_a_text_a_number_or_null(given):
    payload = rgb.ASYNC_ORDER.to_bytes(2, "big") + b'{"id":%s,"jsonrpc":"2.0"}' % given.encode()
    with pytest.raises(MalformedMessage, match=r"\$.id"):
        plan(rgb.AsyncOrder).decode(payload)


# Phoenix --------------------------------------------------------------------------------------------------------------


def test_signatures_of_a_batch_are_of_one_channel():
    batch = plan(phoenix.CommitSigBatch)
    one = phoenix.CommitSig(channel_id=bytes(32), signature=bytes(64), htlc_signatures=())
    other = replace(one, channel_id=b"\1" * 32)
    assert batch.decode(batch.encode(phoenix.CommitSigBatch(messages=(one, one)))).messages == (one, one)
    for messages in ((), (one, other)):
        with pytest.raises(ValueOutOfRange, match=r"\$.messages: should be one or more, of one channel"):
            batch.encode(phoenix.CommitSigBatch(messages=messages))
    with pytest.raises(MalformedMessage, match="should be one or more, of one channel"):
        batch.decode(bytes.fromhex("cf13 0000"))


def test_how_liquidity_is_paid_for():
    found = [plan(phoenix.SpliceInit).decode(payload) for payload in payloads("phoenix", phoenix.SpliceInit)]
    details = [one.request_funding.payment_details for one in found if one.request_funding]
    assert [type(one) for one in details] == [
        phoenix.FromChannelBalance,
        phoenix.FromFutureHtlc,
        phoenix.FromFutureHtlcWithPreimage,
        phoenix.FromChannelBalanceForFutureHtlc,
        UnknownVariant,
    ]
    [whole] = [payload for payload in payloads("phoenix", phoenix.SpliceInit) if b"\x80\x40" in payload]
    with pytest.raises(MalformedMessage, match=r"payment_details"):  # 63 bytes are not two hashes
        plan(phoenix.SpliceInit).decode(whole[:-1].replace(b"\xfd\x05\x3b\x5e", b"\xfd\x05\x3b\x5d"))


def test_an_offer_is_read_by_the_bolts():
    [payload] = payloads("phoenix", phoenix.DnsAddressRequest)
    offer = decode_subtype(bolts.Offer, plan(phoenix.DnsAddressRequest).decode(payload).offer)
    assert (offer.offer_amount.amount, offer.offer_description.description) == (1000, "tea")


# Hosted channels ------------------------------------------------------------------------------------------------------


def test_what_is_in_a_state_are_the_messages_themselves():
    first, second = (
        plan(hosted_channels.LastCrossSignedState).decode(payload)
        for payload in payloads("hosted_channels", hosted_channels.LastCrossSignedState)
    )
    [terms] = payloads("hosted_channels", hosted_channels.InitHostedChannel)
    assert first.init_hosted_channel == plan(hosted_channels.InitHostedChannel).decode(terms)
    htlcs = [
        plan(hosted_channels.UpdateAddHtlc).decode(payload)
        for payload in payloads("hosted_channels", hosted_channels.UpdateAddHtlc)
    ]
    assert [*first.incoming_htlcs, *second.outgoing_htlcs] == htlcs


# PeerSwap, LightningOS ------------------------------------------------------------------------------------------------


def test_a_swap_of_nothing_is_refused():
    [payload] = payloads("peerswap", peerswap.SwapInRequest)
    with pytest.raises(MalformedMessage, match=r"\$.amount: u64 should be at least 1, not 0"):
        plan(peerswap.SwapInRequest).decode(payload.replace(b'"amount":100000', b'"amount":0'))


@pytest.mark.parametrize("text", ["1x2", "1x2x3x4", "1-2-3", "16777216:0:0", "0x0x65536", "", "+1x2x3"])
def test_a_channel_of_a_swap_is_one(text):
    [payload] = payloads("peerswap", peerswap.SwapInRequest)
    with pytest.raises(MalformedMessage, match=r"\$.scid: "):
        plan(peerswap.SwapInRequest).decode(payload.replace(b"539268x845x1", text.encode()))
    message = plan(peerswap.SwapInRequest).decode(payload.replace(b"539268x845x1", b"539268:845:1"))
    assert plan(peerswap.SwapInRequest).encode(message) == payload


def test_two_protocols_with_one_number_do_not_read_each_other():
    [swap] = payloads("peerswap", peerswap.SwapInRequest)
    opening = payloads("lightningos", lightningos.BalancedOpen)[0]
    assert swap[:2] == opening[:2]
    with pytest.raises(MalformedMessage, match=r"\$.v"):
        plan(lightningos.BalancedOpen).decode(swap)
    with pytest.raises(MalformedMessage, match=r"\$.protocol_version"):
        plan(peerswap.SwapInRequest).decode(opening)
    sent = plan(lightningos.BalancedOpen).decode(opening).sent_at
    assert sent == datetime(2026, 2, 13, 16, 26, 40, tzinfo=UTC)


# Lightning Box --------------------------------------------------------------------------------------------------------


def test_what_is_in_each_message_of_lightning_box():
    found = [
        lightning_box.read_data(plan(lightning_box.LightningBox).decode(payload))
        for payload in payloads("lightning_box", lightning_box.LightningBox)
    ]
    first, terms, second, invoice, refusal = found
    assert first is None
    assert isinstance(terms, lightning_box.PayRequest)
    assert (terms.min_sendable, terms.max_sendable, terms.comment_allowed) == (1000, 5000000, 500)
    assert second == lightning_box.InvoiceRequest(amount=21000, comment="")
    assert invoice == lightning_box.Invoice(pr="lnbc1...", success_action=None)
    assert refusal == lightning_box.Refusal(status="ERROR", reason="Comment is too long.")


@pytest.mark.parametrize("data", [None, {}, {"pr": 7, "successAction": None}])
def test_what_lightning_box_should_have_and_has_not(data):
    message = lightning_box.LightningBox(id=1, request="LNURLPAY_REQUEST2_RESPONSE", data=data)
    with pytest.raises(MalformedMessage, match=r"\$.result.pr"):
        lightning_box.read_data(message)
