"""What an operator writes to sell something: a class with a few methods for each LSPS. `server` does the rest.

Every method may refuse by raising an `RpcError`: `rejected`, `bad_token`, or one of its own. Anything else that it
raises, and a result that is not as said here, is "Internal error" for the client, and named in the log.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from oddwire import AppContext, Context, NodeId, RpcError
from oddwire.known import lsps0, lsps1, lsps2

__all__ = ["Lsps1", "Lsps2", "bad_token", "rejected"]


class Lsps1(ABC):
    """Sells channels (bLIP-51). ``context.peer`` is the client, ``context.node`` the node that we run inside.

    Amounts are ints, in satoshis.
    """

    @abstractmethod
    async def info(self, context: Context) -> lsps1.Info:
        """Return what may be ordered; by bLIP-51 it should change once a day at most. Orders are checked against it."""

    @abstractmethod
    async def offer(self, context: Context, order_id: str, wish: lsps1.CreateOrder) -> lsps1.Payment:
        """Return the ways to pay for a channel; ``order_total_sat`` is ``fee_total_sat`` and the client's balance.

        The wish is within the limits of `info`. Each way expects a payment (``state``) and expires in the future;
        ``onchain`` is for wishes with a ``refund_onchain_address`` alone. The order is kept, and need not be kept here,
        until the last of the ways has expired.
        """

    @abstractmethod
    async def refresh(self, context: AppContext, client: NodeId, order: lsps1.Order) -> lsps1.Order:
        """Return a client's order as it is now: ``order_state``, the ``state`` of its payments, and ``channel``.

        All else stays as it was ordered and offered; a way to pay that is not for use any more may be left out. There
        is a channel when the order is ``COMPLETED``, and not before. Called when its client asks for it, and before it
        is removed as not paid.
        """


class Lsps2(ABC):
    """Sells channels that are opened for a payment (bLIP-52). Amounts are ints, in millisatoshis.

    To watch for the payments is the backend's: `open_sales` says which SCIDs they may come by, also after a restart.
    """

    @abstractmethod
    async def offers(self, context: Context, token: str | None) -> Sequence[lsps2.OpeningFeeParams]:
        """Return the parameters to choose from, 32 at most, the cheapest first; none, if nothing is to be had now.

        Each is dearer than the one before: by ``min_fee_msat``, by ``proportional`` (millionths), or both, and by
        neither cheaper. ``promise`` is an empty text: the server's promises take its place. ``valid_until`` should be
        ten minutes from now at least; `write_time` writes it. The token is the client's, not checked; raise
        ``bad_token(2)`` for one that is not known.
        """

    @abstractmethod
    async def buy(self, context: Context, wish: lsps2.Buy, fee_msat: int | None) -> lsps2.Bought:
        """Return an SCID of which no other sale is open, for a payment that is to be taken until ``valid_until``.

        `open_sales` has those that are open. What was promised has been checked. The fee is that for
        ``payment_size_msat``, None without that: then `oddwire.known.lsps2.opening_fee` says it of the payment that
        comes.
        """


def rejected(text: str) -> RpcError:
    """Return the error for a client that is not wanted, or not now. Raises `TypeError` for what is no text."""
    if not isinstance(text, str):
        raise TypeError(f"rejected() takes a text for the client, not {text!r:.100}")
    return RpcError(lsps0.CLIENT_REJECTED, "Client rejected", {"message": text})


def bad_token(lsps: int) -> RpcError:
    """Return the error for a token that is not known, or no longer; of LSPS1 or LSPS2.

    Raises `ValueError` for another number.
    """
    codes = {1: lsps1.BAD_TOKEN, 2: lsps2.BAD_TOKEN}
    if lsps not in codes:
        raise ValueError(f"bad_token() takes 1 or 2: there are tokens in LSPS1 and LSPS2, not in {lsps!r:.100}")
    return RpcError(codes[lsps], "Unrecognized or stale token")
