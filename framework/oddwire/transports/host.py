"""What only a transport inside another node has: the node is told of the application, and can be called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oddwire.errors import TransportError
from oddwire.transports.base import Manifest, Transport

__all__ = ["HostTransport", "call_host"]


class HostTransport(Transport):
    """A transport to the peers of a host node, which this process is a plugin of, or a client.

    All that it adds is optional: each method here suits a host that cannot do it. That the host ends, or wants us to,
    is told by `Sink.host_stopping`.
    """

    async def configure(self, manifest: Manifest) -> Mapping[str, Any]:
        """Tell the host node what the application is; return the values the host has for our options, by name.

        Called once, before startup hooks and `open`. By default there are no values.
        Raises `TransportError` if the host is gone; cancelled or failed, `aclose` still has to be called.
        """
        return {}

    def refuse(self, reason: str) -> None:
        """Tell the host node why the application cannot start; `aclose` follows. By default nobody is told."""

    async def call(
        self,
        method: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the answer is dropped, the request stands
    ) -> Any:
        """Call a JSON-RPC method of the host node and return its result.

        Raises `NodeRefused` with the node's error; `ConnectionClosed` if the node is gone, when it may or may not have
        done it; `TimeoutError` after ``timeout`` seconds; `TransportError` where the node has no methods, as here.
        """
        raise TransportError(f"the host node of {type(self).__name__} has no methods: {method!r} cannot be called")


async def call_host(
    transport: Transport,
    method: str,
    params: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - the answer is dropped, the request stands
) -> Any:
    """Do what `HostTransport.call` does. Raises `TransportError` for a transport without a host node, too."""
    if not isinstance(transport, HostTransport):
        raise TransportError(f"{type(transport).__name__} has no host node to call {method!r} on")
    return await transport.call(method, params, timeout=timeout)
