"""A running application's page for Prometheus."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from oddwire.app.hookspecs import hookimpl
from oddwire.errors import ExtensionError, TransportError
from oddwire.insight.metrics_server import PATH, MetricsServer, parse_metrics_address
from oddwire.log_limits import get_logger

if TYPE_CHECKING:
    from oddwire.app.application import Application

__all__ = ["MetricsEndpoint", "check_metrics"]

logger = get_logger("oddwire.insight")

_AGAIN: Final = 5.0  # seconds


def check_metrics(address: str) -> str:
    """Return the address if metrics can be served at it. Raises `ExtensionError` without the extra, or for another."""
    try:
        parse_metrics_address(address)
    except ValueError as error:
        raise ExtensionError(f"the address of metrics: {error}") from None
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        text = "serving metrics needs prometheus-client: pip install 'oddwire[metrics]'"
        raise ExtensionError(text) from None
    return address


class MetricsEndpoint:
    """A plugin that serves the metrics of its application at ``address``, ``HOST:PORT``, while it runs.

    With ``insist`` an address that cannot be had stops the start, with `TransportError`; otherwise it is logged, and
    tried again every ``again`` seconds. Raises `ExtensionError` for an address that is none, and without the extra
    ``metrics``.
    """

    name = "oddwire.metrics"

    def __init__(self, address: str, *, insist: bool = True, again: float = _AGAIN) -> None:
        self._host, self._port = parse_metrics_address(check_metrics(address))
        self._insist = insist
        self._again = again
        self._server: MetricsServer | None = None
        self._trying: asyncio.Task[None] | None = None
        self.address = ""
        """Where it listens, once it does."""

    @hookimpl
    async def ready(self, app: Application) -> None:
        """Begin to count messages, and to serve. Raises `TransportError`."""
        from oddwire.insight.exposition import Exposition  # imports prometheus_client

        app.insight.count()
        self._server = MetricsServer(Exposition(app.insight.stats).answer)
        try:
            await self._open(self._server)
        except TransportError as error:
            if self._insist:
                raise
            logger.warning("%s; it is tried again every %.0f s", error, self._again)
            self._trying = asyncio.create_task(self._try(self._server))

    async def _open(self, server: MetricsServer) -> None:
        self.address = await server.open(self._host, self._port)
        logger.info("metrics at http://%s%s", self.address, PATH)

    async def _try(self, server: MetricsServer) -> None:
        while not self.address:
            await asyncio.sleep(self._again)
            try:
                await self._open(server)
            except TransportError as error:
                logger.debug("%s", error)

    @hookimpl
    async def shutdown(self) -> None:
        """Stop serving."""
        if self._trying is not None:
            self._trying.cancel()
        if self._server is not None:
            await self._server.aclose()
