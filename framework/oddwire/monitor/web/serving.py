"""Serving the page: a socket on loopback, an address with the token, uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from oddwire.errors import TransportError
from oddwire.monitor.explained import Opened, open_event
from oddwire.monitor.model import Model
from oddwire.monitor.watched import Watched
from oddwire.monitor.web.guard import Guard
from oddwire.monitor.web.site import Site
from oddwire.proto.addresses import port_number

__all__ = ["listen_address", "serving"]

_GRACE: Final = 2  # seconds for answers under way
_PATIENCE: Final = 10.0  # seconds for a request to come
_MOST_CONNECTIONS: Final = 128


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves the process's signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


class _Protocol(H11Protocol):
    """uvicorn's protocol, which has one request a connection, and waits for it no longer than that takes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.abort()
        else:
            self.loop.call_later(_PATIENCE, self._end_idle)

    def _end_idle(self) -> None:
        if getattr(self, "cycle", None) is None:  # of no request yet
            self.transport.abort()


def listen_address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``. Raises `ValueError`, also for a host that is not this machine's own."""
    host, colon, digits = text.rpartition(":")
    port = port_number(digits)
    if not colon or port is None:
        raise ValueError(f"--listen should be HOST:PORT, 127.0.0.1:0 say, not {text!r}")
    host = host.removeprefix("[").removesuffix("]")
    if host == "localhost":
        host = "127.0.0.1"
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ValueError(
            f"--listen {text}: the page is served on loopback alone, 127.0.0.1 or [::1], as it is not encrypted; "
            "from elsewhere it is reached by 'ssh -L 8080:127.0.0.1:PORT'"
        )
    return host, port


@asynccontextmanager
async def serving(
    model: Model, host: str, port: int, *, opened: Callable[[Watched], Opened] = open_event
) -> AsyncIterator[str]:
    """Serve the page while it is entered, as its address with a new token. Raises `TransportError`."""
    token = secrets.token_urlsafe(24)
    try:
        listening = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=64
        )
    except OSError as error:
        raise TransportError(f"cannot listen at {host}:{port}: {error.strerror or error}") from error
    with listening:
        port = listening.getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        site = Site(model, run=secrets.token_hex(4), opened=opened)
        guard = Guard(site.app, hosts=[f"{name}:{port}", f"localhost:{port}"], token=token, port=port)
        server = _Server(
            uvicorn.Config(
                guard,
                http=_Protocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_GRACE,
            )
        )
        task = asyncio.create_task(server.serve(sockets=[listening]), name="monitor's page")
        try:
            yield f"http://{name}:{port}/#token={token}"
        finally:
            site.closing = server.should_exit = True
            await task
