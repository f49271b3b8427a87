"""`PROTOCOL`: all messages of DLC."""

from __future__ import annotations

from oddwire.known import Protocol
from oddwire.known.dlc.channels import (
    AcceptChannel,
    CollaborativeCloseOffer,
    OfferChannel,
    Reject,
    RenewAccept,
    RenewConfirm,
    RenewFinalize,
    RenewOffer,
    RenewRevoke,
    SettleAccept,
    SettleConfirm,
    SettleFinalize,
    SettleOffer,
    SignChannel,
)
from oddwire.known.dlc.establishment import AcceptDlc, CloseDlc, OfferDlc, SignDlc
from oddwire.known.dlc.oracles import OracleAnnouncement, OracleAttestation, OracleEvent
from oddwire.known.dlc.segments import SegmentChunk, SegmentStart

__all__ = ["PROTOCOL"]

PROTOCOL = Protocol(
    name="DLC",
    document="https://github.com/discreetlogcontracts/dlcspecs",
    version="protocol version 1, commit 9cd9148, 2023-02-13; with rust-dlc 0.8.0",
    messages=(
        OfferDlc,
        AcceptDlc,
        SignDlc,
        CloseDlc,
        SegmentStart,
        SegmentChunk,
        OfferChannel,
        AcceptChannel,
        SignChannel,
        SettleOffer,
        SettleAccept,
        SettleConfirm,
        SettleFinalize,
        RenewOffer,
        RenewAccept,
        RenewConfirm,
        RenewFinalize,
        CollaborativeCloseOffer,
        Reject,
        RenewRevoke,
        OracleEvent,
        OracleAnnouncement,
        OracleAttestation,
    ),
)
