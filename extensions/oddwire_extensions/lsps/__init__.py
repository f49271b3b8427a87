"""lsps: Lightning service providers (LSPs) and their clients, as bLIPs 50, 51, 52 and 55 have them.

::

    LSPS0   37913  0x9419   JSON-RPC 2.0; an LSP announces feature bit 729
    LSPS1   a client orders a channel, and pays for it     lsps1.get_info  create_order  get_order
    LSPS2   a channel is opened for the first payment      lsps2.get_info  buy
    LSPS5   an LSP calls webhooks                          the client's side alone

An LSP is `server` with a backend of one's own: a class with three methods for LSPS1, with two for LSPS2, or both::

    class Shop(Lsps1):
        async def info(self, context: Context) -> lsps1.Info: ...
        async def offer(self, context: Context, order_id: str, wish: lsps1.CreateOrder) -> lsps1.Payment: ...
        async def refresh(self, context: AppContext, client: NodeId, order: lsps1.Order) -> lsps1.Order: ...

    class Jit(Lsps2):
        async def offers(self, context: Context, token: str | None) -> Sequence[lsps2.OpeningFeeParams]: ...
        async def buy(self, context: Context, wish: lsps2.Buy, fee_msat: int | None) -> lsps2.Bought: ...

    extension = server(Shop(), Jit())

docs/lsps.md has both in full; ``lsps1`` and ``lsps2`` are those of `oddwire.known`. This extension, as it is, is an LSP
that sells nothing: it answers ``lsps0.list_protocols``. The client is `oddwire_extensions.lsps.client`, and
`oddwire_extensions.lsps.demo` sells what there is not, to try clients with.
"""

from oddwire_extensions.lsps.backend import Lsps1, Lsps2, bad_token, rejected
from oddwire_extensions.lsps.kept import KeptOrder, Sale, kept_orders, open_sales
from oddwire_extensions.lsps.lsp import server
from oddwire_extensions.lsps.times import read_time, write_time

__all__ = [
    "KeptOrder",
    "Lsps1",
    "Lsps2",
    "Sale",
    "bad_token",
    "extension",
    "kept_orders",
    "open_sales",
    "read_time",
    "rejected",
    "server",
    "write_time",
]

extension = server()
