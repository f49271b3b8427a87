"""The session with a peer: requests, large messages, hello and reliable delivery (docs/session-protocol.md)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oddwire.session.constants import SESSION_TYPE as SESSION_TYPE
    from oddwire.session.limits import (
        Counters as Counters,
        Limits as Limits,
    )
    from oddwire.session.reliable.receipt import Receipt as Receipt
    from oddwire.session.store.extension_store import ExtensionStore as ExtensionStore
    from oddwire.session.wire.frame_types import Code as Code
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()
