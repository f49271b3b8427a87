"""The base class of transports inside another node, which learns of the application and can be called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oddwire.errors import TransportError
from oddwire.transports.base import Manifest, Transport

__all__ = ["HostTransport", "call_host"]


class HostTransport(Transport):
    """A transport to the peers of a host node, of which this process is a plugin or a client.

    All methods added here are optional: the defaults suit a host that does not support them. When the host ends, or
    wants us to end, `Sink.host_stopping` is called.
    """

    async def configure(self, manifest: Manifest) -> Mapping[str, Any]:
        """Declare the application to the host node; return the host's values of our options, by name.

        Called once, before startup hooks and `open`. By default there are no values.
        Raises `TransportError` if the host is gone; if cancelled or failed, `aclose` still has to be called.
        """
        return {}

    def refuse(self, reason: str) -> None:
        """Report to the host node why the application cannot start; `aclose` follows. By default nothing is sent."""

    async def call(
        self,
        method: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the answer is dropped, the request stands
    ) -> Any:
        """Call a JSON-RPC method of the host node and return its result.

        Raises `NodeRefused` with the node's error; `ConnectionClosed` if the node has ended, in which case the call may
        or may not have been executed; `TimeoutError` after ``timeout`` seconds; `TransportError` where the node has no
        methods, as by default. If cancelled, the request stands and its answer is dropped.
        """
        raise TransportError(f"the host node of {type(self).__name__} has no methods: {method!r} cannot be called")


async def call_host(
    transport: Transport,
    method: str,
    params: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - the answer is dropped, the request stands
) -> Any:
    """Call a method as `HostTransport.call` does. Raises `TransportError` also for a transport without a host node."""
    if not isinstance(transport, HostTransport):
        raise TransportError(f"{type(transport).__name__} has no host node to call {method!r} on")
    return await transport.call(method, params, timeout=timeout)
