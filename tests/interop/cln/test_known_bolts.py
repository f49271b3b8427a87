"""What lightningd says, read by `oddwire.known.bolts`; and what that writes, understood by lightningd."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from oddwire.codecs import decode_subtype, encode_subtype
from oddwire.known import bolts
from oddwire.proto import PrivateKey, PublicKey, connect
from oddwire.proto.bolt1 import CHAINS
from oddwire.schema import Message

pytestmark = [pytest.mark.cln, pytest.mark.interop]

CHAIN = CHAINS["regtest"]
DAEMONS = ("connectd", "openingd", "dualopend", "channeld", "closingd")
SAID = re.compile(rf"(?:{'|'.join(DAEMONS)})(?:-chan#[0-9]+)?: \[(?:IN|OUT)\] ([0-9a-f]+)$", re.MULTILINE)
OWN = "083f"  # what lightningd tells its connectd of a custom message
BOLT12_LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

OPENING = {"open_channel", "accept_channel", "funding_created", "funding_signed"}
DUAL_OPENING = {"open_channel2", "accept_channel2"}
ALWAYS = {
    *("init", "peer_storage", "peer_storage_retrieval", "gossip_timestamp_filter", "onion_message"),
    *("channel_ready", "channel_reestablish", "shutdown", "closing_signed"),
    *("announcement_signatures", "channel_announcement", "channel_update", "node_announcement"),
    *("update_add_htlc", "update_fulfill_htlc", "update_fail_htlc", "commitment_signed", "revoke_and_ack"),
    *("stfu", "splice_init", "splice_ack", "splice_locked"),
    *("tx_add_input", "tx_add_output", "tx_complete", "tx_signatures"),
}


@pytest.fixture
def start_pair(start: Any, tmp_path: Any) -> Callable[..., list[Any]]:
    """Start two lightningds on one chain that log all messages."""

    def start_two(*options: str) -> list[Any]:
        logging = [f"--log-level=io:{daemon}" for daemon in DAEMONS]
        chain = ["--developer", "--dev-bitcoind-poll=1", "--dev-fast-gossip", f"--own-chain={tmp_path / 'blocks'}"]
        return [start.lightningd(chain="own_chain", options=[*chain, *logging, *options]) for _ in range(2)]

    return start_two


async def open_channel(left: Any, right: Any) -> None:
    await left.connect(right.uri)
    address = (await left.call("newaddr", "bech32"))["bech32"]
    await left.call("own-chain-pay", address, 10_000_000)
    await left.until(lambda told: told["outputs"], "listfunds")
    height = (await left.call("getinfo"))["blockheight"]
    await right.until(lambda told: told["blockheight"] >= height, "getinfo")
    await left.call("fundchannel", id=right.node_id, amount=1_000_000)
    for daemon in (left, right):
        await daemon.until(
            lambda told: [c["state"] for c in told["channels"]] == ["CHANNELD_NORMAL"], "listpeerchannels"
        )
        await daemon.until(lambda told: len(told["channels"]) == 2, "listchannels")
        await daemon.until(lambda told: len([node for node in told["nodes"] if "alias" in node]) == 2, "listnodes")


def said(daemon: Any) -> dict[str, list[Message]]:
    """Return all messages in the log, by their names; each is checked to be written in the same bytes again."""
    found: dict[str, list[Message]] = {}
    for digits in SAID.findall(daemon.log_file.read_text(errors="replace")):
        if not digits.startswith(OWN):
            message = bolts.decode(bytes.fromhex(digits))
            assert bolts.encode(message).hex() == digits
            found.setdefault(type(message).__oddwire__.name, []).append(message)
    return found


def contents(bolt12: str) -> bytes:
    bits = "".join(f"{BOLT12_LETTERS.index(letter):05b}" for letter in bolt12.partition("1")[2])
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8))


@pytest.mark.parametrize("dual", [False, True], ids=["one funds", "both may fund"])
async def test_all_that_two_lightningds_say_to_each_other(start_pair: Any, dual: bool) -> None:
    left, right = pair = start_pair(*(["--experimental-dual-fund"] if dual else []))
    await open_channel(left, right)
    await left.call("pay", (await right.call("invoice", 100_000, "paid", "tea"))["bolt11"])
    forgotten = (await right.call("invoice", 100_000, "forgotten", "tea"))["bolt11"]
    await right.call("delinvoice", "forgotten", "unpaid")
    await left.refusal("pay", forgotten)

    offer = (await right.call("offer", 1000, "tea"))["bolt12"]
    told = decode_subtype(bolts.Offer, contents(offer))
    assert told.offer_amount.amount == 1000
    assert told.offer_description.description == "tea"
    assert encode_subtype(told) == contents(offer)
    fetched = contents((await left.call("fetchinvoice", offer))["invoice"])
    invoice = decode_subtype(bolts.Invoice, fetched)
    assert (invoice.invoice_amount.msat, invoice.offer_description.description) == (1000, "tea")
    assert encode_subtype(invoice) == fetched

    await left.call("disconnect", right.node_id, True)
    await left.connect(right.uri)
    await left.until(lambda told: all(c["peer_connected"] for c in told["channels"]), "listpeerchannels")
    [channel] = (await left.call("listpeerchannels"))["channels"]
    await left.logged("[IN] 0088")
    await left.call("splicein", channel["channel_id"], 20_000)
    for direction in ("[IN] 004d", "[OUT] 004d"):
        await left.logged(direction)
    await left.call("close", right.node_id)

    for daemon in pair:
        found = said(daemon)
        assert {*found} >= ALWAYS | (DUAL_OPENING if dual else OPENING)
        assert {init.tlvs.networks.chains for init in found["init"]} == {(CHAIN,)}
        assert {update.htlc_maximum_msat > 0 for update in found["channel_update"]} == {True}
        [splice] = found["splice_init"]
        assert splice.funding_contribution_satoshis == 20_000
        assert {add.amount_msat for add in found["update_add_htlc"]} == {100_000}


async def test_what_is_asked_of_lightningd(start_pair: Any) -> None:
    left, right = start_pair()
    await open_channel(left, right)
    key = PrivateKey(os.urandom(32))
    node_id, _, address = left.uri.partition("@")
    host, _, port = address.rpartition(":")
    connection = await connect(key, PublicKey(bytes.fromhex(node_id)), host, int(port))

    async def say(message: Message) -> None:
        await connection.send_message(bolts.encode(message))

    async def hear(wanted: type) -> Any:
        async with asyncio.timeout(30):
            while type(message := bolts.decode(await connection.read_message())) is not wanted:
                pass
        return message

    features = bytes.fromhex("2080028252a2")  # what it asks for, anchors and channel_type among them (BOLT 9)
    networks = bolts.InitTlvsNetworks(chains=(CHAIN,))
    await say(bolts.Init(globalfeatures=b"", features=features, tlvs=bolts.InitTlvs(networks=networks)))
    assert (await hear(bolts.Init)).tlvs.networks == networks
    await say(bolts.Ping(num_pong_bytes=3, ignored=b"abc"))
    assert await hear(bolts.Pong) == bolts.Pong(ignored=bytes(3))

    await say(bolts.GossipTimestampFilter(chain_hash=CHAIN, first_timestamp=0, timestamp_range=0xFFFFFFFF))
    announced = await hear(bolts.ChannelAnnouncement)
    assert {announced.node_id_1.hex(), announced.node_id_2.hex()} == {left.node_id, right.node_id}
    assert (await hear(bolts.ChannelUpdate)).short_channel_id == announced.short_channel_id

    want = bolts.QueryChannelRangeTlvs(query_option=bolts.QueryChannelRangeTlvsQueryOption(query_option_flags=3))
    await say(bolts.QueryChannelRange(chain_hash=CHAIN, first_blocknum=0, number_of_blocks=1000, tlvs=want))
    reply = await hear(bolts.ReplyChannelRange)
    assert reply.encoded_short_ids == b"\0" + bytes(announced.short_channel_id)
    assert len(reply.tlvs.timestamps_tlv.encoded_timestamps) == 8
    [checksums] = reply.tlvs.checksums_tlv.checksums
    assert checksums.checksum_node_id_1 > 0

    await say(bolts.QueryShortChannelIds(chain_hash=CHAIN, encoded_short_ids=reply.encoded_short_ids))
    assert (await hear(bolts.ChannelAnnouncement)) == announced
    assert (await hear(bolts.ReplyShortChannelIdsEnd)).full_information == 1

    us = bytes(key.public_key()).hex()
    opening = asyncio.create_task(left.refusal("fundchannel", us, 100_000))
    opened = await hear(bolts.OpenChannel)
    assert (opened.chain_hash, opened.funding_satoshis) == (CHAIN, 100_000)
    await say(bolts.Error(channel_id=opened.temporary_channel_id, data=b"no room for a channel"))
    assert "no room for a channel" in (await opening)[1]
    connection.close()
