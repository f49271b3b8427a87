"""Hosted channels, bLIP-17: channels without coins, kept up by two signed views of one state.

bLIP-17 at commit ba7a34b (of blips, 2026-01-14), and what its implementations do where they differ from it: Poncho by
scoin's ``HostedChannelCodecs.scala`` at commit ff41b5d, 2023-07-26, Immortan at commit 7878ad6, and eclair's plugin
(btcontract/plugin-hosted-channels) at commit e06927f, 2021. They

- write a bool as 0 or 255, and read any byte but 0 as true: `bool8`;
- write the length, a BigSize, before the `InitHostedChannel` and each `UpdateAddHtlc` within a state;
- have ``local_balance_msat`` in `StateOverride`, and the features of `InitHostedChannel` as 16-bit numbers, in place of
  which the plugin of eclair, older than these two, still has a channel version of 32 bits;
- know the messages that come after `Error` here, on public hosted channels, resizing, and preimages.

Immortan, the library of wallets, writes the length of the rest, u16, behind the type of each of these messages. Poncho
understands that, and answers in kind; here such a payload is malformed.
"""

from __future__ import annotations

from typing import Annotated

from oddwire.known import Protocol
from oddwire.schema import (
    Message,
    bigsize,
    bool8,
    chain_hash,
    channel_id,
    counted,
    field,
    fixed,
    flag,
    message,
    point,
    sha256,
    short_channel_id,
    signature,
    u8,
    u16,
    u32,
    u64,
)

__all__ = [
    "PROTOCOL",
    "AnnouncementSignature",
    "AskBrandingInfo",
    "ChannelAnnouncementGossip",
    "ChannelAnnouncementSync",
    "ChannelUpdateGossip",
    "ChannelUpdateSync",
    "Error",
    "HostedChannelBranding",
    "InitHostedChannel",
    "InvokeHostedChannel",
    "LastCrossSignedState",
    "QueryPreimages",
    "QueryPublicHostedChannels",
    "ReplyPreimages",
    "ReplyPublicHostedChannelsEnd",
    "ResizeChannel",
    "StateOverride",
    "StateUpdate",
    "UpdateAddHtlc",
    "UpdateFailHtlc",
    "UpdateFailMalformedHtlc",
    "UpdateFulfillHtlc",
]

# bLIP-17 -------------------------------------------------------------------------------------------------------------


@message(65535, codec="bolt", spec=True)
class InvokeHostedChannel(Message):
    """The client asks for a channel, or, after each connection, for the state of the one that it has."""

    chain_hash: chain_hash
    refund_scriptpubkey: bytes
    """Where the host may pay the client out on chain if it can no longer reach it."""
    secret: bytes
    """What the client was given to get other terms, a coupon say; empty if nothing."""


@message(65533, codec="bolt", spec=True)
class InitHostedChannel(Message):
    """The host's terms for a new channel."""

    max_htlc_value_in_flight_msat: u64
    htlc_minimum_msat: u64
    max_accepted_htlcs: u16
    channel_capacity_msat: u64
    initial_client_balance_msat: u64
    features: tuple[u16, ...]
    """Numbers of feature bits."""


@message(63505, codec="bolt", spec=True)
class UpdateAddHtlc(Message):
    """BOLT 2's ``update_add_htlc``. Odd TLV records other than this one are not kept."""

    channel_id: channel_id
    id: u64
    amount_msat: u64
    payment_hash: sha256
    cltv_expiry: u32
    """A block height."""
    onion_routing_packet: Annotated[bytes, fixed(1366)]
    path_key: point | None = field(tlv=0, default=None)


@message(65531, codec="bolt", spec=True)
class LastCrossSignedState(Message):
    """The state that both have signed, as its sender sees it."""

    is_host: bool8
    """Whether the sender is the host."""
    last_refund_scriptpubkey: bytes
    init_hosted_channel: Annotated[InitHostedChannel, counted(bigsize)]
    """The terms that the channel was opened on."""
    block_day: u32
    """The block height divided by 144, rounded down."""
    local_balance_msat: u64
    remote_balance_msat: u64
    local_updates: u32
    """How many updates the sender has ever added to the channel; ``remote_updates`` are the receiver's."""
    remote_updates: u32
    incoming_htlcs: tuple[Annotated[UpdateAddHtlc, counted(bigsize)], ...]
    """Those that the receiver has added, and that are still to be settled."""
    outgoing_htlcs: tuple[Annotated[UpdateAddHtlc, counted(bigsize)], ...]
    """Those that the sender has added."""
    remote_sig_of_local: signature
    """The receiver's signature of this state."""
    local_sig_of_remote: signature
    """The sender's signature of the same state as the receiver sees it."""


@message(65529, codec="bolt", spec=True)
class StateUpdate(Message):
    """The sender's signature of the next state, as the receiver sees it."""

    block_day: u32
    local_updates: u32
    remote_updates: u32
    local_sig_of_remote: signature


@message(65527, codec="bolt", spec=True)
class StateOverride(Message):
    """The host's terms for going on with a channel that is in error."""

    block_day: u32
    local_balance_msat: u64
    """The host's new balance."""
    local_updates: u32
    remote_updates: u32
    local_sig_of_remote: signature


@message(65511, codec="bolt", spec=True)
class AskBrandingInfo(Message):
    """The client asks for the host's branding."""

    chain_hash: chain_hash


