"""Balanced opens of LightningOS Light: two nodes agree on a channel that has half of its capacity on either side.

There is no document; from the program, ``balancedOpenProtocolMessage`` in ``internal/server/balanced_open_service.go``
of jvxis/brln-os-light at commit f993795, 2026. All of it is one message, of which ``kind`` says what it is and which
fields it has: JSON in which zero, false and the empty text are left out, which is None here. Its number is also
PeerSwap's `SwapInRequest`: the program ignores what has not its version, a kind and a session.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from oddwire.known import Protocol
from oddwire.schema import Message, field, fixed, message, point, s64, u32, u64

__all__ = ["PROTOCOL", "BalancedOpen"]

_Hash: TypeAlias = Annotated[bytes, fixed(32)]


@message(42069, codec="json", spec=True)
class BalancedOpen(Message):
    """A proposal, the answer to it, or a step by which coins of a channel that did not open are brought back."""

    version: s64 = field(key="v", ge=1, le=1)
    kind: Literal["proposal", "accept", "cancel", "orphan_recovery_request", "orphan_recovery_sig"]
    session_id: str = field(length=(1, 65535))
    """Of the whole, chosen by who proposes it."""
    from_pubkey: point | None = None
    """The sender's node."""
    to_pubkey: point | None = None
    peer_host: str | None = None
    """Where to connect to, ``host:port``."""
    capacity_sat: s64 | None = None
    """Of the channel, 20000 at least."""
    fee_rate_sat_vb: s64 | None = None
    """Of the funding transaction, in satoshis for a virtual byte."""
    private: bool | None = None
    """Whether the channel is not to be announced."""
    close_address: str | None = None
    reason: str | None = None
    """Of a cancel."""
    execution_mode: str | None = None
    """``push_sat_v1``, by which one node funds and pushes half, or ``dual_funded_v1``, for which the following is."""
    pending_chan_id: _Hash | None = None
    """LND's temporary id of the channel."""
    multisig_pubkey: point | None = None
    """The sender's key in the funding output."""
    transit_tx_id: _Hash | None = None
    """The id of the sender's transaction whose output, with half of the capacity, goes into the funding."""
    transit_tx_vout: u32 | None = None
    transit_output_sat: s64 | None = None
    transit_output_script: bytes | None = None
    transit_input_witness: tuple[bytes, ...] | None = None
    """The signed witness of that input, of who accepts."""
    funding_tx_id: _Hash | None = None
    funding_tx_vout: u32 | None = None
    recovery_sig: bytes | None = None
    """The sender's signature of the transaction that divides an orphaned funding output: DER, and the byte 01."""
    recovery_fee_rate_sat_vb: s64 | None = None
    sent_at: Annotated[datetime, u64] = field(key="sent_at_unix")
    """A whole second; in JSON the seconds since 1970."""


PROTOCOL = Protocol(
    name="LightningOS Light",
    document="https://github.com/jvxis/brln-os-light",
    version="protocol version 1, commit f993795, 2026",
    messages=(BalancedOpen,),
)
