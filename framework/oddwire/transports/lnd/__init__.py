"""LND: an application beside LND, by its gRPC API.

Each name is imported when it is first used: the client needs grpcio, the extra ``oddwire[lnd]``.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oddwire.transports.lnd.credentials import LndCredentials as LndCredentials
    from oddwire.transports.lnd.limits import LndLimits as LndLimits
    from oddwire.transports.lnd.transport import LndTransport as LndTransport
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()
