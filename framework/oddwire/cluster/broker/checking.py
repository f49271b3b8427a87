"""Whether a broker will do for a cluster."""

from __future__ import annotations

from typing import Any, Final

from oddwire.cluster.broker.executable import OLDEST, is_too_old, too_old
from oddwire.errors import TransportError
from oddwire.log_limits import get_logger
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerFailure, BrokerUnavailable
from oddwire.transports.nats.patience import patiently

__all__ = ["LEAST_PAYLOAD", "check_broker"]

logger = get_logger("oddwire.cluster.broker")

LEAST_PAYLOAD: Final = 1 << 20
"""Bytes of a message that the broker has to take, which is what nats-server takes unless it is told otherwise."""

_LEVEL: Final = 1  # of JetStream's API, of which servers tell since 2.11


async def check_broker(connection: BrokerConnection) -> None:
    """Raise `TransportError` for a broker that is too old, takes too small messages, or has no JetStream for us.

    One that has JetStream but does not answer now is waited for.
    """
    where = f"the broker at {connection.address.shown}"
    version = str(connection.client.connected_server_version)
    if is_too_old(version):
        raise TransportError(f"{where} is {too_old(version)}")
    if connection.max_payload < LEAST_PAYLOAD:
        raise TransportError(
            f"{where} takes messages of at most {connection.max_payload} bytes, and a cluster needs {LEAST_PAYLOAD}: "
            "raise max_payload in its configuration, to 8MB say"
        )

    async def ask() -> dict[str, Any]:
        try:
            return await connection.api("INFO")
        except BrokerFailure as failure:
            if isinstance(failure, BrokerUnavailable) and _has_jetstream(connection):
                raise
            raise TransportError(
                f"{where} has no JetStream for us ({failure.reason}): its configuration needs 'jetstream', or "
                "'default_js_domain' on a leaf node, and our user what 'oddwire broker permissions' prints"
            ) from failure

    told = await patiently(ask, lambda reason: logger.warning("%s is waited for: %s", where, reason))
    level = (told.get("api") or {}).get("level", 0)
    if not isinstance(level, int) or level < _LEVEL:  # of who answers, which may be another server than ours
        wanted = ".".join(map(str, OLDEST))
        raise TransportError(f"the JetStream behind {where} is of a nats-server before {wanted}, which a cluster needs")


def _has_jetstream(connection: BrokerConnection) -> bool:
    """Return whether the server said, when we connected, that it has JetStream."""
    said = connection.client._server_info  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - there is no other way
    return bool(said.get("jetstream"))
