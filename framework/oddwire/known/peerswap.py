"""PeerSwap: swaps between the balance of a channel and coins on chain, of bitcoin or Liquid.

From ``docs/peer-protocol.md``, protocol version 7, and what it leaves out (the order of the fields,
``acceptable_premium``, polls) from ``swap/messages.go`` and ``peersync``, at commit 816a5bb, 2026-08-19. All messages
are JSON objects. A swap is known by its ``swap_id``, which is in all its messages and is checked against the peer.

What is written is what the program writes, but for ``<``, ``>``, ``&`` and line separators in a text, which Go's JSON
escapes, and for the colons of `Scid`. What a receiver has to answer with `Cancel`, a network that it does not know say,
or an asset beside a network, is not refused here, as then it could not be answered.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from oddwire.known import Protocol
from oddwire.proto.keys import ShortChannelId
from oddwire.schema import Message, field, fixed, message, point, s64, scalar, u8, u32, u64

__all__ = [
    "PROTOCOL",
    "Cancel",
    "CoopClose",
    "OpeningTxBroadcasted",
    "Poll",
    "RequestPoll",
    "Scid",
    "SwapId",
    "SwapInAgreement",
    "SwapInRequest",
    "SwapOutAgreement",
    "SwapOutRequest",
]

SwapId: TypeAlias = Annotated[bytes, fixed(32)]

Scid: TypeAlias = Annotated[
    ShortChannelId,
    scalar(
        "scid",
        python=ShortChannelId,
        wire=Annotated[str, field(pattern="[0-9]{1,8}([x:][0-9]{1,8}){2}")],
        load=lambda text: ShortChannelId.from_str(text.replace(":", "x")),
        dump=str,
    ),
]
"""A `ShortChannelId`, written ``539268x845x1`` as the document says, and read with colons, too, as beside LND the
program writes it: ``539268:845:1``."""


class _Capability(Message):
    """What both polls have. What is zero, false or empty is left out, and None here."""

    version: u64 | None = None
    """The protocol version."""
    assets: tuple[str, ...] | None = None
    """``btc``, ``lbtc``."""
    peer_allowed: bool | None = None
    """Whether the receiver may swap with the sender."""
    btc_swap_in_premium_rate_ppm: s64 | None = None
    """In parts per million of the amount, as are the others; negative if the sender pays it."""
    btc_swap_out_premium_rate_ppm: s64 | None = None
    lbtc_swap_in_premium_rate_ppm: s64 | None = None
    lbtc_swap_out_premium_rate_ppm: s64 | None = None


@message(42079, codec="json", spec=True)
class Cancel(Message):
    """The swap is off."""

    swap_id: SwapId
    message: str
    """A hint why."""


@message(42073, codec="json", spec=True)
class SwapInAgreement(Message):
    """The answer to a `SwapInRequest` that is accepted."""

    protocol_version: u8
    swap_id: SwapId
    pubkey: point
    """The sender's key in the opening transaction, as in the other messages."""
    premium: s64
    """In satoshis, to be added to what is paid on chain; negative if the sender pays it."""


@message(42069, codec="json", spec=True, replies=(SwapInAgreement, Cancel), match="swap_id")
class SwapInRequest(Message):
    """The sender wants to pay on chain, and get as much in the channel."""

    protocol_version: u8
    swap_id: SwapId
    network: str
    """``mainnet``, ``testnet``, ``testnet3``, ``testnet4``, ``signet`` or ``regtest`` of bitcoin; empty for Liquid."""
    asset: str
    """The id of Liquid's bitcoin asset, 33 bytes in hex; empty for bitcoin."""
    scid: Scid
    amount: u64 = field(ge=1)
    """In satoshis."""
    pubkey: point
    acceptable_premium: s64 = 0
    """The highest one, in satoshis."""


@message(42075, codec="json", spec=True)
class SwapOutAgreement(Message):
    """The answer to a `SwapOutRequest` that is accepted."""

    protocol_version: u8
    swap_id: SwapId
    pubkey: point
    payreq: str = field(key="Payreq")  # as the program writes it, in this message alone
    """A BOLT 11 invoice for the fees of the opening transaction."""
    premium: s64
    """In satoshis, to be added to what is paid by Lightning."""


@message(42071, codec="json", spec=True, replies=(SwapOutAgreement, Cancel), match="swap_id")
class SwapOutRequest(Message):
    """The sender wants to pay by Lightning, and get as much on chain. Its fields are those of `SwapInRequest`."""

    protocol_version: u8
    swap_id: SwapId
    asset: str
    network: str
    scid: Scid
    amount: u64 = field(ge=1)
    pubkey: point
    acceptable_premium: s64 = 0


@message(42077, codec="json", spec=True)
class OpeningTxBroadcasted(Message):
    """The opening transaction is on its way, and the invoice is to be paid once it is confirmed."""

    swap_id: SwapId
    payreq: str
    """A BOLT 11 invoice."""
    tx_id: Annotated[bytes, fixed(32)]
    """As it is shown, which is not the order of the bytes in a transaction."""
    script_out: u32
    """The index of the output."""
    blinding_key: bytes
    """Of 32 bytes for Liquid, which reads the output's amount; empty for bitcoin."""


@message(42081, codec="json", spec=True)
class CoopClose(Message):
    """The taker gives the swap up, and its private key, so that the maker need not wait for a timeout."""

    swap_id: SwapId
    message: str
    privkey: Annotated[bytes, fixed(32)]


@message(42083, codec="json", spec=True)
class Poll(_Capability):
    """What the sender can do, sent now and then, and as an answer to `RequestPoll`."""


@message(42085, codec="json", spec=True, replies=Poll)
class RequestPoll(_Capability):
    """What the sender can do, and the same is asked of the receiver."""


PROTOCOL = Protocol(
    name="PeerSwap",
    document="https://github.com/ElementsProject/peerswap/blob/master/docs/peer-protocol.md",
    version="protocol version 7, commit 816a5bb, 2026-08-19",
    messages=(
        SwapInRequest,
        SwapOutRequest,
        SwapInAgreement,
        SwapOutAgreement,
        OpeningTxBroadcasted,
        Cancel,
        CoopClose,
        Poll,
        RequestPoll,
    ),
)
