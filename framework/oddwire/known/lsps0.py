"""LSPS0: JSON-RPC 2.0 between the clients of a Lightning service provider (LSP) and the LSP, in one message type.

bLIP-50 at commit ba7a34b (2026-01-14). LSPs announce feature bit 729, clients do not. What is called is in `lsps1`,
`lsps2` and `lsps5`; `oddwire.app.PeerRpc` speaks it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from oddwire.known import Protocol
from oddwire.schema import Message, Procedure, as_text, message, subtype, u64

__all__ = [
    "CLIENT_REJECTED",
    "FEATURE",
    "LIST_PROTOCOLS",
    "PROTOCOL",
    "Error",
    "Lsps0Message",
    "Msat",
    "Protocols",
    "Sat",
    "Time",
]

FEATURE: Final = 729
"""``option_supports_lsps``. Clients must not set it."""
CLIENT_REJECTED: Final = 1
"""The code of the error of an LSP that does not want this client, or not now; its data has a ``message``."""

Sat: TypeAlias = Annotated[u64, as_text]
"""An amount in satoshis: an int, and a string of digits in JSON."""
Msat: TypeAlias = Annotated[u64, as_text]
"""An amount in millisatoshis: an int, and a string of digits in JSON."""
Time: TypeAlias = str
"""A point of time, ``2023-02-23T08:47:30.511Z``: a text, as those in LSPS2 have to go back as they came."""


@subtype
class Error:
    """The error object of JSON-RPC. By bLIP-50 ``data`` is an object, if there is any."""

    code: int
    message: str
    data: Any = None


@message(37913, codec="json", spec=True)
class Lsps0Message(Message):
    """One JSON-RPC object: a request (``method`` and ``id``), a notification (without ``id``) or an answer.

    The ``id`` null of an answer to what could not be read is None here, and is not written.
    """

    jsonrpc: Literal["2.0"]
    id: str | None = None
    method: str | None = None
    params: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    error: Error | None = None


@subtype
class Protocols:
    """The numbers of the LSPS that the LSP serves, without LSPS0."""

    protocols: tuple[int, ...]


LIST_PROTOCOLS: Final = Procedure("lsps0.list_protocols", result=Protocols)

PROTOCOL = Protocol(
    name="LSPS0",
    document="https://github.com/lightning/blips/blob/master/blip-0050.md",
    version="commit ba7a34b, 2026-01-14",
    messages=(Lsps0Message,),
    procedures=(LIST_PROTOCOLS,),
)