@message(65525, codec="bolt", spec=True)
class HostedChannelBranding(Message):
    """How the host wants to be shown to the client's owner, in answer to `AskBrandingInfo`."""

    rgb_color: Annotated[bytes, fixed(3)]
    """Red, green and blue, a byte each."""
    png_icon: Annotated[bytes | None, flag(bool8)]
    """A PNG file, 65535 bytes at most by bLIP-17; a message has room for fewer."""
    contact_info: str
    """A URL."""


@message(63503, codec="bolt", spec=True)
class UpdateFulfillHtlc(Message):
    """BOLT 2's ``update_fulfill_htlc``."""

    channel_id: channel_id
    id: u64
    payment_preimage: Annotated[bytes, fixed(32)]


@message(63501, codec="bolt", spec=True)
class UpdateFailHtlc(Message):
    """BOLT 2's ``update_fail_htlc``."""

    channel_id: channel_id
    id: u64
    reason: bytes


@message(63499, codec="bolt", spec=True)
class UpdateFailMalformedHtlc(Message):
    """BOLT 2's ``update_fail_malformed_htlc``."""

    channel_id: channel_id
    id: u64
    sha256_of_onion: sha256
    failure_code: u16


@message(63497, codec="bolt", spec=True)
class Error(Message):
    """BOLT 1's ``error``: the channel can only be brought back by hand."""

    channel_id: channel_id
    data: bytes


# What its implementations know beside it -----------------------------------------------------------------------------


@message(65523, codec="bolt", spec=True)
class AnnouncementSignature(Message):
    """A signature for the announcement of a public hosted channel."""

    node_signature: signature
    wants_reply: bool8


@message(65521, codec="bolt", spec=True)
class ResizeChannel(Message):
    """The client wants another capacity, in sats."""

    new_capacity: u64
    client_sig: signature
    """The client's signature of the SHA-256 digest of the capacity, eight bytes, the lowest first."""


@message(65519, codec="bolt", spec=True)
class QueryPublicHostedChannels(Message):
    """Asks for all public hosted channels that the receiver knows."""

    chain_hash: chain_hash


@message(65517, codec="bolt", spec=True)
class ReplyPublicHostedChannelsEnd(Message):
    """All of them were sent."""

    chain_hash: chain_hash


@message(65515, codec="bolt", spec=True)
class QueryPreimages(Message):
    """Asks for the preimages of these hashes that were seen on chain."""

    hashes: tuple[sha256, ...]


@message(65513, codec="bolt", spec=True)
class ReplyPreimages(Message):
    """Those that were."""

    preimages: tuple[Annotated[bytes, fixed(32)], ...]


class _ChannelAnnouncement(Message):
    """BOLT 7's ``channel_announcement``, of a public hosted channel."""

    node_signature_1: signature
    node_signature_2: signature
    bitcoin_signature_1: signature
    bitcoin_signature_2: signature
    features: bytes
    chain_hash: chain_hash
    short_channel_id: short_channel_id
    node_id_1: point
    node_id_2: point
    bitcoin_key_1: point
    bitcoin_key_2: point


class _ChannelUpdate(Message):
    """BOLT 7's ``channel_update``, of a public hosted channel."""

    signature: signature
    chain_hash: chain_hash
    short_channel_id: short_channel_id
    timestamp: u32
    """Seconds since 1970."""
    message_flags: u8
    channel_flags: u8
    cltv_expiry_delta: u16
    htlc_minimum_msat: u64
    fee_base_msat: u32
    fee_proportional_millionths: u32
    htlc_maximum_msat: u64


@message(64513, codec="bolt", spec=True)
class ChannelAnnouncementGossip(_ChannelAnnouncement):
    """BOLT 7's ``channel_announcement``, passed on as it came."""


@message(64511, codec="bolt", spec=True)
class ChannelAnnouncementSync(_ChannelAnnouncement):
    """BOLT 7's ``channel_announcement``, in answer to `QueryPublicHostedChannels`."""


@message(64509, codec="bolt", spec=True)
class ChannelUpdateGossip(_ChannelUpdate):
    """BOLT 7's ``channel_update``, passed on as it came."""


@message(64507, codec="bolt", spec=True)
class ChannelUpdateSync(_ChannelUpdate):
    """BOLT 7's ``channel_update``, in answer to `QueryPublicHostedChannels`."""


PROTOCOL = Protocol(
    name="hosted channels",
    document="https://github.com/lightning/blips/blob/master/blip-0017.md",
    version="commit ba7a34b, 2026-01-14",
    messages=(
        Error,
        UpdateFailMalformedHtlc,
        UpdateFailHtlc,
        UpdateFulfillHtlc,
        UpdateAddHtlc,
        ChannelUpdateSync,
        ChannelUpdateGossip,
        ChannelAnnouncementSync,
        ChannelAnnouncementGossip,
        AskBrandingInfo,
        ReplyPreimages,
        QueryPreimages,
        ReplyPublicHostedChannelsEnd,
        QueryPublicHostedChannels,
        ResizeChannel,
        AnnouncementSignature,
        HostedChannelBranding,
        StateOverride,
        StateUpdate,
        LastCrossSignedState,
        InitHostedChannel,
        InvokeHostedChannel,
    ),
)
