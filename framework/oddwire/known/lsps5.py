"""LSPS5: a client has its LSP call webhooks, over HTTPS, to wake it while it is not connected.

bLIP-55 at commit a833e7b (2025-08-12). What goes to a webhook is a JSON-RPC notification, `NOTIFICATIONS`, with the
time and a signature in the headers ``x-lsps5-timestamp`` and ``x-lsps5-signature``: not a Lightning message.
"""

from __future__ import annotations

from typing import Final

from oddwire.known import Protocol
from oddwire.known.lsps0 import Time
from oddwire.schema import Procedure, subtype, u32

__all__ = [
    "APP_NAME_NOT_FOUND",
    "LIST_WEBHOOKS",
    "NOTIFICATIONS",
    "PROTOCOL",
    "REMOVE_WEBHOOK",
    "SET_WEBHOOK",
    "TOO_LONG",
    "TOO_MANY_WEBHOOKS",
    "UNSUPPORTED_PROTOCOL",
    "URL_PARSE_ERROR",
    "ExpirySoon",
    "RemoveWebhook",
    "Removed",
    "SetWebhook",
    "WebhookSet",
    "Webhooks",
    "text_to_sign",
]

TOO_LONG: Final = 500
"""The code for a name over 64 bytes, or a URL over 1024 characters."""
URL_PARSE_ERROR: Final = 501
"""The code for what is no URL."""
UNSUPPORTED_PROTOCOL: Final = 502
"""The code for a URL that is not one of HTTPS, or of whatever else the LSP calls."""
TOO_MANY_WEBHOOKS: Final = 503
"""The code for one webhook too many; its data has ``max_webhooks``."""
APP_NAME_NOT_FOUND: Final = 1010
"""The code for a name that there is none of: outside the hundred codes that bLIP-50 has for LSPS5."""


@subtype
class SetWebhook:
    """A webhook, in place of the one of that name if there is any."""

    app_name: str
    webhook: str


@subtype
class WebhookSet:
    """How many webhooks the client has now; ``no_change`` if it had just this one before."""

    num_webhooks: u32
    max_webhooks: u32
    no_change: bool


@subtype
class Webhooks:
    """The names of the client's webhooks."""

    app_names: tuple[str, ...]
    max_webhooks: u32


@subtype
class RemoveWebhook:
    """The name of the webhook to remove."""

    app_name: str


@subtype
class Removed:
    """The answer to that, which has nothing in it."""


@subtype
class ExpirySoon:
    """Of ``lsps5.expiry_soon``: the height at which the LSP would have to close a channel, within 24 blocks."""

    timeout: u32


SET_WEBHOOK: Final = Procedure("lsps5.set_webhook", params=SetWebhook, result=WebhookSet)
LIST_WEBHOOKS: Final = Procedure("lsps5.list_webhooks", result=Webhooks)
REMOVE_WEBHOOK: Final = Procedure("lsps5.remove_webhook", params=RemoveWebhook, result=Removed)

NOTIFICATIONS: Final = (
    Procedure("lsps5.webhook_registered"),
    Procedure("lsps5.payment_incoming"),
    Procedure("lsps5.expiry_soon", params=ExpirySoon),
    Procedure("lsps5.liquidity_management_request"),
    Procedure("lsps5.onion_message_incoming"),
)
"""What an LSP posts to webhooks. It must not be sent to peers."""

PROTOCOL = Protocol(
    name="LSPS5",
    document="https://github.com/lightning/blips/blob/master/blip-0055.md",
    version="commit a833e7b, 2025-08-12",
    inside="LSPS0",
    procedures=(SET_WEBHOOK, LIST_WEBHOOKS, REMOVE_WEBHOOK),
)


def text_to_sign(time: Time, body: str) -> str:
    """Return what an LSP signs, by its node's ``signmessage``, for a notification: exactly this body, at this time."""
    return f"LSPS5: DO NOT SIGN THIS MESSAGE MANUALLY: LSP: At {time} I notify {body}"
